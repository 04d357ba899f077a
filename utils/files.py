"""Files that are either complete or not there: atomic writes, whole folders at once, checksums, JSON lines.

The idea: write to a temporary name in the same folder, fsync, rename. A rename within one file system is
atomic, so a reader (or the next run, after a power cut) sees the old content or the new, never a half.
Records that grow (metrics, samples) are appended instead: one line, one write; a torn last line is ignored.
Left out: locks. Every file in a run directory has one writer (see `utils.runs`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import math
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError

PathLike = str | os.PathLike[str]


def _temporary_beside(path: Path) -> Path:
    """A fresh hidden name in the same folder: renaming stays within one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Windows cannot open folders; there it does nothing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:  # a single os.write may take less than it was given, and at most 2 GiB on Linux
        view = view[os.write(descriptor, view) :]


def atomic_write_bytes(path: PathLike, data: bytes) -> Path:
    """Write `data` to `path` so that `path` always holds the old content or the new.

    Parent folders are made. Returns the path. Raises `OSError` (with `filename` set to `path`) when the disk
    is full or the folder is read-only; then the old content is untouched and no temporary file is left.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # os.open with 0o666 lets the umask decide, as for any other file; tempfile would make it private.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o666)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(exc, OSError) and exc.errno is not None:
            exc.filename, exc.filename2 = str(path), None  # the person knows this name, not the temporary one
        raise
    return path


def atomic_write_text(path: PathLike, text: str) -> Path:
    """`atomic_write_bytes` of the UTF-8 bytes of `text`, line ends unchanged."""
    return atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: PathLike, obj: Any) -> Path:
    """`atomic_write_bytes` of `obj` as indented JSON, through `jsonable`."""
    return atomic_write_text(path, json.dumps(jsonable(obj), indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_file(path: PathLike) -> Iterator[Path]:
    """`atomic_write_bytes` for a writer that wants a path: yields a temporary one, renamed when the block ends well.

    Nothing needs to be held in memory twice. When the block raises, the old content stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def atomic_dir(path: PathLike) -> Iterator[Path]:
    """Build a folder under a temporary name and rename it to `path` when the block ends well.

    Yields the temporary folder. When the block raises (Ctrl-C included) it is removed and whatever was at
    `path` stays. A process killed in the middle leaves only a hidden `.<name>.<random>.tmp` beside it, which
    no reader takes for the folder. An existing folder at `path` is moved aside just before the rename and
    deleted after it: the folder at `path` is never a mixture of old and new.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            _fsync_folder(Path(folder))
        _rename_folder_over(temporary, path)
        _fsync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _rename_folder_over(temporary: Path, path: Path) -> None:
    """Rename a folder onto `path`. POSIX refuses where that is not empty, hence the step aside."""
    if not path.exists():
        os.replace(temporary, path)
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old.tmp")
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(aside, path)
        raise
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink()


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: PathLike) -> str:
    """The SHA-256 of a file's bytes, read in blocks, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(path: PathLike) -> str:
    """One SHA-256 for a folder: of the sorted lines `<sha256 of the file>  <relative path>`.

    Hidden files (leading dot) are left out, so that a `.DS_Store` does not change the sum.
    """
    root = Path(path)
    files = sorted(
        (file.relative_to(root).as_posix(), file)
        for file in root.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    return sha256_bytes("".join(f"{sha256_file(file)}  {name}\n" for name, file in files).encode())


def jsonable(obj: Any, *, finite: bool = True) -> Any:
    """`obj` in plain JSON types: dataclasses and mappings to dicts, tuples and sets to lists, paths to text.

    Numbers of numpy and torch become Python numbers. JSON has no NaN and no infinity, and browsers refuse
    Python's spelling of them, so a float that is not finite becomes `null`, unless `finite=False`.
    Raises `TypeError` for what has no JSON form.
    """
    if obj is None or isinstance(obj, bool | str):
        return obj
    if isinstance(obj, enum.Enum):
        return jsonable(obj.value, finite=finite)
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) or not finite else None
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {
            field.name: jsonable(getattr(obj, field.name), finite=finite) for field in dataclasses.fields(obj)
        }
    if isinstance(obj, Mapping):
        return {str(key): jsonable(value, finite=finite) for key, value in obj.items()}
    if isinstance(obj, set | frozenset):
        return sorted((jsonable(value, finite=finite) for value in obj), key=repr)
    if isinstance(obj, list | tuple):
        return [jsonable(value, finite=finite) for value in obj]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if hasattr(obj, "tolist"):  # numpy and torch, scalars and arrays, without importing either
        return jsonable(obj.tolist(), finite=finite)
    raise TypeError(f"{type(obj).__name__} has no JSON form: {obj!r:.80}")


class LineWriter:
    """Appends lines to a text file, each with one unbuffered write, so that a reader can follow it.

    Opening removes an unfinished last line that a killed writer left. A write that fails (disk full) takes
    its partial line back before it raises. One writer per file; within a process threads may share it.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor: int | None = os.open(self.path, flags, 0o666)
        self._size = _end_of_last_line(self.path)
        os.ftruncate(self._descriptor, self._size)

    def write_line(self, line: str) -> None:
        """Append one line (without its newline). Raises `OSError` when it could not be written whole."""
        data = line.encode("utf-8") + b"\n"
        with self._lock:
            if self._descriptor is None:
                raise ValueError(f"{self.path} is closed")
            try:
                _write_all(self._descriptor, data)
            except OSError as exc:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                exc.filename = str(self.path)
                raise
            self._size += len(data)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


class JsonlWriter(LineWriter):
    """A `LineWriter` of JSON records."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record through `jsonable`. Raises `OSError` when it could not be written whole."""
        self.write_line(json.dumps(jsonable(record), ensure_ascii=False))


def _end_of_last_line(path: Path) -> int:
    """The offset just after the last newline, searched from the end in blocks."""
    block = 1 << 16
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def read_lines(path: PathLike) -> list[str]:
    r"""The lines of a UTF-8 file, without their ends.

    Only "\n", "\r\n" and "\r" end a line. `str.splitlines` also cuts at U+0085, U+2028 and others, which may stand
    inside a line: a film review with a U+0085 would become two halves, neither of which is JSON.
    Raises OSError and UnicodeDecodeError.
    """
    with open(path, encoding="utf-8") as file:
        return [line.removesuffix("\n") for line in file]


def read_jsonl(path: PathLike) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; an absent file has none.

    A last line without its newline is still being written (or was torn by a kill) and is not counted.
    Raises `UserError` naming the line when a finished line is not JSON.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n"), start=1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except ValueError as exc:
                raise UserError(
                    f"{path}, line {number} is not JSON ({exc}): repair or remove that line"
                ) from None
    return records
