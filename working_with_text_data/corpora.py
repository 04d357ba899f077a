"""The registry of named corpora: one entry, one function that yields texts.

`load_documents("storyland")` finds its source here. The two that are built in need no network and
no download: Storyland is generated (`storyland.py`), and "pydoc" is the interpreter's own
documentation (`pydoc_corpus.py`). To add a source, write a function that yields strings and call
`register`. This module imports neither torch nor the sources themselves until one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError

STORYLAND_BYTES = 16_000_000  # some 27,000 stories: five minutes of training without reading one twice


@dataclass(frozen=True, slots=True)
class Corpus:
    """A named source. `texts(max_documents=, seed=, **options)` yields one string a document."""

    name: str
    description: str
    licence: str
    texts: Callable[..., Iterable[str]]
    options: tuple[str, ...] = ()


def _storyland(*, max_documents: int | None, seed: int, n_bytes: int | None = None) -> Iterable[str]:
    from .storyland import story_corpus

    if n_bytes is None and max_documents is not None:
        return story_corpus(n_stories=max_documents, seed=seed)
    return story_corpus(n_bytes=STORYLAND_BYTES if n_bytes is None else n_bytes, seed=seed)


def _pydoc(*, max_documents: int | None, seed: int) -> Iterator[str]:
    from .pydoc_corpus import pydoc_texts

    return pydoc_texts()


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "storyland",
            "Generated short stories whose world is tracked, so that a checker can judge any text. Endless.",
            "same as this project",
            _storyland,
            options=("n_bytes",),
        ),
        Corpus(
            "pydoc",
            "The documentation inside this Python interpreter: help topics and docstrings. About 2 MB; "
            "its text differs between Python releases.",
            "PSF licence",
            _pydoc,
        ),
    )
}


def register(corpus: Corpus) -> None:
    """Add a corpus, so that `load_documents(corpus.name)` finds it. A taken name is refused."""
    if corpus.name in CORPORA:
        raise UserError(f"there is already a corpus named {corpus.name!r}: choose another name")
    CORPORA[corpus.name] = corpus


def corpus_texts(name: str, *, max_documents: int | None, seed: int, **options: Any) -> Iterable[str]:
    """The texts of a named corpus; an unknown name or option is a UserError that lists the valid ones."""
    if name not in CORPORA:
        raise UserError(f"no corpus named {name!r}: corpora are {', '.join(sorted(CORPORA))}")
    corpus = CORPORA[name]
    for option in options:
        if option not in corpus.options:
            valid = ", ".join(corpus.options) or "none"
            raise UserError(f"corpus {name!r} has no option {option!r}: its options are: {valid}")
    return corpus.texts(max_documents=max_documents, seed=seed, **options)
