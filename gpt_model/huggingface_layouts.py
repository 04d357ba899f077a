"""How transformers names and stores the parts of a model: GPT-2, Llama, Mistral and DeepSeek-V3.

The idea: a layout is a set of names, a few matrices cut or turned, and a config.json that says which numbers are
meant. Two of them differ from ours by more than names: GPT-2 multiplies from the other side, so its matrices are
stored (in, out), one of them square; and Llama's rotary pairs lie half a head apart, where other models have them
side by side.

Read off `GPT2LMHeadModel`, `LlamaForCausalLM`, `MistralForCausalLM` and `DeepseekV3ForCausalLM` (dense layers) of
transformers 5. `export_huggingface` chooses among them and writes; left out here: reading (`huggingface`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attention_mechanisms.multi_head import rope_scaling
from attention_mechanisms.sliding_window import layer_windows
from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from utils.errors import UserError

Named = Iterator[tuple[str, Tensor]]

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "relu2": "relu2"}
GATES = {"swiglu": "silu", "geglu": "gelu"}  # what a gated layer bends its gate with
LATENT_EPS = 1e-6  # of the norms of latents: written into DeepSeek's code, not into its config

# Fields that these layouts say, or that no forward pass in evaluation depends on.
KNOWN_FIELDS = frozenset(
    (
        *("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_kv_head", "attention"),
        *("kv_latent_dim", "rope_dim", "q_latent_dim", "window", "global_every", "attention_sinks"),
        *("position", "rope_theta", "rope_layout", "rope_scaling", "rope_factor", "rope_original_length"),
        *("rope_low_turns", "rope_high_turns", "rope_attention_factor", "norm", "norm_eps", "norm_order"),
        *("mlp", "mlp_ratio", "mlp_hidden", "bias", "qkv_bias", "attn_out_bias", "mlp_bias"),
        *("dropout", "embedding_dropout", "attention_dropout", "residual_dropout", "ngram_dropout"),
        *("tie_weights", "embedding_std", "zero_init_out", "attn_backend"),
    )
)


@dataclass(frozen=True)
class Family:
    """One layout: its name in transformers, what a model must be made of, and how it is written."""

    model_type: str
    architecture: str
    wanted: dict[str, tuple[Any, ...]]
    config: Callable[[GPT], dict[str, Any]]
    tensors: Callable[[GPT], Named]


def refusal(field: str, value: Any, why: str) -> UserError:
    """The one line for what a layout cannot say."""
    return UserError(
        f"{field} is {value}: transformers' layout {why}, so this model cannot be written for it; "
        "export to=torch, onnx or int8, which hold any model"
    )


def blocks_of(model: GPT) -> list[Any]:
    """The blocks, whose parts depend on the configuration."""
    return list(model.blocks)


def has_bias(model: GPT, parts: tuple[str, ...]) -> bool:
    """Whether any linear map of these parts of a block has a bias."""
    chosen = [getattr(block, part) for block in blocks_of(model) for part in parts]
    return any(isinstance(m, nn.Linear) and m.bias is not None for part in chosen for m in part.modules())


def bias_of(module: Any) -> Tensor:
    """The bias of a linear map or norm; zeros, which do nothing, where it has none."""
    return module.weight.new_zeros(module.weight.size(0)) if module.bias is None else module.bias


def dropout_of(config: GPTConfig, part: str) -> float:
    """The dropout of a part (embedding, attention, residual): its own, else the common one."""
    own = getattr(config, f"{part}_dropout")
    return config.dropout if own is None else own


def to_half_split(rows: Tensor, n_head: int) -> Tensor:
    """Rows of a query or key map, (n_head · D, …), moved so that rotary pairs 2i, 2i + 1 become i, i + D/2.

    Scores are sums over a head's coordinates, so their order means nothing as long as queries and keys share it.

    >>> to_half_split(torch.arange(8), 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    pairs = rows.unflatten(0, (n_head, -1, 2))  # (n_head, D / 2, 2, …)
    return pairs.transpose(1, 2).flatten(0, 2)


def _rope(config: GPTConfig, dim: int) -> dict[str, Any]:
    """`rope_parameters` as transformers 5 reads them, and the two older keys for tools that read those."""
    scaling = rope_scaling(config)
    theta, kind = config.rope_theta, scaling.kind
    if kind == "ntk":  # a larger theta and nothing else
        theta, kind = theta * scaling.factor ** (dim / max(dim - 2, 1)), "none"
    parameters: dict[str, Any] = {"rope_type": "default" if kind == "none" else kind}
    if kind != "none":
        parameters["factor"] = scaling.factor
    if kind in ("yarn", "llama3"):
        parameters["original_max_position_embeddings"] = scaling.original_length
    if kind == "yarn":
        parameters |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        parameters |= {"attention_factor": scaling.attention_factor}
    if kind == "llama3":
        parameters |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
        }
    older = {} if kind == "none" else {"rope_scaling": dict(parameters)}
    return {"rope_parameters": {**parameters, "rope_theta": theta}, "rope_theta": theta, **older}


