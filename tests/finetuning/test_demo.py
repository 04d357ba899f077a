"""The demo as its reader meets it: the whole walk on tiny settings, and every bad input as one clear line."""

import json
import re

import pytest

import scratchbook
from utils.runs import Run
from working_with_text_data.storyland import story_corpus

SMALL = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "vocab_size=400",
         "minutes=0.04", "stories=3", "held_out=17", "tune_requests=60", "train.sample_seconds=0"]  # fmt: skip


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(story_corpus(n_stories=60, seed=5)), encoding="utf-8")
    return path


def demo(*words: str) -> int:
    return scratchbook.main(["demo", *words])


@pytest.mark.slow
def test_the_whole_walk_on_storyland(runs, capsys):
    assert demo(*SMALL) == 0
    out = capsys.readouterr().out
    for title in (
        "The corpus",
        "The tokenizer",
        "Training",
        "Proof",
        "Following requests",
        "The KV cache",
        "The report",
    ):
        assert title in out, f"stage {title!r} was not announced"
    (folder,) = (runs / "demo").iterdir()
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["proof"]["bigram"] < facts["proof"]["unigram"] < facts["proof"]["uniform"]
    assert facts["decoding"]["same_text"], "the cache changed the text"
    assert facts["tuning"]["asked"] == 17 and facts["stories"]["total"] == 3
    for stage in ("demo", "pretrain", "finetune"):
        assert Run.open(runs / stage / folder.name).status == "complete"
    assert scratchbook.main(["sample", "--ckpt", "last", "--prompt", "One day", "--max-new-tokens", "4"]) == 0


@pytest.mark.slow
def test_the_report_is_one_file_that_needs_nothing_else(runs, book):
    assert demo("--text", str(book), *SMALL) == 0
    (page,) = runs.glob("demo/*/report.html")
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text and "What comes next" in text
    links = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)([^"']+)""", text)
    assert not links, f"the report reaches outside itself: {links}"
    assert "<script" not in text and "@import" not in text and "url(http" not in text
    facts = json.loads((page.parent / "summary.json").read_text())
    assert "tuning" not in facts and "Storyland" in facts["tuning_note"]


def refused(capsys, *words: str, code: int = 2) -> str:
    """The single line on stderr of a demo that must end with `code`."""
    assert demo(*words) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, f"one clear line was expected, not {lines}"
    return lines[0]


BAD_TEXTS = {
    "empty": (b"", "no text"),
    "binary": (bytes(range(256)) * 20, "text"),
    "one word": (b"hello", "."),
    "too short": (b"A short line.\nAnd another.\n" * 3, "."),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_that_cannot_serve_is_one_line_and_leaves_no_run(name, runs, tmp_path, capsys):
    content, word = BAD_TEXTS[name]
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    line = refused(capsys, "--text", str(path), *SMALL)
    assert word in line
    assert not list(runs.glob("pretrain/*")), "a run was begun on a text that cannot serve"
    assert not [r for r in runs.glob("demo/*/run.json") if json.loads(r.read_text())["status"] == "complete"]


def test_a_missing_path_and_a_folder_without_text(runs, tmp_path, capsys):
    assert "nowhere.txt" in refused(capsys, "--text", str(tmp_path / "nowhere.txt"))
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, "--text", str(tmp_path / "empty"))


@pytest.mark.slow
def test_a_text_without_a_newline_and_a_vocabulary_it_cannot_support_still_work(runs, tmp_path, capsys):
    path = tmp_path / "flat.txt"
    path.write_text(" ".join(" ".join(s.split()) for s in story_corpus(n_stories=40, seed=6)))
    assert demo("--text", str(path), *SMALL, "vocab_size=100000") == 0
    (summary,) = runs.glob("demo/*/summary.json")
    reached = json.loads(summary.read_text())["tokenizer"]["vocab_size"]
    assert 256 < reached < 100000
    assert f"{reached:,} tokens" in capsys.readouterr().out, "the vocabulary reached is said"


def test_a_block_longer_than_the_text(runs, book, capsys):
    line = refused(capsys, "--text", str(book), *SMALL, "model.block_size=100000")
    assert "block_size" in line and "100,000" in line.replace("100000", "100,000")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("devise=cpu", "device"),
        ("minutes=soon", "minutes"),
        ("minutes=-1", "minutes"),
        ("train.lrr=1", "lr"),
        ("model.n_layers=2", "n_layer"),
        ("preset=gpt9", "gpt2"),
        ("held_out=0", "held_out"),
        ("device=cuda", "cuda"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_runs(word, says, runs, book, capsys):
    import torch

    if word == "device=cuda" and torch.cuda.is_available():
        word, says = "device=tpu", "tpu"
    assert says in refused(capsys, "--text", str(book), word)
    assert not runs.exists() or not list(runs.glob("*/*"))


def test_runs_that_cannot_be_written(runs, book, capsys, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    line = refused(capsys, "--text", str(book), *SMALL)
    assert "runs" in line


def test_a_full_disk_ends_in_one_line_and_no_run_that_looks_complete(runs, book, capsys, monkeypatch):
    import errno

    def no_room(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("finetuning.demo.main.Walk.tokenizer", no_room)
    line = refused(capsys, "--text", str(book), *SMALL, code=1)
    assert "space" in line.lower()
    (run,) = runs.glob("demo/*/run.json")
    assert json.loads(run.read_text())["status"] == "failed"


def test_a_run_that_does_not_exist(runs, capsys):
    assert scratchbook.main(["sample", "--ckpt", "20200101-000000-abcd", "--prompt", "x"]) == 2
    assert "20200101-000000-abcd" in capsys.readouterr().err
