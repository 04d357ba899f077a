"""Laws of the caches (LA2, LA8): every kind of cache, fed in every way, gives what one pass without any gives.

The reference is the model without a cache. What a ring still holds is worked out here by a set of positions
in Python, number by number, and never asked of the ring itself.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from model_checks import assert_close, build, feed, left_pad, random_cut, some_ids, table
from torch import Tensor

from attention_mechanisms import ATTENTIONS, RollingKVCache
from attention_mechanisms.rolling_cache import RollingLayerCache
from attention_mechanisms.token_store import quantize
from gpt_model import GPT
from gpt_model.config import CHOICES
from utils.errors import UserError

# What the variants' own settings can change. Every registered attention is here with its defaults.
FORMS: list[dict[str, Any]] = [
    *({"attention": name} for name in ATTENTIONS),
    *({"attention": "gqa", "n_head": 4, "n_kv_head": n} for n in (1, 2, 4)),
    {"attention": "mla", "path": "naive"},
    {"attention": "mla", "path": "absorbed", "q_latent_dim": 6},
    *({"attention": "swa", "window": n} for n in (1, 2, 3, 64)),
    {"attention": "swa", "window": 3, "global_every": 2},
    {"attention": "swa", "window": 3, "attention_sinks": 2},
    {"attention": "swa", "window": 3, "n_head": 4, "n_kv_head": 2},
    {"attention": "swa", "window": 2, "n_head": 4, "n_kv_head": 1, "attention_sinks": 1, "global_every": 2},
]
# Each form with each position scheme; the norm changes from row to row, so that every form meets both. GroupNorm, which
# works on tokens alone like these (`block_checks`), divides by the spread of four numbers here: in float32 that can
# make rounding a hundred times larger, and a difference would say nothing about a cache.
NORMS = ("layernorm", "rmsnorm")
CACHED_FORMS = [
    {**form, **rest, "norm": NORMS[(i + j) % len(NORMS)]}
    for i, form in enumerate(FORMS)
    for j, rest in enumerate(table(position=CHOICES["position"]))
]


def form_id(form: dict[str, Any]) -> str:
    return "-".join(f"{k}={v}" if isinstance(v, int) else str(v) for k, v in form.items())


def sinkless(form: dict[str, Any]) -> bool:
    return not form.get("attention_sinks")


@torch.no_grad()
def check_rows_of_a_branch(model: GPT) -> None:
    """Each row of a branch continues its own row of the old cache, and neither changes the other."""
    ids = some_ids(3, 20)
    cache = model.new_cache(3, 24)
    feed(model, ids[:, :9], (4, 1, 3, 1), cache)
    before = [tensor.clone() for tensor in cache.tensors()]
    same = cache.branch([0, 1, 2])  # nothing to reorder is no reason to share
    feed(model, some_ids(3, 9, seed=8), (4, 1, 1, 3), same)
    assert all(map(torch.equal, before, cache.tensors())), (
        "writing to a branch changed the cache it came from: shared storage"
    )
    rows = [2, 0, 2, 1]
    grown = cache.branch(rows)
    held = [tensor.clone() for tensor in cache.tensors()]
    other = some_ids(4, 20, seed=5)
    text = torch.cat([ids[rows, :9], other[:, 9:]], dim=1)
    hint = "row i of a branch must see the tokens of row rows[i], and no other's"
    assert_close(feed(model, text[:, 9:], (1, 6, 1, 3), grown), model(text).logits[:, 9:], 1e-5, hint)
    for before, after in zip(held, cache.tensors(), strict=True):
        assert torch.equal(before, after), (
            "writing to a branch changed the cache it came from: shared storage"
        )
    hint = "the old cache goes on as if nobody had branched from it"
    assert_close(feed(model, ids[:, 9:], (2, 1, 8), cache), model(ids).logits[:, 9:], 1e-5, hint)
    assert grown.length == cache.length == 20 and grown.batch == 4 and cache.batch == 3


@torch.no_grad()
def check_padding_through_a_cache(model: GPT, lengths: tuple[int, ...] = (1, 3, 17)) -> None:
    """LA8 with a cache: rows padded on the left, prefilled in pieces and decoded, equal their lone runs."""
    rows = [some_ids(1, n + 6, seed=n)[0].tolist() for n in lengths]
    for pad, chunks in ((0, (17,)), (5, (1, 7, 9)), (5, (16, 1))):
        ids, mask = left_pad([row[:-6] for row in rows], pad)
        cache, got, at = model.new_cache(len(rows), 30), [], 0
        for n in chunks:
            at += n
            got.append(model(ids[:, at - n : at], cache=cache, attention_mask=mask[:, :at]).logits)
        new = torch.tensor([row[-6:] for row in rows])
        got.append(feed(model, new, (1, 3, 1, 1), cache))  # the cache remembers who is padding
        logits = torch.cat(got, dim=1)
        for i, row in enumerate(rows):
            alone = model(torch.tensor([row])).logits[0]
            assert_close(logits[i, -len(row) :], alone, 1e-5, (
                f"a row of {len(row)} tokens, padded on the left and fed in chunks {chunks} through the cache, "
                "differs from its single run: are pads masked by position, also in a ring?"
            ))  # fmt: skip


# Rings ----------------------------------------------------------------------------------------------


def turned(model: GPT, slack: int = 0, batch: int = 2, capacity: int = 60) -> RollingKVCache:
    """A rolling cache of the model, with slack."""
    attention: Any = ATTENTIONS[model.config.attention]
    return attention.make_cache(model.config, batch, capacity, torch.float32, "cpu", slack=slack)


@torch.no_grad()
def check_ring_goes_round(model: GPT, wraps: int = 3) -> None:
    """One token at a time, in one piece and in chunks across the seam, until each ring has turned three times."""
    config = model.config
    assert config.window is not None
    slots = config.window + config.attention_sinks
    length = min(config.block_size, wraps * slots + slots + 2)
    assert length > wraps * config.window, "the text is too short to turn the ring"
    ids = some_ids(2, length)
    expected = model(ids).logits
    cuts = [[1] * length, [length], [slots + 1] * 9, [slots - 1 or 1] * 99, [2, 1] * 50, [slots, 1, 1] * 9]
    for cut in cuts:
        chunks = list(itertools.takewhile(lambda n: n > 0, shortened(cut, length)))
        cache = model.new_cache(2, length)
        size = cache.nbytes
        got = feed(model, ids, chunks, cache)
        assert_close(got, expected, 1e-5, (
            f"window {config.window}, {config.attention_sinks} sinks, chunks {chunks[:6]}…: the ring gives other "
            "logits than the band mask. Is a slot overwritten before the chunk has read it? Does slot p mod W "
            "still hold position p after the seam?"
        ))  # fmt: skip
        assert cache.nbytes == size, "the cache grew"


def shortened(cut: list[int], length: int) -> list[int]:
    """The chunk lengths, the last one cut so that they sum to `length`; zeros behind."""
    left, out = length, []
    for n in [*cut, length]:
        out.append(min(n, left))
        left -= out[-1]
    return out


@torch.no_grad()
def check_crops_of_a_ring(model: GPT, slack: int, tries: int = 60) -> None:
    """A crop that is allowed is exact; one that would need what was overwritten is refused and changes nothing.

    Which is which is known from a set: the positions that are still somewhere in the ring.
    """
    config = model.config
    assert config.window is not None
    window, sinks = config.window, config.attention_sinks
    ring = window + slack
    generator = torch.Generator().manual_seed(slack)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    cache, text = turned(model, slack), some_ids(2, 60)
    assert any(isinstance(layer, RollingLayerCache) for layer in cache.layers), "no ring to test"
    held: dict[int, int] = {}  # slot of the ring -> the position it holds
    refused = allowed = 0
    for step in range(tries):
        length = cache.length
        new = draw(1, 7)
        if length + new <= 40:
            fresh = some_ids(2, new, seed=step)
            text[:, length : length + new] = fresh
            got = model(fresh, cache=cache).logits
            expected = model(text[:, : length + new]).logits[:, length:]
            assert_close(got, expected, 1e-5, f"{new} tokens after a crop to {length}: stale slots were read")
            held.update({(p - sinks) % ring: p for p in range(max(sinks, length), length + new)})
        keep = draw(max(0, cache.length - slack - 2), cache.length) if step % 9 else draw(0, cache.length)
        needed = set(range(max(sinks, keep - window + 1), keep))
        before, size = [t.clone() for t in cache.tensors()], cache.length
        try:
            cache.crop(keep)
        except UserError as error:
            refused += 1
            assert not needed <= set(held.values()), (
                f"crop from {size} to {keep} was refused for nothing: {error}"
            )
            assert cache.length == size and all(map(torch.equal, before, cache.tensors())), (
                "a refusal changed it"
            )
            assert "\n" not in str(error) and str(keep) in str(error)
        else:
            allowed += 1
            assert needed <= set(held.values()), (
                f"crop from {size} to {keep} was allowed, but the window of {window} needs "
                f"{sorted(needed - set(held.values()))}, which the ring has overwritten: wrong in silence"
            )
            held = {s: p for s, p in held.items() if p < keep}
    # A window of 1 needs nothing old, so nothing can be lost.
    assert allowed > 3 and (refused > 3) == (window > 1), (refused, allowed)


@torch.no_grad()
def check_ring_bytes(model: GPT) -> None:
    """After W tokens a windowed layer's memory is constant, and it is what the formula says."""
    config = model.config
    assert config.window is not None
    heads = ATTENTIONS[config.attention].kv_heads(config)
    for capacity in (1, 4, 30, 64):
        cache = model.new_cache(3, capacity)
        every = config.global_every
        slots = [
            capacity
            if every and (i + 1) % every == 0
            else min(capacity, config.window + config.attention_sinks)
            for i in range(config.n_layer)
        ]
        expected = sum(2 * 3 * heads * n * config.head_dim * 4 for n in slots)
        assert cache.nbytes == expected, f"capacity {capacity}: {cache.nbytes} bytes, not {expected}"


