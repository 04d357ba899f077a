"""The exercises of notebook 04, with their checkers: what a merge changes, a lazy queue, a bounded cache.

They are the three places where fast byte-pair encoding goes wrong without a sound: counts that drift, a queue
that answers with what was true once, and a cache that hands out what it should keep. Each checker tests
properties on small inputs, so any right answer passes. The tests prove (`utils.exercises.prove`) that the
solution passes, the stub fails and each classic mistake is named.
Left out: the loops around them (`fast_bpe`, `fast_encode`). Notebook: `04_fast_bpe.ipynb`.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require
from working_with_text_data.bpe import merge

Answer = Callable[..., Any]
A, B, C, D = 97, 98, 99, 100
NEW = 256


# ---------------------------------------------------------------- 1. what a merge changes


def _changes(value: Any) -> dict[tuple[int, int], int]:
    require(isinstance(value, Mapping), f"give a dict from pair to change, not {type(value).__name__}")
    return {(int(a), int(b)): int(change) for (a, b), change in value.items() if change}


def _same_changes(a: Any, b: Any) -> bool:
    return _changes(a) == _changes(b)


def _check_changes(answer: Answer) -> None:
    cases: list[tuple[list[int], str]] = [
        ([], "a word without the pair changes nothing"),
        ([C, B, A], "the pair has an order"),
        ([A, B], "a word that is the pair loses it and gains nothing"),
        ([C, A, B], "on the left the pair c+a goes and c+new comes"),
        ([A, B, D], "on the right the pair b+d goes and new+d comes"),
        ([C, A, B, D], "both neighbours change"),
        ([A, B, C, A, B], "a pair that stands twice goes twice, and c has a new neighbour on both sides"),
        ([A, B, A, B], "two merges that touch become neighbours: new+new comes, and b+a goes"),
    ]
    for word, lesson in cases:
        _compare_changes(answer, word, (A, B), lesson)
    for word in ([A, A], [A, A, A], [A, A, A, A], [B, A, A, A, C]):
        _compare_changes(answer, word, (A, A), "in aaa the pair stands at two places that share an a")
    rng = random.Random(0)
    for _ in range(60):
        word = rng.choices((A, B, C), k=rng.randrange(12))
        _compare_changes(answer, word, (A, B), "the counts before and the change are the counts after")


def _compare_changes(answer: Answer, word: list[int], pair: tuple[int, int], lesson: str) -> None:
    given = list(word)
    wanted = Counter(pairwise(merge(word, pair, NEW)))
    wanted.subtract(Counter(pairwise(word)))
    found = _changes(answer(given, pair, NEW))
    require(
        found == _changes(wanted),
        f"{lesson}: for the word {word} and the pair {pair} the changes are {_changes(wanted)}, "
        f"but you give {found}",
    )
    require(given == word, "leave the word you were given as it is")


CHANGES_STUB = '''
def changed_counts(word, pair, new_id):
    """How merging `pair` in one word (a list of ids) changes the pair counts: a dict pair -> difference."""
    ...  # your code; merge(ids, pair, new_id) is there to be used
'''
CHANGES_SOLUTION = """
from collections import Counter
from working_with_text_data.bpe import merge

def changed_counts(word, pair, new_id):
    merged = merge(word, pair, new_id)
    change = Counter(zip(merged, merged[1:]))
    change.subtract(zip(word, word[1:]))
    return change
"""
_FROM_THE_OLD_WORD = """
from collections import Counter

def changed_counts(word, pair, new_id):
    change, i = Counter(), 0
    while i + 1 < len(word):
        if (word[i], word[i + 1]) == pair:
            change[pair] -= 1
            if i > 0:
                change[word[i - 1], word[i]] -= 1
                change[word[i - 1], new_id] += 1
            if i + 2 < len(word):
                change[word[i + 1], word[i + 2]] -= 1
                change[new_id, word[i + 2]] += 1
            i += 1
        i += 1
    return change
