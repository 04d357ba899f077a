"""LA3 for the fast arrangements of attention: `grouped`, `blocks`, `bands`, and the choice between all backends.

The reference is the definition, query by query in float64: the keys a query may see are picked out, so that no
mask, no block and no minus infinity takes part.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from attention_checks import assert_near, loop_attention
from torch import Tensor

from attention_mechanisms import attend, attention, fast_attention
from utils.errors import UserError

KERNEL_SHAPES = [(1, 1), (1, 9), (2, 9), (4, 4), (5, 5), (7, 11), (13, 13)]
HEADS = [(4, 4), (4, 2), (4, 1)]


def tensors(
    q_len: int, k_len: int, heads: tuple[int, int] = (4, 4), dim: int = 4, dim_v: int = 4, seed: int = 0
) -> list[Tensor]:
    """Loud q, k, v in float64."""
    g = torch.Generator().manual_seed(seed)
    shapes = (heads[0], q_len, dim), (heads[1], k_len, dim), (heads[1], k_len, dim_v)
    return [1.5 * torch.randn(2, *shape, generator=g, dtype=torch.float64) for shape in shapes]


def band(q_len: int, k_len: int, window: int | None) -> Tensor:
    """Bottom-right: query i stands at key i + K - Q; it sees that key and the window - 1 before it."""
    rows = [[i + k_len - q_len - j for j in range(k_len)] for i in range(q_len)]
    return torch.tensor([[0 <= d < (window or k_len + 1) for d in row] for row in rows])


def by_definition(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each query over the keys it may see, and no others: differentiable, in the dtype that comes."""
    batch, n_head, q_len, dim = q.shape
    allowed = allowed.expand(batch, n_head, q_len, k.size(2))
    rows = []
    for b, h, i in itertools.product(range(batch), range(n_head), range(q_len)):
        keys = allowed[b, h, i].nonzero()[:, 0]
        kv = h // (n_head // k.size(1))
        scores = k[b, kv, keys] @ q[b, h, i] / math.sqrt(dim)
        if bias is not None:
            scores = scores + bias.expand(batch, n_head, q_len, k.size(2))[b, h, i, keys]
        rows.append(scores.softmax(0) @ v[b, kv, keys] if len(keys) else v[b, kv, :0].sum(0))
    return torch.stack(rows).view(batch, n_head, q_len, -1)


@torch.no_grad()
def check_the_reference_is_the_loop() -> None:
    """This file's reference against `attention_checks.loop_attention`, which is plain Python."""
    for q_len, k_len in KERNEL_SHAPES:
        q, k, v = tensors(q_len, k_len)
        expected = loop_attention(q, k, v, None, causal=True)
        assert_near(by_definition(q, k, v, band(q_len, k_len, None)), expected, 1e-12, "the reference itself")


@torch.no_grad()
def check_grouped() -> None:
    """`grouped`, any mask and bias, any number of shared heads, fewer queries than keys."""
    g = torch.Generator().manual_seed(4)
    for (q_len, k_len), heads in itertools.product(KERNEL_SHAPES, HEADS):
        q, k, v = tensors(q_len, k_len, heads, dim_v=6)
        free = torch.rand(2, 4, q_len, k_len, generator=g) < 0.5
        free[0, :, 0] = False  # nobody to look at
        bias = torch.randn(4, q_len, k_len, generator=g, dtype=torch.float64)
        everybody = torch.ones(q_len, k_len, dtype=torch.bool)
        for mask, added in (
            (None, None),
            (free, None),
            (None, bias),
            (free, bias),
            (band(q_len, k_len, 3), None),
        ):
            got = fast_attention.grouped(q, k, v, mask, added)
            expected = by_definition(q, k, v, everybody if mask is None else mask, added)
            assert_near(got, expected, 1e-12, (
                f"grouped, {heads[0]} query heads over {heads[1]} key heads, {q_len} queries, {k_len} keys: head "
                "h reads key head h // (H / H_kv), and a query that may look at nobody gives zeros"
            ))  # fmt: skip


@torch.no_grad()
def check_bands() -> None:
    """`bands` for every window and block size: the edges of blocks fall everywhere in the band."""
    for (q_len, k_len), heads in itertools.product(KERNEL_SHAPES, HEADS[:2]):
        q, k, v = tensors(q_len, k_len, heads, dim_v=6)
        for window, block in itertools.product((1, 2, 3, 5, k_len, k_len + 3), (1, 2, 3, 64, None)):
            got = fast_attention.bands(q, k, v, window, block)
            assert_near(got, by_definition(q, k, v, band(q_len, k_len, window)), 1e-12, (
                f"bands, window {window}, blocks of {block}, {q_len} queries, {k_len} keys: a block needs the keys "
                "from its first query's window to its last query, both included"
            ))  # fmt: skip


