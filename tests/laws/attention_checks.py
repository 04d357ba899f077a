"""Laws of attention itself, as functions that raise: LA1, LA3, LA7 (rotary part), LA8, LA9.

The reference is a loop in Python floats that reads like the definition, then torch's own modules; never
one backend of ours against another alone.
"""

from __future__ import annotations

import cmath
import itertools
import math
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

from attention_mechanisms import ATTENTIONS, RotaryPositions, attend, attention_weights, causal_mask
from attention_mechanisms.latent import LatentAttention

# FlexAttention runs forward only on a CPU, hence the no_grad below; it is a backend all the same.
SHAPES = [
    (5, 5),
    (1, 1),
    (1, 7),
    (3, 7),
    (6, 7),
]  # queries, keys: whole text, decoding, chunks on a warm cache


def attention_config(**fields: Any) -> Any:
    """What an attention module reads from a model's configuration."""
    defaults: dict[str, Any] = {
        "n_layer": 2, "n_embd": 16, "n_head": 4, "n_kv_head": None, "block_size": 32, "dropout": 0.0,
        "bias": True,
        "position": "learned", "rope_theta": 10000.0, "rope_layout": "half_split", "attn_backend": "manual",
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **fields})


def make_attention(name: str = "mha", seed: int = 0, **fields: Any) -> nn.Module:
    """An attention module with weights large enough for every rule to show in its output."""
    torch.manual_seed(seed)
    module = ATTENTIONS[name](attention_config(**fields)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape))
    return module


def qkv(
    q_len: int, k_len: int, *, batch: int = 2, heads: int = 2, dim: int = 4, seed: int = 0
) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(batch, heads, n, dim, generator=g) for n in (q_len, k_len, k_len)]


def loop_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """softmax(q k / sqrt(d)) v, number by number in Python's double precision. Nobody to see gives zeros.

    With fewer queries than keys the queries are the newest tokens: query i stands at key i + K - Q.
    """
    (batch, heads, q_len, dim), k_len = q.shape, k.size(2)
    allowed = (
        torch.ones(batch, heads, q_len, k_len) if mask is None else mask.expand(batch, heads, q_len, k_len)
    )
    out = torch.zeros(batch, heads, q_len, v.size(3), dtype=torch.float64)
    for b, h, i in itertools.product(range(batch), range(heads), range(q_len)):
        last = i + k_len - q_len if causal else k_len - 1
        keys = [j for j in range(last + 1) if allowed[b, h, i, j]]
        query = q[b, h, i].tolist()
        scores = [sum(x * y for x, y in zip(query, k[b, h, j].tolist())) / math.sqrt(dim) for j in keys]
        exps = [math.exp(s - max(scores)) for s in scores]
        for j, e in zip(keys, exps):
            out[b, h, i] += e / sum(exps) * v[b, h, j].double()
    return out


def assert_near(got: Tensor, expected: Tensor, tolerance: float, hint: str) -> None:
    assert got.shape == expected.shape, f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}: {hint}"
    assert bool(torch.isfinite(got).all()), f"NaN or infinity: {hint}"
    worst = (got.double() - expected.double()).abs().max().item()
    assert worst <= tolerance, f"differs by {worst:.2e}, allowed {tolerance:.0e}: {hint}"


# LA3 ------------------------------------------------------------------------------------------------


def masks_for(q_len: int, k_len: int) -> dict[str, Tensor | None]:
    """No mask, padding on the left of one row, a free mask per head, and a query that may look at nobody."""
    g = torch.Generator().manual_seed(9)
    padding = torch.ones(2, 1, 1, k_len, dtype=torch.bool)
    padding[1, ..., : k_len // 2] = False
    free = torch.rand(2, 2, q_len, k_len, generator=g) < 0.6
    nobody = free.clone()
    nobody[0, :, 0] = False
    return {"none": None, "padding": padding, "free": free, "nobody": nobody}


@torch.no_grad()
def check_backend_is_the_definition(backend: str) -> None:
    """A backend gives the loop's numbers, for every shape and mask, causal or not."""
    for (q_len, k_len), causal in itertools.product(SHAPES, (False, True)):
        q, k, v = qkv(q_len, k_len)
        for name, mask in masks_for(q_len, k_len).items():
            got = attend(q, k, v, mask, causal=causal, backend=backend)
            assert_near(got, loop_attention(q, k, v, mask, causal), 2e-6, (
                f"backend {backend}, {q_len} queries, {k_len} keys, mask {name}, causal {causal}: not "
                "softmax(q k / sqrt(d)) v. Check the scale, the bottom-right alignment, and the softmax axis"
            ))  # fmt: skip


@torch.no_grad()
def check_bottom_right(backend: str) -> None:
    """With fewer queries than keys the mask is torch's ``causal_lower_right``: the last query sees all."""
    for q_len, k_len in SHAPES:
        q, k, v = qkv(q_len, k_len, seed=3)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(q_len, k_len))
        assert_near(attend(q, k, v, causal=True, backend=backend), expected, 2e-6, (
            f"backend {backend}: {q_len} queries over {k_len} keys must be aligned bottom-right. "
            "is_causal=True aligns top-left, so a token fed into a warm cache would see the start alone"
        ))  # fmt: skip