"""

CHANGES = Exercise(
    name="changed_counts",
    task="Say by how much each pair's count changes when one pair is merged in one word.",
    function="changed_counts",
    check=_check_changes,
    stub=CHANGES_STUB,
    solution=CHANGES_SOLUTION,
    hints=(
        "In the word c a b d, merge a b. Which pairs did the word have before, and which has it after?",
        "A difference is what there is after, minus what there was before; pairs that stay cancel out.",
        "change = Counter(zip(merged, merged[1:])); then change.subtract(zip(word, word[1:])).",
    ),
    mistakes={
        "old neighbours stay": Mistake(
            CHANGES_SOLUTION.replace(
                "change.subtract(zip(word, word[1:]))",
                "change = Counter({p: n for p, n in change.items() if new_id in p})\n"
                "    change[pair] -= list(zip(word, word[1:])).count(pair)",
            ),
            "you forgot to subtract the old neighbours: in c a b d the pairs c+a and b+d are gone as well",
        ),
        "the pair stays": Mistake(
            CHANGES_SOLUTION.replace("    return", "    change.pop(pair, None)\n    return"),
            "you forgot the merged pair itself: it is gone from the word, as often as it stood there",
        ),
        "only what goes": Mistake(
            CHANGES_SOLUTION.replace(
                "    return", "    change = {p: n for p, n in change.items() if n < 0}\n    return"
            ),
            "you only subtract: the new id has neighbours too, and their pairs must be counted",
        ),
        "the wrong way round": Mistake(
            CHANGES_SOLUTION.replace(
                "    return", "    change = {p: -n for p, n in change.items()}\n    return"
            ),
            "your signs are the wrong way round: the change is what there is after, minus what was before",
        ),
        "neighbours of the old word": Mistake(
            _FROM_THE_OLD_WORD,
            "you read the neighbours from the old word: in a b a b both pairs merge, so the second stands "
            "beside a new id and not beside b",
        ),
        "once a word": Mistake(
            CHANGES_SOLUTION.replace("zip(merged, merged[1:])", "set(zip(merged, merged[1:]))").replace(
                "zip(word, word[1:])", "set(zip(word, word[1:]))"
            ),
            "you count a pair once a word: it goes as often as it stood there",
        ),
    },
    probes=lambda: [
        ([C, A, B, D], (A, B), NEW),
        ([A, B, A, B], (A, B), NEW),
        ([A, B, C, A, B, C], (A, B), NEW),
        ([A, A, A], (A, A), NEW),
    ],
    same=_same_changes,
)


# ---------------------------------------------------------------- 2. a lazy queue


def _check_pop(answer: Answer) -> None:
    none = answer([], {"ab": 1})
    require(none is None, f"from an empty heap comes None, but you give {none!r}")
    first = answer([(-5, "ab")], {"ab": 5})
    require(first == "ab", f"return the pair itself, 'ab', not {first!r}")
    cases: list[tuple[list[tuple[int, str]], dict[str, int], str | None, str]] = [
        ([(-5, "ab"), (-3, "cd")], {"ab": 5, "cd": 3}, "ab", "an entry that is still true is the answer"),
        ([(-5, "ab"), (-3, "cd")], {"ab": 2, "cd": 3}, "cd", "ab has fallen to 2, so cd with 3 is the best"),
        ([(-5, "ab"), (-3, "cd")], {"ab": 4, "cd": 3}, "ab", "ab has fallen to 4, and is still the best"),
        ([(-5, "ab"), (-3, "cd")], {"ab": 3, "cd": 3}, "ab", "equally frequent: the smaller pair goes first"),
        ([(-5, "ab")], {}, None, "ab is in no word any more: no pair is left"),
        ([(-5, "ab"), (-3, "cd")], {"ab": 0, "cd": 1}, "cd", "a count of 0 is no pair"),
    ]
    for heap, counts, wanted, lesson in cases:
        found = answer(list(heap), dict(counts))
        require(
            found == wanted,
            f"{lesson}: heap {heap} and counts {counts} give {wanted!r}, but you give {found!r}",
        )
    rng = random.Random(1)
    pairs = [a + b for a in "abcd" for b in "abcd"]
    before = {pair: rng.randrange(1, 9) for pair in pairs}
    counts = {pair: rng.randrange(n + 1) for pair, n in before.items()}  # they only fall
    heap = [(-n, pair) for pair, n in before.items()]
    heapq.heapify(heap)
    drained = [answer(heap, counts) for _ in range(len(pairs) + 1)]
    wanted_order = sorted((p for p in pairs if counts[p]), key=lambda p: (-counts[p], p))
    require(
        [p for p in drained if p is not None] == wanted_order,
        f"called again and again, it must give every pair once, by its true count: {wanted_order}, "
        f"but you give {drained}",
    )


POP_STUB = '''
def pop_best(heap, counts):
    """Take the most frequent pair off a heap of (-count, pair) whose counts may have fallen since; or None."""
    ...  # your code; counts[pair] is the truth, and a pair that is not in it is gone
'''
POP_SOLUTION = """
import heapq

