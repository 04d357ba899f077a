"""An adapter that came alone becomes a model that any command loads."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from finetuning.adapter_views import open_model
from finetuning.adapters import remember_base, save_adapter
from finetuning.lora import LoRAConfig, apply_lora, lora_parameters, merge_lora
from finetuning.merge_adapter import MergeConfig, main, merge
from finetuning.qlora import quantize_base
from finetuning.templates import template_of
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


def test_another_base_of_the_same_shape_is_refused(base, tmp_path):
    model = adapted(base)
    model.save_pretrained(tmp_path / "checkpoint")
    torch.manual_seed(5)
    GPT(preset("debug", vocab_size=48, block_size=16)).save_pretrained(tmp_path / "other")
    words = {"adapter": str(tmp_path / "checkpoint"), "out": str(tmp_path / "out")}
    with pytest.raises(UserError, match=r"is not the base of .*another sha256"):
        merge(MergeConfig(base=str(tmp_path / "other"), **words))
    with pytest.raises(UserError, match=r"is not the base of .*another sha256"):
        open_model(f"{tmp_path / 'other'}+{tmp_path / 'checkpoint'}")
    assert open_model(f"{base}+{tmp_path / 'checkpoint'}").path == base


def test_an_adapter_over_four_bits_is_not_put_on_the_whole_base(base, tmp_path):
    adapted(base, bits=4).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(UserError, match="trained over a base in four bits: use its own checkpoint"):
        open_model(f"{base}+{tmp_path / 'checkpoint'}")


def test_the_template_stays_with_an_adapter_and_with_a_merge(base, tmp_path):
    """A chat that forgets it asks in words that the model was never tuned on."""
    run = tmp_path / "runs" / "sft" / "one"
    folder = run / "checkpoints" / "step_000001"
    adapted(base).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (run / "run.json").write_text(json.dumps({"config": {"template": "chatml"}}))
    assert template_of(open_model(f"{base}+{folder}").path) == "chatml"
    (folder / "tokenizer.json").unlink()
    merge(MergeConfig(adapter=str(folder), out=str(tmp_path / "out")))
    assert template_of(tmp_path / "out") == "chatml"
    (tmp_path / "out" / "template.json").write_text("[]")
    assert template_of(tmp_path / "out") == "scratchbook", "a damaged note is no template"
