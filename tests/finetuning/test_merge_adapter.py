"""An adapter that came alone becomes a model that any command loads."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from finetuning.adapters import remember_base, save_adapter
from finetuning.lora import LoRAConfig, apply_lora, lora_parameters, merge_lora
from finetuning.merge_adapter import MergeConfig, main, merge
from finetuning.qlora import quantize_base
from gpt_model.config import preset
from gpt_model.gpt import GPT
from gpt_model.loading import load_model
from utils.errors import UserError

IDS = torch.arange(16)[None]


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    GPT(preset("debug", vocab_size=48, block_size=16)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(base, *, bits=None):
    model = load_model(base).model
    if bits:
        quantize_base(model)
    apply_lora(model, LoRAConfig(r=2), seed=1)
    remember_base(model, base)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.1)
    return model


@pytest.mark.parametrize("into", ["auto", "fp32", "bf16"])
def test_the_merged_model_is_base_and_adapter(base, tmp_path, capsys, into):
    model = adapted(base)
    save_adapter(model, tmp_path / "poet")
    words = [f"base={base}", f"adapter={tmp_path / 'poet'}", f"out={tmp_path / 'out'}", f"into={into}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "4 bits would" in said and f"scratchbook chat --ckpt {tmp_path / 'out'}" in said
    with torch.no_grad():
        wanted, got = model(IDS).logits, load_model(tmp_path / "out").model(IDS).logits
    assert (wanted - got).abs().max() <= (1e-5 if into != "bf16" else 3e-2)
    kind = load_file(tmp_path / "out" / "model.safetensors")["blocks.0.attn.qkv_proj.weight"].dtype
    assert kind == (torch.bfloat16 if into == "bf16" else torch.float32)


def test_over_four_bits_the_sum_is_with_the_rounded_base(base, tmp_path):
    model = adapted(base, bits=4)
    model.save_pretrained(tmp_path / "checkpoint")
    merge(MergeConfig(adapter=str(tmp_path / "checkpoint"), out=str(tmp_path / "out")))
    merge_lora(model)
    with torch.no_grad():
        wanted, got = model(IDS).logits, load_model(tmp_path / "out").model(IDS).logits
    assert torch.equal(wanted, got), (
        "bf16 of (what the codes stand for + the change), in memory and in the file"
    )


def test_wrong_requests_are_one_line(base, tmp_path):
    save_adapter(adapted(base), tmp_path / "poet")
    for settings, why in (
        ({"adapter": str(tmp_path / "poet")}, "say which adapter"),
        ({"adapter": str(tmp_path / "poet"), "out": str(tmp_path / "out")}, "name it with base"),
        ({"adapter": str(tmp_path / "poet"), "out": str(base)}, "holds a model already"),
        ({"adapter": str(tmp_path), "base": str(base), "out": str(tmp_path / "out")}, "does not exist"),
    ):
        with pytest.raises(UserError, match=why):
            merge(MergeConfig(**settings))
    with pytest.raises(UserError, match="rounded once more"):
        MergeConfig(into="nf4")
    assert not (tmp_path / "out").exists()
