"""The tokenizer command with every option: configs, versions, reports, special tokens by their form, bad input."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from working_with_text_data import load_tokenizer, tokenizer_hash, train_bpe, train_tokenizer
from working_with_text_data.tokenizer import tokenizer_versions

TEXT = "<|note|> the cat sat on the mat in 1984; <|note|> the dog sat on the log in 2001.\n" * 6
COMMAND = [sys.executable, "-m", "working_with_text_data.train_tokenizer"]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


def train(*words):
    assert train_tokenizer.main(list(map(str, words))) == 0


def test_every_option_reaches_the_tokenizer(corpus, tmp_path, capsys):
    out = tmp_path / "t.json"
    train(
        "train",
        f"input={corpus}",
        f"out={out}",
        "vocab_size=300",
        "pattern=cl100k",
        "split_digits=true",
        "prefix_space=true",
        "min_frequency=3",
        "tie_break=first_seen",
        'special_tokens=["<|end|>"]',
        r"special_regex=<\|[a-z]+\|>",
        "workers=2",
    )
    expected = train_bpe(
        TEXT,
        300,
        "cl100k",
        ("<|end|>", "<|note|>"),
        "first_seen",
        min_frequency=3,
        split_digits=True,
        prefix_space=True,
    )
    made = load_tokenizer(out)
    assert made.to_dict() == expected.to_dict()
    assert list(made.special_tokens) == ["<|end|>", "<|note|>"]
    assert "special tokens found: <|note|>" in capsys.readouterr().out


def test_the_same_options_come_from_a_config_and_a_value_wins_over_it(corpus, tmp_path, capsys):
    config = tmp_path / "tokenizer.yaml"
    config.write_text(f"input: {corpus}\nvocab_size: 290\nsplit_digits: 2\nout: {tmp_path / 'c.json'}\n")
    train("--config", config, "vocab_size=280")
    made = load_tokenizer(tmp_path / "c.json")
    assert (made.vocab_size, made.splitter.options) == (280, {"split_digits": 2})


@pytest.mark.parametrize("name", ["tokenizer_storyland", "tokenizer_books"])
def test_the_shipped_configs_train(name, project_root, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = project_root / "working_with_text_data" / "configs" / f"{name}.yaml"
    train("--config", config, f"input={corpus}", "vocab_size=280", "workers=0", "n_bytes=null")
    (version,) = tmp_path.glob("tokenizers/*/v1/tokenizer.json")
    assert load_tokenizer(version.parent.parent).vocab_size == 280


def test_a_folder_keeps_versions_and_the_newest_is_opened(corpus, tmp_path, capsys):
    folder = tmp_path / "kept"
    for size in (280, 280, 290):  # the second is the first again
        train(f"input={corpus}", f"vocab_size={size}", f"out={folder}/")
    assert tokenizer_versions(folder) == [1, 2]
    assert load_tokenizer(folder).vocab_size == 290 and load_tokenizer(folder / "v1").vocab_size == 280
    (folder / "v10").mkdir()
    (folder / "vault").mkdir()
    train(f"input={corpus}", "vocab_size=285", f"out={folder}")  # it exists, so no slash is needed
    assert tokenizer_versions(folder) == [1, 2, 3], "an empty folder and another name are no versions"
    assert (folder / "v3" / "tokenizer.report.json").is_file()


def test_a_report_lies_beside_the_tokenizer(corpus, tmp_path, capsys):
    unseen = tmp_path / "unseen.txt"
    unseen.write_text("the bird sat in 1999")
    train(f"input={corpus}", "vocab_size=290", f"out={tmp_path / 't.json'}", f"report_input={unseen}")
    report = json.loads((tmp_path / "t.report.json").read_text())
    assert report["text"]["source"] == str(unseen) and report["text"]["bytes"] == 20
    assert report["tokenizer"]["sha256"] == tokenizer_hash(load_tokenizer(tmp_path / "t.json"))
    assert report["training"]["stopped"] == "vocab_size"
    train(f"input={corpus}", "vocab_size=290", f"out={tmp_path / 't.json'}")
    report = json.loads((tmp_path / "t.report.json").read_text())
    assert report["text"]["source"] == "the beginning of the training text"
    assert report["text"]["characters"] == len(TEXT)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["vocab_size=5000"], "every word is one token; use more text"),
        (["vocab_size=5000", "min_frequency=7"], "rarer than min_frequency; lower it"),
    ],
)
def test_it_says_why_it_stopped_and_at_how_many(options, said, corpus, tmp_path, capsys):
    train(f"input={corpus}", f"out={tmp_path / 't.json'}", *options)
    printed = capsys.readouterr().out
    assert f"stopped at {load_tokenizer(tmp_path / 't.json').vocab_size:,} of 5,000 ids" in printed
    assert said in printed


@pytest.mark.parametrize("word", ["inspect", "benchmark"])
def test_a_subcommand_is_handed_the_rest(word, monkeypatch):
    seen = []
    module = types.ModuleType("stand_in")
    module.main = lambda argv: seen.append(argv) or 7
    monkeypatch.setitem(sys.modules, f"working_with_text_data.{train_tokenizer.SUBCOMMANDS[word]}", module)
    assert train_tokenizer.main([word, "--anything", "a=b"]) == 7
    assert seen == [["--anything", "a=b"]]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (["split_digits=0.5"], "split_digits"),
        (["split_digits=-1"], "1 to 99"),
        (["split_digits=true", r"pattern=\S+|\s+"], "home-made"),
        (["min_frequency=0"], "min_frequency"),
        (["workers=-1"], "workers"),
        (["workers=2", "readable=true"], "readable"),
        (["special_regex=("], "not a regular expression"),
        (["special_regex=x*"], "empty string"),
        (["special_regex=cat"], "ordinary"),
        ([r"special_regex=\S+"], "ordinary"),
        (["special_regex=<.*"], "64"),
        (["vocab_size=260", 'special_tokens=["<|a|>","<|b|>","<|c|>","<|d|>"]', r"special_regex=<\|[a-z]+\|>"], "261"),
        (["out=corpus.txt/t.json"], "folder"),
        (["report_input=nowhere.txt"], "nowhere.txt"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "train"], "train"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(bad, named, corpus, tmp_path):
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = subprocess.run([*COMMAND, *bad, f"input={corpus}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert named in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_help_names_the_subcommands_and_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from working_with_text_data import train_tokenizer\n"
        "try:\n    train_tokenizer.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'regex', 'rich', 'omegaconf', 'multiprocessing'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "`inspect`" in done.stdout and "`benchmark`" in done.stdout and "special_regex=" in done.stdout


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="asks Linux which processes it has started")
def test_an_interrupt_leaves_nothing_behind(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(" ".join(f"w{i:x}" for i in range(4_000_000)))  # all different: slow to count
    words = [f"input={corpus}", f"out={tmp_path / 't.json'}", "workers=2"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while len(children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # until they are at work
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors.splitlines(), errors
    assert list(tmp_path.iterdir()) == [corpus]
