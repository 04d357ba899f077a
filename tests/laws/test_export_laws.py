"""LG3: what is exported computes the same elsewhere: in transformers, torch.export, ONNX Runtime, and rounded."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from export_checks import (
    EXPORTED,
    LATENT,
    LLAMA,
    check_comes_home,
    check_int8_is_rounding,
    check_step_agrees,
    check_tokenizer_agrees,
    check_transformers_agree,
    exportable,
    greedy,
)
from model_checks import build, some_ids

from gpt_model import GPT, GPTConfig, load_model
from gpt_model.config import CHOICES
from gpt_model.export import export
from gpt_model.export_int8 import read_int8, write_int8
from gpt_model.export_step import load_step, write_step
from gpt_model.quantization import quantize
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.fast_bpe import train_bpe
from working_with_text_data.huggingface_adapter import HuggingFaceTokenizer, to_huggingface

NAMES = {"gpt2": "GPT2", "llama": "Llama", "mistral": "Mistral", "deepseek": "DeepseekV3"}
SPECIAL = ("<|endoftext|>", "<|user|>")


@pytest.mark.parametrize("name", EXPORTED)
def test_transformers_compute_the_logits_of_what_was_exported(name, tmp_path):
    theirs = check_transformers_agree(exportable(name), tmp_path)
    assert type(theirs).__name__ == f"{NAMES[name.partition('-')[0]]}ForCausalLM".replace(
        "GPT2ForCausalLM", "GPT2LMHeadModel"
    )


@pytest.mark.parametrize("name", EXPORTED)
def test_what_was_exported_comes_home(name, tmp_path):
    check_comes_home(exportable(name, seed=1), tmp_path)


def test_the_books_own_model_tells_the_same_story_in_transformers(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = load_model("assets")
    export(loaded, "hf", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"))
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert type(model).__name__ == "LlamaForCausalLM"
    prompt = "<|endoftext|>Once upon a time"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert ids[0].tolist() == loaded.tokenizer.encode(prompt, allowed_special="all")
    new = model.generate(ids, do_sample=False, max_new_tokens=80)[0, ids.size(1) :].tolist()
    end = loaded.tokenizer.special_tokens["<|endoftext|>"]
    ours = greedy(loaded.model, ids[0].tolist(), 80)
    ours = ours[: ours.index(end) + 1] if end in ours else ours  # theirs ends there by its generation config
    assert new == ours and tokenizer.decode(new) == loaded.tokenizer.decode(ours)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "huggingface"])
def test_transformers_read_text_as_our_tokenizer_does(kind, tmp_path):
    bpe = train_bpe(["Once upon a time there was a fox. " * 4, "12 345"], 290, special_tokens=SPECIAL)
    tokenizer = {
        "bpe": lambda: bpe,
        "bytes": ByteTokenizer,
        "huggingface": lambda: HuggingFaceTokenizer(to_huggingface(bpe)),
    }[kind]()
    check_tokenizer_agrees(tokenizer, tmp_path / "exact", tokenizer.vocab_size)
    check_tokenizer_agrees(tokenizer, tmp_path / "padded", tokenizer.vocab_size + 3)


STEPS = [
    {},
    LLAMA,
    {**LLAMA, "attention": "gqa", "rope_layout": "interleaved"},
    {**LLAMA, "attention": "swa", "window": 5, "n_kv_head": 2},
    {**LATENT, "q_latent_dim": 6},
    {"attention": "mla", "position": "learned"},
    *({"position": position, "norm": "rmsnorm"} for position in ("sinusoidal", "alibi", "none")),
]


@pytest.mark.parametrize("fields", STEPS, ids=str)
def test_the_step_of_torch_export_is_the_model(fields, tmp_path):
    check_step_agrees(build(block_size=12, n_head=4, n_embd=32, **fields), tmp_path, "torch")


@pytest.mark.parametrize("fields", [STEPS[0], STEPS[3], STEPS[4]], ids=str)
def test_the_step_of_onnx_runtime_is_the_model(fields, tmp_path):
    check_step_agrees(build(block_size=12, n_head=4, n_embd=32, **fields), tmp_path, "onnx")


def test_every_attention_and_position_is_stepped():
    attentions = {row.get("attention", "mha") for row in STEPS}
    assert attentions == {"mha", "gqa", "swa", "mla"}
    assert {row.get("position", "learned") for row in STEPS} == set(CHOICES["position"])


def test_the_exported_step_runs_without_this_book(tmp_path):
    model = build(block_size=8)
    write_step(model, tmp_path, "torch")
    ids = some_ids(1, 1)
    code = (
        "import sys, torch; p = torch.export.load('step.pt2').module();"
        "m = torch.zeros(1, 8, dtype=torch.bool); c = [torch.zeros(1, 2, 8, 8)] * 4;"
        f"print(p(torch.tensor({ids.tolist()}), m, *c)[0].argmax().item(), 'gpt_model' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(model(ids).logits[0, -1].argmax().item()), "False"]


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model = build(block_size=8, dropout=0.5, attn_backend="sdpa").train()
    write_step(model, tmp_path, "torch")
    assert model.training and {block.attn.backend for block in model.blocks} == {"sdpa"}


@pytest.mark.parametrize("fields", [{}, {"tie_weights": False}, {**LATENT}], ids=str)
def test_int8_weights_are_off_by_rounding_and_no_more(fields, tmp_path):
    check_int8_is_rounding(build(n_head=4, n_embd=32, **fields), tmp_path)


def test_quantising_what_was_read_back_finds_the_same_codes(tmp_path):
    model = build(n_embd=32, n_head=4, **LLAMA)
    write_int8(model, tmp_path)
    back, direct = quantize(read_int8(tmp_path), "int8"), quantize(model, "int8")
    for name, codes in direct.state_dict().items():
        if name.endswith("codes"):
            assert torch.equal(back.state_dict()[name], codes), name


def test_an_untrained_row_of_zeros_stays_zero_in_int8(tmp_path):
    model = GPT(GPTConfig(vocab_size=5, n_embd=8, n_head=2, n_layer=1)).eval()
    with torch.no_grad():
        model.token_embedding.weight[3] = 0
    write_int8(model, tmp_path)
    assert not read_int8(tmp_path).token_embedding.weight[3].any()


def test_rows_of_a_step_may_begin_at_different_times(tmp_path):
    """A row whose mask is still empty is padding: what went before it changes nothing."""
    model = build(block_size=10, **LLAMA)
    write_step(model, tmp_path, "torch", batch=2)
    runner = load_step(tmp_path)
    ids = some_ids(2, 9)
    for t in range(4):
        runner.step(ids[:, t : t + 1])
    runner.state[0][1] = False  # the second row begins anew
    logits = torch.stack([runner.step(ids[:, t : t + 1]) for t in range(4, 9)], dim=1)
    torch.testing.assert_close(logits[0], model(ids[:1]).logits[0, 4:], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[1], model(ids[1:, 4:]).logits[0], atol=1e-5, rtol=0)
