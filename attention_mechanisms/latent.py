"""Multi-head latent attention (MLA): the cache keeps one small vector a token, from which all heads are made.

The idea: keys and values of all heads are linear maps of the same token, so instead of them keep a compressed
latent c (n_embd -> kv_latent_dim), and unfold it when it is needed:

    c = norm(W_down x)      k_nope = W_uk c,   v = W_uv c        per head, from c alone

RoPE does not fit through: a key that was rotated is no longer a fixed map of c. So position travels apart, in one
small rotary key that all heads share (decoupled RoPE), and a head's score is

    (q_nope · k_nope + q_rope · k_rope) / sqrt(d_nope + d_rope)

Two ways to compute the same numbers:
- **naive** reads like the paper: unfold keys and values of all tokens, then attend. Right for training and prefill.
- **absorbed**: q_nope · (W_uk c) = (W_ukᵀ q_nope) · c. Fold W_uk into the query and W_uv into the output, and attend
  over the latents themselves: no per-head key or value is ever built. Right for decoding.

DeepSeek-V2 (arXiv 2405.04434, section 2.1); queries may go through a latent too (`q_latent_dim`). Without rotary
positions there is no rotary part. Left out on purpose: the YaRN correction of DeepSeek's score scale.
Notebook: 06 of this chapter.
"""

from typing import Any

import torch
from torch import Tensor, nn

from attention_mechanisms.attention import attend, attention_weights, masked_softmax, order_mask
from attention_mechanisms.fast_attention import in_one_piece, key_products, value_sums
from attention_mechanisms.kv_cache import KVCache, LatentKVCache, LayerCache
from attention_mechanisms.masks import combine_masks
from attention_mechanisms.multi_head import (
    AttentionConfig,
    MultiHeadAttention,
    has_bias,
    rotary,
    share_dropout,
)
from utils.errors import UserError

PATHS = ("auto", "naive", "absorbed")


