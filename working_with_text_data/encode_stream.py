"""A stream of documents to ids, in order, in this process or in several.

Tokenising is the one step of the way from text to shards that takes real time, and documents do not need
each other, so chunks of about a quarter of a megabyte are dealt out to worker processes (`worker_pool`) and
come back in the order in which they went. Results are the same for any number of workers and any size of
chunk. The tokenizer travels once, when a worker starts; ids travel as raw integers of the shard's width, not
as Python lists. A chunk or two a worker are under way at a time, so memory does not grow with the stream.

Left out: threads (the encoder is Python and holds the interpreter lock). As with every spawned process, a
script that uses workers needs `if __name__ == "__main__":` around what it runs.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError

from .shards import dtype_for
from .tokenizer import Tokenizer
from .worker_pool import check_workers, map_in_order

T = TypeVar("T")
CHUNK_CHARS = 1 << 18
_tokenizer: Tokenizer  # of this worker process, set once
_end: int | None


def encode_stream(
    items: Iterable[tuple[T, str]],
    tokenizer: Tokenizer,
    *,
    end: int | None = None,
    workers: int = 0,
    chunk_chars: int = CHUNK_CHARS,
) -> Generator[tuple[T, NDArray[Any]], None, None]:
    """`(what, ids)` for each `(what, text)`, in order; ids are uint16 or uint32, closed by `end` if given.

    Texts are ordinary text: no special token is ever read out of them. With workers, `what` stays here and
    `items` is read a few chunks ahead.

    Raises:
        UserError: a number of workers that makes no sense, chunks of no size, or a tokenizer that cannot
            be sent.
        RunFailure: a worker that died, for instance because memory ran out.
    """
    check_workers(workers)
    if chunk_chars < 1:
        raise UserError(f"chunk_chars is {chunk_chars}: it must be at least 1")
    if not workers:
        for what, text in items:
            yield what, _encode(tokenizer, text, end)
        return
    try:
        pickle.dumps(tokenizer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(
            f"a {type(tokenizer).__name__} cannot be sent to worker processes ({error}): use workers=0"
        ) from None
    waiting: deque[list[T]] = deque()  # what belongs to the chunks under way

    def chunks() -> Iterator[list[str]]:
        for whats, texts in _chunks(items, chunk_chars):
            waiting.append(whats)
            yield texts

    encoded = map_in_order(_encode_chunk, chunks(), workers, setup=_set_up, setup_args=(tokenizer, end))
    for lengths, ids in encoded:
        start = 0
        for what, length in zip(waiting.popleft(), lengths, strict=True):
            yield what, ids[start : start + length]
            start += length


def _encode(tokenizer: Tokenizer, text: str, end: int | None) -> NDArray[Any]:
    ids = tokenizer.encode_ordinary(text)
    size = len(ids) + (end is not None)
    array: NDArray[Any] = np.empty(size, dtype=dtype_for(tokenizer.vocab_size))
    try:
        array[: len(ids)] = ids
    except OverflowError:  # an id that does not fit the width must reach the writer's check as it is
        array = np.empty(size, dtype=np.int64)
        array[: len(ids)] = ids
    if end is not None:
        array[-1] = end
    return array


def _chunks(items: Iterable[tuple[T, str]], chunk_chars: int) -> Iterator[tuple[list[T], list[str]]]:
    whats: list[T] = []
    texts: list[str] = []
    size = 0
    for what, text in items:
        whats.append(what)
        texts.append(text)
        size += len(text) + 1
        if size >= chunk_chars:
            yield whats, texts
            whats, texts, size = [], [], 0
    if texts:
        yield whats, texts


def _set_up(tokenizer: Tokenizer, end: int | None) -> None:
    global _tokenizer, _end
    _tokenizer, _end = tokenizer, end


def _encode_chunk(texts: list[str]) -> tuple[list[int], NDArray[Any]]:
    arrays = [_encode(_tokenizer, text, _end) for text in texts]
    return [a.size for a in arrays], np.concatenate(arrays)
