"""The exercises of notebook 05, with their checkers: tokens for a budget, the best size of a valley, a rung of halving.

Each checker tests properties with numbers that can be worked out by hand, so any right answer passes, and knows how it
usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic
mistake is named. Left out: the fit in N and D (`power_laws.fit_loss`), which is a search and no exercise.
Notebook: `05_scaling_on_a_laptop.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _close(found: Any, wanted: float, tolerance: float = 1e-6) -> bool:
    return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=tolerance)


# ---------------------------------------------------------------- 1. tokens for a budget


def _check_tokens(answer: Answer) -> None:
    cases: list[tuple[tuple[Any, ...], float, str]] = [
        ((6.0, 1, 0, 1, 1), 1.0, "one weight and no layer: six FLOPs train it on one token"),
        ((6e6, 1000, 0, 8, 64), 1000.0, "1,000 weights cost 6,000 FLOPs a token"),
        ((12.0, 0, 1, 1, 1), 1.0, "no weight, one layer, one key: its score and its value, three times"),
        ((1e11, 48_800, 2, 40, 64), 1e11 / (6 * 48_800 + 12 * 2 * 40 * 64), "weights and tables together"),
        ((1e11, 10_304, 2, 16, 64), 1e11 / (6 * 10_304 + 12 * 2 * 16 * 64), "a small model reads more"),
    ]  # fmt: skip
    for arguments, wanted, lesson in cases:
        found = answer(*arguments)
        require(
            _close(found, wanted),
            f"{lesson}: (flops, n, n_layer, n_embd, context) = {arguments} gives {wanted:,.6g} tokens, but you "
            f"give {found}",
        )


TOKENS_STUB = '''
def tokens_for(flops, n, n_layer, n_embd, context):
    """How many tokens a model with n multiplying weights can be trained on for `flops`, attention included."""
    ...  # your code
'''
TOKENS_SOLUTION = """
def tokens_for(flops, n, n_layer, n_embd, context):
    weights = 6 * n
    tables = 12 * n_layer * n_embd * context
    return flops / (weights + tables)
"""
TOKENS = Exercise(
    name="tokens_for",
    task="The budget divided by what a token costs: its weights and its attention.",
    function="tokens_for",
    check=_check_tokens,
    stub=TOKENS_STUB,
    solution=TOKENS_SOLUTION,
    hints=(
        "First the price of one token. Each weight multiplies once forward and twice backward; a multiply-add is two "
        "FLOPs.",
        "6 n for the weights. Attention: 12 FLOPs for each layer, each number of the width and each key.",
        "flops / (6 * n + 12 * n_layer * n_embd * context)",
    ),
    mistakes={
        "no tables": Mistake(
            TOKENS_SOLUTION.replace("weights + tables", "weights"),
            "you left attention out: at these widths its tables cost as much as a third of the weights, and more",
        ),
        "forward only": Mistake(
            TOKENS_SOLUTION.replace("6 * n", "2 * n").replace("12 *", "4 *"),
            "you counted the forward pass only: a token that trains costs three times as much",
        ),
        "multiply-adds": Mistake(
            TOKENS_SOLUTION.replace("6 * n", "3 * n").replace("12 *", "6 *"),
            "you counted multiply-adds: each is two FLOPs, a product and a sum",
        ),
        "one layer": Mistake(
            TOKENS_SOLUTION.replace("n_layer * ", ""),
            "you counted the tables of one layer: each layer has its own",
        ),
        "times": Mistake(
            TOKENS_SOLUTION.replace("flops / (", "flops * ("),
            "you multiplied: at equal FLOPs a model that costs more for each token reads fewer of them",
        ),
    },
    probes=lambda: [(1e9, 5000, 3, 16, 32), (7e8, 1200, 2, 8, 64)],
    same=lambda a, b: _close(a, b),
)


# ---------------------------------------------------------------- 2. the bottom of a valley


def _valley(best: float, sizes: list[float], bend: float = 0.1) -> tuple[list[float], list[float]]:
    return sizes, [2.0 + bend * math.log(n / best) ** 2 for n in sizes]


def _check_best(answer: Answer) -> None:
    cases = [
        (_valley(1000.0, [100.0, 1000.0, 10_000.0]), 1000.0, "a valley with its bottom on a point"),
        (
            _valley(3000.0, [1000.0, 2000.0, 8000.0, 20_000.0]),
            3000.0,
            "a bottom between the sizes that were tried",
        ),
        (_valley(500.0, [1000.0, 2000.0, 4000.0]), 500.0, "a bottom outside: the parabola still has one"),
        (
            _valley(3000.0, [20_000.0, 1000.0, 8000.0, 2000.0]),
            3000.0,
            "the order of the sizes does not matter",
        ),
    ]
    for (sizes, losses), wanted, lesson in cases:
        found = answer(sizes, losses)
        require(
            _close(found, wanted, 1e-4),
            f"{lesson}: sizes {sizes} with losses {[round(loss, 4) for loss in losses]} have their best size at "
            f"{wanted:,.0f}, but you give {found}",
        )


BEST_STUB = '''
def best_size(sizes, losses):
    """The size at the lowest point of a parabola through loss against ln(size)."""
    ...  # your code
'''
BEST_SOLUTION = """
import numpy as np

