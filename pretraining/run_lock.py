"""One writer per run folder: a live process holds a lock, a dead one cannot.

The lock is the operating system's (flock), so it goes with its process however that ends; the pid inside
the file is only there to be shown. Left out: folders shared between machines, and Windows, which has no
flock: there the lock is not taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. Raises UserError naming the pid that already does."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            raise UserError(
                f"{folder} is in use by process {pid}: wait for it, stop it, or start another run"
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)
