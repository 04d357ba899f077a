"""Whole attention modules: one decode step and one prefill, through `forward` and a real cache.

The idea: what a model pays is not the kernel alone. A layer projects its token (reading 2 to 4 matrices of
n_embd × n_embd), appends to its cache, asks its rules who may look at whom, attends and projects back. So ratios
are smaller here than in `benchmark_kernels`, most of all where the kernel is cheap. Both are kept.

Caches hold random numbers and are never advanced, so that each call is the step after `context - 1` tokens. Slow
twins are the same weights with another setting: `backend="sdpa"`, `path="naive"`, a window over a full cache.
Run by `python -m attention_mechanisms.benchmark`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms.benchmark_harness import check_equal, peak_bytes, race, times_faster
from attention_mechanisms.kv_cache import FullKVCache, KVCache, LayerKVCache
from attention_mechanisms.multi_head import MultiHeadAttention
from attention_mechanisms.registry import ATTENTIONS
from attention_mechanisms.rolling_cache import RollingLayerCache
from attention_mechanisms.shape import AttentionShape


@dataclass(frozen=True)
class Layer:
    """A module and the cache that it decodes with."""

    module: MultiHeadAttention
    cache: KVCache

    def __call__(self, x: Tensor) -> Tensor:
        y = self.module(x, cache=self.cache.layer(0))
        assert isinstance(y, Tensor)
        return y

    @property
    def weight_bytes(self) -> int:
        return sum(p.nbytes for p in self.module.parameters())


def variants(shape: AttentionShape, n_kv_head: int, window: int) -> dict[str, tuple[str, AttentionShape]]:
    """The shapes that are raced, one layer each: name -> (key of the registry, shape)."""
    one = replace(shape, n_layer=1, n_kv_head=None, window=None)
    return {
        "mha": ("mha", one),
        "gqa": ("gqa", replace(one, n_kv_head=n_kv_head)),
        "mla": ("mla", one),
        "swa": ("swa", replace(one, window=window)),
    }


def build(name: str, shape: AttentionShape, capacity: int, dtype: torch.dtype, device: torch.device) -> Layer:
    """A layer with GPT-2's initialisation but louder, so that attention is not flat, and an empty cache."""
    module = ATTENTIONS[name](shape).to(device=device, dtype=dtype).eval().requires_grad_(False)
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.normal_(std=0.05)
    return Layer(module, ATTENTIONS[name].make_cache(shape, 1, capacity, dtype, device))


def fill(cache: KVCache, length: int) -> None:
    """Random numbers in every slot, and `length` tokens seen."""
    for tensor in cache.tensors():
        tensor.normal_()
    cache.length = length


def masked_twin(layer: Layer, shape: AttentionShape, capacity: int) -> Layer:
    """The same windowed module over a full cache with the ring's tokens in their places: a mask hides the rest."""
    ring = layer.cache.layer(0)
    n = layer.cache.length
    dtype, device = next(layer.module.parameters()).dtype, layer.cache.device
    full = FullKVCache(1, 1, capacity, layer.module.n_kv_head, shape.head_dim, dtype, device)
    fill(full, n)
    target = full.layer(0)
    assert isinstance(target, LayerKVCache)
    if isinstance(ring, RollingLayerCache):
        kept = torch.arange(max(0, n - ring.ring), n, device=device)
        for old, new in ((ring.k, target.k), (ring.v, target.v)):
            new.write_slots(kept, old.read_slots(1, ring.slot_of(kept), dtype))
    else:
        target.k.write(0, ring.stores[0].read(1, n, dtype))
        target.v.write(0, ring.stores[1].read(1, n, dtype))
    twin = twin_of(layer.module, shape, "swa", backend="sdpa")
    return Layer(twin, full)


def twin_of(
    module: MultiHeadAttention, shape: AttentionShape, name: str, **settings: Any
) -> MultiHeadAttention:
    """A module that shares `module`'s weights and differs in `settings` (backend, path)."""
    with torch.device("meta"):
        twin = ATTENTIONS[name](shape)
    twin.load_state_dict(module.state_dict(), assign=True)
    if module.rope is not None:
        twin.rope = module.rope
    for key, value in settings.items():
        setattr(twin, key, value)
    return twin.eval().requires_grad_(False)


