"""LD2 for notebook 04: other right answers pass, new wrong ones get the property that fails.

What holds for every exercise of the chapter (proof, names of mistakes) is in `test_text_exercises.py`.
"""

import heapq
import random
from collections import Counter, OrderedDict
from itertools import pairwise

import pytest

from utils.exercises import check, load_answer
from working_with_text_data import train_bpe_readable
from working_with_text_data.bpe import merge
from working_with_text_data.exercises.fast_bpe import CACHED, CHANGES, POP, Once


def _changes_of_two_counters(word, pair, new_id):
    before, after = Counter(pairwise(word)), Counter(pairwise(merge(word, pair, new_id)))
    return {p: after[p] - before[p] for p in before | after if after[p] != before[p]}


def _pop_the_true_maximum(heap, counts):
    alive = [(-counts[pair], pair) for _, pair in heap if counts.get(pair)]
    if not alive:
        return None
    best = min(alive)[1]
    heap[:] = [entry for entry in heap if entry[1] != best]
    heapq.heapify(heap)
    return best


def _drop_the_least_recent(words, encode, cache, limit):
    order = OrderedDict.fromkeys(cache)
    ids = []
    for word in words:
        if word not in cache:
            if len(cache) >= limit:
                del cache[order.popitem(last=False)[0]]
            cache[word] = encode(word)
        order[word] = None
        order.move_to_end(word)
        ids += cache[word]
    return ids


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(CHANGES, _changes_of_two_counters), (POP, _pop_the_true_maximum), (CACHED, _drop_the_least_recent)],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


def _changes_in_place(word, pair, new_id):
    change = _changes_of_two_counters(word, pair, new_id)
    word[:] = merge(word, pair, new_id)
    return change


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (CHANGES, lambda word, pair, new_id: [], "a dict from pair to change, not list"),
        (CHANGES, lambda word, pair, new_id: {(1, 2): 3}, "a word without the pair changes nothing"),
        (CHANGES, _changes_in_place, "leave the word you were given"),
        (POP, lambda heap, counts: heap.pop() if heap else None, "the pair itself"),
        (
            POP,
            lambda heap, counts: max(counts, key=lambda p: (counts[p], p)) if heap else None,
            "equally frequent",
        ),
        (CACHED, lambda words, encode, cache, limit: "ids", "one list of ids, not str"),
        (CACHED, lambda words, encode, cache, limit: [0], "give []"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_a_pop_that_leaves_the_pair_in_the_heap_is_noticed():
    def peek(heap, counts):
        alive = [(-counts[pair], pair) for _, pair in heap if counts.get(pair)]
        return min(alive)[1] if alive else None

    result = check(POP, peek)
    assert not result.passed and "every pair once" in result.message


def test_the_changes_and_the_queue_make_a_trainer():
    """The solutions of exercises 1 and 2, put together, learn the merges of the readable trainer."""
    rng = random.Random(2)
    words = Counter("".join(rng.choices("abcd", k=rng.randrange(1, 9))) for _ in range(400))
    changed, pop = (load_answer(e.solution, e.function) for e in (CHANGES, POP))
    split = [(list(word.encode()), times) for word, times in words.items()]
    counts = Counter()
    for ids, times in split:
        for pair in pairwise(ids):
            counts[pair] += times
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges = []
    for new_id in range(256, 300):
        merges.append(pop(heap, counts))
        made = set()
        for ids, times in split:
            for pair, difference in changed(ids, merges[-1], new_id).items():
                counts[pair] += difference * times
                made |= {pair} if new_id in pair else set()
        split = [(merge(ids, merges[-1], new_id), times) for ids, times in split]
        for pair in made:
            heapq.heappush(heap, (-counts[pair], pair))
    texts = [word for word, times in words.items() for _ in range(times)]
    assert merges == train_bpe_readable(texts, 300, tie_break="smallest_ids").merges


def test_the_checkers_encoder_notes_what_it_was_asked():
    strict = Once(strict=True)
    assert strict("é") == [0xC3, 0xA9] and strict.asked == ["é"]
    with pytest.raises(LookupError):
        strict("é")
