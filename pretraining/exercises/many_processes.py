"""The exercises of notebook 04, with their checkers: bytes of a ring, the weight of a rank's loss, buckets.

Three small functions behind every data-parallel run. Each fails silently when it is wrong: training goes on, a little
slower or towards a slightly different place. Each checker tests properties and knows how the step usually goes wrong.
The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each mistake is named.
Notebook: `04_many_processes.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _number(value: Any, what: str) -> float:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(ok, f"give a number for {what}, not {value!r}")
    return float(value)


# ---------------------------------------------------------------- 1. bytes of a ring


def _check_ring(answer: Answer) -> None:
    require(_number(answer(800, 1), "one rank") == 0, "one rank has nobody to hear from: 0 bytes")
    for payload in (800, 1_000_000):
        for ranks in (2, 3, 4, 8, 512):
            found = _number(answer(payload, ranks), f"{payload} bytes over {ranks} ranks")
            wanted = 2 * payload * (ranks - 1) / ranks
            require(
                found < 2 * payload,
                f"{found:,.0f} bytes for {payload:,} over {ranks} ranks: in a ring nobody receives more than twice "
                "the payload, however many take part",
            )
            require(
                math.isclose(found, wanted, rel_tol=1e-9),
                f"{found:,.1f} bytes for {payload:,} over {ranks} ranks: each rank receives a piece of 1/{ranks} in "
                f"each of {2 * (ranks - 1)} steps, so {wanted:,.1f}",
            )


RING_STUB = '''
def ring_bytes(payload, ranks):
    """Bytes that each rank receives while `ranks` of them add up `payload` bytes in a ring."""
    ...  # your code
'''
RING_SOLUTION = """
def ring_bytes(payload, ranks):
    piece = payload / ranks
    return 2 * (ranks - 1) * piece
"""

RING = Exercise(
    name="ring_bytes",
    task="Count the bytes that each rank receives in a ring all-reduce.",
    function="ring_bytes",
    check=_check_ring,
    stub=RING_STUB,
    solution=RING_SOLUTION,
    hints=(
        "How large is one piece, and how many pieces arrive before a rank's own piece is complete?",
        "ranks - 1 steps make the sums, and as many more carry them round.",
        "2 * (ranks - 1) pieces of payload / ranks bytes each.",
    ),
    mistakes={
        "one round": Mistake(
            RING_SOLUTION.replace("2 * (ranks - 1)", "(ranks - 1)"),
            "you went round once: then each rank knows the sum of one piece only. The sums have to travel as well",
        ),
        "everything in each step": Mistake(
            RING_SOLUTION.replace("payload / ranks", "payload"),
            "you sent everything in each step: a ring sends one piece at a time, which is its whole point",
        ),
        "as many steps as ranks": Mistake(
            RING_SOLUTION.replace("(ranks - 1)", "ranks"),
            "you counted a step too many in each round: a piece is at home after ranks - 1 steps",
        ),
        "all at rank 0": Mistake(
            RING_SOLUTION.replace("2 * (ranks - 1) * piece", "(ranks - 1) * payload"),
            "that is what rank 0 receives when everybody sends to it: the bottleneck that the ring avoids",
        ),
    },
    probes=lambda: [(800, 1), (800, 2), (800, 4), (1_000_000, 8), (96, 512)],
    same=lambda a, b: math.isclose(float(a), float(b), rel_tol=1e-9),
)


# ---------------------------------------------------------------- 2. what a rank's loss weighs


def _check_weight(answer: Answer) -> None:
    for counts in ([64, 64], [60, 4], [10, 0, 30], [5, 7, 11, 13], [0, 0]):
        ranks, total = len(counts), sum(counts)
        weights = [_number(answer(mine, total, ranks), f"{mine} of {total} tokens") for mine in counts]
        if total == 0:
            require(weights == [0.0] * ranks, "without a labelled token on any rank the weight is 0, not 0/0")
            continue
        # what a token counts for: its share of its rank's mean, times the weight, and the average over ranks
        each = [w / c / ranks for w, c in zip(weights, counts, strict=True) if c]
        require(
            all(w == 0 for w, c in zip(weights, counts, strict=True) if not c),
            f"of {counts}, a rank without a label has nothing to say: its weight is 0",
        )
        require(
            max(each) - min(each) <= 1e-12,
            f"with {counts} labelled tokens by rank, a token of one counts {max(each) / max(min(each), 1e-30):.3g} "
            "times as much as one of another",
        )
        require(
            math.isclose(
                sum(w * (c > 0) for w, c in zip(weights, counts, strict=True)) / ranks, 1.0, rel_tol=1e-9
            ),
            f"with {counts} by rank, the averaged gradient is {sum(weights) / ranks:.3g} times what one process has: "
            "the all-reduce divides by the number of ranks after you",
        )


WEIGHT_STUB = '''
def loss_weight(mine, total, ranks):
    """What to multiply this rank's mean loss with, when gradients are then *averaged* over the ranks.

    mine: labelled tokens on this rank; total: on all of them; ranks: how many there are.
    """
    ...  # your code
'''
WEIGHT_SOLUTION = """
def loss_weight(mine, total, ranks):
    if total == 0:
        return 0.0
    return ranks * mine / total
