"""Classic bugs of the KV cache, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with, so
that it fails for the right reason. Every check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cache_checks
import pytest
import torch
import torch.nn.functional as F
from cache_checks import (
    check_bytes,
    check_crops_of_a_ring,
    check_half_a_step,
    check_int8_logits,
    check_padding_through_a_cache,
    check_ring_bytes,
    check_ring_goes_round,
    check_rows_of_a_branch,
)
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

from attention_mechanisms import attention, kv_cache, multi_head, rolling_cache, token_store
from attention_mechanisms.kv_cache import KVCache, LayerKVCache
from attention_mechanisms.positions import RotaryPositions
from attention_mechanisms.rolling_cache import RollingKVCache, RollingLayerCache
from attention_mechanisms.token_store import TokenStore
from gpt_model import GPT
from utils.errors import UserError

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


# Rings, latents, branches, bytes ---------------------------------------------------------------------


def ring_overwritten_before_the_chunk_is_read(patch: Patch) -> None:
    real = RollingLayerCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        places = torch.arange(self.length, self.length + k.size(2))
        if len(places) > 1:
            places, k_new, v_new = (
                t[..., -self.ring :, :] if t.dim() > 1 else t[-self.ring :] for t in (places, k, v)
            )
            self.k.write_slots(self.slot_of(places), k_new)
            self.v.write_slots(self.slot_of(places), v_new)
        return real(self, k, v)

    patch.setattr(RollingLayerCache, "append", append)


def ring_slot_off_by_one_after_the_wrap(patch: Patch) -> None:
    real = RollingLayerCache.slot_of
    patch.setattr(
        RollingLayerCache, "slot_of", lambda self, p: real(self, torch.where(p < self.slots, p, p + 1))
    )


def ring_of_one_slot_too_few(patch: Patch) -> None:
    real = RollingLayerCache.__init__

    def small(self: Any, *args: Any) -> None:
        real(self, *args)
        self.ring = max(1, self.ring - 1)

    patch.setattr(RollingLayerCache, "__init__", small)


def sinks_forgotten_after_the_wrap(patch: Patch) -> None:
    patch.setattr(RollingLayerCache, "slot_of", lambda self, p: p % self.slots)


def sinks_left_out_of_a_chunk(patch: Patch) -> None:
    real = RollingLayerCache._needed
    patch.setattr(
        RollingLayerCache,
        "_needed",
        lambda self, n: (lambda p: p[(p >= self.sinks) | (n <= self.slots)])(real(self, n)),
    )


def ring_lies_about_positions(patch: Patch) -> None:
    """Slots in order of storage, not of time: right until the ring turns, and for softmax alone; not for ALiBi."""
    real = RollingLayerCache.key_positions

    def key_positions(self: Any, new: int) -> Any:
        found = real(self, new)
        return found.sort().values if new == 1 else found

    patch.setattr(RollingLayerCache, "key_positions", key_positions)


def keys_rotated_again_on_read(patch: Patch) -> None:
    real = LayerKVCache.append

    def append(self: Any, k: Any, v: Any) -> Any:
        keys, values = real(self, k, v)
        old = RotaryPositions(k.size(-1), 64).rotate(keys[:, :, : self.length])
        return torch.cat((old, keys[:, :, self.length :]), dim=2), values

    patch.setattr(LayerKVCache, "append", append)


def any_crop_allowed(patch: Patch) -> None:
    patch.setattr(RollingLayerCache, "check_crop", lambda self, length: None)


def a_crop_forgets_what_was_overwritten(patch: Patch) -> None:
    real = RollingLayerCache.check_crop

    def check_crop(self: Any, length: int) -> None:
        self.written = self.length
        real(self, length)

    patch.setattr(RollingLayerCache, "check_crop", check_crop)


def every_crop_refused(patch: Patch) -> None:
    def check_crop(self: Any, length: int) -> None:
        if length < self.length:
            raise UserError(f"cannot crop to {length}: a ring has overwritten something")

    patch.setattr(RollingLayerCache, "check_crop", check_crop)


def branch_shares_when_nothing_moves(patch: Patch) -> None:
    real = TokenStore.copy_rows

    def copy_rows(self: Any, other: Any, rows: Any) -> None:
        if rows.tolist() == list(range(other.data.size(0))):
            self.data = other.data
        else:
            real(self, other, rows)

    patch.setattr(TokenStore, "copy_rows", copy_rows)


def branch_ignores_the_rows(patch: Patch) -> None:
    real = TokenStore.copy_rows
    patch.setattr(
        TokenStore,
        "copy_rows",
        lambda self, other, rows: real(self, other, torch.arange(len(rows)) % other.data.size(0)),
    )


def the_cache_forgets_who_is_padding(patch: Patch) -> None:
    patch.setattr(KVCache, "mask_with_new", lambda self, batch, new: None)


def padding_by_slot_not_by_position(patch: Patch) -> None:
    """The mask of a ring's keys taken from the newest columns, though the ring lies in another order."""
    real = multi_head.MultiHeadAttention.rules

    def rules(self: Any, cache: Any, start: int, time: int, mask: Any, device: Any) -> Any:
        look = real(self, cache, start, time, mask, device)
        kept = look["mask"]
        if time == 1 and mask is not None and kept is not None and kept.size(-1) < start + 1:
            look["mask"] = mask.bool()[:, None, None, -kept.size(-1) :]
        return look

    patch.setattr(multi_head.MultiHeadAttention, "rules", rules)


