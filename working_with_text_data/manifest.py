"""A manifest: exactly which bytes a result was made from, and whether they are still the same.

    python -m working_with_text_data.manifest make data licence="CC BY 4.0" out=manifest.json
    python -m working_with_text_data.manifest verify manifest.json
    python -m working_with_text_data.manifest snapshot data out=snapshots

The idea: the sha256 of every file, and one sha256 of the whole: of the sorted list of (path, sha256). So a
changed byte and a renamed file give another snapshot, while the order in which files were named, their
times and the place of the folder do not. `verify` reads every byte again and lists what is changed, missing
or new. `snapshot` keeps the files under the sum of the whole, so that a second snapshot of the same files
is the first one. Lineage says where the files came from: the command, the parents' sums, the sources.
Left out: signatures. Whoever can change the files can change the manifest; keep its sum elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import RunFailure, UserError
from utils.files import atomic_dir, atomic_write_json, jsonable, sha256_bytes, sha256_file
from utils.provenance import now

from .documents import KNOWN_SUFFIXES, read_file, walk
from .readers import bare_suffix

VERSION = 1


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file: its path below the root (with /), its size and sum, and what is known of it."""

    path: str
    bytes: int
    sha256: str
    documents: int | None = None
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What differs from the manifest, as lists of relative paths; empty where all is as it was."""

    changed: list[str]
    missing: list[str]
    new: list[str]

    @property
    def ok(self) -> bool:
        return not (self.changed or self.missing or self.new)

    def __str__(self) -> str:
        rows = (("changed", self.changed), ("missing", self.missing), ("new", self.new))
        return "\n".join(f"{word:<8} {path}" for word, paths in rows for path in paths) or "all as it was"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a selection. `sha256` is that of the whole; `root` is where they were found."""

    root: str
    selection: tuple[str, ...]
    files: tuple[FileRow, ...]
    sha256: str
    lineage: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    version: int = VERSION

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.files)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, atomically."""
        return atomic_write_json(path, jsonable(self))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Manifest:
        """Read one back; a relative `root` starts at its own folder.

        UserError if it is not a manifest, of another version, or contradicts itself.
        """
        try:
            tree = json.loads(Path(path).read_text(encoding="utf-8"))
            if tree.get("version") != VERSION:
                raise UserError(
                    f"{path}: manifest version {tree.get('version')!r}, but this code reads {VERSION}"
                )
            rows = tuple(FileRow(**row) for row in tree.pop("files"))
            where = os.path.join(os.path.dirname(os.path.abspath(path)), tree["root"])
            manifest = Manifest(files=rows, **{**tree, "selection": tuple(tree["selection"]), "root": where})
        except FileNotFoundError:
            raise UserError(f"{path}: no such manifest") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: not a manifest ({error}): make one with `manifest make`") from None
        if manifest.sha256 != whole_sha256(rows):
            raise UserError(
                f"{path}: its list of files does not give its sha256: it was edited; make it anew"
            )
        return manifest

    def verify(self, root: str | os.PathLike[str] | None = None) -> Verification:
        """Read every file again, below `root` (default: where they were), and list what differs."""
        base = Path(self.root if root is None else root)
        known = {row.path: row for row in self.files}
        changed, missing = [], []
        for row in _shown(self.files):
            path = base / row.path
            if not path.is_file():
                missing.append(row.path)
            elif path.stat().st_size != row.bytes or sha256_file(path) != row.sha256:
                changed.append(row.path)
        here = selected_files(self.selection, base, must_exist=False)
        new = sorted(name for name in here if name not in known and not _is_this(here[name], self.sha256))
        return Verification(changed, missing, new)


def whole_sha256(rows: Iterable[FileRow]) -> str:
    """One sum for a set of files, whatever their order: of the JSON list of sorted [path, sha256]."""
    pairs = sorted([row.path, row.sha256] for row in rows)
    return sha256_bytes(json.dumps(pairs, ensure_ascii=True, separators=(",", ":")).encode())


def _is_this(path: Path, sha256: str) -> bool:
    """Whether a file is the manifest itself, saved beside what it describes."""
    if path.suffix != ".json":
        return False
    try:
        tree = json.loads(path.read_bytes())
        return isinstance(tree, dict) and tree.get("sha256") == sha256 and "selection" in tree
    except (OSError, ValueError):
        return False


def selected_files(selection: Sequence[str], root: Path, *, must_exist: bool = True) -> dict[str, Path]:
    """Relative path -> file, for files, folders and globs below `root`; "." is all of it.

    Hidden files, linked folders and links that lead out are left out, as everywhere in this chapter.
    """
    found: dict[str, Path] = {}
    for item in selection:
        target = root / item
        if target.is_dir():
            paths = list(walk(target))
        elif target.is_file():
            paths = [target]
        else:
            globbed = root.glob(item) if any(sign in item for sign in "*?[") else ()
            paths = [path for path in globbed if path.is_file() and _inside(path, root)]
        if not paths and must_exist:
            raise UserError(f"{target}: no file there: give files, folders or a glob")
        found.update((path.relative_to(root).as_posix(), path) for path in paths)
    return found


def _shown(items: Sequence[Any]) -> Iterable[Any]:
    """The same items, with a bar on a terminal: reading every byte of many files takes a while."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, "hashing", console=console, transient=True, disable=not console.is_terminal)


