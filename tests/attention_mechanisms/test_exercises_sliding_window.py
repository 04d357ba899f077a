"""LD2 for notebook 07: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch

from attention_mechanisms import RollingKVCache, window_mask
from attention_mechanisms.exercises.sliding_window import BAND, SLOT
from utils.exercises import check, load_answer


def _slot_by_walking(position, ring, sinks):
    slot = 0
    for _ in range(position):
        slot = slot + 1 if slot + 1 < sinks + ring else sinks
    return slot


def _band_by_triangles(q_len, k_len, window):
    full = torch.ones(k_len, k_len, dtype=torch.bool)
    return (full.tril() & full.triu(1 - window))[k_len - q_len :]


@pytest.mark.parametrize(
    ("exercise", "right"), [(SLOT, _slot_by_walking), (BAND, _band_by_triangles), (BAND, window_mask)]
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (SLOT, lambda position, ring, sinks: 0, "until the ring is full, the slot is the position"),
        (
            SLOT,
            lambda p, ring, sinks: _slot_by_walking(min(p, 30), ring, sinks),
            "must have the 3 slots behind 0 sinks to themselves",
        ),
        (BAND, lambda q, k, w: [[True]], "a tensor, not list"),
        (BAND, lambda q, k, w: window_mask(q, k, w).float(), "give booleans"),
        (BAND, lambda q, k, w: window_mask(k, k, w), "make a table (3, 7)"),
        (
            BAND,
            lambda q, k, w: torch.zeros(q, k, dtype=torch.bool),
            "query 0 stands at position 0 and sees [0]",
        ),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


@pytest.mark.parametrize(("window", "sinks"), [(4, 0), (3, 2), (1, 1)])
def test_the_slot_is_the_one_of_the_ring(window, sinks):
    slot = load_answer(SLOT.solution, SLOT.function)
    layer = RollingKVCache([window], 1, 40, 1, 2, sinks=sinks).layer(0)
    assert layer.slot_of(torch.arange(30)).tolist() == [slot(p, window, sinks) for p in range(30)]
