"""Rows of different lengths in one cache: they end at one place, and what comes short stands on the left as padding.

    length 6     . . a b c d        a row that joins is copied in, right-aligned (`put_row`)
                 x y z u v w
                 . . . . p q

The idea: a decode step appends one token to every row at one and the same slot, so rows must end together. Where
they begin is free: the mask says what is padding, positions count real tokens only, and windows and ALiBi look at
distances, which a move of the whole row does not change. So when a row joins that is longer than all others, or
when the right edge is reached, everything moves (`shift`), and no logit notices.

Both ask a layer three questions: which positions it still holds, in which slots they are, and which ones it would
keep. A full or latent layer holds all; a ring (`rolling_cache`) the newest.

Continuous batching: Yu et al. 2022 (Orca, OSDI), section 3. Left out on purpose: pages (Kwon et al. 2023, arXiv
2309.06180), which need a kernel that gathers. Notebook: 05 of this chapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attention_mechanisms.token_store import TokenStore
from utils.errors import UserError

if TYPE_CHECKING:
    from attention_mechanisms.kv_cache import KVCache, LayerCache


class RaggedLayer:
    """What a layer must know about its slots so that rows can be moved and copied."""

    cache: KVCache

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        raise NotImplementedError

    def slot_of(self, positions: Tensor) -> Tensor:
        """Where the token at a position is kept: here every token has a slot of its own."""
        return positions

    def held(self, length: int) -> Tensor:
        """The positions below `length` that are still kept, ascending."""
        return torch.arange(length, device=self.cache.device)

    def keeps(self, positions: Tensor) -> Tensor:
        """Bool (n,): whether a cache of the present length would keep these positions. Here all."""
        return torch.ones_like(positions, dtype=torch.bool)

    def put_row(self, row: int, other: LayerCache, source: int, length: int) -> None:
        """The first `length` tokens of row `source` of another cache, moved so that they end at this length."""
        by = self.cache.length - length
        places = other.held(length)
        places = places[(places + by >= 0) & self.keeps(places + by)]
        slots, old_slots = self.slot_of(places + by), other.slot_of(places)
        for mine, theirs in zip(self.stores, other.stores, strict=True):
            mine.put_row(row, slots, theirs, source, old_slots)

    def shift(self, by: int, rows: int) -> None:
        """Move the tokens of the first rows by so many positions; called before the cache's `length` follows."""
        places = self.held(self.cache.length)
        places = places[places + by >= 0]
        padding = torch.arange(max(by, 0), device=self.cache.device)
        padding = padding[padding >= self.cache.length + by - self.reach]  # older than that, a ring forgets
        slots, old_slots = self.slot_of(places + by), self.slot_of(places)
        for store in self.stores:
            store.move(rows, old_slots, slots, self.slot_of(padding))

    @property
    def reach(self) -> int:
        """How many of the newest tokens are kept: here all that fit."""
        return self.cache.capacity


class RaggedRows:
    """The part of a `KVCache` that moves rows: `shift` all of them, or `put_row` one of another cache."""

    batch: int
    capacity: int
    device: torch.device
    length: int
    layers: Sequence[LayerCache]
    _mask: Tensor | None

    @property
    def kind(self) -> tuple[object, ...]:
        """What two caches must have in common to exchange rows: layers, heads, widths, dtype."""
        raise NotImplementedError

    def shift(self, by: int, *, rows: int | None = None) -> None:
        """Move all tokens `by` places to the right, behind new padding; or to the left, over padding.

        Rows of different lengths end at one common `length`; this makes way for a row that is longer than all
        others, and takes back what is padding in every row. On an empty cache it makes room for `put_row`.
        `rows`: only the first so many are in use, and what the others hold may be lost.

        Raises:
            UserError: no room on the right, or a real token would fall off on the left.
        """
        rows = self.batch if rows is None else rows
        length = self.length + by
        if not 0 <= length <= self.capacity:
            raise UserError(
                f"cannot shift the KV cache by {by}: it holds {self.length} tokens and has room for "
                f"{self.capacity}"
            )
        if by == 0:
            return
        if self.length:
            self._check_move(by)
        real = self._real_tokens()
        if by < 0 and bool(real[:rows, :-by].any()):
            raise UserError(
                f"cannot shift the KV cache by {by}: a row has a real token among its first {-by}, "
                "and only padding may fall off"
            )
        for layer in self.layers:
            layer.shift(by, rows)
        self.length = length
        moved = torch.ones(self.batch, length, dtype=torch.bool, device=self.device)
        moved[:rows, : max(by, 0)] = False
        moved[:rows, max(by, 0) :] = real[:rows, max(-by, 0) :]
        self._remember(moved)

    def put_row(self, row: int, other: KVCache, source: int = 0, *, length: int | None = None) -> None:
        """Row `row` becomes a copy of row `source` of another cache, or of its first `length` tokens.

        The newest token stands at `self.length` - 1, and padding on the left. The other cache is of the same kind
        and may have another number of rows and another capacity. It may be this one.

        Raises:
            UserError: another kind of cache, a row that does not exist, more tokens than this cache holds now
                (`shift` makes way), or tokens that a ring has overwritten.
        """
        length = other.length if length is None else length
        if type(other) is not type(self) or other.kind != self.kind:
            raise UserError(
                f"put_row: a row of {type(other).__name__} {other.kind} does not fit into "
                f"{type(self).__name__} {self.kind}: make both by one model in one dtype"
            )
        if not (0 <= row < self.batch and 0 <= source < other.batch and 0 <= length <= other.length):
            raise UserError(
                f"put_row: {length} tokens of row {source} into row {row}, but there are {other.length} tokens "
                f"in rows 0 to {other.batch - 1}, and rows 0 to {self.batch - 1} to put them"
            )
        self._check_move(self.length - length)
        for layer in other.layers:
            layer.check_crop(length)
        theirs = other._real_tokens()[source, :length]
        too_many = max(length - self.length, 0)
        if bool(theirs[:too_many].any()):
            raise UserError(
                f"put_row: the row has {int(theirs.sum())} tokens but this cache holds {self.length}: "
                f"shift it by {too_many} first"
            )
        for mine, layer in zip(self.layers, other.layers, strict=True):
            mine.put_row(row, layer, source, length)
        real = self._real_tokens()
        real[row] = False
        real[row, self.length - length + too_many :] = theirs[too_many:]
        self._remember(real)

    def _check_move(self, by: int) -> None:
        """Raise a UserError if rows of this kind cannot stand behind padding."""

    def _real_tokens(self) -> Tensor:
        """Bool (batch, length), a copy: which of the tokens so far are no padding."""
        if self._mask is not None:
            return self._mask[:, : self.length].clone()
        return torch.ones(self.batch, self.length, dtype=torch.bool, device=self.device)

    def _remember(self, real: Tensor) -> None:
        """Take this mask (batch, length); without any padding there is nothing to mask, and no mask is faster."""
        self._mask = None
        if not bool(real.all()):
            self.set_attention_mask(real)

    def set_attention_mask(self, mask: Tensor) -> None:
        """Remember the mask of the tokens so far: see `KVCache`."""
        raise NotImplementedError
