"""Documents: where a text comes from, before anything is cut into tokens or windows.

A document is the unit that must stay whole: a story, a book, an article. Everything later
(the split into training and validation, the end-of-text token, the shuffling) respects it.
`load_documents` takes a name from the registry (`corpora.py`) or a path and gives a list of them.

What counts as one document:

* `.txt`, `.md`: the whole file, unless a line of it is exactly `<|endoftext|>` (the form in which
  TinyStories is published): then one document between each two such lines.
* `.jsonl`: one document a line, the string in the field `text`; the other fields become its `meta`.
* `.parquet`: one document a row, from the column `text`; the other plain columns become its `meta`.
* `.json`: a list of such objects (or of strings), read whole; only where the file is named.
* a folder: its `.txt`, `.md`, `.jsonl` and `.parquet` files, recursively, in the order of their names.
  Hidden files are left out, linked folders are not entered, and a linked file is read only where it
  lies in the folder itself: a link that leads out is counted and left out.
* a glob (`books/*.txt`), and any of these but parquet with `.gz` behind the name.

Text is taken exactly as it is, line ends included; only a byte-order mark is removed, and documents
of nothing but white space are left out and counted. Deliberately not here: cleaning. How each format
is read is in `readers.py`. This module imports neither torch nor numpy.
"""

from __future__ import annotations

import glob as globbing
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from utils.errors import UserError

from .readers import MAX_LINE_BYTES, SEPARATOR, Problems, ReadOptions, bare_suffix, read_records

__all__ = [
    "KNOWN_SUFFIXES",
    "SEPARATOR",
    "Document",
    "Problems",
    "iter_documents",
    "load_documents",
    "read_file",
    "text_files",
]

KNOWN_SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")  # what is taken from a folder


@dataclass(frozen=True, slots=True)
class Document:
    """One whole text. `source` says where it came from, `index` is its place there (from 0).

    `meta` holds what else the source knows about it: a label, a title, the fields of an instruction.
    """

    text: str
    source: str
    index: int
    meta: Mapping[str, Any] | None = field(default=None, hash=False)


def load_documents(
    name_or_path: str | os.PathLike[str],
    *,
    max_documents: int | None = None,
    seed: int = 0,
    text_field: str = "text",
    errors: Literal["strict", "replace"] = "strict",
    on_bad_line: Literal["stop", "skip"] = "stop",
    problems: Problems | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    max_bytes: int | None = None,
    **options: Any,
) -> list[Document]:
    """The documents of a named corpus, a file, a folder or a glob, as a list that is never empty.

    The arguments are those of `iter_documents`. Raises UserError when there is nothing there, no text in
    it, or a file that cannot be read as text; the message names the file and the line or byte.
    """
    documents = list(
        iter_documents(
            name_or_path,
            max_documents=max_documents,
            seed=seed,
            text_field=text_field,
            errors=errors,
            on_bad_line=on_bad_line,
            problems=problems,
            max_line_bytes=max_line_bytes,
            max_bytes=max_bytes,
            **options,
        )
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
    errors: Literal["strict", "replace"] = "strict",
    on_bad_line: Literal["stop", "skip"] = "stop",
    problems: Problems | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    max_bytes: int | None = None,
    **options: Any,
) -> Iterator[Document]:
    """`load_documents` one at a time: memory is that of the longest document. May yield nothing.

    Args:
        name_or_path: a name from `corpora.CORPORA` ("storyland", "tinystories") or a path. A plain
            string equal to a name means the corpus; write `./storyland` for a file that is called so.
        max_documents: take at most the first so many.
        seed: for corpora that are generated; files do not depend on it.
        text_field: the field of a JSON record, or the column of a parquet file, that holds the text; a
            named corpus knows its own.
        errors: bytes that are not UTF-8 (and NUL): "strict" stops and names the byte, "replace" puts
            U+FFFD in their place and counts them.
        on_bad_line: a JSON line or record that cannot be used: "stop", or "skip" and count it.
        problems: filled with what was skipped, replaced or empty. Without one, anything skipped or
            replaced ends in a Python warning, so that nothing is lost in silence.
        max_line_bytes: the longest line that is read, and the largest `.json` file.
        max_bytes: the most text taken from one file, after decompression. None is no limit; set it
            for files from strangers.
        **options: handed to a named corpus (`n_bytes` for "storyland", `split` for "imdb").
    """
    if max_documents is not None and max_documents < 1:
        raise UserError(f"max_documents is {max_documents}: give at least 1, or leave it out for all")
    how = ReadOptions(text_field, errors, on_bad_line, max_line_bytes, max_bytes)
    seen = Problems() if problems is None else problems
    if isinstance(name_or_path, str):
        from .corpora import CORPORA, corpus_documents

        if name_or_path in CORPORA:
            documents = corpus_documents(
                name_or_path, max_documents=max_documents, seed=seed, how=how, problems=seen, **options
            )
            return _reported(islice(documents, max_documents), seen if problems is None else None)
    if options:
        unknown = ", ".join(sorted(options))
        raise UserError(f"{name_or_path}: a file has no option {unknown}: options are for named corpora")
    paths = text_files(name_or_path, seen)
    stream = (d for path in paths for d in read_file(path, how, seen))
    return _reported(islice(stream, max_documents), seen if problems is None else None)


def _reported(documents: Iterable[Document], problems: Problems | None) -> Iterator[Document]:
    """`documents`, then a warning if something was left out or changed and nobody else is told."""
    try:
        yield from documents
    finally:
        if problems:
            warnings.warn(f"reading: {problems.summary()}", stacklevel=2)


def text_files(path: str | os.PathLike[str], problems: Problems | None = None) -> list[Path]:
    """The text files that a path, folder or glob stands for, in a fixed order; never an empty list."""
    name = os.fspath(path)
    if not name:
        raise UserError("the input is an empty string: give a corpus name, a file or a folder")
    target = Path(name).expanduser()
    if target.is_dir():
        found = sorted(p for p in walk(target, problems) if bare_suffix(p) in KNOWN_SUFFIXES)
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


def read_file(
    path: Path,
    options: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
    problems: Problems | None = None,
) -> Iterator[Document]:
    """The documents of one file. A file of an unknown kind is read as plain text, or refused if binary."""
    seen = Problems() if problems is None else problems
    index = 0
    for text, meta in read_records(path, options, seen):
        if not text or text.isspace():
            seen.add("empty", str(path))
        else:
            yield Document(text, str(path), index, meta)
            index += 1


def walk(folder: Path, problems: Problems | None = None) -> Iterator[Path]:
    """Files below `folder`: no hidden ones, no linked folders, no links that lead out of it."""
    home = folder.resolve()
    for root, directories, files in os.walk(folder):
        directories[:] = [d for d in directories if not d.startswith(".")]
        for name in files:
            path = Path(root, name)
            if name.startswith("."):
                continue
            if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(home)):
                if problems is not None:
                    problems.add("links", f"{path}: a link that leads out of {folder}: not followed")
                continue
            yield path