# Bytes and int8 -------------------------------------------------------------------------------------


def numbers_per_token(model: GPT) -> int:
    """What a token costs in numbers, by the papers: 2 · H_kv · D a layer, or latent + rotary key."""
    c = model.config
    if c.attention == "mla":
        latent = c.kv_latent_dim or c.n_embd // 3
        half_head = max(2, c.head_dim // 4 * 2)
        return c.n_layer * (latent + ((c.rope_dim or half_head) if c.position == "rope" else 0))
    return c.n_layer * 2 * ATTENTIONS[c.attention].kv_heads(c) * c.head_dim


def vectors_per_token(model: GPT) -> int:
    c = model.config
    if c.attention == "mla":
        return c.n_layer * 2
    return c.n_layer * 2 * ATTENTIONS[c.attention].kv_heads(c)


def check_bytes(model: GPT, batch: int = 3, capacity: int = 11) -> None:
    """`nbytes` is exact in every dtype; int8 adds one float32 scale a vector. (Windows: see the rings.)"""
    tokens = batch * capacity
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8):
        cache = model.new_cache(batch, capacity, dtype)
        expected = tokens * numbers_per_token(model) * dtype.itemsize
        if dtype == torch.int8:
            expected += tokens * vectors_per_token(model) * 4
        assert cache.nbytes == expected, f"{dtype}: {cache.nbytes} bytes held, {expected} by the formula"
        really = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in cache.tensors()}
        assert sum(really.values()) == expected or 0 in really, f"{dtype}: {really} allocated"


