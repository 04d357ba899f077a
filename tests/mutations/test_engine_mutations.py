"""Classic bugs of batching, moving rows and reusing caches, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with. Every check
passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cache_checks import loud_ring
from engine_checks import (
    check_a_failure_is_its_own,
    check_a_long_prompt_does_not_stop_the_others,
    check_cancel_within_one_token,
    check_random_schedule,
    check_samples_share_one_prefill,
    check_warm_is_cold,
)
from model_checks import build
from ragged_checks import (
    check_a_copied_row_is_the_row,
    check_a_crop_knows_what_a_copied_ring_lost,
    check_rows_come_and_go,
    check_shifted_is_unshifted,
    check_what_cannot_move_is_refused,
)

from attention_mechanisms import token_store
from attention_mechanisms.ragged_rows import RaggedLayer, RaggedRows
from attention_mechanisms.rolling_cache import RollingLayerCache
from attention_mechanisms.token_store import TokenStore
from gpt_model import GPT, engine, gpt, prefix_cache, request
from gpt_model.engine import Engine
from gpt_model.prefix_cache import PrefixCache
from gpt_model.ragged_batch import Prefill, RaggedBatch
from utils.errors import RunFailure, UserError

Patch = pytest.MonkeyPatch

# Rows that move -------------------------------------------------------------------------------------


def ring_slots_not_rotated(patch: Patch) -> None:
    def shift(self: Any, by: int, rows: int) -> None:
        self.written += by

    patch.setattr(RollingLayerCache, "shift", shift)


def slots_not_moved(patch: Patch) -> None:
    patch.setattr(RaggedLayer, "shift", lambda self, by, rows: None)


def mask_not_moved(patch: Patch) -> None:
    patch.setattr(RaggedRows, "_remember", lambda self, real: None)


def mask_moved_the_other_way(patch: Patch) -> None:
    real = RaggedRows._remember
    patch.setattr(RaggedRows, "_remember", lambda self, mask: real(self, mask.flip(1)))


def positions_counted_from_the_slot(patch: Patch) -> None:
    patch.setattr(
        gpt, "positions_from_mask", lambda mask: torch.arange(mask.size(1)).expand(mask.shape[0], -1)
    )


def row_copied_left_aligned(patch: Patch) -> None:
    real = RaggedLayer.put_row

    def put_row(self: Any, row: int, other: Any, source: int, length: int) -> None:
        mine = self.cache.length
        self.cache.length = min(length, mine)  # as if it ended at its own length
        try:
            real(self, row, other, source, length)
        finally:
            self.cache.length = mine

    patch.setattr(RaggedLayer, "put_row", put_row)


def first_row_copied_whatever_was_asked(patch: Patch) -> None:
    real = TokenStore.put_row
    patch.setattr(
        TokenStore,
        "put_row",
        lambda self, row, slots, other, _, places: real(self, row, slots, other, 0, places),
    )


def padding_left_uncleared(patch: Patch) -> None:
    def move(self: Any, rows: int, sources: Any, slots: Any, cleared: Any) -> None:
        for tensor in self.tensors():
            tensor[:rows].index_copy_(-2, slots, tensor[:rows].index_select(-2, sources))

    patch.setattr(TokenStore, "move", move)


def scales_stay_behind(patch: Patch) -> None:
    real = TokenStore.move

    def move(self: Any, *args: Any) -> None:
        plain = TokenStore.__new__(TokenStore)
        plain.data = self.data
        real(plain, *args)

    patch.setattr(token_store.Int8Store, "move", move)


def all_rows_lose_padding_that_one_needs(patch: Patch) -> None:
    real = RaggedRows._real_tokens
    patch.setattr(
        RaggedRows,
        "_real_tokens",
        lambda self: torch.zeros_like(real(self)) if self._mask is None else real(self),
    )


def copied_ring_forgets_what_was_lost(patch: Patch) -> None:
    def put_row(self: Any, *args: Any) -> None:
        RaggedLayer.put_row(self, *args)
        self.written = max(self.written, self.length)

    patch.setattr(RollingLayerCache, "put_row", put_row)
    real = RollingLayerCache.shift

    def shift(self: Any, by: int, rows: int) -> None:
        real(self, by, rows)
        self.written = 0 if by < 0 else self.written

    patch.setattr(RollingLayerCache, "shift", shift)


def ring_takes_the_oldest_tokens(patch: Patch) -> None:
    patch.setattr(RollingLayerCache, "keeps", lambda self, positions: positions < self.ring)


# The engine -----------------------------------------------------------------------------------------


def padding_of_joined_rows_is_seen(patch: Patch) -> None:
    patch.setattr(GPT, "_full_mask", staticmethod(lambda mask, cache, batch, total: None))


def row_that_left_keeps_its_keys_in_place(patch: Patch) -> None:
    def leave(self: Any, index: int) -> None:
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        if not self.rows:
            self.clear()

    patch.setattr(RaggedBatch, "leave", leave)


def the_newest_token_is_fed_twice(patch: Patch) -> None:
    real = RaggedBatch.join

    def join(self: Any, rows: Any, cache: Any, sources: Any) -> None:
        real(self, rows, cache, sources)
        for row in rows:
            row.fed -= 1

    patch.setattr(RaggedBatch, "join", join)


def everybody_draws_by_the_first_settings(patch: Patch) -> None:
    real = engine._sample

    def sample(rows: Any, logits: Any) -> Any:
        return real([dataclasses.replace(row, rules=FIRST[0]) for row in rows], logits)

    patch.setattr(engine, "_sample", sample)


FIRST = [engine.Sampling(temperature=0.0)]


def all_requests_share_one_generator(patch: Patch) -> None:
    kept = torch.Generator()
    patch.setattr(engine, "make_generators", lambda seed, n: [kept] * n)


def samples_draw_the_same(patch: Patch) -> None:
    real = engine.make_generators
    patch.setattr(engine, "make_generators", lambda seed, n: [real(seed, 1)[0] for _ in range(n)])


def each_sample_reads_the_prompt(patch: Patch) -> None:
    real = Engine._next_prefill

    def next_prefill(self: Any) -> Any:
        self._waiting = [[row] for rows in self._waiting for row in rows]
        return real(self)

    patch.setattr(Engine, "_next_prefill", next_prefill)


def prompt_read_in_one_piece(patch: Patch) -> None:
    real = Prefill.run
    patch.setattr(Prefill, "run", lambda self, width: real(self, 10**6))


def prompt_read_before_anyone_else_writes(patch: Patch) -> None:
    def until_done(self: Any) -> Any:
        events: list[Any] = []
        while not events:
            events = REAL_PREFILL(self)
            if self._prefill is None:
                break
        return events

    patch.setattr(Engine, "_run_prefill", until_done)


def a_step_of_prefill_writes_nothing(patch: Patch) -> None:
    real = Engine._run_prefill

    def greedy(self: Any) -> Any:
        events = real(self)
        if self._prefill is not None:  # busy with a prompt: the others wait
            for batch in self._batches:
                batch.rows, batch.parked = [], batch.rows
        else:
            for batch in self._batches:
                batch.rows = batch.rows or getattr(batch, "parked", [])
        return events

    patch.setattr(Engine, "_run_prefill", greedy)


REAL_PREFILL = Engine._run_prefill


def cancel_is_heard_at_the_end(patch: Patch) -> None:
    patch.setattr(Engine, "cancel", lambda self, number: None)


def cancelled_rows_keep_their_place(patch: Patch) -> None:
    patch.setattr(Engine, "_let_go", lambda self, batch, keep: None)


def cancelled_prompts_keep_their_cache(patch: Patch) -> None:
    real, kept = engine.Prefill, []

    def remembered(*args: Any) -> Any:
        kept.append(real(*args))
        return kept[-1]

    patch.setattr(engine, "Prefill", remembered)


def the_last_row_leaves_its_cache(patch: Patch) -> None:
    def clear(self: Any) -> None:
        self.rows = []

    patch.setattr(RaggedBatch, "clear", clear)


def stop_token_is_part_of_the_text(patch: Patch) -> None:
    real = Engine._write

    def write(self: Any, row: Any, token: Any, logits: Any, index: int) -> Any:
        event = real(self, row, token, logits, index)
        return event._replace(token=token) if event.finish_reason == "stop" else event

    patch.setattr(Engine, "_write", write)


def slid_text_keeps_its_keys(patch: Patch) -> None:
    real = Prefill.__init__

    def init(self: Any, model: Any, samples: Any, cache: Any) -> None:
        real(self, model, samples, cache)
        if self.longest == model.config.block_size:
            self.ids = self.ids.roll(1, dims=1)  # the window did not move with the text

    patch.setattr(Prefill, "__init__", init)


def logprobs_after_temperature(patch: Patch) -> None:
    real = request.log_probabilities
    patch.setattr(engine, "log_probabilities", lambda logits, token, n: real(logits / 0.7, token, n))


def one_failure_fails_all(patch: Patch) -> None:
    def draw(self: Any, rows: Any, logits: Any) -> Any:
        drawn = [engine._sample([row], logits[i : i + 1])[0] for i, row in enumerate(rows)]
        failed = next((token for token in drawn if isinstance(token, RunFailure)), None)
        return [
            self._write(row, failed or token, logits, i) for i, (row, token) in enumerate(zip(rows, drawn))
        ]

    patch.setattr(Engine, "_draw", draw)


# What the next turn reuses --------------------------------------------------------------------------


def prefix_compared_by_length_only(patch: Patch) -> None:
    patch.setattr(prefix_cache, "common", lambda one, other: min(len(one), len(other)))


def prefix_one_too_long(patch: Patch) -> None:
    real = prefix_cache.common
    patch.setattr(prefix_cache, "common", lambda one, other: min(real(one, other) + 1, len(one), len(other)))


def kept_ids_run_ahead_of_the_keys(patch: Patch) -> None:
    def keep(self: Any, row: Any, cache: Any, source: int) -> None:
        if self.prefixes is not None and cache is not None and len(row.text) <= self.block_size:
            self.prefixes.keep(row.text, cache, source)  # the newest token was never fed

    patch.setattr(Engine, "_keep", keep)


def kept_cache_lent_instead_of_copied(patch: Patch) -> None:
    def begin(self: Any, ids: Any, capacity: int) -> Any:
        for other, cache in self.kept:
            found = prefix_cache.common(ids[:-1], other)
            if found and cache.length >= found:
                cache.length = found
                roomy = self.new_cache(1, capacity)
                roomy.shift(found)
                roomy.put_row(0, cache)
                cache.reset()  # the other chat's keys are gone, but not its entry
                cache.length = len(other)
                for tensor in cache.tensors():
                    tensor.zero_()
                return roomy
        return None

    patch.setattr(PrefixCache, "begin", begin)


def nothing_is_ever_reused(patch: Patch) -> None:
    patch.setattr(PrefixCache, "begin", lambda self, ids, capacity: None)


def every_cache_is_kept(patch: Patch) -> None:
    real = PrefixCache.__init__
    patch.setattr(PrefixCache, "__init__", lambda self, new_cache, size=99: real(self, new_cache, 99))


def model(**fields: Any) -> GPT:
    return build(**{"position": "rope", "block_size": 24, **fields}).double()


def schedules(**fields: Any) -> None:
    """A handful of them: a bug need not show in each."""
    for seed in range(8):
        check_random_schedule(model(**fields), seed)


def rows(**fields: Any) -> None:
    for seed in range(4):
        check_rows_come_and_go(build(**{"position": "rope", **fields}).double(), seed, tolerance=1e-10)


def ring() -> GPT:
    return loud_ring(window=3)


Row = tuple[Callable[[Patch], None], Callable[..., None], str]
ROWS: list[Row] = [
    (ring_slots_not_rotated, lambda: check_shifted_is_unshifted(ring()), "slot p mod W"),
    (ring_slots_not_rotated, lambda: rows(attention="swa", window=3), "lone run"),
    (slots_not_moved, lambda: check_shifted_is_unshifted(build()), "slots"),
    (mask_not_moved, lambda: check_shifted_is_unshifted(build()), "mask"),
    (mask_not_moved, rows, "lone run"),
    (mask_moved_the_other_way, rows, "lone run|NaN"),
    (positions_counted_from_the_slot, lambda: check_shifted_is_unshifted(build()), "positions count"),
    (positions_counted_from_the_slot, schedules, "lone run"),
    (row_copied_left_aligned, rows, "lone run|NaN"),
    (row_copied_left_aligned, lambda: check_a_copied_row_is_the_row(build()), "copied"),
    (first_row_copied_whatever_was_asked, rows, "lone run"),
    (padding_left_uncleared, lambda: check_shifted_is_unshifted(build()), "NaN"),
    (
        scales_stay_behind,
        lambda: check_shifted_is_unshifted(build().double(), torch.int8, 1e-9),
        "slots",
    ),
    (
        copied_ring_forgets_what_was_lost,
        lambda: check_a_crop_knows_what_a_copied_ring_lost(ring()),
        "yet wrong",
    ),
    (ring_takes_the_oldest_tokens, lambda: rows(attention="swa", window=3), "lone run"),
    (
        all_rows_lose_padding_that_one_needs,
        lambda: check_what_cannot_move_is_refused(build()),
        "wrong in silence",
    ),
    # The engine
    (padding_of_joined_rows_is_seen, schedules, "lone run"),
    (row_that_left_keeps_its_keys_in_place, schedules, "lone run"),
    (the_newest_token_is_fed_twice, schedules, "lone run"),
    (everybody_draws_by_the_first_settings, schedules, "lone run"),
    (all_requests_share_one_generator, schedules, "lone run"),
    (samples_draw_the_same, lambda: check_samples_share_one_prefill(model(block_size=64)), "lone run|equal"),
    (
        each_sample_reads_the_prompt,
        lambda: check_samples_share_one_prefill(model(block_size=64)),
        "read once",
    ),
    (
        prompt_read_in_one_piece,
        lambda: check_a_long_prompt_does_not_stop_the_others(build()),
        "places of a prompt",
    ),
    (
        prompt_read_before_anyone_else_writes,
        lambda: check_a_long_prompt_does_not_stop_the_others(build()),
        "more than one chunk",
    ),
    (
        a_step_of_prefill_writes_nothing,
        lambda: check_a_long_prompt_does_not_stop_the_others(build()),
        "must get its token",
    ),
    (cancel_is_heard_at_the_end, lambda: check_cancel_within_one_token(build()), "after cancel"),
    (
        cancelled_rows_keep_their_place,
        lambda: check_cancel_within_one_token(build()),
        "after cancel|still holds",
    ),
    (
        cancelled_prompts_keep_their_cache,
        lambda: check_cancel_within_one_token(build()),
        "caches are still held",
    ),
    (the_last_row_leaves_its_cache, schedules, "bytes of caches"),
    (stop_token_is_part_of_the_text, schedules, "lone run"),
    (slid_text_keeps_its_keys, schedules, "lone run"),
    (logprobs_after_temperature, schedules, "own distribution"),
    (one_failure_fails_all, lambda: check_a_failure_is_its_own(build().double()), "lone run"),
    # What the next turn reuses
    (prefix_compared_by_length_only, lambda: check_warm_is_cold(model(block_size=64)), "warm cache"),
    (prefix_compared_by_length_only, schedules, "lone run"),
    (prefix_one_too_long, lambda: check_warm_is_cold(model(block_size=64)), "warm cache|others"),
    (kept_ids_run_ahead_of_the_keys, lambda: check_warm_is_cold(model(block_size=64)), "warm cache"),
    (
        kept_cache_lent_instead_of_copied,
        lambda: check_warm_is_cold(model(block_size=64)),
        "warm cache|others",
    ),
    (nothing_is_ever_reused, lambda: check_warm_is_cold(model(block_size=64)), "used at all"),
    (every_cache_is_kept, lambda: check_warm_is_cold(model(block_size=64)), "no bound|than promised"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        try:
            law()
        except UserError as error:  # the cache itself noticed that rows and mask had come apart
            raise AssertionError(f"no lone run would fail so: {error}") from error
