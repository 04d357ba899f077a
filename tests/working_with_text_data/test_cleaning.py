"""Cleaning as a person uses it: the command, its report, bad input, and what it says when it cannot go on."""

import doctest
import gzip
import hashlib
import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cleaning_checks import prose

from utils.config import load_config
from utils.errors import UserError
from utils.timing import MemorySampler
from working_with_text_data import clean as clean_command
from working_with_text_data import optional_packages
from working_with_text_data.clean import CleanConfig, clean, main, report_path
from working_with_text_data.cleaning import EDITS, REASONS, CleaningConfig, Counters, clean_documents
from working_with_text_data.documents import Document, load_documents
from working_with_text_data.language import identify
from working_with_text_data.near_duplicate_filter import NearDuplicateFilter, Signer
from working_with_text_data.pii import find_pii, replace_pii
from working_with_text_data.quality import QualityRules

CONFIGS = Path(clean_command.__file__).parent / "configs"
ENGLISH = (
    "The harbour was quiet that morning, and the boats lay side by side with their sails rolled up. An old man "
    "walked along the wall to look for his nets. He had to mend two of them before the tide turned, and that "
    "would take him until noon. A dog followed him and slept in the sun while he worked there."
)
GERMAN = (
    "Der Hafen war an diesem Morgen ruhig, und die Boote lagen nebeneinander. Ein alter Mann ging an der Mauer "
    "entlang und suchte seine Netze. Zwei davon musste er flicken, bevor die Flut kam. Ein Hund folgte ihm und "
    "schlief in der Sonne, während er arbeitete, und niemand störte die beiden bis zum Mittag an der Mauer dort."
)

CAFE = (
    "She opened the cafÃ© at seven, swept the step and put the chairs out. The first to come was always the same "
    "teacher, who read two papers and said little. Later there were children with coins in their hands, and she "
    "knew what each of them wanted. When it rained nobody came, and she wrote letters to her sister in the south."
)


def documents_of(texts):
    return [Document(text, "made", number, {"label": number}) for number, text in enumerate(texts)]


def cleaned(texts, workers=0, **options):
    counters = Counters()
    found = list(
        clean_documents(documents_of(texts), CleaningConfig(**options), counters=counters, workers=workers)
    )
    counters.check()
    return found, counters


@pytest.fixture
def pages(tmp_path):
    """A small corpus in a file, with something for most stages to do."""
    texts = [ENGLISH, ENGLISH + "\n", GERMAN, "short", CAFE]
    texts.append("Ada of ada@example.org said: " + " ".join(reversed(ENGLISH.split())))
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": t, "url": f"u{i}"}) + "\n" for i, t in enumerate(texts)))
    return path


