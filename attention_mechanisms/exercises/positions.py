"""The exercises of notebook 04, with their checkers: turn a vector by its position (RoPE), penalise distance (ALiBi).

The checkers test properties on small inputs, so any right answer passes: for ALiBi also one that differs by a number
in each row, which softmax does not see. They know how both usually go wrong. The tests prove
(`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: tables, layouts other than the paper's, and slopes for head counts that are no power of two
(`positions` has them). Notebook: `04_positions.ipynb`.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _numbers(value: Any) -> list[float]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    require(isinstance(listed, list | tuple), f"give a list of numbers, not {type(value).__name__}")
    return [float(number) for number in listed]


def _near(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-5) for x, y in zip(a, b, strict=True))


def _same_numbers(a: Any, b: Any) -> bool:
    return _near(_numbers(a), _numbers(b))


def _rounded(numbers: list[float]) -> list[float]:
    return [round(number, 4) + 0.0 for number in numbers]


# ---------------------------------------------------------------- 1. rotate


def _turned(x: list[float], position: float, theta: float) -> list[float]:
    """By complex numbers, another way than the solution's."""
    out: list[float] = []
    for j in range(len(x) // 2):
        angle = position * theta ** (-2 * j / len(x))
        z = complex(x[2 * j], x[2 * j + 1]) * cmath.exp(1j * angle)
        out += [z.real, z.imag]
    return out


def _check_rotate(answer: Answer) -> None:
    def ask(x: list[float], position: float, theta: float = 10000.0) -> list[float]:
        return _numbers(answer(list(x), position, theta))

    quarter = math.pi / 2
    cases: list[tuple[list[float], float, float, str]] = [
        ([0.3, -2.0, 5.0, 1.0], 0, 10000.0, "at position 0 nothing turns"),
        ([1.0, 0.0], quarter, 10000.0, "a positive angle turns (1, 0) towards (0, 1)"),
        ([0.0, 1.0], quarter, 10000.0, "a quarter turn takes (0, 1) to (-1, 0)"),
        ([3.0, 4.0], 1, 10000.0, "the first pair turns by exactly one radian a position"),
        ([1.0, 0.0, 1.0, 0.0], 10, 10000.0, "pair i turns by theta^(-2i/D): here 1 and 1/100"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 7, 10000.0, "four pairs, each with its own speed"),
        ([1.0, 2.0, 3.0, 4.0], 3, 50.0, "theta is an argument"),
    ]
    for x, position, theta, lesson in cases:
        wanted, found = _turned(x, position, theta), ask(x, position, theta)
        require(
            _near(found, wanted),
            f"{lesson}: {x} at position {position:.4g} is {_rounded(wanted)}, but you give {_rounded(found)}",
        )


ROTATE_STUB = '''
def rotate(x, position, theta):
    """The vector x (a list of D numbers) turned as RoPE does at `position`; neighbours 2i, 2i + 1 form a pair."""
    ...  # your code
'''
ROTATE_SOLUTION = """
import math

def rotate(x, position, theta):
    turned = []
    for i in range(len(x) // 2):
        angle = position * theta ** (-2 * i / len(x))
        a, b = x[2 * i], x[2 * i + 1]
        turned.append(a * math.cos(angle) - b * math.sin(angle))
        turned.append(b * math.cos(angle) + a * math.sin(angle))
    return turned
"""

ROTATE = Exercise(
    name="rotate",
    task="Turn each pair of neighbours by position · theta^(-2i / D).",
    function="rotate",
    check=_check_rotate,
    stub=ROTATE_STUB,
    solution=ROTATE_SOLUTION,
    hints=(
        "Take D = 2 first: one pair, one angle. Where does (1, 0) go, and where (0, 1)?",
        "(a, b) becomes (a cos - b sin, b cos + a sin). Pair i has the coordinates 2i and 2i + 1.",
        "for i in range(len(x) // 2): angle = position * theta ** (-2 * i / len(x)); then append both numbers.",
    ),
    mistakes={
        "half split": Mistake(
            """
import math

def rotate(x, position, theta):
    half, turned = len(x) // 2, [0.0] * len(x)
    for i in range(half):
        angle = position * theta ** (-2 * i / len(x))
        turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
    return turned
""",
            "you pair i with i + D/2: that is the half-split layout. Here neighbours 2i and 2i + 1 form a pair, "
            "and weights made for one layout are nonsense in the other",
        ),
        "clockwise": Mistake(
            ROTATE_SOLUTION.replace("angle = position", "angle = -position"),
            "you turn clockwise: scores would still see the distance, with ahead and back exchanged, and weights "
            "of everyone else's models would not fit",
        ),
        "one speed": Mistake(
            ROTATE_SOLUTION.replace(" * theta ** (-2 * i / len(x))", ""),
            "you turn all pairs equally fast: then position 0 and 6.28 are the same, and nothing tells far from near",
        ),
        "half the exponent": Mistake(
            ROTATE_SOLUTION.replace("-2 * i / len(x)", "-i / len(x)"),
            "your exponent is -i/D with i counting pairs: it must be -2i/D, or the slowest pair turns 100 times "
            "too fast",
        ),
        "overwritten": Mistake(
            ROTATE_SOLUTION.replace("b * math.cos(angle) + a *", "b * math.cos(angle) + turned[-1] *"),
            "you use the first coordinate after you have changed it: keep both old numbers until both new ones "
            "are there",
        ),
    },
    probes=lambda: [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 3, 10000.0),
        ([0.5, -1.0, 2.0, 0.25], 11, 100.0),
    ],
    same=_same_numbers,
)


