"""The exercises of notebook 05, with their checkers: a split that does not leak, counting windows, packing.

Each is a few lines of plain Python about something that spoils experiments in silence. A checker tests
properties on inputs of its own, so any right answer passes; the tests prove (`utils.exercises.prove`) that the
solution passes, the stub fails and each classic mistake is named.
Notebook: `05_from_documents_to_batches.ipynb`.
"""

from __future__ import annotations

import builtins
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. a split by content


def _sides(value: Any) -> tuple[list[str], list[str]]:
    require(isinstance(value, (list, tuple)) and len(value) == 2, "return two lists: training, validation")
    return list(value[0]), list(value[1])


def _same_sides(a: Any, b: Any) -> bool:
    return tuple(map(sorted, _sides(a))) == tuple(map(sorted, _sides(b)))


@contextmanager
def _another_process() -> Iterator[None]:
    """As in a process with another hash seed: whatever asks for `hash` gets another number."""
    real = builtins.hash
    builtins.hash = lambda thing: real((thing, "another process"))  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.hash = real  # type: ignore[assignment]


def _leaves_the_generator_alone(call: Callable[[], Any]) -> bool:
    before = random.getstate()
    try:
        random.seed(987_654)
        state = random.getstate()
        call()
        return random.getstate() == state
    finally:
        random.setstate(before)


_TEXTS = [f"document number {number}, about {number % 7}" for number in range(60)]


def _check_split(answer: Answer) -> None:
    texts = [*_TEXTS, *_TEXTS[:20]]
    train, val = _sides(answer(list(texts), 0.2, 1))
    lost = Counter(texts) - Counter(train + val)
    require(not lost, f"{lost.total()} texts are on no side: copies are kept, too, and go with their twin")
    require(len(train) + len(val) == len(texts), "a text came out twice: each goes to one side")
    both = set(train) & set(val)
    require(
        not both,
        f"{len(both)} texts stand on both sides: a copy must follow its twin, so ask what the "
        "text is, not where it stands",
    )
    share = len(set(val)) / 60
    require(0.1 <= share <= 0.35, f"0.2 of the documents should be held out, you hold out {share:.2f}")
    turned = _sides(answer(texts[::-1], 0.2, 1))
    require(
        set(turned[1]) == set(val),
        "in another order the same texts are split otherwise: a folder that "
        "was copied would be another experiment",
    )
    require(
        _leaves_the_generator_alone(lambda: answer(list(texts), 0.2, 1)),
        "you moved the global random generator: whatever draws after the split (weights, dropout) now depends "
        "on it. Make your own random.Random, or hash",
    )
    with _another_process():
        elsewhere = _sides(answer(list(texts), 0.2, 1))
    require(
        set(elsewhere[1]) == set(val),
        "another process would split otherwise: hash() of a string is salted anew in each. Take hashlib",
    )
    require(set(_sides(answer(list(texts), 0.2, 2))[1]) != set(val), "another seed must give another split")
    few_train, few_val = _sides(answer(["a", "b", "c"], 0.1, 0))
    require(few_train and few_val, "of three documents, a share of 0.1 rounds to none: hold out at least one")


SPLIT_STUB = '''
def split_by_content(texts, val_fraction, seed):
    """Two lists, training and validation. Copies go together; order, process and other generators do not matter."""
    ...  # your code
'''
SPLIT_SOLUTION = """
import hashlib

def split_by_content(texts, val_fraction, seed):
    def place(text):
        return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()

    order = sorted(set(texts), key=place)
    held_out = set(order[: max(1, round(val_fraction * len(order)))])
    return [t for t in texts if t not in held_out], [t for t in texts if t in held_out]
"""
_ORDER = "    order = sorted(set(texts), key=place)\n"
_HELD = "    held_out = set(order[: max(1, round(val_fraction * len(order)))])\n"
_RETURN = "    return [t for t in texts if t not in held_out], [t for t in texts if t in held_out]\n"

