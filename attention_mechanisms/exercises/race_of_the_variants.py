"""The exercises of notebook 08, with their checkers: a fair width, what a smaller cache wins, an interval.

Each checker tests properties, so any right answer passes, and knows how the step usually goes wrong. The tests prove
(`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: Student's t itself (`race_results.t_quantile`) and choosing among variants. Notebook:
`08_race_of_the_variants.ipynb`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _close(a: Any, b: Any) -> bool:
    """Two results, numbers or pairs of numbers, that differ by rounding at most."""
    first, second = (x if isinstance(x, tuple | list) else (x,) for x in (a, b))
    return len(first) == len(second) and all(
        math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) for x, y in zip(first, second, strict=True)
    )


# ---------------------------------------------------------------- 1. a width that makes sizes equal


def _check_width(answer: Answer) -> None:
    for target, rest, per_unit, step in (
        (1_000, 200, 10, 8),
        (1_000, 220, 10, 8),
        (1_000, 250, 10, 8),
        (1_315_968, 1_053_824, 1_536, 8),
        (1_315_968, 991_360, 1_536, 8),
        (500, 490, 10, 8),
    ):
        width = answer(target, rest, per_unit, step)
        case = f"target {target:,}, {rest:,} elsewhere, {per_unit:,} for each unit of width"
        require(width % step == 0, f"{case}: the width must be a multiple of {step}, but yours is {width}")
        require(width >= step, f"{case}: a layer needs a width of at least {step}, but yours is {width}")

        off = abs(rest + width * per_unit - target)
        others = {w: abs(rest + w * per_unit - target) for w in (width - step, width + step) if w >= step}
        nearer = [w for w, other in others.items() if other < off]
        require(
            not nearer,
            f"{case}: your width {width} is off by {off:,} parameters, {nearer and nearer[0]} by fewer",
        )


WIDTH_STUB = '''
def fair_width(target, rest, per_unit, step):
    """The multiple of `step`, at least `step`, that brings rest + width * per_unit nearest to `target`."""
    ...  # your code
'''
WIDTH_SOLUTION = """
def fair_width(target, rest, per_unit, step):
    steps = round((target - rest) / (per_unit * step))
    return step * max(1, steps)
"""
WIDTH = Exercise(
    name="fair_width",
    task="Choose the feed-forward layer's width so that two models have as nearly as possible the same parameters.",
    function="fair_width",
    check=_check_width,
    stub=WIDTH_STUB,
    solution=WIDTH_SOLUTION,
    hints=(
        "How many parameters are left for the feed-forward layer when everything else has its own?",
        "One step of the width costs per_unit * step parameters. How many steps are nearest to what is left?",
        "step * max(1, round((target - rest) / (per_unit * step))).",
    ),
    mistakes={
        "rounded down": Mistake(
            WIDTH_SOLUTION.replace(
                "round((target - rest) / (per_unit * step))", "(target - rest) // (per_unit * step)"
            ),
            "you round down, so your runner is always the smaller one: nearest may be above as well",
        ),
        "any width": Mistake(
            "def fair_width(target, rest, per_unit, step):\n"
            "    return max(step, round((target - rest) / per_unit))\n",
            "you forgot the step: kernels like widths that are multiples of it, so count in steps",
        ),
        "forgot the rest": Mistake(
            WIDTH_SOLUTION.replace("(target - rest)", "target"),
            "you spend the whole target on the feed-forward layer: attention, embeddings and norms have their share",
        ),
        "nothing left": Mistake(
            "def fair_width(target, rest, per_unit, step):\n"
            "    return step * round((target - rest) / (per_unit * step))\n",
            "your layer can have a width of 0 where little is left: a feed-forward layer needs at least one step",
        ),
    },
    probes=lambda: [(1_000, 200, 10, 8), (1_000, 250, 10, 8), (1_000, 220, 10, 8), (500, 490, 10, 8)],
)


# ---------------------------------------------------------------- 2. what a smaller cache wins, if bytes are time


def _check_gain(answer: Answer) -> None:
    require(
        _close(answer(100, 50, 1.0), 1.0), "a cache that is not smaller wins nothing: share 1 must give 1"
    )
    require(
        _close(answer(0, 50, 0.25), 4.0),
        "without weights a step is all cache: a quarter of it must be 4 times as fast",
    )
    most = answer(248, 38, 0.0)
    require(
        _close(most, 286 / 248),
        f"even without any cache the weights are read: 248 and 38 MB give 286 / 248, not {most:.3g}",
    )
    for weights, cache, share in ((248, 604, 1 / 3), (100, 100, 0.5), (7, 70, 0.1)):
        wanted, found = (weights + cache) / (weights + share * cache), answer(weights, cache, share)
        require(
            _close(found, wanted),
            f"weights {weights}, cache {cache}, share {share:.3g}: bytes before over bytes after is {wanted:.4g}, "
            f"but you give {found:.4g}",
        )


GAIN_STUB = '''
def gain_by_bytes(weights, cache, share):
    """How many times as fast a step is with only `share` of the cache, if its time is the bytes that it reads."""
    ...  # your code
'''
GAIN_SOLUTION = """
def gain_by_bytes(weights, cache, share):
    return (weights + cache) / (weights + share * cache)
