"""LG8: the chain of rules between logits and a token."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from model_checks import build
from processor_checks import (
    check_broken_logits_raise,
    check_chain_by_definition,
    check_chain_frequencies,
    check_draw_inverts_the_distribution,
    check_generated_texts_keep_the_rules,
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

from gpt_model import Sampling
from gpt_model.processors import CHAIN, bad_word_ids
from gpt_model.sampling import process, sample
from utils.errors import UserError
from working_with_text_data import ByteTokenizer


def test_each_rule_equals_transformers_processor_of_the_same_name():
    check_rules_equal_transformers()


def test_presence_and_frequency_follow_openais_formula_on_generated_ids():
    check_openai_penalties()


def test_the_prompt_counts_for_some_rules_and_not_for_others():
    check_prompt_counts_where_it_should()


def test_a_row_is_bent_by_its_own_history_only():
    check_rows_are_their_own()


def test_all_rules_together_keep_the_documented_order():
    check_chain_by_definition()


def test_100_000_draws_through_the_whole_chain_fall_as_defined():
    check_chain_frequencies()


@pytest.mark.parametrize(
    "settings", [{"min_p": 0.2}, {"min_p": 0.05, "temperature": 1.7}, {"min_p": 1.0}], ids=str
)
def test_100_000_draws_with_min_p_fall_as_defined(settings):
    check_frequencies(**settings)


def test_no_rule_writes_into_the_logits_it_is_given():
    check_inputs_are_not_changed()


def test_the_steps_of_the_chain_end_where_process_ends():
    check_steps_end_where_process_ends()


def test_top_p_over_a_large_vocabulary_keeps_the_token_that_crosses_and_no_more():
    check_top_p_of_a_large_vocabulary()


def test_a_draw_from_a_long_row_inverts_its_distribution():
    check_draw_inverts_the_distribution()


def test_logits_that_are_no_numbers_raise_instead_of_giving_a_token():
    check_broken_logits_raise()


def test_rules_that_forbid_everything_say_so():
    check_nothing_left_raises()


def test_generated_texts_keep_the_rules():
    check_generated_texts_keep_the_rules(build())


def test_every_rule_is_named_by_a_setting_and_asks_for_the_history_it_needs():
    fields = {field.name for field in dataclasses.fields(Sampling)}
    assert {rule.name for rule in CHAIN} <= fields
    assert not Sampling(top_k=3, vocab_limit=4).needs_history
    assert Sampling(presence_penalty=1.0, temperature=0.0).needs_history
    with pytest.raises(UserError, match="history"):
        process(torch.zeros(1, 4), Sampling(repetition_penalty=2.0))
    with pytest.raises(UserError, match="prompt_lengths"):
        process(torch.zeros(1, 4), Sampling(presence_penalty=2.0), [[1]])
    with pytest.raises(UserError, match="2 rows"):
        process(torch.zeros(2, 4), Sampling(repetition_penalty=2.0), [[1]])


def test_one_row_without_a_batch_takes_one_history():
    logits = torch.tensor([1.0, 0.9, -5.0])
    settings = Sampling(temperature=0.0, presence_penalty=0.5)
    assert int(sample(logits, settings, None, [2, 0], prompt_lengths=[1])) == 1
    assert int(sample(logits, settings, None, [2, 0], prompt_lengths=[2])) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": math.nan},
        {"temperature": "hot"},
        {"temperature": None},
        {"top_k": 2.5},
        {"top_k": math.nan},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"presence_penalty": math.inf},
        {"frequency_penalty": math.nan},
        {"no_repeat_ngram_size": 0},
        {"bad_words": "rude"},
        {"bad_words": [3, 4]},
        {"bad_words": [[]]},
        {"bad_words": [[-1]]},
        {"min_new_tokens": -1},
        {"end_ids": 5},
        {"logit_bias": {3: math.inf}},
        {"logit_bias": {3: "x"}},
        {"logit_bias": {"a": 1.0}},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": 4},
        {"vocab_limit": 0},
        {"seed": 1.5},
        {"seed": 2**64},
    ],
    ids=str,
)
def test_an_impossible_rule_is_refused_by_name_in_one_line(settings):
    with pytest.raises(UserError) as caught:
        Sampling(**settings)
    (name,) = settings
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"bad_words": [(9,)]}, {"logit_bias": {9: 1.0}}], ids=str)
def test_an_id_beyond_the_vocabulary_is_refused_with_both_numbers(settings):
    with pytest.raises(UserError, match=r"9.*0 to 3"):
        process(torch.zeros(1, 4), Sampling(**settings), [[1]])


def test_settings_are_values_that_can_be_compared_and_hashed():
    # JSON brings lists, and text as the keys of a mapping.
    one = Sampling(bad_words=[[1, 2]], logit_bias={"7": 1, "3": -2}, end_ids=[4])
    two = Sampling(bad_words=((1, 2),), logit_bias=((3, -2.0), (7, 1.0)), end_ids=(4,))
    assert one == two and hash(one) == hash(two)
    assert dataclasses.replace(one, seed=1).logit_bias == two.logit_bias


def test_a_word_is_forbidden_with_and_without_a_space_before_it():
    assert bad_word_ids(ByteTokenizer(), ["ab", "ab", ""]) == ((97, 98), (32, 97, 98))
