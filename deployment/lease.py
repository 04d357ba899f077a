"""One machine at a time, where machines cannot see each other's processes: a lease that has to be renewed.

A lock of the operating system (`pretraining.run_lock`) ends with its process, but only on its own machine. Between
machines there is a shared folder and a clock. So who works writes down *who and when*, and again every third of the
lease; who comes later works only when the note is gone, or older than the lease. A machine that was killed cannot
say so: its lease runs out. One that was merely cut off finds another name in its note and stops by itself.

The promise holds where clocks agree to a fraction of the lease and a renewal reaches the others in time. Two that
write in the same moment both read their note back after it has settled, and one of them finds the other's name (Gray
and Cheriton 1989, "Leases"). Left out: fencing tokens, which would hold without clocks but need a store that compares
before it writes.
Notebook: `01_from_laptop_to_cloud`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from deployment.places import Place
from utils.errors import RunFailure, UserError
from utils.files import atomic_write_json

SECONDS = 90.0  # of a lease; renewed every third of it
PATIENCE = 300.0  # seconds to wait for someone else's to run out
LOOK_AGAIN = 2.0


class LostLease(RunFailure):
    """Another machine holds the job now: this one was cut off for too long."""


class Lease:
    """The right to work on `name`. A context manager: taken on entry, given back on exit; `renew()` in between.

    Raises UserError on entry when someone else keeps renewing for longer than `patience` seconds.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        *,
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        settle: float = 0.0,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.place, self.name, self.seconds, self.patience = place, name, seconds, patience
        self.file = place.root / "leases" / f"{name.replace('/', '.')}.json"
        self._settle, self._now, self._sleep = settle, now, sleep
        self._me = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._renewed = -float("inf")

    def __enter__(self) -> Lease:
        waited_until = self._now() + self.patience
        while True:
            self.place.reload()
            note = self._read()
            if self._is_free(note):
                self._write()
                self._sleep(self._settle)
                self.place.reload()
                if self._is_mine(self._read()):
                    return self
            elif self._now() >= waited_until:
                assert note is not None
                raise UserError(
                    f"{self.name} is being worked on by process {note['pid']} on {note['host']}, which renewed its "
                    f"lease {self._now() - note['renewed']:.0f} s ago: wait for it, stop it, or choose another run id"
                )
            self._sleep(LOOK_AGAIN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_mine(self._read()):
            self.file.unlink(missing_ok=True)
            self.place.commit()

    def renew(self) -> None:
        """Say that we are still here, if it is time to. Raises LostLease when the note is no longer ours."""
        if self._now() - self._renewed < self.seconds / 3:
            return
        note = self._read()
        if not self._is_mine(note):
            owner = "nobody" if note is None else f"process {note['pid']} on {note['host']}"
            raise LostLease(f"the lease of {self.name} ran out and belongs to {owner} now: stopping here")
        self._write()

    def _is_mine(self, note: dict[str, Any] | None) -> bool:
        return note is not None and note["token"] == self._me["token"]

    def _is_free(self, note: dict[str, Any] | None) -> bool:
        if note is None or self._now() - note["renewed"] > note["seconds"]:
            return True
        return note["host"] == self._me["host"] and not _alive(note["pid"])

    def _write(self) -> None:
        self._renewed = self._now()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(self.file, {**self._me, "renewed": self._renewed, "seconds": self.seconds})
        self.place.commit()

    def _read(self) -> dict[str, Any] | None:
        return read_note(self.file)


def read_note(file: Path) -> dict[str, Any] | None:
    """The note of whoever holds the lease; None without one, and for a damaged one."""
    try:
        note = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    known = isinstance(note, dict) and {"host", "pid", "token", "renewed", "seconds"} <= note.keys()
    return note if known else None


def _alive(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
