"""Where a job's runs are kept, and how they outlive the machine: a folder, and two things to say to it.

On a laptop the folder is a disk and there is nothing to say. On a rented machine the disk goes with the machine, so
runs lie on a volume of the provider: what was written is safe once it is *committed*, and what others wrote is seen
after a *reload*. Everything else in this chapter talks to a `Place` and cannot tell the two apart.
Left out: object stores, which have neither rename nor append.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.runs import runs_root


def _nothing() -> None:
    """A disk keeps what it is given."""


@dataclass(frozen=True)
class Place:
    """The folder of runs, `commit` (what was written outlives this machine) and `reload` (see what others wrote)."""

    root: Path
    commit: Callable[[], Any] = _nothing
    reload: Callable[[], Any] = _nothing


def local_place(root: Path | str | None = None) -> Place:
    """Runs on this machine's disk: the argument, else $SCRATCHBOOK_RUNS, else ./runs."""
    return Place(runs_root(root).absolute())


def volume_place(volume: Any, mount: str) -> Place:
    """Runs on a Modal Volume that is mounted at `mount`."""
    return Place(Path(mount) / "runs", volume.commit, volume.reload)
