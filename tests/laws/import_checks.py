"""Laws of reading other people's models, as functions that raise: Llama, Mistral, Qwen2, DeepSeek (LG2), llama2.c.

The reference is transformers' own model with random weights; for llama2.c's files, which no library here reads, a
second reader of a few lines (`state_of_llama2c`) and transformers' Llama with Meta's order of rows undone.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_checks import assert_close, some_ids
from torch import Tensor

from gpt_model import GPT

VOCAB = 37
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}
LLAMA = {**SIZES, "num_key_value_heads": 2}
LATENT = {
    **SIZES,
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "q_lora_rank": None,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 2,
}
STRETCHED = {"factor": 4.0, "original_max_position_embeddings": 12, "rope_theta": 500.0}
YARN = {"rope_type": "yarn", **STRETCHED}
# A trained length in which pairs turn often enough for the bounds of the ramp to matter.
YARN_BETAS = {
    **YARN,
    **{"original_max_position_embeddings": 40, "rope_theta": 50.0, "beta_fast": 2.0, "beta_slow": 0.5},
}
LLAMA3 = {"rope_type": "llama3", **STRETCHED, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def rope(**recipe: Any) -> dict[str, Any]:
    return {"rope_parameters": recipe}


# Every option of every family that changes what is computed: (class, fields).
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-one-key-head": ("Llama", {"num_key_value_heads": 1}),
    "llama-all-key-heads": ("Llama", {"num_key_value_heads": 4}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True}),
    "llama-attention-bias": ("Llama", {"attention_bias": True}),
    "llama-mlp-bias": ("Llama", {"mlp_bias": True}),
    "llama-head-dim-said": ("Llama", {"head_dim": 8}),
    "llama-eps": ("Llama", {"rms_norm_eps": 1e-3}),
    "llama-geglu": ("Llama", {"hidden_act": "gelu"}),
    "llama-theta": ("Llama", rope(rope_type="default", rope_theta=500000.0)),
    "llama-linear": ("Llama", rope(rope_type="linear", factor=3.0, rope_theta=500.0)),
    "llama3": ("Llama", rope(**LLAMA3)),
    "llama3-thresholds": ("Llama", rope(**{**LLAMA3, "low_freq_factor": 0.5, "high_freq_factor": 2.0})),
    "llama-yarn": ("Llama", rope(**YARN)),
    "llama-yarn-all": ("Llama", rope(**YARN_BETAS, attention_factor=1.3)),
    "llama-yarn-mscale": ("Llama", rope(**YARN, mscale=1.2, mscale_all_dim=0.5)),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "mistral-all-key-heads": ("Mistral", {"sliding_window": 7, "num_key_value_heads": 4}),
    "mistral-without-window": ("Mistral", {"sliding_window": None}),
    "mistral-wide-window": ("Mistral", {"sliding_window": 4096}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}),
    "qwen2-schedule": (
        "Qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "deepseek-v2": ("DeepseekV2", {}),
    "deepseek-v2-all": ("DeepseekV2", {"q_lora_rank": 16, "attention_bias": True, "mlp_bias": True}),
    "deepseek-v2-yarn": ("DeepseekV2", rope(**YARN, mscale=1.0, mscale_all_dim=1.0)),
    "deepseek-v3": ("DeepseekV3", {}),
    "deepseek-v3-latent-queries": ("DeepseekV3", {"q_lora_rank": 16}),
    "deepseek-v3-bias": ("DeepseekV3", {"q_lora_rank": 16, "attention_bias": True}),
    "deepseek-v3-half-split": ("DeepseekV3", {"rope_interleave": False}),
    "deepseek-v3-tied": ("DeepseekV3", {"tie_word_embeddings": True}),
    "deepseek-v3-yarn": ("DeepseekV3", rope(**YARN)),
    "deepseek-v3-yarn-mscale": ("DeepseekV3", rope(**YARN, mscale=1.0, mscale_all_dim=0.7)),
}


@torch.no_grad()
def tiny_reference(case: str, seed: int = 0) -> Any:
    """A random model of transformers in which every option of its case shows in the logits.

    Embeddings are small, so that the epsilon of the first norm counts; matrices are large enough that attention
    really chooses, and not so large that float32 itself errs by 1e-5.
    """
    import transformers

    kind, fields = CASES[case]
    sizes = LATENT if kind.startswith("Deepseek") else LLAMA
    config = getattr(transformers, kind + "Config")(**{**sizes, **json.loads(json.dumps(fields))})
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 2:
            parameter.copy_(0.25 * noise)
        else:
            parameter.copy_(0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise)
    model.get_input_embeddings().weight.mul_(0.05)
    if not config.tie_word_embeddings:
        model.lm_head.weight.mul_(0.5)
    return model


@torch.no_grad()
def check_import_parity(reference: Any, folder: Path, *, batch: int = 2, length: int = 40) -> None:
    """Our import of the folder that ``reference`` was saved in gives the reference's logits to 1e-5.

    At once, and token by token over a cache.
    """
    ours = GPT.from_pretrained(folder)
    ids = some_ids(batch, length, vocab=reference.config.vocab_size, seed=3)
    expected = reference(ids).logits
    hint = (
        f"imported {reference.config.model_type} weights give other logits than transformers. Check: which "
        "coordinates RoPE pairs, the norm's epsilon, that a key head serves neighbouring query heads, the order of "
        "rows [q; k; v] and [gate; up], whether the head is tied, and that a window counts the token itself"
    )
    assert_close(ours(ids).logits, expected, 1e-5, hint)
    cache = ours.new_cache(batch, length)
    parts = [ours(ids[:, a:b], cache=cache).logits for a, b in ((0, 11), (11, 12), (12, 30), (30, length))]
    assert_close(torch.cat(parts, dim=1), expected, 1e-5, "with a cache, " + hint)


def count(model: Any) -> int:
    """Parameters of a model of transformers, a tied head counted once."""
    return sum(p.numel() for p in model.parameters())


# llama2.c ---------------------------------------------------------------------------------------------


def write_llama2c(path: Path, state: dict[str, Tensor], sizes: tuple[int, ...]) -> Path:
    """A file of llama2.c from tensors under Meta's names; ``sizes`` is the header, vocab_size negative if untied."""
    dim, _, layers, heads, _, vocab, length = sizes
    order = ["tok_embeddings"]
    kinds = ("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo")
    for kind in (*kinds, "ffn_norm", "ffn.w1", "ffn.w2", "ffn.w3"):
        order += [f"layers.{i}.{kind}" for i in range(layers)]
    order.append("norm")
    with open(path, "wb") as file:
        file.write(struct.pack("<7i", *sizes))
        for name in order:
            file.write(state[name].numpy().astype("<f4").tobytes())
        file.write(np.zeros(length * dim // heads, dtype="<f4").tobytes())  # cosines and sines, never read
        if vocab < 0:
            file.write(state["output"].numpy().astype("<f4").tobytes())
    return path


@torch.no_grad()
def llama2c_pair(path: Path, *, tied: bool, kv_heads: int = 2) -> Any:
    """Write a random llama2.c file; returns transformers' Llama with the same numbers.

    Meta's rows pair neighbours, Hugging Face's pair halves: row 2i of a head there is row i here, 2i + 1 is i + D/2.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    fields = {**LLAMA, "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied}
    model = LlamaForCausalLM(LlamaConfig(**fields)).eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(0.25 * noise if parameter.dim() == 2 else 1 + 0.2 * noise)
    model.model.embed_tokens.weight.mul_(0.05)
    theirs = model.state_dict()

    def neighbours(rows: Tensor) -> Tensor:
        """Rows of every head from halves to neighbours."""
        width = model.config.head_dim
        heads = rows.view(-1, 2, width // 2, rows.size(-1))  # (H, half, pair, in)
        return heads.transpose(1, 2).reshape(rows.shape)

    state = {"tok_embeddings": theirs["model.embed_tokens.weight"], "norm": theirs["model.norm.weight"]}
    state["output"] = theirs["lm_head.weight"]
    names = {
        "attention_norm": "input_layernorm",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn.w1": "mlp.gate_proj",
        "ffn.w2": "mlp.down_proj",
        "ffn.w3": "mlp.up_proj",
    }
    for i in range(model.config.num_hidden_layers):
        block = f"model.layers.{i}."
        for meta, name in names.items():
            state[f"layers.{i}.{meta}"] = theirs[f"{block}{name}.weight"]
        for meta in ("q", "k"):
            rows = theirs[f"{block}self_attn.{meta}_proj.weight"]
            state[f"layers.{i}.attention.w{meta}"] = neighbours(rows)
    c = model.config
    sizes = (c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, kv_heads)
    write_llama2c(path, state, (*sizes, VOCAB if tied else -VOCAB, c.max_position_embeddings))
    return model


@torch.no_grad()
def check_llama2c_parity(reference: Any, path: Path) -> None:
    """The file gives the logits of the Llama it was written from."""
    ours = GPT.from_pretrained(path)
    ids = some_ids(2, 40, vocab=VOCAB, seed=3)
    assert_close(ours(ids).logits, reference(ids).logits, 1e-5, (
        "a llama2.c file gives other logits than the model it was written from. Check: rotary positions pair "
        "neighbours here, w1 is the gate and w3 goes up, epsilon is 1e-5, a negative vocab_size means an own head"
    ))  # fmt: skip
