"""Classic bugs of masks, scores and rotary positions, put back one at a time: a law must catch each.

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
    check_left_padding,
    check_model_gradient_is_causal,
    check_model_is_causal,
)

from attention_mechanisms import attention, multi_head, positions
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
    patch.setattr(multi_head, "attention_weights", lambda q, k, **look: real(k, q, **look))


def norm_over_all_tokens(patch: Patch) -> None:
    def mixed(self: Any, x: Any) -> Any:
        return F.layer_norm(x, x.shape[1:], eps=self.eps) * self.weight + self.bias

    patch.setattr(norms.LayerNorm, "forward", mixed)


# Rotary ---------------------------------------------------------------------------------------------


def angle_turned_the_other_way(patch: Patch) -> None:
    real = positions.rotate_half_split
    patch.setattr(positions, "rotate_half_split", lambda x, cos, sin: real(x, cos, -sin))


def layouts_mixed_up(patch: Patch) -> None:
    patch.setattr(positions, "rotate_half_split", positions.rotate_interleaved)


def frequencies_of_half_the_dimension(patch: Patch) -> None:
    def angles(dim: int, n: int, theta: float, scaling: Any = None) -> Any:
        frequencies = theta ** (-torch.arange(0, dim // 2, dtype=torch.float64) / dim)
        return torch.outer(torch.arange(n, dtype=torch.float64), frequencies)

    patch.setattr(positions, "rope_angles", angles)


def only_queries_are_turned(patch: Patch) -> None:
    real = RotaryPositions.forward
    patch.setattr(RotaryPositions, "forward", lambda self, q, k, *a, **kw: (real(self, q, k, *a, **kw)[0], k))


def manual(**fields: Any) -> GPT:
    return build(attn_backend="manual", **fields)


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