def pop_best(heap, counts):
    while heap:
        noted, pair = heapq.heappop(heap)
        now = counts.get(pair, 0)
        if now == -noted:
            return pair
        if now > 0:
            heapq.heappush(heap, (-now, pair))
    return None
"""

POP = Exercise(
    name="pop_best",
    task="Take the pair with the greatest true count off a heap whose entries may be out of date.",
    function="pop_best",
    check=_check_pop,
    stub=POP_STUB,
    solution=POP_SOLUTION,
    hints=(
        "The top of the heap says what was true when it was put there. How do you find out whether it still is?",
        "If its count has fallen, the pair may still be the second best: where does it belong now?",
        "Loop: pop; if counts.get(pair, 0) is what was noted, return the pair; if it is smaller but above 0, "
        "push (-now, pair) back.",
    ),
    mistakes={
        "trusts the heap": Mistake(
            """
import heapq

def pop_best(heap, counts):
    return heapq.heappop(heap)[1] if heap else None
""",
            "you trust the heap: its top says what was true when it was put there. Ask counts before you answer",
        ),
        "throws away": Mistake(
            POP_SOLUTION.replace("            heapq.heappush(heap, (-now, pair))", "            continue"),
            "you throw an old entry away, and the pair with it: put it back with the count that it has now",
        ),
        "dead pairs live": Mistake(
            POP_SOLUTION.replace("        if now > 0:\n            heapq", "        heapq"),
            "you put pairs back whose count is 0: they are in no word any more, so drop them",
        ),
        "returns what is left": Mistake(
            POP_SOLUTION.replace(
                "            heapq.heappush(heap, (-now, pair))", "            return pair"
            ).replace("if now == -noted", "if now and now == -noted"),
            "you return the first pair that is still alive: its count may have fallen below another's. Push it "
            "back with its true count, and look at the top again",
        ),
        "needs a pair": Mistake(
            POP_SOLUTION.replace("while heap:", "while True:"),
            "you pop from an empty heap: when nothing is left the answer is None, and the training ends",
        ),
    },
    probes=lambda: [
        ([(-5, "ab"), (-3, "cd"), (-2, "ef")], {"ab": 2, "cd": 3, "ef": 2}),
        ([(-5, "ab"), (-3, "cd")], {"ab": 4, "cd": 3}),
        ([(-5, "ab"), (-3, "cd")], {"cd": 3}),
        ([(-5, "ab")], {}),
        ([], {"ab": 1}),
    ],
)


# ---------------------------------------------------------------- 3. a bounded cache


class Once:
    """An encoder for the checker: the letters' bytes as ids; it keeps a note of what it was asked."""

    def __init__(self, strict: bool = False) -> None:
        self.asked: list[str] = []
        self.strict = strict

    def __call__(self, word: str) -> list[int]:
        if self.strict and word in self.asked:
            raise LookupError(f"{word!r} was worked out twice")
        self.asked.append(word)
        return list(word.encode())


