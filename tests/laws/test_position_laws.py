"""LA7: longer RoPE, ALiBi and sinusoids. (The plain rotation is in test_attention_laws.)"""

from __future__ import annotations

import pytest
import torch
from model_checks import assert_close, build, check_every_way_to_cut_8, check_random_cuts_of_64, some_ids
from position_checks import (
    SCALINGS,
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

from attention_mechanisms import ATTENTIONS, RopeScaling
from attention_mechanisms.positions import ROPE_LAYOUTS
from attention_mechanisms.rope_scaling import ROPE_SCALINGS
from utils.errors import UserError


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("dim", [16, 64, 128])
@pytest.mark.parametrize("name", SCALINGS)
def test_longer_rope_turns_as_fast_as_transformers(name, dim, theta):
    check_scaling_equals_transformers(name, dim, theta)


@pytest.mark.parametrize("layout", ROPE_LAYOUTS)
@pytest.mark.parametrize("name", SCALINGS)
def test_the_tables_hold_the_scaled_angles_and_the_factor(name, layout):
    check_scaled_rotation(name, layout)


@pytest.mark.parametrize(("dim", "factor"), [(128, 4.0), (64, 2.0), (16, 8.0)])
def test_ntk_keeps_the_fastest_pair_and_slows_the_slowest_by_the_factor(dim, factor):
    check_ntk_formula(dim, 10000.0, factor)


def test_published_values_at_the_first_middle_and_last_pair():
    check_published_values()


def test_every_scaling_has_a_reference_here():
    assert {s.kind for s in SCALINGS.values()} | {"none", "ntk"} == set(ROPE_SCALINGS)


def test_a_factor_of_one_changes_nothing():
    from attention_mechanisms import rope_frequencies

    for kind in ROPE_SCALINGS:
        scaling = RopeScaling(kind, 1.0, 2048)
        assert torch.equal(rope_frequencies(64, 10000.0, scaling), rope_frequencies(64, 10000.0)), kind
        assert scaling.attention_factor == 1.0


@pytest.mark.parametrize("kind", [k for k in ROPE_SCALINGS if k != "none"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_cache_stays_right_under_every_scaling(attention, kind):
    fields = {"attention": attention, "position": "rope", "rope_scaling": kind, "rope_factor": 4.0}
    model = build(**fields, rope_original_length=16)
    check_random_cuts_of_64(model, tries=2)
    plain = build(attention=attention, position="rope")
    with torch.no_grad():
        assert not torch.allclose(model(some_ids(1, 30)).logits, plain(some_ids(1, 30)).logits, atol=1e-3)


def test_a_scaling_that_is_wrong_is_named():
    for fields, match in (
        ({"rope_scaling": "dynamic"}, "choose one of none, linear, ntk, yarn, llama3"),
        ({"rope_scaling": "linear", "rope_factor": 0.5}, "rope_factor is 0.5"),
        ({"rope_scaling": "yarn", "rope_original_length": 0}, "rope_original_length is 0"),
    ):
        with pytest.raises(UserError, match=match) as caught:
            build(position="rope", **fields)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="rope_original_length"):
        RopeScaling("llama3", 8.0)


def test_alibi_slopes_are_the_papers_and_blooms():
    check_alibi_slopes()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_alibi_takes_slope_times_distance_from_every_score(name):
    check_alibi_in_attention(name)


def test_alibi_knows_distances_only():
    check_alibi_does_not_depend_on_the_place()


@pytest.mark.parametrize(("width", "length"), [(16, 50), (2, 5), (64, 300)])
def test_sinusoids_are_the_closed_form(width, length):
    check_sinusoids(width, length)


def test_sinusoids_reach_the_model():
    check_sinusoids_reach_the_model()


def test_without_positions_the_order_of_the_past_does_not_matter_and_with_them_it_does():
    ids = some_ids(1, 6)
    swapped = ids[:, [1, 0, 2, 3, 4, 5]]
    with torch.no_grad():
        blind = build(position="none", n_layer=1)
        assert_close(
            blind(ids).logits[:, -1], blind(swapped).logits[:, -1], 1e-5, "no positions: order is unseen"
        )
        for position in ("learned", "sinusoidal", "rope", "alibi"):
            model = build(position=position, n_layer=1)
            moved = (model(ids).logits[:, -1] - model(swapped).logits[:, -1]).abs().max()
            assert moved > 1e-3, f"{position}: the order of the past changes nothing"


def test_interleaved_rope_obeys_the_cache_law_with_every_variant():
    for name in ATTENTIONS:
        check_every_way_to_cut_8(build(attention=name, position="rope", rope_layout="interleaved", n_layer=1))
