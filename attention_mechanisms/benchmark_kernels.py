"""Attention by itself, without projections: decode, windowed prefill and training shapes, beside SDPA.

Each function makes random queries, keys and values, compares every candidate with the formula in float32, and
only then times them in turn. Kernel level: what `attend` does with given keys; `benchmark_layers` times whole
modules. Shapes are those of a layer of a small GPT-2, 12 heads of 64.

Peers are torch's `scaled_dot_product_attention` as its users call it: one query over a preallocated cache, with
`enable_gqa`, with repeated keys, with a boolean mask, causal; and compiled FlexAttention where it was asked for.
Run by `python -m attention_mechanisms.benchmark`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_mechanisms.attention import attend, repeat_heads
from attention_mechanisms.benchmark_harness import (
    check_equal,
    cycle,
    gemm_peak,
    race,
    rotate,
    times_faster,
)
from attention_mechanisms.latent import LatentAttention
from attention_mechanisms.masks import window_mask
from attention_mechanisms.shape import AttentionShape
from utils.errors import one_line

SLACK = 64  # slots of the preallocated cache behind the last token: keys are a view, as while decoding

Calls = Sequence[Callable[[], Tensor]]
sdpa = F.scaled_dot_product_attention


def repeated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Grouped heads as one writes them without `enable_gqa`: every key and value is copied for each query head."""
    return sdpa(q, repeat_heads(k, q.size(1)), repeat_heads(v, q.size(1)))


