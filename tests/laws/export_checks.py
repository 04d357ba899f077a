"""Laws of exporting (LG3), as functions that raise: what others read computes what our model computes.

The reference is the other program: transformers loads the folder, torch or ONNX Runtime runs the graph. The mutation
tests call the same functions on exports with a classic bug put back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from model_checks import assert_close, make_loud, some_ids
from safetensors.torch import load_file

from gpt_model import GPT, GPTConfig, Sampling, generate
from gpt_model.export_huggingface import write_huggingface
from gpt_model.export_int8 import SCALE, matrices, read_int8, write_int8
from gpt_model.export_step import load_step, write_step
from gpt_model.export_tokenizer import write_tokenizer

LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
LATENT = {**LLAMA, "attention": "mla", "kv_latent_dim": 12, "rope_dim": 6}

# One row for each thing that a layout can get wrong.
EXPORTED: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt2-untied": {"tie_weights": False},
    "gpt2-erf": {"mlp": "gelu", "mlp_hidden": 40},
    "gpt2-relu": {"mlp": "relu"},
    "gpt2-relu2": {"mlp": "relu2"},
    "gpt2-no-biases": {"bias": False},
    "gpt2-some-biases": {"bias": True, "qkv_bias": False},
    "gpt2-sinusoidal": {"position": "sinusoidal"},
    "gpt2-no-positions": {"position": "none"},
    "llama": LLAMA,
    "llama-untied": {**LLAMA, "tie_weights": False},
    "llama-gqa": {**LLAMA, "attention": "gqa", "n_kv_head": 2, "rope_theta": 500.0},
    "llama-interleaved": {**LLAMA, "attention": "gqa", "n_kv_head": 2, "rope_layout": "interleaved"},
    "llama-biases": {**LLAMA, "bias": True, "rope_layout": "interleaved"},
    "llama-qkv-biases": {**LLAMA, "qkv_bias": True},
    "llama-geglu": {**LLAMA, "mlp": "geglu"},
    **{
        f"llama-{kind}": {**LLAMA, "rope_scaling": kind, "rope_factor": 3.0, "rope_original_length": 8}
        for kind in ("linear", "ntk", "yarn", "llama3")
    },
    "mistral": {**LLAMA, "attention": "swa", "window": 5, "n_kv_head": 2},
    "mistral-interleaved": {**LLAMA, "attention": "swa", "window": 7, "rope_layout": "interleaved"},
    "deepseek": LATENT,
    "deepseek-queries": {**LATENT, "q_latent_dim": 10, "tie_weights": False},
    "deepseek-interleaved": {**LATENT, "rope_layout": "interleaved"},
    "deepseek-attention-biases": {**LATENT, "bias": True, "mlp_bias": False, "q_latent_dim": 10},
}


@torch.no_grad()
def exportable(name: str, seed: int = 0) -> GPT:
    """A tiny model of that row whose activation, epsilon, window and layout all show in its logits.

    The embeddings are small, so that the epsilon of the first norm counts.
    """
    settings: dict[str, Any] = {
        "vocab_size": 31, "block_size": 24, "n_layer": 2, "n_head": 4, "n_embd": 32, "norm_eps": 1e-4,
    }  # fmt: skip
    model = GPT(GPTConfig(**{**settings, **EXPORTED[name]})).eval()
    make_loud(model, seed)
    model.token_embedding.weight.mul_(0.1)
    if model.head is not None:
        model.head.weight.mul_(0.1)
    return model


@torch.no_grad()
def check_transformers_agree(model: GPT, folder: Path) -> Any:
    """`AutoModelForCausalLM` reads the folder, every key accounted for, and gives our logits to 1e-5."""
    from transformers import AutoModelForCausalLM

    write_huggingface(model, folder)
    theirs, found = AutoModelForCausalLM.from_pretrained(str(folder), output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not found[kind], (
            f"transformers reports {kind}: {found[kind]}; names or the tied head are wrong"
        )
    assert theirs.config.tie_word_embeddings == (model.head is None), (
        "config.json says that the head is tied where it is not, or the other way round: some programs believe it"
    )
    ids = some_ids(2, model.config.block_size, vocab=model.config.vocab_size)
    assert_close(theirs.eval()(ids).logits, model(ids).logits, 1e-5, (
        "transformers computes other logits from the exported folder. Check: GPT-2's four matrices of a block are "
        "turned (the square c_proj fits either way!), an untied head is said to be untied, gate comes before up, "
        "rotary pairs lie half a head apart, and epsilon, theta, window and activation are written"
    ))  # fmt: skip
    return theirs


@torch.no_grad()
def check_comes_home(model: GPT, folder: Path) -> None:
    """Our own import reads the export: equal logits, and equal weights where the configuration can say the same."""
    write_huggingface(model, folder)
    home = GPT.from_pretrained(str(folder)).eval()
    ids = some_ids(2, model.config.block_size, vocab=model.config.vocab_size)
    assert_close(home(ids).logits, model(ids).logits, 1e-5, "exported and read back, the model is another")
    own, back = model.state_dict(), home.state_dict()
    if own.keys() == back.keys() and home.config.rope_layout == model.config.rope_layout:
        for name, tensor in own.items():
            assert torch.equal(back[name], tensor), f"{name} is not bit for bit what was exported"


def check_tokenizer_agrees(tokenizer: Any, folder: Path, vocab_size: int) -> None:
    """`AutoTokenizer` gives our ids for awkward texts and special tokens, and knows what ends a text."""
    from transformers import AutoTokenizer, GenerationConfig

    folder.mkdir(exist_ok=True)
    write_tokenizer(tokenizer, folder, GPTConfig(vocab_size=vocab_size))
    theirs = AutoTokenizer.from_pretrained(str(folder))
    special = list(tokenizer.special_tokens)
    texts = [
        "Once upon a time",
        "naïve 12345 \n\n  x\t",
        "e\u0301 👩‍💻 東京都",
        "".join(special),
        f"a{special[0]} b",
    ]
    for text in texts:
        ids = tokenizer.encode(text, allowed_special="all")
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids, f"other ids for {text!r}"
        assert theirs.decode(ids) == tokenizer.decode(ids), f"other text for the ids of {text!r}"
    end = next((w for w in ("<|endoftext|>", "<|eos|>") if w in special), None)
    settings = GenerationConfig.from_pretrained(str(folder))
    wanted = tokenizer.special_tokens[end]
    assert settings.eos_token_id == wanted, f"a text would end at {settings.eos_token_id}, not at {wanted}"
    padded = list(range(tokenizer.vocab_size, vocab_size)) or None
    assert settings.suppress_tokens == padded, "ids that stand for nothing could be drawn"


@torch.no_grad()
def check_step_agrees(model: GPT, folder: Path, to: str, batch: int = 2) -> None:
    """The exported step, fed token by token until it is full, gives the logits of one whole forward pass."""
    write_step(model, folder, to, batch=batch)
    runner = load_step(folder)
    ids = some_ids(batch, model.config.block_size, vocab=model.config.vocab_size)
    for attempt in ("first", "second"):  # `reset` forgets everything
        runner.reset()
        stepped = torch.stack([runner.step(ids[:, t : t + 1]) for t in range(ids.size(1))], dim=1)
        assert_close(stepped, model(ids).logits, 1e-5, (
            f"{attempt} run of the exported step ({to}): the cache that comes out must hold the new token behind the "
            "old ones, and the mask must count it"
        ))  # fmt: skip


@torch.no_grad()
def check_int8_is_rounding(model: GPT, folder: Path) -> None:
    """Every matrix in the file is int8, off by half a step of its row at most; all else is bit for bit the same."""
    file = load_file(str(write_int8(model, folder)))
    back = read_int8(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "scratchbook-gpt-int8"
    for name, tensor in model.state_dict().items():
        if name not in matrices(model):
            assert torch.equal(back.state_dict()[name], tensor), f"{name} is no matrix and was changed"
            continue
        assert file[name].dtype == torch.int8 and file[name + SCALE].shape == (tensor.size(0),)
        step = tensor.double().abs().amax(dim=1, keepdim=True) / 127
        error = ((back.state_dict()[name].double() - tensor.double()).abs() / step).max().item()
        assert error <= 0.5 + 1e-4, (
            f"{name} is off by {error:.2f} steps of its row, rounding by 0.5: one scale a row (an output), and 127 "
            "steps to its largest number, because int8 has no +128"
        )


def greedy(model: GPT, prompt: list[int], count: int) -> list[int]:
    """The likeliest continuation, by our engine."""
    return generate(model, [prompt], max_new_tokens=count, sampling=Sampling(temperature=0.0))[0]
