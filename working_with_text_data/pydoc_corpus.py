"""The interpreter's own documentation as a corpus: real English, about 2 MB, on every machine, no network.

Two sources: the language reference that `help()` shows (`pydoc_data.topics`), one document a topic;
and the docstrings of the standard library, one document a module, read from its source files without
importing them (an import may open windows, print poems, or fail). Paragraphs that were seen before
are left out, here and thus before any split: the same docstring is inherited and copied in many places,
and would otherwise stand on both sides.

The text changes between Python releases, and a stripped-down installation may lack either source:
nothing may pin ids or losses to it. Left out: extension modules, whose docstrings need an import.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from utils.errors import UserError

# Vendored copies, tests and programs, not documentation.
_SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "ensurepip",
    "site-packages",
    "dist-packages",
}
_MIN_CHARS = 200  # a module whose only word is "Test support" is no document


def pydoc_texts() -> Iterator[str]:
    """The documents in a fixed order: topics by name, then modules by path. No paragraph comes twice.

    Raises UserError when this Python has neither help topics nor library sources.
    """
    seen: set[bytes] = set()
    found = False
    for text in chain(_topics(seen), _modules(Path(sysconfig.get_path("stdlib")), seen)):
        if len(text) >= _MIN_CHARS:
            found = True
            yield text
    if not found:
        raise UserError(
            "this Python carries no documentation (neither pydoc_data nor library sources): use storyland"
        )


def _topics(seen: set[bytes]) -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package it apart
        return
    for name in sorted(topics):
        yield _without_seen(topics[name], seen)


def _modules(library: Path, seen: set[bytes]) -> Iterator[str]:
    """One text a module: its docstring, then each class's and function's under its qualified name."""
    for path in sorted(_sources(library)):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):  # a template, or not meant to be parsed
            continue
        name = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
        entries = ((title, _without_seen(doc, seen)) for title, doc in _docstrings(tree, name))
        yield "\n\n".join(f"{title}\n\n{doc}" for title, doc in entries if doc)


def _sources(library: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(library):
        folders[:] = [f for f in folders if f not in _SKIPPED and not f.startswith((".", "__", "config-"))]
        yield from (Path(root, file) for file in files if file.endswith(".py"))


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of the node and of what is defined in it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        doc = ast.get_docstring(node)
        if doc and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in doc):  # half characters
            yield name, doc
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _docstrings(child, f"{name}.{child.name}")


def _without_seen(text: str, seen: set[bytes]) -> str:
    """`text` without the paragraphs that an earlier text, or an earlier place in it, had."""
    fresh = []
    for paragraph in text.split("\n\n"):
        key = hashlib.blake2b(" ".join(paragraph.split()).encode("utf-8"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            fresh.append(paragraph)
    return "\n\n".join(fresh).strip("\n")
