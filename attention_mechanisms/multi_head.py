"""Multi-head attention (MHA): several small attentions side by side, each with its own view of the text.

The idea: project each token to a query, a key and a value; cut them into `n_head` heads; let every head
attend on its own; glue the results together and mix them with one more projection. The three projections are
one matrix product, because one large product is faster than three small ones.

Vaswani et al. 2017 (arXiv 1706.03762, section 3.2.2). Left out on purpose: sharing keys between heads
(GQA), latent keys (MLA), windows: each is a variant in a file of its own.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from attention_mechanisms.attention import attend, attention_weights
from attention_mechanisms.kv_cache import FullKVCache, KVCache, LayerKVCache
from attention_mechanisms.masks import padding_mask
from attention_mechanisms.positions import RotaryPositions
from utils.errors import UserError


class AttentionConfig(Protocol):
    """The part of a model's configuration that attention reads."""

    n_layer: int
    n_embd: int
    n_head: int
    block_size: int
    dropout: float
    bias: bool
    position: str
    rope_theta: float
    rope_layout: str
    attn_backend: str


class MultiHeadAttention(nn.Module):
    """Causal self-attention with one key and value head per query head."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        if config.n_embd % config.n_head:
            raise UserError(
                f"n_embd is {config.n_embd}, not divisible by n_head {config.n_head}: change either"
            )
        self.n_head, self.head_dim = config.n_head, config.n_embd // config.n_head
        self.dropout, self.backend = config.dropout, config.attn_backend
        self.qkv_proj = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.rope: RotaryPositions | None = None
        if config.position == "rope":
            self.rope = RotaryPositions(
                self.head_dim, config.block_size, theta=config.rope_theta, layout=config.rope_layout
            )

    @staticmethod
    def make_cache(
        config: AttentionConfig, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str
    ) -> KVCache:
        """The cache this variant decodes with: every head of every token."""
        head_dim = config.n_embd // config.n_head
        return FullKVCache(config.n_layer, batch, capacity, config.n_head, head_dim, dtype, device)

    def forward(
        self,
        x: Tensor,
        *,
        cache: LayerKVCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x (B, T, n_embd) -> (B, T, n_embd); with `need_weights` also the map (B, H, T, K).

        `cache` is this layer's view: the new keys and values are appended to it, and K = cache.length + T
        (without a cache K = T). `positions` are absolute, (T,) or (B, T); by default the tokens follow
        those in the cache. `attention_mask` (B, K) is 1 for real tokens and 0 for padding, over *all* K
        keys.
        """
        batch, time, n_embd = x.shape
        q, k, v = self.project(x)  # each (B, H, T, D)
        if self.rope is not None:
            q, k = self.rope(q, k, positions, start=cache.length if cache is not None else 0)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, K, D)
        mask = None if attention_mask is None else padding_mask(attention_mask)
        if mask is not None and mask.size(-1) != k.size(-2):
            raise UserError(
                f"attention_mask covers {mask.size(-1)} tokens but there are {k.size(-2)} keys "
                "(those in the cache and the new ones): give one entry for each"
            )
        y = attend(
            q, k, v, mask, causal=True, backend=self.backend, dropout=self.dropout, training=self.training
        )
        y = y.transpose(1, 2).reshape(batch, time, n_embd)  # heads side by side again
        y = self.out_proj(y)
        if need_weights:
            return y, attention_weights(q, k.to(q.dtype), mask, causal=True)
        return y

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (B, T, n_embd), each (B, H, T, D)."""
        batch, time, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, time, 3, self.n_head, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v
