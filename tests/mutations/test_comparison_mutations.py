"""The bugs that the laws of a comparison exist for, put back on purpose (LF9)."""

import comparison_checks as checks
import numpy as np
import pytest

from finetuning.evaluation import contamination, prompting, resampling
from finetuning.instruction import questions


def _bootstrap_of_pairs_seen(before, after, *, resamples=2000, seed=0):
    won, tied, lost = resampling.outcomes(before, after)
    n = won + tied + lost
    drawn = np.random.default_rng(seed).multinomial(n, np.array([won, tied, lost]) / n, size=resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 2]) / n, [0.025, 0.975])
    return resampling.Estimate((won - lost) / n, float(low), float(high), n)


def _bootstrap_of_two_lists(before, after, *, resamples=2000, seed=0):
    n, chance = len(before), np.random.default_rng(seed)
    shares = [(sum(side) + 0.5) / (n + 1) for side in (before, after)]
    first, second = (chance.binomial(n, share, size=resamples) / n for share in shares)
    low, high = np.quantile(second - first, [0.025, 0.975])
    return resampling.Estimate((sum(after) - sum(before)) / n, float(low), float(high), n)


def test_two_lists_resampled_apart(monkeypatch):
    monkeypatch.setattr(resampling, "paired_difference", _bootstrap_of_two_lists)
    with pytest.raises(AssertionError, match="resample pairs"):
        checks.check_intervals_hold_the_true_difference()


def test_a_bootstrap_that_cannot_imagine_what_it_has_not_seen(monkeypatch):
    monkeypatch.setattr(resampling, "paired_difference", _bootstrap_of_pairs_seen)
    with pytest.raises(AssertionError, match="cannot imagine"):
        checks.check_what_was_always_seen_is_not_certain()


def test_an_interval_of_half_the_width(monkeypatch):
    real = resampling.paired_difference

    def narrow(before, after, **how):
        found = real(before, after, **how)
        quarter = (found.high - found.low) / 4
        return resampling.Estimate(found.value, found.value - quarter, found.value + quarter, found.count)

    monkeypatch.setattr(resampling, "paired_difference", narrow)
    with pytest.raises(AssertionError, match="promises more"):
        checks.check_intervals_hold_the_true_difference()


def test_before_and_after_swapped(monkeypatch):
    real = resampling.outcomes
    monkeypatch.setattr(resampling, "outcomes", lambda before, after: real(after, before))
    with pytest.raises(AssertionError, match="better, not worse"):
        checks.check_the_difference_is_of_the_tuned_over_the_base()


def test_a_one_sided_p_value(monkeypatch):
    real = resampling.sign_test
    monkeypatch.setattr(resampling, "sign_test", lambda wins, losses: real(wins, losses) / 2)
    with pytest.raises(AssertionError, match="both sides count"):
        checks.check_sign_test_is_the_enumeration()


def test_three_seeds_with_the_factor_of_many(monkeypatch):
    monkeypatch.setattr(resampling, "student_t", lambda freedom: 1.96)
    with pytest.raises(AssertionError, match="Student's t"):
        checks.check_seeds_are_students()


def test_a_copy_hidden_by_capitals(monkeypatch):
    monkeypatch.setattr(contamination, "words_of", lambda text: text.split())
    with pytest.raises(AssertionError, match="whatever their case"):
        checks.check_a_copy_is_found_in_other_clothes()


def test_the_last_run_of_a_text_left_out(monkeypatch):
    monkeypatch.setattr(
        contamination,
        "_grams",
        lambda words, n: [(at, tuple(words[at : at + n])) for at in range(len(words) - n)],
    )
    with pytest.raises(AssertionError, match="the last run"):
        checks.check_shared_words_are_found()


def test_held_out_requests_shown_with_their_answers(monkeypatch):
    monkeypatch.setattr(prompting, "held_out", lambda prompt: False)
    with pytest.raises(AssertionError, match="was shown with its answer"):
        checks.check_shown_examples_are_never_held_out()


def test_an_answer_that_goes_on_into_the_next_question(monkeypatch):
    from working_with_text_data import story_corpus, train_bpe

    tokenizer = train_bpe(story_corpus(n_stories=60, seed=2), 400, special_tokens=("<|endoftext|>",))
    monkeypatch.setattr(prompting, "first_line", str.strip)
    with pytest.raises(AssertionError, match="ends with its line"):
        checks.check_the_prompt_is_a_document_that_ends_where_the_answer_belongs(tokenizer)


@pytest.fixture(scope="module")
def tuned_world(tmp_path_factory):
    *world, tune = checks.taught_world()
    tune(tmp_path_factory.mktemp("runs"))
    return tuple(world)


def test_a_model_asked_in_other_words_than_it_was_trained_in(monkeypatch, tuned_world):
    real = questions.render
    monkeypatch.setattr(
        questions,
        "render",
        lambda messages, tokenizer, **how: real(messages, tokenizer, **{**how, "template": "plain"}),
    )
    with pytest.raises(AssertionError, match="asked in the words"):
        checks.check_tuning_helps_over_the_base_and_over_prompting(tuned_world)


def test_the_untuned_model_measured_twice(tuned_world):
    tokenizer, base, _, asked = tuned_world
    with pytest.raises(AssertionError, match="the difference of"):
        checks.check_tuning_helps_over_the_base_and_over_prompting((tokenizer, base, base, asked))


def test_an_evaluation_that_never_stops_talking(monkeypatch, tuned_world):
    monkeypatch.setattr(questions, "stop_ids", lambda tokenizer, template="scratchbook": ())
    with pytest.raises(AssertionError, match="cut at their end"):
        checks.check_tuning_helps_over_the_base_and_over_prompting(tuned_world)
