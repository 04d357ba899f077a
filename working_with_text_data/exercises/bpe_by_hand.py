"""The exercises of notebook 02, with their checkers: count pairs, merge a pair, encode by replaying merges.

Together they are byte-pair encoding. Each checker tests properties on small lists of ids, so any right answer
passes, and knows how the step usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution
passes, the stub fails and each classic mistake is named.
Left out: speed, and cutting text into words (`bpe`, `fast_bpe`). Notebook: `02_bpe_by_hand.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]
A, B, C = 97, 98, 99


def _ids(value: Any) -> list[int]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    require(isinstance(listed, list | tuple), f"give a list of ids, not {type(value).__name__}")
    return [int(i) for i in listed]


def _same_ids(a: Any, b: Any) -> bool:
    return _ids(a) == _ids(b)


# ---------------------------------------------------------------- 1. count the pairs


def _counts(value: Any) -> dict[tuple[int, int], int]:
    require(isinstance(value, Mapping), f"give a dict from pair to count, not {type(value).__name__}")
    return {(int(a), int(b)): int(times) for (a, b), times in value.items() if times}


def _same_counts(a: Any, b: Any) -> bool:
    return _counts(a) == _counts(b)


def _check_counts(answer: Answer) -> None:
    cases: list[tuple[list[tuple[list[int], int]], dict[tuple[int, int], int], str]] = [
        ([], {}, "no word has no pair"),
        ([([A], 5)], {}, "a word of one id has no pair"),
        ([([A, B], 1)], {(A, B): 1}, "a word of two ids has one pair, in the order in which they stand"),
        ([([A, B, C], 1)], {(A, B): 1, (B, C): 1}, "three ids have two pairs, and the middle one is in both"),
        ([([A, B], 7)], {(A, B): 7}, "a word that occurs 7 times brings each of its pairs 7 times"),
        ([([A, B, A, B], 2)], {(A, B): 4, (B, A): 2}, "a pair that stands twice in a word counts twice"),
        ([([A, B], 1), ([C, A], 1)], {(A, B): 1, (C, A): 1}, "the end of one word and the next are no pair"),
        ([([A, A, A], 1)], {(A, A): 2}, "in aaa the pair stands at two places, though they overlap"),
    ]
    for words, wanted, lesson in cases:
        found = _counts(answer([(list(ids), times) for ids, times in words]))
        require(found == wanted, f"{lesson}: for {words} the counts are {wanted}, but you give {found}")


COUNT_STUB = '''
def count_pairs(words):
    """How often each pair of neighbours occurs. `words` is a list of (ids, how often the word occurs)."""
    ...  # your code
'''
COUNT_SOLUTION = """
from collections import Counter

def count_pairs(words):
    counts = Counter()
    for ids, times in words:
        for pair in zip(ids, ids[1:]):
            counts[pair] += times
    return counts
"""

COUNT = Exercise(
    name="count_pairs",
    task="Count the pairs of neighbours in all words, each word as often as it occurs.",
    function="count_pairs",
    check=_check_counts,
    stub=COUNT_STUB,
    solution=COUNT_SOLUTION,
    hints=(
        "Which pairs does [1, 2, 3] have? If it occurs 5 times, how often does each of them occur?",
        "zip(ids, ids[1:]) walks over the neighbours of one word. Do it for each word by itself.",
        "A Counter; for ids, times in words: for pair in zip(ids, ids[1:]): counts[pair] += times.",
    ),
    mistakes={
        "once a word": Mistake(
            COUNT_SOLUTION.replace("+= times", "+= 1"),
            "you forgot how often the word occurs: add times, or a rare word weighs as much as `the`",
        ),
        "across words": Mistake(
            """
from collections import Counter

def count_pairs(words):
    flat = [i for ids, times in words for i in list(ids) * times]
    return Counter(zip(flat, flat[1:]))
