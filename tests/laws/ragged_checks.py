"""Laws of rows that move (LA2, LA8): shifted == unshifted, and a row copied among others == that row alone.

The reference is the model without a cache, on each row by itself; for int8, whose rounding no uncached run has, a
cache that never moved.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from model_checks import assert_close, feed, fill_with_nan, some_ids

from gpt_model import GPT
from utils.errors import UserError


@torch.no_grad()
def check_shifted_is_unshifted(model: GPT, dtype: torch.dtype | None = None, tolerance: float = 1e-5) -> None:
    """Whatever way a cache was moved to and fro, the next tokens get the logits of one that never moved.

    It is full of NaN at first: what stands to the left of a row must have been cleared.
    """
    ids = some_ids(2, 24)
    for old, moves in ((9, (5,)), (9, (1, 3, -2)), (1, (11, -11)), (14, (2, 2, 2, -6, 1)), (3, (13, -4))):
        still, moved = model.new_cache(2, 30, dtype), model.new_cache(2, 30, dtype)
        fill_with_nan(moved)
        for cache in (
            still,
            moved,
        ):  # in the same chunks: a ring in int8 rounds what is behind the chunk only
            feed(model, ids[:, :old], (1, old - 1) if old > 1 else (1,), cache)
        for by in moves:
            moved.shift(by)
        assert moved.length == old + sum(moves), f"length {moved.length} after {moves} from {old}"
        assert (moved.attention_mask is None) == (sum(moves) == 0), (
            "the mask must say what is padding, if any is"
        )
        for chunks in ((1, 1, 1), (4,), (1, 2)):
            n, at = sum(chunks), still.length
            new = ids[:, at : at + n]
            hint = (
                f"after {old} tokens and shifts by {moves}, chunks {chunks}: the slots, the mask and (in a ring) "
                "slot p mod W must move together, and positions count the row's own tokens"
            )
            assert_close(feed(model, new, chunks, moved), feed(model, new, chunks, still), tolerance, hint)


class Rows:
    """A batch of rows under one cache, and what each row's text is: joins, steps, leaves and moves at random."""

    def __init__(self, model: GPT, seed: int, dtype: torch.dtype | None = None, capacity: int = 26) -> None:
        self.model, self.random = model, random.Random(seed)
        self.dtype = dtype
        self.cache: Any = model.new_cache(4, capacity, dtype)
        fill_with_nan(self.cache)
        self.texts: list[list[int]] = []
        self.done: list[str] = []

    def draw(self, n: int) -> list[int]:
        return [self.random.randrange(self.model.config.vocab_size) for _ in range(n)]

    def join(self) -> None:
        """A row prefilled alone, in a cache of another size, sometimes cropped, is copied behind the others."""
        text = self.draw(self.random.randint(1, 17))
        lone: Any = self.model.new_cache(
            self.random.choice((1, 2)), self.random.choice((17, 20, 40)), self.dtype
        )
        fill_with_nan(lone)
        source = lone.batch - 1
        ids = torch.tensor([text] * lone.batch)
        cut = self.random.randint(0, len(text) - 1)
        feed(self.model, ids, [n for n in (cut, len(text) - cut) if n], lone)
        keep = len(text) if self.random.random() < 0.6 else self.random.randint(1, len(text))
        if keep > self.cache.length:
            self.cache.shift(keep - self.cache.length, rows=len(self.texts))
        try:
            self.cache.put_row(len(self.texts), lone, source, length=keep)
        except UserError as error:
            assert "overwritten" in str(error) and keep < len(text), error
            return
        self.texts.append(text[:keep])
        self.done.append(f"a row of {keep} of {len(text)} joined at length {self.cache.length}")

    def leave(self) -> None:
        """The last row takes the place of the one that goes."""
        row = self.random.randrange(len(self.texts))
        last = len(self.texts) - 1
        if row != last:
            self.cache.put_row(row, self.cache, last)
            self.texts[row] = self.texts[last]
        self.texts.pop()
        self.done.append(f"row {row} left, row {last} took its place")

    def move_left(self) -> None:
        spare = self.cache.length - max(map(len, self.texts))
        by = self.random.randint(0, spare)
        self.cache.shift(-by, rows=len(self.texts))
        self.done.append(f"all moved left by {by}")

    def step(self, n: int, tolerance: float) -> None:
        if self.cache.length + n > self.cache.capacity:
            self.cache.shift(max(map(len, self.texts)) - self.cache.length, rows=len(self.texts))
        if self.cache.length + n > self.cache.capacity:
            longest = max(range(len(self.texts)), key=lambda i: len(self.texts[i]))
            self.texts[longest], self.texts[-1] = self.texts[-1], self.texts[longest]
            if longest != len(self.texts) - 1:
                self.cache.put_row(longest, self.cache, len(self.texts) - 1)
            self.texts.pop()
            self.done.append(f"the longest row, {longest}, left")
            return
        new = [self.draw(n) for _ in self.texts]
        logits = self.model(torch.tensor(new), cache=self.cache).logits
        for row, more in enumerate(new):
            self.texts[row] = self.texts[row] + more
            alone = self.model(torch.tensor([self.texts[row]])).logits[0, -n:]
            assert_close(logits[row], alone, tolerance, (
                f"row {row} of {len(self.texts[row])} tokens under a cache of length {self.cache.length} differs "
                f"from its lone run, after: {'; '.join(self.done[-6:])}"
            ))  # fmt: skip
        self.done.append(f"{n} tokens each")


