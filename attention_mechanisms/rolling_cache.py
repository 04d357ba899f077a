"""The cache of a sliding window: a ring that keeps the newest W tokens and overwrites the oldest.

The idea: a query that sees W tokens back never asks for anything older, so slot `position mod W` is free again
as soon as the position has left the window. Softmax does not care for the order of its keys, and keys were
rotated before they were stored, so while decoding the ring is read as it lies, without sorting or copying.

    W = 4, after 6 tokens:   slot 0 1 2 3
                         position 4 5 2 3

Subtle: several tokens at once. If all were written first, the last would overwrite what the first still sees;
so the old keys are gathered in order, the new ones put behind them, and only then does the ring move on. This is
what a prompt longer than W in one piece, and chunks across the seam, need.

Attention sinks (Xiao et al. 2023, arXiv 2309.17453) keep the first S tokens in slots of their own before the ring.
Windows: Beltagy et al. 2020 (arXiv 2004.05150), Jiang et al. 2023 (arXiv 2310.06825, section 2).
Notebook: 07 of this chapter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache, LayerCache, LayerKVCache
from attention_mechanisms.token_store import TokenStore, make_store
from utils.errors import UserError


class RollingLayerCache(LayerCache):
    """One layer that sees a window: k and v of shape (batch, n_kv_head, sinks + ring, head_dim)."""

    def __init__(self, cache: KVCache, k: TokenStore, v: TokenStore, window: int, sinks: int) -> None:
        super().__init__(cache)
        self.k, self.v, self.window, self.sinks = k, v, window, sinks
        self.slots = k.tensors()[0].size(-2)
        self.ring = self.slots - sinks
        self.written = (
            0  # tokens the ring has taken: a crop lowers `length`, but what it overwrote stays lost
        )

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        return self.k, self.v

    def slot_of(self, positions: Tensor) -> Tensor:
        """Where the token at a position is kept: sinks first, then round and round the ring."""
        ringed = self.sinks + (positions - self.sinks) % max(self.ring, 1)
        return torch.where(positions < self.sinks, positions, ringed)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H_kv, T_new, D); return the keys and values that the new tokens may need.

        Their positions are `key_positions(T_new)`, asked *before* `advance`. One new token gives the ring as it
        lies; several give the window before them in order, and themselves.
        """
        batch, _, new, _ = k.shape
        self.cache.check_room(batch, new)
        start = self.length
        # With nothing of the ring in use, it begins anew.
        self.written = start + new if start <= self.sinks else max(self.written, start + new)
        places = torch.arange(start, start + new, device=self.cache.device)
        if new == 1:
            slot = self.slot_of(places)
            self.k.write_slots(slot, k.detach())
            self.v.write_slots(slot, v.detach())
            filled = min(start + 1, self.slots)
            return self.k.read(batch, filled, k.dtype), self.v.read(batch, filled, v.dtype)
        keys, values = k.detach(), v.detach()
        if start:
            old = self.slot_of(self._needed(start))
            keys = torch.cat((self.k.read_slots(batch, old, k.dtype).to(k.dtype), keys), dim=-2)
            values = torch.cat((self.v.read_slots(batch, old, v.dtype).to(v.dtype), values), dim=-2)
        kept = (places < self.sinks) | (places >= start + new - self.ring)
        self.k.write_slots(self.slot_of(places[kept]), k.detach()[..., kept, :])
        self.v.write_slots(self.slot_of(places[kept]), v.detach()[..., kept, :])
        return keys, values

    def key_positions(self, new: int) -> Tensor:
        """The positions (K,) of the keys that `append` gives for `new` tokens, before the cache advances."""
        start, device = self.length, self.cache.device
        if new > 1:
            return torch.cat((self._needed(start), torch.arange(start, start + new, device=device)))
        slots = torch.arange(min(start + 1, self.slots), device=device)
        # The newest position that lives in each slot: count back from `start` to the slot's turn.
        ringed = start - (start - slots) % max(self.ring, 1)
        return torch.where(slots < self.sinks, slots, ringed)

    def _needed(self, length: int) -> Tensor:
        """Positions before `length` that a token at `length` may look at: the sinks, and the window."""
        device = self.cache.device
        sinks = min(self.sinks, length)
        first = max(sinks, length - self.window + 1)
        return torch.cat((torch.arange(sinks, device=device), torch.arange(first, length, device=device)))

    def held(self, length: int) -> Tensor:
        device = self.cache.device
        first = max(self.sinks, self.written - self.ring)
        sinks = torch.arange(min(self.sinks, length), device=device)
        return torch.cat((sinks, torch.arange(first, max(first, length), device=device)))

    def keeps(self, positions: Tensor) -> Tensor:
        return (positions < self.sinks) | (positions >= self.length - self.ring)

    @property
    def reach(self) -> int:
        return self.ring

    def copy_rows(self, other: LayerCache, rows: Tensor) -> None:
        super().copy_rows(other, rows)
        assert isinstance(other, RollingLayerCache)
        self.written = other.written

    def put_row(self, row: int, other: LayerCache, source: int, length: int) -> None:
        super().put_row(row, other, source, length)
        # What the other ring has lost is lost here too, and a crop must know.
        kept = other.held(length)[self.sinks :]
        oldest = int(kept[0]) if len(kept) else length
        lost = oldest + self.length - length if oldest > self.sinks else 0
        self.written = max(self.written, self.length, lost + self.ring if lost > 0 else 0)

    def shift(self, by: int, rows: int) -> None:
        super().shift(by, rows)
        # With nothing of the ring in use, it begins anew (`written` may be that of an older text).
        self.written = by + (self.written if self.length > self.sinks else self.length)

    def check_crop(self, length: int) -> None:
        oldest_kept = max(self.sinks, self.written - self.ring)
        oldest_needed = max(self.sinks, length - self.window + 1)
        if oldest_needed < min(length, oldest_kept):
            back = oldest_kept + self.window - 1
            raise UserError(
                f"cannot crop the KV cache to {length} tokens: its window of {self.window} has overwritten what "
                f"they saw; go back to {min(back, self.length)} at most, or reset it"
            )