""",
            "you glued the words together first: the end of one and the beginning of the next are no pair",
        ),
        "steps of two": Mistake(
            COUNT_SOLUTION.replace("zip(ids, ids[1:])", "zip(ids[::2], ids[1::2])"),
            "you walk in steps of two and miss every other pair: each id but the last begins a pair",
        ),
        "any order": Mistake(
            COUNT_SOLUTION.replace("counts[pair]", "counts[tuple(sorted(pair))]"),
            "you sorted the pair: `th` and `ht` are different pairs",
        ),
        "no repeats": Mistake(
            COUNT_SOLUTION.replace("in zip(ids, ids[1:])", "in set(zip(ids, ids[1:]))"),
            "you count a pair once a word: `banana` has `an` twice",
        ),
        "last pair lost": Mistake(
            COUNT_SOLUTION.replace("ids[1:])", "ids[1:-1])"),
            "you lose the last pair of each word: ids[1:] already ends where it must",
        ),
    },
    probes=lambda: [([([1, 2, 1, 2, 3], 2), ([3, 1], 1), ([4, 4, 4, 4], 3), ([9, 8, 7], 1)],)],
    same=_same_counts,
)


# ---------------------------------------------------------------- 2. merge a pair


def _check_merge(answer: Answer) -> None:
    cases: list[tuple[list[int], tuple[int, int], list[int], str]] = [
        ([], (A, B), [], "nothing stays nothing"),
        ([A], (A, B), [A], "a single id stays"),
        ([A, C, B], (A, B), [A, C, B], "where the pair does not stand, nothing changes"),
        ([A, B], (A, B), [256], "the pair becomes the new id"),
        ([B, A], (A, B), [B, A], "the pair has an order"),
        ([C, A, B, C, A, B, A], (A, B), [C, 256, C, 256, A], "every pair is replaced, and all others stay"),
        ([A, A, A], (A, A), [256, A], "in aaa the first two are merged, and the third stays"),
        ([A, A, A, A], (A, A), [256, 256], "aaaa is two pairs"),
        ([A, B, B], (A, B), [256, B], "an id that has been merged is used up"),
    ]
    for ids, pair, wanted, lesson in cases:
        given = list(ids)
        found = _ids(answer(given, pair, 256))
        require(found == wanted, f"{lesson}: {ids} with {pair} -> 256 gives {wanted}, but you give {found}")
        require(given == ids, "leave the list you were given as it is, and return a new one")


MERGE_STUB = '''
def merge(ids, pair, new_id):
    """A new list: `new_id` in place of every `pair`, from left to right."""
    ...  # your code
'''
MERGE_SOLUTION = """
def merge(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        hit = i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged
"""

MERGE = Exercise(
    name="merge",
    task="Write the new id in place of every pair, from left to right.",
    function="merge",
    check=_check_merge,
    stub=MERGE_STUB,
    solution=MERGE_SOLUTION,
    hints=(
        "Walk over the ids and fill a new list. How far do you step after a pair, and how far otherwise?",
        "Two ids become one, so after a hit step by 2. At the last id there is no neighbour to look at.",
        "while i < len(ids): if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair, append new_id and i += 2, "
        "else append ids[i] and i += 1.",
    ),
    mistakes={
        "one step": Mistake(
            MERGE_SOLUTION.replace("2 if hit else 1", "1"),
            "you step by one after a merge: the second id of the pair is used up, so step over both",
        ),
        "last lost": Mistake(
            MERGE_SOLUTION.replace("while i < len(ids)", "while i + 1 < len(ids)"),
            "you lose the last id: it has no neighbour, but it is still text",
        ),
        "past the end": Mistake(
            MERGE_SOLUTION.replace("i + 1 < len(ids) and ", ""),
            "you ask for the neighbour of the last id: check that i + 1 < len(ids) first",
        ),
        "first only": Mistake(
            MERGE_SOLUTION.replace(
                "        i += 2",
                "        if hit:\n            return merged + list(ids[i + 2 :])\n        i += 2",
            ),
            "you merge the first place only: a merge rewrites every place where the pair stands",
        ),
        "from the right": Mistake(
            """
def merge(ids, pair, new_id):
    merged, i = [], len(ids) - 1
    while i >= 0:
        hit = i >= 1 and (ids[i - 1], ids[i]) == pair
        merged.append(new_id if hit else ids[i])
        i -= 2 if hit else 1
    return merged[::-1]
""",
            "you merge from the right: everyone merges from the left, so aaa becomes aa, a",
        ),
        "any order": Mistake(
            MERGE_SOLUTION.replace("(ids[i], ids[i + 1]) == pair", "{ids[i], ids[i + 1]} == set(pair)"),
            "you merge the pair in either order: `th` and `ht` are different pairs",
        ),
        "shrinks while walking": Mistake(
            """
def merge(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
    return ids
""",
            "you shorten the list while you walk over it: fill a new list instead",
        ),
    },
    probes=lambda: [
        ([1, 2, 3, 2, 1, 1, 2, 5], (1, 2), 9),
        ([1, 1, 1, 4], (1, 1), 9),
        ([3, 4, 5], (1, 2), 9),
        ([2, 2, 2], (2, 2), 9),
    ],
    same=_same_ids,
)


# ---------------------------------------------------------------- 3. encode

# Merges with traps: "abc" must become a|bc although "ab" is known, and "abcd" is never reached from "ab".
_TRAPS = [(B, C), (A, B), (257, 256), (A, 256), (A, A), (260, A)]


def _check_encode(answer: Answer) -> None:
    cases: list[tuple[list[int], list[tuple[int, int]], list[int], str]] = [
        ([A, B], [], [A, B], "without merges the bytes are the ids"),
        ([A, B], [(A, B)], [256], "merge number 0 makes id 256"),
        ([A, C], [(A, B), (A, C)], [257], "merge number 1 makes id 257, also where number 0 does not apply"),
        ([A, B, A, B], [(A, B)], [256, 256], "a merge applies at every place"),
        ([A, B, A, B], [(A, B), (256, 256)], [257], "a later merge builds on an earlier one"),
        (
            [A, B, C],
            [(B, C), (A, B)],
            [A, 256],
            "bc was learned first, so it goes first and ab comes too late",
        ),
        ([A, B, B, C], [(B, C), (A, B), (257, 256)], [258], "ab and bc are made first, then joined"),
        (
            [A, B, C, C],
            [(A, B), (C, C), (B, C), (A, 258), (259, C)],
            [256, 257],
            "ab was learned first; that some longer token spells abcc is no reason to take it",
        ),
    ]
    for ids, merges, wanted, lesson in cases:
        found = _ids(answer(list(ids), list(merges)))
        require(found == wanted, f"{lesson}: {ids} with merges {merges} gives {wanted}, but you give {found}")


ENCODE_STUB = '''
def encode(ids, merges):
    """The tokens of one word, from its bytes. Merge number i of `merges` is a pair that becomes 256 + i."""
    ...  # your code; merge(ids, pair, new_id) is there to be used
'''
ENCODE_SOLUTION = """
from working_with_text_data.bpe import merge

def encode(ids, merges):
    for i, pair in enumerate(merges):
        ids = merge(ids, pair, 256 + i)
    return ids
"""
_LONGEST = """
def encode(ids, merges):
    spelled = {i: (i,) for i in range(256)}
    for i, (a, b) in enumerate(merges):
        spelled[256 + i] = spelled[a] + spelled[b]
    out, start = [], 0
    while start < len(ids):
        fits = [i for i, s in spelled.items() if tuple(ids[start : start + len(s)]) == s]
        out.append(max(fits, key=lambda i: len(spelled[i])))
        start += len(spelled[out[-1]])
    return out
"""
_LEFTMOST = """
def encode(ids, merges):
    ids = list(ids)
    while True:
        places = [i for i, pair in enumerate(zip(ids, ids[1:])) if pair in merges]
        if not places:
            return ids
        i = places[0]
        ids[i : i + 2] = [256 + merges.index((ids[i], ids[i + 1]))]
"""

ENCODE = Exercise(
    name="encode",
    task="Replay the training on one word: apply the merges in the order in which they were learned.",
    function="encode",
    check=_check_encode,
    stub=ENCODE_STUB,
    solution=ENCODE_SOLUTION,
    hints=(
        "The training text was rewritten by merge 0, then merge 1, and so on. What must happen to a new word?",
        "A loop over the merges in their order; merge(ids, pair, new_id) does nothing where no pair stands.",
        "for i, pair in enumerate(merges): ids = merge(ids, pair, 256 + i); then return ids.",
    ),
    mistakes={
        "last first": Mistake(
            ENCODE_SOLUTION.replace("in enumerate(merges)", "in reversed(list(enumerate(merges)))"),
            "you apply the last merge first: it is made of tokens that do not exist yet. Begin with merge 0",
        ),
        "longest match": Mistake(
            _LONGEST,
            "you take the longest token that fits, from the left: that is another algorithm (WordPiece's). "
            "BPE applies the merges in the order they were learned, wherever they stand",
        ),
        "leftmost pair": Mistake(
            _LEFTMOST,
            "you merge the leftmost known pair: the one that was learned first goes first, wherever it stands",
        ),
        "one merge only": Mistake(
            """
from working_with_text_data.bpe import merge

def encode(ids, merges):
    for i, pair in enumerate(merges):
        merged = merge(ids, pair, 256 + i)
        if merged != ids:
            return merged
    return ids
""",
            "you stop after the first merge that applies: later merges build on it, so go through all of them",
        ),
        "gives up": Mistake(
            """
from working_with_text_data.bpe import merge

def encode(ids, merges):
    for i, pair in enumerate(merges):
        merged = merge(ids, pair, 256 + i)
        if merged == ids:
            return ids
        ids = merged
    return ids
""",
            "you stop at the first merge that does not apply: most merges do not, and later ones may",
        ),
        "ids from 0": Mistake(
            ENCODE_SOLUTION.replace("256 + i", "i"),
            "your new ids begin at 0: these are the bytes' own, and merge number i makes 256 + i",
        ),
    },
    probes=lambda: [
        ([A, B, C], list(_TRAPS)),
        ([A, A, A, B, B, C], list(_TRAPS)),
        ([A, B, A, B], list(_TRAPS)),
        ([A, B, B, C, A, B, C], list(_TRAPS)),
    ],
    same=_same_ids,
)

EXERCISES = [COUNT, MERGE, ENCODE]

PREDICTIONS = [
    Prediction(
        "tokens_of_aaabdaaabac",
        5,
        "tokens",
        "aaab stands twice and becomes one token: aaab, d, aaab, a, c.",
    ),
    Prediction(
        "merges_in_seven_as",
        3,
        "places",
        "The pair aa begins at 6 places of aaaaaaa, but the places overlap: three pairs and one a are left.",
    ),
]