MODULES = [
    "boilerplate",
    "cleaning",
    "exact_duplicates",
    "minhash",
    "mojibake",
    "optional_packages",
    "pii",
    "quality",
    "tidy_text",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_worked_examples_are_right(name):
    result = doctest.testmod(importlib.import_module(f"working_with_text_data.{name}"))
    assert result.attempted and not result.failed


# --- the function -------------------------------------------------------------------------------------


def test_documents_keep_their_source_index_and_meta():
    found, _ = cleaned(["x " * 3, ENGLISH + "  "])
    assert found == [Document(ENGLISH, "made", 1, {"label": 1})]


def test_every_stage_can_be_switched_off():
    odd = "  a  b \r\ncafÃ© e\u0301 ada@example.org\n"
    off = dict(mojibake=False, unicode_form="none", boilerplate=False, whitespace=False, quality=False)
    off |= dict(pii=False, exact_duplicates=False, near_duplicates=False)
    found, counters = cleaned([odd, odd], **off)
    assert [d.text for d in found] == [odd, odd]
    assert counters.kept == 2 and not counters.edited


def test_only_the_languages_asked_for_are_kept():
    options = dict(languages=("en",), quality=False, near_duplicates=False)
    found, counters = cleaned([ENGLISH, GERMAN, "1234 5678 9012"], **options)
    assert [d.index for d in found] == [0]
    assert counters.dropped == {"language_other": 1, "language_unsure": 1}
    assert [d.index for d in cleaned([ENGLISH, GERMAN], **{**options, "languages": ("de", "en")})[0]] == [
        0,
        1,
    ]


def test_the_middle_of_a_long_text_tells_its_language():
    assert identify("CONTENTS\n" + "I II III IV V VI VII VIII IX X " * 40 + ENGLISH * 30)[0] == "en"


def test_the_language_threshold_decides_who_is_unsure():
    _, counters = cleaned(["hello"], languages=("en",), language_confidence=0.99, quality=False)
    assert counters.dropped == {"language_unsure": 1}


def test_texts_that_differ_by_personal_data_alone_are_copies():
    found, counters = cleaned([f"{ENGLISH} Write to {name}@example.org." for name in ("ada", "bob")])
    assert len(found) == 1 and counters.dropped == {"exact_duplicate": 1}


def test_a_stream_is_read_no_further_than_asked():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            yield Document(f"{ENGLISH} {taken}", "made", taken)
            taken += 1

    stream = clean_documents(endless(), CleaningConfig(near_duplicates=False, exact_duplicates=False))
    next(stream)
    next(stream)
    stream.close()
    assert taken <= 2


def test_memory_stays_when_the_duplicates_are_bounded():
    def many():
        for number in range(5_000):
            yield Document(prose(number), "made", number)

    config = CleaningConfig(remember=100, pii=False)
    stream = clean_documents(many(), config)
    for _ in range(500):
        next(stream)
    with MemorySampler() as memory:
        assert sum(1 for _ in stream) == 4_500
    # Unbounded it grows by about 2.5 kB a document, 11 MB in all.
    assert memory.grown_bytes < 4_000_000, f"grown by {memory.grown_bytes:,} bytes over 4,500 documents"


@pytest.mark.parametrize("engine", ["rensa", "readable"])
def test_a_bounded_filter_forgets_the_oldest(engine):
    sieve = NearDuplicateFilter(0.8, engine=engine, k=32, remember=2)
    texts = [ENGLISH, GERMAN, " ".join(reversed(ENGLISH.split()))]
    signatures = [sieve.signer(text) for text in texts]
    assert [sieve.add(i, signature) for i, signature in enumerate(signatures)] == [True] * 3
    assert sieve.alike(signatures[2]) == [2]
    assert not sieve.add(3, signatures[1]), "the last but one is still known"
    assert sieve.add(4, signatures[0]), "the first was forgotten"


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_strange_texts_are_dropped_or_kept_but_never_crash(workers):
    junk = bytes(range(256)).decode("latin-1") * 20
    texts = [
        "",
        " \n\t",
        "\x00" * 100,
        "7" * 1_000,
        "\ud800",
        "\ud83d lone " + ENGLISH,
        junk,
        "\ufffd" * 99,
        "\u0301" * 99,
    ]
    found, counters = cleaned(texts, workers=workers)
    assert counters.processed == len(texts)
    assert counters.dropped["empty"] == 3
    assert [d.index for d in found] == [5]
    assert found[0].text.startswith("\ufffd lone"), "half a character has no UTF-8 form"
    found[0].text.encode("utf-8")


def test_lone_surrogates_are_replaced_even_without_the_repair():
    off = dict(mojibake=False, quality=False)
    found, counters = cleaned(["a \udfff b"], **off)
    assert found[0].text == "a \ufffd b" and counters.edited["surrogates"] == 1
    for engine in ("rensa", "readable"):
        assert Signer(engine)("a \udfff b c d e f") is not None


@pytest.mark.parametrize(
    "unit",
    ["a", " ", "\n", "1", "1.", "@", "a@b.", "a/", "é", "Ã©", "\x00", "+1 ", "12-", " \n", "*** START OF "],
)
def test_no_text_makes_a_stage_slow(unit):
    """No cliff: repeated signs at which a pattern could look back or ahead over the whole text."""
    config = CleaningConfig(languages=("en",), quality=False)

    def seconds(size):
        documents = [Document((unit * size)[:size], "made", 0)]
        start = time.process_time()
        list(clean_documents(documents, config))
        return time.process_time() - start

    seconds(1_000)
    # 400,000 characters at a generous 10 µs each; a quadratic stage would need minutes.
    assert seconds(400_000) < 4.0


def test_a_wrong_option_is_an_error_at_once():
    for options, words in [
        ({"languages": ("english",)}, "ISO 639"),
        ({"pii_types": ("NAME",)}, "EMAIL"),
        ({"near_threshold": 1.5}, "near_threshold"),
        ({"remember": 0}, "remember"),
        ({"permutations": 0}, "permutations"),
        ({"language_confidence": 2.0}, "language_confidence"),
    ]:
        with pytest.raises(UserError, match=words):
            clean_documents([], CleaningConfig(**options))
    with pytest.raises(UserError, match="min ≤ max"):
        QualityRules(min_words=5, max_words=4)
    with pytest.raises(UserError, match="no text could pass"):
        QualityRules(stop_words=("the",))
    with pytest.raises(UserError, match="workers"):
        list(clean_documents(documents_of([ENGLISH]), workers=-1))


@pytest.mark.parametrize("package", ["ftfy", "datafog", "py3langid", "rensa"])
def test_a_missing_package_is_one_line_with_the_command(package, monkeypatch):
    real = optional_packages.importlib.import_module

    def without(name, *rest):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *rest)

    monkeypatch.setattr(optional_packages.importlib, "import_module", without)
    from working_with_text_data import language, pii

    language._identifier.cache_clear()
    pii._pattern.cache_clear()
    with pytest.raises(UserError, match=rf"{package}.*pip install -c constraints.txt -e '\.\[data\]'"):
        clean_documents([], CleaningConfig(languages=("en",)))


def test_what_is_switched_off_needs_no_package(monkeypatch):
    def nothing(name, *rest):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(optional_packages.importlib, "import_module", nothing)
    options = dict(mojibake=False, pii=False, near_duplicates=False)
    assert cleaned([ENGLISH], **options)[1].kept == 1