@torch.no_grad()
def check_blocks() -> None:
    """`blocks` for lengths that are no multiple of the block, and values wider than keys."""
    for length, block in itertools.product((1, 2, 5, 13), (1, 2, 4, 5, 64)):
        q, k, v = tensors(length, length, dim_v=6)
        expected = by_definition(q, k, v, band(length, length, None))
        hint = f"blocks of {block} over {length} tokens: only the block on the diagonal is masked, and it must be"
        assert_near(fast_attention.blocks(q, k, v, block), expected, 1e-12, hint)


def check_blocks_gradient() -> None:
    """The backward pass written by hand equals autograd through the definition, and finite differences."""
    for length, block in ((1, 2), (5, 2), (6, 3), (7, 64)):
        ours = [x.requires_grad_() for x in tensors(length, length, dim_v=5)]
        theirs = [x.detach().clone().requires_grad_() for x in ours]
        weight = torch.randn(2, 4, length, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        (fast_attention.blocks(*ours, block) * weight).sum().backward()
        (by_definition(*theirs, band(length, length, None)) * weight).sum().backward()
        for name, a, b in zip("qkv", ours, theirs):
            assert a.grad is not None and b.grad is not None
            assert_near(a.grad, b.grad, 1e-11, (
                f"blocks of {block} over {length}: the gradient of {name}. For o = p v the scores' gradient is "
                "p (do v^T - rowsum(do o)); without the row sum softmax would not know that shares sum to one"
            ))  # fmt: skip
    small = [x[:1, :1].clone().requires_grad_() for x in tensors(5, 5, dim=2, dim_v=2)]
    assert torch.autograd.gradcheck(lambda q, k, v: fast_attention.blocks(q, k, v, 2), small)


def check_blocks_of_some_heads(table_numbers: int = 2 * 4 * 13) -> None:
    """Heads are taken a few at a time: the last few too, with their gradients; 8 heads in pieces of 2, 1, and 3."""
    for numbers in (table_numbers, 1, 3 * 4 * 13):
        ours = [x.requires_grad_() for x in tensors(13, 13)]
        theirs = [x.detach().clone().requires_grad_() for x in ours]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast_attention, "TABLE_NUMBERS", numbers)
            out = fast_attention.blocks(*ours, 4)
            expected = by_definition(*theirs, band(13, 13, None))
            assert_near(out, expected, 1e-12, "blocks, a few heads at a time: every head has its turn")
            out.square().sum().backward()
        expected.square().sum().backward()
        for name, a, b in zip("qkv", ours, theirs):
            assert a.grad is not None and b.grad is not None
            assert_near(a.grad, b.grad, 1e-11, f"blocks, a few heads at a time: the gradient of {name}")


@torch.no_grad()
def check_products_of_a_strided_cache() -> None:
    """bf16 keys in part of a preallocated cache: one product a head, or one for all, and the same numbers."""
    for heads, batch, q_len in itertools.product(HEADS, (1, 2), (1, 3)):
        for alone in (1, 10**6):
            q, k, v = (x[:batch].bfloat16() for x in tensors(q_len, 11, heads, dim=8, dim_v=6))
            slots = [torch.full((batch, heads[1], 16, x.size(-1)), torch.nan, dtype=x.dtype) for x in (k, v)]
            for cache, x in zip(slots, (k, v)):
                cache[:, :, :11] = x
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(fast_attention, "KEYS_ALONE", alone)
                got = fast_attention.grouped(q, *(cache[:, :, :11] for cache in slots))
            expected = by_definition(q.double(), k.double(), v.double(), torch.ones(q_len, 11).bool())
            off = (got.double() - expected).abs().max() / expected.abs().max()
            assert off < 2**-5, (
                f"grouped in bf16, {heads[0]} query heads over {heads[1]} key heads, {batch} rows: off by {off:.2e} of "
                "the largest number; each head has its own product, and free slots of the cache are never read"
            )


def check_bands_gradient() -> None:
    """`bands` and `grouped` are differentiated by autograd; the gradient is the definition's."""
    for (q_len, k_len), window in itertools.product(((7, 7), (4, 9)), (1, 3)):
        ours = [x.requires_grad_() for x in tensors(q_len, k_len, (4, 2))]
        theirs = [x.detach().clone().requires_grad_() for x in ours]
        fast_attention.bands(*ours, window, 2).square().sum().backward()
        by_definition(*theirs, band(q_len, k_len, window)).square().sum().backward()
        for name, a, b in zip("qkv", ours, theirs):
            assert a.grad is not None and b.grad is not None
            assert_near(a.grad, b.grad, 1e-11, f"bands, window {window}: the gradient of {name}")
    small = [x[:1, :1].clone().requires_grad_() for x in tensors(4, 6, dim=2, dim_v=2)]
    assert torch.autograd.gradcheck(lambda q, k, v: fast_attention.bands(q, k, v, 3, 2), small)