SPLIT = Exercise(
    name="split_by_content",
    task="Share texts out to training and validation by what they are, not by where they stand.",
    function="split_by_content",
    check=_check_split,
    stub=SPLIT_STUB,
    solution=SPLIT_SOLUTION,
    hints=(
        "Which property of a text is the same in every folder, every process and every order?",
        "Give each text a number that depends on it and the seed alone (hashlib, not hash), and sort by it.",
        "held_out = the first max(1, round(val_fraction * n)) of sorted(set(texts), key=sha256 of seed + text); "
        "then sort all texts, copies included, into the two lists.",
    ),
    mistakes={
        "the last ones": Mistake(
            SPLIT_SOLUTION.replace(_ORDER, "    order = list(dict.fromkeys(texts))[::-1]\n"),
            "you held out the last ones: files are often sorted (by date, by source), so the end is not like the "
            "rest, and in another order you would hold out others",
        ),
        "shuffled places": Mistake(
            """
import random

def split_by_content(texts, val_fraction, seed):
    order = list(texts)
    random.Random(seed).shuffle(order)
    cut = max(1, round(val_fraction * len(order)))
    return order[cut:], order[:cut]
""",
            "you shuffled the places of the texts: two copies have two places, and one of them trains while the "
            "other judges",
        ),
        "global generator": Mistake(
            SPLIT_SOLUTION.replace("import hashlib", "import random").replace(
                _ORDER, "    order = sorted(set(texts))\n    random.seed(seed)\n    random.shuffle(order)\n"
            ),
            "you seeded the global random generator: a change of the split would change everything that is drawn "
            "after it. Take random.Random(seed), or a hash",
        ),
        "salted hash": Mistake(
            SPLIT_SOLUTION.replace(
                'hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()', "hash((seed, text))"
            ),
            "you used hash(): for strings it is salted anew in every process, so that tomorrow the validation "
            "texts are others, and today's model has trained on them. Take hashlib",
        ),
        "copies lost": Mistake(
            SPLIT_SOLUTION.replace(_RETURN, _RETURN.replace("for t in texts", "for t in order")),
            "you lost the copies: a split shares out what is there; removing duplicates is cleaning, and counted",
        ),
        "rounds to none": Mistake(
            SPLIT_SOLUTION.replace(
                "max(1, round(val_fraction * len(order)))", "int(val_fraction * len(order))"
            ),
            "you rounded down: a small collection gets no validation at all, and the first evaluation divides by "
            "zero. Hold out at least one",
        ),
        "seed forgotten": Mistake(
            SPLIT_SOLUTION.replace('f"{seed}:{text}"', "text"),
            "you forgot the seed: one cannot ask whether a result depends on the choice of the split",
        ),
    },
    probes=lambda: [
        ([*_TEXTS, *_TEXTS[:20]], 0.2, 1),
        (_TEXTS[::-1], 0.1, 5),
        (["a", "b", "c", "a"], 0.1, 0),
    ],
    same=_same_sides,
)

# ---------------------------------------------------------------- 2. how many windows


def _by_hand(n_tokens: int, length: int, stride: int) -> int:
    return sum(1 for start in range(0, n_tokens, stride) if start + length + 1 <= n_tokens)


def _check_count(answer: Answer) -> None:
    for n, length, stride in (
        (11, 4, 4),
        (13, 4, 4),
        (11, 4, 1),
        (12, 4, 2),
        (1_000, 64, 64),
        (1_000, 64, 16),
        (9, 4, 7),
    ):
        wanted, given = _by_hand(n, length, stride), answer(n, length, stride)
        require(
            given == wanted,
            f"{n} tokens, length {length}, stride {stride}: {wanted} windows fit, you say {given}. The last one "
            f"begins at {(wanted - 1) * stride} and needs the tokens up to {(wanted - 1) * stride + length}",
        )
    require(answer(5, 4, 4) == 1, "five tokens hold one window of four, with the target of its last place")
    for n in (4, 1, 0):
        given = answer(n, 4, 2)
        require(given == 0, f"{n} tokens hold no window of 4 and its last target: 0, not {given}")


COUNT_STUB = '''
def count_windows(n_tokens, length, stride):
    """How many windows of `length` tokens, each with a target for every place, begin every `stride` tokens."""
    ...  # your code
'''
COUNT_SOLUTION = """
def count_windows(n_tokens, length, stride):
    return max(0, (n_tokens - 1 - length) // stride + 1)
"""


def _count(formula: str) -> str:
    return COUNT_SOLUTION.replace("max(0, (n_tokens - 1 - length) // stride + 1)", formula)


COUNT = Exercise(
    name="count_windows",
    task="Count the windows without cutting them.",
    function="count_windows",
    check=_check_count,
    stub=COUNT_STUB,
    solution=COUNT_SOLUTION,
    hints=(
        "Draw 11 tokens and windows of 4. Where may the last window begin, if its last place needs a target?",
        "A window that begins at s needs the tokens s … s + length: length + 1 of them. So s ≤ n_tokens − 1 − length.",
        "Starts are 0, stride, 2·stride, …: that is (n_tokens − 1 − length) // stride + 1 of them, but never below 0.",
    ),
    mistakes={
        "no last target": Mistake(
            _count("max(0, (n_tokens - length) // stride + 1)"),
            "you forgot the target of the last place: a window of `length` needs length + 1 tokens, or the last "
            "window reads over the end",
        ),
        "fence posts": Mistake(
            _count("max(0, (n_tokens - 1 - length) // stride)"),
            "you counted the steps between windows, not the windows: n steps have n + 1 posts",
        ),
        "as if they touched": Mistake(
            _count("max(0, (n_tokens - 1) // length)"),
            "you divided by the length: that is right only where the stride is the length",
        ),
        "as if length did not matter": Mistake(
            _count("max(0, (n_tokens - 1) // stride)"),
            "you divided all tokens by the stride: the last starts have no room for a whole window",
        ),
        "rounded up": Mistake(
            _count("max(0, -(-(n_tokens - 1 - length) // stride) + 1)"),
            "you rounded up: what is left at the end is shorter than a window and is in none",
        ),
        "below zero": Mistake(
            _count("(n_tokens - 1 - length) // stride + 1"),
            "your count can be negative: a text shorter than a window has 0 windows",
        ),
    },
    probes=lambda: [
        (11, 4, 4),
        (13, 4, 4),
        (12, 4, 2),
        (1_000, 64, 16),
        (9, 4, 7),
        (2, 9, 3),
        (10, 3, 3),
        (8, 4, 4),
    ],
)

