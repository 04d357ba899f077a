"""LF9: it got better, and we may say so: pairs, seeds, contamination, prompting, and one model that really is tuned."""

import json
from pathlib import Path

import comparison_checks as checks
import pytest

RESULTS = Path(__file__).resolve().parents[2] / "finetuning" / "results" / "instructions.json"


@pytest.fixture(scope="module")
def chat_tokenizer():
    from pretraining.recipe import SPECIAL_TOKENS
    from working_with_text_data import story_corpus, train_bpe

    return train_bpe(story_corpus(n_stories=60, seed=2), 400, special_tokens=SPECIAL_TOKENS)


def test_an_interval_of_pairs_holds_the_true_difference():
    checks.check_intervals_hold_the_true_difference()


def test_what_was_always_seen_is_not_certain():
    checks.check_what_was_always_seen_is_not_certain()


def test_a_difference_has_its_direction():
    checks.check_the_difference_is_of_the_tuned_over_the_base()


def test_the_sign_test_counts_all_falls_of_the_coin():
    checks.check_sign_test_is_the_enumeration()


def test_an_interval_over_seeds_is_students():
    checks.check_seeds_are_students()


def test_shared_words_are_found_as_brute_force_finds_them():
    checks.check_shared_words_are_found()


def test_a_copy_is_found_in_other_clothes():
    checks.check_a_copy_is_found_in_other_clothes()


def test_the_examples_of_a_prompt_are_never_held_out():
    checks.check_shown_examples_are_never_held_out()


def test_a_prompted_model_reads_a_document_that_ends_where_the_answer_belongs(chat_tokenizer):
    checks.check_the_prompt_is_a_document_that_ends_where_the_answer_belongs(chat_tokenizer)


def test_tuning_helps_over_the_base_and_over_prompting(tmp_path):
    *world, tune = checks.taught_world()
    tune(tmp_path)
    checks.check_tuning_helps_over_the_base_and_over_prompting(tuple(world))


def test_what_was_measured_says_that_it_got_better():
    good = {"differences": {"1": {"sft over base": {"low": 0.8}, "sft over prompted": {"low": 0.7}}}}
    checks.check_a_results_file_says_better(good)
    bad = {"differences": {"1": {"sft over base": {"low": 0.8}, "sft over prompted": {"low": -0.01}}}}
    with pytest.raises(AssertionError, match="not shown"):
        checks.check_a_results_file_says_better(bad)
    if RESULTS.exists():  # "not measured" until it is
        figures = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
        checks.check_a_results_file_says_better(figures)
