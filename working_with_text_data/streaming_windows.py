"""Windows from a stream of documents that is never held: billions of tokens, constant memory, exact resume.

    documents ─▶ ids ─▶ windows ─▶ a chunk of them, shuffled ─▶ batches

A stream cannot be shuffled as a whole, so it is shuffled in a buffer. The usual buffer swaps each window
that leaves for the next that arrives, and what lies in it at a checkpoint is lost, because some of it came
in long ago. Here the buffer is filled, given out completely in an order that only seed and number of the
chunk decide, and filled again. So where a loader stands is four small things: the place in the stream where
the chunk began (and how far into that document), the number of the chunk, and how many of its windows were
given out. Going on means reading that one chunk again, not the stream before it.

The price: a window cannot move further than one chunk, and the first batch of a chunk waits until all of it
is tokenised; `prefetch.Prefetcher` hides that.

Several ranks deal the documents out in turn: each tokenises its own and skips the others', so their windows
share no document. The states of ranks differ, and each saves its own. `DocumentStream` shuffles files as
well, anew each epoch.

Left out: weights for mixing several streams.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from utils.errors import UserError

from .documents import SEPARATOR, Document, read_file, text_files
from .readers import ReadOptions
from .shuffling import shuffled
from .tokenizer import Tokenizer, tokenizer_hash
from .windows import check_batching


class Source(Protocol):
    """A stream that knows where it is: `DocumentStream`, or `huggingface_source.HubSource`."""

    def __iter__(self) -> Iterator[Document | str]:
        """The documents from where the source stands."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The place before the next document."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place; a new `iter` begins there."""
        ...


class DocumentStream:
    """Documents from parts (files) that can each be opened again, endless unless `repeat` is off.

    Its state is (epoch, part, documents of that part given out). Going there opens one part and passes
    over its first documents; parts before it are not opened.

    Args:
        parts: each gives its documents anew when called.
        shuffle: another order of the parts each epoch, which only seed and epoch decide.
        repeat: begin again at the end.

    >>> stream = DocumentStream([lambda: ["a", "b"], lambda: ["c"]])
    >>> list(islice(stream, 4)), stream.state_dict()["epoch"]
    (['a', 'b', 'c', 'a'], 1)
    """

    def __init__(
        self,
        parts: Sequence[Callable[[], Iterable[Document | str]]],
        *,
        seed: int = 0,
        shuffle: bool = False,
        repeat: bool = True,
    ) -> None:
        if not parts:
            raise UserError("a stream of no parts has no documents: give at least one file or function")
        self.parts, self.seed, self.shuffle, self.repeat = list(parts), int(seed), shuffle, repeat
        self.epoch = self.part = self.index = 0

    @classmethod
    def from_files(
        cls,
        path: str | Path,
        *,
        reading: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
        **options: Any,
    ) -> DocumentStream:
        """The documents of a file, a folder or a glob, a part for each file, read as `reading` says."""
        return cls([partial(read_file, file, reading) for file in text_files(path)], **options)

    def __iter__(self) -> Iterator[Document | str]:
        while True:
            some = self.part > 0 or self.index > 0
            for number in self._order()[self.part :]:
                for document in islice(self.parts[number](), self.index, None):
                    some = True
                    self.index += 1
                    yield document
                self.part, self.index = self.part + 1, 0
            if not self.repeat:
                return
            if not some:
                raise UserError("the stream has no document at all: give files that hold some text")
            self.epoch, self.part = self.epoch + 1, 0

    def _order(self) -> list[int]:
        places = np.arange(len(self.parts))
        return (shuffled(places, len(places), self.seed, self.epoch) if self.shuffle else places).tolist()

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: epoch, part in the epoch's order, documents of it given out, and what they mean."""
        return {
            "epoch": self.epoch,
            "part": self.part,
            "index": self.index,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "parts": len(self.parts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place of the same stream. Raises UserError for that of another."""
        for key, value in (("shuffle", self.shuffle), ("parts", len(self.parts))):
            if state.get(key) != value:
                raise UserError(
                    f"the saved place is for a stream with {key} {state.get(key)}, this one has {value}: "
                    "resume with the same files and settings, or start a new run"
                )
        places = [state.get(key) for key in ("epoch", "part", "index", "seed")]
        if not all(isinstance(place, int) for place in places):
            raise UserError("the saved place lacks epoch, part, index or seed: the state is damaged")
        self.epoch, self.part, self.index, self.seed = places  # type: ignore[assignment]


class StreamingLoader:
    """Batches `(x, y)`, int64 (batch_size, block_size), from a stream; `BatchLoader`'s interface.

    Documents are joined, each closed by the end-of-text token where the tokenizer has one, and cut into
    windows that touch: each token is a target once. When a stream ends, what does not fill a batch is
    left out and StopIteration is raised, now and whenever asked again.

    Args:
        source: documents, and where they are up to.
        tokenizer: text to ids.
        batch_size, block_size: on this rank.
        buffer_windows: how many windows are shuffled together, at 4 · (block_size + 1) bytes each.
        seed, shuffle: the order within a chunk; without shuffling, windows come as they stand in the text.
        rank, world_size: this process takes every world_size-th document, from number `rank` on.

    Raises:
        UserError: a size below 1; a stream that ends before it fills one window, when iterated.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Tokenizer,
        batch_size: int,
        block_size: int,
        *,
        buffer_windows: int = 1024,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_batching(batch_size, block_size, rank, world_size)
        if buffer_windows < 1:
            raise UserError(f"buffer_windows is {buffer_windows}: it must be at least 1")
        self.source, self.tokenizer = source, tokenizer
        self.batch_size, self.block_size, self.buffer_windows = batch_size, block_size, buffer_windows
        self.seed, self.shuffle, self.rank, self.world_size = int(seed), shuffle, rank, world_size
        self.chunk = 0  # its number
        self.position = 0  # windows of it given out
        self._tokenizer_sha256 = tokenizer_hash(tokenizer)
        self._end = tokenizer.special_tokens.get(SEPARATOR)
        self._rewind({"source": source.state_dict(), "document": 0, "skip": 0})

    def _rewind(self, begin: dict[str, Any]) -> None:
        """Stand where a chunk begins, holding nothing."""
        self._begin = begin  # place before the chunk's first document, its number, ids of it to skip
        self._stream = iter(self.source)
        self._number = int(begin["document"])  # of the next document, over all ranks
        self._skip = int(begin["skip"])
        self._split: _Read | None = None  # the document in which one chunk ends and the next begins
        self._windows: NDArray[np.int32] | None = None  # of this chunk, in its order
        self._next_begin = begin

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of this rank."""
        rows = np.empty((self.batch_size, self.block_size + 1), dtype=np.int64)
        filled = 0
        while filled < self.batch_size:
            if self._windows is None:
                self._windows = self._fill()
            if not len(self._windows):
                if self.chunk == 0:
                    raise UserError(
                        f"the stream ends before it fills one window: block_size is {self.block_size}, "
                        f"which takes {self.block_size + 1} ids: give more text or a smaller block_size"
                    )
                raise StopIteration
            take = min(self.batch_size - filled, len(self._windows) - self.position)
            rows[filled : filled + take] = self._windows[self.position : self.position + take]
            self.position, filled = self.position + take, filled + take
            if self.position == len(self._windows):
                self.chunk, self.position = self.chunk + 1, 0
                self._begin, self._windows = self._next_begin, None
        batch = torch.from_numpy(rows)
        return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()  # (B, T), (B, T)

    def _fill(self) -> NDArray[np.int32]:
        """The windows of this chunk in the order they are given out; fewer at the stream's end, or none.

        Windows share their edges, so a chunk of n windows needs n · block_size + 1 ids, and the last of
        them begins the next chunk.
        """
        width = self.block_size
        flat = np.empty(self.buffer_windows * width + 1, dtype=np.int32)
        used = 0
        last: _Read | None = None
        last_at = 0
        while used < len(flat):
            read = self._split or self._read()
            self._split = None
            if read is None:
                break
            take = min(len(read.ids) - read.first, len(flat) - used)
            flat[used : used + take] = read.ids[read.first : read.first + take]
            last, last_at, used = read, used, used + take
        count = max(0, (used - 1) // width)
        if last is not None and used == len(flat):
            self._split = last._replace(first=last.first + used - 1 - last_at)
            self._next_begin = {
                "source": last.place,
                "document": last.number,
                "skip": self._split.first,
            }
        else:  # the end: nothing comes after this chunk
            self._next_begin = {"source": self.source.state_dict(), "document": self._number, "skip": 0}
        order = np.arange(count)
        if self.shuffle:
            order = shuffled(order, count, self.seed, self.chunk)
        return flat[order[:, None] * width + np.arange(width + 1)]

    def _read(self) -> _Read | None:
        """This rank's next document as ids, or None at the stream's end."""
        while True:
            place, number = self.source.state_dict(), self._number
            document = next(self._stream, None)
            if document is None:
                return None
            self._number += 1
            if number % self.world_size != self.rank:
                continue
            text = document if isinstance(document, str) else document.text
            ids = self.tokenizer.encode_ordinary(text)
            if self._end is not None:
                ids = [*ids, self._end]
            first, self._skip = self._skip, 0
            if len(ids) > first:
                return _Read(place, number, np.asarray(ids, dtype=np.int32), first)

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe if the source's state is: where the chunk begins, how far into it, and the settings."""
        return {
            "chunk": self.chunk,
            "position": self.position,
            "begin": copy.deepcopy(self._begin),
            "seed": self.seed,
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "shuffle": self.shuffle,
            "block_size": self.block_size,
            "buffer_windows": self.buffer_windows,
            "rank": self.rank,
            "world_size": self.world_size,
            "tokenizer_sha256": self._tokenizer_sha256,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken, with the same source and settings; the batch size may differ."""
        for key, value in self._settings().items():
            if state.get(key) != value:
                raise UserError(
                    f"the saved position is for {key} {state.get(key)}, the loader has {value}: "
                    "resume with the same settings, or start a new run"
                )
        chunk, position, seed, begin = (state.get(key) for key in ("chunk", "position", "seed", "begin"))
        if not (isinstance(chunk, int) and isinstance(position, int) and isinstance(seed, int)):
            raise UserError("the saved position lacks chunk, position or seed: the state is damaged")
        if not isinstance(begin, dict) or not {"source", "document", "skip"} <= begin.keys():
            raise UserError("the saved position lacks the place where its chunk begins: the state is damaged")
        self.source.load_state_dict(begin["source"])
        self.chunk, self.position, self.seed = chunk, position, seed
        self._rewind(copy.deepcopy(begin))


class _Read(NamedTuple):
    """A document of this rank: the place before it, its number, its ids, and the first not yet in a window."""

    place: dict[str, Any]
    number: int
    ids: NDArray[np.int32]
    first: int
