"""Tables and colours of tokens, the commands, and a start without torch."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import working_with_text_data
from working_with_text_data import (
    coloured,
    load_tokenizer,
    token_strip_html,
    token_table,
    train_bpe,
    train_tokenizer,
)
from working_with_text_data.inspect_tokens import rows_of_ids

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 3


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


# --- looking at tokens ----------------------------------------------------------------------------


def test_rows_cover_the_bytes_of_the_text():
    text = "naïve\t東京 \n\x01\u200b<|end|>"
    tokenizer = train_bpe(TEXT, 300, special_tokens=["<|end|>"])
    rows = token_table(text, tokenizer, allowed_special="all")
    assert b"".join(row.bytes for row in rows) == text.encode()
    assert [row.start for row in rows] == [0, *(row.end for row in rows[:-1])]
    assert rows[-1].special and not any(row.special for row in rows[:-1])
    assert all(row.shown.isprintable() and " " not in row.shown for row in rows)
    assert any(row.text is None and "‹" in row.shown for row in rows), "half a character shows its bytes"
    assert rows_of_ids([row.id for row in rows], tokenizer) == rows
    assert not any(row.special for row in token_table(text, tokenizer)), "plain text unless allowed"


def test_coloured_text_is_the_text():
    tokenizer = train_bpe(TEXT, 300)
    shown = coloured("the cat\n\nsat", tokenizer)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "the·cat⏎\n⏎\nsat"
    assert shown.count("\x1b[0m") == len(re.findall(r"\x1b\[(?!0m)", shown)), "every colour is ended"
    assert coloured("", tokenizer) == ""


def test_the_html_strip_is_whole_and_safe():
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.text, self.tags = [], "", set()

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            if tag not in ("br", "wbr"):
                self.open.append(tag)
            assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            self.text += data

    reader = Reader()
    reader.feed(token_strip_html('<script>alert("x")</script>\n& "quoted"', train_bpe(TEXT, 300)))
    assert reader.open == [] and reader.tags <= {"div", "span", "wbr", "br"}
    assert reader.text == '<script>alert("x")</script>⏎&·"quoted"'


# --- commands -------------------------------------------------------------------------------------


def test_the_command_trains_and_saves(tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT)
    out = tmp_path / "made" / "tokenizer.json"
    assert train_tokenizer.main([f"input={corpus}", "vocab_size=300", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "wrote" in printed and "next:" in printed and "bytes per token" in printed
    tokenizer = load_tokenizer(out)
    assert tokenizer.encode(TEXT) and list(tokenizer.special_tokens) == list(train_tokenizer.DEMO_SPECIALS)


def test_the_command_says_at_how_many_ids_it_stopped(tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("abc abc")
    out = tmp_path / "t.json"
    assert train_tokenizer.main([f"input={corpus}", f"out={out}", "special_tokens=[]"]) == 0
    assert "stopped at 259 of 2,048" in capsys.readouterr().out


def test_the_readable_trainer_from_the_command_line_learns_the_same(tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT)
    arguments = [f"input={corpus}", "vocab_size=280"]
    train_tokenizer.main([*arguments, f"out={tmp_path / 'a.json'}", "--readable"])
    assert "merge   1" in capsys.readouterr().out
    train_tokenizer.main([*arguments, f"out={tmp_path / 'b.json'}"])
    a, b = (json.loads((tmp_path / name).read_text())["merges"] for name in ("a.json", "b.json"))
    assert a == b


@pytest.mark.parametrize(
    "bad",
    [
        ["input=nowhere.txt"],
        ["input=empty.txt"],
        ["input=binary.bin"],
        ["input=corpus.txt", "vocab_size=100"],
        ["input=corpus.txt", "vocab_size=many"],
        ["input=corpus.txt", "pattern=("],
        ["input=corpus.txt", "tie_break=coin"],
        ["input=corpus.txt", "colour=red"],
    ],
)
def test_bad_input_ends_with_one_line_and_nothing_written(bad, tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.bin").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "folder").mkdir()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "working_with_text_data.train_tokenizer", *bad],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


# --- the package ----------------------------------------------------------------------------------


def test_every_exported_name_exists():
    for name in working_with_text_data.__all__:
        assert getattr(working_with_text_data, name) is not None, name
    with pytest.raises(AttributeError):
        working_with_text_data.no_such_name  # noqa: B018


def test_tokenizers_start_without_torch():
    code = (
        "import sys\n"
        "from working_with_text_data import (ByteTokenizer, BPETokenizer, train_bpe, load_tokenizer,\n"
        "    StreamingDecoder, coloured, load_tiktoken)\n"
        "import working_with_text_data.train_tokenizer\n"
        "train_bpe('some text', 260).encode('some text')\n"
        "heavy = {'torch', 'transformers', 'numpy', 'tiktoken', 'regex', 'omegaconf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