def check_blocks_has_no_second_derivative() -> None:
    """What was saved has no graph: a second derivative is refused, never wrong in silence."""
    q, k, v = (x.requires_grad_() for x in tensors(4, 4))
    (first,) = torch.autograd.grad(fast_attention.blocks(q, k, v).square().sum(), q, create_graph=True)
    try:
        first.sum().backward()
    except RuntimeError as error:
        assert "once_differentiable" in str(error), str(error)
    else:
        raise AssertionError("a second derivative of blocks came out, and it is wrong")


def check_bf16(kernel: str) -> None:
    """In bfloat16 output and gradients are within a few of its roundings (2^-8) of float64 on the same inputs."""
    q, k, v = (x.bfloat16() for x in tensors(70, 70, dim=16, dim_v=16))
    window = 9 if kernel == "bands" else None
    ours = [x.clone().requires_grad_() for x in (q, k, v)]
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    got = attend(*ours, causal=True, window=window, backend=kernel)
    assert got.dtype == torch.bfloat16
    scores = exact[0] @ exact[1].transpose(-2, -1) / 4
    expected = scores.masked_fill(~band(70, 70, window), -torch.inf).softmax(-1) @ exact[2]
    size = v.double().abs().max().item()
    assert_near(got, expected, 2**-5 * size, f"{kernel} in bfloat16: the output")
    got.double().square().sum().backward()
    expected.square().sum().backward()
    for name, a, b in zip("qkv", ours, exact):
        assert a.grad is not None and b.grad is not None
        error = (a.grad.double() - b.grad).norm() / b.grad.norm()
        assert error < 2**-5, f"{kernel} in bfloat16: the gradient of {name} is {error:.1%} off"


def check_every_choice(tries: int = 250, seed: int = 0) -> None:
    """Whatever the shapes, dtypes and masks, the backend that is chosen can do it, and gives the reference."""
    g = torch.Generator().manual_seed(seed)

    def draw(*values: object) -> object:
        return values[int(torch.randint(len(values), (), generator=g))]

    chosen: set[str] = set()
    for number in range(tries):
        q_len, dtype = (
            int(draw(1, 2, 5, 64, 65, 300, 300, 300)),
            draw(torch.float32, torch.bfloat16, torch.float64),
        )  # type: ignore[call-overload]
        k_len = q_len + int(draw(0, 0, 0, 30, 480))  # type: ignore[call-overload]
        heads, dim_v = draw(*HEADS), int(draw(4, 8))  # type: ignore[call-overload]
        causal, window = draw(True, True, False), draw(None, None, 1, 3, 40, 1000)
        trains = draw(True, False)
        q, k, v = (x.to(dtype) for x in tensors(q_len, k_len, heads, 8, dim_v, number))  # type: ignore[arg-type]
        mask = torch.rand(2, 1, q_len, k_len, generator=g) < 0.7 if draw(True, False, False) else None
        bias = torch.randn(4, q_len, k_len, generator=g) if draw(True, False, False) else None
        q, k, v = (x.requires_grad_(bool(trains)) for x in (q, k, v))
        what = (
            f"Q {q_len}, K {k_len}, heads {heads}, {dtype}, causal {causal}, window {window}, mask {mask is not None}, "
            f"bias {bias is not None}, training {trains}"
        )
        facts = {"masked": mask is not None, "causal": bool(causal or window), "window": window}
        if isinstance(window, int) and window >= k_len:
            facts["window"] = None
        name = attention.choose_backend(q, k, **facts, biased=bias is not None)  # type: ignore[arg-type]
        try:
            got = attend(q, k, v, mask, causal=bool(causal), window=window, bias=bias, backend="auto")  # type: ignore[arg-type]
        except UserError as error:
            raise AssertionError(f"{what}: {name} was chosen, which cannot do it: {error}") from None
        chosen.add(name)
        with torch.no_grad():
            allowed = band(q_len, k_len, window) if causal or window else torch.ones(q_len, k_len).bool()  # type: ignore[arg-type]
            if mask is not None:
                allowed = allowed & mask
            k64, v64 = (x.double().repeat_interleave(4 // x.size(1), 1) for x in (k, v))
            scores = q.double() @ k64.transpose(-2, -1) / math.sqrt(8)
            scores = scores + (0 if bias is None else bias.to(dtype).double())  # type: ignore[arg-type]
            nobody = ~allowed.any(-1, keepdim=True)
            weights = scores.masked_fill(~allowed & ~nobody, -torch.inf).softmax(-1).masked_fill(nobody, 0)
            tolerance = {torch.float64: 1e-11, torch.float32: 2e-5}.get(dtype, 2**-5 * v64.abs().max().item())  # type: ignore[call-overload]
            assert_near(got, weights @ v64, tolerance, f"{what}: backend {name} gives other numbers")
    missing = {"grouped", "blocks", "bands", "sdpa", "manual"} - chosen
    assert not missing, f"{missing} was never chosen in {tries} draws: is it still reachable?"
