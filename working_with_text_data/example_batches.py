"""Batches of whole examples, each with its own mask of what is trained: instruction tuning's loader.

A window may be cut anywhere; a question with its answer may not. So a batch here is made of whole
examples `(ids, labels_mask)`, where `labels_mask[t]` says that token t is to be learned (the answer
and its end token) and not merely read (the question). Rows are filled in one of two ways:

    padded   one example a row, as wide as the longest of the batch       Q Q A A . .
    packed   examples one behind the other while they fit block_size      Q Q A A Q A

Padding wastes least among examples of like length: `bucket` sorts that many batches' worth of the shuffled order
by length before it cuts them into batches, which are then shuffled again.

**The shift from mask to label happens here, once**: y[t] is the id of token t + 1 where that token is
trained, and −100 (which cross-entropy ignores) elsewhere, so the last token of an example never
predicts the first of its neighbour. Whoever takes the loss must not shift again.

Packing wastes little and lets a row's later examples see the earlier ones through plain causal attention. With
`documents` a batch also says which example each place belongs to, so that a model can keep them apart.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils.errors import UserError

from .shuffling import shuffled
from .windows import check_batching

IGNORED = -100
Example = tuple[Sequence[int], Sequence[bool]]


class ExampleBatches:
    """An endless iterator of `(x, y)`, int64 (batch_size, T): `BatchLoader`'s interface, exact resume.

    T is block_size when packed, and the longest example of the (global) batch when padded. Each kept
    example comes exactly once an epoch, in an order that only seed and epoch decide; a batch may hold
    examples of two epochs.

    Args:
        examples: pairs of ids and mask of equal length.
        batch_size: rows a batch, on this rank.
        block_size: the longest row. An example longer than it is dropped whole, never cut, and counted
            in `dropped_long`; one with nothing to learn is dropped and counted in `dropped_unlabelled`.
        seed, shuffle: the order of the examples.
        pack: fill rows with several examples.
        documents: yield (x, y, documents) where packed: 1, 2, … for the examples of a row, 0 for padding.
        bucket: where padded, sort so many batches by length; 0 is none.
        pad_id: the id that fills x where a row is shorter; its label is −100.
        rank, world_size: this process takes rows rank·batch_size … of each global batch.

    Raises:
        UserError: ids and mask of different lengths, no example left, or a size below 1.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        block_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        pack: bool = False,
        documents: bool = False,
        bucket: int = 0,
        pad_id: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_batching(batch_size, block_size, rank, world_size)
        self.batch_size, self.block_size = batch_size, block_size
        self.seed, self.shuffle, self.pack, self.pad_id = int(seed), shuffle, pack, pad_id
        self.documents, self.bucket = documents, bucket
        if pack and bucket:
            raise UserError(
                "bucket sorts padded rows by length, and packed rows are full: choose one of the two"
            )
        self.rank, self.world_size = rank, world_size
        self.dropped_long = self.dropped_unlabelled = 0
        self.rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # (ids, labels), shifted
        for number, (ids, mask) in enumerate(examples):
            if len(ids) != len(mask):
                raise UserError(f"example {number} has {len(ids)} ids and {len(mask)} mask values: one each")
            if len(ids) > block_size:
                self.dropped_long += 1
                continue
            labels = shift_labels(ids, mask)
            if not np.any(labels != IGNORED):
                self.dropped_unlabelled += 1
                continue
            self.rows.append((np.asarray(ids, dtype=np.int64), labels))
        if not self.rows:
            raise UserError(
                f"no example left of {len(examples)}: {self.dropped_long} are longer than block_size "
                f"{block_size}, {self.dropped_unlabelled} have nothing to learn: give others"
            )
        self.epoch = 0
        self.position = 0  # examples of this epoch given out, over all ranks
        self._order: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    @property
    def examples_per_epoch(self) -> int:
        """Examples kept."""
        return len(self.rows)

    @property
    def tokens_per_epoch(self) -> int:
        """Real (not padding) ids an epoch, over all ranks; `labels_per_epoch` of them are trained."""
        return sum(len(ids) for ids, _ in self.rows)

    @property
    def rows_per_epoch(self) -> int:
        """Rows that the first epoch fills, over all ranks; of packed rows, later epochs need about as many."""
        if not self.pack:
            return len(self.rows)
        walk = copy.copy(self)
        walk.epoch = walk.position = rows = 0
        while walk.epoch == 0:
            walk._next_row()
            rows += 1
        return rows

    @property
    def labels_per_epoch(self) -> int:
        """Trained targets an epoch, over all ranks."""
        return sum(int(np.sum(labels != IGNORED)) for _, labels in self.rows)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, ...]:
        """The next batch of this rank: x and y of shape (batch_size, T), and documents where asked for."""
        rows = [self._next_row() for _ in range(self.batch_size * self.world_size)]
        longest = max(sum(len(self.rows[i][0]) for i in row) for row in rows)
        width = self.block_size if self.pack else longest
        x = np.full((self.batch_size, width), self.pad_id, dtype=np.int64)
        y = np.full((self.batch_size, width), IGNORED, dtype=np.int64)
        documents = np.zeros((self.batch_size, width), dtype=np.int64)
        for r, row in enumerate(rows[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]):
            at = 0
            for number, i in enumerate(row, start=1):
                ids, labels = self.rows[i]
                documents[r, at : at + len(ids)] = number
                x[r, at : at + len(ids)], y[r, at : at + len(ids)] = ids, labels
                at += len(ids)
        batch = (x, y, documents) if self.pack and self.documents else (x, y)
        return tuple(torch.from_numpy(part) for part in batch)  # (B, T) each

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: epoch, position and seed, and what they are only valid for."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "pack": self.pack,
            **({"bucket": [self.bucket, self.batch_size * self.world_size]} if self.bucket else {}),
            "block_size": self.block_size,
            "n_examples": len(self.rows),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken, with the same examples and settings. Raises UserError."""
        mine = self.state_dict()
        for key in ("shuffle", "pack", "bucket", "block_size", "n_examples"):
            if state.get(key) != mine.get(key):
                raise UserError(
                    f"the saved position is for {key} {state.get(key)}, the loader has {mine.get(key)}: "
                    "resume with the same examples and settings, or start a new run"
                )
        epoch, position, seed = (state.get(key) for key in ("epoch", "position", "seed"))
        if not (isinstance(epoch, int) and isinstance(position, int) and isinstance(seed, int)):
            raise UserError("the saved position lacks epoch, position or seed: the state is damaged")
        self.epoch, self.position, self.seed = epoch, position, seed

    def _next_row(self) -> list[int]:
        """Numbers of the examples of the next row: one, or as many as fit, in the epoch's order."""
        row = [self._take()]
        if self.pack:
            used = len(self.rows[row[0]][0])
            while used + (length := len(self.rows[self._peek()][0])) <= self.block_size:
                row.append(self._take())
                used += length
        return row

    def _peek(self) -> int:
        if not self.shuffle:
            return self.position
        key = (self.seed, self.epoch)
        if self._order is None or self._order[0] != key:
            count = len(self.rows)
            order = shuffled(np.arange(count), count, self.seed, self.epoch)
            self._order = (key, self._by_length(order) if self.bucket else order)
        return int(self._order[1][self.position])

    def _by_length(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The epoch's order with neighbours of like length, in whole batches that come in a mixed order."""
        rows = self.batch_size * self.world_size
        head = -self.epoch * len(order) % rows  # they fill up the last batch of the epoch before
        first, order = order[:head], order[head:]
        lengths = np.array([len(ids) for ids, _ in self.rows])
        pieces = [order[i : i + rows * self.bucket] for i in range(0, len(order), rows * self.bucket)]
        pieces = [piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces]
        batches = [piece[i : i + rows] for piece in pieces for i in range(0, len(piece), rows)]
        full, rest = [b for b in batches if len(b) == rows], [b for b in batches if len(b) < rows]
        mixed = shuffled(np.arange(len(full)), max(1, len(full)), self.seed ^ 0xB0C7, self.epoch)
        return np.concatenate([first, *(full[i] for i in mixed.tolist()), *rest])

    def _take(self) -> int:
        number = self._peek()
        self.position += 1
        if self.position == len(self.rows):
            self.epoch, self.position = self.epoch + 1, 0
        return number


def shift_labels(ids: Sequence[int], mask: Sequence[bool]) -> NDArray[np.int64]:
    """The label of each place: the next id where that one is trained, else −100. The last is −100.

    >>> shift_labels([5, 6, 7, 8], [False, False, True, True]).tolist()
    [-100, 7, 8, -100]
    """
    labels = np.full(len(ids), IGNORED, dtype=np.int64)
    following = np.asarray(ids, dtype=np.int64)[1:]
    labels[:-1] = np.where(np.asarray(mask, dtype=bool)[1:], following, IGNORED)
    return labels
