"""Windows: pieces of `block_size` tokens, and the same pieces one token later as what to predict.

    ids      t0 t1 t2 t3 t4 …
    x        t0 t1 t2 t3            the model reads these
    y           t1 t2 t3 t4         and is asked for these, all at once: y[i] == x[i + 1]

Two ways to cut them. `NextTokenPredictionDataset` has a stride and a length, for torch's own
DataLoader and for understanding. `BatchLoader` is what training uses: it never ends, its state is
three numbers, and a loader in another process that is given them continues with the same batches.

It tiles the ids with windows that touch and do not overlap, so that each token is asked for once an
epoch. With shuffling, each epoch moves the tiling by a fresh offset, so that over epochs a token is seen at
every place of a window; the price is that up to one window's worth of tokens at the two ends sits out each
epoch. `sampling="random_offsets"` draws random places instead, as nanoGPT does: simpler to explain, and
after one epoch's worth of them 37 % (1/e) of the tokens were never asked for.

Documents are not aligned to windows: an end-of-text token inside a window tells the model. Rows that keep
documents apart are `packing`; text that is not in an array is `streaming_windows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from utils.errors import UserError

from .shuffling import draw, draws, shuffled
from .token_array import TokenArray

Tokens = TokenArray | NDArray[Any] | torch.Tensor | Sequence[int]
Sampling = Literal["tiles", "random_offsets"]
_ORDER_BLOCK = 4096  # positions whose order is worked out at once: it costs little more than that of one


def as_tokens(ids: Tokens) -> TokenArray | NDArray[Any]:
    """A list, tensor, array or TokenArray of ids as something flat that can be sliced to numpy."""
    if isinstance(ids, TokenArray):
        return ids
    array = ids.detach().cpu().numpy() if isinstance(ids, torch.Tensor) else np.asarray(ids)
    if array.ndim != 1:
        raise UserError(f"the ids have shape {array.shape}: give one flat sequence")
    if array.size and array.dtype.kind not in "iu":
        raise UserError(f"the ids are {array.dtype}: give whole numbers")
    return array


def window_count(n_tokens: int, length: int, stride: int) -> int:
    """How many windows of `length` fit: ⌊(n_tokens − 1 − length) / stride⌋ + 1, or 0.

    A window needs one token more than its length, for the last target. What is left at the end, fewer
    than `stride` targets (all of them if the text is too short), is in no window.

    >>> window_count(11, length=4, stride=4), window_count(11, length=4, stride=1)
    (2, 7)
    """
    return max(0, (n_tokens - 1 - length) // stride + 1)


class NextTokenPredictionDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows `(x, y)` of `max_length` ids, each starting `stride` after the one before.

    stride == max_length (the default): windows touch, each token is a target at most once.
    stride < max_length: they overlap by max_length − stride; the same targets come again with other
    contexts, so an "epoch" is max_length / stride times longer and a held-out set must not share them.

    Truncation limit: `len` is `window_count(len(ids), max_length, stride)`; the last
    (len(ids) − 1 − max_length) mod stride targets are in no window. Nothing is padded.

    Raises UserError when not even one window fits.
    """

    def __init__(self, ids: Tokens, max_length: int, stride: int | None = None) -> None:
        self.ids = as_tokens(ids)
        self.max_length = max_length
        self.stride = max_length if stride is None else stride
        if max_length < 1 or self.stride < 1:
            raise UserError(f"max_length is {max_length} and stride {self.stride}: both must be at least 1")
        _check_fits(len(self.ids), max_length, "max_length")
        self._count = window_count(len(self.ids), max_length, self.stride)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 tensors x, y of shape (max_length,)."""
        if not -self._count <= index < self._count:
            raise IndexError(f"window {index} of {self._count}")
        start = (index % self._count) * self.stride
        piece = torch.from_numpy(self.ids[start : start + self.max_length + 1].astype(np.int64))
        return piece[:-1], piece[1:]


class LMDataset(NextTokenPredictionDataset):
    """Windows of `block_size` ids that touch: `NextTokenPredictionDataset` with stride == block_size.

    Truncation limit: `len` is ⌊(len(ids) − 1) / block_size⌋; the last (len(ids) − 1) mod block_size
    targets are in no window, and a text of fewer than block_size + 1 ids is refused.

    >>> x, y = LMDataset([5, 6, 7, 8, 9], block_size=2)[1]
    >>> x.tolist(), y.tolist()
    ([7, 8], [8, 9])
    """

    def __init__(self, ids: Tokens, block_size: int) -> None:
        if block_size < 1:
            raise UserError(f"block_size is {block_size}: it must be at least 1")
        _check_fits(len(ids := as_tokens(ids)), block_size, "block_size")
        super().__init__(ids, block_size)
        self.block_size = block_size


class BatchLoader:
    """An endless iterator of batches `(x, y)`, int64 (batch_size, block_size), with exact resume.

    Each window of an epoch is given out exactly once, to exactly one rank; a batch may hold the last
    windows of one epoch and the first of the next, so none is dropped and all batches are full. With
    random offsets a window is a draw, numbered over all ranks: no two ranks use the same draw.

    Args:
        tokens: a TokenArray (memory map), a numpy array, a tensor or a list of ids.
        batch_size: windows a batch, on this rank.
        block_size: tokens a window.
        seed: decides the order and the offsets, with the number of the epoch.
        shuffle: without it, windows come in the order of the text from token 0, every epoch alike.
        sampling: "tiles", or "random_offsets": each window begins anywhere, every place equally likely,
            and an epoch is as many draws as there would be tiles.
        rank, world_size: this process takes rows rank·batch_size … of each global batch. All ranks have
            the same state.

    Raises:
        UserError: fewer than block_size + 1 tokens, a size below 1, an unknown sampling, or random
            offsets without shuffling.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        block_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        sampling: Sampling = "tiles",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_batching(batch_size, block_size, rank, world_size)
        if sampling not in get_args(Sampling):
            raise UserError(f"sampling is {sampling!r}: choose {' or '.join(get_args(Sampling))}")
        if sampling == "random_offsets" and not shuffle:
            raise UserError('shuffle=False has no order to keep with random offsets: take sampling="tiles"')
        self.tokens = as_tokens(tokens)
        _check_fits(len(self.tokens), block_size, "block_size")
        self.batch_size, self.block_size = batch_size, block_size
        self.seed, self.shuffle, self.sampling = int(seed), shuffle, sampling
        self.rank, self.world_size = rank, world_size
        self.epoch = 0  # whole epochs given out
        self.position = 0  # windows of this epoch given out, over all ranks
        self._order: tuple[tuple[int, int, int], NDArray[np.int64]] | None = None

    @property
    def windows_per_epoch(self) -> int:
        """Windows in an unshifted epoch. One that is shifted may have one fewer."""
        return (len(self.tokens) - 1) // self.block_size

    @property
    def tokens_per_epoch(self) -> int:
        """Targets in an unshifted epoch, over all ranks."""
        return self.windows_per_epoch * self.block_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of this rank. The state moves on by the whole global batch."""
        starts = self._next_starts(self.batch_size * self.world_size)
        mine = starts[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
        rows = np.empty((self.batch_size, self.block_size + 1), dtype=np.int64)
        for row, start in enumerate(mine):
            rows[row] = self.tokens[start : start + self.block_size + 1]
        batch = torch.from_numpy(rows)
        return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()  # (B, T), (B, T)

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: epoch, position and seed, and what they are only valid for."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "sampling": self.sampling,
            "block_size": self.block_size,
            "n_tokens": len(self.tokens),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken. The batch size and the number of ranks may have changed."""
        for key, value, unsaid in (
            ("block_size", self.block_size, None),
            ("n_tokens", len(self.tokens), None),
            ("shuffle", self.shuffle, None),
            ("sampling", self.sampling, "tiles"),  # states of before there was a choice
        ):
            if (saved := state.get(key, unsaid)) != value:
                raise UserError(
                    f"the saved position is for {key} {saved}, the loader has {value}: "
                    "resume with the same data and settings, or start a new run"
                )
        epoch, position, seed = (state.get(key) for key in ("epoch", "position", "seed"))
        if not (isinstance(epoch, int) and isinstance(position, int) and isinstance(seed, int)):
            raise UserError("the saved position lacks epoch, position or seed: the state is damaged")
        self.epoch, self.position, self.seed = epoch, position, seed

    def _offset(self) -> int:
        """Where this epoch's tiling begins. Never so far that not even one window fits behind it."""
        if not self.shuffle:
            return 0
        furthest = min(self.block_size - 1, len(self.tokens) - 1 - self.block_size)
        return draw(self.seed, self.epoch, furthest + 1)

    def _next_starts(self, count: int) -> list[int]:
        """The first tokens of the next `count` windows, moving on over the edges of epochs."""
        starts: list[int] = []
        while len(starts) < count:
            if self.sampling == "random_offsets":
                stop = min(self.windows_per_epoch, self.position + count - len(starts))
                numbers = np.arange(self.position, stop)
                starts += draws(numbers, len(self.tokens) - self.block_size, self.seed, self.epoch).tolist()
                self._move_to(stop, self.windows_per_epoch)
                continue
            offset = self._offset()
            windows = (len(self.tokens) - 1 - offset) // self.block_size
            stop = min(windows, self.position + count - len(starts))
            starts += (offset + self.block_size * self._ordered(self.position, stop, windows)).tolist()
            self._move_to(stop, windows)
        return starts

    def _move_to(self, position: int, windows: int) -> None:
        self.position = position
        if position >= windows:
            self.epoch, self.position = self.epoch + 1, 0

    def _ordered(self, start: int, stop: int, count: int) -> NDArray[np.int64]:
        """The numbers of the windows at the positions start … stop − 1 of this epoch's order."""
        if not self.shuffle:
            return np.arange(start, stop)
        pieces = []
        while start < stop:
            block = start // _ORDER_BLOCK
            key = (self.seed, self.epoch, block)
            if self._order is None or self._order[0] != key:
                places = np.arange(block * _ORDER_BLOCK, min((block + 1) * _ORDER_BLOCK, count))
                self._order = (key, shuffled(places, count, self.seed, self.epoch))
            end = min(stop, (block + 1) * _ORDER_BLOCK)
            pieces.append(self._order[1][start - block * _ORDER_BLOCK : end - block * _ORDER_BLOCK])
            start = end
        return np.concatenate(pieces)


def check_batching(batch_size: int, block_size: int, rank: int, world_size: int) -> None:
    """Refuse sizes that make no batch, by name. Raises UserError."""
    for name, value in (("batch_size", batch_size), ("block_size", block_size), ("world_size", world_size)):
        if value < 1:
            raise UserError(f"{name} is {value}: it must be at least 1")
    if not 0 <= rank < world_size:
        raise UserError(f"rank is {rank}: it must be from 0 to world_size - 1 = {world_size - 1}")


def _check_fits(n_tokens: int, length: int, name: str) -> None:
    if n_tokens < length + 1:
        raise UserError(
            f"{name} is {length} but the text has only {n_tokens} tokens: a window needs {length + 1}; "
            f"give more text or a {name} of at most {max(0, n_tokens - 1)}"
        )
