"""Is this the same input as last time? Answered by content, without reading everything again.

Work is kept under the sha256 of what it was made from, so that equal content is never worked on twice and a
changed byte is never overlooked. Hashing a file that has not been touched is a waste, so its sum is kept
beside a fingerprint: size, times of change of content and of inode, inode number. A person can set a file's
time of modification back, but not its ctime; and a sum that was taken within two seconds of the last change
is not trusted, because a second change in the same tick of the clock would leave no trace (git's "racy"
entries have the same cure).

Left out: watching of files, and sums of what comes from a network, which has no fingerprint: such a text is
hashed while it streams by (`write_splits`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import jsonable, sha256_file

RACY_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT) ticks every two seconds


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's sha256 and the fingerprint that it was taken under; times in nanoseconds."""

    path: str  # absolute
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    hashed_ns: int  # when the hashing began
    sha256: str

    @property
    def fingerprint(self) -> tuple[str, int, int, int, int]:
        """What must be equal for the sum to be believed without reading."""
        return self.path, self.size, self.mtime_ns, self.ctime_ns, self.inode

    @property
    def settled(self) -> bool:
        """Whether the file had been left alone for a while when it was hashed."""
        return self.hashed_ns - max(self.mtime_ns, self.ctime_ns) > RACY_NS


def file_digests(paths: Iterable[str | Path], remembered: Iterable[Any] = ()) -> list[FileDigest]:
    """The digest of each file, in order; one that `remembered` knows under the same fingerprint is not read.

    Args:
        paths: files.
        remembered: digests of an earlier call, or their dicts as read back from JSON. What does not
            look like one is ignored.

    Raises:
        UserError: a file that is missing, or changes while it is read.
    """
    known = {digest.fingerprint: digest for digest in map(_digest_from, remembered) if digest is not None}
    return [_digest(Path(path), known) for path in paths]


def _digest(path: Path, known: Mapping[tuple[Any, ...], FileDigest]) -> FileDigest:
    before = _fingerprint(path)
    old = known.get(before)
    if old is not None and old.settled:
        return old
    now = time.time_ns()
    sha = sha256_file(path)
    if _fingerprint(path) != before:
        raise UserError(f"{path}: changed while it was read: try again when nothing writes to it")
    return FileDigest(*before, hashed_ns=now, sha256=sha)


def _fingerprint(path: Path) -> tuple[str, int, int, int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the name") from None
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _digest_from(record: Any) -> FileDigest | None:
    if isinstance(record, FileDigest):
        return record
    try:
        return FileDigest(**record)
    except TypeError:
        return None


def as_records(digests: Iterable[FileDigest]) -> list[dict[str, Any]]:
    """Digests in plain JSON types, for a file that remembers them."""
    return [asdict(digest) for digest in digests]


def content_of(digests: Sequence[FileDigest]) -> list[list[str]]:
    """What of some files decides a result: how each is read (its suffixes) and its bytes, not its name."""
    return [["".join(Path(d.path.lower()).suffixes[-2:]), d.sha256] for d in digests]


def key_of(parts: Any) -> str:
    """sha256 of plain values in canonical JSON: equal values, equal key.

    >>> key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    True
    """
    canonical = json.dumps(jsonable(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
