"""The registry of named corpora: one entry, one function that yields documents.

    python -m working_with_text_data.corpora                  the table
    python -m working_with_text_data.corpora tinystories      licence, citation, addresses of one

`load_documents("storyland")` finds its source here. Two are built in and need no network and no download:
Storyland is generated (`storyland`), and "pydoc" is the interpreter's own documentation
(`pydoc_corpus.py`). The others are the entries of `corpora.yaml` (see `catalogue.py`) and Gutenberg's books.
To add a source, write one entry there, or one function that yields strings or documents, and `register` it.
This module imports neither torch nor the sources themselves until one is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError, closest, did_you_mean

from .documents import Document
from .readers import Problems, ReadOptions

STORYLAND_BYTES = 16_000_000  # some 27,000 stories: five minutes of training without reading one twice


@dataclass(frozen=True, slots=True)
class Corpus:
    """A named source. `loader(max_documents=, seed=, **options)` yields a string or Document each.

    `sha256` is None where the publisher fixes no file; `here` tells whether it needs no network. With
    `reads_files` the loader is also given `how` (the `ReadOptions`) and `problems` of the caller.
    """

    name: str
    description: str
    licence: str
    loader: Callable[..., Iterable[str | Document]]
    options: tuple[str, ...] = ()
    size: str = ""
    home: str = ""
    citation: str = ""
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    here: Callable[[], bool] = lambda: True
    reads_files: bool = False


def _storyland(*, max_documents: int | None, seed: int, n_bytes: int | None = None) -> Iterable[str]:
    from .storyland import iter_story_corpus

    if n_bytes is None and max_documents is not None:
        return iter_story_corpus(n_stories=max_documents, seed=seed)
    return iter_story_corpus(n_bytes=STORYLAND_BYTES if n_bytes is None else n_bytes, seed=seed)


def _pydoc(*, max_documents: int | None, seed: int) -> Iterator[str]:
    from .pydoc_corpus import pydoc_texts

    return pydoc_texts()


def _gutenberg(**options: Any) -> Iterable[Document]:
    from .gutenberg import gutenberg_documents

    return gutenberg_documents(**options)


def _gutenberg_here() -> bool:
    from .gutenberg import BOOKS, books_here, data_root

    return set(BOOKS) <= set(books_here(data_root() / "gutenberg"))


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "storyland",
            "Generated short stories whose world is tracked, so that a checker can judge any text. Endless.",
            "same as this project",
            _storyland,
            options=("n_bytes",),
            size="any; 16 MB by default",
        ),
        Corpus(
            "pydoc",
            "The documentation inside this Python interpreter: help topics and docstrings. About 2 MB; "
            "its text differs between Python releases.",
            "PSF licence",
            _pydoc,
            size="about 2 MB",
        ),
        Corpus(
            "gutenberg",
            "Books by their numbers (ids=[11, 84]), one document each; fifteen much-read ones by default.",
            "public domain in the US",
            _gutenberg,
            options=("ids",),
            size="15 books, 8 MB",
            home="https://www.gutenberg.org",
            urls=("https://www.gutenberg.org/cache/epub/{id}/pg{id}.txt",),
            here=_gutenberg_here,
        ),
    )
}


def register(corpus: Corpus) -> None:
    """Add a corpus, so that `load_documents(corpus.name)` finds it. A taken name is refused."""
    if corpus.name in CORPORA:
        raise UserError(f"there is already a corpus named {corpus.name!r}: choose another name")
    CORPORA[corpus.name] = corpus


def find_corpus(name: str) -> Corpus:
    """The corpus of that name, or a UserError that lists the names."""
    if name not in CORPORA:
        hint = did_you_mean(closest(name, CORPORA))
        raise UserError(f"no corpus named {name!r}: {hint}corpora are {', '.join(sorted(CORPORA))}")
    return CORPORA[name]


def corpus_documents(
    name: str,
    *,
    max_documents: int | None,
    seed: int,
    how: ReadOptions | None = None,
    problems: Problems | None = None,
    **options: Any,
) -> Iterator[Document]:
    """The documents of a named corpus, numbered from 0, with the corpus as their source.

    An unknown name or option is a UserError that lists the valid ones.
    """
    corpus = find_corpus(name)
    for option in options:
        if option not in corpus.options:
            valid = ", ".join(corpus.options) or "none"
            raise UserError(f"corpus {name!r} has no option {option!r}: its options are: {valid}")
    if corpus.reads_files:
        options.update(how=how, problems=problems)
    items = corpus.loader(max_documents=max_documents, seed=seed, **options)
    return (
        Document(item, name, index)
        if isinstance(item, str)
        else dataclasses.replace(item, source=name, index=index)
        for index, item in enumerate(items)
    )


def _load_shipped_catalogue() -> None:
    from .catalogue import load_catalogue

    for corpus in load_catalogue():
        register(corpus)


_load_shipped_catalogue()


@dataclass(frozen=True)
class CorporaConfig:
    """What to list."""

    here: bool = field(default=False, metadata={"help": "only those that need no network now"})


def main(argv: list[str] | None = None) -> int:
    """The command line: a table, or everything about one corpus. Returns the exit code."""
    config, arguments = parse_args(
        argv,
        CorporaConfig,
        prog="python -m working_with_text_data.corpora",
        description="List the named corpora, or tell about one.",
        positional={"name?": "a corpus; leave it out for the table"},
    )
    if arguments.name is not None:
        print(_told(find_corpus(arguments.name)))
        return 0
    rows = [("name", "size", "licence", "here", "where")]
    for name in sorted(CORPORA):
        corpus = CORPORA[name]
        here = corpus.here()
        if here or not config.here:
            rows.append(
                (name, corpus.size, corpus.licence, "yes" if here else "no", corpus.home or "built in")
            )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
    print('\nnext: python -m working_with_text_data.corpora NAME, or load_documents("NAME") in Python')
    return 0


def _told(corpus: Corpus) -> str:
    from utils.downloads import data_root

    rows = {
        "": corpus.description,
        "licence": corpus.licence,
        "cite": corpus.citation,
        "size": corpus.size,
        "where": corpus.home,
        "files": " ".join(corpus.urls),
        "sha256": corpus.sha256 or ("not fixed by its publisher" if corpus.home else ""),
        "options": ", ".join(corpus.options),
        "here": "yes" if corpus.here() else f"no; by hand: {(data_root() / corpus.name).resolve()}",
    }
    lines = [f"{corpus.name}: {rows.pop('')}"]
    return "\n".join(lines + [f"  {key:<8} {value}" for key, value in rows.items() if value])


if __name__ == "__main__":
    raise SystemExit(run_main(main))
