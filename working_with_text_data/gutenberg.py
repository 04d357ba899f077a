"""Books of Project Gutenberg by their numbers, each one document, downloaded once and kept.

Book 11 is at https://www.gutenberg.org/cache/epub/11/pg11.txt. These files are made anew from time to time,
so no checksum can be published with this code; the sum of each book that was downloaded is written beside
it (`sha256.json`) and checked when it is read again. The site asks robots for patience: two seconds pass
between downloads. Licence text and headers are part of the file and stay; `cleaning` takes them off.
Left out: catalogues and search. A book put there by hand is found by the number in its name
(`pg11.txt`, `11-0.txt`, `Alice_11.txt`).
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.downloads import data_root
from utils.errors import RunFailure, UserError, one_line
from utils.files import atomic_write_bytes, atomic_write_json, sha256_bytes, sha256_file

from .documents import Document, read_file
from .online import unreachable

URL = "https://www.gutenberg.org/cache/epub/{id}/pg{id}.txt"
PAUSE = 2.0  # seconds between two downloads
MAX_BOOK_BYTES = 64 * 2**20

# The default shelf: much-read prose, in the public domain in the US.
BOOKS = {
    11: "Alice's Adventures in Wonderland",
    35: "The Time Machine",
    45: "Anne of Green Gables",
    55: "The Wonderful Wizard of Oz",
    84: "Frankenstein",
    98: "A Tale of Two Cities",
    113: "The Secret Garden",
    345: "Dracula",
    503: "The Blue Fairy Book",
    514: "Little Women",
    1342: "Pride and Prejudice",
    1597: "Andersen's Fairy Tales",
    1661: "The Adventures of Sherlock Holmes",
    2591: "Grimms' Fairy Tales",
    2701: "Moby Dick; Or, The Whale",
}


def book_numbers(ids: str | int | Iterable[int] | None) -> list[int]:
    """The numbers asked for, in order, each once: a list, one number, or text such as "11, 84".

    >>> book_numbers("84,11,84")
    [84, 11]
    """
    if ids is None:
        return list(BOOKS)
    parts = (
        re.split(r"[,\s]+", ids.strip()) if isinstance(ids, str) else [ids] if isinstance(ids, int) else ids
    )
    numbers = []
    for part in parts:
        try:
            number = int(part)
        except (TypeError, ValueError):
            number = 0
        if number < 1:
            raise UserError(f"ids holds {part!r}: give Gutenberg numbers, such as ids=[11, 84]")
        numbers.append(number)
    return list(dict.fromkeys(numbers))


def books_here(folder: Path) -> dict[int, Path]:
    """The books in `folder` by number: `pg11.txt`, `11.txt`, `11-0.txt`, `Alice_11.txt`, also `.gz`."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.txt*")):
        stem = re.sub(r"(-[08])?\.txt(\.gz)?$", "", path.name)
        match = re.search(r"[0-9]+$", stem)
        if match and path.is_file():
            found.setdefault(int(match[0]), path)
    return found


def gutenberg_documents(
    *, max_documents: int | None = None, seed: int = 0, ids: str | int | Iterable[int] | None = None
) -> Iterator[Document]:
    """One document a book, in the order of `ids` (default: `BOOKS`), with `book` and `title` in its meta.

    Raises UserError naming the books that are missing when there is no network, RunFailure when a download
    fails, UserError when a kept book is no longer the file that was downloaded.
    """
    numbers = book_numbers(ids)[:max_documents]
    folder = data_root() / "gutenberg"
    here = books_here(folder)
    missing = [n for n in numbers if n not in here]
    if missing and (why := unreachable(URL.format(id=missing[0]))):
        names = ", ".join(map(str, missing[:8])) + (" …" if len(missing) > 8 else "")
        raise UserError(
            f"gutenberg: {len(missing)} of {len(numbers)} books are not on this machine (numbers {names}) and "
            f"{why}; fetch each from {URL} and put it into {folder.resolve()} (or set SCRATCHBOOK_DATA)"
        )
    return _read(numbers, folder, here)


def _read(numbers: list[int], folder: Path, here: dict[int, Path]) -> Iterator[Document]:
    last_download = 0.0
    for number in numbers:
        path = here.get(number)
        if path is None:
            time.sleep(max(0.0, last_download + PAUSE - time.monotonic()))
            path = download(number, folder)
            last_download = time.monotonic()
        known = sums(folder).get(path.name)
        if known is not None and sha256_file(path) != known:
            raise UserError(f"{path} is not the file that was downloaded: remove it to fetch the book again")
        yield Document(_book_text(path), str(path), 0, {"book": number, "title": BOOKS.get(number)})


def _book_text(path: Path) -> str:
    """The whole file. Gutenberg's own rule for old names: `-8` before the suffix means Latin-1."""
    try:
        return "".join(d.text for d in read_file(path))
    except UserError:
        if not path.name.endswith("-8.txt"):
            raise
        return path.read_bytes().decode("latin-1")


def sums(folder: Path) -> dict[str, str]:
    """The sha256 of each book that was downloaded into `folder`, by file name."""
    try:
        return json.loads((folder / "sha256.json").read_text())
    except (OSError, ValueError):
        return {}


def download(number: int, folder: Path, url: str = URL) -> Path:
    """Fetch one book into `folder`, note its sum, and return its path. Raises RunFailure."""
    address = url.format(id=number)
    request = urllib.request.Request(address, headers={"User-Agent": "llm-scratchbook"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            data = answer.read(MAX_BOOK_BYTES + 1)
            expected = answer.headers.get("Content-Length")
    except (OSError, ValueError) as error:
        raise RunFailure(
            f"book {number} could not be downloaded from {address} ({one_line(error)}): "
            f"put it into {folder.resolve()} as pg{number}.txt"
        ) from None
    whole = expected is None or not expected.isdigit() or int(expected) == len(data)
    if not data or not whole or len(data) > MAX_BOOK_BYTES or b"<html" in data[:1000].lower():
        raise RunFailure(f"book {number}: {address} did not give a whole text file: try again later")
    path = folder / f"pg{number}.txt"
    atomic_write_bytes(path, data)
    atomic_write_json(folder / "sha256.json", {**sums(folder), path.name: sha256_bytes(data)})
    return path
