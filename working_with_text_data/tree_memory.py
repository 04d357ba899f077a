"""The memory of a process and of all that it started: what a machine must have, not what one process shows.

A pipeline with workers holds its memory in several processes, and each alone looks small. `tree_memory_bytes`
adds their resident sets. Pages that processes share are counted in each, so it is an upper bound. Linux only
(it reads /proc); elsewhere it is the process alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from utils.timing import MemorySampler, current_memory_bytes

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def tree_memory_bytes(pid: int | None = None) -> int:
    """Bytes of physical memory held by process `pid` (this one by default) and its descendants."""
    found = sum(map(_resident, processes_below(os.getpid() if pid is None else pid)))
    return found if found or pid is not None else current_memory_bytes()


def processes_below(pid: int) -> list[int]:
    """`pid` and its descendants that are alive; a process that ends meanwhile is left out."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        found.append(parent)
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:  # a child belongs to the thread that started it
            try:
                queue += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
            except OSError:
                continue
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


class TreeMemorySampler(MemorySampler):
    """`MemorySampler` that also keeps `tree_peak_bytes`, the highest sum over a process and its descendants.

    `pid` is the root of the tree: this process, or one that it started.
    """

    def __init__(self, interval: float = 0.05, pid: int | None = None) -> None:
        super().__init__(interval)
        self.pid = pid
        self.tree_peak_bytes = 0

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self._look()

    def _look(self) -> None:
        own = current_memory_bytes() if self.pid is None else _resident(self.pid)
        self.peak_bytes = max(self.peak_bytes, own)
        self.tree_peak_bytes = max(self.tree_peak_bytes, tree_memory_bytes(self.pid), own)

    def __enter__(self) -> TreeMemorySampler:
        super().__enter__()
        if self.pid is not None:
            self.start_bytes = self.peak_bytes = 0  # another process's memory, not this one's
        self._look()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._look()
