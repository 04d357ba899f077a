"""The table of costs against what is really there: parameters, torch's FLOP counter, allocated bytes."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from attention_mechanisms import ATTENTIONS
from gpt_model import GPT, parameter_breakdown, preset
from gpt_model.costs import cache_bytes, forward_flops, main
from utils.errors import UserError


@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl", "storyteller", "debug"])
def test_the_parts_add_up_to_the_model(name):
    config = preset(name)
    with torch.device("meta"):
        model = GPT(config)
    assert sum(parameter_breakdown(config).values()) == model.num_parameters()


def test_the_parts_of_gpt2_by_hand():
    assert parameter_breakdown(preset("gpt2")) == {
        "token embedding": 50257 * 768,
        "position embedding": 1024 * 768,
        "attention": 12 * (768 * 3 * 768 + 3 * 768 + 768 * 768 + 768),
        "feed-forward": 12 * (2 * 768 * 3072 + 3072 + 768),
        "norms": 25 * 2 * 768,
        "output head": 0,
    }
    untied = parameter_breakdown(preset("gpt2", tie_weights=False))
    assert untied["output head"] == 50257 * 768


@pytest.mark.parametrize("name", ["storyteller", "debug"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", list(ATTENTIONS))
def test_flops_equal_torchs_counter(name, tied, attention):
    config = preset(name, attn_backend="manual", tie_weights=tied, n_layer=2, attention=attention)
    model = GPT(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(3, 17, dtype=torch.long))
    assert forward_flops(config, 3, 17) == counter.get_total_flops()


def test_cache_bytes_equal_a_real_cache():
    for dtype in (torch.float32, torch.bfloat16):
        real = GPT(preset("debug")).new_cache(3, 20, dtype)
        assert cache_bytes(preset("debug"), 3, 20, dtype) == sum(t.nbytes for t in real.tensors())


def test_the_command_prints_the_published_total(capsys):
    assert main(["gpt2"]) == 0
    assert "124,439,808" in capsys.readouterr().out
    assert main(["debug", "n_layer=3", "mlp=gelu", "bias=false"]) == 0
    with pytest.raises(UserError, match="no key=value"):
        main(["debug", "n_layer"])
