"""Documents: where a text comes from, before anything is cut into tokens or windows.

A document is the unit that must stay whole: a story, a book, an article. Everything later
(the split into training and validation, the end-of-text token, the shuffling) respects it.
`load_documents` takes a name from the registry (`corpora.py`) or a path and gives a list of them.

What counts as one document:

* `.txt`, `.md`: the whole file, unless a line of it is exactly `<|endoftext|>` (the form in which
  TinyStories is published): then one document between each two such lines.
* `.jsonl`: one document a line, the string in the field `text`.
* a folder: its `.txt`, `.md` and `.jsonl` files, recursively, in the order of their names.
* a glob (`books/*.txt`), and any of these with `.gz` behind the name.

Text is taken exactly as it is, line ends included; only a byte-order mark is removed, and documents
of nothing but white space are left out. Deliberately not here: cleaning, and formats that need a
library. This module imports neither torch nor numpy.
"""

from __future__ import annotations

import glob as globbing
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from utils.errors import UserError

SEPARATOR = "<|endoftext|>"
TEXT_SUFFIXES = (".txt", ".md")
JSONL_SUFFIXES = (".jsonl",)
KNOWN_SUFFIXES = TEXT_SUFFIXES + JSONL_SUFFIXES


@dataclass(frozen=True, slots=True)
class Document:
    """One whole text. `source` says where it came from, `index` is its place there (from 0)."""

    text: str
    source: str
    index: int


def load_documents(
    name_or_path: str | os.PathLike[str],
    *,
    max_documents: int | None = None,
    seed: int = 0,
    text_field: str = "text",
    **options: Any,
) -> list[Document]:
    """The documents of a named corpus, a file, a folder or a glob, as a list that is never empty.

    Args:
        name_or_path: a name from `corpora.CORPORA` ("storyland", "pydoc") or a path. A plain string
            equal to a name means the corpus; write `./storyland` for a file that is called so.
        max_documents: take at most the first so many.
        seed: for corpora that are generated; files do not depend on it.
        text_field: the field of a `.jsonl` line that holds the text.
        **options: handed to a named corpus (for instance `n_bytes` for "storyland").

    Raises:
        UserError: nothing there, no text in it, or a file that cannot be read as text; the message
            names the file and the line or byte.
    """
    documents = list(
        iter_documents(name_or_path, max_documents=max_documents, seed=seed, text_field=text_field, **options)
    )
    if not documents:
        raise UserError(f"{name_or_path}: no text in it: give a file or a folder that holds some text")
    return documents


def iter_documents(
    name_or_path: str | os.PathLike[str],
    *,
    max_documents: int | None = None,
    seed: int = 0,
    text_field: str = "text",
    **options: Any,
) -> Iterator[Document]:
    """`load_documents` one at a time: memory is that of the longest document. May yield nothing."""
    if max_documents is not None and max_documents < 1:
        raise UserError(f"max_documents is {max_documents}: give at least 1, or leave it out for all")
    if isinstance(name_or_path, str):
        from .corpora import CORPORA, corpus_texts

        if name_or_path in CORPORA:
            texts = corpus_texts(name_or_path, max_documents=max_documents, seed=seed, **options)
            documents: Iterable[Document] = (
                Document(text, name_or_path, index) for index, text in enumerate(texts)
            )
            return islice(documents, max_documents)
    if options:
        unknown = ", ".join(sorted(options))
        raise UserError(f"{name_or_path}: a file has no option {unknown}: options are for named corpora")
    paths = text_files(name_or_path)
    return islice((d for path in paths for d in read_file(path, text_field=text_field)), max_documents)


def text_files(path: str | os.PathLike[str]) -> list[Path]:
    """The text files that a path, folder or glob stands for, in a fixed order; never an empty list."""
    name = os.fspath(path)
    if not name:
        raise UserError("the input is an empty string: give a corpus name, a file or a folder")
    target = Path(name).expanduser()
    if target.is_dir():
        found = sorted(p for p in _walk(target) if _bare_suffix(p) in KNOWN_SUFFIXES)
        if not found:
            kinds = ", ".join(KNOWN_SUFFIXES)
            raise UserError(f"{name}: no text in this folder: it needs files ending in {kinds} (or + .gz)")
        return found
    if target.exists():
        return [target]
    if any(sign in name for sign in "*?["):
        matches = (Path(p) for p in globbing.glob(os.path.expanduser(name), recursive=True))
        found = sorted(p for p in matches if p.is_file())
        if not found:
            raise UserError(f"{name}: no file matches this pattern (looked from {Path.cwd()})")
        return found
    from .corpora import CORPORA

    names = ", ".join(sorted(CORPORA))
    raise UserError(f"{name}: no such file or folder, and no corpus of that name: corpora are {names}")


