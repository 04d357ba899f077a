"""The exercises of notebook 01, with their checkers: which token to read, what a rare label is worth, how sure is sure.

Each checker tests properties on plain lists of its own, so any right answer passes, and knows how the step usually goes
wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is
named. Left out: tensors, models (`classification.model`, `classification.metrics`).
Notebook: `01_classification.ipynb`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


# ---------------------------------------------------------------- 1. the last real token

PADDED = [[7, 3, 5, -1, -1], [4, 0, -1, -1, -1], [9, 8, 0, 2, 6], [-1, -1, 3, 4, 0]]


def _check_last(answer: Answer) -> None:
    for rows, expected in (
        (PADDED, [2, 1, 4, 4]),
        ([[5]], [0]),
        ([[1, -1], [-1, 1]], [0, 1]),
        ([[0, 0, 0, -1]], [2]),
    ):
        found = answer([list(row) for row in rows])
        require(isinstance(found, list), f"give a list of places, not {type(found).__name__}")
        require(len(found) == len(rows), f"one place for each row: {len(rows)}, not {len(found)}")
        for row, place, want in zip(rows, found, expected, strict=True):
            require(
                place == want,
                f"in {row} the last token that is no padding stands at {want}, not at {place}",
            )


LAST_STUB = '''
def last_real(rows):
    """For each row the place of its last token that is no padding. Padding is -1, on either side."""
    ...  # your code
'''
LAST_SOLUTION = """
def last_real(rows):
    return [max(place for place, token in enumerate(row) if token != -1) for row in rows]
"""
LAST = Exercise(
    name="last_real",
    task="The place of the last real token of each row.",
    function="last_real",
    check=_check_last,
    stub=LAST_STUB,
    solution=LAST_SOLUTION,
    hints=(
        "Which places of a row hold a real token? You want the largest of them.",
        "enumerate(row) gives (place, token). Keep the places whose token is not -1.",
        "[max(place for place, token in enumerate(row) if token != -1) for row in rows]",
    ),
    mistakes={
        "the end of the row": Mistake(
            "def last_real(rows):\n    return [len(row) - 1 for row in rows]\n",
            "you took the end of the row: in all rows but the longest that is padding",
        ),
        "counted": Mistake(
            "def last_real(rows):\n    return [sum(t != -1 for t in row) - 1 for row in rows]\n",
            "you counted the real tokens: that is their last place only where padding stands on the right",
        ),
        "zero is padding": Mistake(
            LAST_SOLUTION.replace("token != -1", "token > 0"),
            "you took token 0 for padding: 0 is a token like any other, and a text may end in it",
        ),
        "the first padding": Mistake(
            "def last_real(rows):\n    return [row.index(-1) if -1 in row else len(row) for row in rows]\n",
            "you found the first padding: the last real token stands one place before it",
        ),
    },
    probes=lambda: [(PADDED,), ([[1, -1], [2, 3]],)],
)


# ---------------------------------------------------------------- 2. F1, label by label

TABLES = ([[90, 5], [3, 2]], [[50, 10, 0], [5, 30, 1], [4, 1, 0]], [[87, 0], [13, 0]], [[3, 0], [0, 4]])


def _f1(table: list[list[int]]) -> list[float]:
    found = []
    for i in range(len(table)):
        hits = table[i][i]
        called, were = sum(row[i] for row in table), sum(table[i])
        found.append(2 * hits / (called + were) if called + were else 0.0)
    return found


def _check_f1(answer: Answer) -> None:
    for table in TABLES:
        found = answer([list(row) for row in table])
        require(isinstance(found, list | tuple), f"give a list, one F1 a label, not {type(found).__name__}")
        require(len(found) == len(table), f"there are {len(table)} labels, and {len(found)} numbers")
        for i, (mine, want) in enumerate(zip(found, _f1(table), strict=True)):
            require(
                isinstance(mine, int | float) and not math.isnan(mine),
                "a label that is never predicted and never true has F1 0, not an error",
            )
            require(abs(mine - want) < 1e-9, f"in {table} label {i} has F1 {want:.3f}, not {mine:.3f}")


F1_STUB = '''
def f1_scores(table):
    """F1 of each label. table[i][j]: how many texts of label i were called j. 0/0 is 0."""
    ...  # your code
'''
F1_SOLUTION = """
def f1_scores(table):
    scores = []
    for i in range(len(table)):
        hits = table[i][i]
        called = sum(row[i] for row in table)
        were = sum(table[i])
        precision = hits / called if called else 0.0
        recall = hits / were if were else 0.0
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0.0)
    return scores
