"""Books and mixtures: what is written, that it is written once, and training that reads them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pretraining import book_data, prepare_gutenberg, prepare_smollm, train_simple
from utils.cli import run_main
from utils.errors import UserError
from utils.runs import find_run
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.documents import Document
from working_with_text_data.shards import open_shards, read_meta

FRAME = (
    "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n{}\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence\n"
)


def book(number, sentences=120):
    return "\n".join(
        f"On day {i} of book {number} the fox met hen {i * number % 17}." for i in range(sentences)
    )


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (3, 5, 7):
        (folder / f"Book-{number}_{number}.txt").write_text(FRAME.format(book(number)))
    (folder / "Copy_9.txt").write_text(FRAME.format(book(5)))
    (folder / "Short_4.txt").write_text("too short")
    return folder


def tree(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_books_lose_their_frame_copies_are_left_out_and_twice_is_once(shelf, tmp_path, capsys):
    out = tmp_path / "books"
    assert run_main(prepare_gutenberg.main, [f"input={shelf}", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "3 books" in printed and "2 left out" in printed and f"books={out}" in printed
    texts = [path.read_text() for path in sorted(out.glob("*.txt"))]
    assert len(texts) == 3 and all(t.startswith("On day 0") and "licence" not in t for t in texts)
    report = json.loads((out / "books.json").read_text())
    assert report["cleaning"]["dropped"]["exact_duplicate"] == 1 and report["too_short"] == 1
    before = tree(out)
    assert run_main(prepare_gutenberg.main, [f"input={shelf}", f"out={out}"]) == 0
    assert tree(out) == before
    assert run_main(prepare_gutenberg.main, [f"input={shelf}", f"out={out}", "max_books=1"]) == 0
    assert len(list(out.glob("*.txt"))) == 1, "books of an earlier choice stay and would be trained on"


def test_books_by_number_come_from_this_machine_with_their_title(shelf, tmp_path, monkeypatch):
    home = tmp_path / "data" / "gutenberg"
    home.mkdir(parents=True)
    shutil.copy(shelf / "Book-3_3.txt", home / "pg11.txt")
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path / "data"))
    report = prepare_gutenberg.prepare(
        prepare_gutenberg.GutenbergConfig(ids=(11,), out=str(tmp_path / "books"))
    )
    assert list(report["books"]) == ["00011_alices-adventures-in-wonderland.txt"]


def test_a_folder_of_something_else_is_not_touched(shelf, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    for words in ([f"out={shelf}"], [f"out={tmp_path / 'mine.txt'}"], ["ids=[11]"], ["min_characters=99999"]):
        assert run_main(prepare_gutenberg.main, [f"input={shelf}", f"out={tmp_path / 'b'}", *words]) == 2
        assert "\n" not in capsys.readouterr().err.strip()
    assert (tmp_path / "mine.txt").read_text() == "mine" and len(list(shelf.iterdir())) == 5


# ---------------------------------------------------------------- one book after another


def test_books_are_read_in_order_each_to_its_end_and_a_place_is_exact():
    books = [np.arange(start, start + 100) for start in (0, 1000, 2000)]
    batches = book_data.BookBatches(books, 2, 8, seed=3)
    rows, states = [], []
    for _ in range(60):
        states.append(batches.state_dict())
        rows.append((batches.epoch, next(batches)[0]))
    order = [int(x[0, 0]) // 1000 for _, x in rows]
    passes = [book for book, after in zip(order, [*order[1:], None], strict=True) if book != after]
    assert passes[:6] == [0, 1, 2, 0, 1, 2], f"the books came as {passes}"
    first = [x for x, book in zip(rows, order, strict=True)][: order.index(1)]
    seen = {int(i) for _, x in first for i in x.flatten()}
    assert len(seen) >= 88, f"only {len(seen)} of 100 tokens of the first book were read before the second"
    for at in (0, 3, 17, 40):
        again = book_data.BookBatches(books, 2, 8, seed=3)
        again.load_state_dict(states[at])
        for _, x in rows[at : at + 15]:
            assert (next(again)[0] == x).all(), f"from batch {at} on, other batches came"
    with pytest.raises(UserError, match="a shelf of 3 books, this one has 2"):
        book_data.BookBatches(books[:2], 2, 8).load_state_dict(states[0])


def test_the_end_of_every_book_is_held_out():
    documents = [Document(book(n), f"{n}.txt", 0) for n in (3, 5)] + [Document("x", "x.txt", 0)]
    data = book_data.read_shelf(documents, ByteTokenizer(), 16, 0.1)
    assert data.titles == ("3.txt", "5.txt") and data.report["too_short"] == ["x.txt"]
    for tokens, held_out, document in zip(data.books, data.held_out, documents, strict=False):
        whole = ByteTokenizer().encode_ordinary(document.text)
        assert [*tokens, *held_out][: len(whole)] == whole and 0.08 < len(held_out) / len(whole) < 0.12
    with pytest.raises(UserError, match="no book has"):
        book_data.read_shelf(documents[2:], ByteTokenizer(), 16, 0.1)


def test_train_simple_reads_books_judges_each_and_goes_on(shelf, tmp_path, capsys):
    out, runs = tmp_path / "books", tmp_path / "runs"
    assert run_main(prepare_gutenberg.main, [f"input={shelf}", f"out={out}"]) == 0
    small = [
        "n_layer=1",
        "n_head=2",
        "n_embd=16",
        "block_size=32",
        "vocab_size=300",
        "batch_size=16",
        "device=cpu",
    ]
    words = [f"books={out}", f"runs={runs}", *small, "eval_every=10", "save_every=4", "sample_tokens=3"]
    capsys.readouterr()
    assert run_main(train_simple.main, [*words, "epochs=1"]) == 0
    printed = capsys.readouterr().out
    assert "book 1 of 3, pass 1" in printed and "book 3 of 3" in printed and "book by book" in printed
    run = find_run("last", root=runs)
    result = run.meta["result"]
    assert run.status == "complete" and len(result["books"]) == 3
    nats = sum(row["loss"] * row["tokens"] for row in result["books"].values())
    assert nats / sum(row["tokens"] for row in result["books"].values()) == pytest.approx(
        result["val"]["loss"], rel=0.1
    )
    assert len({row["step"] for row in run.samples()}) >= 3, "no sample after each book"
    assert run_main(train_simple.main, [f"runs={runs}", "--resume", "last", "epochs=2", "--quiet"]) == 0
    assert find_run("last", root=runs).meta["result"]["step"] > result["step"]


# ---------------------------------------------------------------- mixtures


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(30):
        (tmp_path / "a" / f"{i:02d}.txt").write_text(f"a{i} " * 40)
    with (tmp_path / "b.jsonl").open("w") as file:
        for i in range(200):
            file.write(json.dumps({"text": f"b{i} " * 10}) + "\n")
    return tmp_path


def mix(sources, *words):
    from utils.config import load_config

    base = [f"sources=[{sources / 'a'}=2,{sources / 'b.jsonl'}]", "tokenizer=byte", f"out={sources / 'out'}"]
    return load_config(prepare_smollm.MixtureConfig, None, [*base, "val_fraction=0.1", *words])


def test_sources_keep_their_shares_at_every_moment(sources):
    given = {"a": 0, "b": 0}
    for number, document in enumerate(prepare_smollm.mixture(mix(sources))):
        given[document.text[0]] += len(document.text)
        if number > 20 and given["a"] < 4300:
            assert given["a"] / given["b"] == pytest.approx(2, rel=0.2), f"after {number} documents: {given}"
    assert sum(1 for d in prepare_smollm.mixture(mix(sources)) if d.text[0] == "b") == 200, (
        "when a ends, b goes on"
    )


def test_a_mixture_becomes_shards_once_and_is_trained_on(sources, capsys):
    config = mix(sources, "tokens=4000", "shard_tokens=1000")
    result = prepare_smollm.prepare(config)
    assert result.written and not prepare_smollm.prepare(config).written
    meta = read_meta(sources / "out")
    total = sum(split["tokens"] for split in meta["splits"].values())
    assert total == pytest.approx(4000, rel=0.03), f"{total} tokens were asked to be about 4000"
    train, val = (bytes(open_shards(sources / "out", s)[:].astype(np.uint8)) for s in ("train", "val"))
    assert len(val) > 50 and not {p for p in val.split(b" ") if p} & {
        p for p in train.split(b" ") if len(p) > 1
    }
    shares = meta["split"]["bytes_by_source"]
    assert sum(v for k, v in shares.items() if "b.jsonl" not in k) / sum(shares.values()) == pytest.approx(
        2 / 3, abs=0.08
    )
    (sources / "a" / "00.txt").write_text("another text " * 20)
    assert prepare_smollm.prepare(config).written, "a changed file was not noticed"
    from pretraining import train

    words = [f"data={sources / 'out'}", "preset=debug", "model.block_size=16", "steps=2", "device=cpu"]
    assert run_main(train.main, [*words, f"runs={sources / 'runs'}", "sample_tokens=2", "--quiet"]) == 0


def test_a_tokenizer_of_the_mixture_and_the_command(sources, capsys):
    words = [
        f"sources=[{sources / 'b.jsonl'}]",
        "vocab_size=280",
        "tokens=500",
        f"out={sources / 'o'}",
        "val_fraction=0.2",
    ]
    assert run_main(prepare_smollm.main, words) == 0
    out = capsys.readouterr().out
    assert "wrote" in out and "100.0% of the text" in out and f"data={sources / 'o'}" in out
    assert read_meta(sources / "o")["vocab_size"] <= 280
    assert run_main(prepare_smollm.main, words) == 0 and "unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("sources=[]", "sources is empty"),
        ("sources=[a=0]", "weight above 0"),
        ("sources=[a=much]", "weight above 0"),
        ("sources=[/no/such/folder]", "/no/such/folder"),
        ("tokens=0", "tokens is 0"),
        ("sources=[smollm-corpus:cosmopedia-v9]", "cosmopedia-v9"),
        ("sources=[fineweb-edu]", "fineweb-edu"),
    ],
)
def test_bad_sources_are_one_line_and_nothing_is_written(word, named, sources, capsys, monkeypatch):
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(sources / "none"))
    words = [f"sources=[{sources / 'a'}]", "tokenizer=byte", f"out={sources / 'x'}", word]
    assert run_main(prepare_smollm.main, words) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and "\n" not in error, error
    assert not (sources / "x").exists()


@pytest.mark.parametrize("module", ["prepare_gutenberg", "prepare_smollm", "train_simple", "results_table"])
def test_help_costs_no_torch(module):
    code = (
        f"import sys; from pretraining.{module} import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True, capture_output=True
    )


def test_fifteen_real_books_are_kept_whole(shared_data, tmp_path):
    """Their frame was taken off before: what is left is the book, and cleaning must not cut into it."""
    books = shared_data / "text" / "gutenberg"
    report = prepare_gutenberg.prepare(
        prepare_gutenberg.GutenbergConfig(input=str(books), out=str(tmp_path / "b"))
    )
    assert len(report["books"]) == 15 and report["cleaning"]["edited"]["boilerplate"] == 0
    for path in books.glob("*.txt"):
        words = path.read_text(encoding="utf-8-sig").split()
        name = prepare_gutenberg._file_name(Document("", path.name, 0), {})
        assert (tmp_path / "b" / name).read_text().split() == words, f"{path.name} lost words"
