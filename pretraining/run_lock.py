"""One writer per run folder: a live process holds a lock, a dead one cannot.

The lock is the operating system's (flock), so it goes with its process however that ends. The file keeps the pid, to
be shown, until its holder leaves in good order; a pid that is still there belongs to a process that was killed, and
whoever takes the lock over says so. Left out: folders shared between machines (their locks do not see each other),
and Windows, which has no flock: there the lock is not taken.
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
def run_lock(folder: Path) -> Iterator[str | None]:
    """Hold `folder` for this process. Raises UserError naming the pid that already does.

    Yields None, or one line about a process that held it and ended without giving it back.
    """
    if fcntl is None:
        yield None
        return
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        pid = os.read(handle, 32).decode("ascii", "replace").strip()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{folder} is in use by process {pid or 'unknown'}: wait for it, stop it, or start another run"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield f"process {pid} ended without giving its lock back: taken over" if pid else None
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)
