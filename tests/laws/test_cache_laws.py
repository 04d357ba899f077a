"""LA2 and LA8 for every kind of cache: full, grouped, latent, rolling, in floats and in int8."""

from __future__ import annotations

import pytest
import torch
from cache_checks import (
    CACHED_FORMS,
    FORMS,
    check_bytes,
    check_crops_of_a_ring,
    check_half_a_step,
    check_int8_logits,
    check_padding_through_a_cache,
    check_ring_bytes,
    check_ring_goes_round,
    check_rows_of_a_branch,
    form_id,
    int8_logit_error,
    loud_ring,
    sinkless,
)
from model_checks import (
    assert_close,
    build,
    check_a_full_cache_refuses,
    check_crop_and_reset,
    check_cuts,
    check_every_way_to_cut_8,
    check_left_padding,
    check_model_gradient_is_causal,
    check_model_is_causal,
    check_random_cuts_of_64,
    check_two_sessions,
    check_unused_slots_do_not_matter,
    feed,
    random_cut,
    some_ids,
)

from attention_mechanisms import ATTENTIONS
from utils.errors import UserError

every_form = pytest.mark.parametrize("form", CACHED_FORMS, ids=form_id)
settings = pytest.mark.parametrize("form", FORMS, ids=form_id)
# Positions act inside attention (rope, alibi) or before it; the 128 cuts run on one of each kind and no position.
CUT_FORMS = [form for form in CACHED_FORMS if form["position"] in ("rope", "alibi")]
# Rings of W tokens; 64 tokens of text turn each at least three times.
RINGS = [
    {"window": 1}, {"window": 2}, {"window": 3}, {"window": 7},
    {"window": 3, "attention_sinks": 2}, {"window": 1, "attention_sinks": 1},
    {"window": 3, "global_every": 2}, {"window": 3, "n_head": 4, "n_kv_head": 2},
]  # fmt: skip
rings = pytest.mark.parametrize("ring", RINGS, ids=form_id)
positions_in_a_ring = pytest.mark.parametrize("position", ["learned", "rope", "alibi"])


def test_every_registered_attention_has_a_form_here():
    assert {form["attention"] for form in FORMS} == set(ATTENTIONS)
    assert {(f["attention"], f["position"], f["norm"]) for f in CACHED_FORMS} >= {
        (name, position, norm)
        for name in ATTENTIONS
        for position, norm in (("rope", "layernorm"), ("rope", "rmsnorm"), ("alibi", "rmsnorm"))
        if name in ("gqa", "mla", "swa")
    }


# LA1 ------------------------------------------------------------------------------------------------


@every_form
def test_no_logit_depends_on_a_later_token(form):
    model = build(**form)
    check_model_is_causal(model)
    check_model_gradient_is_causal(model)


# LA2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", CUT_FORMS, ids=form_id)
def test_all_128_ways_of_feeding_8_tokens_give_the_uncached_logits(form):
    check_every_way_to_cut_8(build(**form))


@every_form
def test_random_cuts_of_64_tokens_give_the_uncached_logits(form):
    check_random_cuts_of_64(build(**form), tries=3)


@every_form
def test_a_larger_cache_an_exactly_full_one_and_one_full_of_nan(form):
    model = build(**form)
    check_cuts(model, some_ids(2, 8), [[3, 5], [1] * 8], slots=40, rows=5)
    check_unused_slots_do_not_matter(model)
    check_a_full_cache_refuses(model)


@every_form
def test_two_sessions_crop_reset_and_branch(form):
    model = build(**form)
    check_two_sessions(model)
    check_crop_and_reset(model)
    check_rows_of_a_branch(model)


@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_cached_equals_uncached_to_1e_10_in_float64(form):
    model = build(position="rope", **form).double()
    ids = some_ids(2, 64)
    with torch.no_grad():
        for seed in range(2):
            cache = model.new_cache(2, 64, dtype=torch.float64)
            got = feed(model, ids, random_cut(64, seed), cache)
            assert_close(got, model(ids).logits, 1e-10, "an fp32 detour in the cache or in the positions")