# GPT-2 ----------------------------------------------------------------------------------------------


def _gpt2_config(model: GPT) -> dict[str, Any]:
    config = model.config
    return {
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.hidden_width,
        "activation_function": ACTIVATIONS[config.mlp],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": dropout_of(config, "residual"),
        "embd_pdrop": dropout_of(config, "embedding"),
        "attn_pdrop": dropout_of(config, "attention"),
    }


def _gpt2_tensors(model: GPT) -> Named:
    def conv1d(name: str, module: Any) -> Named:
        yield f"{name}.weight", module.weight.t()  # GPT-2 multiplies from the other side: (in, out)
        yield f"{name}.bias", bias_of(module)

    def norm(name: str, module: Any) -> Named:
        yield f"{name}.weight", module.weight
        yield f"{name}.bias", bias_of(module)

    embedding = model.token_embedding.weight
    yield "transformer.wte.weight", embedding
    table = embedding.new_zeros(
        model.config.block_size, model.config.n_embd
    )  # no positions: nothing is added
    if model.position_embedding is not None:
        table = model.position_embedding.weight.to(embedding.dtype)
    yield "transformer.wpe.weight", table
    for i, block in enumerate(blocks_of(model)):
        at = f"transformer.h.{i}"
        yield from norm(f"{at}.ln_1", block.norm_1)
        yield from conv1d(f"{at}.attn.c_attn", block.attn.qkv_proj)
        yield from conv1d(f"{at}.attn.c_proj", block.attn.out_proj)
        yield from norm(f"{at}.ln_2", block.norm_2)
        yield from conv1d(f"{at}.mlp.c_fc", block.mlp.up_proj)
        yield from conv1d(f"{at}.mlp.c_proj", block.mlp.out_proj)
    yield from norm("transformer.ln_f", model.final_norm)
    if model.head is not None:
        yield "lm_head.weight", model.head.weight


# Llama, Mistral, DeepSeek -----------------------------------------------------------------------------


def _llama_config(model: GPT) -> dict[str, Any]:
    config, attn = model.config, blocks_of(model)[0].attn
    return {
        "hidden_size": config.n_embd,
        "intermediate_size": config.hidden_width,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": attn.n_kv_head,
        "head_dim": attn.head_dim,
        "hidden_act": GATES[config.mlp],
        "max_position_embeddings": config.block_size,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": has_bias(model, ("attn",)),
        "mlp_bias": has_bias(model, ("mlp",)),
        "attention_dropout": dropout_of(config, "attention"),
        **_rope(config, attn.head_dim),
    }


def _mistral_config(model: GPT) -> dict[str, Any]:
    return {**_llama_config(model), "sliding_window": layer_windows(model.config)[0]}


def _deepseek_config(model: GPT) -> dict[str, Any]:
    config, attn = model.config, blocks_of(model)[0].attn
    if attn.kv_norm.eps != LATENT_EPS:
        raise refusal("the latent norm's epsilon", attn.kv_norm.eps, f"deepseek_v3 has only {LATENT_EPS}")
    return {
        **_llama_config(model),
        "head_dim": attn.rope_dim,  # DeepSeek's word for the rotated part
        "first_k_dense_replace": config.n_layer,  # no mixture of experts
        "kv_lora_rank": attn.latent_dim,
        "q_lora_rank": config.q_latent_dim,
        "qk_nope_head_dim": attn.head_dim,
        "qk_rope_head_dim": attn.rope_dim,
        "v_head_dim": attn.head_dim,
        "rope_interleave": config.rope_layout == "interleaved",
        "num_nextn_predict_layers": 0,
        **_rope(config, attn.rope_dim),
    }


