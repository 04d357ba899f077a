"""LD2 for finetuning/05: other right answers pass, new kinds of wrong ones get the property that fails."""

import math

import pytest

from finetuning.evaluation import contamination, resampling
from finetuning.exercises.did_it_get_better import CLEAN, PREDICTIONS, QUESTIONS, WINS
from utils.exercises import check, load_answer


def _clean_by_module(train, held_out, n):
    found = contamination.contamination(train, held_out, n=n)
    return [text for text, shared in zip(held_out, found.shared, strict=True) if not shared]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (QUESTIONS, lambda h, p: -int(-(1.96 * 1.96 * p * (1 - p) / (h * h)) // 1)),
        (WINS, lambda before, after: 0.5 + (sum(after) - sum(before)) / len(before) / 2),
        (WINS, lambda before, after: resampling.win_rate(before, after).rate.value),
        (CLEAN, _clean_by_module),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (QUESTIONS, lambda h, p: 1000, "three points on either side"),
        (QUESTIONS, lambda h, p: 1.96**2 * p * (1 - p) / h**2, "three points"),
        (QUESTIONS, lambda h, p: math.floor(1.96**2 * p * (1 - p) / h**2) + 2, "1068 questions"),
        (WINS, lambda before, after: 0.5, "wherever the first was wrong"),
        (WINS, lambda before, after: max(0.0, (sum(after) - sum(before)) / len(after)), "half a win each"),
        (CLEAN, lambda train, held_out, n: [], "nothing in common"),
        (CLEAN, lambda train, held_out, n: held_out, "three words in a row"),
        (CLEAN, lambda train, held_out, n: _clean_by_module(train, held_out, n - 1), "are not three"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_predictions_are_what_the_modules_count():
    answers = {p.name: p.answer for p in PREDICTIONS}
    assert answers["questions_for_three_points"] == resampling.requests_needed(0.03)
    assert answers["p_of_five_wins"] == resampling.sign_test(5, 0)
    textbook = load_answer(QUESTIONS.solution, QUESTIONS.function)(0.03, 0.5)
    assert textbook - resampling.requests_needed(0.03) == 4, "as the reason of the prediction says"