def test_a_batch_larger_than_its_cache_is_refused_by_every_variant():
    for form in FORMS:
        model = build(**form)
        for length in (1, 3):
            with pytest.raises(UserError, match="batch of 1 but 2 rows"):
                model(some_ids(2, length), cache=model.new_cache(1, 8))


# Rings ----------------------------------------------------------------------------------------------


@rings
@positions_in_a_ring
def test_a_ring_that_turned_three_times_equals_the_band(ring, position):
    check_ring_goes_round(loud_ring(**ring, position=position))


@pytest.mark.parametrize("slack", [0, 1, 5])
@rings
def test_a_crop_of_a_ring_is_exact_or_refused(ring, slack):
    check_crops_of_a_ring(loud_ring(**ring), slack)


@rings
def test_the_bytes_of_a_ring_are_constant_after_its_window(ring):
    check_ring_bytes(loud_ring(**ring))


def test_a_branch_of_a_ring_knows_what_was_overwritten():
    model = loud_ring(window=4)
    cache = model.new_cache(1, 30)
    with torch.no_grad():
        feed(model, some_ids(1, 20), (20,), cache)
    copy = cache.branch([0, 0])
    for kept in (cache, copy):
        with pytest.raises(UserError, match="overwritten"):
            kept.crop(18)
        assert kept.length == 20


def test_two_crops_in_a_row_may_not_reach_what_one_may_not():
    """A crop lowers the length, but what the tokens it takes back had overwritten stays lost."""
    from cache_checks import turned

    model = loud_ring(window=4)
    cache = turned(model, slack=4)
    with torch.no_grad():
        feed(model, some_ids(2, 20), (20,), cache)
    cache.crop(17)
    with pytest.raises(UserError, match="overwritten"):
        cache.crop(13)
    assert cache.length == 17


# LA8 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [f for f in CACHED_FORMS if sinkless(f)], ids=form_id)
def test_a_left_padded_batch_equals_its_single_runs_with_and_without_a_cache(form):
    model = build(**form)
    check_left_padding(model)
    check_padding_through_a_cache(model)


def test_sinks_that_would_be_padding_are_refused():
    """Left padding moves the first tokens of a row; the sinks would be the padding."""
    model = build(attention="swa", window=3, attention_sinks=2)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    for cache in (None, model.new_cache(2, 9)):
        with pytest.raises(UserError, match="attention_sinks") as caught:
            model(some_ids(2, 5), attention_mask=mask, cache=cache)
        assert "\n" not in str(caught.value)
    with torch.no_grad():
        same = model(some_ids(2, 5), attention_mask=torch.ones(2, 5, dtype=torch.long)).logits
        assert_close(same, model(some_ids(2, 5)).logits, 1e-6, "a mask without padding changes nothing")


# Bytes and int8 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [f for f in CACHED_FORMS if f["attention"] != "swa"], ids=form_id)
def test_bytes_are_exact_in_every_dtype(form):
    check_bytes(build(**form))


def test_int8_rounds_by_at_most_half_a_step():
    check_half_a_step()


@settings
def test_an_int8_cache_is_near_and_its_numbers_within_half_a_step(form):
    check_int8_logits(build(position="rope", **form))


@settings
def test_an_int8_cache_obeys_crop_reset_and_branch(form):
    """The same numbers come back, whichever way: chunks in two caches, a branch, and after a reset."""
    model, ids = build(position="rope", **form), some_ids(2, 12)
    with torch.no_grad():
        cache = model.new_cache(2, 16, torch.int8)
        first = feed(model, ids, (5, 1, 1), cache)
        branch = cache.branch([0, 1])
        on, twin = (feed(model, ids[:, 7:], (1, 1, 1, 1, 1), c) for c in (cache, branch))
        assert torch.equal(on, twin), "a branch of an int8 cache must copy the scales with the codes"
        cache.reset()
        assert torch.equal(feed(model, ids, (5, 1, 1), cache), first)


def test_the_measured_error_of_int8_is_small_and_grows_with_coarser_scales():
    """What the documentation may say: on a loud random model, under 2 % of the logits' size."""
    for form in FORMS[: len(ATTENTIONS)]:
        assert 0 < int8_logit_error(build(position="rope", **form), some_ids(2, 32)) < 0.02