"""
F1 = Exercise(
    name="f1_scores",
    task="The F1 of every label, from the table of what was called what.",
    function="f1_scores",
    check=_check_f1,
    stub=F1_STUB,
    solution=F1_SOLUTION,
    hints=(
        "Two questions for a label: of what was called so, how much was? Of what was so, how much was called so?",
        "Called so: its column. Was so: its row. The harmonic mean of the two is 2 · p · r / (p + r).",
        "hits = table[i][i]; precision = hits / sum(row[i] for row in table); recall = hits / sum(table[i])",
    ),
    mistakes={
        "accuracy": Mistake(
            "def f1_scores(table):\n"
            "    n = sum(map(sum, table))\n"
            "    return [sum(table[i][i] for i in range(len(table))) / n for _ in table]\n",
            "you gave accuracy for every label: it hides exactly what F1 is to show",
        ),
        "arithmetic": Mistake(
            F1_SOLUTION.replace("2 * precision * recall / both if both else 0.0", "both / 2"),
            "you took the arithmetic mean: a label that is always called has recall 1 and would score half for nothing",
        ),
        "only recall": Mistake(
            F1_SOLUTION.replace(
                "scores.append(2 * precision * recall / both if both else 0.0)", "scores.append(recall)"
            ),
            "you gave recall alone: calling everything spam finds all spam",
        ),
        "only precision": Mistake(
            F1_SOLUTION.replace(
                "scores.append(2 * precision * recall / both if both else 0.0)", "scores.append(precision)"
            ),
            "you gave precision alone: calling one sure message spam and no other is perfectly precise",
        ),
        "no zero": Mistake(
            F1_SOLUTION.replace(" if called else 0.0", "").replace(" if both else 0.0", ""),
            "you divided by zero: a label that was never predicted has nothing in its column",
        ),
    },
    probes=lambda: [(table,) for table in TABLES],
    same=lambda a, b: all(abs(x - y) < 1e-9 for x, y in zip(a, b, strict=True)),
)


# ---------------------------------------------------------------- 3. how sure is sure


def _forecasts(count: int, seed: int) -> tuple[list[float], list[bool]]:
    chance = random.Random(seed)
    sure = [round(0.5 + 0.5 * chance.random() ** 0.4, 3) for _ in range(count)]
    right = [chance.random() < s - (0.2 if s > 0.9 else -0.1 if s < 0.7 else 0.0) for s in sure]
    return sure, right


def _ece(sure: list[float], right: list[bool], bins: int) -> float:
    error = 0.0
    for b in range(bins):
        inside = [i for i, s in enumerate(sure) if b / bins < s <= (b + 1) / bins]
        if inside:
            gap = abs(sum(sure[i] for i in inside) - sum(right[i] for i in inside)) / len(inside)
            error += len(inside) / len(sure) * gap
    return error


def _check_ece(answer: Answer) -> None:
    honest = ([0.75] * 8, [True] * 6 + [False] * 2)
    require(
        abs(answer(list(honest[0]), list(honest[1]), 10)) < 1e-9,
        "right in 6 of 8 and 75 % sure each time is perfectly calibrated: the error is 0",
    )
    boaster = answer([0.95] * 10, [True] * 5 + [False] * 5, 10)
    require(
        abs(boaster - 0.45) < 1e-9,
        f"95 % sure and right half of the time is an error of 0.45, not {boaster:.3f}",
    )
    opposite = answer([0.65] * 10 + [0.85] * 10, [True] * 10 + [False] * 2 + [True] * 8, 10)
    require(
        abs(opposite - 0.2) < 1e-9, f"gaps of 0.35 and 0.05 on ten texts each make 0.2, not {opposite:.3f}"
    )
    for count, seed, bins in ((60, 0, 10), (400, 1, 10), (97, 2, 5)):
        sure, right = _forecasts(count, seed)
        found, want = answer(list(sure), list(right), bins), _ece(sure, right, bins)
        require(
            abs(found - want) < 1e-9,
            f"on {count} forecasts in {bins} bins the error is {want:.4f}, not {found:.4f}",
        )


ECE_STUB = '''
def calibration_error(sure, right, bins):
    """The mean gap between confidence and accuracy over bins of equal width, each weighted by its texts.

    sure: the confidence of each prediction, above 0 and at most 1. right: whether it was right.
    A bin holds what is above its lower edge and at most its upper edge.
    """
    ...  # your code
'''
ECE_SOLUTION = """
def calibration_error(sure, right, bins):
    error = 0.0
    for b in range(bins):
        inside = [i for i, s in enumerate(sure) if b / bins < s <= (b + 1) / bins]
        if not inside:
            continue
        confidence = sum(sure[i] for i in inside) / len(inside)
        accuracy = sum(right[i] for i in inside) / len(inside)
        error += len(inside) / len(sure) * abs(confidence - accuracy)
    return error
