"""LA1, LA2, LA8 on the whole model: nobody sees the future, the cache changes nothing, nor does padding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from model_checks import (
    ALL_VARIANTS,
    CACHE_VARIANTS,
    CAUSAL_VARIANTS,
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
    variant_id,
)

from attention_mechanisms import ATTENTIONS
from gpt_model.config import CHOICES
from utils.errors import UserError

all_variants = pytest.mark.parametrize("variant", ALL_VARIANTS, ids=variant_id)
cache_variants = pytest.mark.parametrize("variant", CACHE_VARIANTS, ids=variant_id)


def test_the_rows_cover_every_pair_of_choices():
    """Fewer rows than the whole product, and no pair of choices, and no registered attention, is left out."""
    axes = {"attention": list(ATTENTIONS)} | {
        name: CHOICES[name] for name in ("position", "norm", "mlp", "norm_order")
    }
    assert len(ALL_VARIANTS) < math.prod(map(len, axes.values())) / 4
    for (a, xs), (b, ys) in itertools.combinations(axes.items(), 2):
        seen = {(row[a], row[b]) for row in ALL_VARIANTS}
        assert seen == set(itertools.product(xs, ys)), f"some pairs of {a} and {b} are never tested together"


# LA1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", CAUSAL_VARIANTS, ids=variant_id)
def test_no_logit_depends_on_a_later_token(variant):
    model = build(**variant)
    check_model_is_causal(model)
    check_model_gradient_is_causal(model)


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_no_logit_depends_on_a_later_token_while_training(backend):
    model = build(attn_backend=backend, dropout=0.0).train()
    check_model_is_causal(model)


# LA2 ------------------------------------------------------------------------------------------------


@cache_variants
def test_all_128_ways_of_feeding_8_tokens_give_the_uncached_logits(variant):
    check_every_way_to_cut_8(build(**variant))


@cache_variants
def test_random_cuts_of_64_tokens_give_the_uncached_logits(variant):
    check_random_cuts_of_64(build(**variant))


@all_variants
def test_one_token_at_a_time_gives_the_uncached_logits(variant):
    check_cuts(build(**variant), some_ids(2, 8), [[1] * 8, [5, 1, 1, 1]], slots=8, rows=2)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_gives_the_uncached_logits_too():
    model, reference = build(attn_backend="flex"), build(attn_backend="manual")
    ids = some_ids(2, 8)
    check_cuts(model, ids, [[8], [3, 5], [1] * 8, [6, 2]], slots=8, rows=2)
    with torch.no_grad():
        assert_close(
            model(ids).logits, reference(ids).logits, 1e-5, "FlexAttention differs from the reference"
        )


def test_asking_for_the_last_logits_alone_gives_the_last_of_all():
    model = build()
    with torch.no_grad():
        for cache in (None, model.new_cache(2, 9)):
            last = model(some_ids(2, 9), cache=cache, last_only=True).logits
            assert_close(last, model(some_ids(2, 9)).logits[:, -1:], 1e-6, "last_only")


@cache_variants
def test_a_cache_larger_than_needed_gives_the_same_logits(variant):
    model = build(**variant)
    check_cuts(model, some_ids(2, 8), [[3, 5], [1] * 8], slots=40, rows=2)
    check_cuts(model, some_ids(2, 8), [[3, 5], [1] * 8], slots=11, rows=5)


@cache_variants
def test_unused_slots_filled_with_nan_change_nothing(variant):
    check_unused_slots_do_not_matter(build(**variant))


@cache_variants
def test_crop_goes_back_and_reset_starts_anew(variant):
    check_crop_and_reset(build(**variant))


@cache_variants
def test_two_interleaved_sessions_do_not_see_each_other(variant):
    check_two_sessions(build(**variant))


@cache_variants
def test_a_full_cache_refuses_one_more_token_and_names_both_numbers(variant):
    check_a_full_cache_refuses(build(**variant))


def test_a_batch_larger_than_its_cache_is_refused():
    model = build()
    with pytest.raises(UserError, match="2"):
        model(some_ids(2, 3), cache=model.new_cache(1, 8))


def test_cached_equals_uncached_to_1e_10_in_float64():
    model = build(position="rope").double()
    ids = some_ids(2, 64)
    with torch.no_grad():
        cached = feed(model, ids, random_cut(64, 1), model.new_cache(2, 64, dtype=torch.float64))
        assert_close(cached, model(ids).logits, 1e-10, "an fp32 detour in the cache or in the positions")


def test_nbytes_is_what_the_cache_holds():
    model = build(n_layer=3, n_head=4, n_embd=32)
    assert (
        model.new_cache(2, 10).nbytes == 2 * 3 * 2 * 10 * 32 * 4
    )  # k and v, layers, rows, slots, width, fp32


# LA8 ------------------------------------------------------------------------------------------------


@all_variants
def test_a_left_padded_batch_gives_each_row_its_single_run(variant):
    check_left_padding(build(**variant))


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_a_row_of_padding_alone_gives_no_nan_and_no_nan_gradient(backend):
    model = build(attn_backend=backend)
    mask = torch.tensor([[0] * 6, [0, 0, 1, 1, 1, 1]])
    logits = model(some_ids(2, 6), attention_mask=mask).logits
    assert bool(torch.isfinite(logits).all()), "a fully masked row gave NaN"
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), f"a fully masked row gave a NaN gradient in {name}"