class RollingKVCache(KVCache):
    """Rolling layers for windows, full layers for global ones: bytes stay constant after W tokens.

    `windows` holds one entry a layer: its window, or None for a layer that sees everything. `slack` more slots
    in each ring allow a crop by so many tokens.
    """

    def __init__(
        self,
        windows: Sequence[int | None],
        batch: int,
        capacity: int,
        n_kv_head: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        *,
        sinks: int = 0,
        slack: int = 0,
    ) -> None:
        super().__init__(batch, capacity, device)
        self.dtype = dtype
        self._shape = (tuple(windows), n_kv_head, head_dim, sinks, slack)

        def store(slots: int) -> TokenStore:
            return make_store((batch, n_kv_head, slots, head_dim), dtype, device)

        layers: list[LayerCache] = []
        for window in windows:
            slots = capacity if window is None else min(capacity, window + slack + sinks)
            if slots == capacity:  # everything fits: a ring would never turn
                layers.append(LayerKVCache(self, store(slots), store(slots)))
            else:
                assert window is not None
                layers.append(RollingLayerCache(self, store(slots), store(slots), window, sinks))
        self.layers = layers

    @property
    def kind(self) -> tuple[object, ...]:
        return (*self._shape[:4], self.dtype)  # the slack may differ

    def _check_move(self, by: int) -> None:
        sinks = self._shape[3]
        if sinks and by:
            raise UserError(
                f"the first {sinks} tokens are kept as attention sinks, so a row of the KV cache cannot be moved "
                f"by {by}: give rows of one length, or set attention_sinks to 0"
            )

    def like(self, batch: int) -> "RollingKVCache":
        windows, n_kv_head, head_dim, sinks, slack = self._shape
        return RollingKVCache(
            windows,
            batch,
            self.capacity,
            n_kv_head,
            head_dim,
            self.dtype,
            self.device,
            sinks=sinks,
            slack=slack,
        )