def check_is_causal_only_for_squares(monkeypatch: Any) -> None:
    """``is_causal=True`` reaches torch's kernel only when there are as many queries as keys."""
    real = F.scaled_dot_product_attention
    seen: list[tuple[int, int]] = []

    def spy(q: Tensor, k: Tensor, v: Tensor, *args: Any, is_causal: bool = False, **kwargs: Any) -> Tensor:
        if is_causal:
            seen.append((q.size(-2), k.size(-2)))
        return real(q, k, v, *args, is_causal=is_causal, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", spy)
        for q_len, k_len in SHAPES:
            attend(*qkv(q_len, k_len), causal=True, backend="sdpa")
    wrong = [shape for shape in seen if shape[0] != shape[1]]
    assert not wrong, f"is_causal=True was passed for (queries, keys) {wrong}: it is aligned top-left there"


def check_equals_torch_multihead(backend: str, bias: bool = True) -> None:
    """Our module with nn.MultiheadAttention's weights gives its output, its map and its gradients."""
    ours = make_attention("mha", bias=bias, attn_backend=backend)
    theirs = nn.MultiheadAttention(16, 4, bias=bias, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv_proj.weight)
        theirs.out_proj.weight.copy_(ours.out_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(ours.qkv_proj.bias)
            theirs.out_proj.bias.copy_(ours.out_proj.bias)
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, got_map = ours(first, need_weights=True)
    future = ~torch.ones(7, 7, dtype=torch.bool).tril()
    expected, expected_map = theirs(second, second, second, attn_mask=future, average_attn_weights=False)
    hint = f"backend {backend} differs from nn.MultiheadAttention: how are the heads cut and joined?"
    assert_near(got, expected, 2e-6, hint)
    assert_near(got_map, expected_map, 2e-6, hint)
    got.square().sum().backward()
    expected.square().sum().backward()
    assert_near(first.grad, second.grad, 5e-5, f"gradients: {hint}")
    assert_near(ours.qkv_proj.weight.grad, theirs.in_proj_weight.grad, 2e-4, f"weight gradients: {hint}")


# LA1 ------------------------------------------------------------------------------------------------


def check_attention_is_causal(module: nn.Module, length: int = 7) -> None:
    """Outputs before a changed input are bit-identical, and gradients to later inputs exactly zero."""
    x = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = module(x)
        for t in range(length):
            changed = x.clone()
            changed[:, t] += 1.0
            after = module(changed)
            assert torch.equal(before[:, :t], after[:, :t]), f"changing input {t} changed an output before it"
            assert not torch.equal(before[:, t], after[:, t]), f"output {t} ignores its own input"
    x.requires_grad_()
    out = module(x)
    for i in range(length):
        (gradient,) = torch.autograd.grad(out[:, i].square().sum(), x, retain_graph=True)
        assert torch.count_nonzero(gradient[:, i + 1 :]) == 0, f"output {i} has a gradient to a later input"
        assert bool((gradient[:, : i + 1] != 0).any(-1).all()), (
            f"output {i} has no gradient to an input it may see"
        )


# LA8 ------------------------------------------------------------------------------------------------


def check_nobody_to_look_at(backend: str, dtype: torch.dtype = torch.float32) -> None:
    """A fully masked query gives zeros, no NaN, and finite gradients for everyone."""
    q, k, v = ((3 * t).to(dtype).requires_grad_(backend != "flex") for t in qkv(4, 4))
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool).tril()
    mask[0, 0, 1] = False
    with torch.set_grad_enabled(backend != "flex"):
        out = attend(q, k, v, mask, backend=backend)
    assert bool(torch.isfinite(out).all()), f"backend {backend}: a query that may look at nobody gives NaN"
    assert torch.count_nonzero(out[0, :, 1]) == 0, (
        f"backend {backend}: it gives numbers from keys it may not see"
    )
    if backend != "flex":
        out.square().sum().backward()
        for name, tensor in (("q", q), ("k", k), ("v", v)):
            assert bool(torch.isfinite(tensor.grad).all()), (
                f"backend {backend}: NaN in the gradient of {name}"
            )


def check_maps_are_what_is_computed(module: nn.Module) -> None:
    """LA9: the returned map is the one the output was made with; a distribution over the past."""
    x = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        plain = module(x)
        out, weights = module(x, need_weights=True)
        assert torch.equal(plain, out), "asking for the map changed the output"
        if isinstance(module, LatentAttention):
            _, _, v = module.unfold(*module.compress(x, None, 0))
        else:
            _, _, v = module.project(x)
            v = v[:, [h // (4 // v.size(1)) for h in range(4)]]
        rebuilt = module.out_proj((weights @ v).transpose(1, 2).flatten(2))
    assert_near(rebuilt, out, 2e-6, "the map shown is not the map the output was computed with")
    assert_near(weights.sum(-1), torch.ones(2, 4, 6), 1e-6, "rows of an attention map must sum to 1")
    assert torch.count_nonzero(weights.triu(1)) == 0, "the map shows attention to the future"
    entropy = -(weights * weights.clamp(min=1e-30).log()).sum(-1)
    limit = torch.arange(1, 7).log()
    assert bool((entropy >= 0).all() and (entropy <= limit + 1e-5).all()), (
        "entropy must lie in [0, log(tokens seen)]"
    )


# LA7 ------------------------------------------------------------------------------------------------


def complex_rotation(x: Tensor, position: int, theta: float, layout: str) -> list[float]:
    """One vector x (D,) with each pair read as a complex number and multiplied by e^(i p theta^(-2j/D))."""
    dim = len(x)
    turned = [0.0] * dim
    for j in range(dim // 2):
        a, b = (j, j + dim // 2) if layout == "half_split" else (2 * j, 2 * j + 1)
        z = complex(x[a].item(), x[b].item()) * cmath.exp(1j * position * theta ** (-2 * j / dim))
        turned[a], turned[b] = z.real, z.imag
    return turned


@torch.no_grad()
def check_rope_is_a_complex_rotation(layout: str, theta: float = 10000.0, dim: int = 8) -> None:
    """Queries and keys turn by +p theta^(-2j/D), pairs as the layout names them, at any given positions."""
    rope = RotaryPositions(dim, 64, theta=theta, layout=layout).double()
    x = torch.randn(1, 1, 6, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    cases = {"from 0": (None, 0, range(6)), "from 40": (None, 40, range(40, 46))}
    cases["given"] = (torch.tensor([3, 1, 63, 0, 20, 20]), 0, [3, 1, 63, 0, 20, 20])
    for name, (positions, start, where) in cases.items():
        expected = torch.tensor([complex_rotation(x[0, 0, t], p, theta, layout) for t, p in enumerate(where)])
        for which, got in zip(("q", "k"), rope(x, x, positions, start=start)):
            assert_near(got[0, 0], expected.double(), 1e-6, (
                f"rotary {which}, layout {layout}, positions {name}: not a rotation by +p * theta^(-2j/D). "
                "Check the sign of the angle, which coordinates form a pair, and where positions start"
            ))  # fmt: skip


@torch.no_grad()
def check_only_distance_matters(layout: str) -> None:
    """<R(m) q, R(n) k> depends on m - n alone; and it does depend on it, sign included."""
    rope = RotaryPositions(8, 64, layout=layout).double()
    g = torch.Generator().manual_seed(6)
    q, k = (torch.randn(1, 1, 1, 8, dtype=torch.float64, generator=g) for _ in range(2))

    def score(m: int, n: int) -> float:
        turned_q, _ = rope(q, q, torch.tensor([m]))
        _, turned_k = rope(k, k, torch.tensor([n]))
        return (turned_q * turned_k).sum().item()

    for distance in (0, 1, 7, -7):
        scores = [score(n + distance, n) for n in (7, 20, 50)]
        assert max(scores) - min(scores) < 1e-9, (
            f"distance {distance}: the score changes with the place: {scores}"
        )
    assert abs(score(14, 7) - score(7, 14)) > 1e-3, (
        "looking 7 back equals looking 7 ahead: the angle has no sign"
    )
    assert abs(score(8, 7) - score(9, 7)) > 1e-3, "the score does not depend on the distance"


@torch.no_grad()
def check_causal_mask_table() -> None:
    """The mask by its definition: key j is visible to query i when j <= i + K - Q."""
    for q_len, k_len in SHAPES:
        expected = [[j <= i + k_len - q_len for j in range(k_len)] for i in range(q_len)]
        got = causal_mask(q_len, k_len)
        assert got.dtype == torch.bool and got.tolist() == expected, (
            f"causal_mask({q_len}, {k_len}) is {got.int()}"
        )


@torch.no_grad()
def check_weights_rows(causal: bool) -> None:
    """Rows of ``attention_weights`` sum to 1 and give the loop's output when multiplied with the values."""
    q, k, v = qkv(3, 7, seed=8)
    weights = attention_weights(q, k, causal=causal)
    assert_near(
        weights.sum(-1), torch.ones(2, 2, 3), 1e-6, "rows must sum to 1: is the softmax over the keys?"
    )
    assert_near(
        weights @ v, loop_attention(q, k, v, None, causal), 2e-6, "map times values is not the output"
    )