def _inside(path: Path, root: Path) -> bool:
    """Whether a file found by a glob is neither hidden nor a link that leads out of `root`."""
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.resolve().is_relative_to(root.resolve())


def make_manifest(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    licence: str = "",
    command: str = "",
    parents: Sequence[str] = (),
    sources: Sequence[str] = (),
    count_documents: bool = False,
) -> Manifest:
    """The manifest of the files that `paths` (files, folders, globs) stand for.

    `root` is the folder that paths in the manifest are relative to: by default the one folder given, or the
    nearest that holds them all. `licence` is noted for every file; `command`, `parents` (sums of other
    manifests) and `sources` become the lineage. `count_documents` also reads the text files and counts.
    Raises UserError when a path holds no file or lies outside `root`.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise UserError("nothing was selected: give files, folders or a glob")
    absolute = [Path(os.path.abspath(os.path.expanduser(p))) for p in given]
    base = _root_of(absolute) if root is None else Path(os.path.abspath(root))
    selection = []
    for path in absolute:
        if not path.is_relative_to(base):
            raise UserError(f"{path} lies outside root {base}: give a root that holds everything")
        selection.append(path.relative_to(base).as_posix())
    files = selected_files(selection, base)
    rows = tuple(
        FileRow(
            name, path.stat().st_size, sha256_file(path), _count(path) if count_documents else None, licence
        )
        for name, path in _shown(sorted(files.items()))
    )
    lineage = {"command": command, "parents": list(parents), "sources": list(sources)}
    return Manifest(str(base), tuple(sorted(set(selection))), rows, whole_sha256(rows), lineage, now())


def _root_of(paths: Sequence[Path]) -> Path:
    """The nearest folder that holds all of them; a glob counts from its last part without a sign."""
    plain = []
    for path in paths:
        while any(sign in part for part in path.parts for sign in "*?[") and not path.exists():
            path = path.parent
        plain.append(path if path.is_dir() else path.parent)
    return Path(os.path.commonpath(plain))


def _count(path: Path) -> int | None:
    return sum(1 for _ in read_file(path)) if bare_suffix(path) in KNOWN_SUFFIXES else None


def verify(
    manifest: Manifest | str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> Verification:
    """`Manifest.verify`, for a manifest or the path of one."""
    return (manifest if isinstance(manifest, Manifest) else Manifest.load(manifest)).verify(root)


def snapshot(
    manifest: Manifest, out: str | os.PathLike[str], *, how: Literal["copy", "link"] = "copy"
) -> Path:
    """Keep the files of a manifest in `out/<first 16 digits of its sum>/`: `files/…` and `manifest.json`.

    A snapshot that is there and whole is used as it is. "link" makes hard links, which cost no space but
    change with the original where that is edited in place; `verify` would show it. Raises UserError when a
    file is no longer what the manifest says.
    """
    target = Path(out) / manifest.sha256[:16]
    if target.exists():
        kept = Manifest.load(target / "manifest.json").verify(target / "files")
        if kept.ok:
            return target
        raise UserError(
            f"{target} is a damaged snapshot ({str(kept).splitlines()[0]}): remove it and try again"
        )
    with atomic_dir(target) as folder:
        for row in manifest.files:
            source, copy = Path(manifest.root) / row.path, folder / "files" / row.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                _keep(source, copy, how)
            except FileNotFoundError:
                raise UserError(f"{source} is gone since the manifest was made: make it anew") from None
            if sha256_file(copy) != row.sha256:
                raise UserError(f"{source} changed since the manifest was made: make it anew")
        files = tuple(manifest.files)
        inside = Manifest("files", (".",), files, manifest.sha256, manifest.lineage, manifest.created)
        inside.save(folder / "manifest.json")
    return target


def _keep(source: Path, copy: Path, how: str) -> None:
    if how == "link":
        try:
            os.link(source, copy)
            return
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise  # another file system or no links there: copy instead
    shutil.copyfile(source, copy)


@dataclass(frozen=True)
class ManifestConfig:
    """What to select and what to note about it."""

    also: tuple[str, ...] = field(default=(), metadata={"help": "further files, folders or globs"})
    root: Path | None = field(default=None, metadata={"help": "the folder that paths are relative to"})
    out: Path | None = field(
        default=None,
        metadata={"help": "make: the manifest (manifest.json); snapshot: the folder (snapshots)"},
    )
    licence: str = field(default="", metadata={"help": "noted for every file"})
    parents: tuple[str, ...] = field(
        default=(), metadata={"help": "sums of the manifests this was made from"}
    )
    sources: tuple[str, ...] = field(default=(), metadata={"help": "where the files came from"})
    count_documents: bool = field(
        default=False, metadata={"help": "also read text files and count documents"}
    )
    how: Literal["copy", "link"] = "copy"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns 0, or 1 when `verify` found a difference."""
    config, arguments = parse_args(
        argv,
        ManifestConfig,
        prog="python -m working_with_text_data.manifest",
        description="Say exactly which files something was made from, and check that they are the same.",
        positional={
            "action": "make, verify or snapshot",
            "path": "a file, folder or glob (make, snapshot), or a manifest (verify)",
        },
    )
    action, path = arguments.action, arguments.path
    if action == "verify":
        difference = verify(path, config.root)
        print(difference)
        if not difference.ok:
            raise RunFailure(
                f"{path}: {len(difference.changed)} changed, {len(difference.missing)} missing, "
                f"{len(difference.new)} new: make a new manifest if that is meant"
            )
        return 0
    if action not in ("make", "snapshot"):
        raise UserError(f"action is {action!r} but must be make, verify or snapshot")
    manifest = make_manifest(
        [path, *config.also],
        root=config.root,
        licence=config.licence,
        command=f"python -m working_with_text_data.manifest {action} {path}",
        parents=config.parents,
        sources=config.sources,
        count_documents=config.count_documents,
    )
    print(f"{len(manifest.files):,} files, {manifest.bytes:,} bytes, sha256 {manifest.sha256}")
    if action == "snapshot":
        kept = snapshot(manifest, config.out or Path("snapshots"), how=config.how)
        print(f"wrote {kept}")
        print(f"next: python -m working_with_text_data.manifest verify {kept}/manifest.json")
    else:
        out = manifest.save(config.out or Path("manifest.json"))
        print(f"wrote {out}")
        print(f"next: python -m working_with_text_data.manifest verify {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
