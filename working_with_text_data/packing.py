"""Packing: rows of whole documents, and for each token which document it belongs to.

Windows cut documents anywhere and let a token look back into the document before its own. Packing fills
rows with whole documents and says where each begins, so that attention and positions can stay inside:

    x          a b c | p q | k l m n .      three documents in a row of ten, one place padded
    y          b c $   q $   l m n $ −100   each token's next one; the end $ is asked for, never read
    segments   1 1 1   2 2   3 3 3 3 0      0 is padding
    positions  0 1 2   0 1   0 1 2 3 0      places within the document

**No label crosses a document**: the last token of one would otherwise be asked for the first of its
neighbour. A document longer than a row is cut into pieces that ask for each of its tokens once.

Which documents share a row? "in_order" puts them in as they come and opens a new row when one does not fit.
"best_fit" takes the longest first and gives each the fullest row that still has room, as in Ding et al. 2024
(arXiv 2404.10830), who find fewer cut documents and less made up; it wastes far fewer places. Documents are
packed in groups of a few thousand in the epoch's order, so memory is constant and rows differ each epoch.

`example_batches` packs examples of a dialogue with a mask of what is trained; labels and their −100 are its.
Left out: attention kernels for it. `document_mask` gives the dense mask.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from utils.errors import UserError

from .example_batches import IGNORED
from .shuffling import shuffled
from .windows import Tokens, as_tokens, check_batching

Method = Literal["best_fit", "in_order"]
GROUP = 4096  # pieces that are packed together
_SCAN = 1 << 22


class PackedBatch(NamedTuple):
    """Four int64 tensors of shape (batch_size, block_size), and the places of a row as in the docstring."""

    x: torch.Tensor
    y: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor


def document_pieces(tokens: Tokens, end_id: int, block_size: int) -> NDArray[np.int64]:
    """(first token, number of inputs) of every piece; a document longer than a row gives several.

    A document is what ends in `end_id`, or the rest after the last one. One of m tokens has m − 1 inputs,
    because its last token is only ever asked for; one of a single token has none and gives no piece.
    Raises UserError for a block_size below 1.

    >>> document_pieces([7, 8, 9, 0, 0, 5, 0], end_id=0, block_size=2).tolist()
    [[0, 2], [2, 1], [5, 1]]
    """
    if block_size < 1:
        raise UserError(f"block_size is {block_size}: it must be at least 1")
    ids = as_tokens(tokens)
    stops = [np.zeros(1, dtype=np.int64)]
    for start in range(0, len(ids), _SCAN):  # a memory map is read once, a piece at a time
        stops.append(start + 1 + np.flatnonzero(np.asarray(ids[start : start + _SCAN]) == end_id))
    edges = np.concatenate([*stops, np.array([len(ids)])])
    starts, inputs = edges[:-1], np.diff(edges) - 1
    starts, inputs = starts[inputs > 0], inputs[inputs > 0]
    pieces = -(-inputs // block_size)  # rounded up
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    offset = (np.arange(pieces.sum()) - first) * block_size
    lengths = np.minimum(np.repeat(inputs, pieces) - offset, block_size)
    return np.stack([np.repeat(starts, pieces) + offset, lengths], axis=1)


def pack(lengths: NDArray[np.int64], block_size: int, method: Method = "best_fit") -> list[list[int]]:
    """Which pieces share a row: lists of their numbers, the lengths of each adding up to at most a row.

    Every piece is in exactly one row. Pieces of a row stand in the order of their numbers.

    >>> pack(np.array([6, 5, 4, 3, 2]), 10), pack(np.array([6, 5, 4, 3, 2]), 10, "in_order")
    ([[0, 2], [1, 3, 4]], [[0], [1, 2], [3, 4]])
    """
    if method not in get_args(Method):
        raise UserError(f"packing method is {method!r}: choose {' or '.join(get_args(Method))}")
    if len(lengths) and int(lengths.max()) > block_size:
        raise UserError(f"a piece has {int(lengths.max())} tokens, a row {block_size}: cut it first")
    rows: list[list[int]] = []
    if method == "in_order":
        room = 0
        for number, length in enumerate(lengths.tolist()):
            if not rows or length > room:
                rows.append([])
                room = block_size
            rows[-1].append(number)
            room -= length
        return rows
    by_room: dict[int, list[int]] = {}  # room left → rows that have it
    rooms: list[int] = []  # the keys of by_room, sorted: at most block_size of them
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number])
        at = bisect_left(rooms, length)
        if at == len(rooms):
            row, room = len(rows), block_size
            rows.append([])
        else:
            room = rooms[at]
            row = by_room[room].pop()
            if not by_room[room]:
                del by_room[room], rooms[at]
        rows[row].append(number)
        if room > length:
            if room - length not in by_room:
                insort(rooms, room - length)
            by_room.setdefault(room - length, []).append(row)
    return [sorted(row) for row in rows]


def packing_report(tokens: Tokens, end_id: int, block_size: int) -> dict[str, dict[str, float]]:
    """What each method costs on these tokens: rows, the share of places padded, documents cut."""
    pieces = document_pieces(tokens, end_id, block_size)
    # A piece goes on if it fills its row and the next one begins where it stopped: its document was cut.
    stops = pieces[:-1].sum(axis=1) if len(pieces) else np.zeros(0, dtype=np.int64)
    cut = float(np.sum((pieces[:-1, 1] == block_size) & (stops == pieces[1:, 0])))
    report = {}
    for method in get_args(Method):
        rows = sum(
            len(pack(pieces[i : i + GROUP, 1], block_size, method)) for i in range(0, len(pieces), GROUP)
        )
        places = max(1, rows * block_size)
        report[method] = {"rows": rows, "waste": 1 - float(pieces[:, 1].sum()) / places, "cuts": cut}
    return report


def document_mask(segments: torch.Tensor) -> torch.Tensor:
    """Who may look at whom, bool (B, 1, T, T): tokens of the same document, not later than oneself.

    A padded place sees itself alone, so that no row of the mask is empty (a softmax over nothing is NaN).
    """
    same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
    real = (segments > 0)[:, :, None]
    length = segments.size(1)
    itself = torch.eye(length, dtype=torch.bool, device=segments.device)
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return ((same & causal & real) | itself)[:, None]


class PackedBatches:
    """An endless iterator of `PackedBatch`, with exact resume: `BatchLoader`'s interface over whole documents.

    Each piece of a document comes exactly once an epoch, to exactly one rank; a batch may hold the last
    rows of one group or epoch and the first of the next, so all batches are full.

    Args:
        tokens: ids of documents that each end in `end_id`, as `preprocess` writes them.
        batch_size: rows a batch, on this rank. block_size: places a row.
        end_id: the end-of-text token.
        method: how documents are put together.
        seed, shuffle: the order of the documents.
        pad_id: what stands in x where a row is shorter; its label is −100, its segment 0.
        rank, world_size: this process takes rows rank·batch_size … of each global batch.

    Raises:
        UserError: no document of two tokens or more, an unknown method, or a size below 1.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        block_size: int,
        *,
        end_id: int,
        method: Method = "best_fit",
        seed: int = 0,
        shuffle: bool = True,
        pad_id: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_batching(batch_size, block_size, rank, world_size)
        self.tokens = as_tokens(tokens)
        self.batch_size, self.block_size, self.end_id, self.pad_id = batch_size, block_size, end_id, pad_id
        self.method, self.seed, self.shuffle = method, int(seed), shuffle
        self.rank, self.world_size = rank, world_size
        self.pieces = document_pieces(self.tokens, end_id, block_size)
        pack(self.pieces[:1, 1], block_size, method)  # an unknown method is better known now
        if not len(self.pieces):
            raise UserError(
                f"there is no document to pack in {len(self.tokens):,} tokens: each needs two at least"
            )
        self.epoch = self.group = 0
        self.position = 0  # rows of this group given out, over all ranks
        self._rows: tuple[tuple[int, int, int], list[list[int]]] | None = None

    @property
    def tokens_per_epoch(self) -> int:
        """Targets an epoch, over all ranks."""
        return int(self.pieces[:, 1].sum())

    def __iter__(self) -> Iterator[PackedBatch]:
        return self

    def __next__(self) -> PackedBatch:
        """The next batch of this rank. The state moves on by the whole global batch."""
        rows = [self._next_row() for _ in range(self.batch_size * self.world_size)]
        shape = (self.batch_size, self.block_size)
        x, y = np.full(shape, self.pad_id, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        segments, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for r, row in enumerate(rows[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]):
            at = 0
            for segment, number in enumerate(row, start=1):
                start, length = self.pieces[number].tolist()
                ids = self.tokens[start : start + length + 1]
                place = slice(at, at + length)
                x[r, place], y[r, place] = ids[:-1], ids[1:]
                segments[r, place], positions[r, place] = segment, np.arange(length)
                at += length
        return PackedBatch(*map(torch.from_numpy, (x, y, segments, positions)))  # (B, T) each

    def _next_row(self) -> list[int]:
        """Numbers of the next row's pieces, moving on over the edges of groups and epochs."""
        key = (self.seed, self.epoch, self.group)
        if self._rows is None or self._rows[0] != key:
            count = len(self.pieces)
            numbers = np.arange(self.group * GROUP, min((self.group + 1) * GROUP, count))
            if self.shuffle:
                numbers = shuffled(numbers, count, self.seed, self.epoch)
            packed = pack(self.pieces[numbers, 1], self.block_size, self.method)
            if self.shuffle:  # best fit begins with the longest: mix the rows again
                order = shuffled(np.arange(len(packed)), len(packed), self.seed ^ 0x9ACC, self.epoch)
                packed = [packed[i] for i in order.tolist()]
            self._rows = (key, [[int(numbers[i]) for i in row] for row in packed])
        row = self._rows[1][self.position]
        self.position += 1
        if self.position == len(self._rows[1]):
            self.group, self.position = self.group + 1, 0
            if self.group * GROUP >= len(self.pieces):
                self.epoch, self.group = self.epoch + 1, 0
        return row

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: epoch, group, position and seed, and what they are only valid for."""
        return {
            "epoch": self.epoch,
            "group": self.group,
            "position": self.position,
            "seed": self.seed,
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "shuffle": self.shuffle,
            "method": self.method,
            "block_size": self.block_size,
            "end_id": self.end_id,
            "n_tokens": len(self.tokens),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken. Batch size and number of ranks may have changed."""
        for key, value in self._settings().items():
            if state.get(key) != value:
                raise UserError(
                    f"the saved position is for {key} {state.get(key)}, the loader has {value}: "
                    "resume with the same data and settings, or start a new run"
                )
        places = [state.get(key) for key in ("epoch", "group", "position", "seed")]
        if not all(isinstance(place, int) for place in places):
            raise UserError("the saved position lacks epoch, group, position or seed: the state is damaged")
        self.epoch, self.group, self.position, self.seed = places  # type: ignore[assignment]