"""

WEIGHT = Exercise(
    name="loss_weight",
    task="Weigh a rank's mean loss so that the averaged gradient is that of one process with all the rows.",
    function="loss_weight",
    check=_check_weight,
    stub=WEIGHT_STUB,
    solution=WEIGHT_SOLUTION,
    hints=(
        "The goal is (sum of all token losses) / total. Your rank's mean is its sum / mine. What is missing?",
        "mean · mine / total, added up over the ranks, is the goal. But DDP averages, it does not add up.",
        "So multiply by ranks as well: ranks * mine / total. And 0 where total is 0.",
    ),
    mistakes={
        "mean of means": Mistake(
            WEIGHT_SOLUTION.replace("ranks * mine / total", "1.0 if mine else 0.0"),
            "you took the mean of the ranks' means: a token on a rank with few labels counts more than its neighbour",
        ),
        "DDP forgotten": Mistake(
            WEIGHT_SOLUTION.replace("ranks * mine / total", "mine / total"),
            "you left out that DDP divides by the number of ranks: the gradient is that many times too small",
        ),
        "divided twice": Mistake(
            WEIGHT_SOLUTION.replace("ranks * mine / total", "mine / total / ranks"),
            "you divided by the ranks and DDP does it again: multiply it back in",
        ),
        "0/0": Mistake(
            WEIGHT_SOLUTION.replace("    if total == 0:\n        return 0.0\n", ""),
            "a step may have no label on any rank: 0/0 there stops the run, or fills every weight with nan",
        ),
    },
    probes=lambda: [(64, 128, 2), (4, 64, 2), (0, 40, 3), (30, 40, 3), (13, 36, 4), (0, 0, 2)],
    same=lambda a, b: math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-12),
)


# ---------------------------------------------------------------- 3. buckets

_SIZES = ([30, 10, 10, 10, 40], [100, 1, 1], [5], [7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 100])


def _check_buckets(answer: Answer) -> None:
    for sizes in _SIZES:
        for limit in (1, 15, 20, 1000):
            found = answer(list(sizes), limit)
            ok = isinstance(found, list | tuple) and all(isinstance(b, list | tuple) for b in found)
            require(ok, "give a list of buckets, each a list of places in `sizes`")
            flat = [int(i) for bucket in found for i in bucket]
            require(
                all(bucket for bucket in found), "an empty bucket would send a message with nothing in it"
            )
            require(
                sorted(flat) == list(range(len(sizes))),
                f"of {len(sizes)} gradients you sent {sorted(flat)}: each travels exactly once",
            )
            require(
                flat == sorted(flat, reverse=True),
                f"your buckets hold {flat}: backward finishes the *last* layers first, so begin there, or nothing can "
                "be sent before all is done",
            )
            for bucket in found[:-1]:
                total = sum(sizes[i] for i in bucket)
                require(
                    total >= limit,
                    f"a bucket of {total} was sent although {limit} would have been full: more messages than needed",
                )
            for bucket in found:
                before = sum(sizes[i] for i in bucket[:-1])
                require(
                    before < limit,
                    f"a bucket held {before}, was full at {limit}, and still waited for more: it could have left",
                )


BUCKETS_STUB = '''
def make_buckets(sizes, limit):
    """Bytes of each gradient, first layer first -> lists of places, in the order in which backward fills them.

    A bucket is full, and leaves, as soon as it holds `limit` bytes or more.
    """
    ...  # your code
'''
BUCKETS_SOLUTION = """
def make_buckets(sizes, limit):
    buckets = [[]]
    for i in reversed(range(len(sizes))):
        if sum(sizes[j] for j in buckets[-1]) >= limit:
            buckets.append([])
        buckets[-1].append(i)
    return buckets
