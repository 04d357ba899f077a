"""Classic bugs of beam search, put back one at a time: a law must catch each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from beam_checks import (
    check_banned_tokens_are_not_found,
    check_equals_transformers,
    check_full_width_is_exhaustive,
    check_scores_are_the_models,
    check_search_ends,
    check_search_escapes_the_trap,
    check_width_one_is_greedy,
)
from model_checks import build
from weight_checks import tiny_gpt2

from attention_mechanisms.kv_cache import KVCache
from gpt_model import GPT, beam

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model, folder = tiny_gpt2(seed=5, n_positions=24), tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    return model, folder


def cache_rows_stay_where_they_are(patch: Patch) -> None:
    real = KVCache.branch
    patch.setattr(
        KVCache, "branch", lambda self, rows: real(self, [min(i, self.batch - 1) for i in range(len(rows))])
    )


def scores_are_not_summed(patch: Patch) -> None:
    real = beam._continuation_scores

    def last_step_only(logits: Any, searches: Any) -> Any:
        for search in searches:
            search.beams = [found._replace(log_probability=0.0) for found in search.beams]
        return real(logits, searches)

    patch.setattr(beam, "_continuation_scores", last_step_only)


def logits_are_summed(patch: Patch) -> None:
    def raw(logits: Any, searches: Any) -> Any:
        sums = [found.log_probability for search in searches for found in search.beams]
        return logits + torch.tensor(sums)[:, None]

    patch.setattr(beam, "_continuation_scores", raw)


def only_the_first_beam_goes_on(patch: Patch) -> None:
    real = beam._Search._best
    patch.setattr(beam._Search, "_best", lambda self, scores: real(self, scores[:1]))


def too_few_candidates(patch: Patch) -> None:
    real = beam._Search._best
    patch.setattr(beam._Search, "_best", lambda self, scores: real(self, scores)[: self.beam.width])


def length_counts_the_prompt(patch: Patch) -> None:
    real = beam._Search._finish

    def finish(self: Any, ids: list[int], log_probability: float) -> None:
        real(self, ids, log_probability)
        power = self.beam.length_penalty
        self.finished = [
            each._replace(score=each.log_probability / (len(self.prompt) + len(each.ids)) ** power)
            for each in self.finished
        ]

    patch.setattr(beam._Search, "_finish", finish)


def length_penalty_multiplies(patch: Patch) -> None:
    real = beam._Search.__init__

    def init(self: Any, prompt: Any, settings: Any, *rest: Any) -> None:
        real(self, prompt, settings, *rest)
        object.__setattr__(settings, "length_penalty", -abs(settings.length_penalty))

    patch.setattr(beam._Search, "__init__", init)


def the_search_ends_with_the_first_text(patch: Patch) -> None:
    patch.setattr(beam._Search, "_done", lambda self, length: not self.beams or bool(self.finished))


def never_means_the_present_length(patch: Patch) -> None:
    def done(self: Any, length: int) -> bool:
        if not self.beams or len(self.finished) < self.beam.width:
            return not self.beams
        now = self.beams[0].log_probability / length**self.beam.length_penalty
        return self.beam.early_stopping is True or now <= self.finished[-1].score

    patch.setattr(beam._Search, "_done", done)


def stop_ids_are_shown(patch: Patch) -> None:
    real = beam._Search._finish

    def finish(self: Any, ids: list[int], log_probability: float) -> None:
        ends, self.stop_ids = self.stop_ids, frozenset()
        real(self, ids, log_probability)
        self.stop_ids = ends

    patch.setattr(beam._Search, "_finish", finish)


def padding_is_seen(patch: Patch) -> None:
    patch.setattr(GPT, "_full_mask", staticmethod(lambda mask, cache, batch, total: None))


def rules_are_forgotten(patch: Patch) -> None:
    patch.setattr(beam, "process", lambda logits, *rest, **more: logits)


def limit_of_the_block_is_forgotten(patch: Patch) -> None:
    real = beam._Search.__init__
    patch.setattr(
        beam._Search,
        "__init__",
        lambda self, prompt, settings, stop_ids, new, block: real(
            self, prompt, settings, stop_ids, new, block - 1
        ),
    )


ROWS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (cache_rows_stay_where_they_are, lambda: check_scores_are_the_models(build()), "another beam"),
    (scores_are_not_summed, lambda: check_scores_are_the_models(build()), "nats"),
    (logits_are_summed, lambda: check_full_width_is_exhaustive(build(vocab_size=4)), "every beginning"),
    (only_the_first_beam_goes_on, check_search_escapes_the_trap, "likelier|greedy has"),
    (the_search_ends_with_the_first_text, lambda: check_full_width_is_exhaustive(build(vocab_size=4)), "of all texts"),
    (length_penalty_multiplies, lambda: check_full_width_is_exhaustive(build(vocab_size=4)), "of all texts"),
    (length_counts_the_prompt, lambda: check_full_width_is_exhaustive(build(vocab_size=4)), "of all texts"),
    (padding_is_seen, lambda: check_scores_are_the_models(build()), "padding"),
    (padding_is_seen, lambda: check_width_one_is_greedy(build()), "width 1"),
    (stop_ids_are_shown, lambda: check_width_one_is_greedy(build()), "width 1"),
    (rules_are_forgotten, lambda: check_banned_tokens_are_not_found(build()), "bad word|beyond|ended before"),
    (rules_are_forgotten, lambda: check_width_one_is_greedy(build()), "width 1"),
    (limit_of_the_block_is_forgotten, lambda: check_search_ends(build(block_size=16)), "room for 4"),
]  # fmt: skip

AGAINST_TRANSFORMERS = [
    cache_rows_stay_where_they_are,
    too_few_candidates,
    length_counts_the_prompt,
    never_means_the_present_length,
    the_search_ends_with_the_first_text,
    padding_is_seen,
    stop_ids_are_shown,
]


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


@pytest.mark.parametrize("bug", AGAINST_TRANSFORMERS, ids=lambda bug: bug.__name__)
def test_the_comparison_with_transformers_catches(bug, reference, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="transformers has"):
        check_equals_transformers(*reference)
