"""LG8: beam search is greedy at width 1, exhaustive at full width, and transformers' between."""

from __future__ import annotations

import threading

import pytest
from beam_checks import (
    check_banned_tokens_are_not_found,
    check_equals_transformers,
    check_full_width_is_exhaustive,
    check_scores_are_the_models,
    check_search_ends,
    check_search_escapes_the_trap,
    check_width_one_is_greedy,
)
from model_checks import CACHE_VARIANTS, build, variant_id
from weight_checks import tiny_gpt2

from gpt_model.beam import Beam, beam_search
from utils.errors import UserError

variants = pytest.mark.parametrize("variant", CACHE_VARIANTS, ids=variant_id)


def test_one_beam_is_greedy():
    check_width_one_is_greedy(build())


def test_two_beams_find_the_likelier_text_that_greedy_misses():
    check_search_escapes_the_trap()


def test_keeping_every_beginning_finds_the_best_text_of_all():
    check_full_width_is_exhaustive(build(vocab_size=4))


@variants
def test_the_scores_are_those_of_a_pass_without_a_cache(variant):
    check_scores_are_the_models(build(**variant))


def test_texts_and_scores_equal_transformers(tmp_path):
    reference = tiny_gpt2(seed=5, n_positions=24)
    reference.save_pretrained(tmp_path)
    check_equals_transformers(reference, tmp_path)


def test_a_full_block_ends_a_text_and_not_its_neighbours():
    check_search_ends(build(block_size=16))


def test_rules_hold_in_every_beam():
    check_banned_tokens_are_not_found(build())


def test_a_stop_event_ends_the_search_with_what_there_is():
    event = threading.Event()
    event.set()
    [texts] = beam_search(build(), [[1, 2]], Beam(width=3, n_best=3), max_new_tokens=9, stop_event=event)
    assert [len(each.ids) for each in texts] == [1, 1, 1]


def test_the_search_leaves_the_model_in_its_mode():
    model = build(dropout=0.5)
    still = [each.ids for each in beam_search(model, [[1, 2]], max_new_tokens=9)[0]]
    model.train()
    model.blocks[0].eval()
    assert [each.ids for each in beam_search(model, [[1, 2]], max_new_tokens=9)[0]] == still
    assert model.training and model.blocks[1].training and not model.blocks[0].training


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 0},
        {"width": 2.5},
        {"n_best": 0},
        {"n_best": 9},
        {"length_penalty": float("nan")},
        {"length_penalty": "long"},
        {"early_stopping": "soon"},
    ],
    ids=str,
)
def test_an_impossible_search_is_refused_by_name(settings):
    with pytest.raises(UserError) as caught:
        Beam(**settings)
    (name,) = settings
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompts", "options", "word"),
    [
        ([], {}, "list of lists"),
        ([1, 2], {}, "list of lists"),
        ([[]], {}, "prompt 0 is empty"),
        ([[1], [99]], {}, "prompt 1 holds id 99"),
        ([[1] * 10], {"max_new_tokens": 8}, "block_size is 16"),
        ([[1] * 17], {"on_overflow": "stop"}, "block_size is 16"),
        ([[1]], {"on_overflow": "slide"}, "on_overflow"),
        ([[1]], {"max_new_tokens": -1}, "max_new_tokens"),
    ],
    ids=str,
)
def test_a_prompt_that_does_not_fit_is_refused(prompts, options, word):
    with pytest.raises(UserError, match=word):
        beam_search(build(block_size=16), prompts, **{"max_new_tokens": 3, **options})
