"""Classic bugs of the rules between logits and a token, put back one at a time: a law must catch each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from processor_checks import (
    check_broken_logits_raise,
    check_chain_by_definition,
    check_chain_frequencies,
    check_draw_inverts_the_distribution,
    check_inputs_are_not_changed,
    check_nothing_left_raises,
    check_openai_penalties,
    check_prompt_counts_where_it_should,
    check_rows_are_their_own,
    check_rules_equal_transformers,
    check_steps_end_where_process_ends,
    check_top_p_of_a_large_vocabulary,
)
from sampling_checks import check_frequencies

from gpt_model import processors, sampling

Patch = pytest.MonkeyPatch


def min_p_is_an_absolute_probability(patch: Patch) -> None:
    patch.setattr(
        processors, "min_p_filter", lambda x, p: x.masked_fill(x.softmax(-1) < min(p, 0.3), -torch.inf)
    )


def min_p_compares_logits(patch: Patch) -> None:
    patch.setattr(
        processors, "min_p_filter", lambda x, p: x.masked_fill(x < p * x.amax(-1, keepdim=True), -torch.inf)
    )


def ngrams_are_one_longer(patch: Patch) -> None:
    real = processors.ban_repeated_ngrams
    patch.setattr(processors, "ban_repeated_ngrams", lambda x, rows, n: real(x, rows, n + 1))


def bad_word_forbids_its_first_id(patch: Patch) -> None:
    patch.setattr(
        processors, "ban_words", lambda x, rows, words: processors.ban(x, [[w[0] for w in words]] * len(rows))
    )


def bad_word_forbids_all_its_ids_always(patch: Patch) -> None:
    patch.setattr(
        processors,
        "ban_words",
        lambda x, rows, words: processors.ban(x, [[token for w in words for token in w]] * len(rows)),
    )


def bad_words_forget_the_prompt(patch: Patch) -> None:
    bend(patch, "bad_words", lambda x, s, t: processors.ban_words(x, t.generated, s.bad_words))


def minimum_counts_the_prompt(patch: Patch) -> None:
    bend(
        patch,
        "min_new_tokens",
        lambda x, s, t: processors.ban_early_end(x, t.history, s.min_new_tokens, s.end_ids),
    )


def presence_counts_the_prompt(patch: Patch) -> None:
    bend(
        patch,
        "presence_penalty",
        lambda x, s, t: processors.penalise_presence(x, t.history, s.presence_penalty),
    )


def frequency_counts_the_prompt(patch: Patch) -> None:
    bend(
        patch,
        "frequency_penalty",
        lambda x, s, t: processors.penalise_frequency(x, t.history, s.frequency_penalty),
    )


def repetition_forgets_the_prompt(patch: Patch) -> None:
    bend(
        patch,
        "repetition_penalty",
        lambda x, s, t: processors.penalise_repetition(x, t.generated, s.repetition_penalty),
    )


def presence_counts_every_time(patch: Patch) -> None:
    patch.setattr(processors, "penalise_presence", processors.penalise_frequency)


def frequency_counts_once(patch: Patch) -> None:
    patch.setattr(processors, "penalise_frequency", processors.penalise_presence)


def a_penalty_is_added(patch: Patch) -> None:
    real = processors.penalise_presence
    patch.setattr(processors, "penalise_presence", lambda x, rows, amount: real(x, rows, -amount))


def bias_replaces_the_logit(patch: Patch) -> None:
    def put(x: Any, bias: Any) -> Any:
        x = x.clone()
        for token, amount in bias:
            x[..., token] = amount
        return x

    patch.setattr(processors, "add_bias", put)


def all_rows_share_the_histories(patch: Patch) -> None:
    real = processors.penalise_repetition
    patch.setattr(
        processors,
        "penalise_repetition",
        lambda x, rows, p: real(x, [list(itertools.chain(*rows))] * len(rows), p),
    )


def every_row_has_the_first_history(patch: Patch) -> None:
    real = processors.ban_repeated_ngrams
    patch.setattr(processors, "ban_repeated_ngrams", lambda x, rows, n: real(x, [rows[0]] * len(rows), n))


def cuts_come_before_temperature(patch: Patch) -> None:
    order = {rule.name: rule for rule in processors.CHAIN}
    late = order.pop("temperature")
    patch.setattr(processors, "CHAIN", (*order.values(), late))


def bans_come_after_the_cuts(patch: Patch) -> None:
    bans = ("bad_words", "no_repeat_ngram_size", "min_new_tokens", "vocab_limit")
    chain = sorted(processors.CHAIN, key=lambda rule: rule.name in bans)
    patch.setattr(processors, "CHAIN", tuple(chain))


def bias_comes_before_the_penalties(patch: Patch) -> None:
    chain = sorted(processors.CHAIN, key=lambda rule: rule.name != "logit_bias")
    patch.setattr(processors, "CHAIN", tuple(chain))


def a_rule_is_left_out(patch: Patch) -> None:
    patch.setattr(processors, "CHAIN", tuple(r for r in processors.CHAIN if r.name != "frequency_penalty"))


def vocabulary_is_cut_in_place(patch: Patch) -> None:
    def cut(x: Any, limit: int) -> Any:
        x[..., limit:] = -torch.inf
        return x

    patch.setattr(processors, "limit_vocabulary", cut)


def broken_logits_are_not_looked_at(patch: Patch) -> None:
    patch.setattr(sampling, "check_logits", lambda logits: None)


def nan_becomes_a_number(patch: Patch) -> None:
    real = sampling.process
    patch.setattr(sampling, "process", lambda x, *rest, **more: real(x.nan_to_num(0, 9, -9), *rest, **more))


def nothing_left_is_not_noticed(patch: Patch) -> None:
    def process(logits: Any, settings: Any, history: Any = None, *, prompt_lengths: Any = None) -> Any:
        texts = processors.Texts(history, prompt_lengths)
        return list(processors.steps(logits, settings, texts))[-1][1]

    patch.setattr(sampling, "process", process)


def large_top_p_keeps_whole_bins(patch: Patch) -> None:
    def whole_bin(x: Any, p: float, bins: int = 4096, span: float = 32.0) -> Any:
        bin_of = ((x.max() - x) * (bins / span)).clamp_(max=bins - 1).long()
        upto = torch.bincount(bin_of, weights=x.softmax(0), minlength=bins).cumsum(0)
        return x.masked_fill(bin_of > int((upto < p).sum()), -torch.inf)

    patch.setattr(processors, "_top_p_of_a_row", whole_bin)


def large_top_p_drops_the_bin_that_crosses(patch: Patch) -> None:
    def no_bin(x: Any, p: float, bins: int = 4096, span: float = 32.0) -> Any:
        bin_of = ((x.max() - x) * (bins / span)).clamp_(max=bins - 1).long()
        upto = torch.bincount(bin_of, weights=x.softmax(0), minlength=bins).cumsum(0)
        return x.masked_fill(bin_of >= max(int((upto < p).sum()), 1), -torch.inf)

    patch.setattr(processors, "_top_p_of_a_row", no_bin)


def draw_takes_places_of_probability_zero(patch: Patch) -> None:
    patch.setattr(
        sampling, "_first_above", lambda cumulative, at: torch.searchsorted(cumulative, at, right=False)
    )


def draw_forgets_what_lies_before_the_block(patch: Patch) -> None:
    patch.setattr(sampling.F, "pad", lambda x, pad, real=sampling.F.pad: real(x * (pad != (1, 0)), pad))


def bend(patch: Patch, name: str, apply: Callable[..., Any]) -> None:
    """Replace one link of the chain."""
    chain = tuple(rule._replace(apply=apply) if rule.name == name else rule for rule in processors.CHAIN)
    patch.setattr(processors, "CHAIN", chain)


ROWS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (min_p_is_an_absolute_probability, check_rules_equal_transformers, "min_p"),
    (min_p_is_an_absolute_probability, lambda: check_frequencies(min_p=0.2), "never drawn|cut off"),
    (min_p_compares_logits, check_rules_equal_transformers, "min_p"),
    (ngrams_are_one_longer, check_rules_equal_transformers, "no_repeat_ngram_size"),
    (bad_word_forbids_its_first_id, check_rules_equal_transformers, "bad_words"),
    (bad_word_forbids_all_its_ids_always, check_rules_equal_transformers, "bad_words"),
    (bad_words_forget_the_prompt, check_prompt_counts_where_it_should, "must count"),
    (minimum_counts_the_prompt, check_prompt_counts_where_it_should, "must not count"),
    (presence_counts_the_prompt, check_prompt_counts_where_it_should, "must not count"),
    (presence_counts_the_prompt, check_openai_penalties, "presence"),
    (frequency_counts_the_prompt, check_openai_penalties, "frequency"),
    (repetition_forgets_the_prompt, check_prompt_counts_where_it_should, "must count"),
    (presence_counts_every_time, check_openai_penalties, "presence"),
    (frequency_counts_once, check_openai_penalties, "frequency"),
    (a_penalty_is_added, check_openai_penalties, "presence"),
    (bias_replaces_the_logit, check_rules_equal_transformers, "logit_bias"),
    (all_rows_share_the_histories, check_rows_are_their_own, "other rows"),
    (every_row_has_the_first_history, check_rows_are_their_own, "other rows"),
    (cuts_come_before_temperature, check_chain_by_definition, "the chain"),
    (cuts_come_before_temperature, lambda: check_frequencies(min_p=0.2, temperature=3.0), "never|cut"),
    (bans_come_after_the_cuts, check_chain_by_definition, "the chain"),
    (bias_comes_before_the_penalties, check_chain_by_definition, "the chain"),
    (a_rule_is_left_out, check_chain_by_definition, "the chain"),
    (a_rule_is_left_out, check_chain_frequencies, "do not fit|forbidden"),
    (vocabulary_is_cut_in_place, check_inputs_are_not_changed, "vocab_limit wrote"),
    (broken_logits_are_not_looked_at, check_broken_logits_raise, "drew a token"),
    (nan_becomes_a_number, check_broken_logits_raise, "drew a token"),
    (nothing_left_is_not_noticed, check_nothing_left_raises, "forbidden token"),
    (large_top_p_keeps_whole_bins, check_top_p_of_a_large_vocabulary, "without its last token"),
    (large_top_p_drops_the_bin_that_crosses, check_top_p_of_a_large_vocabulary, "reach only|nothing"),
    (draw_takes_places_of_probability_zero, check_draw_inverts_the_distribution, "probability 0"),
    (draw_forgets_what_lies_before_the_block, check_draw_inverts_the_distribution, "fell on"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("bug", "law", "word"), ROWS, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(ROWS)]
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


def test_every_check_passes_without_a_bug():
    for law in {id(row[1]): row[1] for row in ROWS}.values():
        law()
    check_steps_end_where_process_ends()
