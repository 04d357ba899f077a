"""LD2 for this chapter: solutions pass, stubs fail with the right words, each classic mistake is named."""

import inspect
import json
import math

import pytest
import torch

from utils.errors import UserError
from utils.exercises import NOT_WRITTEN, check, load_answer, predict, prove, solution
from working_with_text_data.exercises import EXERCISES, PREDICTIONS, tour
from working_with_text_data.exercises.tour import LOSS, TARGETS, TEMPERATURE

MISTAKES = [(exercise, label) for exercise in EXERCISES for label in exercise.mistakes]


def answer(exercise, source):
    return load_answer(source, exercise.function)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_exercise_is_proved(exercise):
    prove(exercise)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_stub_is_told_what_to_write(exercise):
    result = check(exercise, answer(exercise, exercise.stub))
    assert not result.passed
    assert NOT_WRITTEN in result.message and exercise.task in result.message


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=[f"{e.name}-{label}" for e, label in MISTAKES])
def test_each_classic_mistake_is_caught_by_name_and_by_no_other(exercise, label):
    message = check(exercise, answer(exercise, exercise.mistakes[label].source)).message
    named = [other for other, mistake in exercise.mistakes.items() if mistake.says in message]
    assert named == [label], f"{label} is taken for {named}: {message}"


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=[f"{e.name}-{label}" for e, label in MISTAKES])
def test_each_mistake_differs_from_the_solution(exercise, label):
    assert exercise.mistakes[label].source != exercise.solution, "a replacement in the source found nothing"


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=[f"{e.name}-{label}" for e, label in MISTAKES])
def test_the_properties_alone_catch_each_mistake(exercise, label):
    """The checker does not lean on the list of known mistakes: a new one would be caught as well."""
    with pytest.raises((AssertionError, ValueError, IndexError)):
        exercise.check(answer(exercise, exercise.mistakes[label].source))


def _targets_as_a_loop(ids, start, length):
    return [ids[start + i] for i in range(length)], [ids[start + i + 1] for i in range(length)]


def _targets_of_length_plus_one(ids, start, length):
    window = torch.tensor(ids[start : start + length + 1])
    return window[:-1], window[1:]


def _loss_of_torch(probabilities, targets):
    return torch.nn.functional.nll_loss(torch.tensor(probabilities).log(), torch.tensor(targets))


def _loss_as_a_quotient(probabilities, targets):
    return sum(math.log(1 / row[t]) for row, t in zip(probabilities, targets, strict=True)) / len(targets)


def _temperature_of_torch(logits, temperature):
    return (torch.tensor(logits) / temperature).softmax(dim=-1)


def _temperature_from_one_token(logits, temperature):
    return [1 / sum(math.exp(min((b - a) / temperature, 700)) for b in logits) for a in logits]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (TARGETS, _targets_as_a_loop),
        (TARGETS, _targets_of_length_plus_one),
        (LOSS, _loss_of_torch),
        (LOSS, _loss_as_a_quotient),
        (TEMPERATURE, _temperature_of_torch),
        (TEMPERATURE, _temperature_from_one_token),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (TARGETS, lambda ids, start, length: ids[start], "two lists"),
        (
            TARGETS,
            lambda ids, start, length: (ids[:length], ids[1 : length + 1]),
            "the input must be ids[2:5]",
        ),
        (TARGETS, lambda ids, start, length: (ids[start : start + length], [0] * length), "the token after"),
        (LOSS, lambda rows, targets: [1.0], "one number"),
        (LOSS, lambda rows, targets: sum(-math.log(max(row)) for row in rows) / len(rows), "3 bits"),
        (LOSS, lambda rows, targets: 0.0, "fair coin"),
        (TEMPERATURE, lambda logits, temperature: 1.0, "a list of numbers, not float"),
        (TEMPERATURE, lambda logits, temperature: [1.0], "4 logits give 1"),
        (TEMPERATURE, lambda logits, temperature: [1 / len(logits)] * len(logits), "in the ratio"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_a_softmax_that_gives_nan_for_large_logits_fails():
    def overflowing(logits, temperature):
        weights = (torch.tensor(logits) / temperature).exp()
        return weights / weights.sum()

    assert not check(TEMPERATURE, overflowing)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_a_name_finds_the_exercise_and_its_folded_solution(exercise):
    assert check(exercise.name, answer(exercise, exercise.solution)).passed
    assert exercise.solution.strip() in solution(exercise.name)


@pytest.mark.parametrize("exercise", tour.EXERCISES, ids=lambda e: e.name)
def test_the_solution_is_as_short_as_the_book_promises(exercise):
    body = [line for line in exercise.solution.splitlines() if line.startswith("    ")]
    assert len(body) <= 5
    assert len(inspect.signature(answer(exercise, exercise.stub)).parameters) == len(
        inspect.signature(answer(exercise, exercise.solution)).parameters
    )


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_a_prediction_answers_with_ratio_and_reason(prediction):
    found = predict(prediction.name, prediction.answer * 2)
    assert found.ratio == pytest.approx(2) and prediction.because in found.message


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(UserError, match="input_and_target"):
        check("input_and_targets", lambda: None)


def test_the_tour_asks_each_exercise_with_its_own_stub_and_folds_its_own_solution(project_root):
    path = project_root / "working_with_text_data" / "00_five_minute_tour.ipynb"
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    for exercise in tour.EXERCISES:
        name = exercise.name
        asked = [cell for cell in cells if f'check("{name}", {exercise.function})' in cell]
        assert len(asked) == 1, f"{name} is asked {len(asked)} times"
        assert asked[0].startswith(exercise.stub.strip()) and f'hint("{name}")' in asked[0]
        assert any(solution(exercise) in cell for cell in cells), (
            f"the folded solution of {name} is not its own"
        )