def test_personal_data_in_a_dense_text_is_found_once_each():
    text = " ".join(f"user{n}@example.org,212-555-01{n % 90 + 10}" for n in range(2_000))
    after, kinds = replace_pii(text)
    assert kinds == ["EMAIL", "PHONE"] * 2_000
    assert "@" not in after and find_pii(after) == []


# --- the command --------------------------------------------------------------------------------------


def test_the_command_writes_the_corpus_and_accounts_for_everything(pages, tmp_path, capsys):
    out = tmp_path / "cleaned.jsonl"
    assert main([f"input={pages}", f"out={out}", "languages=[en]"]) == 0
    printed = capsys.readouterr().out
    assert "next: python -m working_with_text_data.preprocess" in printed and str(out) in printed
    report = json.loads(report_path(out).read_text())
    counters = report["counters"]
    assert counters["processed"] == 6 == counters["kept"] + sum(counters["dropped"].values())
    assert tuple(counters["dropped"]) == REASONS and tuple(counters["edited"]) == EDITS
    assert counters["dropped"]["exact_duplicate"] == 1 and counters["dropped"]["language_other"] == 1
    assert counters["edited"]["mojibake"] == 1 and counters["pii"]["EMAIL"] == 1
    assert report["output"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report["config"]["languages"] == ["en"]
    assert report["examples"]["language_other"][0]["text"].startswith("Der Hafen")
    again = load_documents(out)
    assert len(again) == counters["kept"] and again[0].meta["url"] == "u0"


def test_examples_in_the_report_show_no_personal_data(tmp_path):
    path, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    lines = [json.dumps({"text": text}) for text in ("mail ada@example.org", ENGLISH)]
    path.write_text("\n".join(lines))
    report = clean(CleanConfig(input=str(path), out=str(out)))
    assert report["examples"]["quality_word_count"][0]["text"] == "mail [EMAIL]"


def test_gzip_gives_the_same_bytes_every_time(pages, tmp_path):
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    clean(CleanConfig(input=str(pages), out=str(first)))
    time.sleep(1.1)  # gzip's clock has seconds
    clean(CleanConfig(input=str(pages), out=str(second), workers=1))
    assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress(first.read_bytes()).count(b"\n") == len(load_documents(first))


@pytest.mark.parametrize("name", ["cleaning.yaml", "cleaning-books.yaml", "cleaning-light.yaml"])
def test_shipped_configs_load_and_run(name, tmp_path):
    out = tmp_path / "out.jsonl"
    overrides = ["input=storyland", "n_bytes=20000", f"out={out}"]
    config = load_config(CleanConfig, CONFIGS / name, overrides)
    assert clean(config)["counters"]["kept"] > 0


def test_nothing_left_is_an_error_that_names_the_reason_and_writes_nothing(pages, tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="quality_word_count"):
        clean(CleanConfig(input=str(pages), out=str(out), rules=QualityRules(min_words=10_000)))
    assert [p.name for p in tmp_path.iterdir()] == ["pages.jsonl"]


def test_a_failure_leaves_the_old_output(pages, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl.gz"
    out.write_bytes(b"old")

    def full(document):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clean_command, "_line", full)
    with pytest.raises(OSError) as caught:
        clean(CleanConfig(input=str(pages), out=str(out)))
    assert caught.value.filename == str(out)
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2


def test_names_that_cannot_be_right_are_refused(pages):
    with pytest.raises(UserError, match=r"\.jsonl"):
        CleanConfig(input=str(pages), out="cleaned.txt")
    with pytest.raises(UserError, match="out is the input"):
        CleanConfig(input=str(pages), out=str(pages))


def test_broken_lines_stop_or_are_skipped_and_counted(pages, tmp_path, capsys):
    with pages.open("a") as file:
        file.write("{broken\n")
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match="line 7"):
        clean(CleanConfig(input=str(pages), out=str(out)))
    assert not out.exists()
    assert main([f"input={pages}", f"out={out}", "on_bad_line=skip"]) == 0
    assert "while reading: 1 skipped" in capsys.readouterr().out


def test_ctrl_c_leaves_nothing_half_done(tmp_path):
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "working_with_text_data.clean", "input=storyland", "n_bytes=20000000"]
    process = subprocess.Popen(
        [*command, f"out={out}", "workers=1"], stderr=subprocess.PIPE, text=True, cwd=CONFIGS.parents[1]
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_needs_no_numpy():
    code = (
        "import sys; from working_with_text_data.clean import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'ftfy', 'datafog', 'py3langid', 'rensa', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CONFIGS.parents[1]
    )
    assert done.returncode == 0, done.stderr


def test_the_benchmark_measures_every_pipeline(tmp_path):
    from working_with_text_data.benchmark_cleaning import PIPELINES, CleaningBenchmarkConfig, measure

    figures = measure(CleaningBenchmarkConfig(documents=20, rounds=1, out=str(tmp_path / "x.json")))
    row = figures["corpora"]["storyland"]
    assert row["documents"] == 20 and set(row["documents_per_s"]) == set(PIPELINES)
    assert all(cost["median"] > 0 for cost in row["us_per_document"].values())
