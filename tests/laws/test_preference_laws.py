"""LF8: direct preference optimisation is what the paper says, with a reference that stays."""

import preference_checks as laws
import pytest


def test_an_answers_log_probability_is_its_tokens_asked_one_by_one():
    laws.check_answers_are_asked_for_token_by_token()


def test_a_row_without_an_answer_has_no_probability():
    laws.check_a_row_without_an_answer_is_refused()


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
@pytest.mark.parametrize(("kind", "label_smoothing"), [("dpo", 0.0), ("dpo", 0.2), ("ipo", 0.0)])
def test_the_gradient_in_fp64_is_the_closed_form(beta, kind, label_smoothing):
    laws.check_the_gradient_is_the_papers(beta, label_smoothing, kind)


def test_the_loss_is_finite_however_far_a_pair_is_out_of_order():
    laws.check_the_loss_stays_finite()


@pytest.mark.parametrize("how", ["online", "cached"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"beta": 2.0}, {"label_smoothing": 0.3}, {"per_token": True}, {"kind": "ipo"}],
    ids=["plain", "beta", "smoothed", "per_token", "ipo"],
)
def test_the_first_loss_is_ln_2(how, settings):
    laws.check_it_starts_at_ln_2(how, **settings)


def test_the_reference_is_frozen_and_unchanged():
    laws.check_the_reference_never_learns()


@pytest.mark.parametrize("settings", [{}, {"per_token": True}], ids=["sums", "means"])
def test_a_cached_reference_says_what_an_online_one_says(settings):
    laws.check_cached_equals_online(**settings)


def test_one_concatenated_pass_equals_two():
    laws.check_one_pass_equals_two()


def test_every_pair_weighs_the_same_in_an_accumulated_step():
    laws.check_every_pair_weighs_the_same()


def test_pairs_that_are_left_out_are_counted_by_their_reason():
    laws.check_nothing_is_left_out_unsaid()


def test_the_ordinary_trainer_puts_the_pairs_in_order():
    laws.check_training_puts_the_pairs_in_order()
