"""What the data page may show: corpora that need no network, and what lies in the data folder. Read-only.

The idea: a source has a name in a list that is made here, and a name from outside is only looked up in it, as with runs
and models (law LS5). Links are left aside. Everything that is read is bounded, because a source may be endless.

Left out: fetching anything (`python -m working_with_text_data.corpora`), cleaning and splitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from utils.downloads import data_root
from utils.errors import UserError, closest, did_you_mean

DOCUMENTS = 500  # of a source that statistics are made of
DOCUMENT_BYTES = 4_000_000  # of one file, after decompression
MANIFEST_FILES = 200
MANIFEST_BYTES = 200_000_000


@dataclass(frozen=True)
class Source:
    """Something with documents: `what` is a corpus's name or a path below the data folder."""

    name: str
    kind: str  # corpus | folder | file
    what: str
    about: str = ""
    licence: str = ""
    size: str = ""


def all_sources() -> dict[str, Source]:
    """Every source that is here without a network, corpora first."""
    from working_with_text_data.corpora import CORPORA
    from working_with_text_data.documents import KNOWN_SUFFIXES
    from working_with_text_data.readers import bare_suffix

    found = {
        corpus.name: Source(
            corpus.name, "corpus", corpus.name, corpus.description, corpus.licence, corpus.size
        )
        for corpus in CORPORA.values()
        if _is_here(corpus)
    }
    root = data_root()
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return found
    for path in entries:
        if path.name.startswith(".") or path.is_symlink() or path.name in found:
            continue
        kind = "folder" if path.is_dir() else "file" if bare_suffix(path) in KNOWN_SUFFIXES else ""
        if kind:
            found[path.name] = Source(path.name, kind, str(path), f"a {kind} in the data folder")
    return found


def _is_here(corpus: Any) -> bool:
    try:
        return bool(corpus.here())
    except (UserError, OSError):
        return False


def find_source(name: str) -> Source:
    """The source of this name. Raises UserError."""
    known = all_sources()
    if name not in known:
        hint = did_you_mean(closest(name[:80], known))
        raise UserError(f"no data named {name[:80]!r}: {hint}there are {', '.join(list(known)[:8])}")
    return known[name]


def documents_of(source: Source, first: int, most: int) -> list[Any]:
    """`most` documents from number `first` on; bad lines and bad bytes are passed over."""
    from working_with_text_data.documents import iter_documents
    from working_with_text_data.readers import Problems

    stream = iter_documents(
        source.what, errors="replace", on_bad_line="skip", problems=Problems(), max_bytes=DOCUMENT_BYTES,
        max_documents=first + most,
    )  # fmt: skip
    return list(islice(stream, first, first + most))


def statistics_of(source: Source) -> Any:
    """`text_statistics.describe` of the first documents."""
    from working_with_text_data.text_statistics import describe

    return describe(documents_of(source, 0, DOCUMENTS), name=source.name, languages=False)


def manifest_of(source: Source) -> tuple[Any, Any]:
    """The manifest that lies in a folder and what differs from it, or one made now and None.

    Raises UserError for a source that is no files, and for one with too many of them.
    """
    from working_with_text_data.manifest import Manifest, make_manifest

    if source.kind == "corpus":
        raise UserError(
            f"{source.name} is made by a program or lies elsewhere: its run's provenance names its files"
        )
    path = Path(source.what)
    kept = path / "manifest.json"
    if kept.is_file() and not kept.is_symlink():
        manifest = Manifest.load(kept)
        _check([path / row.path for row in manifest.files])
        return manifest, manifest.verify()
    _check([file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()])
    return make_manifest(path), None


def _check(files: list[Path]) -> None:
    size = sum(file.stat().st_size for file in files if file.is_file())
    if len(files) > MANIFEST_FILES or size > MANIFEST_BYTES:
        raise UserError(
            f"{len(files):,} files of {size:,} bytes are too many for a page: "
            "python -m working_with_text_data.manifest make FOLDER"
        )
