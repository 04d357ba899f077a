"""Classic bugs of sampling, streaming and overflow, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with. Every
check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from generation_checks import (
    check_cancelled_streams_free_their_caches,
    check_slide_is_an_uncached_loop,
    check_stop_ids_end_a_row,
    check_stop_stops,
    check_stream_equals_generate,
)
from model_checks import build
from sampling_checks import (
    check_filters_equal_transformers,
    check_frequencies,
    check_padded_vocabulary_is_never_drawn,
    check_penalty_lowers_both_signs,
    check_ragged_batch_is_single_runs,
    check_rows_and_steps_are_independent,
    check_same_seed_same_text,
    check_sampled_batch_is_single_runs,
    check_temperature_zero_is_argmax,
    check_top_k_of_ties,
)

from gpt_model import GPT, engine, generation, gpt, processors, sampling
from gpt_model.engine import Engine
from gpt_model.ragged_batch import RaggedBatch

Patch = pytest.MonkeyPatch

# Filters --------------------------------------------------------------------------------------------


def top_p_drops_the_token_that_crosses(patch: Patch) -> None:
    def strict(logits: Any, p: float) -> Any:
        ordered, indices = logits.sort(dim=-1, descending=True)
        over = ordered.softmax(-1).cumsum(-1) > p
        over[..., 0] = False
        return torch.empty_like(logits).scatter_(-1, indices, ordered.masked_fill(over, -torch.inf))

    patch.setattr(processors, "top_p_filter", strict)


def top_p_keeps_one_too_many(patch: Patch) -> None:
    def loose(logits: Any, p: float) -> Any:
        ordered, indices = logits.sort(dim=-1, descending=True)
        shares = ordered.softmax(-1)
        over = (shares.cumsum(-1) - shares).roll(1, -1) >= p
        over[..., :2] = False
        return torch.empty_like(logits).scatter_(-1, indices, ordered.masked_fill(over, -torch.inf))

    patch.setattr(processors, "top_p_filter", loose)


def top_p_forgets_to_sort_back(patch: Patch) -> None:
    def sorted_order(logits: Any, p: float) -> Any:
        ordered, _ = logits.sort(dim=-1, descending=True)
        shares = ordered.softmax(-1)
        return ordered.masked_fill(shares.cumsum(-1) - shares >= p, -torch.inf)

    patch.setattr(processors, "top_p_filter", sorted_order)


def top_k_keeps_one_too_many(patch: Patch) -> None:
    real = processors.top_k_filter
    patch.setattr(processors, "top_k_filter", lambda logits, k: real(logits, k + 1))


def top_k_keeps_all_ties(patch: Patch) -> None:
    def by_value(logits: Any, k: int) -> Any:
        smallest = logits.topk(min(k, logits.size(-1)), dim=-1).values[..., -1:]
        return logits.masked_fill(logits < smallest, -torch.inf)

    patch.setattr(processors, "top_k_filter", by_value)


def temperature_multiplies(patch: Patch) -> None:
    patch.setattr(processors, "apply_temperature", lambda logits, temperature: logits * temperature)


def temperature_zero_still_draws(patch: Patch) -> None:
    real = sampling.sample

    def never_greedy(logits: Any, settings: Any, *rest: Any, **more: Any) -> Any:
        if settings.temperature == 0:
            settings = dataclasses.replace(settings, temperature=1.0)
        return real(logits, settings, *rest, **more)

    patch.setattr(engine, "sample", never_greedy)


def penalty_divides_negatives_too(patch: Patch) -> None:
    def divide(logits: Any, history: Any, penalty: float) -> Any:
        rows, ids = processors._flat(history, logits)
        return logits.index_put((rows, ids), logits[rows, ids] / penalty)

    patch.setattr(processors, "penalise_repetition", divide)


def penalty_compounds_with_each_occurrence(patch: Patch) -> None:
    real = processors.penalise_repetition

    def compound(logits: Any, history: Any, penalty: float) -> Any:
        for place in range(max(map(len, history))):
            logits = real(logits, [row[place : place + 1] for row in history], penalty)
        return logits

    patch.setattr(processors, "penalise_repetition", compound)


def vocabulary_limit_ignored(patch: Patch) -> None:
    real = sampling.process
    patch.setattr(
        sampling,
        "process",
        lambda logits, settings, *rest, **more: real(
            logits, dataclasses.replace(settings, vocab_limit=None), *rest, **more
        ),
    )


# Randomness -----------------------------------------------------------------------------------------


def global_generator_used(patch: Patch) -> None:
    patch.setattr(engine, "make_generators", lambda seed, rows: [torch.default_generator] * rows)


def every_row_has_the_same_seed(patch: Patch) -> None:
    patch.setattr(generation, "_seeded", lambda settings, row: settings)


def rows_share_one_generator(patch: Patch) -> None:
    kept: dict[Any, Any] = {}

    def shared(seed: Any, rows: int) -> Any:
        return [kept.setdefault("all", sampling.make_generators(seed, 1)[0])] * rows

    patch.setattr(engine, "make_generators", shared)


def reseeded_at_every_step(patch: Patch) -> None:
    real = engine.sample

    def sample(logits: Any, settings: Any, generators: Any, *rest: Any, **named: Any) -> Any:
        for generator in generators:
            generator.manual_seed(generator.initial_seed())
        return real(logits, settings, generators, *rest, **named)

    patch.setattr(engine, "sample", sample)


def sessions_share_one_generator(patch: Patch) -> None:
    kept = torch.Generator()

    def shared(seed: Any, rows: int) -> Any:
        kept.manual_seed(seed or 0)
        return [kept] * rows

    patch.setattr(engine, "make_generators", shared)


# The engine -----------------------------------------------------------------------------------------


def padding_of_a_ragged_batch_is_seen(patch: Patch) -> None:
    patch.setattr(GPT, "_full_mask", staticmethod(lambda mask, cache, batch, total: None))


def ragged_positions_count_the_padding(patch: Patch) -> None:
    patch.setattr(
        gpt, "positions_from_mask", lambda mask: torch.arange(mask.size(1)).expand(mask.shape[0], -1)
    )


def mask_of_the_prompt_is_forgotten(patch: Patch) -> None:
    from attention_mechanisms.kv_cache import KVCache

    patch.setattr(KVCache, "mask_with_new", lambda self, batch, new: None)


def ended_row_gives_its_place_away(patch: Patch) -> None:
    def leave(self: Any, index: int) -> None:
        self.rows[index] = self.rows[-1]  # but the keys stay where they are
        self.rows.pop()

    patch.setattr(RaggedBatch, "leave", leave)


def full_window_drops_only_its_newest_key(patch: Patch) -> None:
    patch.setattr(Engine, "_stays", lambda self, row: self.use_cache)
    real = RaggedBatch.decode

    def decode(self: Any) -> Any:
        if self.cache.length == self.cache.capacity <= max(row.fed for row in self.rows):
            self.cache.crop(self.cache.capacity - 1)
        return real(self)

    patch.setattr(RaggedBatch, "decode", decode)
    patch.setattr(engine, "check_request", lambda *_: None)


def stop_event_ignored(patch: Patch) -> None:
    patch.setattr(engine.Row, "stopped", property(lambda self: False))


def stop_event_seen_every_tenth_token(patch: Patch) -> None:
    real = engine.Row.stopped
    patch.setattr(engine.Row, "stopped", property(lambda self: len(self.text) % 10 == 3 and real.fget(self)))


def stop_ids_ignored(patch: Patch) -> None:
    real = Engine._write

    def write(self: Any, row: Any, *rest: Any) -> Any:
        row.stop_ids = frozenset()
        return real(self, row, *rest)

    patch.setattr(Engine, "_write", write)


def first_row_to_stop_stops_all(patch: Patch) -> None:
    real = Engine._draw

    def draw(self: Any, rows: Any, logits: Any) -> Any:
        events = real(self, rows, logits)
        if any(event.finish_reason for event in events):
            for row in rows:
                row.done = True
        return events

    patch.setattr(Engine, "_draw", draw)


def caches_are_kept(patch: Patch) -> None:
    real, kept = RaggedBatch.join, []

    def join(self: Any, rows: Any, cache: Any, sources: Any) -> Any:
        kept.append(cache)
        return real(self, rows, cache, sources)

    patch.setattr(RaggedBatch, "join", join)


def sample_twice() -> None:
    check_same_seed_same_text(build(), lambda: torch.rand(7))


ROWS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (top_p_drops_the_token_that_crosses, lambda: check_frequencies(top_p=0.5), "crosses"),
    (top_p_drops_the_token_that_crosses, check_filters_equal_transformers, "top_p"),
    (top_p_keeps_one_too_many, lambda: check_frequencies(top_p=0.5), "cut off"),
    (top_p_forgets_to_sort_back, lambda: check_frequencies(top_p=0.9), "cut off|do not fit"),
    (top_k_keeps_one_too_many, lambda: check_frequencies(top_k=3), "cut off"),
    (top_k_keeps_one_too_many, check_filters_equal_transformers, "top_k"),
    (top_k_keeps_all_ties, check_top_k_of_ties, "exactly two"),
    (temperature_multiplies, lambda: check_frequencies(temperature=0.6), "do not fit"),
    (temperature_zero_still_draws, lambda: check_temperature_zero_is_argmax(build()), "argmax"),
    (penalty_divides_negatives_too, check_penalty_lowers_both_signs, "negative ones multiplied"),
    (penalty_divides_negatives_too, check_filters_equal_transformers, "repetition_penalty"),
    (penalty_compounds_with_each_occurrence, check_filters_equal_transformers, "repetition_penalty"),
    (vocabulary_limit_ignored, check_padded_vocabulary_is_never_drawn, "stand for no token"),
    (global_generator_used, sample_twice, "global random generator"),
    (every_row_has_the_same_seed, check_rows_and_steps_are_independent, "rows"),
    (every_row_has_the_same_seed, lambda: check_sampled_batch_is_single_runs(build()), "alone"),
    (rows_share_one_generator, lambda: check_sampled_batch_is_single_runs(build()), "alone"),
    (reseeded_at_every_step, check_rows_and_steps_are_independent, "dependent tokens"),
    (reseeded_at_every_step, check_frequencies, "do not fit|never drawn"),
    (padding_of_a_ragged_batch_is_seen, lambda: check_ragged_batch_is_single_runs(build()), "padding"),
    (ragged_positions_count_the_padding, lambda: check_ragged_batch_is_single_runs(build()), "padding"),
    (mask_of_the_prompt_is_forgotten, lambda: check_ragged_batch_is_single_runs(build()), "padding"),
    (ended_row_gives_its_place_away, lambda: check_ragged_batch_is_single_runs(build()), "place"),
    (first_row_to_stop_stops_all, lambda: check_ragged_batch_is_single_runs(build()), "stop id"),
    (
        full_window_drops_only_its_newest_key,
        lambda: check_slide_is_an_uncached_loop(build(block_size=8), (5, 5), 16),
        "sliding",
    ),
    (sessions_share_one_generator, lambda: check_stream_equals_generate(build()), "session"),
    (stop_event_ignored, lambda: check_stop_stops(build()), "one more is allowed"),
    (stop_event_seen_every_tenth_token, lambda: check_stop_stops(build()), "one more is allowed"),
    (stop_ids_ignored, check_stop_ids_end_a_row, "after the stop id|rows end"),
    (first_row_to_stop_stops_all, check_stop_ids_end_a_row, "rows end"),
    (caches_are_kept, lambda: check_cancelled_streams_free_their_caches(build()), "still held"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()
