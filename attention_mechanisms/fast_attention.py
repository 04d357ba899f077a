"""The formula of `attention`, arranged for three situations in which a CPU's general kernel is slow.

`grouped`   few queries, many keys (decoding): a product over the preallocated cache as it lies. The query heads
            that share a key head are stacked as rows of one matrix, so each key is read from memory once, and
            that reading is what bounds decoding.
`blocks`    training: a few heads at a time, so that their table stays in the CPU's cache between one step and the
            next; rows of queries in blocks, each against the keys up to its diagonal, so that almost half of the
            table is never computed; shares are kept in the model's precision for a backward pass written out by
            hand.
`bands`     windows: the same blocks against the newest W keys only; time grows with T · W, not T².

All are exact up to rounding and held to the reference by law LA3. Softmax sums in float32 whatever the dtype of the
scores (torch's kernels do so inside). The backward pass is that of FlashAttention (Dao et al. 2022, arXiv 2205.14135,
appendix B.2), with the softmax's own derivative: p (dp - rowsum(p · dp)) for dp = do vᵀ.

A lesson in strides: torch's batched product in bf16 hands its operands to oneDNN, which wants each of them in one
piece. Part of a preallocated cache is not in one piece, so it is copied first, and a transposed part is copied
number by number: five times the time of the product. Hence `key_products` and `value_sums`.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_mechanisms.masks import visible

BLOCK_ROWS = 128
TABLE_NUMBERS = 2**20  # of scores in a block: 2 MB in bf16, what a core's caches hold
KEYS_ALONE = 4096  # with so many keys, one product a head beats copying them into one piece
PIECES = 16  # of the keys, for a sum over all of them on several cores


def grouped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """q (B, H, Q, D) over k, v (B, H_kv, K, D) -> (B, H, Q, D_v); `mask` and `bias` broadcast to (B, H, Q, K)."""
    batch, n_head, q_len, _ = q.shape
    n_kv, k_len = k.size(1), k.size(2)
    rows = (q / math.sqrt(q.size(-1))).reshape(batch, n_kv, -1, q.size(-1))  # (B, H_kv, H/H_kv · Q, D)
    scores = key_products(rows, k)  # (B, H_kv, H/H_kv · Q, K)
    if mask is not None or bias is not None:
        table = scores.view(batch, n_head, q_len, k_len)
        if bias is not None:
            table += bias.to(table.dtype)
        if mask is not None:
            table = table.masked_fill(~mask, torch.finfo(table.dtype).min)
        scores = table.view(batch, n_kv, -1, k_len)
    out = value_sums(scores.softmax(dim=-1).to(v.dtype), v).view(batch, n_head, q_len, v.size(-1))
    if mask is not None:
        out = out.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return out


def key_products(rows: Tensor, keys: Tensor) -> Tensor:
    """rows (B, H, R, D) on keys (B, H, K, D) -> (B, H, R, K): the scores, by the product that reads keys once."""
    if not (_needs_one_piece(keys) and _alone(rows, keys)):
        return rows @ in_one_piece(keys).transpose(-2, -1)
    scores = rows.new_empty(*rows.shape[:-1], keys.size(-2))
    for one_scores, one_rows, one_keys in zip(*map(_heads, (scores, rows, keys)), strict=True):
        torch.mm(one_rows, one_keys.t(), out=one_scores)
    return scores


def value_sums(weights: Tensor, values: Tensor) -> Tensor:
    """weights (B, H, R, K) over values (B, H, K, D) -> (B, H, R, D), each value read once."""
    if not _needs_one_piece(values) or not _alone(weights, values):
        return weights @ values
    sums = [_in_pieces(*one) for one in zip(_heads(weights), _heads(values), strict=True)]
    return torch.stack(sums).view(*weights.shape[:-1], values.size(-1))


def _in_pieces(weights: Tensor, values: Tensor) -> Tensor:
    """(R, K) @ (K, D), the keys in pieces whose sums are added: the result is so small that one core would do all.

    A single row is a matrix-vector product, which torch divides among the cores by itself.
    """
    pieces, rest = divmod(values.size(0), PIECES)
    whole = pieces * PIECES
    if not pieces or weights.size(0) == 1:
        return weights @ values
    parts = torch.bmm(
        weights[:, :whole].unflatten(1, (PIECES, pieces)).transpose(0, 1),  # (PIECES, R, K / PIECES)
        values[:whole].unflatten(0, (PIECES, pieces)),
    )
    total = parts.sum(dim=0)
    return total + weights[:, whole:] @ values[whole:] if rest else total


def in_one_piece(x: Tensor) -> Tensor:
    """x, or a copy of it where torch's batched product would make a slower one by itself."""
    return x.contiguous() if _needs_one_piece(x) else x


def _needs_one_piece(x: Tensor) -> bool:
    """Whether torch's batched product would copy x (B, H, K, D) unless it lies in one piece."""
    return x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16)


def _alone(x: Tensor, table: Tensor) -> bool:
    """Whether one product a head is quicker than one for all heads; never where a gradient is wanted."""
    long = table.size(-2) >= KEYS_ALONE or table.shape[:2].numel() == 1
    return long and not (torch.is_grad_enabled() and (x.requires_grad or table.requires_grad))


