"""Classic bugs of the KV cache, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with, so
that it fails for the right reason. Every check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from model_checks import (
    build,
    check_a_full_cache_refuses,
    check_crop_and_reset,
    check_cuts,
    check_every_way_to_cut_8,
    check_random_cuts_of_64,
    check_two_sessions,
    check_unused_slots_do_not_matter,
    fill_with_nan,
    some_ids,
)

from attention_mechanisms import attention, kv_cache, multi_head
from attention_mechanisms.kv_cache import KVCache, LayerKVCache
from attention_mechanisms.positions import RotaryPositions
from gpt_model import GPT

Patch = pytest.MonkeyPatch


def shifted_mask(by: int) -> Callable[..., Any]:
    return lambda q, k, device=None: torch.ones(q, k, dtype=torch.bool).tril(k - q + by)


def mask_aligned_top_left(patch: Patch) -> None:
    patch.setattr(
        attention, "causal_mask", lambda q, k, device=None: torch.ones(q, k, dtype=torch.bool).tril()
    )


def is_causal_whatever_the_lengths(patch: Patch) -> None:
    def naive(q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool = False, **_: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    patch.setattr(multi_head, "attend", naive)


def append_writes_at_slot_0(patch: Patch) -> None:
    def append(self: Any, k: Any, v: Any) -> Any:
        batch, new, end = k.size(0), k.size(2), self.cache.length + k.size(2)
        self.k.data[:batch, :, :new], self.v.data[:batch, :, :new] = k, v
        return self.k.data[:batch, :, :end], self.v.data[:batch, :, :end]

    patch.setattr(LayerKVCache, "append", append)


def append_forgets_the_past(patch: Patch) -> None:
    real = LayerKVCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        real(self, k, v)
        return k, v

    patch.setattr(LayerKVCache, "append", append)


def every_layer_advances(patch: Patch) -> None:
    real = LayerKVCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        both = real(self, k, v)
        if self is self.cache.layer(0):
            self.cache.length += k.size(2)
        return both

    patch.setattr(LayerKVCache, "append", append)
    patch.setattr(KVCache, "advance", lambda self, new: None)


def unused_slots_masked_instead_of_sliced(patch: Patch) -> None:
    real, ends = LayerKVCache.append, []

    def append(self: Any, k: Any, v: Any) -> Any:
        real(self, k, v)
        ends.append(self.cache.length + k.size(2))
        return self.k.data[: k.size(0)], self.v.data[: k.size(0)]

    def attend(q: Any, k: Any, v: Any, mask: Any = None, **_: Any) -> Any:
        end = ends[-1] if ends else k.size(2)
        seen = torch.arange(k.size(2)) <= (torch.arange(q.size(2)) + end - q.size(2))[:, None]
        scores = (q @ k.transpose(-2, -1) / q.size(-1) ** 0.5).masked_fill(~seen, -1e9)
        ends.clear()
        return scores.softmax(-1) @ v

    patch.setattr(LayerKVCache, "append", append)
    patch.setattr(multi_head, "attend", attend)


def rotary_positions_restart(patch: Patch) -> None:
    real = RotaryPositions.forward
    patch.setattr(
        RotaryPositions, "forward", lambda self, q, k, positions=None, start=0: real(self, q, k, None, 0)
    )


def learned_positions_restart(patch: Patch) -> None:
    real = GPT.forward

    def forward(self: Any, ids: Any, *, cache: Any = None, **rest: Any) -> Any:
        start, table = 0 if cache is None else cache.length, self.position_embedding.weight
        kept = table.data
        table.data = kept.roll(start, dims=0)  # row `start` now holds position 0
        try:
            return real(self, ids, cache=cache, **rest)
        finally:
            table.data = kept

    patch.setattr(GPT, "forward", forward)


def cache_rounds_to_bf16(patch: Patch) -> None:
    real = GPT.new_cache
    patch.setattr(GPT, "new_cache", lambda self, batch, capacity: real(self, batch, capacity, torch.bfloat16))


def one_cache_for_everybody(patch: Patch) -> None:
    real, kept = GPT.new_cache, []

    def new_cache(self: Any, batch: int, capacity: int) -> Any:
        if not kept:
            kept.append(real(self, 8, 64))
        return kept[0]

    patch.setattr(GPT, "new_cache", new_cache)


def crop_does_nothing(patch: Patch) -> None:
    patch.setattr(KVCache, "crop", lambda self, length: None)


def crop_keeps_one_too_many(patch: Patch) -> None:
    patch.setattr(KVCache, "crop", lambda self, length: setattr(self, "length", min(length + 1, self.length)))


def reset_does_nothing(patch: Patch) -> None:
    patch.setattr(KVCache, "reset", lambda self: None)


def full_cache_overwrites_the_last_slot(patch: Patch) -> None:
    def append(self: Any, k: Any, v: Any) -> Any:
        new = k.size(2)
        start = min(self.cache.length, self.cache.capacity - new)
        self.k.data[: k.size(0), :, start : start + new], self.v.data[: k.size(0), :, start : start + new] = (
            k,
            v,
        )
        return self.k.data[: k.size(0), :, : start + new], self.v.data[: k.size(0), :, : start + new]

    patch.setattr(KVCache, "check_room", lambda self, batch, new: None)
    patch.setattr(LayerKVCache, "append", append)


def check_roomy_cache(model: GPT) -> None:
    """A cut fed into a cache with room to spare, so that a wrong count is not stopped by the size."""
    check_cuts(model, some_ids(2, 8), [[3, 5]], slots=40, rows=2)


Row = tuple[Callable[[Patch], None], Callable[..., None], str]
ROWS: list[Row] = [
    (append_writes_at_slot_0, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (append_forgets_the_past, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (every_layer_advances, lambda: check_roomy_cache(build(attn_backend="manual")), "chunks"),
    (rotary_positions_restart, lambda: check_every_way_to_cut_8(build(position="rope")), "chunks"),
    (learned_positions_restart, lambda: check_every_way_to_cut_8(build(position="learned")), "chunks"),
    (mask_aligned_top_left, lambda: check_every_way_to_cut_8(build(attn_backend="manual")), "chunks"),
    (is_causal_whatever_the_lengths, lambda: check_every_way_to_cut_8(build()), "chunks"),
    (is_causal_whatever_the_lengths, lambda: check_random_cuts_of_64(build()), "chunks"),
    (cache_rounds_to_bf16, lambda: check_random_cuts_of_64(build()), "chunks"),
    (
        unused_slots_masked_instead_of_sliced,
        lambda: check_unused_slots_do_not_matter(build()),
        "unused slots",
    ),
    (one_cache_for_everybody, lambda: check_two_sessions(build()), "sessions"),
    (crop_does_nothing, lambda: check_crop_and_reset(build()), "crop"),
    (crop_keeps_one_too_many, lambda: check_crop_and_reset(build()), "crop"),
    (reset_does_nothing, lambda: check_crop_and_reset(build()), "reset"),
    (full_cache_overwrites_the_last_slot, lambda: check_a_full_cache_refuses(build()), "in silence"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


def test_masking_unused_slots_is_right_as_long_as_they_hold_zeros(monkeypatch):
    """The bug that only NaN shows: without the poisoned slots every cut would pass."""
    unused_slots_masked_instead_of_sliced(monkeypatch)
    check_every_way_to_cut_8(build())


def test_a_cache_is_made_of_plain_numbers_that_the_poison_reaches():
    cache = kv_cache.FullKVCache(1, 2, 3, 1, 4)
    assert fill_with_nan(cache) >= 2 * 2 * 3 * 4
    assert all(bool(torch.isnan(tensor).all()) for tensor in cache.tensors())
