"""Scaled dot-product attention: by hand, by PyTorch's SDPA, and by FlexAttention, with equal results.

    attend(q, k, v) = softmax(q kᵀ / √d + mask) v

The idea in three lines: each query asks every key "how relevant are you?" (a dot product), the answers
become shares that sum to one (softmax), and the output is the average of the values by those shares.

Vaswani et al. 2017 (arXiv 1706.03762, section 3.2.1). `manual` is the reference that reads like the
formula; `sdpa` is torch's fused kernel; `flex` is FlexAttention. `auto` picks by shape in
`choose_backend`, the one place where that is decided.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_mechanisms.masks import causal_mask, combine_masks
from utils.errors import UserError

BACKENDS = ("auto", "manual", "sdpa", "flex")


def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    """How relevant each key is to each query: q (B, H, Q, D), k (B, H, K, D) -> (B, H, Q, K), divided by √D.

    Dividing keeps the variance of a sum of D products near one, so that softmax does not start
    saturated. The query is scaled, not the Q × K table: the same result for less work.
    """
    return (q / math.sqrt(q.size(-1))) @ k.transpose(-2, -1)


def mask_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as numbers to add to scores: 0 = may look, the lowest finite number = may not.

    The exponential of that number is exactly 0 beside any real score. It is finite, because -inf in a row
    without any permitted key would give NaN, in the gradient too. Adding a small table to the scores costs a
    half of what `masked_fill` does, whose backward pass walks the whole table again.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(
        ~mask, torch.finfo(dtype).min
    )


def masked_softmax(scores: Tensor, mask: Tensor | None, *, may_be_empty: bool = True) -> Tensor:
    """Shares over the keys, (B, H, Q, K) -> the same shape; forbidden keys get exactly 0, rows sum to 1.

    A query that may look at nobody (in a row of padding) gets zeros and no NaN. Where the caller knows that
    there is no such query, `may_be_empty=False` saves a pass over the table.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    weights = (scores + mask_bias(mask, scores.dtype)).softmax(dim=-1)
    return weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0) if may_be_empty else weights


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """The attention map itself, (B, H, Q, K): what a heatmap shows and what `manual` multiplies with v."""
    may_be_empty = mask is not None  # under the causal mask alone, every query sees at least itself
    if causal:
        mask = combine_masks(causal_mask(q.size(-2), k.size(-2), q.device), mask)
    return masked_softmax(attention_scores(q, k), mask, may_be_empty=may_be_empty)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    backend: str = "manual",
    dropout: float = 0.0,
    training: bool = False,
) -> Tensor:
    """Attention output (B, H, Q, D) of q (B, H, Q, D) over k, v (B, H, K, D).

    `mask` is boolean, True = may look, and broadcasts to (B, H, Q, K). `causal=True` adds the causal
    mask, aligned bottom right when Q < K; saying it by name lets a backend skip building it. Dropout on the
    shares is active only when `training`. A row that may look at nothing gives zeros.
    """
    if mask is not None and mask.dtype != torch.bool:
        raise UserError(
            f"attend: mask has dtype {mask.dtype}: give a boolean mask, True where a query may look"
        )
    if k.dtype != q.dtype:  # a cache may be kept in another precision than the model computes in
        k, v = k.to(q.dtype), v.to(q.dtype)
    dropout = dropout if training else 0.0
    q_len, k_len = q.size(-2), k.size(-2)
    if causal and q_len == 1:
        causal = False  # the newest token may look at everything: nothing to mask while decoding
    if backend == "auto":
        backend = choose_backend(q, k)
    if backend == "manual":
        weights = attention_weights(q, k, mask, causal=causal)  # (B, H, Q, K)
        return F.dropout(weights, dropout, training=dropout > 0).to(v.dtype) @ v  # (B, H, Q, D)
    if backend == "sdpa":
        # is_causal is aligned top left: right only for a square without further masks.
        if causal and (mask is not None or q_len != k_len):
            mask, causal = combine_masks(causal_mask(q_len, k_len, q.device), mask), False
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
    if backend == "flex":
        if dropout:
            raise UserError("attend: FlexAttention has no dropout on the shares: use backend manual or sdpa")
        if causal:
            mask = combine_masks(causal_mask(q_len, k_len, q.device), mask)
        return _flex(q, k, v, mask)
    raise UserError(f"attend: backend is {backend!r}: choose one of {', '.join(BACKENDS)}")


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """FlexAttention (torch.nn.attention.flex_attention), forward only on CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    if q.device.type == "cpu" and torch.is_grad_enabled() and (q.requires_grad or k.requires_grad):
        raise UserError(
            "attend: FlexAttention has no backward on the CPU: use it under torch.no_grad(), "
            "or choose backend manual or sdpa"
        )
    if mask is None:
        return flex_attention(q, k, v)
    allowed = mask.expand(q.size(0), q.size(1), q.size(2), k.size(2))

    def keep(score: Tensor, b: Tensor, h: Tensor, q_index: Tensor, k_index: Tensor) -> Tensor:
        return torch.where(allowed[b, h, q_index, k_index], score, -torch.inf)

    return flex_attention(q, k, v, score_mod=keep)


def choose_backend(q: Tensor, k: Tensor) -> str:
    """The fastest exact backend for these shapes, dtype and device: "manual" or "sdpa".

    Measured on x86 with AVX-512 and without AMX, forward + backward, one thread, torch 2.13: SDPA's bf16
    backward on the CPU is slow, so the formula by hand takes half of its time at 16 × 6 heads × 256 × 32
    (29 against 58 ms), an equal time at 1,024 keys, and more beyond; in float32 SDPA is ahead from 256 keys
    on (54 against 68 ms). On a GPU SDPA means FlashAttention and is always ahead.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.size(-2) <= 512:
        return "manual"
    return "sdpa"
