"""LD2 for notebook 01: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import json

import pytest
import torch
import torch.nn.functional as F

from attention_mechanisms import attend
from attention_mechanisms.exercises.soft_lookup import ATTENTION, EXERCISES, LOOKUP, PREDICTIONS
from utils.exercises import check, load_answer, predict, prove, solution

MISTAKES = [(exercise, label) for exercise in EXERCISES for label in exercise.mistakes]
IDS = [f"{exercise.name}-{label}" for exercise, label in MISTAKES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_exercise_is_proved(exercise):
    assert len(exercise.mistakes) >= 3, "three classic mistakes are owed"
    prove(exercise)


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=IDS)
def test_each_mistake_is_named_by_no_other_name(exercise, label):
    assert exercise.mistakes[label].source != exercise.solution, "a replacement in the source found nothing"
    message = check(exercise, load_answer(exercise.mistakes[label].source, exercise.function)).message
    assert [name for name, m in exercise.mistakes.items() if m.says in message] == [label], message


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=IDS)
def test_the_properties_alone_catch_each_mistake(exercise, label):
    """The checker does not lean on the list of known mistakes: a new one would be caught as well."""
    with pytest.raises(AssertionError):
        exercise.check(load_answer(exercise.mistakes[label].source, exercise.function))


def _lookup_as_a_loop(query, keys, values):
    scores = [sum(a * b for a, b in zip(query.tolist(), key.tolist())) for key in keys]
    shares = torch.tensor(scores).softmax(dim=0).tolist()
    return [sum(s * v for s, v in zip(shares, column)) for column in values.T.tolist()]


def _attention_by_the_module(q, k, v, mask):
    return attend(q[None, None], k[None, None], v[None, None], mask)[0, 0]


def _attention_by_torch(q, k, v, mask):
    return F.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], attn_mask=mask)[0, 0]


def _query_scaled_first(q, k, v, mask):
    scores = (q / q.size(-1) ** 0.5) @ k.T
    return torch.where(mask, scores, torch.tensor(-1e30)).softmax(-1) @ v


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (LOOKUP, _lookup_as_a_loop),
        (LOOKUP, lambda q, k, v: (k @ q).softmax(0) @ v),
        (ATTENTION, _attention_by_the_module),
        (ATTENTION, _attention_by_torch),
        (ATTENTION, _query_scaled_first),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LOOKUP, lambda q, k, v: 1.0, "not float"),
        (LOOKUP, lambda q, k, v: (k @ q).softmax(0), "the answer has shape (3,)"),
        (LOOKUP, lambda q, k, v: v[0], "the plain mean"),
        (LOOKUP, lambda q, k, v: (2 * (k @ q)).softmax(0) @ v, "shares 3/4 and 1/4"),
        (ATTENTION, lambda q, k, v, mask: v, "the answer has shape (3, 5)"),
        (ATTENTION, lambda q, k, v, mask: (q @ k.T / 2).softmax(-1) @ v, "width 9"),
        (ATTENTION, lambda q, k, v, mask: 0.5 * _attention_by_torch(q, k, v, mask), "the plain mean"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_a_prediction_answers_with_its_reason(prediction):
    found = predict(prediction.name, prediction.answer * 2)
    assert found.ratio == pytest.approx(2) and prediction.because in found.message


def _cells(project_root):
    path = project_root / "attention_mechanisms" / "01_attention_as_soft_lookup.ipynb"
    return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_notebook_asks_with_the_exercises_own_stub_and_folds_its_own_solution(exercise, project_root):
    cells = _cells(project_root)
    asked = [cell for cell in cells if f'check("{exercise.name}", {exercise.function})' in cell]
    assert len(asked) == 1, f"{exercise.name} is asked {len(asked)} times"
    assert asked[0].startswith(exercise.stub.strip()) and f'hint("{exercise.name}")' in asked[0]
    assert any(solution(exercise) in cell for cell in cells), f"not the solution of {exercise.name}"


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_the_notebook_asks_for_every_prediction(prediction, project_root):
    assert any(f'predict("{prediction.name}"' in cell for cell in _cells(project_root))