@torch.inference_mode()
def measure_layer_decode(
    shape: AttentionShape,
    context: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    n_kv_head: int,
    window: int,
    rounds: int,
) -> dict[str, Any]:
    """The step that reads `context` tokens, its own included, for every variant and its slow twin."""
    shape = replace(shape, block_size=max(shape.block_size, context))
    layers: dict[str, Layer] = {}
    for name, (key, own) in variants(shape, n_kv_head, window).items():
        layer = build(key, own, context, dtype, device)
        fill(layer.cache, context - 1)
        layers[name] = layer
        if key == "mla":
            layers["mla_naive"] = Layer(twin_of(layer.module, own, key, path="naive"), layer.cache)
        elif key == "swa":
            layers["swa_masked"] = masked_twin(layer, own, context)
        else:
            layers[f"{name}_sdpa"] = Layer(twin_of(layer.module, own, key, backend="sdpa"), layer.cache)
    layers["mla"].module.path = "absorbed"  # type: ignore[assignment]
    x = torch.randn(1, 1, shape.n_embd, device=device).to(dtype)
    pairs = {
        "mha_over_sdpa": ("mha", "mha_sdpa"),
        "gqa_over_enable_gqa": ("gqa", "gqa_sdpa"),
        "mla_over_naive": ("mla", "mla_naive"),
        "swa_over_masked": ("swa", "swa_masked"),
    }
    off: dict[str, float] = {}
    for fast, slow in pairs.values():
        what = f"decode step of {fast} at {context} in {dtype}"
        off |= check_equal({fast: layers[fast](x)}, layers[slow](x), what)
    timed = race({name: partial(layer, x) for name, layer in layers.items()}, rounds=rounds)
    for name, row in timed.items():
        row["cache_bytes"] = layers[name].cache.nbytes
        row["bytes_read"] = layers[name].cache.nbytes + layers[name].weight_bytes
        row["bytes_per_s"] = row["bytes_read"] / row["median_s"]
        if name in off:
            row["difference"] = off[name]
    pairs |= {f"{name}_over_mha": (name, "mha") for name in ("gqa", "mla", "swa")}
    ratios = {name: times_faster(timed, fast, slow) for name, (fast, slow) in pairs.items()}
    return {"candidates": timed, "ratios": ratios}


@torch.inference_mode()
def measure_layer_prefill(
    shape: AttentionShape,
    length: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    n_kv_head: int,
    window: int,
    rounds: int,
) -> dict[str, Any]:
    """A whole prompt in one piece into an empty cache: seconds, cache bytes and peak memory of each variant."""
    shape = replace(shape, block_size=max(shape.block_size, length))
    layers = {
        name: build(key, own, length, dtype, device)
        for name, (key, own) in variants(shape, n_kv_head, window).items()
    }
    x = torch.randn(1, length, shape.n_embd, device=device).to(dtype)
    off: dict[str, float] = {}
    for name, (key, own) in variants(shape, n_kv_head, window).items():
        module = twin_of(layers[name].module, own, key, backend="manual")
        head = min(
            length, 1024
        )  # the T × T table of the reference is kept small; causal: the rest cannot matter
        y = module(x[:, :head])
        assert isinstance(y, Tensor)
        what = f"prefill of {name} at {length} in {dtype}"
        off |= check_equal({name: layers[name](x)[:, :head]}, y, what)
    calls: dict[str, Callable[[], Any]] = {name: partial(layer, x) for name, layer in layers.items()}
    timed = race(calls, rounds=rounds)
    for name, row in timed.items():
        row["cache_bytes"] = layers[name].cache.nbytes
        row["difference"] = off[name]
        row["peak_bytes"] = peak_bytes(calls[name], device)
    ratios = {f"{name}_over_mha": times_faster(timed, name, "mha") for name in ("gqa", "mla", "swa")}
    return {"candidates": timed, "ratios": ratios}