def _heads(x: Tensor) -> tuple[Tensor, ...]:
    """(B, H, R, C) as B · H matrices, without a copy."""
    return tuple(head for row in x.unbind(0) for head in row.unbind(0))


def bands(q: Tensor, k: Tensor, v: Tensor, window: int, block: int | None = None) -> Tensor:
    """Causal attention to the newest `window` keys, aligned bottom right, in time linear in the number of queries.

    q (B, H, Q, D), k, v (B, H_kv, K, D) with Q <= K -> (B, H, Q, D_v).
    """
    q_len, k_len = q.size(-2), k.size(-2)
    block = block or band_rows(window)
    offset = k_len - q_len  # query i stands at key i + offset
    pieces = []
    shape: tuple[int, ...] = ()
    for begin in range(0, q_len, block):
        end = min(begin + block, q_len)
        first, last = max(0, offset + begin - window + 1), offset + end
        if shape != (
            shape := (end - begin, last - first, first > 0)
        ):  # else the band lies as in the block before
            queries = torch.arange(offset + begin, offset + end, device=q.device)
            keys = torch.arange(first, last, device=q.device)
            hidden = _hide(~visible(queries, keys, window=window), q.dtype)
        pieces.append(grouped(q[:, :, begin:end], k[:, :, first:last], v[:, :, first:last], bias=hidden))
    return torch.cat(pieces, dim=-2)


def band_rows(window: int) -> int:
    """Queries in one block of a band: so many that few keys are looked at for nothing."""
    return max(64, min(BLOCK_ROWS, window // 2))


def blocks(q: Tensor, k: Tensor, v: Tensor, block: int = BLOCK_ROWS) -> Tensor:
    """Causal attention of a square, q, k, v (B, H, T, D) -> (B, H, T, D_v), with a backward pass of its own."""
    return _Blocks.apply(q, k, v, block)


class _Blocks(torch.autograd.Function):
    """A few heads at a time; their query rows in blocks against the keys up to the diagonal block, which is masked."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
        batch, heads, length, dim = q.shape
        q, k, v = (x.reshape(batch * heads, length, -1) for x in (q, k, v))  # (BH, T, D)
        q = q * (1 / math.sqrt(dim))
        out = torch.empty_like(v)
        future = _future(block, q)
        shares = []
        for some in _some_heads(batch * heads, min(block, length) * length):
            for begin in range(0, length, block):
                end = min(begin + block, length)
                # `contiguous` in front of a transpose: see the lesson above.
                scores = torch.bmm(q[some, begin:end], k[some, :end].contiguous().transpose(1, 2))
                scores[:, :, begin:] += future[: end - begin, : end - begin]  # (some, rows, end)
                p = scores.softmax(dim=-1).to(q.dtype)  # autocast may have widened it
                out[some, begin:end] = torch.bmm(p, v[some, :end])
                if any(ctx.needs_input_grad):
                    shares.append(p)
        ctx.save_for_backward(q, k, v, *shares)
        ctx.block, ctx.shape = block, (batch, heads)
        return out.view(batch, heads, length, -1)

    @staticmethod
    @once_differentiable  # the shares were saved without their graph: a second derivative would be wrong
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        q, k, v, *shares = ctx.saved_tensors  # q is scaled
        grad = grad.reshape(v.shape)
        length, block = q.size(1), ctx.block
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        saved = iter(shares)
        for some in _some_heads(q.size(0), min(block, length) * length):
            # A key is looked at from its own block and every later one: its gradients are summed in float32.
            dk_sum, dv_sum = (torch.zeros_like(x[some], dtype=wide(x)) for x in (k, v))
            for begin in range(0, length, block):
                p, end = next(saved), min(begin + block, length)
                d_out = grad[some, begin:end].contiguous()
                dv_sum[:, :end] += torch.bmm(p.transpose(1, 2), d_out)
                dp = torch.bmm(d_out, v[some, :end].contiguous().transpose(1, 2))
                ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)  # p · (dp - rowsum(p · dp))
                dq[some, begin:end] = torch.bmm(ds, k[some, :end])
                dk_sum[:, :end] += torch.bmm(ds.transpose(1, 2), q[some, begin:end])
            dk[some], dv[some] = dk_sum, dv_sum
        dq *= 1 / math.sqrt(q.size(-1))
        shape = (*ctx.shape, length, -1)
        return dq.view(shape), dk.view(shape), dv.view(shape), None


def _some_heads(heads: int, block_numbers: int) -> list[slice]:
    """Slices of 0 … heads, each of so many heads that a block of their scores is about `TABLE_NUMBERS` large."""
    step = max(1, TABLE_NUMBERS // block_numbers)
    return [slice(begin, min(begin + step, heads)) for begin in range(0, heads, step)]


def wide(x: Tensor) -> torch.dtype:
    """The dtype for sums over many tokens: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def _future(block: int, like: Tensor) -> Tensor:
    """(block, block): 0 on and below the diagonal, the lowest number above it."""
    return _hide(torch.ones(block, block, dtype=torch.bool, device=like.device).triu(1), like.dtype)


def _hide(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: the lowest number where `hidden`, else 0."""
    table = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return table.masked_fill_(hidden, torch.finfo(dtype).min)
