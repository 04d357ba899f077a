"""The benchmark harness: candidates in turn, medians with their spread, and a results file that says it all.

The idea: on a shared machine a second is worth little and a ratio much, if both sides ran in turn (A B A B …)
under the same load. So `compare` measures rounds, not runs, and takes the ratio within each round.
A number in a README comes from a file that `write_result` made: figures, hardware, versions, commit, command.
Left out: assertions. Timing is measured and kept, never a reason for a test to fail.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from utils.errors import UserError
from utils.files import PathLike, atomic_write_json, jsonable
from utils.provenance import git_state, now, versions


class Timer:
    """Wall seconds of a block: `with Timer() as t: …`, then `t.seconds` (also live, inside the block)."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._end: float | None = None

    def __enter__(self) -> Timer:
        self._start, self._end = time.perf_counter(), None
        return self

    def __exit__(self, *_: object) -> None:
        self._end = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the block began, or between its two ends; 0 before it."""
        if self._start is None:
            return 0.0
        return (time.perf_counter() if self._end is None else self._end) - self._start


def synchronize() -> None:
    """Wait for the GPU, if torch has used one: its kernels run on after Python has gone ahead."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def compare(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 5,
    warmup: int = 1,
    around: Mapping[str, Callable[[], contextlib.AbstractContextManager[Any]]] | None = None,
) -> dict[str, Any]:
    """Time callables in turn, A B A B …, after `warmup` unmeasured rounds. The first one is the baseline.

    Returns `{"baseline", "rounds", "warmup", "candidates": {name: figures}}`. Figures are in seconds:
    `median_s, min_s, max_s, seconds` (one per round), and `speedup` with `speedup_min` and `speedup_max`:
    the baseline's time over this one's within each round, median and range; above 1 is faster than it.
    `around` gives a candidate the settings it needs as a context manager, entered before its time begins.
    The garbage collector rests while a candidate runs. Check that results are equal before calling this.
    """
    if not candidates or rounds < 1 or warmup < 0:
        raise UserError(
            f"compare needs a candidate, rounds ≥ 1 and warmup ≥ 0; it got {len(candidates)} candidates, "
            f"rounds={rounds}, warmup={warmup}"
        )
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, call in candidates.items():
            settings = (around or {}).get(name, contextlib.nullcontext)
            with settings(), _collector_resting():
                synchronize()
                with Timer() as timer:
                    call()
                    synchronize()
            if number >= warmup:
                seconds[name].append(timer.seconds)
    baseline = next(iter(candidates))
    figures = {}
    for name, own in seconds.items():
        ratios = [base / max(mine, 1e-12) for base, mine in zip(seconds[baseline], own, strict=True)]
        figures[name] = {
            "median_s": statistics.median(own),
            "min_s": min(own),
            "max_s": max(own),
            "seconds": own,
            "speedup": statistics.median(ratios),
            "speedup_min": min(ratios),
            "speedup_max": max(ratios),
        }
    return {"baseline": baseline, "rounds": rounds, "warmup": warmup, "candidates": figures}


@contextlib.contextmanager
def _collector_resting() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect(1)  # the young objects: what the last candidate left behind
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write_result(
    path: PathLike,
    *,
    name: str,
    figures: Mapping[str, Any],
    command: str,
    seed: int | None = None,
    notes: str | None = None,
) -> Path:
    """Write `results/<name>.json`: the figures, and what is needed to believe and repeat them.

    Adds hardware, versions, git_sha, git_dirty and date (UTC). Raises `UserError` without a name, a command
    or figures: a number that nobody can repeat is not a result.
    """
    from utils.device import hardware

    for what, value in (("name", name), ("command", command), ("figures", figures)):
        if not value:
            raise UserError(f"a result needs its {what}: {path} would not say where its numbers come from")
    result = {
        "name": name,
        "figures": jsonable(figures),
        "command": command,
        "seed": seed,
        "notes": notes,
        "hardware": hardware(import_torch=False),
        "versions": versions(),
        **git_state(),
        "date": now(),
    }
    return atomic_write_json(path, result)


def peak_memory_bytes() -> int:
    """The most physical memory that this process has held so far, in bytes.

    Linux's VmHWM where there is one: `ru_maxrss` survives exec, so a child would report its parent's.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def current_memory_bytes() -> int:
    """The physical memory that this process holds now, in bytes; its peak so far where /proc is missing."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_memory_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


class MemorySampler:
    """Watches this process's memory from a thread during a block: `with MemorySampler() as m: …`.

    `start_bytes` is the memory at the beginning, `peak_bytes` the highest seen, `grown_bytes` the difference.
    A peak shorter than `interval` seconds can be missed; `peak_memory_bytes` misses none but cannot be reset.
    """

    def __init__(self, interval: float = 0.02):
        self.interval = interval
        self.start_bytes = 0
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def grown_bytes(self) -> int:
        """How far the peak lies above the start."""
        return self.peak_bytes - self.start_bytes

    def __enter__(self) -> MemorySampler:
        self.start_bytes = self.peak_bytes = current_memory_bytes()
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="memory-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.peak_bytes = max(self.peak_bytes, current_memory_bytes())

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self.peak_bytes = max(self.peak_bytes, current_memory_bytes())