def check_half_a_step(seed: int = 0) -> None:
    """A number kept in int8 is off by at most half a step, 1/254 of the largest of its vector; 0 stays 0."""
    generator = torch.Generator().manual_seed(seed)
    for scale in (1e-6, 1.0, 3e4):
        x = scale * torch.randn(4, 3, 50, 16, generator=generator, dtype=torch.float64).float()
        x[0, 0] *= torch.logspace(-4, 4, 50)[:, None]  # vectors of very different size side by side
        x[1, 1, 3] = 0
        codes, step = quantize(x)
        assert codes.dtype == torch.int8 and step.shape == (4, 3, 50, 1), "one step a vector of a head"
        error = (codes.double() * step.double() - x.double()).abs()
        bound = x.double().abs().amax(-1, keepdim=True) / 254 * (1 + 1e-5)
        worst = (error / bound.clamp(min=1e-300)).max().item()
        assert bool((error <= bound).all()), (
            f"a number is {worst:.2f} half steps off: one scale for each vector, its largest number over 127, "
            "and codes rounded to the nearest"
        )
        assert torch.equal(codes[1, 1, 3], torch.zeros(16, dtype=torch.int8)), (
            "a vector of zeros must stay zero"
        )


@torch.no_grad()
def check_int8_logits(model: GPT) -> None:
    """Each number that attention reads from an int8 cache is within half a step; logits move little, but move."""
    ids = some_ids(2, 24)
    exact, rough = model.new_cache(2, 24), model.new_cache(2, 24, torch.int8)
    feed(model, ids, (24,), exact)
    for layer, (a, b) in enumerate(zip(exact.layers, rough.layers, strict=True)):
        if layer == 0:  # deeper layers see inputs that have moved already
            feed(model, ids, (24,), rough)
            for one, other in zip(a.stores, b.stores, strict=True):  # type: ignore[attr-defined]
                slots = one.tensors()[0].size(-2)
                x, y = (s.read(2, slots, torch.float32) for s in (one, other))
                if not x.numel():
                    continue
                bound = x.abs().amax(-1, keepdim=True) / 254 * (1 + 1e-4) + 1e-12
                assert bool(((x - y).abs() <= bound).all()), "a cached number is more than half a step off"
    expected = model(ids).logits
    for cut in ([24], [1] * 24, random_cut(24, 1)):
        got = feed(model, ids, cut, model.new_cache(2, 24, torch.int8))
        error = ((got - expected).square().mean() / expected.square().mean()).sqrt().item()
        assert error < 0.05, f"int8 keys and values move the logits by {error:.1%} (chunks {cut[:3]}…)"
        alone = model.config.window == 1  # several tokens at once then see only themselves, unrounded
        assert error > 1e-5 or len(cut) == 1 or alone, (
            "int8 changed nothing: is the cache really kept in int8?"
        )


def int8_logit_error(model: GPT, ids: Tensor) -> float:
    """Root mean square error of decoded logits with an int8 cache, over the logits' own."""
    with torch.no_grad():
        expected = model(ids).logits
        got = feed(model, ids, [1] * ids.size(1), model.new_cache(len(ids), ids.size(1), torch.int8))
    return ((got - expected).square().mean() / expected.square().mean()).sqrt().item()


def loud_ring(window: int = 3, **fields: Any) -> GPT:
    return build(attention="swa", window=window, **{"position": "rope", **fields})
