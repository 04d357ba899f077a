"""Classic bugs of attention, masks, positions and caches, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with, so
that it fails for the right reason. Every check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attention_checks
import pytest
import torch
import torch.nn.functional as F
from attention_checks import (
    check_attention_is_causal,
    check_backend_is_the_definition,
    check_bottom_right,
    check_causal_mask_table,
    check_equals_torch_multihead,
    check_is_causal_only_for_squares,
    check_maps_are_what_is_computed,
    check_nobody_to_look_at,
    check_only_distance_matters,
    check_rope_is_a_complex_rotation,
    make_attention,
)
from model_checks import (
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
    some_ids,
)

from attention_mechanisms import attention, kv_cache, multi_head, positions
from attention_mechanisms.kv_cache import KVCache, LayerKVCache
from attention_mechanisms.positions import RotaryPositions
from gpt_model import GPT, gpt, norms

Patch = pytest.MonkeyPatch


def shifted_mask(by: int) -> Callable[..., Any]:
    return lambda q, k, device=None: torch.ones(q, k, dtype=torch.bool).tril(k - q + by)


# Masks ----------------------------------------------------------------------------------------------


def no_mask(patch: Patch) -> None:
    patch.setattr(attention, "causal_mask", lambda q, k, device=None: torch.ones(q, k, dtype=torch.bool))


def mask_off_by_one(patch: Patch) -> None:
    patch.setattr(attention, "causal_mask", shifted_mask(1))


def mask_hides_the_token_itself(patch: Patch) -> None:
    patch.setattr(attention, "causal_mask", shifted_mask(-1))


def mask_aligned_top_left(patch: Patch) -> None:
    patch.setattr(
        attention, "causal_mask", lambda q, k, device=None: torch.ones(q, k, dtype=torch.bool).tril()
    )
    patch.setattr(attention_checks, "causal_mask", attention.causal_mask)


def mask_after_the_softmax(patch: Patch) -> None:
    def late(scores: Any, mask: Any, **_: Any) -> Any:
        weights = scores.softmax(-1)
        return weights if mask is None else weights * mask

    patch.setattr(attention, "masked_softmax", late)


def causal_forgotten_in_sdpa(patch: Patch) -> None:
    real = F.scaled_dot_product_attention
    patch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, **_: real(q, k, v))


def is_causal_whatever_the_lengths(patch: Patch) -> None:
    def naive(q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool = False, **_: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    patch.setattr(multi_head, "attend", naive)
    patch.setattr(attention_checks, "attend", naive)


def minus_infinity_for_nobody(patch: Patch) -> None:
    def infinite(scores: Any, mask: Any, **_: Any) -> Any:
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)

    patch.setattr(attention, "masked_softmax", infinite)


def lowest_number_for_nobody(patch: Patch) -> None:
    def uniform(scores: Any, mask: Any, **_: Any) -> Any:
        return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-1)

    patch.setattr(attention, "masked_softmax", uniform)


def padding_ignored(patch: Patch) -> None:
    everybody = lambda mask: torch.ones_like(mask, dtype=torch.bool)[:, None, None, :]  # noqa: E731
    patch.setattr(multi_head, "padding_mask", everybody)


def positions_count_the_padding(patch: Patch) -> None:
    patch.setattr(
        gpt, "positions_from_mask", lambda mask: torch.arange(mask.size(1)).expand(mask.shape[0], -1)
    )


# Scores ---------------------------------------------------------------------------------------------


def scores_not_scaled(patch: Patch) -> None:
    patch.setattr(attention, "attention_scores", lambda q, k: q @ k.transpose(-2, -1))


def scaled_by_the_dimension_not_its_root(patch: Patch) -> None:
    patch.setattr(attention, "attention_scores", lambda q, k: q @ k.transpose(-2, -1) / q.size(-1))


def softmax_over_the_queries(patch: Patch) -> None:
    def wrong_axis(scores: Any, mask: Any, **_: Any) -> Any:
        return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-2)

    patch.setattr(attention, "masked_softmax", wrong_axis)


def heads_cut_before_q_k_v(patch: Patch) -> None:
    def project(self: Any, x: Any) -> Any:
        batch, time, _ = x.shape
        mixed = self.qkv_proj(x).view(batch, time, self.n_head, 3, self.head_dim)
        return mixed.permute(3, 0, 2, 1, 4).unbind(0)

    patch.setattr(multi_head.MultiHeadAttention, "project", project)


def map_shown_is_not_the_map_used(patch: Patch) -> None:
    real = multi_head.attention_weights
    patch.setattr(multi_head, "attention_weights", lambda q, k, mask, causal: real(k, q, mask, causal=causal))


def norm_over_all_tokens(patch: Patch) -> None:
    def mixed(self: Any, x: Any) -> Any:
        return F.layer_norm(x, x.shape[1:], eps=self.eps) * self.weight + self.bias

    patch.setattr(norms.LayerNorm, "forward", mixed)


# Caches ---------------------------------------------------------------------------------------------


def append_writes_at_slot_0(patch: Patch) -> None:
    def append(self: Any, k: Any, v: Any) -> Any:
        batch, new, end = k.size(0), k.size(2), self.cache.length + k.size(2)
        self.k[:batch, :, :new], self.v[:batch, :, :new] = k, v
        return self.k[:batch, :, :end], self.v[:batch, :, :end]

    patch.setattr(LayerKVCache, "append", append)


def append_forgets_the_past(patch: Patch) -> None:
    real = LayerKVCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        real(self, k, v)
        return k, v

    patch.setattr(LayerKVCache, "append", append)


def every_layer_advances(patch: Patch) -> None:
    real = LayerKVCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        both = real(self, k, v)
        if self is self.cache.layer(0):
            self.cache.length += k.size(2)
        return both

    patch.setattr(LayerKVCache, "append", append)
    patch.setattr(KVCache, "advance", lambda self, new: None)


def unused_slots_masked_instead_of_sliced(patch: Patch) -> None:
    real, ends = LayerKVCache.append, []

    def append(self: Any, k: Any, v: Any) -> Any:
        real(self, k, v)
        ends.append(self.cache.length + k.size(2))
        return self.k[: k.size(0)], self.v[: k.size(0)]

    def attend(q: Any, k: Any, v: Any, mask: Any = None, **_: Any) -> Any:
        end = ends[-1] if ends else k.size(2)
        seen = torch.arange(k.size(2)) <= (torch.arange(q.size(2)) + end - q.size(2))[:, None]
        scores = (q @ k.transpose(-2, -1) / q.size(-1) ** 0.5).masked_fill(~seen, -1e9)
        ends.clear()
        return scores.softmax(-1) @ v

    patch.setattr(LayerKVCache, "append", append)
    patch.setattr(multi_head, "attend", attend)


def rotary_positions_restart(patch: Patch) -> None:
    real = RotaryPositions.forward
    patch.setattr(
        RotaryPositions, "forward", lambda self, q, k, positions=None, start=0: real(self, q, k, None, 0)
    )


def learned_positions_restart(patch: Patch) -> None:
    real = GPT.forward

    def forward(self: Any, ids: Any, *, cache: Any = None, **rest: Any) -> Any:
        start, table = 0 if cache is None else cache.length, self.position_embedding.weight
        kept = table.data
        table.data = kept.roll(start, dims=0)  # row `start` now holds position 0
        try:
            return real(self, ids, cache=cache, **rest)
        finally:
            table.data = kept

    patch.setattr(GPT, "forward", forward)


def cache_rounds_to_bf16(patch: Patch) -> None:
    real = GPT.new_cache
    patch.setattr(GPT, "new_cache", lambda self, batch, capacity: real(self, batch, capacity, torch.bfloat16))


def one_cache_for_everybody(patch: Patch) -> None:
    real, kept = GPT.new_cache, []

    def new_cache(self: Any, batch: int, capacity: int) -> Any:
        if not kept:
            kept.append(real(self, 8, 64))
        return kept[0]

    patch.setattr(GPT, "new_cache", new_cache)


def crop_does_nothing(patch: Patch) -> None:
    patch.setattr(KVCache, "crop", lambda self, length: None)


def crop_keeps_one_too_many(patch: Patch) -> None:
    patch.setattr(KVCache, "crop", lambda self, length: setattr(self, "length", min(length + 1, self.length)))


def reset_does_nothing(patch: Patch) -> None:
    patch.setattr(KVCache, "reset", lambda self: None)


def full_cache_overwrites_the_last_slot(patch: Patch) -> None:
    def append(self: Any, k: Any, v: Any) -> Any:
        new = k.size(2)
        start = min(self.cache.length, self.cache.capacity - new)
        self.k[: k.size(0), :, start : start + new], self.v[: k.size(0), :, start : start + new] = k, v
        return self.k[: k.size(0), :, : start + new], self.v[: k.size(0), :, : start + new]

    patch.setattr(KVCache, "check_room", lambda self, batch, new: None)
    patch.setattr(LayerKVCache, "append", append)


# Rotary ---------------------------------------------------------------------------------------------


def angle_turned_the_other_way(patch: Patch) -> None:
    real = positions.rotate_half_split
    patch.setattr(positions, "rotate_half_split", lambda x, cos, sin: real(x, cos, -sin))


def layouts_mixed_up(patch: Patch) -> None:
    patch.setattr(positions, "rotate_half_split", positions.rotate_interleaved)


def frequencies_of_half_the_dimension(patch: Patch) -> None:
    def angles(dim: int, n: int, theta: float) -> Any:
        frequencies = theta ** (-torch.arange(0, dim // 2, dtype=torch.float64) / dim)
        return torch.outer(torch.arange(n, dtype=torch.float64), frequencies)

    patch.setattr(positions, "rope_angles", angles)


def only_queries_are_turned(patch: Patch) -> None:
    real = RotaryPositions.forward
    patch.setattr(RotaryPositions, "forward", lambda self, q, k, *a, **kw: (real(self, q, k, *a, **kw)[0], k))


def manual(**fields: Any) -> GPT:
    return build(attn_backend="manual", **fields)


def check_roomy_cache(model: GPT) -> None:
    """A cut fed into a cache with room to spare, so that a wrong count is not stopped by the size."""
    check_cuts(model, some_ids(2, 8), [[3, 5]], slots=40, rows=2)


Row = tuple[Callable[[Patch], None], Callable[..., None], str]
ROWS: list[Row] = [
    # LA1
    (no_mask, lambda: check_model_is_causal(manual()), "before it"),
    (no_mask, lambda: check_model_gradient_is_causal(manual()), "later token"),
    (no_mask, lambda: check_attention_is_causal(make_attention()), "before it"),
    (mask_off_by_one, lambda: check_model_is_causal(manual()), "before it"),
    (mask_off_by_one, lambda: check_model_gradient_is_causal(manual()), "later token"),
    (mask_hides_the_token_itself, lambda: check_bottom_right("manual"), "bottom-right"),
    (mask_after_the_softmax, lambda: check_model_is_causal(manual()), "before it"),
    (softmax_over_the_queries, lambda: check_model_is_causal(manual()), "before it"),
    (causal_forgotten_in_sdpa, lambda: check_model_is_causal(build(attn_backend="sdpa")), "before it"),
    (norm_over_all_tokens, lambda: check_model_is_causal(build()), "before it"),
    # LA2
    (append_writes_at_slot_0, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (append_forgets_the_past, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (every_layer_advances, lambda: check_roomy_cache(manual()), "chunks"),
    (rotary_positions_restart, lambda: check_every_way_to_cut_8(build(position="rope")), "chunks"),
    (learned_positions_restart, lambda: check_every_way_to_cut_8(build(position="learned")), "chunks"),
    (mask_aligned_top_left, lambda: check_every_way_to_cut_8(manual()), "chunks"),
    (is_causal_whatever_the_lengths, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (is_causal_whatever_the_lengths, lambda: check_random_cuts_of_64(build()), "chunks"),
    (cache_rounds_to_bf16, lambda: check_random_cuts_of_64(build()), "chunks"),
    (
        unused_slots_masked_instead_of_sliced,
        lambda: check_unused_slots_do_not_matter(build()),
        "unused slots",
    ),
    (one_cache_for_everybody, lambda: check_two_sessions(build()), "sessions"),
    (crop_does_nothing, lambda: check_crop_and_reset(build()), "crop"),
    (crop_keeps_one_too_many, lambda: check_crop_and_reset(build()), "crop"),
    (reset_does_nothing, lambda: check_crop_and_reset(build()), "reset"),
    (full_cache_overwrites_the_last_slot, lambda: check_a_full_cache_refuses(build()), "in silence"),
    # LA3
    (scores_not_scaled, lambda: check_backend_is_the_definition("manual"), "scale"),
    (scaled_by_the_dimension_not_its_root, lambda: check_backend_is_the_definition("manual"), "scale"),
    (softmax_over_the_queries, lambda: check_backend_is_the_definition("manual"), "axis"),
    (mask_aligned_top_left, lambda: check_bottom_right("manual"), "bottom-right"),
    (mask_aligned_top_left, check_causal_mask_table, "causal_mask"),
    (is_causal_whatever_the_lengths, lambda: check_bottom_right("sdpa"), "bottom-right"),
    (heads_cut_before_q_k_v, lambda: check_equals_torch_multihead("manual"), "heads"),
    # LA7
    (angle_turned_the_other_way, lambda: check_rope_is_a_complex_rotation("half_split"), "sign"),
    (layouts_mixed_up, lambda: check_rope_is_a_complex_rotation("half_split"), "pair"),
    (frequencies_of_half_the_dimension, lambda: check_rope_is_a_complex_rotation("interleaved"), "theta"),
    (only_queries_are_turned, lambda: check_only_distance_matters("half_split"), "place"),
    # LA8
    (padding_ignored, lambda: check_left_padding(build()), "single run"),
    (positions_count_the_padding, lambda: check_left_padding(build()), "single run"),
    (minus_infinity_for_nobody, lambda: check_nobody_to_look_at("manual"), "NaN"),
    (lowest_number_for_nobody, lambda: check_nobody_to_look_at("manual"), "may not see"),
    # LA9
    (
        map_shown_is_not_the_map_used,
        lambda: check_maps_are_what_is_computed(make_attention()),
        "map",
    ),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


def test_the_law_catches_is_causal_passed_for_a_chunk(monkeypatch):
    is_causal_whatever_the_lengths(monkeypatch)
    with pytest.raises(AssertionError, match="top-left"):
        check_is_causal_only_for_squares(monkeypatch)


def test_masking_unused_slots_is_right_as_long_as_they_hold_zeros(monkeypatch):
    """The bug that only NaN shows: without the poisoned slots every cut would pass."""
    unused_slots_masked_instead_of_sliced(monkeypatch)
    check_every_way_to_cut_8(build())


def test_a_cache_is_made_of_plain_numbers_that_the_poison_reaches():
    cache = kv_cache.FullKVCache(1, 2, 3, 1, 4)
    from model_checks import fill_with_nan

    assert fill_with_nan(cache) >= 2 * 2 * 3 * 4
    assert bool(torch.isnan(cache.k).all() and torch.isnan(cache.v).all())