def best_size(sizes, losses):
    a, b, c = np.polyfit(np.log(sizes), losses, 2)
    lowest = -b / (2 * a)
    return float(np.exp(lowest))
"""
BEST = Exercise(
    name="best_size",
    task="Fit a parabola over the logarithm, find its lowest point, and come back from the logarithm.",
    function="best_size",
    check=_check_best,
    stub=BEST_STUB,
    solution=BEST_SOLUTION,
    hints=(
        "numpy.polyfit(x, y, 2) gives the three numbers of a parabola. What is x here?",
        "x is ln(size). The parabola a·x² + b·x + c is lowest at x = -b / (2a), which is still a logarithm.",
        "float(np.exp(-b / (2 * a))) with a, b, c = np.polyfit(np.log(sizes), losses, 2)",
    ),
    mistakes={
        "no logarithm": Mistake(
            BEST_SOLUTION.replace("np.log(sizes)", "sizes").replace("np.exp(lowest)", "lowest"),
            "you fitted over the size itself: twice too large and twice too small are equally wrong, and only the "
            "logarithm makes them equally far",
        ),
        "still a logarithm": Mistake(
            BEST_SOLUTION.replace("np.exp(lowest)", "lowest"),
            "you returned the logarithm of the size: come back with exp",
        ),
        "base ten": Mistake(
            BEST_SOLUTION.replace("np.exp(lowest)", "10**lowest"),
            "you came back with 10 to the power, but went with the natural logarithm",
        ),
        "smallest of those tried": Mistake(
            BEST_SOLUTION.replace("float(np.exp(lowest))", "sizes[int(np.argmin(losses))]"),
            "you took the best of the sizes that were tried: the valley's bottom lies between them",
        ),
        "half": Mistake(
            BEST_SOLUTION.replace("(2 * a)", "a"),
            "you forgot the 2: the slope 2·a·x + b is zero at -b / (2a)",
        ),
        "uphill": Mistake(
            BEST_SOLUTION.replace("-b /", "b /"),
            "you lost the minus: the slope 2·a·x + b is zero at -b / (2a)",
        ),
    },
    probes=lambda: [_valley(70_000.0, [10_000.0, 50_000.0, 120_000.0, 300_000.0])],
    same=lambda a, b: _close(a, b, 1e-4),
)


# ---------------------------------------------------------------- 3. a rung of halving

NAN = float("nan")


def _check_rung(answer: Answer) -> None:
    cases: list[tuple[list[float], int, list[int], str]] = [
        ([3.0, 1.0, 2.0, 4.0], 2, [1, 2], "the lower half goes on, the best first"),
        ([3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 0.5, 9.0, 8.0], 3, [6, 1, 2], "one in three of nine are three"),
        ([2.0, 1.0, 3.0], 2, [1], "one in two of three is one: rounded down"),
        ([2.0, 1.0], 4, [1], "at least one goes on"),
        (
            [NAN, 1.0, 2.0, 3.0],
            2,
            [1, 2],
            "a loss that is not a number never goes on, and its place counts as begun",
        ),
        ([NAN, NAN], 2, [], "where every trial has diverged nobody goes on"),
    ]
    for losses, eta, wanted, lesson in cases:
        found = answer(list(losses), eta)
        require(
            isinstance(found, list | tuple) and list(found) == wanted,
            f"{lesson}: losses {losses} with eta = {eta} let {wanted} go on, but you say {found}",
        )


RUNG_STUB = '''
def go_on(losses, eta):
    """Positions of the trials that train on: the best 1/eta of those that began, at least one, none with NaN."""
    ...  # your code
'''
RUNG_SOLUTION = """
import math