"""
GAIN = Exercise(
    name="gain_by_bytes",
    task="Say how many times as fast a decode step becomes when its cache shrinks, if its time is the bytes it reads.",
    function="gain_by_bytes",
    check=_check_gain,
    stub=GAIN_STUB,
    solution=GAIN_SOLUTION,
    hints=(
        "How many bytes does the step read before, and how many after?",
        "The weights are read either way. Only the cache's bytes are multiplied by the share.",
        "(weights + cache) / (weights + share * cache).",
    ),
    mistakes={
        "one over the share": Mistake(
            "def gain_by_bytes(weights, cache, share):\n    return 1 / share if share else float('inf')\n",
            "you forgot the weights: they are read at every step and do not shrink (Amdahl's law)",
        ),
        "all shrinks": Mistake(
            GAIN_SOLUTION.replace("(weights + share * cache)", "(share * weights + cache)"),
            "you shrink the weights and leave the cache: it is the other way round",
        ),
        "upside down": Mistake(
            "def gain_by_bytes(weights, cache, share):\n"
            "    return (weights + share * cache) / (weights + cache)\n",
            "your ratio is upside down: it gives the time that is left, and the speed is its inverse",
        ),
        "saved for kept": Mistake(
            GAIN_SOLUTION.replace("share * cache", "(1 - share) * cache"),
            "you take the share that is saved for the share that is left",
        ),
    },
    probes=lambda: [(100.0, 50.0, 0.25), (10.0, 90.0, 0.5), (248.0, 38.0, 0.1)],
    same=_close,
)


# ---------------------------------------------------------------- 3. a difference and its interval

_T = 4.303  # of Student's t with 2 degrees of freedom, 95 %


def _check_interval(answer: Answer) -> None:
    base = {0: 2.0, 1: 2.4, 2: 2.2}
    always = {seed: loss + 0.1 for seed, loss in base.items()}
    low, high = answer(base, always, _T)
    require(
        math.isclose(low, 0.1, abs_tol=1e-9) and math.isclose(high, 0.1, abs_tol=1e-9),
        f"each seed is worse by exactly 0.1, so the interval is 0.1 to 0.1, however far the seeds lie apart; yours is "
        f"{low:.3f} to {high:.3f}",
    )
    other = {2: 2.35, 0: 2.1, 1: 2.45}  # another order: seeds are names
    differences = [other[seed] - base[seed] for seed in base]
    mean = statistics.fmean(differences)
    half = _T * statistics.stdev(differences) / math.sqrt(3)
    low, high = answer(base, other, _T)
    require(
        _close((low, high), (mean - half, mean + half)),
        f"differences {', '.join(f'{d:+.2f}' for d in differences)}: mean {mean:.3f} ± t · sd / √n is "
        f"{mean - half:.4f} to {mean + half:.4f}, but you give {low:.4f} to {high:.4f}",
    )
    short = {0: 2.1, 1: 2.45}  # the third model is not trained yet
    differences = [other[seed] - base[seed] for seed in short]
    half = _T * statistics.stdev(differences) / math.sqrt(2)
    require(
        _close(
            answer(base, short, _T),
            (statistics.fmean(differences) - half, statistics.fmean(differences) + half),
        ),
        "only seeds that both have can be compared, and n is their number",
    )


INTERVAL_STUB = '''
def paired_interval(first, other, t):
    """(low, high) for the mean of other - first, two dicts seed -> loss; `t` is Student's for that many seeds."""
    ...  # your code