"""

BUCKETS = Exercise(
    name="make_buckets",
    task="Share gradients out into buckets, so that messages are few and can leave while backward still computes.",
    function="make_buckets",
    check=_check_buckets,
    stub=BUCKETS_STUB,
    solution=BUCKETS_SOLUTION,
    hints=(
        "Which gradient is ready first? Go through the places in that order.",
        "Before adding a place, ask whether the bucket at hand is full already: then begin a new one.",
        "for i in reversed(range(len(sizes))): a new bucket if the last one holds limit or more; then append i.",
    ),
    mistakes={
        "forward order": Mistake(
            BUCKETS_SOLUTION.replace("reversed(range(len(sizes)))", "range(len(sizes))"),
            "you filled from the first layer on: its gradient is the last to be ready, so every message waits for the "
            "end of backward",
        ),
        "one message each": Mistake(
            BUCKETS_SOLUTION.replace("if sum(sizes[j] for j in buckets[-1]) >= limit:", "if buckets[-1]:"),
            "you sent each gradient alone: a message costs latency whatever its size",
        ),
        "one bucket for all": Mistake(
            BUCKETS_SOLUTION.replace(">= limit", "> 10**12"),
            "you put everything into one bucket: it leaves when backward is over, and nothing overlaps",
        ),
        "kept under the limit": Mistake(
            BUCKETS_SOLUTION.replace(
                "sum(sizes[j] for j in buckets[-1]) >= limit",
                "buckets[-1] and sum(sizes[j] for j in buckets[-1]) + sizes[i] > limit",
            ),
            "you kept buckets below the limit: then a bucket that is nearly empty leaves because a large tensor comes "
            "next. Full means at least the limit",
        ),
    },
    probes=lambda: [(sizes, limit) for sizes in _SIZES for limit in (1, 15, 20, 1000)],
    same=lambda a, b: [list(x) for x in a] == [list(x) for x in b],
)

EXERCISES = [RING, WEIGHT, BUCKETS]

PREDICTIONS = [
    Prediction(
        "ring_over_512",
        2 * 511 / 512,
        "times the payload",
        "512 ranks send pieces of 1/512, twice 511 of them. Hardly more than two ranks' one.",
    ),
    Prediction(
        "all_reduces_of_four_micro_batches",
        1,
        "all-reduces of a model in one bucket",
        "Gradients of one step add up first: they travel after the last micro-batch.",
    ),
    Prediction(
        "fsdp_over_ddp_memory_8",
        1 / 8,
        "of DDP's state on each of 8 ranks",
        "Weights, gradients and both moments are all cut into eight.",
    ),
    Prediction(
        "gpus_for_7b",
        6_738_415_616 * 16 / 75e9,
        "GPUs of 75 GB, for the state alone",
        "16 bytes for each of 6.74 billion weights are 108 GB.",
    ),
]