# ---------------------------------------------------------------- 3. a packed row

IGNORED = -100


def _row(value: Any) -> tuple[list[int], list[int]]:
    require(isinstance(value, (list, tuple)) and len(value) == 2, "return two lists: inputs and labels")
    inputs, labels = (part.tolist() if hasattr(part, "tolist") else list(part) for part in value)
    return inputs, labels


def _same_row(a: Any, b: Any) -> bool:
    return _row(a) == _row(b)


def _check_row(answer: Answer) -> None:
    for documents, length in (
        ([[5, 6, 7, 0], [8, 9, 0]], 8),
        ([[5, 6, 0]], 4),
        ([[1, 2, 0], [3, 0], [4, 5, 6, 0]], 6),
    ):
        inputs, labels = _row(answer([list(d) for d in documents], length))
        require(
            len(inputs) == len(labels) == length,
            f"a row has {length} places: you give {len(inputs)} inputs and {len(labels)} labels",
        )
        at = 0
        for document in documents:
            for token, following in pairwise(document):
                require(
                    inputs[at] == token,
                    f"place {at} should read {token}, it reads {inputs[at]}: the end token "
                    "is asked for, never read, so each document gives one input less than it has tokens",
                )
                require(
                    labels[at] == following,
                    f"after {token} comes {following}, your label is {labels[at]}: "
                    "the label is the next token of the same document",
                )
                at += 1
        require(
            labels[at:] == [IGNORED] * (length - at),
            f"labels of padding must be {IGNORED}, which the loss leaves out, yours are {labels[at:]}",
        )


ROW_STUB = '''
def packed_row(documents, length):
    """Inputs and labels of one row. Each document ends in its end token; pad with input 0 and label -100."""
    ...  # your code
'''
ROW_SOLUTION = """
def packed_row(documents, length):
    inputs = [token for document in documents for token in document[:-1]]
    labels = [token for document in documents for token in document[1:]]
    padding = length - len(inputs)
    return inputs + [0] * padding, labels + [-100] * padding
"""

ROW = Exercise(
    name="packed_row",
    task="Put whole documents into one row, so that no label crosses from one to the next.",
    function="packed_row",
    check=_check_row,
    stub=ROW_STUB,
    solution=ROW_SOLUTION,
    hints=(
        "After the last token of the first document stands the first of the second. Should a model guess it?",
        "Shift each document by itself, then join: all but its last token are inputs, all but its first are labels.",
        "inputs = document[:-1] of each, labels = document[1:] of each; then pad with 0 and with -100.",
    ),
    mistakes={
        "joined before shifting": Mistake(
            """
def packed_row(documents, length):
    tokens = [token for document in documents for token in document]
    inputs, labels = tokens[:-1], tokens[1:]
    padding = length - len(inputs)
    return inputs + [0] * padding, labels + [-100] * padding
""",
            "you joined the documents before you shifted: the end of one is asked for the beginning of the next, "
            "which nobody can know",
        ),
        "padding is asked for": Mistake(
            ROW_SOLUTION.replace("[-100]", "[0]"),
            "your padding has labels: the model is trained to write padding, and the loss looks better for it. "
            "Use -100",
        ),
        "not shifted": Mistake(
            ROW_SOLUTION.replace("document[1:]", "document[:-1]"),
            "your labels are the inputs: shift by one, or the model learns to copy",
        ),
        "padded in front": Mistake(
            ROW_SOLUTION.replace("inputs + [0] * padding", "[0] * padding + inputs"),
            "you padded the inputs in front and the labels behind: every question has another's answer",
        ),
        "the end is not asked for": Mistake(
            ROW_SOLUTION.replace("document[1:]", "document[1:-1] + [-100]"),
            "you left out the end token as a label: the model never learns to stop",
        ),
    },
    probes=lambda: [([[5, 6, 7, 0], [8, 9, 0]], 8), ([[1, 2, 0], [3, 0], [4, 5, 6, 0]], 9), ([[5, 6, 0]], 4)],
    same=_same_row,
)

EXERCISES = [SPLIT, COUNT, ROW]

PREDICTIONS = [
    Prediction(
        "naive_leak",
        0.9,
        "of the questions",
        "Each token is asked for by two windows; the other one trains with probability 1 − v = 0.9.",
    ),
    Prediction(
        "windows_of_a_thousand",
        59,
        "windows",
        "The last may begin at 1,000 − 1 − 64 = 935; starts 0, 16, …, 928 are 935 // 16 + 1.",
    ),
    Prediction(
        "never_asked",
        1 / math.e,
        "of the tokens",
        "A token is missed by all n of n draws with (1 − 1/n)ⁿ, which goes to 1/e = 0.368.",
    ),
]