@torch.no_grad()
def check_rows_come_and_go(model: GPT, seed: int, steps: int = 30, tolerance: float = 1e-5) -> None:
    """Rows join, leave, and move at random; at each step each has the logits of its lone uncached run."""
    rows = Rows(model, seed)
    for _ in range(steps):
        if not rows.texts or (len(rows.texts) < rows.cache.batch and rows.random.random() < 0.3):
            rows.join()
        elif rows.random.random() < 0.15:
            rows.leave()
        elif rows.random.random() < 0.2:
            rows.move_left()
        else:
            rows.step(rows.random.choice((1, 1, 1, 1, 3)), tolerance)
    assert len(rows.done) > steps // 2, rows.done


@torch.no_grad()
def check_a_copied_row_is_the_row(
    model: GPT, dtype: torch.dtype | None = None, tolerance: float = 1e-5
) -> None:
    """Two rows copied out of caches of their own continue as those do, in any dtype."""
    ids = some_ids(2, 24)
    first, second = model.new_cache(1, 30, dtype), model.new_cache(1, 12, dtype)
    feed(model, ids[:1, :7], (7,), first)
    feed(model, ids[1:, :3], (1, 2), second)
    both = model.new_cache(3, 30, dtype)
    fill_with_nan(both)
    both.shift(7)
    both.put_row(0, first)
    both.put_row(1, second)
    for at in range(6):
        new = torch.stack((ids[0, 7 + at], ids[1, 3 + at]))[:, None]
        got = model(new, cache=both).logits
        for row, cache in enumerate((first, second)):
            alone = model(new[row : row + 1], cache=cache).logits[0]
            assert_close(got[row], alone, tolerance, f"row {row}, {at + 1} tokens after it was copied")


@torch.no_grad()
def check_a_crop_knows_what_a_copied_ring_lost(model: GPT) -> None:
    """A crop after `put_row` or `shift` is exact, or refused: the copy knows what its source had overwritten."""
    ids = some_ids(1, 40)
    allowed = refused = 0
    for length in (3, 8, 15, 20):
        for by in (0, 2, 6):
            for back in range(6):
                lone, cache = model.new_cache(1, 30), model.new_cache(2, 30)
                feed(model, ids[:, :length], (length,), lone)
                cache.shift(length + by)
                cache.put_row(0, lone)
                cache.shift(3, rows=1)
                cache.shift(-2, rows=1)
                keep = length - back
                if keep < 1:
                    continue
                try:
                    cache.crop(cache.length - back)
                except UserError as error:
                    assert "overwritten" in str(error), error
                    refused += 1
                    continue
                allowed += 1
                got = model(ids[:, keep : keep + 2], cache=cache).logits
                hint = f"{length} tokens, moved by {by + 1}, then cropped by {back}: allowed, yet wrong"
                assert_close(got, model(ids[:, : keep + 2]).logits[:, keep:], 1e-5, hint)
    assert allowed > 10 and refused > 10, (allowed, refused)


@torch.no_grad()
def check_what_cannot_move_is_refused(model: GPT) -> None:
    """No room, a real token that would fall off, too many tokens, another kind: one line each, nothing changed."""
    ids = some_ids(2, 12)
    cache = model.new_cache(2, 12)
    feed(model, ids[:, :7], (7,), cache)
    other = model.new_cache(1, 12)
    feed(model, ids[:1, :9], (9,), other)
    before = [t.clone() for t in cache.tensors()]
    for what, words in (
        (lambda: cache.shift(6), "room for 12"),
        (lambda: cache.shift(-1), "real token"),
        (lambda: cache.shift(-8), "room for 12"),
        (lambda: cache.put_row(0, other), "shift it by 2"),
        (lambda: cache.put_row(2, other, length=5), "rows 0 to 1"),
        (lambda: cache.put_row(0, other, 1), "rows 0 to 0"),
        (lambda: cache.put_row(0, other, length=10), "9 tokens"),
        (lambda: cache.put_row(0, model.new_cache(1, 12, torch.float64)), "one dtype"),
    ):
        try:
            what()
        except UserError as error:
            assert words in str(error) and "\n" not in str(error), f"{error} does not say {words!r}"
        else:
            raise AssertionError(f"nothing was said, expected {words!r}: a row would be wrong in silence")
        assert cache.length == 7 and cache.attention_mask is None
        assert all(map(torch.equal, before, cache.tensors())), "a refusal changed the cache"