class LatentNorm(nn.Module):
    """RMSNorm of a latent (Zhang and Sennrich 2019, arXiv 1910.07467), as DeepSeek has it."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.double() if x.dtype == torch.float64 else x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return scaled.to(x.dtype) * self.weight


class LatentAttention(MultiHeadAttention):
    """Causal self-attention over a latent cache. `path` is naive, absorbed, or auto (fewer multiplications)."""

    def __init__(self, config: AttentionConfig, layer: int = 0) -> None:
        nn.Module.__init__(self)
        if config.n_embd % config.n_head:
            raise UserError(
                f"n_embd is {config.n_embd}, not divisible by n_head {config.n_head}: change either"
            )
        self.layer, self.path = layer, "auto"
        self.n_head = self.n_kv_head = config.n_head
        self.head_dim = config.n_embd // config.n_head  # of the part without position, and of a value
        self.latent_dim, self.rope_dim = latent_dims(config)
        self.dropout, self.backend = share_dropout(config), config.attn_backend
        bias = has_bias(config, "qkv")
        key_dim = self.head_dim + self.rope_dim
        q_latent = getattr(config, "q_latent_dim", None)
        self.q_down_proj = nn.Linear(config.n_embd, q_latent, bias=bias) if q_latent else None
        self.q_norm = LatentNorm(q_latent) if q_latent else None
        self.q_proj = nn.Linear(q_latent or config.n_embd, self.n_head * key_dim, bias=False)
        self.kv_down_proj = nn.Linear(config.n_embd, self.latent_dim + self.rope_dim, bias=bias)
        self.kv_norm = LatentNorm(self.latent_dim)
        # Unfolding must stay linear to be absorbed, so it has no bias.
        self.kv_up_proj = nn.Linear(self.latent_dim, self.n_head * 2 * self.head_dim, bias=False)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=has_bias(config, "attn_out"))
        self.rope = rotary(config, self.rope_dim)  # of the shared part
        self.alibi = config.position == "alibi"

    @classmethod
    def check(cls, config: AttentionConfig) -> None:
        super().check(config)
        latent_dims(config)
        if getattr(config, "qk_norm", False):
            raise UserError(
                "qk_norm is True but attention mla normalises its latents already, and its keys must stay linear maps "
                "of them: leave qk_norm out, or choose another attention"
            )

    @classmethod
    def make_cache(
        cls,
        config: AttentionConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> KVCache:
        """One latent and one rotary key a token, whatever the number of heads."""
        return LatentKVCache(config.n_layer, batch, capacity, *latent_dims(config), dtype, device)

    def forward(
        self,
        x: Tensor,
        *,
        cache: LayerCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As `MultiHeadAttention.forward`: x (B, T, n_embd) -> (B, T, n_embd), and the map if asked."""
        batch, time, n_embd = x.shape
        start = 0 if cache is None else cache.length
        q_nope, q_rope, latent, k_rope = self.compress(x, positions, start)
        look = self.rules(cache, start, time, attention_mask, x.device)
        if cache is not None:
            latent, k_rope = cache.append(latent, k_rope)  # type: ignore[attr-defined]
            latent, k_rope = latent.to(x.dtype), k_rope.to(x.dtype)
        absorbed = self.choose_path(time, latent.size(1)) == "absorbed"
        y = (self.absorbed if absorbed else self.naive)(q_nope, q_rope, latent, k_rope, look)  # (B, H, T, D)
        y = self.out_proj(y.transpose(1, 2).reshape(batch, time, n_embd))
        if need_weights:
            q, k, _ = self.unfold(q_nope, q_rope, latent, k_rope)
            return y, attention_weights(q, k, **look)
        return y

    def compress(
        self, x: Tensor, positions: Tensor | None, start: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (B, T, n_embd) -> q_nope (B, H, T, D), q_rope (B, H, T, R), latent (B, T, C), k_rope (B, T, R).

        The latent is normalised before it is cached, the rotary parts are rotated.
        """
        batch, time, _ = x.shape
        if self.q_down_proj is not None and self.q_norm is not None:
            q = self.q_proj(self.q_norm(self.q_down_proj(x)))
        else:
            q = self.q_proj(x)
        q = q.view(batch, time, self.n_head, self.head_dim + self.rope_dim).transpose(1, 2)
        q_nope, q_rope = q.split((self.head_dim, self.rope_dim), dim=-1)
        latent, k_rope = self.kv_down_proj(x).split((self.latent_dim, self.rope_dim), dim=-1)
        if self.rope is not None:
            q_rope = self.rope.rotate(q_rope, positions, start)
            k_rope = self.rope.rotate(k_rope[:, None], positions, start)[:, 0]  # one head for all
        return q_nope, q_rope, self.kv_norm(latent), k_rope

    def unfold(
        self, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole queries, keys and values of every head: (B, H, T, D + R), (B, H, K, D + R), (B, H, K, D)."""
        batch, keys, _ = latent.shape
        unfolded = self.kv_up_proj(latent).view(batch, keys, self.n_head, 2 * self.head_dim).transpose(1, 2)
        k_nope, v = unfolded.split(self.head_dim, dim=-1)
        shared = k_rope[:, None].expand(-1, self.n_head, -1, -1)
        return torch.cat((q_nope, q_rope), dim=-1), torch.cat((k_nope, shared), dim=-1), v

    def naive(
        self, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, look: dict[str, Any]
    ) -> Tensor:
        """As the paper writes it: unfold everything, attend as always. Scale: 1 / sqrt(D + R)."""
        q, k, v = self.unfold(q_nope, q_rope, latent, k_rope)
        return attend(q, k, v, **look, backend=self.backend, dropout=self.dropout, training=self.training)

    def absorbed(
        self, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, look: dict[str, Any]
    ) -> Tensor:
        """The same from the latents themselves: (B, H, T, D)."""
        batch, _, time, _ = q_nope.shape
        w_uk, w_uv = self.up_matrices()  # each (H, D, C)
        scale = (self.head_dim + self.rope_dim) ** -0.5
        # (W_ukᵀ q) · c: the query moves into the latent's space, all heads read the same keys.
        query = torch.cat((per_head(q_nope, in_one_piece(w_uk)), q_rope), dim=-1) * scale  # (B, H, T, C + R)
        rows = query.reshape(batch, 1, self.n_head * time, -1)
        scores = key_products(rows[..., : self.latent_dim], latent[:, None])
        if self.rope_dim:
            scores = scores + key_products(rows[..., self.latent_dim :], k_rope[:, None])
        scores = scores.view(batch, self.n_head, time, -1)  # (B, H, T, K)
        if look.get("bias") is not None:
            scores = scores + look["bias"].to(scores.dtype)
        order = order_mask(time, latent.size(1), bool(look.get("causal")), look.get("window"), latent.device)
        weights = masked_softmax(
            scores, combine_masks(order, look["mask"]), may_be_empty=look["mask"] is not None
        )
        weights = torch.nn.functional.dropout(weights, self.dropout, self.training)
        context = value_sums(
            weights.view(batch, 1, self.n_head * time, -1), latent[:, None]
        )  # (B, 1, H·T, C)
        context = context.view(batch, self.n_head, time, -1)
        return per_head(context, in_one_piece(w_uv).transpose(1, 2))  # (B, H, T, D)

    def up_matrices(self) -> tuple[Tensor, Tensor]:
        """W_uk and W_uv of every head, each (H, D, C), cut from `kv_up_proj`."""
        both = self.kv_up_proj.weight.view(self.n_head, 2 * self.head_dim, self.latent_dim)
        w_uk, w_uv = both.split(self.head_dim, dim=1)
        return w_uk, w_uv

    def choose_path(self, queries: int, keys: int) -> str:
        """The path with fewer multiplications for so many queries and keys, unless `path` names one.

        Naive unfolds each key once, K · C · 2D, and then pays D + R and D for each pair; absorbed pays 2 C + R for
        each pair and nothing for unfolding. So a long prefill is naive and a single token absorbed.
        """
        if self.path not in PATHS:
            raise UserError(f"path is {self.path!r}: choose one of {', '.join(PATHS)}")
        if self.path != "auto":
            return self.path
        c, d, r = self.latent_dim, self.head_dim, self.rope_dim
        naive = keys * c * 2 * d + queries * keys * (2 * d + r)
        absorbed = queries * 2 * d * c + queries * keys * (2 * c + r)
        return "absorbed" if absorbed < naive else "naive"


def per_head(x: Tensor, matrices: Tensor) -> Tensor:
    """x (B, H, T, A) times one matrix for each head, (H, A, C) -> (B, H, T, C).

    The rows of the batch stand beside the tokens, so that the matrices are not copied for each of them.
    """
    batch, heads, time, _ = x.shape
    rows = x.transpose(0, 1).reshape(heads, batch * time, -1)
    return torch.bmm(rows, matrices).view(heads, batch, time, -1).transpose(0, 1)


def latent_dims(config: Any) -> tuple[int, int]:
    """(kv_latent_dim, rope_dim) of a configuration: by default a third of n_embd, and half a head.

    Without rotary positions nothing is rotated and rope_dim is 0.
    """
    latent = getattr(config, "kv_latent_dim", None) or max(1, config.n_embd // 3)
    if config.position != "rope":
        return latent, 0
    half = max(2, config.n_embd // config.n_head // 4 * 2)
    rope = getattr(config, "rope_dim", None) or half
    if rope % 2:
        raise UserError(f"rope_dim is {rope} but rotary positions turn pairs: make it even")
    return latent, rope