def one_int8_scale_for_everything(patch: Patch) -> None:
    def coarse(x: Any) -> Any:
        scale = (x.float().abs().amax() / 127).expand(*x.shape[:-1], 1)
        return (x / scale.clamp(min=1e-38)).round().to(torch.int8), scale

    patch.setattr(cache_checks, "quantize", coarse)
    patch.setattr(token_store, "quantize", coarse)


def int8_cut_off_not_rounded(patch: Patch) -> None:
    def cut(x: Any) -> Any:
        scale = x.float().abs().amax(dim=-1, keepdim=True) / 127
        return (x / scale.clamp(min=1e-38)).to(torch.int8), scale

    patch.setattr(cache_checks, "quantize", cut)
    patch.setattr(token_store, "quantize", cut)


def int8_asked_for_and_ignored(patch: Patch) -> None:
    for module in (kv_cache, rolling_cache):
        patch.setattr(
            module, "make_store", lambda shape, dtype, device: TokenStore(shape, torch.float32, device)
        )


def scales_not_counted(patch: Patch) -> None:
    patch.setattr(token_store.Int8Store, "tensors", lambda self: (self.data,))


def window_cache_of_every_token(patch: Patch) -> None:
    real = RollingKVCache.__init__

    def wide(self: Any, windows: Any, *args: Any, **rest: Any) -> None:
        real(self, [None] * len(windows), *args, **rest)

    patch.setattr(RollingKVCache, "__init__", wide)


def swa(**fields: Any) -> GPT:
    return build(attention="swa", **{"position": "rope", "window": 3, **fields})


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
    # Rings
    (ring_overwritten_before_the_chunk_is_read, lambda: check_ring_goes_round(swa()), "overwritten"),
    (ring_overwritten_before_the_chunk_is_read, lambda: check_every_way_to_cut_8(swa()), "chunks"),
    (ring_slot_off_by_one_after_the_wrap, lambda: check_ring_goes_round(swa()), "slot p mod W"),
    (ring_of_one_slot_too_few, lambda: check_ring_goes_round(swa()), "ring"),
    (sinks_forgotten_after_the_wrap, lambda: check_ring_goes_round(swa(attention_sinks=2)), "sinks"),
    (sinks_left_out_of_a_chunk, lambda: check_ring_goes_round(swa(attention_sinks=2)), "sinks"),
    (ring_lies_about_positions, lambda: check_ring_goes_round(swa(position="alibi")), "ring"),
    (keys_rotated_again_on_read, lambda: check_every_way_to_cut_8(build(position="rope")), "chunks"),
    (any_crop_allowed, lambda: check_crops_of_a_ring(swa(), 2), "wrong in silence|stale slots"),
    (a_crop_forgets_what_was_overwritten, lambda: check_crops_of_a_ring(swa(), 5), "wrong in silence|stale"),
    (every_crop_refused, lambda: check_crops_of_a_ring(swa(), 2), "refused for nothing"),
    (window_cache_of_every_token, lambda: check_ring_bytes(swa()), "bytes"),
    # Branches, padding
    (branch_shares_when_nothing_moves, lambda: check_rows_of_a_branch(build()), "shared storage"),
    (
        branch_ignores_the_rows,
        lambda: check_rows_of_a_branch(build(attention="mla", position="rope")),
        "row i",
    ),
    (the_cache_forgets_who_is_padding, lambda: check_padding_through_a_cache(build()), "padded on the left"),
    (padding_by_slot_not_by_position, lambda: check_padding_through_a_cache(swa(window=4)), "in a ring"),
    # int8 and bytes
    (one_int8_scale_for_everything, check_half_a_step, "half steps"),
    (int8_cut_off_not_rounded, check_half_a_step, "half steps"),
    (int8_cut_off_not_rounded, lambda: check_int8_logits(build(position="rope")), "half a step"),
    (int8_asked_for_and_ignored, lambda: check_int8_logits(build(position="rope")), "really kept"),
    (scales_not_counted, lambda: check_bytes(build()), "formula"),
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
