"""What the benchmarks of this chapter share: many calls a round, equality first, bandwidth, growth.

The idea: a decode step takes microseconds, a clock and a Python call take some too. So each candidate is called
as often as fills `TARGET_SECONDS`, and `utils.timing.compare` runs those batches in turn (A B A B …). Ratios
are taken within a round. What bounds a decode step is reading the cache, so next to a time stands the rate at
which the bytes came, and the rate at which this machine copies memory, measured in the same run.

On a GPU `compare` synchronises around each batch; a batch is long enough for that not to show.
Left out: reading the cache from cold memory. One layer's cache of up to the CPU's last cache level stays there from
call to call; `rotate_bytes` cycles through copies that together are larger than that.
"""

import contextlib
import ctypes
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.errors import RunFailure
from utils.timing import MemorySampler, Timer, compare, synchronize

TARGET_SECONDS = 0.02
MAX_REPEATS = 2000
SLOW_SECONDS = 1.0  # a call that takes so long needs no second round of warming up

# Largest difference allowed, as a share of the reference's largest number. bf16 keeps 8 bits, so one rounding is
# 2^-9; inputs, shares and sums are rounded, some several times. fp32 is compared in the same manner.
TOLERANCE = {torch.bfloat16: 2**-5, torch.float16: 2**-8, torch.float32: 1e-4}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp16": torch.float16}


def difference(out: Tensor, reference: Tensor) -> float:
    """The largest difference as a share of the reference's largest number."""
    wide, reference = out.detach().double(), reference.detach().double()
    return ((wide - reference).abs().max() / reference.abs().max().clamp(min=1e-30)).item()


def check_equal(outputs: Mapping[str, Tensor], reference: Tensor, what: str) -> dict[str, float]:
    """The difference of each output from the reference; RunFailure when one is too large to be rounding."""
    worst = {name: difference(out, reference) for name, out in outputs.items()}
    for name, off in worst.items():
        allowed = TOLERANCE[outputs[name].dtype]
        if not off <= allowed:  # also when it is NaN
            raise RunFailure(
                f"{what}: {name} differs from the reference by {off:.1e} of its largest number, "
                f"{allowed:.0e} is allowed: nothing was timed"
            )
    return worst


def race(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 5,
    target_seconds: float = TARGET_SECONDS,
) -> dict[str, dict[str, Any]]:
    """Seconds of one call of each candidate, in turn: name -> median_s, min_s, max_s, seconds, repeats."""
    first = {name: _one_call(call) for name, call in candidates.items()}  # warms up, too
    repeats = {
        name: 1 if s > target_seconds else _repeats(candidates[name], target_seconds)
        for name, s in first.items()
    }
    batches = {name: _several(call, repeats[name]) for name, call in candidates.items()}
    slow = max(first.values()) > SLOW_SECONDS
    timed = compare(batches, rounds=rounds, warmup=0 if slow else 1)["candidates"]
    figures = {}
    for name, row in timed.items():
        seconds = [s / repeats[name] for s in row["seconds"]]
        figures[name] = {
            "median_s": statistics.median(seconds),
            "min_s": min(seconds),
            "max_s": max(seconds),
            "seconds": seconds,
            "repeats": repeats[name],
        }
    return figures


def _repeats(call: Callable[[], Any], target: float) -> int:
    return min(MAX_REPEATS, max(1, math.ceil(target / max(_one_call(call), 1e-7))))


def _one_call(call: Callable[[], Any]) -> float:
    synchronize()
    with Timer() as timer:
        call()
        synchronize()
    return timer.seconds


def _several(call: Callable[[], Any], repeats: int) -> Callable[[], None]:
    def batch() -> None:
        for _ in range(repeats):
            call()

    return batch


def times_faster(figures: Mapping[str, Any], fast: str, slow: str) -> dict[str, float]:
    """How many times as fast `fast` is as `slow`: the ratio within each round, median and range."""
    pairs = zip(figures[slow]["seconds"], figures[fast]["seconds"], strict=True)
    ratios = [slow_s / max(fast_s, 1e-12) for slow_s, fast_s in pairs]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def exponent(seconds: Mapping[int, float]) -> float:
    """How time grows with length: the slope of log seconds against log length, by least squares.

    >>> round(exponent({1: 3.0, 2: 12.0, 4: 48.0}), 6)
    2.0
    """
    x = [math.log(length) for length in seconds]
    y = [math.log(s) for s in seconds.values()]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    if not spread:
        return math.nan
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def rotate(make: Callable[[], Sequence[Tensor]], nbytes: int, rotate_bytes: int) -> list[Sequence[Tensor]]:
    """Copies of the same tensors, as many as make `rotate_bytes` together: one where that is 0."""
    copies = max(1, math.ceil(rotate_bytes / max(nbytes, 1)))
    first = make()
    return [first, *([x.clone() for x in first] for _ in range(copies - 1))]


def cycle(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """One callable that takes the next of `calls` each time."""
    if len(calls) == 1:
        return calls[0]
    state = [0]

    def call() -> Any:
        state[0] = (state[0] + 1) % len(calls)
        return calls[state[0]]()

    return call


def bandwidth(device: torch.device, *, nbytes: int = 2**28, rounds: int = 7) -> dict[str, float]:
    """Bytes a second that this machine moves: a copy (read and written counted, as STREAM does) and a sum (read).

    The buffers are larger than any CPU's cache. Best of `rounds`, because the limit is what is asked for.
    """
    a = torch.randn(nbytes // 4, device=device)
    b = torch.empty_like(a)
    copied = compare({"copy": lambda: b.copy_(a), "sum": lambda: a.sum()}, rounds=rounds, warmup=2)
    best = {name: row["min_s"] for name, row in copied["candidates"].items()}
    return {"copy_bytes_per_s": 2 * a.nbytes / best["copy"], "read_bytes_per_s": a.nbytes / best["sum"]}


def gemm_peak(device: torch.device, dtype: torch.dtype, size: int = 1024, rounds: int = 20) -> float:
    """FLOPs a second of a square matrix product: the best this machine was seen to do."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = compare({"product": lambda: a @ b}, rounds=rounds, warmup=3)["candidates"]["product"]["min_s"]
    return 2 * size**3 / best


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """The most memory that one call takes beyond what was held before it, in bytes.

    On a CPU the process is watched once a millisecond: a shorter peak can be missed, and small ones drown in noise.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    _give_back_free_memory()
    with MemorySampler(interval=0.001) as sampler:
        call()
    return sampler.grown_bytes


def _give_back_free_memory() -> None:
    """Ask the allocator to return what earlier calls left behind, so that it does not hide a new peak."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
