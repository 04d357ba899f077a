"""GPT-2 weights in Hugging Face's layout.

The idea: the same numbers under other names. GPT-2's code stores its linear layers as "Conv1D", a matrix of
shape (in, out), where torch's `Linear` holds (out, in): four weights per block are transposed, and one of
them is square, so no shape check would notice a forgotten transpose. Files come with the keys
`transformer.h.0…` (saved by transformers) or `h.0…` (the originals on the hub), with or without the mask
buffers `attn.bias`.

Radford et al. 2019. Left out on purpose: GPT-2 with cross-attention or with scores scaled by the layer.
"""

from collections.abc import Collection, Mapping
from typing import Any

from gpt_model.config import GPTConfig
from gpt_model.weights_io import Move
from utils.errors import UserError

PREFIX = "transformer."
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
}

# Theirs -> ours, for one block. The second value says whether the weight is a Conv1D, stored (in, out).
BLOCK_KEYS = {
    "ln_1.weight": ("norm_1.weight", False),
    "ln_1.bias": ("norm_1.bias", False),
    "attn.c_attn.weight": ("attn.qkv_proj.weight", True),
    "attn.c_attn.bias": ("attn.qkv_proj.bias", False),
    "attn.c_proj.weight": ("attn.out_proj.weight", True),
    "attn.c_proj.bias": ("attn.out_proj.bias", False),
    "ln_2.weight": ("norm_2.weight", False),
    "ln_2.bias": ("norm_2.bias", False),
    "mlp.c_fc.weight": ("mlp.up_proj.weight", True),
    "mlp.c_fc.bias": ("mlp.up_proj.bias", False),
    "mlp.c_proj.weight": ("mlp.out_proj.weight", True),
    "mlp.c_proj.bias": ("mlp.out_proj.bias", False),
}
TOP_KEYS = {
    "wte.weight": "token_embedding.weight",
    "wpe.weight": "position_embedding.weight",
    "ln_f.weight": "final_norm.weight",
    "ln_f.bias": "final_norm.bias",
}
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")


def config_of(values: Mapping[str, Any]) -> GPTConfig:
    """Our configuration for a GPT-2 config.json; what we would compute differently is a UserError."""
    for key, wanted in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if values.get(key, wanted) != wanted:
            raise UserError(f"{key} is {values[key]} in the GPT-2 config: only {wanted} is supported")
    activation = values.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise UserError(f"activation_function is {activation!r}: supported are {', '.join(ACTIVATIONS)}")
    return GPTConfig(
        vocab_size=values.get("vocab_size", 50257),
        block_size=values.get("n_positions", 1024),
        n_layer=values.get("n_layer", 12),
        n_head=values.get("n_head", 12),
        n_embd=values.get("n_embd", 768),
        mlp=ACTIVATIONS[activation],
        mlp_hidden=values.get("n_inner"),
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        tie_weights=values.get("tie_word_embeddings", True),
    )


def moves_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[Move]:
    """Where each tensor of a GPT-2 file with these names goes; the head is not among them."""
    prefix = PREFIX if any(name.startswith(PREFIX) for name in names) else ""
    moves = [Move(prefix + theirs, ours) for theirs, ours in TOP_KEYS.items()]
    for i in range(config.n_layer):
        for theirs, (ours, conv1d) in BLOCK_KEYS.items():
            moves.append(Move(f"{prefix}h.{i}.{theirs}", f"blocks.{i}.{ours}", transpose=conv1d))
    return moves


def ignored_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[str]:
    """Tensors that are no weights: the triangle of ones that old files carry for every block."""
    return [name for name in names if name.endswith(MASK_BUFFERS)]
