"""LF6: an adapter starts as the base, is what the paper says and peft computes, and is merged, saved and resumed."""

from __future__ import annotations

import json

import pytest
import torch
from lora_checks import (
    KINDS,
    check_cached_equals_uncached,
    check_change_is_what_the_paper_says,
    check_loads_in_peft_and_back,
    check_merge,
    check_only_the_adapter_learns,
    check_resume_is_exact,
    check_starts_as_the_base,
    check_switching,
    logits,
    model_of,
    shake,
)

from attention_mechanisms import ATTENTIONS
from finetuning.adapters import load_adapter, open_adapted, remember_base, save_adapter
from finetuning.lora import LoRAConfig, apply_lora, merge_lora, set_adapter
from finetuning.trainable import freeze_for
from utils.errors import UserError

SHAPES = {name: {"attention": name, "position": "rope"} for name in ATTENTIONS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_new_adapter_changes_nothing(shape, kind):
    config = KINDS[kind]
    if shape == "mla" and kind == "some":
        config = LoRAConfig(r=2, alpha=3.0, targets=("kv_up_proj", "mlp.out_proj"))
    check_starts_as_the_base(model_of(**SHAPES[shape]), config)


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_the_change_is_scale_times_b_times_a(kind):
    check_change_is_what_the_paper_says(KINDS[kind])


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_merged_equals_unmerged_and_goes_back_to_the_bit(shape, kind):
    check_merge(model_of(**SHAPES[shape], tie_weights=kind == "dora"), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapter_learns_and_is_saved(tmp_path, kind):
    check_only_the_adapter_learns(tmp_path, KINDS[kind])


def test_adapters_are_switched_without_a_trace():
    check_switching(model_of())


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_equals_uncached_with_an_adapter(shape):
    check_cached_equals_uncached(model_of(**SHAPES[shape]), KINDS["lora"])


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_peft_computes_the_same_from_the_same_files(tmp_path, kind):
    check_loads_in_peft_and_back(tmp_path, KINDS[kind])


@pytest.mark.parametrize("engine", [None, "book", "bitsandbytes"], ids=["floats", "nf4", "bitsandbytes"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_run_resumes_to_the_bit(tmp_path, kind, engine):
    config = KINDS[kind]
    check_resume_is_exact(tmp_path, LoRAConfig(config.r, config.alpha, 0.1, dora=config.dora), engine=engine)


def test_what_is_trained_beside_the_adapter_is_resumed_too(tmp_path):
    from lora_checks import RECIPE, trainer_of

    from pretraining.checkpoints import load_checkpoint
    from utils.runs import Run

    model_of().save_pretrained(tmp_path / "base")
    model = apply_lora(model_of(), KINDS["lora"], seed=1)
    remember_base(model, tmp_path / "base")
    model.final_norm.weight.requires_grad_(True)
    with Run.create("sft", {}, root=tmp_path) as run:
        trainer_of(model, RECIPE, run).fit()
        run.finish("complete")
    again = open_adapted(load_checkpoint(run).path).model
    again.final_norm.weight.requires_grad_(True)
    trainer_of(again, RECIPE).resume(load_checkpoint(run))
    assert torch.equal(again.final_norm.weight, model.final_norm.weight)


def test_an_adapter_of_another_model_is_refused_and_the_model_untouched(tmp_path):
    save_adapter(apply_lora(model_of(), KINDS["lora"]), tmp_path)
    for other, why in (
        (model_of(n_embd=32), "has shape"),
        (model_of(attention="mla", position="rope"), "has no blocks.0.attn.qkv_proj"),
    ):
        before, names = logits(other), list(other.state_dict())
        with pytest.raises(UserError, match=f"for another model.*{why}"):
            load_adapter(other, tmp_path)
        assert list(other.state_dict()) == names and torch.equal(logits(other), before)


def test_another_base_under_the_same_path_is_refused(tmp_path):
    model_of().save_pretrained(tmp_path / "base")
    model = apply_lora(model_of(), KINDS["lora"], seed=1)
    remember_base(model, tmp_path / "base")
    model.save_pretrained(tmp_path / "checkpoint")
    open_adapted(tmp_path / "checkpoint")
    model_of(seed=5).save_pretrained(tmp_path / "base")
    with pytest.raises(UserError, match=r"is not the base.*sha256"):
        open_adapted(tmp_path / "checkpoint")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="base=PATH"):
        open_adapted(tmp_path / "checkpoint")
    with pytest.raises(UserError, match=r"no adapter\.json"):
        open_adapted(tmp_path / "moved")


def test_damaged_files_are_one_line_and_the_model_stays(tmp_path):
    save_adapter(apply_lora(model_of(), KINDS["lora"]), tmp_path)
    model = model_of()
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    for key, value, why in (
        ("peft_type", "IA3", "only LORA"),
        ("bias", "all", "bias='all'"),
        ("r", 7, "for another model"),
        ("use_dora", True, "missing"),
        ("r", "many", "damaged"),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, key: value}))
        with pytest.raises(UserError, match=why):
            load_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="damaged"):
        load_adapter(model, tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load_adapter(model, tmp_path / "nowhere")
    assert "base" not in "".join(model.state_dict())


def test_wrong_requests_name_what_there_is():
    model = model_of()
    with pytest.raises(UserError, match=r"did you mean.*qkv_proj"):
        apply_lora(model, LoRAConfig(targets=("qkv_pro",)))
    apply_lora(model, KINDS["lora"])
    with pytest.raises(UserError, match="already"):
        apply_lora(model, KINDS["lora"])
    with pytest.raises(UserError, match="there are default"):
        set_adapter(model, "poet")
    merge_lora(model)
    with pytest.raises(UserError, match="unmerge_lora"):
        set_adapter(model, None)
    for wrong in ({"r": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(UserError, match="lora"):
            LoRAConfig(**wrong)


def test_freezing_takes_exactly_what_it_names():
    model = model_of(tie_weights=False)
    names = [name for name, _ in model.named_parameters()]
    total = sum(p.numel() for p in model.parameters())
    wanted = {
        "all": lambda name: True,
        "head": lambda name: name.startswith("head."),
        "last-1": lambda name: name.startswith(("blocks.1.", "final_norm.", "head.")),
        "last-2": lambda name: name.startswith(("blocks.", "final_norm.", "head.")),
    }
    for tune, learns in wanted.items():
        count, all_of_them = freeze_for(model, tune)
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert set(own) == {name for name in names if learns(name)}
        assert (count, all_of_them) == (sum(p.numel() for p in own.values()), total)
    for wrong, why in (
        ("last-3", "2 blocks"),
        ("last-0", "2 blocks"),
        ("some", "choose"),
        ("lora", "apply_lora"),
    ):
        with pytest.raises(UserError, match=why):
            freeze_for(model, wrong)


def test_what_stands_around_a_gpt_always_learns():
    around = torch.nn.ModuleDict({"gpt": model_of(), "head": torch.nn.Linear(16, 2)})
    count, _ = freeze_for(around, "head")
    assert count == 16 * 2 + 2
    apply_lora(around, LoRAConfig(r=2, targets=("qkv_proj",)))
    own = {name for name, p in around.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} < own and all("lora_" in n for n in own if n.startswith("gpt."))
    shake(around)
