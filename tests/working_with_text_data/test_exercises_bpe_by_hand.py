"""LD2 for notebook 02: other right answers pass, new wrong ones get the property that fails.

What holds for every exercise of the chapter (proof, names of mistakes) is in `test_text_exercises.py`.
"""

import random

import pytest

from utils.exercises import check, load_answer
from working_with_text_data import BPETokenizer, train_bpe_readable
from working_with_text_data.bpe import merge, merge_steps
from working_with_text_data.exercises.bpe_by_hand import COUNT, ENCODE, MERGE


def _count_with_a_dict(words):
    counts = {}
    for ids, times in words:
        for i in range(len(ids) - 1):
            counts[ids[i], ids[i + 1]] = counts.get((ids[i], ids[i + 1]), 0) + times
    return counts


def _merge_as_a_stack(ids, pair, new_id):
    merged = []
    for i in ids:
        if merged and (merged[-1], i) == pair:
            merged[-1] = new_id
        else:
            merged.append(i)
    return merged


def _encode_by_rank(ids, merges):
    return merge_steps(ids, {pair: 256 + i for i, pair in enumerate(merges)})[-1]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(COUNT, _count_with_a_dict), (MERGE, merge), (MERGE, _merge_as_a_stack), (ENCODE, _encode_by_rank)],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (COUNT, lambda words: [], "a dict from pair to count, not list"),
        (COUNT, lambda words: {}, "a word of two ids has one pair"),
        (MERGE, lambda ids, pair, new_id: "x", "a list of ids, not str"),
        (MERGE, lambda ids, pair, new_id: list(ids), "the pair becomes the new id"),
        (ENCODE, lambda ids, merges: list(ids), "merge number 0 makes id 256"),
        (ENCODE, lambda ids, merges: 1, "a list of ids, not int"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_a_merge_that_changes_what_it_was_given_fails_though_its_result_is_right():
    def in_place(ids, pair, new_id):
        ids[:] = merge(ids, pair, new_id)
        return ids

    result = check(MERGE, in_place)
    assert not result.passed and "leave the list" in result.message


def test_the_exercise_is_the_real_encoder_on_real_merges():
    """The three lines of the solution give the ids of BPETokenizer on random words."""
    words = ["".join(random.Random(i).choices("abc", k=i % 12 + 1)) for i in range(300)]
    tokenizer = train_bpe_readable(" ".join(words), 320)
    encode = load_answer(ENCODE.solution, "encode")
    assert isinstance(tokenizer, BPETokenizer) and len(tokenizer.merges) == 64
    for word in words:
        assert encode(list(word.encode()), tokenizer.merges) == tokenizer.encode(word)