class Small(dict[str, Any]):
    """A cache that complains when it holds more than `most` entries."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > self.most:
            raise MemoryError(f"the cache holds {len(self)} entries, but its limit is {self.most}")


def _check_cached(answer: Answer) -> None:
    for words in ([], ["to"], ["to", "be", "or", "not", "to", "be"], ["aa"] * 5):
        for limit in (1, 2, 100):
            cache, encode = Small(10**6), Once()
            found = answer(list(words), encode, cache, limit)
            require(isinstance(found, list), f"give one list of ids, not {type(found).__name__}")
            wanted = list("".join(words).encode())
            require(found == wanted, f"{words} with room for {limit} give {wanted}, but you give {found}")
            require(len(cache) <= limit, f"the cache holds {len(cache)} entries, but its limit is {limit}")
            for word, ids in cache.items():
                require(
                    list(ids) == list(word.encode()),
                    f"the cache says that {word!r} is {ids}: a later word has been written into its list",
                )
            if limit == 100:
                require(
                    len(encode.asked) == len(set(words)),
                    f"{len(set(words))} different words were encoded {len(encode.asked)} times: keep what "
                    "you have worked out, and look there first",
                )
    warm, encode = Small(10**6), Once()
    answer(["to", "be"], encode, warm, 9)
    answer(["be", "to"], encode, warm, 9)
    require(encode.asked == ["to", "be"], "a second text must find the words of the first in the cache")
    tight = Small(3)
    try:
        answer([f"w{i}" for i in range(20)], Once(), tight, 3)
    except MemoryError as error:
        raise AssertionError(f"{error}: make room before you add, not after") from None
    require(
        "w19" in tight,
        "the word that came last is not in the cache: when it is full, make room for what is new",
    )


CACHED_STUB = '''
def encode_words(words, encode, cache, limit):
    """The ids of all words in one list. `cache` (a dict) keeps what `encode(word)` gave: at most `limit` words."""
    ...  # your code; when the cache is full, empty it
'''
CACHED_SOLUTION = """
def encode_words(words, encode, cache, limit):
    ids = []
    for word in words:
        if word not in cache:
            if len(cache) >= limit:
                cache.clear()
            cache[word] = encode(word)
        ids.extend(cache[word])
    return ids
"""

CACHED = Exercise(
    name="encode_words",
    task="Encode words with a cache that never holds more than it may.",
    function="encode_words",
    check=_check_cached,
    stub=CACHED_STUB,
    solution=CACHED_SOLUTION,
    hints=(
        "What is the one question to ask the cache before you call encode?",
        "If the word is missing and the cache is full, there must be room before it goes in: cache.clear().",
        "if word not in cache: (if len(cache) >= limit: cache.clear()), cache[word] = encode(word); then "
        "ids.extend(cache[word]).",
    ),
    mistakes={
        "never kept": Mistake(
            """
def encode_words(words, encode, cache, limit):
    return [i for word in words for i in encode(word)]
""",
            "you never use the cache: a word that comes again is worked out again",
        ),
        "no limit": Mistake(
            CACHED_SOLUTION.replace("len(cache) >= limit", "False"),
            "your cache grows without end: on a long stream of new words it eats the memory. Empty it when full",
        ),
        "one too many": Mistake(
            CACHED_SOLUTION.replace(">= limit", "> limit"),
            "your cache holds one entry too many: it is full when it holds `limit`, so ask for >=",
        ),
        "stops keeping": Mistake(
            CACHED_SOLUTION.replace(
                "            if len(cache) >= limit:\n                cache.clear()\n            cache[word]",
                "            if len(cache) >= limit:\n                ids.extend(encode(word))\n"
                "                continue\n            cache[word]",
            ),
            "your cache keeps what came first for ever: when the text changes its subject it helps no more. "
            "Empty it when it is full",
        ),
        "shared list": Mistake(
            """
def encode_words(words, encode, cache, limit):
    ids = None
    for word in words:
        if word not in cache:
            if len(cache) >= limit:
                cache.clear()
            cache[word] = encode(word)
        if ids is None:
            ids = cache[word]
        else:
            ids += cache[word]
    return ids or []
""",
            "your result is the very list that the cache keeps, so the next word is written into the first "
            "word's ids: begin with a list of your own",
        ),
    },
    probes=lambda: [
        (["to", "be", "to", "to"], Once(strict=True), Small(9), 9),
        (["a", "b", "c", "d"], Once(), Small(2), 2),
        (["a", "b", "c", "d"], Once(), Small(3), 2),
        (["a", "b", "c", "c"], Once(strict=True), Small(2), 2),
        (["a", "b", "a"], Once(), {}, 9),
    ],
)

EXERCISES = [CHANGES, POP, CACHED]

PREDICTIONS = [
    Prediction(
        "pairs_changed_by_er",
        9,
        "pairs",
        "e+r itself; w+e, d+e, v+e and r+y, which are gone; and four new ones beside `er`: w, d, v before it, "
        "y behind it.",
    ),
    Prediction(
        "ids_in_a_character",
        0x110000,
        "ids",
        "Unicode has 17 planes of 65,536 code points: more ids than any vocabulary in use.",
    ),
]
