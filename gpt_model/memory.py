"""What a model needs in memory, in bytes: to be trained, and to write.

The idea: training holds four things at once. Weights, their gradients, what the optimizer remembers (AdamW: two
numbers a weight), and the activations: whatever the forward pass keeps so that the backward pass can use it. The first
three follow from the number of parameters. Activations are a sum over the code, line by line, of what autograd keeps.
In numbers a token, with d = n_embd, h = hidden_width, a block keeps

    norms           2 · (input d, output d)                    RMSNorm: 2 d more, x / rms (torch composes it)
    attention, mha  queries, keys, values                      d + 2 · n_kv_head · head_dim
                    its output d                               RoPE: the rotated queries and keys, and one copy more
                    a map of K shares a head                   only when computed by hand (`manual`) or in bands
    feed-forward    2 h (GELU, ReLU²), h (ReLU)                4 h when gated, of the narrower h

and the model one norm more and the vocabulary: logits, log-probabilities, and while the loss goes back the gradients
of both, 4 · vocab_size. So a GPT-2 block keeps 16 d and some statistics: 34 d in Korthikanti et al. 2022 (arXiv
2205.05198, section 4.1) are bytes, at half precision, with dropout masks.

Tested against the bytes that torch's CPU allocator really hands out, in `tests/laws/test_memory_laws.py`: weights,
gradients, optimizer state and decoding exactly, activations to 2 %, the peak of a whole step to 10 %. Left out on
purpose: dropout (a mask more at each place), checkpointing, autocast, and what an allocator adds. Not measured on a
GPU, whose fused RMSNorm keeps less.
Notebook: 02 of this chapter.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_model.config import GATED, GPTConfig
from gpt_model.costs import cache_bytes, skeleton
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

# Numbers that an optimizer remembers for each weight.
OPTIMIZERS = {"adamw": 2, "momentum": 1, "sgd": 0}
STEP_COUNTER = 4  # bytes: AdamW keeps one float32 beside each tensor
FP32 = 4


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one training step holds, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # kept from forward to backward, without the vocabulary
    vocabulary: int  # logits, log-probabilities and their gradients

    @property
    def total(self) -> int:
        """All at once: the peak of a step that adds to gradients which are there already (accumulation).

        Where gradients are freed between steps, the peak is lower by up to their size.
        """
        return self.weights + self.gradients + self.optimizer + self.activations + self.vocabulary


@dataclass(frozen=True)
class DecodingMemory:
    """Bytes that writing holds: weights with the fixed tables of positions, the cache, and one step's logits."""

    weights: int
    tables: int
    cache: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.tables + self.cache + self.logits