'''
INTERVAL_SOLUTION = """
from statistics import mean, stdev

def paired_interval(first, other, t):
    differences = [other[seed] - first[seed] for seed in first if seed in other]
    half = t * stdev(differences) / len(differences) ** 0.5
    return mean(differences) - half, mean(differences) + half
"""
INTERVAL = Exercise(
    name="paired_interval",
    task="Give the interval of the mean difference between two variants, seed by seed.",
    function="paired_interval",
    check=_check_interval,
    stub=INTERVAL_STUB,
    solution=INTERVAL_SOLUTION,
    hints=(
        "Which numbers do you average: two lists of losses, or one list of differences?",
        "Match by seed, not by place. Then the standard deviation of the differences (n - 1), by √n, times t.",
        "d = [other[s] - first[s] for s in first if s in other]; mean(d) ± t * stdev(d) / len(d) ** 0.5.",
    ),
    mistakes={
        "not paired": Mistake(
            INTERVAL_SOLUTION.replace(
                "t * stdev(differences) / len(differences) ** 0.5",
                "t * ((stdev(first.values()) ** 2 + stdev(other.values()) ** 2) / len(differences)) ** 0.5",
            ),
            "you add the spread of both variants: what a seed does to both cancels only in the differences",
        ),
        "by place": Mistake(
            INTERVAL_SOLUTION.replace(
                "[other[seed] - first[seed] for seed in first if seed in other]",
                "[b - a for a, b in zip(first.values(), other.values())]",
            ),
            "you match losses by their place, but the dicts may be in another order: match them by seed",
        ),
        "whole population": Mistake(
            INTERVAL_SOLUTION.replace("mean, stdev", "mean, pstdev as stdev"),
            "you divide by n where n - 1 is meant: the mean was taken from the same few numbers",
        ),
        "without the root": Mistake(
            INTERVAL_SOLUTION.replace(" / len(differences) ** 0.5", ""),
            "you give the spread of single differences: a mean of n is surer by √n",
        ),
        "the wrong way round": Mistake(
            INTERVAL_SOLUTION.replace("other[seed] - first[seed]", "first[seed] - other[seed]"),
            "your sign is the wrong way round: other - first, so that a positive number is a worse loss",
        ),
    },
    probes=lambda: [
        ({0: 2.0, 1: 2.4, 2: 2.2}, {2: 2.35, 0: 2.1, 1: 2.45}, _T),
        ({3: 1.0, 4: 1.1, 5: 1.3, 6: 1.2}, {6: 1.25, 5: 1.2, 4: 1.15, 3: 1.02}, 3.182),
    ],
    same=_close,
)

EXERCISES = [WIDTH, GAIN, INTERVAL]

PREDICTIONS = [
    Prediction(
        "cache_share_of_a_step",
        13.2,
        "per cent",
        "1,024 tokens of 36,864 bytes are 37.7 MB, beside 249 MB of weights: most of the step is not attention.",
    ),
    Prediction(
        "false_alarms_with_three_seeds",
        18.9,
        "per cent",
        "1.96 is for a spread that is known. Three numbers guess it badly, and 4.30 takes its place.",
    ),
    Prediction(
        "surest_sign_of_three_seeds",
        25,
        "per cent",
        "Two coins in eight fall the same way three times: 2 · (1/2)³.",
    ),
]
