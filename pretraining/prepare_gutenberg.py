"""`python -m pretraining.prepare_gutenberg`: books of Project Gutenberg, one clean file each, and a list of them.

    python -m pretraining.prepare_gutenberg ids=[11,84] out=data/books
    python -m pretraining.prepare_gutenberg input=my_books/ out=data/books

Each book loses the frame that Project Gutenberg puts around it (licence, credits), its blanks are tidied, and a second
copy is left out. `books.json` says for each file what it was made from, with both sums; done twice, it writes the same
bytes. `train_simple` reads the folder book by book, `pretraining.train data=FOLDER` all of it at once.

Without a network, books that lie in data/gutenberg (or SCRATCHBOOK_DATA) are used, and the others are named. Left out:
joining books into larger files, which other recipes do to open fewer files: here windows run over the edges of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError
from utils.files import atomic_write_json, atomic_write_text, sha256_bytes

if TYPE_CHECKING:
    from working_with_text_data.documents import Document

LIST = "books.json"


@dataclass(frozen=True)
class GutenbergConfig:
    """Which books, and where they go."""

    ids: tuple[int, ...] = field(
        default=(), metadata={"help": "Gutenberg's numbers; empty: a shelf of fifteen"}
    )
    input: str | None = field(default=None, metadata={"help": "a file or folder of books instead of ids"})
    out: str = field(default="data/books", metadata={"help": "the folder for the clean books"})
    max_books: int | None = field(default=None, metadata={"help": "take at most so many"})
    min_characters: int = field(default=2000, metadata={"help": "leave out what is shorter after cleaning"})

    def __post_init__(self) -> None:
        if self.ids and self.input is not None:
            raise UserError("ids and input both name books: give one of them")
        for name in ("max_books", "min_characters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}, but the least is 1: set {name}=1 or more")


def prepare(config: GutenbergConfig) -> dict[str, Any]:
    """Write the books and `books.json` into `config.out`; returns what that file says.

    Raises UserError for books that are neither here nor reachable, and for a folder that holds something else.
    """
    from working_with_text_data.cleaning import CleaningConfig, Counters, clean_documents

    out = Path(config.out).expanduser()
    _refuse_foreign(out)
    counters = Counters()
    # Only what needs no optional package; personal data in a novel of 1890 is nobody's.
    how = CleaningConfig(mojibake=False, quality=False, pii=False, near_duplicates=False)
    originals: dict[str, str] = {}
    taken: dict[str, dict[str, Any]] = {}
    short = 0
    for book in clean_documents(_remembering(_books(config), originals), how, counters=counters):
        if len(book.text) < config.min_characters:
            short += 1
            continue
        name = _file_name(book, taken)
        text = book.text if book.text.endswith("\n") else book.text + "\n"
        atomic_write_text(out / name, text)
        meta = {key: value for key, value in (book.meta or {}).items() if value is not None}
        facts = {"characters": len(text), "sha256": sha256_bytes(text.encode())}
        taken[name] = {**meta, **facts, "made_from_sha256": originals[f"{book.source}#{book.index}"]}
    if not taken:
        raise UserError(
            f"no book of at least {config.min_characters} characters: give others, or lower min_characters"
        )
    report = {
        "format": "scratchbook-books",
        "books": taken,
        "too_short": short,
        "cleaning": counters.to_dict(),
    }
    atomic_write_json(out / LIST, report)
    for path in out.glob("*.txt"):  # of an earlier choice: only what the list names belongs to the folder
        if path.name not in taken:
            path.unlink()
    return report


def _books(config: GutenbergConfig) -> Iterator[Document]:
    from working_with_text_data.documents import iter_documents
    from working_with_text_data.gutenberg import gutenberg_documents

    if config.input is not None:
        yield from iter_documents(config.input, max_documents=config.max_books)
    else:
        yield from gutenberg_documents(ids=config.ids or None, max_documents=config.max_books)


def _remembering(books: Iterator[Document], sums: dict[str, str]) -> Iterator[Document]:
    """The books as they come; `sums` gets the sha256 of each."""
    for book in books:
        sums[f"{book.source}#{book.index}"] = sha256_bytes(book.text.encode())
        yield book


def _file_name(book: Document, taken: dict[str, Any]) -> str:
    """`00011_alices-adventures-in-wonderland.txt`: sorted by number, readable, never a path."""
    meta = book.meta or {}
    stem = str(meta.get("title") or Path(book.source).stem)
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower().replace("'", "")).strip("-")[:60] or "book"
    number = meta.get("book")
    name = f"{int(number):05d}_{words}" if number is not None else words
    other, count = name, 2
    while f"{other}.txt" in taken:
        other, count = f"{name}-{count}", count + 1
    return f"{other}.txt"


def _refuse_foreign(out: Path) -> None:
    """Files are replaced and removed in `out`: a folder of something else is not for that."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file where a folder for the books is needed: choose another out=")
    if out.is_dir() and any(out.iterdir()) and not (out / LIST).is_file():
        raise UserError(f"{out}: holds other files and no {LIST}: choose a new folder as out=")


def main(argv: list[str] | None = None) -> int:
    """Parse, prepare, say what is there and what to do next. Returns the exit code."""
    config, _ = parse_args(
        argv,
        GutenbergConfig,
        prog="python -m pretraining.prepare_gutenberg",
        description=(__doc__ or "").split("\n\n")[0],
        aliases={"--input": "input", "--out": "out"},
    )
    report = prepare(config)
    books = report["books"]
    total = sum(book["characters"] for book in books.values())
    for name, book in books.items():
        print(f"  {book['characters']:>9,} characters  {name}")
    left_out = report["cleaning"]["processed"] - len(books)
    print(f"{len(books)} books, {total:,} characters, {left_out} left out: {config.out}")
    print(f"next: python -m pretraining.train_simple books={config.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
