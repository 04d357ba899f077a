"""GPTConfig: every error names field, value, limit and fix; presets and plain values."""

from __future__ import annotations

import json

import pytest

from gpt_model import GPT, PRESETS, GPTConfig, preset
from utils.errors import UserError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0: it must be a whole number of at least 1"),
        ({"n_layer": 2.0}, "n_layer is 2.0"),
        ({"block_size": True}, "block_size is True"),
        ({"n_embd": 30, "n_head": 4}, "n_embd is 30, which 4 heads"),
        ({"n_embd": 12, "n_head": 4, "position": "rope"}, "head_dim .* is 3 .* make it even"),
        ({"attention": "mega"}, "attention is 'mega': choose one of mha"),
        ({"n_kv_head": 2}, "n_kv_head is 2 but attention mha"),
        ({"position": "sine"}, "position is 'sine': choose one of learned, rope, sinusoidal, alibi, none"),
        ({"mlp": "tanh"}, "mlp is 'tanh'"),
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"attn_backend": "fast"}, "attn_backend is 'fast'"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0.0 and below 1.0"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0"),
        ({"rope_theta": float("inf")}, "rope_theta is inf"),
    ],
)
def test_a_wrong_field_is_named_with_its_limit(fields, message):
    with pytest.raises(UserError, match=message) as caught:
        GPTConfig(**{"vocab_size": 10, **fields})
    assert "\n" not in str(caught.value)


def test_plain_values_survive_json():
    config = preset("storyteller", dropout=0.1)
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_missing_and_mistyped_values_are_one_line():
    for values, message in (
        ({"vocab_size": 8, "layers": 2}, "unknown model setting layers: valid ones are vocab_size"),
        ({"n_layer": 2}, "no vocab_size"),
        ({"vocab_size": 8, "dropout": "much"}, "wrong type"),
    ):
        with pytest.raises(UserError, match=message):
            GPTConfig.from_dict(values)
    with pytest.raises(UserError, match=r"unknown preset 'gpt3': did you mean 'gpt2'\? choose one of gpt2"):
        preset("gpt3")


def test_the_small_presets_build_and_the_storyteller_has_between_one_and_two_million_parameters():
    for name in ("debug", "tiny", "storyteller"):
        assert GPT(preset(name)).num_parameters() < 2.5e6
    assert {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"} < set(PRESETS)
    assert 1e6 < GPT(preset("storyteller")).num_parameters() < 2e6


@pytest.mark.parametrize(
    ("fields", "width"),
    [({"mlp": "gelu"}, 768), ({"mlp": "swiglu"}, 512), ({"mlp_ratio": 2.5}, 480), ({"mlp_hidden": 7}, 7)],
)
def test_hidden_width(fields, width):
    assert GPTConfig(vocab_size=8, n_embd=192, **fields).hidden_width == width
