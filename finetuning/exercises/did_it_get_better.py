"""The exercises of notebook 05, with their checkers: how many questions, a win rate, and the clean ones.

Each checker tests properties with numbers that can be counted by hand, so any right answer passes, and knows how it
usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic
mistake is named. Left out: the bootstrap itself, whose answer is random; the notebook writes it.
Notebook: `05_did_it_get_better.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _close(found: Any, wanted: float, tolerance: float = 1e-9) -> bool:
    return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=tolerance, abs_tol=1e-12)


# ---------------------------------------------------------------- 1. how many questions


def _check_questions(answer: Answer) -> None:
    cases = [
        (0.03, 0.5, 1068, "three points on either side of one half"),
        (0.01, 0.5, 9604, "a third of the width takes nine times as many"),
        (0.03, 0.9, 385, "near 90 % fewer are enough, because less can vary"),
        (0.5, 0.5, 4, "rounded up: a part of a question cannot be asked"),
        (0.1, 0.2, 62, "61.5 questions are 62"),
    ]
    for half_width, share, wanted, lesson in cases:
        found = answer(half_width, share)
        require(
            isinstance(found, int) and found == wanted,
            f"{lesson}: ± {half_width} around a share of {share} takes {wanted} questions, but you give {found}",
        )


QUESTIONS_STUB = '''
def questions_for(half_width, share):
    """The least whole number of questions so that 1.96 standard errors of a share are at most half_width."""
    ...  # your code
'''
QUESTIONS_SOLUTION = """
import math

def questions_for(half_width, share):
    variance = share * (1 - share)
    return math.ceil(1.96**2 * variance / half_width**2)
"""
QUESTIONS = Exercise(
    name="questions_for",
    task="Turn 1.96 · √(p(1 − p)/n) ≤ h around, and round up.",
    function="questions_for",
    check=_check_questions,
    stub=QUESTIONS_STUB,
    solution=QUESTIONS_SOLUTION,
    hints=(
        "One question that is right with probability p varies by p(1 − p); the mean of n by an n-th of it.",
        "The standard error is √(p(1 − p)/n). Set 1.96 of them equal to the half width, square, solve for n.",
        "math.ceil(1.96**2 * share * (1 - share) / half_width**2)",
    ),
    mistakes={
        "one standard error": Mistake(
            QUESTIONS_SOLUTION.replace("1.96**2 * ", ""),
            "you took one standard error: that interval holds the truth in two of three cases, 95 % need 1.96",
        ),
        "not squared": Mistake(
            QUESTIONS_SOLUTION.replace("half_width**2", "half_width"),
            "you forgot to square the width: half the width takes four times the questions, not twice",
        ),
        "z not squared": Mistake(
            QUESTIONS_SOLUTION.replace("1.96**2", "1.96"),
            "you forgot to square 1.96 with the rest",
        ),
        "deviation": Mistake(
            QUESTIONS_SOLUTION.replace("share * (1 - share)", "math.sqrt(share * (1 - share))"),
            "you took the deviation where the variance belongs: the root is gone once both sides are squared",
        ),
        "always one half": Mistake(
            QUESTIONS_SOLUTION.replace("share * (1 - share)", "0.25"),
            "you planned for one half whatever the share: safe, but a share near 1 needs far fewer",
        ),
        "rounded": Mistake(
            QUESTIONS_SOLUTION.replace("math.ceil(", "round("),
            "you rounded to the nearest: with fewer questions than that the interval is wider than was asked for",
        ),
        "whole width": Mistake(
            QUESTIONS_SOLUTION.replace("half_width**2", "(half_width / 2)**2"),
            "you took the number for the whole width: ± means that much on either side",
        ),
    },
    probes=lambda: [(0.02, 0.7), (0.07, 0.31), (0.05, 0.5), (0.3, 0.45)],
)


# ---------------------------------------------------------------- 2. win rate


def _outcomes(text: str) -> list[bool]:
    return [c == "1" for c in text]


def _check_wins(answer: Answer) -> None:
    cases = [
        ("0000", "1111", 1.0, "the second was right wherever the first was wrong"),
        ("1111", "0000", 0.0, "the first always won"),
        ("1100", "1100", 0.5, "the same answers right: all ties, half a win each"),
        ("0001", "0111", 0.75, "two wins, two ties: (2 + 1) / 4"),
        ("1000", "0111", 0.75, "three wins and one loss, no tie"),
        ("00000000", "00000001", 0.5625, "one win, seven ties in which both were wrong"),
    ]
    for before, after, wanted, lesson in cases:
        found = answer(_outcomes(before), _outcomes(after))
        require(
            _close(found, wanted),
            f"{lesson}: before {before}, after {after} is a win rate of {wanted}, but you give {found}",
        )


WINS_STUB = '''
def win_rate(before, after):
    """How often `after` beats `before` on the same questions (lists of bool); a tie is half a win."""
    ...  # your code
'''
WINS_SOLUTION = """
def win_rate(before, after):
    pairs = list(zip(before, after))
    wins = sum(a and not b for b, a in pairs)
    ties = sum(a == b for b, a in pairs)
    return (wins + ties / 2) / len(pairs)
