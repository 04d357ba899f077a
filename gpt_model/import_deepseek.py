"""DeepSeek-V2 and V3 weights in Hugging Face's layout, as far as the attention and dense layers go.

The idea: multi-head latent attention under its own names. Their "a" matrices go down into a latent, the "b"
matrices up again; the rotary part of a query pairs neighbouring coordinates (interleaved). Where the texts were
stretched by YaRN, DeepSeek multiplies every score by a number beside 1/√d: scores are linear in the query, so that
number goes into the matrix that makes queries, and the model needs no field for it.

DeepSeek-V2 (arXiv 2405.04434, section 2.1), V3 (arXiv 2412.19437). Left out on purpose: mixture-of-experts layers,
which all released checkpoints have (so this reads small models of one's own); value heads of another width than
the keys'; and V3's extra layer that predicts a second token, which is passed over.
"""

from collections.abc import Collection, Mapping
from typing import Any

from gpt_model.config import GPTConfig
from gpt_model.import_llama import PREFIX, TOP_KEYS, block_moves, common_fields, kinds
from gpt_model.import_llama import ignored_of as rotary_buffers
from gpt_model.import_rope import rope_fields, rope_parameters, sharpening
from gpt_model.weights_io import Move
from utils.errors import UserError

LATENT_KEYS = {"kv_a_layernorm": "kv_norm", "kv_b_proj": "kv_up_proj"}
FIRST_EXPERT_LAYER = {"deepseek_v2": 0, "deepseek_v3": 3}  # where a config.json does not say


def config_of(values: Mapping[str, Any]) -> GPTConfig:
    """Our configuration for a DeepSeek config.json; what we would compute differently is a UserError."""
    kind, layers = values["model_type"], values["num_hidden_layers"]
    first = values.get("first_k_dense_replace", FIRST_EXPERT_LAYER[kind])
    if first < layers and values.get("n_routed_experts", 1) is not None:
        raise UserError(
            f"first_k_dense_replace is {first} of {layers} layers: the others are mixtures of experts, which are "
            "not supported here; only dense models can be read"
        )
    heads, width = values["num_attention_heads"], values["hidden_size"]
    for key in ("qk_nope_head_dim", "v_head_dim"):
        if values[key] * heads != width:
            raise UserError(
                f"{key} is {values[key]}, but {heads} heads over hidden_size {width} are {width / heads:g} wide "
                "here: heads of another width are not supported"
            )
    attention = values.get("attention_bias", False) or None
    interleaved = kind == "deepseek_v2" or values.get("rope_interleave", True)
    return GPTConfig(
        **common_fields(values),
        **rope_fields(values),
        attention="mla",
        kv_latent_dim=values["kv_lora_rank"],
        q_latent_dim=values.get("q_lora_rank"),
        rope_dim=values["qk_rope_head_dim"],
        rope_layout="interleaved" if interleaved else "half_split",
        qkv_bias=attention,
        attn_out_bias=attention,
        mlp_bias=(kind == "deepseek_v2" and values.get("mlp_bias")) or None,
    )


def score_scale(values: Mapping[str, Any]) -> float:
    """What every score is multiplied with beside 1/√d: the square of YaRN's sharpening, or 1."""
    recipe = rope_parameters(values)
    mscale = recipe.get("mscale_all_dim")
    return sharpening(recipe["factor"], mscale) ** 2 if mscale else 1.0


def moves_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[Move]:
    """Where each tensor of a DeepSeek file with these names goes; the head is not among them."""
    prefix = PREFIX if any(name.startswith(PREFIX) for name in names) else ""
    moves = [Move(prefix + theirs, ours) for theirs, ours in TOP_KEYS.items()]
    for i in range(config.n_layer):
        theirs, ours = f"{prefix}layers.{i}.self_attn.", f"blocks.{i}.attn."
        moves += [Move(f"{theirs}{key}.weight", f"{ours}{own}.weight") for key, own in LATENT_KEYS.items()]
        down = {"kv_a_proj_with_mqa": "kv_down_proj"}
        query = "q_proj"
        if config.q_latent_dim is not None:
            down["q_a_proj"], query = "q_down_proj", "q_b_proj"
            moves.append(Move(f"{theirs}q_a_layernorm.weight", f"{ours}q_norm.weight"))
        moves.append(Move(f"{theirs}{query}.weight", f"{ours}q_proj.weight", scale=score_scale(values)))
        for key, own in down.items():
            moves += [Move(f"{theirs}{key}.{part}", f"{ours}{own}.{part}") for part in kinds(config.qkv_bias)]
        moves += block_moves(config, f"{prefix}layers.{i}.", f"blocks.{i}.")
    return moves


def ignored_of(config: GPTConfig, names: Collection[str], values: Mapping[str, Any]) -> list[str]:
    """Tensors that the model does not use: rotary speeds, and the layers after the last one where V3 has them."""
    more = values.get("num_nextn_predict_layers", values.get("num_mtp_layers")) or 0
    later = tuple(f"{PREFIX}layers.{config.n_layer + i}." for i in range(more))
    return [*rotary_buffers(config, names, values), *(name for name in names if name.startswith(later))]