def training_memory(
    config: GPTConfig,
    batch: int,
    length: int,
    *,
    optimizer: str = "adamw",
    dtype: "torch.dtype | None" = None,
) -> TrainingMemory:
    """Bytes of one training step over ids (batch, length), everything in `dtype` (float32 by default)."""
    if optimizer not in OPTIMIZERS:
        raise UserError(f"optimizer is {optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
    _check(config, batch, length)
    size = _size(dtype)
    tensors = [p.numel() for p in skeleton(config).parameters()]
    weights = sum(tensors) * size
    state = weights * OPTIMIZERS[optimizer] + (STEP_COUNTER * len(tensors) if optimizer == "adamw" else 0)
    # The loss is computed in float32; only the logits themselves have the model's precision.
    vocabulary = batch * length * config.vocab_size * (size + 3 * FP32)
    return TrainingMemory(weights, weights, state, activation_bytes(config, batch, length, size), vocabulary)


def activation_bytes(config: GPTConfig, batch: int, length: int, size: int = FP32) -> int:
    """Bytes kept from forward to backward, all layers together, without the vocabulary; `size` bytes a number."""
    from attention_mechanisms.costs import layer_rules

    _check(config, batch, length)
    windows = [window for window, _ in layer_rules(config.attention, config)]
    attention = sum(_attention_numbers(config, batch, length, window) for window in windows)
    numbers = attention + batch * length * config.n_layer * (2 * _norm_numbers(config) + _mlp_numbers(config))
    numbers += batch * length * (_norm_numbers(config) if config.norm_order == "pre" else config.n_embd)
    return round(numbers) * size


def decoding_memory(
    config: GPTConfig,
    batch: int,
    capacity: int,
    *,
    dtype: "torch.dtype | None" = None,
    cache_dtype: "torch.dtype | None" = None,
) -> DecodingMemory:
    """Bytes of a model in `dtype` with a cache for `batch` rows of `capacity` tokens in `cache_dtype`, or `dtype`."""
    model = skeleton(config)
    size = _size(dtype)
    tables = sum(b.numel() * b.element_size() for b in model.buffers())  # always float32
    weights = sum(p.numel() for p in model.parameters()) * size
    cache = cache_bytes(config, batch, capacity, cache_dtype or dtype)
    return DecodingMemory(weights, tables, cache, batch * config.vocab_size * size)


def _norm_numbers(config: GPTConfig) -> float:
    """Kept for one norm and token: input, output, x / rms (RMSNorm), and a mean and a scale for each group."""
    if config.norm == "rmsnorm":
        return 3 * config.n_embd + 1
    return 2 * config.n_embd + 2 * (config.groups_of_norm if config.norm == "groupnorm" else 1)


def _mlp_numbers(config: GPTConfig) -> float:
    """Kept by the feed-forward layer for one token: what goes into each non-linearity and into `out_proj`."""
    if config.mlp in GATED:
        return 4 * config.hidden_width  # gate, up, the bent gate, the product
    return (1 if config.mlp == "relu" else 2) * config.hidden_width  # ReLU needs its output only


def _attention_numbers(config: GPTConfig, batch: int, length: int, window: int | None) -> float:
    """Kept by one layer of attention for all tokens, by the way it is computed (`choose_backend`)."""
    from attention_mechanisms.latent import latent_dims

    heads, dim, d = config.n_head, config.head_dim, config.n_embd
    tokens = batch * length
    window = None if window is None or window >= length else window
    sinks = 0 if window is None else config.attention_sinks
    backend = config.attn_backend
    if config.position == "alibi":
        backend = "manual"  # with a table of numbers to add, torch's CPU kernel is the formula by hand
    elif backend == "auto" and window is not None and length >= 64 and not sinks:
        backend = "bands"
    kv, key_dim, value_dim, before = _widths(config)
    if config.attention == "mla" and _absorbs(config, length):
        latent, rope = latent_dims(config)  # queries in the latent's space, what comes back from it, the map
        kept = before + rope + heads * (2 * latent + rope) + 2 * d + heads * length
        return tokens * kept + batch * 2 * d * latent  # and both matrices, once a row
    copied = (
        config.position == "rope" or config.attention == "mla"
    )  # heads no longer lie as SDPA returns them
    if backend == "manual":  # queries, keys, values a head, the map, the output put back together
        return tokens * (before + heads * (2 * key_dim + value_dim) + d + heads * length)
    if backend == "bands":
        pairs, keys = _bands(length, window or length)
        return tokens * (before + heads * key_dim + d) + batch * (
            kv * keys * (key_dim + value_dim) + heads * pairs
        )
    kept = tokens * (before + heads + (d if copied else 0))  # + logsumexp
    if (
        config.attention == "mla" and key_dim != dim
    ):  # values are padded to the width of keys, and so is the output
        kept += tokens * 4 * heads * key_dim
    elif config.attention == "mla":
        kept += tokens * 5 * d
    else:
        kept += tokens * (
            (heads + 2 * kv) * dim + d + ((heads + kv) * dim if config.position == "rope" else 0)
        )
    return kept + (length * length if window is not None else 0)  # the window as a table, for all rows


def _widths(config: GPTConfig) -> tuple[int, int, int, int]:
    """(key heads, width of a key, width of a value, numbers kept a token before there are queries and keys)."""
    from attention_mechanisms.registry import ATTENTIONS

    if config.attention != "mla":
        return ATTENTIONS[config.attention].kv_heads(config), config.head_dim, config.head_dim, 0
    from attention_mechanisms.latent import latent_dims

    latent, rope = latent_dims(config)
    before = 3 * latent + rope + 3 * (config.q_latent_dim or 0)  # down, over its rms, and that times the gain
    return config.n_head, config.head_dim + rope, config.head_dim, before


def _absorbs(config: GPTConfig, length: int) -> bool:
    """Whether latent attention takes its absorbed path for a whole text (`LatentAttention.choose_path`)."""
    from attention_mechanisms.latent import latent_dims

    latent, rope = latent_dims(config)
    dim = config.head_dim
    naive = 2 * dim * latent + length * (2 * dim + rope)
    return 2 * dim * latent + length * (2 * latent + rope) < naive


def _bands(length: int, window: int) -> tuple[int, int]:
    """(pairs of query and key in all tables, keys in all slices) of `fast_attention.bands`."""
    from attention_mechanisms.fast_attention import band_rows

    block = band_rows(window)
    pairs = keys = 0
    for begin in range(0, length, block):
        end = min(begin + block, length)
        seen = end - max(0, begin - window + 1)
        pairs, keys = pairs + (end - begin) * seen, keys + seen
    return pairs, keys


def _size(dtype: "torch.dtype | None") -> int:
    return FP32 if dtype is None else dtype.itemsize


def _check(config: GPTConfig, batch: int, length: int) -> None:
    if batch < 1 or not 1 <= length <= config.block_size:
        raise UserError(
            f"batch {batch} × {length} tokens: give at least one row, and 1 to block_size {config.block_size} tokens"
        )
