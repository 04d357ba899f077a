"""Multi-head attention (MHA): several small attentions side by side, each with its own view of the text.

The idea: project each token to a query, a key and a value; cut them into `n_head` heads; let every head
attend on its own; glue the results together and mix them with one more projection. The three projections are
one matrix product, because one large product is faster than three small ones.

This class is also what the variants are made of. A variant overrides one step:

    kv_heads      how many key heads there are                      (`grouped_query`)
    visible       which positions a query may look at               (`sliding_window`)
    score_bias    what is added to the scores                       (ALiBi is one)
    make_cache    what is kept of old tokens

Vaswani et al. 2017 (arXiv 1706.03762, section 3.2.2). Left out on purpose: latent keys (`latent`), which have
projections of their own. Notebook: 02 of this chapter.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attention_mechanisms.attention import attend, attention_weights
from attention_mechanisms.kv_cache import FullKVCache, KVCache, LayerCache
from attention_mechanisms.masks import combine_masks, padding_mask, visible
from attention_mechanisms.positions import RotaryPositions, alibi_bias, alibi_slopes
from attention_mechanisms.qk_norm import HeadNorm
from attention_mechanisms.rope_scaling import RopeScaling
from utils.errors import UserError


class AttentionConfig(Protocol):
    """The part of a model's configuration that attention reads."""

    @property
    def n_layer(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def n_kv_head(self) -> int | None: ...
    @property
    def block_size(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def bias(self) -> bool: ...
    @property
    def position(self) -> str: ...
    @property
    def rope_theta(self) -> float: ...
    @property
    def rope_layout(self) -> str: ...
    @property
    def attn_backend(self) -> str: ...


def rope_scaling(config: AttentionConfig) -> RopeScaling:
    """The recipe for longer texts that a configuration names; none when it names none."""
    low, high = getattr(config, "rope_low_turns", None), getattr(config, "rope_high_turns", None)
    return RopeScaling(
        getattr(config, "rope_scaling", "none"),
        getattr(config, "rope_factor", 1.0),
        getattr(config, "rope_original_length", None) or config.block_size,
        low_freq_factor=low or 1.0,
        high_freq_factor=high or 4.0,
        beta_slow=low or 1.0,
        beta_fast=high or 32.0,
        sharpening=getattr(config, "rope_attention_factor", None),
    )


def has_bias(config: AttentionConfig, part: str) -> bool:
    """Whether the maps of a part (qkv, attn_out, mlp) have biases: what `qkv_bias` … says, else `bias`."""
    own = getattr(config, f"{part}_bias", None)
    return config.bias if own is None else own


def rotary(config: AttentionConfig, dim: int) -> RotaryPositions | None:
    """The rotation of `dim` coordinates that a configuration asks for, if it asks for one."""
    if config.position != "rope":
        return None
    return RotaryPositions(
        dim,
        config.block_size,
        theta=config.rope_theta,
        layout=config.rope_layout,
        scaling=rope_scaling(config),
    )


def share_dropout(config: AttentionConfig) -> float:
    """Dropout on the shares: `attention_dropout` where a configuration names it, else its `dropout`."""
    own = getattr(config, "attention_dropout", None)
    return config.dropout if own is None else float(own)


class MultiHeadAttention(nn.Module):
    """Causal self-attention with one key and value head per query head. `layer` counts from 0."""

    window: int | None = None  # the newest keys that a query sees, its own included; None is all
    sinks: int = 0  # first tokens of the text that stay visible beside a window

    def __init__(self, config: AttentionConfig, layer: int = 0) -> None:
        super().__init__()
        if config.n_embd % config.n_head:
            raise UserError(
                f"n_embd is {config.n_embd}, not divisible by n_head {config.n_head}: change either"
            )
        self.layer = layer
        self.n_head, self.head_dim = config.n_head, config.n_embd // config.n_head
        self.n_kv_head = self.kv_heads(config)
        self.dropout, self.backend = share_dropout(config), config.attn_backend
        # Rows of queries, keys and values in the fused matrix: three maps, though stored as one.
        self.qkv_rows = [heads * self.head_dim for heads in (self.n_head, self.n_kv_head, self.n_kv_head)]
        self.qkv_proj = nn.Linear(config.n_embd, sum(self.qkv_rows), bias=has_bias(config, "qkv"))
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=has_bias(config, "attn_out"))
        normed = bool(getattr(config, "qk_norm", False))
        self.q_norm: nn.Module | None = HeadNorm(self.head_dim) if normed else None
        self.k_norm = HeadNorm(self.head_dim) if normed else None
        self.rope = rotary(config, self.head_dim)
        self.alibi = config.position == "alibi"

    @classmethod
    def kv_heads(cls, config: AttentionConfig) -> int:
        """How many key and value heads there are: as many as query heads."""
        return config.n_head

    @classmethod
    def check(cls, config: AttentionConfig) -> None:
        """Raise a UserError if this variant cannot be built so; cheap, and asked before any memory is taken."""
        cls.kv_heads(config)
        rope_scaling(config)

    @classmethod
    def make_cache(
        cls,
        config: AttentionConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> KVCache:
        """The cache this variant decodes with: every key head of every token."""
        head_dim = config.n_embd // config.n_head
        return FullKVCache(config.n_layer, batch, capacity, cls.kv_heads(config), head_dim, dtype, device)

    def visible(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Which keys each query may look at, by position: (Q,) and (K,) -> bool (Q, K). Override for a variant."""
        return visible(queries, keys, window=self.window, sinks=self.sinks)

    def score_bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """What is added to the scores, (H, Q, K), or None. Override for a variant."""
        return alibi_bias(alibi_slopes(self.n_head).to(keys.device), queries, keys) if self.alibi else None

    def forward(
        self,
        x: Tensor,
        *,
        cache: LayerCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x (B, T, n_embd) -> (B, T, n_embd); with `need_weights` also the map (B, H, T, K).

        `cache` is this layer's view: the new keys and values are appended to it, and there are N = cache.length + T
        tokens in all (without a cache N = T). `positions` are absolute, (T,) or (B, T), for the rotation; by
        default the tokens follow those in the cache. `attention_mask` (B, N) is 1 for real tokens and 0 for
        padding, over *all* N tokens; or (B, T, N), who may look at whom beside the order. K is N but for a window,
        whose cache holds fewer.
        """
        batch, time, n_embd = x.shape
        start = 0 if cache is None else cache.length
        q, k, v = self.project(x)  # (B, H, T, D) and twice (B, H_kv, T, D)
        if self.rope is not None:
            q, k = self.rope(q, k, positions, start=start)
        look = self.rules(cache, start, time, attention_mask, x.device)
        if cache is not None:
            k, v = cache.append(k, v)  # type: ignore[attr-defined]  # (B, H_kv, K, D)
        y = attend(q, k, v, **look, backend=self.backend, dropout=self.dropout, training=self.training)
        y = y.transpose(1, 2).reshape(batch, time, n_embd)  # heads side by side again
        y = self.out_proj(y)
        if need_weights:
            return y, attention_weights(q, k.to(q.dtype), **look)
        return y

    def rules(
        self,
        cache: LayerCache | None,
        start: int,
        time: int,
        attention_mask: Tensor | None,
        device: torch.device,
    ) -> dict[str, Any]:
        """Who may look at whom in this call, as arguments of `attend`. Asked before the cache grows.

        Where the keys are all tokens in order and nothing but causality or a window is meant, they are named and
        no table is built.
        """
        total = start + time
        if self.sinks and attention_mask is not None and not bool(attention_mask[..., : self.sinks].all()):
            raise UserError(
                f"the first {self.sinks} tokens are kept as attention sinks, but some of them are padding: "
                "give rows of one length, or set attention_sinks to 0"
            )
        mask = None if attention_mask is None else padding_mask(attention_mask)
        if mask is not None and mask.size(-1) != total:
            raise UserError(
                f"attention_mask covers {mask.size(-1)} tokens but there are {total} keys "
                "(those in the cache and the new ones): give one entry for each"
            )
        keys = torch.arange(total, device=device) if cache is None else cache.key_positions(time)
        queries = torch.arange(start, total, device=device)
        bias = self.score_bias(queries, keys)
        in_order = len(keys) == total
        usual = type(self).visible is MultiHeadAttention.visible and not self.sinks
        if usual and (
            in_order or (time > 1 and mask is None)
        ):  # a rolling cache gives the newest keys in order
            return {"mask": mask, "causal": True, "window": self.window, "bias": bias}
        if not in_order and mask is not None:
            mask = mask[..., keys]
        table = self.visible(queries, keys)
        if time == 1 and bool(table.all()):  # a ring in use: all that it holds is what the token may see
            return {"mask": mask, "bias": bias}
        return {"mask": combine_masks(table, mask), "bias": bias}

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, D), keys and values (B, H_kv, T, D) of x (B, T, n_embd)."""
        batch, time, _ = x.shape
        heads = (self.n_head, self.n_kv_head, self.n_kv_head)
        parts = (
            self.qkv_proj(x).view(batch, time, sum(heads), self.head_dim).transpose(1, 2).split(heads, dim=1)
        )
        q, k, v = parts
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v
