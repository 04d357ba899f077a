"""A norm sees one token, a feed-forward layer is its formula, dropout has places, a preset takes every attention."""

from __future__ import annotations

import block_checks
import pytest
import torch

from attention_mechanisms import ATTENTIONS
from gpt_model import GPT, GPTConfig, preset, with_attention
from gpt_model.config import CHOICES, PRESETS
from utils.errors import UserError


@pytest.mark.parametrize("kind", CHOICES["norm"])
def test_a_norm_looks_at_one_token_at_a_time(kind):
    block_checks.check_norm_is_per_token(block_checks.norm_of(kind))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CHOICES["norm"])
def test_a_norm_is_its_formula(kind, bias):
    block_checks.check_norm_by_hand(kind, bias=bias)


@pytest.mark.parametrize("groups", [1, 3, 4, 12])
def test_groupnorm_is_its_formula_for_any_number_of_groups(groups):
    block_checks.check_norm_by_hand("groupnorm", groups)


def test_groupnorm_is_torchs_on_single_tokens():
    block_checks.check_groupnorm_is_torchs_on_one_token()


def test_groups_that_do_not_divide_or_have_no_norm_are_named():
    with pytest.raises(UserError, match=r"norm_groups is 5, but n_embd 12 .* choose a divisor of 12"):
        block_checks.tiny(norm="groupnorm", norm_groups=5)
    with pytest.raises(UserError, match="norm_groups is 2 but norm is layernorm"):
        block_checks.tiny(norm_groups=2)


@pytest.mark.parametrize("kind", CHOICES["mlp"])
def test_a_feed_forward_layer_is_its_formula(kind):
    block_checks.check_feed_forward_by_hand(kind)


@pytest.mark.parametrize("place", ["embedding", "attention", "residual"])
def test_dropout_has_three_places(place):
    block_checks.check_dropout_places(place)


@pytest.mark.parametrize("place", ["embedding", "attention", "residual"])
def test_a_dropout_of_everything_is_refused_by_place(place):
    with pytest.raises(UserError, match=f"{place}_dropout is 1.0: it must be at least 0.0 and below 1.0"):
        block_checks.tiny(**{f"{place}_dropout": 1.0})


@pytest.mark.parametrize("attention", list(ATTENTIONS))
@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_takes_every_attention(name, attention):
    block_checks.check_preset_builds(name, attention)


@pytest.mark.parametrize("attention", list(ATTENTIONS))
@pytest.mark.parametrize("name", block_checks.small_presets())
def test_small_presets_learn_with_every_attention(name, attention):
    block_checks.check_preset_runs(name, attention)


def test_the_families_have_their_attention():
    assert preset("mistral-7b").n_kv_head == 8 and preset("mistral-7b").window == 4096
    assert preset("mistral-7b", attention="gqa").n_kv_head == 8  # shared heads stay shared without the window
    assert preset("mistral-7b", attention="mla").window is None
    assert preset("deepseek-lite").kv_latent_dim + preset("deepseek-lite").rope_dim == 576
    assert {"llama-tiny", "mistral-tiny", "deepseek-tiny"} <= set(block_checks.small_presets())
    with pytest.raises(UserError, match="window is 64 but only attention swa has it"):
        preset("gpt2", window=64)


def test_a_configuration_changes_its_attention_and_back():
    plain = preset("llama-tiny", attention="mha")
    for name in ATTENTIONS:
        other = with_attention(plain, name)
        assert other.attention == name and with_attention(other, "mha") == plain
    assert isinstance(GPT(with_attention(preset("debug"), "mla")).blocks[0].attn, ATTENTIONS["mla"])


def test_groupnorm_survives_bf16():
    norm = block_checks.norm_of("groupnorm").bfloat16()
    out = norm(torch.randn(2, 3, block_checks.WIDTH, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16 and bool(torch.isfinite(out).all())


def test_a_shape_from_json_keeps_the_new_fields():
    config = GPTConfig(vocab_size=8, norm="groupnorm", norm_groups=8, mlp="geglu", residual_dropout=0.2)
    assert GPTConfig.from_dict(config.to_dict()) == config