"""
WINS = Exercise(
    name="win_rate",
    task="Count wins and ties over pairs of answers to the same question.",
    function="win_rate",
    check=_check_wins,
    stub=WINS_STUB,
    solution=WINS_SOLUTION,
    hints=(
        "Go through both lists together. Which of the four cases is a win, which are ties?",
        "A win: the second right and the first wrong. A tie: both right, or both wrong.",
        "(wins + ties / 2) divided by the number of all questions",
    ),
    mistakes={
        "ties left out": Mistake(
            WINS_SOLUTION.replace("ties / 2", "0"),
            "you gave ties to nobody: then a model against itself loses every time",
        ),
        "ties as wins": Mistake(
            WINS_SOLUTION.replace("ties / 2", "ties"),
            "you counted a tie as a whole win: then a model against itself always wins",
        ),
        "only decided": Mistake(
            WINS_SOLUTION.replace(
                "return (wins + ties / 2) / len(pairs)",
                "decided = len(pairs) - ties\n    return wins / decided if decided else 0.5",
            ),
            "you divided by the decided pairs only: one win among a thousand ties would be a rate of 100 %",
        ),
        "both wrong": Mistake(
            WINS_SOLUTION.replace("a == b for", "a and b for"),
            "you forgot that two wrong answers are a tie as well",
        ),
        "the other way round": Mistake(
            WINS_SOLUTION.replace("a and not b", "b and not a"),
            "you counted the wins of the first model: the question is how often the second one beats it",
        ),
        "share right": Mistake(
            WINS_SOLUTION.replace("(wins + ties / 2)", "sum(a for b, a in pairs)"),
            "you gave the share of right answers: a win is one where the other was wrong",
        ),
    },
    probes=lambda: [
        (_outcomes("0011001"), _outcomes("0101011")),
        (_outcomes("10000"), _outcomes("00110")),
        (_outcomes("111"), _outcomes("111")),
        (_outcomes("00010"), _outcomes("11101")),
    ],
    same=lambda a, b: _close(a, b),
)


# ---------------------------------------------------------------- 3. clean questions


def _check_clean(answer: Answer) -> None:
    train = ["The red kite flew over the old mill.", "Who has the bell?"]
    cases: list[tuple[list[str], list[str], int, list[str], str]] = [
        (train, ["A dog sat down near me."], 3, ["A dog sat down near me."], "nothing in common: clean"),
        (
            train,
            ["A red kite flew away."],
            3,
            [],
            "three words in a row (red kite flew) are in the training text",
        ),
        (train, ["A red kite sank."], 3, ["A red kite sank."], "two words in a row are not three"),
        (train, ["WHO HAS THE BELL"], 4, [], "capitals and marks do not hide a copy"),
        (
            train,
            ["flew kite red mill"],
            3,
            ["flew kite red mill"],
            "the same words in another order are no run of words",
        ),
        (train, ["the bell"], 3, [], "a text shorter than n is compared as a whole, and this one is there"),
        (train, ["I sat by the old mill"], 3, [], "the last three words count as well"),
        (
            train,
            ["mill. Who has"],
            3,
            ["mill. Who has"],
            "a run does not go on from one training text into the next",
        ),
        ([], ["anything at all here"], 2, ["anything at all here"], "without training text all is clean"),
    ]
    for texts, asked, n, wanted, lesson in cases:
        found = answer(list(texts), list(asked), n)
        require(
            isinstance(found, list | tuple) and list(found) == wanted,
            f"{lesson}: with n = {n}, {asked} leaves {wanted}, but you give {found}",
        )


CLEAN_STUB = '''
def clean(train, held_out, n):
    """The held-out texts that share no run of n words with any training text (a shorter one: not even as a whole)."""
    ...  # your code
'''
CLEAN_SOLUTION = r"""
import re

