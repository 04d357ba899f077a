"""Rows of different lengths run together: many prompts read at once (`Prefill`), many texts written (`RaggedBatch`).

The idea: the weights are read once a step, however many rows there are, so a step of many rows costs little more
than a step of one. Rows have different lengths; they end together and are padded on the left (`attention_mechanisms
.ragged_rows`). A row that joins was prefilled in a cache of its own and is copied in; the last row takes the place
of one that leaves. Padding that all rows share is taken back when it is half of the cache or when the edge is met.

Left out on purpose: what to write and for whom (`engine`), and pages of memory, which this needs no kernel for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from gpt_model.gpt import GPT
from gpt_model.request import Row

Step = Callable[[Tensor, KVCache], Tensor]  # ids (B, 1) and the cache, which advances, -> logits (B, V)


class Prefill:
    """Texts that are run together, chunk by chunk, padded on the left. `samples[i]` are the rows of text i."""

    def __init__(self, model: GPT, samples: list[list[Row]], cache: KVCache | None) -> None:
        self.model, self.samples, self.cache = model, samples, cache
        texts = [rows[0].text[-model.config.block_size :] for rows in samples]
        self.longest = max(map(len, texts))
        missing = [self.longest - len(text) for text in texts]
        padded = [[0] * n + text for n, text in zip(missing, texts)]
        self.ids = torch.tensor(padded, device=model.device)  # (texts, longest)
        real = [[0] * n + [1] * len(text) for n, text in zip(missing, texts)]
        self.mask = torch.tensor(real, dtype=torch.bool, device=model.device) if any(missing) else None
        self.done = 0 if cache is None else cache.length

    def run(self, width: int) -> Tensor | None:
        """The next `width` places of all texts. After the last ones: logits (texts, V), otherwise None."""
        end = min(self.done + width, self.longest)
        mask = None if self.mask is None else self.mask[:, :end]
        ids = self.ids[:, self.done : end]
        logits = self.model(ids, cache=self.cache, attention_mask=mask, last_only=True).logits[:, -1]
        self.done = end
        return logits if end == self.longest else None


class RaggedBatch:
    """`rows[i]` lives in row i of `cache`, right-aligned: its newest key stands at `cache.length` - 1.

    The cache grows with what is asked for, and is dropped with the last row. A `step` with a `cache` of its own
    (compiled for its shape) has that one used instead, always with all its rows.
    """

    def __init__(
        self, model: GPT, max_rows: int, new_cache: Callable[[int, int], KVCache], step: Step | None = None
    ) -> None:
        self.model, self.max_rows, self.new_cache, self.step = model, max_rows, new_cache, step
        self.fixed: KVCache | None = getattr(step, "cache", None)
        self.cache: KVCache | None = self.fixed
        self.rows: list[Row] = []
        # Attention sinks are the first slots of a cache, where padding may not stand.
        self.one_length = bool(model.config.attention_sinks)

    def takes(self, length: int) -> bool:
        """Whether a row of so many tokens may join the ones that are here."""
        return not self.one_length or not self.rows or self.rows[0].fed == length

    def join(self, rows: Sequence[Row], cache: KVCache, sources: Sequence[int]) -> None:
        """Rows join whose tokens are in the rows `sources` of another cache; that one belongs to the batch then."""
        if not self.rows and self.fixed is None and cache.capacity >= max(row.reach for row in rows):
            self.cache = cache if list(sources) == list(range(cache.batch)) else cache.branch(sources)
            self.rows = list(rows)
            return
        mine = self._with_room_for(rows)
        longest = max(row.fed for row in rows)
        if longest > mine.length:
            mine.shift(longest - mine.length, rows=len(self.rows))
        for row, source in zip(rows, sources, strict=True):
            mine.put_row(len(self.rows), cache, source)
            self.rows.append(row)

    def leave(self, index: int) -> None:
        """Row `index` gives its place to the last one."""
        assert self.cache is not None
        last = len(self.rows) - 1
        if index != last:
            self.cache.put_row(index, self.cache, last)
            self.rows[index] = self.rows[last]
        self.rows.pop()
        if not self.rows:
            self.clear()

    def clear(self) -> None:
        """Everybody leaves, and the memory goes with them."""
        self.rows, self.cache = [], self.fixed
        if self.fixed is not None:
            self.fixed.reset()

    def decode(self) -> Tensor:
        """Feed each row its newest token: logits (rows, V) of the next one."""
        cache, longest = self.cache, max(row.fed for row in self.rows)
        assert cache is not None
        if cache.length == cache.capacity or cache.length > 2 * longest:
            cache.shift(longest - cache.length, rows=len(self.rows))
        newest = [[row.text[row.fed]] for row in self.rows]
        if self.fixed is not None:
            newest += [[0]] * (cache.batch - len(newest))  # a compiled step knows one shape
        ids = torch.tensor(newest, device=self.model.device)
        logits = self.model(ids, cache=cache).logits[:, -1] if self.step is None else self.step(ids, cache)
        for row in self.rows:
            row.fed += 1
        return logits[: len(self.rows)]

    def _with_room_for(self, new: Sequence[Row]) -> KVCache:
        """The cache, rebuilt if it has too few rows or slots for the rows here and the new ones."""
        count = len(self.rows) + len(new)
        reach = max(row.reach for row in (*self.rows, *new))
        old = self.cache
        if old is not None and count <= old.batch and reach <= old.capacity:
            return old
        assert self.fixed is None, "the engine admits no more rows and tokens than a fixed cache has"
        spare = (
            0 if old is None else 2 * old.batch
        )  # so that a batch that fills up is copied a few times only
        cache = self.new_cache(max(count, min(self.max_rows, spare)), reach)
        if old is not None and self.rows:
            cache.shift(max(row.fed for row in self.rows))
            for index in range(len(self.rows)):
                cache.put_row(index, old, index)
        self.cache = cache
        return cache
