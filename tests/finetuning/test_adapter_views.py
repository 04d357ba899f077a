"""Views: many adapters on one base at the same time, and the base none the wiser."""

from __future__ import annotations

import pytest
import torch

from finetuning.adapter_views import adapter_view, neighbours, open_model
from finetuning.adapters import save_adapter
from finetuning.lora import LoRAConfig, apply_lora, lora_parameters, merge_lora
from gpt_model.config import preset
from gpt_model.gpt import GPT
from utils.errors import UserError

IDS = torch.arange(16)[None]


@pytest.fixture
def folders(tmp_path):
    torch.manual_seed(0)
    GPT(preset("debug", vocab_size=48, block_size=16)).save_pretrained(tmp_path / "base")
    for seed, name in enumerate(("owl", "polite")):
        model = apply_lora(GPT.load(tmp_path / "base"), LoRAConfig(r=2), seed=seed)
        with torch.no_grad():
            for parameter in lora_parameters(model).values():
                parameter.normal_(std=0.1)
        save_adapter(model, tmp_path / "adapters" / name)
    return tmp_path


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def test_views_answer_side_by_side_and_share_the_base(folders):
    base = GPT.load(folders / "base")
    flags = [p.requires_grad for p in base.parameters()]
    before = logits(base)
    owl, polite = (adapter_view(base, folders / "adapters" / name) for name in ("owl", "polite"))
    first = logits(owl)
    assert not torch.equal(first, logits(polite)) and torch.equal(logits(owl), first)
    assert torch.equal(logits(base), before) and type(base) is GPT
    assert [p.requires_grad for p in base.parameters()] == flags
    own = {t.data_ptr() for t in base.state_dict().values()}
    extra = sum(t.numel() for t in owl.state_dict().values() if t.data_ptr() not in own)
    assert extra == sum(p.numel() for p in lora_parameters(owl).values())
    merge_lora(owl)
    assert torch.equal(logits(base), before) and (logits(owl) - first).abs().max() < 1e-5


def test_a_base_and_an_adapter_are_one_name(folders):
    name = f"{folders / 'base'}+{folders / 'adapters' / 'owl'}"
    loaded = open_model(name)
    assert torch.equal(
        logits(loaded.model), logits(adapter_view(GPT.load(folders / "base"), folders / "adapters/owl"))
    )
    assert torch.equal(logits(open_model(folders / "base").model), logits(GPT.load(folders / "base")))
    adapters = folders / "adapters"
    base = str(folders / "base")
    assert neighbours(name) == [base, f"{base}+{adapters / 'owl'}", f"{base}+{adapters / 'polite'}"]
    assert neighbours(base) == []
    with pytest.raises(UserError, match=r"nobody holds no adapter \(adapter_config.json is missing\)"):
        open_model(f"{base}+{adapters / 'nobody'}")


def test_the_chat_offers_the_adapters_beside_the_one_that_was_named(folders):
    from chat_ui.models import Models

    base, adapters = str(folders / "base"), folders / "adapters"
    models = Models(first=f"{base}+{adapters / 'owl'}", root=folders / "runs", assets=folders / "none")
    refs = [choice.ref for choice in models.choices()]
    assert refs[0] == f"{base}+{adapters / 'owl'}" and {base, f"{base}+{adapters / 'polite'}"} <= set(refs)


def test_an_adapter_of_another_model_leaves_the_base_as_it_is(folders):
    torch.manual_seed(1)
    other = GPT(preset("debug", vocab_size=48, block_size=16, n_embd=32))
    before = logits(other)
    with pytest.raises(UserError, match="for another model"):
        adapter_view(other, folders / "adapters" / "owl")
    assert torch.equal(logits(other), before) and all(p.requires_grad for p in other.parameters())
