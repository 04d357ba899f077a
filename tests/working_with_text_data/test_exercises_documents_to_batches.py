"""The exercises of notebook 05: other right answers pass, new wrong ones get the property that fails."""

import random
import zlib

import pytest

from utils.exercises import check
from working_with_text_data.exercises import documents_to_batches
from working_with_text_data.exercises.documents_to_batches import COUNT, ROW, SPLIT
from working_with_text_data.packing import PackedBatches
from working_with_text_data.splitting import split_documents
from working_with_text_data.windows import window_count


def by_threshold(texts, val_fraction, seed):
    """The form for a stream, with one document made sure of for tiny data."""
    place = {t: zlib.crc32(f"{seed} {t}".encode()) for t in texts}
    held = {t for t in texts if place[t] < val_fraction * 2**32} or {min(place, key=place.get)}
    return [t for t in texts if t not in held], [t for t in texts if t in held]


def by_own_generator(texts, val_fraction, seed):
    order = sorted(set(texts))
    random.Random(seed).shuffle(order)
    held = set(order[: max(1, round(val_fraction * len(order)))])
    return [t for t in texts if t not in held], [t for t in texts if t in held]


def by_the_module(texts, val_fraction, seed):
    from working_with_text_data.documents import Document

    documents = [Document(t, "x", i) for i, t in enumerate(texts)]
    split = split_documents(documents, val_fraction=val_fraction, seed=seed, look_for_near_duplicates=False)
    return [d.text for d in split.train], [d.text for d in split.val]


def packed_by_the_module(documents, length):
    tokens = [token for document in documents for token in document]
    batch = next(PackedBatches(tokens, 1, length, end_id=0, shuffle=False, method="in_order"))
    return batch.x[0], batch.y[0]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (SPLIT, by_threshold),
        (SPLIT, by_own_generator),
        (SPLIT, by_the_module),
        (COUNT, window_count),
        (COUNT, lambda n, length, stride: len(range(0, n - length, stride))),
        (ROW, packed_by_the_module),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (SPLIT, lambda texts, f, seed: texts, "return two lists"),
        (SPLIT, lambda texts, f, seed: (texts, texts), "came out twice"),
        (SPLIT, lambda texts, f, seed: (texts, []), "you hold out 0.00"),
        (SPLIT, lambda texts, f, seed: (texts[12:], texts[:12]), "on both sides"),
        (COUNT, lambda n, length, stride: (n - 1) // stride + 1, "windows fit, you say"),
        (ROW, lambda documents, length: [0] * length, "two lists"),
        (ROW, lambda documents, length: ([0] * 3, [0] * 3), "places"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_a_salted_hash_is_found_out_in_one_process():
    """However it is spelled: the checker gives `hash` another salt and asks again."""

    def salted(texts, val_fraction, seed):
        order = sorted(set(texts), key=lambda t: (hash(t + str(seed)) * 31) % 10**9)
        held = set(order[: max(1, round(val_fraction * len(order)))])
        return [t for t in texts if t not in held], [t for t in texts if t in held]

    result = check(SPLIT, salted)
    assert not result.passed and "another process" in result.message


def test_the_checker_leaves_hash_and_the_generator_as_they_were():
    import builtins

    before, state = builtins.hash, random.getstate()
    check(SPLIT, by_own_generator)
    assert builtins.hash is before and random.getstate() == state


def test_the_predictions_are_true():
    said = {p.name: p.answer for p in documents_to_batches.PREDICTIONS}
    assert said["windows_of_a_thousand"] == sum(1 for s in range(0, 1_000, 16) if s + 65 <= 1_000)
    assert abs(said["never_asked"] - (1 - 1 / 10**6) ** (10**6)) < 1e-6
    # Windows of 8 that begin every 4 tokens, a tenth held out: how many held-out questions does training ask?
    starts, rng = list(range(0, 40_000, 4)), random.Random(0)
    rng.shuffle(starts)
    held, train = starts[:1_000], starts[1_000:]
    asked = {s + i for s in train for i in range(1, 9)}
    leaked = [s + i in asked for s in held for i in range(1, 9)]
    assert abs(sum(leaked) / len(leaked) - said["naive_leak"]) < 0.03
