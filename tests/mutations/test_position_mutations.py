"""Classic bugs of longer RoPE, ALiBi and sinusoids, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with. Every
check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import position_checks
import pytest
import torch
from position_checks import (
    check_alibi_does_not_depend_on_the_place,
    check_alibi_in_attention,
    check_alibi_slopes,
    check_ntk_formula,
    check_published_values,
    check_scaled_rotation,
    check_scaling_equals_transformers,
    check_sinusoids,
    check_sinusoids_reach_the_model,
)

from attention_mechanisms import multi_head, positions, rope_scaling
from attention_mechanisms.positions import SinusoidalPositions
from attention_mechanisms.rope_scaling import RopeScaling

Patch = pytest.MonkeyPatch


def speeds(patch: Patch, changed: Callable[..., Any]) -> None:
    """Put other frequencies where the module and the checks look them up."""
    real = rope_scaling.rope_frequencies
    for module in (positions, position_checks):
        patch.setattr(
            module, "rope_frequencies", lambda dim, theta, scaling=None: changed(real, dim, theta, scaling)
        )


# Scalings -------------------------------------------------------------------------------------------


def linear_multiplies(patch: Patch) -> None:
    def changed(real: Any, dim: int, theta: float, scaling: Any) -> Any:
        if scaling is None or scaling.kind != "linear":
            return real(dim, theta, scaling)
        return real(dim, theta) * scaling.factor

    speeds(patch, changed)


def ntk_without_its_exponent(patch: Patch) -> None:
    def changed(real: Any, dim: int, theta: float, scaling: Any) -> Any:
        if scaling is None or scaling.kind != "ntk":
            return real(dim, theta, scaling)
        return real(dim, theta * scaling.factor)

    speeds(patch, changed)


def yarn_ramp_the_other_way(patch: Patch) -> None:
    real = rope_scaling._yarn

    def turned(frequencies: Any, dim: int, theta: float, scaling: Any) -> Any:
        kept = (real(frequencies, dim, theta, scaling) / frequencies - 1 / scaling.factor) / (
            1 - 1 / scaling.factor
        )
        return frequencies * ((1 - kept) + kept / scaling.factor)

    patch.setattr(rope_scaling, "_yarn", turned)


def yarn_without_sharper_scores(patch: Patch) -> None:
    patch.setattr(RopeScaling, "attention_factor", property(lambda self: 1.0))


def yarn_sharper_twice(patch: Patch) -> None:
    real = RopeScaling.attention_factor.fget  # type: ignore[attr-defined]
    patch.setattr(RopeScaling, "attention_factor", property(lambda self: real(self) ** 2))


def yarn_betas_swapped(patch: Patch) -> None:
    real = rope_scaling._yarn
    patch.setattr(
        rope_scaling,
        "_yarn",
        lambda f, d, t, s: real(f, d, t, replace(s, beta_fast=s.beta_slow, beta_slow=s.beta_fast)),
    )


def llama3_thresholds_swapped(patch: Patch) -> None:
    real = rope_scaling._llama3
    swapped = lambda s: replace(s, low_freq_factor=s.high_freq_factor, high_freq_factor=s.low_freq_factor)  # noqa: E731
    patch.setattr(rope_scaling, "_llama3", lambda f, s: real(f, swapped(s)))


def llama3_without_the_ramp(patch: Patch) -> None:
    def hard(frequencies: Any, scaling: Any) -> Any:
        waves = 2 * math.pi / frequencies
        limit = scaling.original_length / scaling.low_freq_factor
        return torch.where(waves > limit, frequencies / scaling.factor, frequencies)

    patch.setattr(rope_scaling, "_llama3", hard)


# ALiBi ----------------------------------------------------------------------------------------------


def alibi_with_the_other_sign(patch: Patch) -> None:
    real = positions.alibi_bias
    patch.setattr(multi_head, "alibi_bias", lambda slopes, q, k: -real(slopes, q, k))


def alibi_distance_from_the_first_query(patch: Patch) -> None:
    """Positions of the chunk, not of the text: on a warm cache every query stands too early."""
    real = positions.alibi_bias
    patch.setattr(multi_head, "alibi_bias", lambda slopes, q, k: real(slopes, q - q[0], k))


def slopes_of_any_number_as_of_a_power(patch: Patch) -> None:
    patch.setattr(
        positions, "alibi_slopes", lambda n: torch.tensor([2 ** (-8 * (i + 1) / n) for i in range(n)])
    )


def slopes_from_one(patch: Patch) -> None:
    real = positions.alibi_slopes
    for module in (positions, multi_head):
        patch.setattr(module, "alibi_slopes", lambda n: real(n) / real(n)[0])


def slopes_reversed(patch: Patch) -> None:
    real = positions.alibi_slopes
    for module in (positions, multi_head):
        patch.setattr(module, "alibi_slopes", lambda n: real(n).flip(0))


# Sinusoids ------------------------------------------------------------------------------------------


def halves_instead_of_pairs(patch: Patch) -> None:
    def waves(self: Any) -> Any:
        angles = positions.rope_angles(self.n_embd, self.block_size)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    patch.setattr(SinusoidalPositions, "_waves", waves)


def cosine_first(patch: Patch) -> None:
    real = SinusoidalPositions._waves

    def waves(self: Any) -> Any:
        return real(self).unflatten(1, (-1, 2)).flip(-1).flatten(1)

    patch.setattr(SinusoidalPositions, "_waves", waves)


def counted_from_one(patch: Patch) -> None:
    real = SinusoidalPositions._waves

    def waves(self: Any) -> Any:
        return torch.cat((real(self)[1:], real(self)[:1]))

    patch.setattr(SinusoidalPositions, "_waves", waves)


Row = tuple[Callable[[Patch], None], Callable[[], None], str]
ROWS: list[Row] = [
    (linear_multiplies, lambda: check_scaling_equals_transformers("linear"), "transformers"),
    (linear_multiplies, lambda: check_scaled_rotation("linear", "half_split"), "position"),
    (ntk_without_its_exponent, check_ntk_formula, "slowest"),
    (yarn_ramp_the_other_way, lambda: check_scaling_equals_transformers("yarn"), "pair 0"),
    (yarn_ramp_the_other_way, check_published_values, "keep their speed"),
    (yarn_without_sharper_scores, lambda: check_scaling_equals_transformers("yarn"), "multiplied"),
    (yarn_without_sharper_scores, lambda: check_scaled_rotation("yarn", "interleaved"), "position"),
    (yarn_sharper_twice, lambda: check_scaling_equals_transformers("yarn-deepseek"), "multiplied"),
    (yarn_betas_swapped, lambda: check_scaling_equals_transformers("yarn"), "transformers"),
    (llama3_thresholds_swapped, lambda: check_scaling_equals_transformers("llama3"), "transformers"),
    (llama3_without_the_ramp, lambda: check_scaling_equals_transformers("llama3"), "speeds"),
    (alibi_with_the_other_sign, check_alibi_in_attention, "sign"),
    (alibi_with_the_other_sign, lambda: check_alibi_in_attention("mla"), "sign"),
    (alibi_distance_from_the_first_query, check_alibi_does_not_depend_on_the_place, "distance"),
    (slopes_of_any_number_as_of_a_power, check_alibi_slopes, "twice that power"),
    (slopes_from_one, check_alibi_slopes, "slopes of"),
    (slopes_from_one, check_alibi_in_attention, "distance"),
    (slopes_reversed, check_alibi_in_attention, "distance"),
    (halves_instead_of_pairs, check_sinusoids, "sine first"),
    (cosine_first, check_sinusoids, "sine first"),
    (counted_from_one, check_sinusoids, "position 0"),
    (counted_from_one, check_sinusoids_reach_the_model, "its wave"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()