def read_file(path: Path, *, text_field: str = "text") -> Iterator[Document]:
    """The documents of one file. A file of an unknown kind is read as plain text, or refused if binary."""
    suffix = _bare_suffix(path)
    texts = _jsonl_texts(path, text_field) if suffix in JSONL_SUFFIXES else _plain_texts(path)
    kept = (text for text in texts if not _is_blank(text))
    for index, text in enumerate(kept):
        yield Document(text, str(path), index)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`; hidden ones are left out and linked folders are not entered."""
    for root, directories, files in os.walk(folder):
        directories[:] = [d for d in directories if not d.startswith(".")]
        yield from (Path(root, f) for f in files if not f.startswith("."))


def _bare_suffix(path: Path) -> str:
    """The suffix in lower case, looking through `.gz`: `a.jsonl.gz` is `.jsonl`."""
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _plain_texts(path: Path) -> Iterator[str]:
    """The whole file, or the pieces between separator lines (without the line breaks around them)."""
    lines: list[str] = []
    separated = False
    for _, line in _lines(path):
        # The cheap test first: of a million lines almost none begin so.
        if line.startswith(SEPARATOR) and line.strip() == SEPARATOR:
            separated = True
            yield "".join(lines).strip("\r\n")
            lines = []
        else:
            lines.append(line)
    rest = "".join(lines)
    yield rest.strip("\r\n") if separated else rest


def _jsonl_texts(path: Path, text_field: str) -> Iterator[str]:
    for number, line in _lines(path):
        if _is_blank(line):
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}): each line must be one whole object") from None
        except RecursionError:
            raise UserError(f"{where}: JSON nested too deeply: each line must be one flat object") from None
        if not isinstance(record, dict):
            raise UserError(
                f"{where}: a {type(record).__name__}, but each line must be an object with {text_field!r}"
            )
        text = record.get(text_field)
        if not isinstance(text, str):
            has = ", ".join(map(repr, list(record)[:8])) or "no fields"
            what = "is missing" if text_field not in record else f"is {type(text).__name__}, not a string"
            raise UserError(
                f"{where}: the field {text_field!r} {what}; the line has {has}: pass text_field=NAME"
            )
        # An escaped lone surrogate is valid JSON and no text: it has no UTF-8 form.
        if "\\ud" in line.lower() and any("\ud800" <= c <= "\udfff" for c in text):
            raise UserError(f"{where}: holds half of a surrogate pair, which is not a character: remove it")
        yield text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its own line end), or a UserError that says what is wrong where."""
    if path.is_dir():
        raise UserError(f"{path}: a folder where a file is needed")
    try:
        with _open_text(path) as stream:
            for number, line in enumerate(stream, start=1):
                if "\0" in line:
                    raise _not_text(path)
                yield number, line
    except UnicodeDecodeError:
        raise _not_text(path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: a damaged gzip file ({error}): fetch or compress it again") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None


def _open_text(path: Path) -> IO[str]:
    # newline="\n" splits lines at \n alone and changes nothing: \r\n stays \r\n.
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    return open(path, encoding="utf-8-sig", newline="\n")


def _not_text(path: Path) -> UserError:
    """Read the file once more, as bytes, to name the first byte that is not UTF-8 text."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as stream:
        start = stream.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff"):
            return UserError(f"{path}: UTF-16 text, from byte 0: save it as UTF-8")
        offset, line = 0, start + stream.readline()
        while line:
            nul = line.find(b"\0")
            try:
                line.decode("utf-8")
                bad, reason = nul, "a NUL byte"
            except UnicodeDecodeError as error:
                bad, reason = error.start, f"0x{line[error.start]:02x}, which is not UTF-8"
                if 0 <= nul < bad:
                    bad, reason = nul, "a NUL byte"
            if bad >= 0:
                return UserError(f"{path}: not a text file: {reason} at byte {offset + bad}: give UTF-8 text")
            offset, line = offset + len(line), stream.readline()
    return UserError(f"{path}: changed while it was read: try again")