# ---------------------------------------------------------------- 2. ALiBi


def _tables(value: Any) -> list[list[list[float]]]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    ok = isinstance(listed, list | tuple) and all(isinstance(table, list | tuple) for table in listed)
    require(ok, f"give a table for each head, (heads, queries, keys), not {type(value).__name__}")
    return [[_numbers(row) for row in table] for table in listed]


def _seen_by_softmax(tables: list[list[list[float]]]) -> list[list[list[float]]]:
    """Keys up to the query only, each relative to the query's own place: what softmax under the mask can see."""
    return [[[x - row[q] for x in row[: q + 1]] for q, row in enumerate(table)] for table in tables]


def _same_tables(a: Any, b: Any) -> bool:
    one, two = _seen_by_softmax(_tables(a)), _seen_by_softmax(_tables(b))
    flat = [[x for table in tables for row in table for x in row] for tables in (one, two)]
    return [len(table) for table in one] == [len(table) for table in two] and _near(*flat)


def _check_alibi(answer: Answer) -> None:
    for n_head, n_tokens in ((1, 1), (1, 4), (4, 3), (8, 6), (16, 2)):
        tables = _tables(answer(n_head, n_tokens))
        require(
            len(tables) == n_head,
            f"each head needs a table: there are {n_head} heads but {len(tables)} tables",
        )
        shape = all(len(table) == n_tokens and all(len(row) == n_tokens for row in table) for table in tables)
        require(shape, f"each table has {n_tokens} rows (queries) and {n_tokens} columns (keys)")
        for head, table in enumerate(_seen_by_softmax(tables)):
            slope = 2.0 ** (-8 * (head + 1) / n_head)
            for query, row in enumerate(table):
                wanted = [-slope * (query - key) for key in range(query + 1)]
                require(
                    _near(row, wanted),
                    f"head {head} of {n_head} has the slope 2^(-8 · {head + 1} / {n_head}) = {slope:.4g}, so "
                    f"query {query} takes {_rounded(wanted)} from its keys 0 to {query}, relative to its own "
                    f"place; you take {_rounded(row)}",
                )


ALIBI_STUB = '''
def alibi(n_head, n_tokens):
    """What is added to the scores: for each head a table (queries, keys). n_head is a power of two."""
    ...  # your code; a tensor or nested lists; keys after the query are masked anyway
'''
ALIBI_SOLUTION = """
import torch

def alibi(n_head, n_tokens):
    slopes = 2.0 ** (-8 * torch.arange(1, n_head + 1) / n_head)
    places = torch.arange(n_tokens)
    distance = places[:, None] - places[None, :]
    return -slopes[:, None, None] * distance
"""

ALIBI = Exercise(
    name="alibi",
    task="Take slope · (query - key) from each score; head h of n has the slope 2^(-8 (h + 1) / n).",
    function="alibi",
    check=_check_alibi,
    stub=ALIBI_STUB,
    solution=ALIBI_SOLUTION,
    hints=(
        "Which key should lose nothing at all? Which one most, the nearest or the farthest?",
        "Eight heads have the slopes 1/2, 1/4, …, 1/256; four have 1/4, 1/16, 1/64, 1/256.",
        "distance = places[:, None] - places[None, :]; return -slopes[:, None, None] * distance.",
    ),
    mistakes={
        "a reward": Mistake(
            ALIBI_SOLUTION.replace("return -slopes", "return slopes"),
            "you reward distance: the farthest token would win every softmax. The sign must be minus",
        ),
        "slopes from 1": Mistake(
            ALIBI_SOLUTION.replace("torch.arange(1, n_head + 1)", "torch.arange(n_head)"),
            "your slopes begin with 1: the first is 2^(-8/n) and the last 2^-8",
        ),
        "halves whatever n": Mistake(
            ALIBI_SOLUTION.replace(
                "-8 * torch.arange(1, n_head + 1) / n_head", "-torch.arange(1, n_head + 1)"
            ),
            "your slopes halve from head to head whatever their number: that is right for 8 heads only; "
            "n heads share the way from 2^(-8/n) to 2^-8",
        ),
        "one slope": Mistake(
            ALIBI_SOLUTION.replace("-8 * torch.arange(1, n_head + 1) / n_head", "-8 * torch.ones(n_head)"),
            "all your heads have one slope: some must see far and others near, which is why there are several",
        ),
        "per key only once": Mistake(
            ALIBI_SOLUTION.replace("* distance", "* (distance > 0)"),
            "every earlier key loses the same: the penalty must grow with the distance",
        ),
    },
    probes=lambda: [(2, 4), (4, 5), (16, 3)],
    same=_same_tables,
)

EXERCISES = [ROTATE, ALIBI]

PREDICTIONS = [
    Prediction(
        "change_by_shuffling",
        0,
        "",
        "A sum does not ask in which order its terms come: the same keys and values give the same average.",
    ),
    Prediction(
        "slowest_turn",
        lambda: 2 * math.pi * 10000 ** (62 / 64),
        "tokens",
        "The last of 32 pairs turns by 10000^(-62/64) radians a token. Most pairs never come round in a usual text.",
    ),
    Prediction(
        "alibi_reach",
        lambda: math.log(100) / 0.5,
        "tokens",
        "e^(-d/2) = 1/100 at d = 2 ln 100: for equal scores, this head sees its last nine tokens.",
    ),
    Prediction(
        "wrong_layout_loss",
        math.log(2048),
        "nats",
        "No name, no shape and no number in the file says which layout it was made for.",
    ),
]
