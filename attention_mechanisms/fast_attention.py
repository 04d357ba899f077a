"""The formula of `attention`, arranged for three situations in which a CPU's general kernel is slow.

`grouped`   few queries, many keys (decoding): one batched product over the preallocated cache. The query heads
            that share a key head are stacked as rows of one matrix, so each key is read from memory once, and
            that reading is what bounds decoding.
`blocks`    training: rows of queries in blocks, each against the keys up to its diagonal, so that half of the
            table is never computed; probabilities are kept in the model's precision for a backward pass written
            out by hand.
`bands`     windows: the same blocks against the newest W keys only; time grows with T · W, not T².

All are exact up to rounding and held to the reference by law LA3. The softmax runs in float32. The backward pass is
that of FlashAttention (Dao et al. 2022, arXiv 2205.14135, appendix B.2): for o = p v the gradient of the scores is
p (do vᵀ - rowsum(do · o)).
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_mechanisms.masks import visible

BLOCK_ROWS = 64


def grouped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """q (B, H, Q, D) over k, v (B, H_kv, K, D) -> (B, H, Q, D_v); `mask` and `bias` broadcast to (B, H, Q, K)."""
    batch, n_head, q_len, _ = q.shape
    n_kv, k_len = k.size(1), k.size(2)
    rows = (q / math.sqrt(q.size(-1))).reshape(batch, n_kv, -1, q.size(-1))  # (B, H_kv, H/H_kv · Q, D)
    scores = rows @ k.transpose(-2, -1)  # (B, H_kv, H/H_kv · Q, K)
    if mask is not None or bias is not None:
        table = scores.view(batch, n_head, q_len, k_len)
        if bias is not None:
            table = table + bias.to(table.dtype)
        if mask is not None:
            table = table.masked_fill(~mask, torch.finfo(table.dtype).min)
        scores = table.view(batch, n_kv, -1, k_len)
    weights = scores.softmax(dim=-1, dtype=wide(scores)).to(v.dtype)
    out = (weights @ v).view(batch, n_head, q_len, v.size(-1))
    if mask is not None:
        out = out.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return out


def bands(q: Tensor, k: Tensor, v: Tensor, window: int, block: int | None = None) -> Tensor:
    """Causal attention to the newest `window` keys, aligned bottom right, in time linear in the number of queries.

    q (B, H, Q, D), k, v (B, H_kv, K, D) with Q <= K -> (B, H, Q, D_v).
    """
    q_len, k_len = q.size(-2), k.size(-2)
    block = block or max(BLOCK_ROWS, min(256, window // 2))
    offset = k_len - q_len  # query i stands at key i + offset
    pieces = []
    for begin in range(0, q_len, block):
        end = min(begin + block, q_len)
        first, last = max(0, offset + begin - window + 1), offset + end
        mask = visible(
            torch.arange(offset + begin, offset + end, device=q.device),
            torch.arange(first, last, device=q.device),
            window=window,
        )
        pieces.append(grouped(q[:, :, begin:end], k[:, :, first:last], v[:, :, first:last], mask))
    return torch.cat(pieces, dim=-2)


def blocks(q: Tensor, k: Tensor, v: Tensor, block: int = BLOCK_ROWS) -> Tensor:
    """Causal attention of a square, q, k, v (B, H, T, D) -> (B, H, T, D_v), with a backward pass of its own."""
    return _Blocks.apply(q, k, v, block)


class _Blocks(torch.autograd.Function):
    """Query rows in blocks against the keys up to the diagonal; only the diagonal block is masked."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
        batch, heads, length, dim = q.shape
        q, k, v = (x.reshape(batch * heads, length, -1) for x in (q, k, v))  # (BH, T, D)
        scale = 1 / math.sqrt(dim)
        out = torch.empty_like(v)
        future = _future(block, q)
        shares = []
        for begin in range(0, length, block):
            end = min(begin + block, length)
            scores = torch.bmm(q[:, begin:end] * scale, k[:, :end].transpose(1, 2))  # (BH, rows, end)
            scores[:, :, begin:] += future[: end - begin, : end - begin]
            p = scores.softmax(dim=-1, dtype=wide(scores)).to(q.dtype)
            out[:, begin:end] = torch.bmm(p, v[:, :end])
            shares.append(p)
        ctx.save_for_backward(q, k, v, out, *shares)
        ctx.block, ctx.shape = block, (batch, heads)
        return out.view(batch, heads, length, -1)

    @staticmethod
    @once_differentiable  # the shares were saved without their graph: a second derivative would be wrong
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        q, k, v, out, *shares = ctx.saved_tensors
        grad = grad.reshape(out.shape)
        length, block = q.size(1), ctx.block
        scale = 1 / math.sqrt(q.size(-1))
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(x.shape, dtype=wide(x), device=x.device) for x in (k, v))
        inner = (grad.to(wide(out)) * out).sum(dim=-1, keepdim=True)  # (BH, T, 1)
        for begin, p in zip(range(0, length, block), shares, strict=True):
            end = min(begin + block, length)
            d_out = grad[:, begin:end]
            dv[:, :end] += torch.bmm(p.transpose(1, 2), d_out)
            dp = torch.bmm(d_out, v[:, :end].transpose(1, 2))
            ds = (p * (dp - inner[:, begin:end])).to(q.dtype) * scale
            dq[:, begin:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end] += torch.bmm(ds.transpose(1, 2), q[:, begin:end])
        shape = (*ctx.shape, length, -1)
        return dq.view(shape), dk.to(k.dtype).view(shape), dv.to(v.dtype).view(shape), None


def wide(x: Tensor) -> torch.dtype:
    """The dtype for sums over many tokens: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def _future(block: int, like: Tensor) -> Tensor:
    """(block, block): 0 on and below the diagonal, the lowest number above it."""
    table = torch.zeros(block, block, dtype=like.dtype, device=like.device)
    above = torch.ones(block, block, dtype=torch.bool, device=like.device).triu(1)
    return table.masked_fill_(above, torch.finfo(like.dtype).min)
