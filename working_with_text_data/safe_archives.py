"""Names and archives from strangers: unpacked inside one folder, within limits, or refused as a whole.

What goes wrong in practice, and what is done here:

* names that climb (`../../x`), begin at the root, or mean a device on Windows: refused by what they *are*
  (`safe_name`), and the finished path is compared part by part, since "/data/up-evil" starts with "/data/up";
* links, devices and sparse files: refused, never followed and never made;
* bombs: bytes are counted as they come out, over all members; what a header claims is not believed.
  An archive within an archive is refused, so a bomb cannot hide one level down;
* two names that are one on some file systems ("A.txt", "a.txt"): refused.

The work happens in a hidden folder that becomes the target only when every member was good (`atomic_dir`),
so a refused archive leaves nothing behind. Known are .zip, .tar, .tar.gz and .tar.bz2. Left out: xz and 7z
(their decoders may ask for any amount of memory), passwords, file modes and times.
"""

from __future__ import annotations

import bz2
import gzip
import io
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from utils.errors import UserError
from utils.files import atomic_dir

_BLOCK = 1 << 16
_RATIO_FREE_BYTES = 10 * 2**20  # up to here any ratio is harmless
_ARCHIVE_SUFFIXES = (
    ".zip",
    ".tar",
    ".tgz",
    ".tbz2",
    ".txz",
    ".7z",
    ".rar",
    ".jar",
    ".xz",
    ".bz2",
    ".zst",
    ".tar.gz",
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
# What the decoders raise for bytes that are none: they were written for friendly archives.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one archive may come to. Bytes are counted unpacked, over all members."""

    max_bytes: int = 500 * 2**20
    max_files: int = 10_000
    max_ratio: float = 100.0  # unpacked to packed; text packs about 3 to 1


@dataclass(slots=True)
class _Budget:
    """What has been taken out so far, and the names that were used."""

    limits: Limits
    packed: int
    taken: int = 0
    files: int = 0
    names: dict[str, str] = field(default_factory=dict)

    def spend(self, count: int, member: str) -> None:
        """Count bytes that came out; UserError at the first one too many."""
        self.taken += count
        if self.taken > self.limits.max_bytes:
            raise UserError(
                f"{member!r}: the archive holds more than {self.limits.max_bytes:,} bytes: send less at once"
            )
        if self.taken > _RATIO_FREE_BYTES and self.taken > self.limits.max_ratio * self.packed:
            raise UserError(
                f"{member!r}: unpacks to more than {self.limits.max_ratio:g} times its packed size, as a zip bomb "
                "does: send the text itself"
            )

    def enter(self, name: PurePosixPath) -> None:
        """Count a member and remember its name; UserError for one too many or a name that is taken."""
        self.files += 1
        if self.files > self.limits.max_files:
            raise UserError(f"the archive holds more than {self.limits.max_files:,} files: send fewer")
        key = unicodedata.normalize("NFC", str(name)).casefold()
        if key in self.names:
            raise UserError(f"{str(name)!r} and {self.names[key]!r} are one name on some systems: rename one")
        self.names[key] = str(name)


def safe_name(name: str) -> PurePosixPath:
    """The relative path that `name` stands for, or a UserError that says why it is refused.

    >>> safe_name("books/alice.txt")
    PurePosixPath('books/alice.txt')
    >>> safe_name("../alice.txt")
    Traceback (most recent call last):
    ...
    utils.errors.UserError: file name '../alice.txt' refused: it leads out of its folder
    """

    def refuse(why: str) -> UserError:
        return UserError(f"file name {name[:200]!r} refused: {why}")

    if not name or not name.strip():
        raise refuse("it is empty")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise refuse("it holds a control character")
    if "\\" in name or ":" in name:
        raise refuse("it holds a backslash or a colon, which are paths on Windows")
    path = PurePosixPath(name)
    if path.is_absolute():
        raise refuse("it is absolute")
    if ".." in name.split("/"):
        raise refuse("it leads out of its folder")
    if not path.parts:
        raise refuse("it names no file")
    for part in path.parts:
        if _DEVICES.fullmatch(part) or part.endswith((" ", ".")):
            raise refuse(f"{part!r} is no file name on Windows")
        if len(part.encode()) > 255:
            raise refuse("a part of it is longer than 255 bytes")
    if len(name.encode()) > 1024:
        raise refuse("it is longer than 1024 bytes")
    return path


def target_in(root: Path, name: str) -> Path:
    """Where a member called `name` goes below `root`; UserError if that would not be below it."""
    target = root / safe_name(name)
    if not target.resolve().is_relative_to(root.resolve()):
        raise UserError(f"file name {name!r} refused: it leads out of its folder")
    return target


def safe_extract(archive: str | Path | bytes, folder: str | Path, limits: Limits = Limits()) -> list[Path]:
    """Unpack `archive` (a path, or its bytes) as the new folder `folder`; returns its files, sorted.

    Raises UserError, with nothing written, for a bad name, a link or device, a nested or damaged archive,
    too many bytes or files, a ratio like a bomb's, or a `folder` that is not empty.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder: give a new one to unpack into")
    label = "the upload" if isinstance(archive, bytes) else str(archive)
    try:
        stream: IO[bytes] = io.BytesIO(archive) if isinstance(archive, bytes) else open(archive, "rb")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"{label}: cannot be read: {error.strerror}") from None
    with closing(stream):
        packed = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if packed > limits.max_bytes:
            raise UserError(f"{label}: {packed:,} bytes, more than the {limits.max_bytes:,} allowed")
        budget = _Budget(limits, packed)
        with atomic_dir(folder) as root:
            try:
                unpack = _unpack_zip if zipfile.is_zipfile(stream) else _unpack_tar
                stream.seek(0)  # is_zipfile looks at the end
                unpack(stream, root, budget)
            except UserError:
                raise
            except _DAMAGED as error:
                raise UserError(f"{label}: a damaged archive, or none at all ({error})") from None
            except OSError as error:
                if error.errno is not None:
                    raise  # the disk, not the archive
                raise UserError(f"{label}: a damaged archive ({error})") from None
            if not budget.files:
                raise UserError(f"{label}: there is no file in it")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _unpack_zip(stream: IO[bytes], root: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(stream) as bundle:
        for member in bundle.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() and kind in (0, stat.S_IFDIR):
                safe_name(member.filename)
                continue
            if kind not in (0, stat.S_IFREG):
                raise UserError(f"{member.filename!r}: a link or device in an archive is refused")
            if member.flag_bits & 1:
                raise UserError(f"{member.filename!r}: needs a password: send it without one")
            if member.compress_type not in _METHODS:
                raise UserError(f"{member.filename!r}: packed by a method not taken here: use deflate")
            with bundle.open(member) as source:
                _write(source, root, member.filename, budget)


def _unpack_tar(stream: IO[bytes], root: Path, budget: _Budget) -> None:
    start = stream.read(3)
    stream.seek(0)
    plain: Any = stream
    if start[:2] == b"\x1f\x8b":
        plain = gzip.GzipFile(fileobj=stream)
    elif start == b"BZh":
        plain = bz2.BZ2File(stream)
    # Bounded below tarfile too: it reads whole header blocks, whose length the archive decides.
    bounded: Any = _Bounded(plain, 2 * budget.limits.max_bytes + _BLOCK)
    with tarfile.open(fileobj=bounded, mode="r|") as bundle:
        for member in bundle:
            if member.isdir():
                safe_name(member.name)
                continue
            if not member.isreg() or member.issparse():
                raise UserError(f"{member.name!r}: a link, device or sparse file in an archive is refused")
            source = bundle.extractfile(member)
            assert source is not None  # it is a regular file
            _write(source, root, member.name, budget)


def _write(source: IO[bytes], root: Path, name: str, budget: _Budget) -> None:
    """Copy one member to its place below `root`, counting what really comes out."""
    target = target_in(root, name)
    budget.enter(safe_name(name))
    if name.lower().endswith(_ARCHIVE_SUFFIXES):
        raise UserError(f"{name!r}: an archive within an archive is refused: unpack it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        out = open(target, "xb")  # noqa: SIM115
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{name!r}: the archive uses this name twice, as file or folder") from None
    with out:
        for number, block in enumerate(_blocks(source)):
            if number == 0 and (block[:4] == b"PK\x03\x04" or block[257:262] == b"ustar"):
                raise UserError(f"{name!r}: an archive within an archive is refused: unpack it first")
            budget.spend(len(block), name)
            out.write(block)


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(_BLOCK):
        yield block


class _Bounded:
    """A stream that ends in a UserError after so many bytes, however they are asked for."""

    def __init__(self, stream: Any, limit: int):
        self._stream, self._left = stream, limit

    def read(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        data = self._stream.read(wanted)
        self._left -= len(data)
        if self._left < 0:
            raise UserError(
                "the archive unpacks to far more than is allowed, as a bomb does: send less at once"
            )
        return data
