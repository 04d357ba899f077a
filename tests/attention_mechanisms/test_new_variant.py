"""The promise of the design: a new variant is a few lines, and stands under every law by being registered."""

from __future__ import annotations

import pytest
import torch
from attention_checks import check_attention_is_causal, check_maps_are_what_is_computed, make_attention
from cache_checks import check_padding_through_a_cache, check_rows_of_a_branch
from model_checks import (
    build,
    check_every_way_to_cut_8,
    check_left_padding,
    check_model_gradient_is_causal,
    check_model_is_causal,
    check_random_cuts_of_64,
    check_unused_slots_do_not_matter,
)

from attention_mechanisms import (
    ATTENTIONS,
    GroupedQueryAttention,
    LatentAttention,
    MultiHeadAttention,
    SlidingWindowAttention,
)


class Dilated(MultiHeadAttention):
    """Every other token back, and itself."""

    def visible(self, queries, keys):
        distance = queries[:, None] - keys
        return (distance >= 0) & (distance % 2 == 0)


class Chunked(GroupedQueryAttention):
    """Only the own chunk of five tokens, with shared key heads."""

    def visible(self, queries, keys):
        return super().visible(queries, keys) & (queries[:, None] // 5 == keys // 5)


class Bucketed(MultiHeadAttention):
    """One number a head for each power of two of the distance, as T5 has it (here fixed, not learned)."""

    def score_bias(self, queries, keys):
        bucket = (queries[:, None] - keys).clamp(min=0).add(1).log2().floor()
        return -0.3 * torch.arange(1, self.n_head + 1)[:, None, None] * bucket


class LatentDilated(LatentAttention):
    """The same rule over latents, on both paths."""

    visible = Dilated.visible


class WindowWithBias(SlidingWindowAttention):
    """A window whose older half counts less; its cache is still a ring."""

    def score_bias(self, queries, keys):
        return -((queries[:, None] - keys) >= 2).float().expand(self.n_head, -1, -1)


VARIANTS = {"dilated": Dilated, "chunked": Chunked, "bucketed": Bucketed, "latent": LatentDilated,
            "window": WindowWithBias}  # fmt: skip


@pytest.fixture(params=VARIANTS)
def registered(request, monkeypatch):
    """A variant that is in the registry for one test."""
    monkeypatch.setitem(ATTENTIONS, request.param, VARIANTS[request.param])
    return request.param


@pytest.mark.parametrize("position", ["rope", "learned"])
def test_a_variant_of_a_few_lines_obeys_the_laws(registered, position):
    left_padding_keeps_it = registered != "chunked"  # chunks are counted from the start of the row
    model = build(attention=registered, position=position)
    check_model_is_causal(model)
    check_model_gradient_is_causal(model)
    check_every_way_to_cut_8(model)
    check_random_cuts_of_64(model, tries=2)
    check_unused_slots_do_not_matter(model)
    check_rows_of_a_branch(model)
    if left_padding_keeps_it:
        check_left_padding(model)
        check_padding_through_a_cache(model)


def test_a_new_variant_computes_something_new(registered):
    ids = torch.arange(24)[None]
    base = {"latent": "mla", "window": "swa", "chunked": "gqa"}.get(registered, "mha")
    with torch.no_grad():
        ours, plain = (build(attention=name, position="rope")(ids).logits for name in (registered, base))
    assert (ours - plain).abs().max() > 1e-3


@pytest.mark.parametrize("backend", ["auto", "manual", "sdpa"])
def test_what_it_shows_is_what_it_computes(registered, backend):
    module = make_attention(registered, attn_backend=backend, position="rope")
    check_maps_are_what_is_computed(module)
    with torch.no_grad():
        _, weights = module(torch.randn(1, 9, 16), need_weights=True)
    places = torch.arange(9)
    assert torch.count_nonzero(weights.masked_fill(module.visible(places, places), 0)) == 0
    if registered not in ("dilated", "latent", "chunked"):
        check_attention_is_causal(module)