def _random(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.randn(*shape, device=device).to(dtype)


class DecodeCase:
    """One token's attention over `context` keys, for every variant: candidates, references, bytes read."""

    def __init__(
        self,
        shape: AttentionShape,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        n_kv_head: int,
        window: int,
        rotate_bytes: int = 0,
    ) -> None:
        self.shape, self.context, self.dtype, self.device = shape, context, dtype, device
        self.rotate_bytes = rotate_bytes
        self.calls: dict[str, Calls] = {}
        self.reference: dict[str, Tensor] = {}
        self.bytes_read: dict[str, int] = {}
        self._multi_head(window)
        self._grouped(n_kv_head)
        self._latent()

    def _cache(self, heads: int) -> Callable[[], list[Tensor]]:
        dim, slots = self.shape.head_dim, self.context + SLACK
        return lambda: [_random(1, heads, slots, dim, dtype=self.dtype, device=self.device) for _ in range(2)]

    def _query(self) -> Tensor:
        return _random(1, self.shape.n_head, 1, self.shape.head_dim, dtype=self.dtype, device=self.device)

    def _add(self, name: str, reference: str, nbytes: int, calls: Calls) -> None:
        self.calls[name], self.bytes_read[name] = calls, nbytes
        self.reference[name] = self.reference[reference]

    def _multi_head(self, window: int) -> None:
        q, n, heads, dim = self._query(), self.context, self.shape.n_head, self.shape.head_dim
        size = self.dtype.itemsize
        nbytes = 2 * heads * n * dim * size
        copies = [
            [x[:, :, :n] for x in pair] for pair in rotate(self._cache(heads), nbytes, self.rotate_bytes)
        ]
        k, v = copies[0]
        self.reference["mha"] = attend(q.float(), k.float(), v.float())
        self._add("mha_sdpa", "mha", nbytes, [partial(sdpa, q, k, v) for k, v in copies])
        self._add(
            "mha",
            "mha",
            nbytes,
            [partial(attend, q, k, v, causal=True, backend="auto") for k, v in copies],
        )
        # The same window twice: as a mask over everything, and as a ring that holds nothing else.
        w = min(window, n)
        mask = window_mask(1, n, w, self.device)
        self.reference["swa"] = attend(q.float(), k.float(), v.float(), window=w)
        self._add("swa_masked", "swa", nbytes, [partial(sdpa, q, k, v, attn_mask=mask) for k, v in copies])
        ring_bytes = nbytes * w // n
        ring = [x[:, :, -w:].roll(w // 3, dims=2).contiguous() for x in (k, v)]  # as it lies: not sorted
        rings = rotate(lambda: ring, ring_bytes, self.rotate_bytes)
        self._add("swa", "swa", ring_bytes, [partial(attend, q, k, v, backend="auto") for k, v in rings])

    def _grouped(self, n_kv: int) -> None:
        q, n, dim = self._query(), self.context, self.shape.head_dim
        nbytes = 2 * n_kv * n * dim * self.dtype.itemsize
        copies = [
            [x[:, :, :n] for x in pair] for pair in rotate(self._cache(n_kv), nbytes, self.rotate_bytes)
        ]
        k, v = copies[0]
        self.reference["gqa"] = attend(q.float(), k.float(), v.float())
        self._add("gqa_sdpa", "gqa", nbytes, [partial(sdpa, q, k, v, enable_gqa=True) for k, v in copies])
        self._add(
            "gqa_repeat",
            "gqa",
            nbytes,
            [partial(repeated, q, k, v) for k, v in copies],
        )
        self._add(
            "gqa",
            "gqa",
            nbytes,
            [partial(attend, q, k, v, causal=True, backend="auto") for k, v in copies],
        )

    def _latent(self) -> None:
        layer = LatentAttention(self.shape).to(self.device).requires_grad_(False).eval()
        n, c, r, heads = self.context, layer.latent_dim, layer.rope_dim, self.shape.n_head
        nbytes = n * (c + r) * self.dtype.itemsize

        def cache() -> list[Tensor]:
            return [
                _random(1, n + SLACK, width, dtype=self.dtype, device=self.device) for width in (c, max(r, 1))
            ]

        copies = [[x[:, :n] for x in pair] for pair in rotate(cache, nbytes, self.rotate_bytes)]
        copies = [[latent, rope[..., :r]] for latent, rope in copies]
        q_nope = self._query()
        q_rope = _random(1, heads, 1, r, dtype=self.dtype, device=self.device)
        latent, rope = copies[0]
        look: dict[str, Any] = {"mask": None, "causal": True, "window": None, "bias": None}
        layer = layer.to(self.dtype)
        wide = LatentAttention(self.shape).to(self.device).requires_grad_(False).eval()
        wide.load_state_dict({name: x.float() for name, x in layer.state_dict().items()})
        wide.backend = "manual"
        self.reference["mla"] = wide.naive(q_nope.float(), q_rope.float(), latent.float(), rope.float(), look)
        for name, path in (("mla_naive", layer.naive), ("mla", layer.absorbed)):
            calls = [partial(path, q_nope, q_rope, a, b, look) for a, b in copies]
            self._add(name, "mla", nbytes, calls)

    def measure(self, rounds: int) -> dict[str, Any]:
        """Differences from the reference, seconds in turn, and bytes a second, for every candidate."""
        off: dict[str, float] = {}
        for name, calls in self.calls.items():
            what = f"decode at {self.context} in {self.dtype}"
            off |= check_equal({name: calls[0]()}, self.reference[name], what)
        timed = race({name: cycle(calls) for name, calls in self.calls.items()}, rounds=rounds)
        for name, row in timed.items():
            row["difference"] = off[name]
            row["bytes_read"] = self.bytes_read[name]
            row["bytes_per_s"] = self.bytes_read[name] / row["median_s"]
        pairs = {
            "mha_over_sdpa": ("mha", "mha_sdpa"),
            "gqa_over_enable_gqa": ("gqa", "gqa_sdpa"),
            "gqa_over_repeat": ("gqa", "gqa_repeat"),
            "gqa_over_mha": ("gqa", "mha"),
            "mla_over_naive": ("mla", "mla_naive"),
            "mla_over_mha": ("mla", "mha"),
            "swa_over_masked": ("swa", "swa_masked"),
            "swa_over_mha": ("swa", "mha"),
        }
        ratios = {name: times_faster(timed, fast, slow) for name, (fast, slow) in pairs.items()}
        return {"candidates": timed, "ratios": ratios}


@torch.inference_mode()
def measure_decode(
    shape: AttentionShape, context: int, dtype: torch.dtype, device: torch.device, *, rounds: int, **options: Any
) -> dict[str, Any]:  # fmt: skip
    """One query over `context` keys, every variant beside its peer."""
    return DecodeCase(shape, context, dtype, device, **options).measure(rounds)


@torch.inference_mode()
def measure_window_prefill(
    shape: AttentionShape,
    length: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    window: int,
    rounds: int,
    max_table: int = 4096,
    flex: bool = False,
) -> dict[str, Any]:
    """A whole text at once through a window: banded, beside a T × T mask and beside full causal SDPA.

    The mask is left out above `max_table` tokens, where its table alone is hundreds of megabytes.
    """
    heads, dim = shape.n_head, shape.head_dim
    q, k, v = (_random(1, heads, length, dim, dtype=dtype, device=device) for _ in range(3))
    calls: dict[str, Callable[[], Tensor]] = {
        "swa": lambda: attend(q, k, v, window=window, backend="auto"),
        "full_sdpa": lambda: sdpa(q, k, v, is_causal=True),
    }
    windowed = ["swa"]
    notes = {}
    if length <= max_table:
        mask = window_mask(length, length, window, device)
        calls["masked_sdpa"] = lambda: sdpa(q, k, v, attn_mask=mask)
        windowed.append("masked_sdpa")
        if flex:
            try:
                calls["flex"] = _compiled_flex(q, k, v, window)
                windowed.append("flex")
            except Exception as error:  # a missing compiler, an unsupported CPU: said, not hidden
                notes["flex"] = f"not measured: {type(error).__name__}: {one_line(error)[:160]}"
    reference = _window_reference(q, k, v, window)
    what = f"prefill of {length} in {dtype}"
    off = check_equal({name: calls[name]() for name in windowed}, reference, what)
    timed = race(calls, rounds=rounds)
    for name, value in off.items():
        timed[name]["difference"] = value
    ratios = {"swa_over_full": times_faster(timed, "swa", "full_sdpa")}
    for name in windowed[1:]:
        ratios[f"swa_over_{name}"] = times_faster(timed, "swa", name)
    return {"candidates": timed, "ratios": ratios, "notes": notes}


def _window_reference(q: Tensor, k: Tensor, v: Tensor, window: int, rows: int = 512) -> Tensor:
    """The formula in float32, a few hundred rows at a time so that no T × T table is held."""
    q, k, v = (x.float() for x in (q, k, v))
    pieces = []
    for begin in range(0, q.size(2), rows):
        end = min(begin + rows, q.size(2))
        first = max(0, begin - window + 1)
        pieces.append(attend(q[:, :, begin:end], k[:, :, first:end], v[:, :, first:end], window=window))
    return torch.cat(pieces, dim=2)


def _compiled_flex(q: Tensor, k: Tensor, v: Tensor, window: int) -> Callable[[], Tensor]:
    """FlexAttention compiled, with a block mask: it skips blocks outside the window too."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    length, device = q.size(2), str(q.device)
    rule = lambda b, h, i, j: (i >= j) & (i - j < window)  # noqa: E731
    block_mask = create_block_mask(rule, None, None, length, length, device=device)
    compiled = torch.compile(flex_attention)
    call = lambda: compiled(q, k, v, block_mask=block_mask)  # noqa: E731
    call()
    return call


def measure_training(
    dtype: torch.dtype,
    device: torch.device,
    *,
    rounds: int,
    batch: int = 16,
    heads: int = 6,
    length: int = 256,
    dim: int = 64,
) -> dict[str, Any]:
    """Forward and backward of causal attention; outputs and all three gradients are compared before timing."""
    inputs = [
        _random(batch, heads, length, dim, dtype=dtype, device=device).requires_grad_() for _ in range(3)
    ]
    upstream = _random(batch, heads, length, dim, dtype=dtype, device=device)

    def both_ways(call: Callable[..., Tensor], x: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
        out = call(*x)
        return out.detach(), *torch.autograd.grad(out, x, grad)

    ours: dict[str, Callable[..., Tensor]] = {
        "sdpa": lambda q, k, v: sdpa(q, k, v, is_causal=True),
        "manual": lambda q, k, v: attend(q, k, v, causal=True, backend="manual"),
        "auto": lambda q, k, v: attend(q, k, v, causal=True, backend="auto"),
    }
    wide = [x.detach().float().requires_grad_() for x in inputs]
    reference = both_ways(ours["manual"], wide, upstream.float())
    off: dict[str, float] = {}
    for name, call in ours.items():
        for part, out, expected in zip(
            ("out", "dq", "dk", "dv"), both_ways(call, inputs, upstream), reference, strict=True
        ):
            found = check_equal({name: out}, expected, f"training attention in {dtype}, {part}")
            off[name] = max(off.get(name, 0.0), found[name])
    timed = race(
        {name: partial(both_ways, call, inputs, upstream) for name, call in ours.items()}, rounds=rounds
    )
    # Two products forward, five backward (the scores are not kept by SDPA, ours keeps them): 2 and 4 at least.
    flops = 6 * 2 * batch * heads * length * length * dim / 2  # under the diagonal only
    for name, row in timed.items():
        row["difference"] = off[name]
        row["flops_per_s"] = flops / row["median_s"]
    return {
        "shape": {"batch": batch, "heads": heads, "length": length, "dim": dim},
        "candidates": timed,
        "ratios": {
            "auto_over_sdpa": times_faster(timed, "auto", "sdpa"),
            "auto_over_manual": times_faster(timed, "auto", "manual"),
        },
        "flops": flops,
        "gemm_peak_flops_per_s": gemm_peak(device, dtype),
    }