def go_on(losses, eta):
    finite = [i for i, loss in enumerate(losses) if math.isfinite(loss)]
    finite.sort(key=lambda i: losses[i])
    return finite[: max(1, len(losses) // eta)]
"""
RUNG = Exercise(
    name="go_on",
    task="One rung of successive halving: who trains on, the best first.",
    function="go_on",
    check=_check_rung,
    stub=RUNG_STUB,
    solution=RUNG_SOLUTION,
    hints=(
        "Sort positions, not losses: sorted(range(len(losses)), key=…). How many stay?",
        "len(losses) // eta, but at least one. What does sorting do with a NaN, which is neither smaller nor larger?",
        "Keep the finite positions, sort them by their loss, and cut the list at max(1, len(losses) // eta).",
    ),
    mistakes={
        "the worst": Mistake(
            RUNG_SOLUTION.replace("key=lambda i: losses[i]", "key=lambda i: -losses[i]"),
            "you let the highest losses go on: lower is better",
        ),
        "diverged": Mistake(
            RUNG_SOLUTION.replace("if math.isfinite(loss)", "if True"),
            "you let a NaN into the sorting: it compares false with everything, so it may come out first",
        ),
        "nobody": Mistake(
            RUNG_SOLUTION.replace("max(1, len(losses) // eta)", "len(losses) // eta"),
            "you let nobody go on where fewer than eta are left: the last one must finish",
        ),
        "one out": Mistake(
            RUNG_SOLUTION.replace("max(1, len(losses) // eta)", "max(1, len(losses) - len(losses) // eta)"),
            "you dropped one in eta: one in eta goes on, the others stay behind",
        ),
        "rounded up": Mistake(
            RUNG_SOLUTION.replace("len(losses) // eta)", "-(-len(losses) // eta))"),
            "you rounded up: with three trials and eta 2 one goes on, or a rung would cost more than was planned",
        ),
    },
    probes=lambda: [
        ([NAN, 5.0, 4.0, 3.0, 2.0, 1.0, 9.0], 3),
        ([2.0, 1.0], 4),
        ([4.0, 3.0, 2.0, 1.0, 0.5], 2),
    ],
)

EXERCISES = [TOKENS, BEST, RUNG]

PREDICTIONS = [
    Prediction(
        "steps_of_halving_16",
        3 / 16,
        "of the grid's steps",
        "16 · S/16 for the first rung, and S/2 for each of four more, because a run goes on and does not begin again: "
        "3 S instead of 16 S.",
    ),
    Prediction(
        "flops_of_a_million_bytes",
        (6 * 48_800 + 12 * 2 * 40 * 64) * 1e6,
        "FLOPs",
        "6 · 48,800 for the weights and 12 · 2 · 40 · 64 for attention, a million times.",
    ),
]
