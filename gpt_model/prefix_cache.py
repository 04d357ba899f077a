"""Caches of finished texts, kept for a while: the next turn of a chat begins with what was just read and written.

The idea: the prompt of turn five holds turns one to four, whose keys and values were all computed. Keep the cache of
a text that ended; for a new prompt find the one with the longest common beginning, copy so much of it, and run the
rest only. Common means equal ids from the first on: a key depends on every token before it, so nothing after the
first difference is of use.

At most `size` caches are kept and the one used longest ago goes first. A ring (sliding window) can only go back
as far as it has not overwritten; where that does not suffice the text is computed anew. Law LS3: warm == cold.
Zheng et al. 2023 (SGLang, arXiv 2312.07104) keep a tree of them; a list is enough for a few chats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attention_mechanisms.kv_cache import KVCache
from utils.errors import UserError

KEPT = 4


class PrefixCache:
    """A few (ids, cache of one row), the most recently used last."""

    def __init__(self, new_cache: Callable[[int, int], KVCache], size: int = KEPT) -> None:
        self.new_cache, self.size = new_cache, size
        self.kept: list[tuple[list[int], KVCache]] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all kept caches."""
        return sum(cache.nbytes for _, cache in self.kept)

    def keep(self, ids: Sequence[int], cache: KVCache, row: int) -> None:
        """Remember the keys of `ids`, which are all that row `row` of a cache holds. The cache is copied from."""
        ids = list(ids)
        if not ids or not self.size:
            return
        copy = self.new_cache(1, len(ids))
        copy.shift(len(ids))
        copy.put_row(0, cache, row)
        # Beginnings of this text are of no use any more.
        self.kept = [entry for entry in self.kept if entry[0] != ids[: len(entry[0])]]
        self.kept = [*self.kept, (ids, copy)][-self.size :]

    def longest(self, ids: Sequence[int]) -> int:
        """How many of the first ids some kept text begins with; the last id is always left to run."""
        return max((common(ids[:-1], other) for other, _ in self.kept), default=0)

    def begin(self, ids: Sequence[int], capacity: int) -> KVCache | None:
        """A new cache of one row that holds as many of the first ids as could be found; None when nothing could."""
        by_length = sorted(self.kept, key=lambda entry: -common(ids[:-1], entry[0]))
        for entry in by_length:
            found = common(ids[:-1], entry[0])
            if not found:
                return None
            cache = self.new_cache(1, capacity)
            cache.shift(found)
            try:
                cache.put_row(0, entry[1], length=found)
            except UserError:  # a ring has overwritten what it would need
                continue
            self.kept.remove(entry)
            self.kept.append(entry)
            return cache
        return None

    def clear(self) -> None:
        """Forget all: after the weights have changed, or to free the memory."""
        self.kept = []


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning.

    >>> common([1, 2, 3], [1, 2, 4, 5])
    2
    """
    for i, (a, b) in enumerate(zip(one, other)):
        if a != b:
            return i
    return min(len(one), len(other))