def _llama_tensors(model: GPT) -> Named:
    yield "model.embed_tokens.weight", model.token_embedding.weight
    attention = _latent_attention if model.config.attention == "mla" else _attention
    biases = {part: has_bias(model, (part,)) for part in ("attn", "mlp")}
    for i, block in enumerate(blocks_of(model)):
        at = f"model.layers.{i}"
        yield f"{at}.input_layernorm.weight", block.norm_1.weight
        for name, rows in attention(model.config, block.attn, biases["attn"]):
            yield f"{at}.self_attn.{name}", rows
        yield f"{at}.post_attention_layernorm.weight", block.norm_2.weight
        for kind, take in _kinds(biases["mlp"]):
            gate, up = take(block.mlp.up_proj).chunk(2)  # one matrix, gate first
            yield f"{at}.mlp.gate_proj.{kind}", gate
            yield f"{at}.mlp.up_proj.{kind}", up
            yield f"{at}.mlp.down_proj.{kind}", take(block.mlp.out_proj)
    final: Any = model.final_norm
    yield "model.norm.weight", final.weight
    if model.head is not None:
        yield "lm_head.weight", model.head.weight


def _kinds(biased: bool) -> list[tuple[str, Callable[[Any], Tensor]]]:
    """The tensors of a linear map: its weight, and its bias where the layout has some."""
    weight: tuple[str, Callable[[Any], Tensor]] = ("weight", lambda module: module.weight)
    return [weight, ("bias", bias_of)] if biased else [weight]


def _attention(config: GPTConfig, attn: Any, biased: bool) -> Named:
    for kind, take in _kinds(biased):
        q, k, v = take(attn.qkv_proj).split(attn.qkv_rows)
        if config.rope_layout == "interleaved":
            q, k = to_half_split(q, attn.n_head), to_half_split(k, attn.n_kv_head)
        yield f"q_proj.{kind}", q
        yield f"k_proj.{kind}", k
        yield f"v_proj.{kind}", v
        yield f"o_proj.{kind}", take(attn.out_proj)


def _latent_attention(config: GPTConfig, attn: Any, biased: bool) -> Named:
    for kind, take in _kinds(biased):
        if attn.q_down_proj is not None:
            yield f"q_a_proj.{kind}", take(attn.q_down_proj)
        yield f"kv_a_proj_with_mqa.{kind}", take(attn.kv_down_proj)
        yield f"o_proj.{kind}", take(attn.out_proj)
    if attn.q_norm is not None:
        yield "q_a_layernorm.weight", attn.q_norm.weight
    yield f"q_{'b_' if attn.q_down_proj is not None else ''}proj.weight", attn.q_proj.weight
    yield "kv_a_layernorm.weight", attn.kv_norm.weight
    yield "kv_b_proj.weight", attn.kv_up_proj.weight


_MODERN = {"norm": ("rmsnorm",), "norm_order": ("pre",), "mlp": tuple(GATES)}
FAMILIES = {
    "gpt2": Family(
        "gpt2",
        "GPT2LMHeadModel",
        {
            "position": ("learned", "sinusoidal", "none"),
            "attention": ("mha",),
            "norm": ("layernorm",),
            "norm_order": ("pre",),
            "mlp": tuple(ACTIVATIONS),
        },
        _gpt2_config,
        _gpt2_tensors,
    ),
    "llama": Family(
        "llama", "LlamaForCausalLM", {"attention": ("mha", "gqa"), **_MODERN}, _llama_config, _llama_tensors
    ),
    "mistral": Family(
        "mistral",
        "MistralForCausalLM",
        {"global_every": (0,), "attention_sinks": (0,), **_MODERN},
        _mistral_config,
        _llama_tensors,
    ),
    "deepseek_v3": Family("deepseek_v3", "DeepseekV3ForCausalLM", _MODERN, _deepseek_config, _llama_tensors),
}
