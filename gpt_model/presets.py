"""Named shapes: GPT-2 in its four sizes, and the families that came after it, large and small.

The idea: an architecture is a handful of numbers and choices. What a family adds to GPT-2 is written here once
(`_LLAMA`), and each size differs from its relatives by numbers only. `gpt_model.preset` turns a name into a
`GPTConfig`; any attention can be put into any preset (`preset("gpt2", attention="mla")`).

Sources: GPT-2, Radford et al. 2019, table 2. Llama 2 7B: arXiv 2307.09288. Llama 3.2 1B: Meta's model card and
its released configuration. Mistral 7B: arXiv 2310.06825, table 1. DeepSeek-V2-Lite: arXiv 2405.04434, appendix B.
Left out on purpose: mixtures of experts, so the DeepSeek shapes have that model's attention and a dense
feed-forward layer.
Notebook: 02 of this chapter.
"""

from typing import Any

Preset = dict[str, Any]


def _gpt2(n_layer: int, n_head: int, n_embd: int) -> Preset:
    sizes = {"vocab_size": 50257, "block_size": 1024, "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}
    return {**sizes, "dropout": 0.0}


# Touvron et al. 2023 (arXiv 2302.13971, section 2.2): what Llama changed in GPT-2, and others kept.
_LLAMA: Preset = {
    "position": "rope",
    "norm": "rmsnorm",
    "norm_eps": 1e-5,
    "mlp": "swiglu",
    "bias": False,
    "tie_weights": False,
}
# The small members of each family share one size: a few million parameters, the book's vocabulary.
_SMALL: Preset = {**_LLAMA, "vocab_size": 2048, "block_size": 512, "n_layer": 6, "n_head": 8, "n_embd": 256}

PRESETS: dict[str, Preset] = {
    "gpt2": _gpt2(12, 12, 768),  # 124,439,808 parameters
    "gpt2-medium": _gpt2(24, 16, 1024),  # 354,823,168
    "gpt2-large": _gpt2(36, 20, 1280),  # 774,030,080
    "gpt2-xl": _gpt2(48, 25, 1600),  # 1,557,611,200
    "llama-tiny": {**_SMALL, "attention": "gqa", "n_kv_head": 4},
    "llama-1b": {  # Llama 3.2 1B: 1,235,814,400
        **_LLAMA,
        "vocab_size": 128256,
        "block_size": 131072,
        "n_layer": 16,
        "n_head": 32,
        "n_embd": 2048,
        "attention": "gqa",
        "n_kv_head": 8,
        "mlp_hidden": 8192,
        "rope_theta": 500000.0,
        "rope_scaling": "llama3",
        "rope_factor": 32.0,
        "rope_original_length": 8192,
        "tie_weights": True,
    },
    "llama-7b": {  # Llama 2 7B: 6,738,415,616
        **_LLAMA,
        "vocab_size": 32000,
        "block_size": 4096,
        "n_layer": 32,
        "n_head": 32,
        "n_embd": 4096,
        "mlp_hidden": 11008,
    },
    "mistral-tiny": {**_SMALL, "attention": "swa", "n_kv_head": 2, "window": 128},
    "mistral-7b": {  # Mistral 7B v0.1: 7,241,732,096
        **_LLAMA,
        "vocab_size": 32000,
        "block_size": 32768,
        "n_layer": 32,
        "n_head": 32,
        "n_embd": 4096,
        "attention": "swa",
        "n_kv_head": 8,
        "window": 4096,
        "mlp_hidden": 14336,
    },
    "deepseek-tiny": {
        **_SMALL,
        "norm_eps": 1e-6,
        "attention": "mla",
        "kv_latent_dim": 64,
        "rope_dim": 16,
    },
    "deepseek-lite": {  # the attention of DeepSeek-V2-Lite: 512 + 64 numbers a token and layer
        **_LLAMA,
        "norm_eps": 1e-6,
        "vocab_size": 102400,
        "block_size": 32768,
        "n_layer": 27,
        "n_head": 16,
        "n_embd": 2048,
        "attention": "mla",
        "kv_latent_dim": 512,
        "rope_dim": 64,
        "mlp_hidden": 10944,
    },
    # The demo's model: modern parts at a size that two CPU cores train in minutes.
    "storyteller": {
        "vocab_size": 2048,
        "block_size": 256,
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 128,
        "position": "rope",
        "norm": "rmsnorm",
        "mlp": "swiglu",
        "bias": False,
        # Names must stay tellable apart while the model learns that they are names: see finetuning/LOG.md.
        "tie_weights": False,
        "embedding_std": 1.0,
    },
    "tiny": {"vocab_size": 2048, "block_size": 128, "n_layer": 2, "n_head": 4, "n_embd": 64},
    # Small enough for a test to run hundreds of times.
    "debug": {"vocab_size": 64, "block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 16},
}
