"""Llama, Mistral and Qwen2 weights in Hugging Face's layout.

The idea: one family. RMSNorm, rotary positions that pair coordinate i with i + head_dim/2 (Hugging Face has
reordered the rows of Meta's files so), SwiGLU, and key heads that several query heads share. Mistral adds a sliding
window, Qwen2 biases on the way into attention only. Three matrices of theirs are one of ours, rows [q; k; v], and two
are one in the feed-forward layer, rows [gate; up]: swapping two of equal shape loads without complaint.

Llama 2 (arXiv 2307.09288), Llama 3 (arXiv 2407.21783), Mistral (arXiv 2310.06825), Qwen2 (arXiv 2407.10671).
Left out on purpose: heads of another width than hidden_size / num_attention_heads.
"""

from collections.abc import Collection, Mapping
from typing import Any

from gpt_model.config import GPTConfig
from gpt_model.import_rope import rope_fields
from gpt_model.weights_io import Move
from utils.errors import UserError

PREFIX = "model."
BLOCK_KEYS = {
    "input_layernorm.weight": "norm_1.weight",
    "post_attention_layernorm.weight": "norm_2.weight",
    "self_attn.o_proj": "attn.out_proj",
    "mlp.down_proj": "mlp.out_proj",
}
TOP_KEYS = {"embed_tokens.weight": "token_embedding.weight", "norm.weight": "final_norm.weight"}
ROTARY_BUFFER = ".rotary_emb.inv_freq"  # in files of old versions

GATES = {"silu": "swiglu", "gelu": "geglu"}  # what the gate is bent with -> our name of the layer


def config_of(values: Mapping[str, Any]) -> GPTConfig:
    """Our configuration for a Llama, Mistral or Qwen2 config.json; what we would compute differently is a UserError."""
    heads, width = values["num_attention_heads"], values["hidden_size"]
    head_dim = values.get("head_dim") or width // heads
    if head_dim * heads != width:
        raise UserError(
            f"head_dim is {head_dim}, but {heads} heads over hidden_size {width} are {width / heads:g} wide here: "
            "heads of another width are not supported"
        )
    kv_heads = values.get("num_key_value_heads") or heads
    window, global_every = window_schedule(values)
    return GPTConfig(
        **common_fields(values),
        **rope_fields(values),
        n_kv_head=None if kv_heads == heads else kv_heads,
        attention="swa" if window else "mha" if kv_heads == heads else "gqa",
        window=window,
        global_every=global_every,
        **bias_fields(values),
    )


def common_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """What all relatives of Llama have in common."""
    activation = values.get("hidden_act", "silu")
    if activation not in GATES:
        raise UserError(f"hidden_act is {activation!r}: only silu (SwiGLU) and gelu (GEGLU) are supported")
    return {
        "vocab_size": values["vocab_size"],
        "block_size": values["max_position_embeddings"],
        "n_layer": values["num_hidden_layers"],
        "n_head": values["num_attention_heads"],
        "n_embd": values["hidden_size"],
        "norm": "rmsnorm",
        "norm_eps": values.get("rms_norm_eps", 1e-6),
        "mlp": GATES[activation],
        "mlp_hidden": values["intermediate_size"],
        "bias": False,
        "tie_weights": values.get("tie_word_embeddings", False),
    }


def bias_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Which maps have biases; the family's `bias` is False, so only those that have are named."""
    if values["model_type"] == "qwen2":
        return {"qkv_bias": True}
    attention, mlp = values.get("attention_bias", False), values.get("mlp_bias", False)
    return {"qkv_bias": attention or None, "attn_out_bias": attention or None, "mlp_bias": mlp or None}


def window_schedule(values: Mapping[str, Any]) -> tuple[int | None, int]:
    """(window, global_every) of a config.json: (None, 0) when every layer sees everything."""
    window = values.get("sliding_window")
    unused = values["model_type"] == "qwen2" and not values.get("use_sliding_window", False)
    if values["model_type"] == "llama" or unused or window is None:
        return None, 0
    first = values.get("max_window_layers", 28) if values["model_type"] == "qwen2" else 0
    windowed = [layer >= first for layer in range(values["num_hidden_layers"])]
    if values.get("layer_types"):
        windowed = [kind == "sliding_attention" for kind in values["layer_types"]]
    if not any(windowed):
        return None, 0
    for every in range(len(windowed) + 1):
        if every != 1 and windowed == [not every or (i + 1) % every != 0 for i in range(len(windowed))]:
            return window, every
    raise UserError(
        "layer_types mix windowed and global layers in an order that no global_every gives: "
        "every k-th layer may be global, beginning with layer k"
    )


def moves_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[Move]:
    """Where each tensor of a Llama file with these names goes; the head is not among them."""
    prefix = PREFIX if any(name.startswith(PREFIX) for name in names) else ""
    moves = [Move(prefix + theirs, ours) for theirs, ours in TOP_KEYS.items()]
    key_rows = config.head_dim * (config.n_kv_head or config.n_head)
    heights = {"q": config.n_embd, "k": key_rows, "v": key_rows}
    for i in range(config.n_layer):
        theirs, ours = f"{prefix}layers.{i}.", f"blocks.{i}."
        for part in kinds(config.qkv_bias):
            sources = {f"{theirs}self_attn.{name}_proj.{part}": rows for name, rows in heights.items()}
            moves += stacked(sources, f"{ours}attn.qkv_proj.{part}")
        moves += block_moves(config, theirs, ours)
    return moves


def block_moves(config: GPTConfig, theirs: str, ours: str) -> list[Move]:
    """Norms, output projection and feed-forward layer of one block: all but the way into attention."""
    moves = []
    for source, target in BLOCK_KEYS.items():
        if source.endswith(".weight"):
            moves.append(Move(theirs + source, ours + target))
            continue
        biased = config.attn_out_bias if source.startswith("self_attn") else config.mlp_bias
        moves += [Move(f"{theirs}{source}.{part}", f"{ours}{target}.{part}") for part in kinds(biased)]
    for part in kinds(config.mlp_bias):
        sizes = {f"{theirs}mlp.{name}_proj.{part}": config.hidden_width for name in ("gate", "up")}
        moves += stacked(sizes, f"{ours}mlp.up_proj.{part}")
    return moves


def kinds(biased: bool | None) -> tuple[str, ...]:
    """The tensors of a linear map."""
    return ("weight", "bias") if biased else ("weight",)


def stacked(sizes: Mapping[str, int], target: str) -> list[Move]:
    """Several tensors of so many rows, one below the other in one of ours."""
    moves, start = [], 0
    for source, size in sizes.items():
        moves.append(Move(source, target, rows=(start, start + size)))
        start += size
    return moves


def ignored_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[str]:
    """Tensors that are no weights: the rotary speeds that old files carry."""
    return [name for name in names if name.endswith(ROTARY_BUFFER)]