def clean(train, held_out, n):
    def runs(text, size):
        words = re.findall(r"\w+", text.lower())
        size = min(n, len(words)) if size is None else size
        return size, {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    kept = []
    for text in held_out:
        size, own = runs(text, None)
        if not any(own & runs(other, size)[1] for other in train):
            kept.append(text)
    return kept
"""
CLEAN = Exercise(
    name="clean",
    task="Keep the held-out texts of which no run of n words was in the training text.",
    function="clean",
    check=_check_clean,
    stub=CLEAN_STUB,
    solution=CLEAN_SOLUTION,
    hints=(
        "Make a text comparable first: small letters, words only. `re.findall` with \\w+ does both marks and spaces.",
        "The runs of a text are tuple(words[i : i + n]) for every i where n words are left; put them into a set.",
        "A text with fewer than n words has one run, itself; look for runs of that length in the training texts.",
    ),
    mistakes={
        "capitals": Mistake(
            CLEAN_SOLUTION.replace("text.lower()", "text"),
            "you let capitals hide a copy: make both sides small letters first",
        ),
        "marks": Mistake(
            CLEAN_SOLUTION.replace(r're.findall(r"\w+", text.lower())', "text.lower().split()"),
            "you let marks hide a copy: `mill.` and `mill` are one word",
        ),
        "last run": Mistake(
            CLEAN_SOLUTION.replace("len(words) - size + 1", "len(words) - size"),
            "you left out the last run of each text: there are len − n + 1 of them",
        ),
        "whole texts only": Mistake(
            CLEAN_SOLUTION.replace("min(n, len(words))", "len(words)"),
            "you looked for whole texts only: a question that was copied in part goes through",
        ),
        "bags of words": Mistake(
            CLEAN_SOLUTION.replace(
                "{tuple(words[i : i + size]) for i in range(len(words) - size + 1)}",
                "{w for w in words} if len(words) >= size else set()",
            ).replace("any(own & runs(other, size)[1]", "any(len(own & runs(other, size)[1]) >= size"),
            "you counted shared words wherever they stand: a run is words in a row",
        ),
        "short texts": Mistake(
            CLEAN_SOLUTION.replace("min(n, len(words))", "n"),
            "you let short texts through: one with fewer than n words is compared as a whole",
        ),
        "the dirty ones": Mistake(
            CLEAN_SOLUTION.replace("if not any(", "if any("),
            "you kept the ones that share something: clean is what shares nothing",
        ),
        "one long text": Mistake(
            CLEAN_SOLUTION.replace("for other in train)", "for other in [' '.join(train)])"),
            "you put the training texts behind each other: at their seams are runs that nobody wrote",
        ),
    },
    probes=lambda: [
        (
            ["One two three four five.", "Six seven"],
            [
                "one two three nil",
                "Zero TWO three four!",
                "five six seven eight",
                "three two one",
                "two three",
                "nine two, three",
                "four five.",
            ],
            3,
        ),
        (
            ["a b c", "d e f g"],
            ["b c d", "x d e f", "e f g.", "c, b, a", "A B C", "f g", "c a b"],
            3,
        ),
    ],
)

EXERCISES = [QUESTIONS, WINS, CLEAN]

PREDICTIONS = [
    Prediction(
        "questions_for_three_points",
        1064,
        "questions",
        "1.96² · 0.25 / 0.03² is 1,068 by the textbook; Wilson's interval is content with four fewer.",
    ),
    Prediction(
        "false_alarms_among_17_kinds",
        100 * (1 - 0.95**17),
        "%",
        "each comparison stays silent with probability 0.95, all seventeen with 0.95¹⁷ = 42 %.",
    ),
    Prediction(
        "p_of_five_wins",
        2 * 0.5**5,
        "",
        "a fair coin falls five times on one side with 1/32, and either side would have surprised us.",
    ),
]
