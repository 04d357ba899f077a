"""Scaled dot-product attention: by hand, by PyTorch's SDPA, and by FlexAttention, with equal results.

    attend(q, k, v) = softmax(q kᵀ / √d + bias + mask) v

The idea in three lines: each query asks every key "how relevant are you?" (a dot product), the answers
become shares that sum to one (softmax), and the output is the average of the values by those shares.

Vaswani et al. 2017 (arXiv 1706.03762, section 3.2.1). `manual` is the reference that reads like the
formula; `sdpa` is torch's fused kernel; `flex` is FlexAttention; `grouped`, `blocks` and `bands` are the
formula again, arranged for decoding, for training on a CPU and for windows (`fast_attention`). `auto` picks
by shape, dtype and device in `choose_backend`, the one place where that is decided.
Notebooks: 01 and 02 of this chapter.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_mechanisms import fast_attention
from attention_mechanisms.masks import causal_mask, check_window, combine_masks, window_mask
from utils.device import fp32_through_onednn
from utils.errors import UserError

BACKENDS = ("auto", "manual", "sdpa", "flex")
FAST = ("grouped", "blocks", "bands")  # arrangements of the same formula, each for some shapes only


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


def attention_weights(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The attention map itself, (B, H, Q, K): what a heatmap shows and what `manual` multiplies with v."""
    may_be_empty = mask is not None  # under the causal mask alone, every query sees at least itself
    mask = combine_masks(order_mask(q.size(-2), k.size(-2), causal, window, q.device), mask)
    scores = attention_scores(q, repeat_heads(k, q.size(1)))
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return masked_softmax(scores, mask, may_be_empty=may_be_empty)


def order_mask(
    q_len: int, k_len: int, causal: bool, window: int | None, device: torch.device | str
) -> Tensor | None:
    """The mask that `causal` and `window` stand for, (Q, K), or None where every query may see every key."""
    if window is not None:
        return window_mask(q_len, k_len, window, device)
    return causal_mask(q_len, k_len, device) if causal and q_len > 1 else None


