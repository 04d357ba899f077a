"""Laws of costs, as functions that raise: bytes of caches and FLOPs of attention (LG4 for every variant).

The reference for bytes is memory that was really allocated; for FLOPs torch's own counter around the module's
forward pass on the backend `manual`; for weights the module's parameters. Configurations are drawn at random, so that
no formula can be right for one shape by luck.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from attention_mechanisms import ATTENTIONS, AttentionShape, costs

CACHE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)


def random_shape(rng: random.Random, attention: str, **fixed: Any) -> AttentionShape:
    """Any small attention of this variant."""
    n_head = fixed.get("n_head") or rng.choice([1, 2, 3, 4, 6])
    fields: dict[str, Any] = {
        "n_layer": rng.randint(1, 4),
        "n_head": n_head,
        "n_embd": n_head * rng.choice([2, 4, 8]),
        "block_size": 64,
        "position": rng.choice(["rope", "learned", "none"]),
        "bias": rng.random() < 0.5,
        "attn_backend": "manual",
    }
    if attention in ("gqa", "swa"):
        fields["n_kv_head"] = rng.choice([None, *(d for d in range(1, n_head + 1) if n_head % d == 0)])
    if attention == "mla":
        fields |= {
            "kv_latent_dim": rng.choice([None, 3, 8]),
            "rope_dim": rng.choice([None, 2, 6]),
            "q_latent_dim": rng.choice([None, 5]),
        }
    if attention == "swa":
        fields |= {
            "window": rng.choice([None, 1, 2, 5, 40]),
            "global_every": rng.choice([0, 0, 2, 3]),
            "attention_sinks": rng.choice([0, 0, 1, 4]),
        }
    return AttentionShape(**{**fields, **fixed})


def check_cache_bytes(trials: int = 200, seed: int = 0) -> None:
    """The formula equals the bytes of every tensor that a cache really allocates, for random configurations."""
    rng = random.Random(seed)
    for _ in range(trials):
        name = rng.choice(list(ATTENTIONS))
        shape = random_shape(rng, name)
        batch, capacity, dtype = rng.randint(1, 3), rng.randint(1, 50), rng.choice(CACHE_DTYPES)
        slack = {"slack": rng.choice([0, 0, 3])} if name == "swa" else {}
        cache = ATTENTIONS[name].make_cache(shape, batch, capacity, dtype, "cpu", **slack)
        real = sum(tensor.numel() * tensor.element_size() for tensor in cache.tensors())
        said = costs.cache_bytes(name, shape, capacity, dtype, batch=batch, **slack)
        assert said == real, (
            f"{name} for {batch} × {capacity} tokens in {dtype}: the formula says {said:,} bytes, {real:,} were "
            f"allocated ({said / real:.3f} of it; twice or half: keys and values are two vectors, a latent is one). "
            f"{shape}"
        )


def check_bytes_of_one_more_token(seed: int = 1, trials: int = 60) -> None:
    """What a token adds is the difference of two real caches, and nothing once every window is full."""
    rng = random.Random(seed)
    for _ in range(trials):
        name = rng.choice(list(ATTENTIONS))
        shape = random_shape(rng, name)
        position, dtype = rng.randint(1, 50), rng.choice(CACHE_DTYPES)
        small, large = (
            sum(
                t.numel() * t.element_size()
                for t in ATTENTIONS[name].make_cache(shape, 1, n, dtype, "cpu").tensors()
            )
            for n in (position, position + 1)
        )
        said = costs.bytes_per_token(name, shape, dtype, position=position)
        assert said == large - small, (
            f"{name}: token {position} adds {large - small} bytes, the formula says {said}: does a full window "
            f"still grow, or stop too early? {shape}"
        )


def check_weights(seed: int = 2, trials: int = 60) -> None:
    """Counted weights are the parameters of real modules."""
    rng = random.Random(seed)
    for _ in range(trials):
        name = rng.choice(list(ATTENTIONS))
        shape = random_shape(rng, name)
        with torch.device("meta"):
            real = sum(
                p.numel() for i in range(shape.n_layer) for p in ATTENTIONS[name](shape, i).parameters()
            )
        said = costs.weight_count(name, shape)
        assert said == real, f"{name} has {real:,} parameters, the formula says {said:,}: {shape}"


@torch.no_grad()
def check_flops(trials: int = 60, seed: int = 3) -> None:
    """FLOPs equal torch's counter, for a prompt, a decode step and a chunk on a warm cache."""
    rng = random.Random(seed)
    for _ in range(trials):
        name = rng.choice(list(ATTENTIONS))
        shape = random_shape(rng, name)
        batch, past, new = rng.randint(1, 2), rng.choice([0, 0, 3, 17]), rng.choice([1, 1, 2, 9])
        path = rng.choice(["auto", "naive", "absorbed"]) if name == "mla" else "auto"
        cache = ATTENTIONS[name].make_cache(shape, batch, past + new, torch.float32, "cpu")
        cache.length = past
        counted = 0
        for i in range(shape.n_layer):
            module = ATTENTIONS[name](shape, i).eval()
            if name == "mla":
                module.path = path
            with FlopCounterMode(display=False) as counter:
                module(torch.randn(batch, new, shape.n_embd), cache=cache.layer(i))
            counted += counter.get_total_flops()
        said = costs.attention_flops(name, shape, new, past, batch=batch, path=path)
        assert said.total == counted, (
            f"{name} (path {path}), {new} tokens after {past}: torch counts {counted:,} FLOPs, "
            f"the formula {said.total:,} {tuple(said)}. Is a multiply-add two, is the token itself among its keys, are "
            f"scores and values both counted? {shape}"
        )


def check_visible_pairs(seed: int = 4, trials: int = 60) -> None:
    """The pairs that `visible_only` counts are those that the mask permits, counted one by one."""
    rng = random.Random(seed)
    for _ in range(trials):
        window, sinks = rng.choice([None, 1, 3, 8]), rng.choice([0, 1, 2, 5])
        sinks = 0 if window is None else sinks
        past, new = rng.randint(0, 20), rng.randint(1, 20)
        real = sum(
            1
            for q in range(past, past + new)
            for k in range(q + 1)
            if window is None or q - k < window or k < sinks
        )
        said = costs._visible_pairs(window, sinks, new, past)
        assert said == real, (
            f"window {window}, {sinks} sinks, {new} queries after {past}: {real} pairs may look at each other, the "
            f"formula says {said}. A window counts the token itself"
        )


def check_gpt2_small() -> None:
    """The figures everyone quotes: GPT-2 small in bf16, bytes a token, by hand."""
    shape = AttentionShape(n_layer=12, n_head=12, n_embd=768, window=256)
    mha = 2 * 12 * 12 * 64 * 2  # keys and values, layers, heads, numbers, bytes
    assert mha == 36_864
    for name, fields, expected in (
        ("mha", {}, 36_864),
        ("gqa", {"n_kv_head": 4}, 12_288),
        ("gqa", {"n_kv_head": 1}, 3_072),
        ("mla", {"kv_latent_dim": 256, "rope_dim": 32}, 36_864 * 3 // 16),
    ):
        own = AttentionShape(**{**vars(shape), **fields})
        said = costs.bytes_per_token(name, own, torch.bfloat16)
        assert said == expected, f"{name} {fields}: {said:,} bytes a token instead of {expected:,}"
    full = [costs.cache_bytes("swa", shape, n, torch.bfloat16) for n in (255, 256, 257, 10_000)]
    assert full[0] < full[1] == full[2] == full[3] == 256 * mha, (
        f"a window of 256 holds 256 tokens and never more, but bytes are {full}"
    )
