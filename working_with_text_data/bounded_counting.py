"""Counting what does not fit into memory: exact while it is small, then an estimate that knows its error.

Three questions about a stream that may be longer than memory, each with a fixed budget:

* `WordCounts`: how often is each word? When the table overflows, the rarest half of it is forgotten, and
  the largest count that was forgotten is added to `undercount`: no word is counted too often, and none
  too low by more than that (the idea of Misra and Gries 1982 and of lossy counting, Manku and Motwani
  2002).
* `DistinctSample`: how many different things, and how many of them are copies? Keep only those whose hash
  ends in so many zero bits; when the sample overflows, ask for one more zero. Every *thing* is sampled, not
  every occurrence, so copies are counted rightly (Gibbons, "Distinct sampling", 2001).
* `Reservoir`: a uniform sample of everything that passed (Vitter's algorithm R, 1985), for percentiles.

Left out: HyperLogLog, which estimates the number of different things in a few kB and can say nothing else.
Used by `text_statistics.py`; shown in notebook `05_from_documents_to_batches`.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class WordCounts:
    """Counts of words in at most `limit` entries (for a moment twice that, and the words of one piece).

    `counts[word]` is exact while `exact`, else between the truth − `undercount` and the truth. `total` is
    always exact, and so is `distinct` while `exact`; then it is an estimate (see `DistinctSample`).
    """

    def __init__(self, limit: int = 200_000) -> None:
        if limit < 2:
            raise ValueError(f"limit is {limit}: a table needs room for at least 2 words")
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.undercount = 0
        self._seen: DistinctSample | None = None  # only once words are forgotten

    @property
    def exact(self) -> bool:
        """Whether nothing was forgotten so far."""
        return self._seen is None

    @property
    def distinct(self) -> int:
        """How many different words there were."""
        return len(self.counts) if self._seen is None else round(self._seen.distinct)

    @property
    def distinct_error(self) -> float:
        """The relative standard error of `distinct`, 0 while it is exact."""
        return 0.0 if self._seen is None else self._seen.error

    def update(self, words: Sequence[str]) -> None:
        """Count the words of one piece of text."""
        self.total += len(words)
        if self._seen is not None:
            self._seen.update(word for word in set(words) if word not in self.counts)
        self.counts.update(words)
        if len(self.counts) > 2 * self.limit:
            self._forget()

    def _forget(self) -> None:
        if self._seen is None:
            self._seen = DistinctSample()
            self._seen.update(self.counts)
        kept = self.counts.most_common(self.limit + 1)
        # Each word that goes had at most this count, each time it goes.
        self.undercount += kept.pop()[1]
        self.counts = Counter(dict(kept))


class DistinctSample:
    """A sample of the *different* things of a stream, in at most `limit` entries.

    Kept are the things whose hash ends in `level` zero bits, with the number of times each came: the share
    of the sample that is copies estimates the share of all. Exact while `level` is 0.
    """

    def __init__(self, limit: int = 16_384) -> None:
        self.limit = limit
        self.level = 0
        self.counts: dict[int, int] = {}

    def update(self, things: Iterable[str]) -> None:
        """Add texts. Lone surrogates count as themselves."""
        mask = (1 << self.level) - 1
        for thing in things:
            digest = hashlib.blake2b(thing.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            key = int.from_bytes(digest, "big")
            if key & mask == 0:
                self.counts[key] = self.counts.get(key, 0) + 1
                while len(self.counts) > self.limit:
                    self.level += 1
                    mask = (1 << self.level) - 1
                    self.counts = {key: count for key, count in self.counts.items() if key & mask == 0}

    @property
    def exact(self) -> bool:
        """Whether everything is still in the sample."""
        return self.level == 0

    @property
    def distinct(self) -> int:
        """How many different things came; the relative standard error is `error`."""
        return len(self.counts) << self.level

    @property
    def copies(self) -> int:
        """How many things had come before."""
        return (sum(self.counts.values()) - len(self.counts)) << self.level

    @property
    def error(self) -> float:
        """Relative standard error of `distinct`: the sample size is binomial, so 1/√(sample)."""
        return 0.0 if self.exact or not self.counts else 1 / math.sqrt(len(self.counts))


class Reservoir(Generic[T]):
    """A uniform sample of at most `limit` items of a stream; all of them while there are no more.

    Its random numbers are its own. A percentile of it is off by a *rank* with standard error
    √(p(1−p)/limit): with 100,000 items, the median is really the 49.7th to 50.3rd percentile (two errors).
    """

    def __init__(self, limit: int = 100_000, seed: int = 0) -> None:
        self.limit = limit
        self.items: list[T] = []
        self.passed = 0
        self._rng = random.Random(seed)

    def add(self, item: T) -> None:
        """Let one item pass."""
        self.passed += 1
        if len(self.items) < self.limit:
            self.items.append(item)
        else:
            place = self._rng.randrange(self.passed)
            if place < self.limit:
                self.items[place] = item

    @property
    def exact(self) -> bool:
        """Whether every item is in it."""
        return self.passed <= self.limit