def repeat_heads(x: Tensor, n_head: int) -> Tensor:
    """Keys or values (B, H_kv, K, D) for n_head query heads: head h reads key head h // (n_head / H_kv).

    >>> repeat_heads(torch.tensor([[[[1.0]], [[2.0]]]]), 4).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if x.size(1) == n_head:
        return x
    if n_head % x.size(1):
        raise UserError(f"{n_head} query heads cannot share {x.size(1)} key heads evenly")
    return x.repeat_interleave(n_head // x.size(1), dim=1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    backend: str = "manual",
    dropout: float = 0.0,
    training: bool = False,
) -> Tensor:
    """Attention output (B, H, Q, D_v) of q (B, H, Q, D) over k (B, H_kv, K, D), v (B, H_kv, K, D_v).

    `mask` is boolean, True = may look, and broadcasts to (B, H, Q, K). `causal=True` adds the causal
    mask, aligned bottom right when Q < K; a `window` W adds the band of the newest W keys, the query's own
    included (it implies causal); saying these by name lets a backend skip building them. `bias` is added to the
    scores and broadcasts to (B, H, Q, K). With fewer key heads than query heads, each serves H / H_kv of them.
    Dropout on the shares is active only when `training`. A row that may look at nothing gives zeros.
    """
    if mask is not None and mask.dtype != torch.bool:
        raise UserError(
            f"attend: mask has dtype {mask.dtype}: give a boolean mask, True where a query may look"
        )
    if k.dtype != q.dtype:  # a cache may be kept in another precision than the model computes in
        k, v = k.to(q.dtype), v.to(q.dtype)
    dropout = dropout if training else 0.0
    q_len, k_len = q.size(-2), k.size(-2)
    check_table("mask", mask, q, k_len)
    check_table("bias", bias, q, k_len)
    if window is not None:
        check_window(window)
        causal = True
        window = None if window >= k_len else window  # wider than the text: no table is needed
    if causal and q_len > k_len:
        raise UserError(
            f"attend: {q_len} queries but only {k_len} keys: the keys must include those of the queries"
        )
    if causal and q_len == 1 and window is None:
        causal = False  # the newest token may look at everything: nothing to mask while decoding
    if backend == "auto":
        backend = choose_backend(
            q,
            k,
            masked=mask is not None,
            causal=causal,
            window=window,
            biased=bias is not None,
            dropout=dropout,
        )
    if backend == "manual":
        weights = attention_weights(q, k, mask, causal=causal, window=window, bias=bias)  # (B, H, Q, K)
        return F.dropout(weights, dropout, training=dropout > 0).to(v.dtype) @ repeat_heads(v, q.size(1))
    if backend == "sdpa":
        return _sdpa(q, k, v, mask, causal, window, bias, dropout)
    if dropout:
        raise UserError(f"attend: backend {backend} has no dropout on the shares: use manual or sdpa")
    if backend == "flex":
        return _flex(q, k, v, combine_masks(order_mask(q_len, k_len, causal, window, q.device), mask), bias)
    if backend == "grouped":
        mask = combine_masks(order_mask(q_len, k_len, causal, window, q.device), mask)
        return fast_attention.grouped(q, k, v, mask, bias)
    if backend in ("blocks", "bands") and (mask is not None or bias is not None or not causal):
        raise UserError(f"attend: backend {backend} knows causal attention without mask and bias only")
    if backend == "blocks" and window is None and q_len == k_len:
        return fast_attention.blocks(q, repeat_heads(k, q.size(1)), repeat_heads(v, q.size(1)))
    if backend in ("blocks", "bands"):
        return fast_attention.bands(q, k, v, window or k_len)
    raise UserError(f"attend: backend is {backend!r}: choose one of {', '.join(BACKENDS + FAST)}")


def check_table(name: str, table: Tensor | None, q: Tensor, k_len: int) -> None:
    """Raise a UserError unless the mask or bias broadcasts to (B, H, Q, K)."""
    full = (*q.shape[:3], k_len)
    if table is None:
        return
    if table.dim() > 4 or any(n not in (1, m) for n, m in zip(reversed(table.shape), reversed(full))):
        raise UserError(f"attend: {name} has shape {tuple(table.shape)}, which does not broadcast to {full}")


def _sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    window: int | None,
    bias: Tensor | None,
    dropout: float,
) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention, with the masks it needs and no others."""
    narrower = q.size(-1) - v.size(-1)
    # MLA's values: torch's fused kernels know one width only, and without them there is a whole Q × K table.
    if narrower > 0:
        wide = F.pad(v, (0, narrower))
        return _sdpa(q, k, wide, mask, causal, window, bias, dropout)[..., : v.size(-1)]
    q_len, k_len = q.size(-2), k.size(-2)
    # is_causal is aligned top left: right only for a square without further masks.
    if window is not None or (causal and (mask is not None or bias is not None or q_len != k_len)):
        mask, causal = combine_masks(order_mask(q_len, k_len, causal, window, q.device), mask), False
    grouped = q.size(1) != k.size(1)
    if bias is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
        )
    added = bias.to(q.dtype)
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=added, dropout_p=dropout, enable_gqa=grouped)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=added + mask_bias(mask, q.dtype), dropout_p=dropout, enable_gqa=grouped
    )
    # With a float mask torch does not see that a query may look at nobody.
    return out.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """FlexAttention (torch.nn.attention.flex_attention), forward only on CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    if q.device.type == "cpu" and torch.is_grad_enabled() and (q.requires_grad or k.requires_grad):
        raise UserError(
            "attend: FlexAttention has no backward on the CPU: use it under torch.no_grad(), "
            "or choose backend manual or sdpa"
        )
    grouped = q.size(1) != k.size(1)
    if mask is None and bias is None:
        return flex_attention(q, k, v, enable_gqa=grouped)
    shape = (q.size(0), q.size(1), q.size(2), k.size(2))
    allowed = None if mask is None else mask.expand(shape)
    added = None if bias is None else bias.to(q.dtype).expand(shape)

    def score(value: Tensor, b: Tensor, h: Tensor, q_index: Tensor, k_index: Tensor) -> Tensor:
        if added is not None:
            value = value + added[b, h, q_index, k_index]
        if allowed is not None:
            value = torch.where(allowed[b, h, q_index, k_index], value, -torch.inf)
        return value

    return flex_attention(q, k, v, score_mod=score, enable_gqa=grouped)


def choose_backend(
    q: Tensor,
    k: Tensor,
    *,
    masked: bool = False,
    causal: bool = False,
    window: int | None = None,
    biased: bool = False,
    dropout: float = 0.0,
) -> str:
    """The fastest exact backend for these shapes, dtype and device. The only place where that is decided.

    On a GPU SDPA means FlashAttention and is taken for everything it can do without a table. On a CPU the limits are
    where one overtook the other on x86 with AVX-512 and without AMX, two threads, torch 2.13; what the choices gain
    is in `results/kernels.json` (`python -m attention_mechanisms.benchmark`). In float32 SDPA is hard to beat, but for
    training on 256 to 1,024 tokens, and where float32 goes through oneDNN (`utils.device`), which SDPA's many small
    products suffer from. In bf16 it is not: one query of 12 heads is quicker `grouped` from about 170 keys on, eight
    rows of them from 20 keys on; a whole text is quicker by hand up to 256 tokens, and in `blocks` beyond.
    """
    q_len, k_len = q.size(-2), k.size(-2)
    plain = not (masked or biased or dropout)
    if window is not None and plain and q_len >= 64:
        return "bands"
    if q.device.type != "cpu":
        return "sdpa"
    trains = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    half = q.dtype == torch.bfloat16
    many_keys = q.size(0) * q.size(1) * k_len >= 2048 if half else k_len >= 4096
    if not trains and not dropout and q_len <= 4 and many_keys:
        return "grouped"
    slow_sdpa = half or (q.dtype == torch.float32 and fp32_through_onednn())
    # SDPA keeps no table for its backward pass, `blocks` does: in float32 not for the longest texts.
    if plain and causal and q_len == k_len >= 256 and (half or ((trains or slow_sdpa) and k_len <= 1024)):
        return "blocks"
    if slow_sdpa and k_len <= (512 if half else 256) and q_len > 4:
        return "manual"
    return "sdpa"