"""
ECE = Exercise(
    name="calibration_error",
    task="The expected calibration error of a list of forecasts.",
    function="calibration_error",
    check=_check_ece,
    stub=ECE_STUB,
    solution=ECE_SOLUTION,
    hints=(
        "Take the forecasts of one bin. How sure were they on average, and how often were they right?",
        "Their gap counts by its size, whatever its sign, and by how many forecasts the bin has.",
        "error += len(inside) / len(sure) * abs(confidence - accuracy), for each bin that is not empty",
    ),
    mistakes={
        "bins alike": Mistake(
            ECE_SOLUTION.replace("len(inside) / len(sure) * abs", "1 / bins * abs"),
            "you gave every bin the same weight: three forecasts would count as much as three hundred",
        ),
        "signed": Mistake(
            ECE_SOLUTION.replace("abs(confidence - accuracy)", "(confidence - accuracy)"),
            "you let gaps of opposite sign cancel: too sure here and too shy there is twice wrong",
        ),
        "one bin": Mistake(
            "def calibration_error(sure, right, bins):\n    return abs(sum(sure) - sum(right)) / len(sure)\n",
            "you compared the averages over all forecasts: errors of opposite sign cancel before you look",
        ),
        "squared": Mistake(
            ECE_SOLUTION.replace("abs(confidence - accuracy)", "(confidence - accuracy) ** 2"),
            "you squared the gaps: that is another score; ECE is in the units of a probability",
        ),
        "each alone": Mistake(
            "def calibration_error(sure, right, bins):\n"
            "    return sum(abs(s - r) for s, r in zip(sure, right)) / len(sure)\n",
            "you compared each forecast with its own outcome, which is 0 or 1: 70 % is never right about a single one",
        ),
    },
    probes=lambda: [
        (*_forecasts(80, 3), 10),
        (*_forecasts(50, 5), 4),
        ([0.55, 0.65, 0.95, 0.7], [True, True, False, True], 10),  # too shy on the whole
    ],
    same=lambda a, b: abs(a - b) < 1e-9,
)

EXERCISES = [LAST, F1, ECE]
PREDICTIONS = [
    Prediction(
        "right_by_never_saying_spam",
        86.6,
        "%",
        "4,827 of the 5,574 messages are no spam. Accuracy rewards the classifier that has given up.",
    ),
    Prediction(
        "texts_that_read_padding",
        3,
        "of 4 texts",
        "All but the longest: at position -1 they have a place that is no part of them.",
    ),
    Prediction(
        "numbers_in_the_new_head",
        258,
        "numbers",
        "128 weights and a bias for each of two labels. The old head had a row for each of 2,048 tokens.",
    ),
    Prediction(
        "texts_for_one_point",
        3457,
        "texts",
        "1.96² · 0.9 · 0.1 / 0.01²: the interval shrinks with the root of the number of texts.",
    ),
]
