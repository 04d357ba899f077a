"""LD2 for pretraining/03: exercises are proved, other right answers pass, new wrong ones get the property."""

import json

import pytest
import torch

from pretraining.exercises.optimizers import ADAMW, EXERCISES, GALORE, ORTHO, PREDICTIONS
from pretraining.galore import state_numel
from pretraining.muon import orthogonalize
from utils.exercises import check, load_answer, predict, prove, solution

NOTEBOOK = "pretraining/03_optimizers.ipynb"
MISTAKES = [(exercise, label) for exercise in EXERCISES for label in exercise.mistakes]
ids = [f"{exercise.name}-{label}" for exercise, label in MISTAKES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_exercise_is_proved(exercise):
    assert len(exercise.mistakes) >= 3, "three classic mistakes are owed"
    prove(exercise)


@pytest.mark.parametrize(("exercise", "label"), MISTAKES, ids=ids)
def test_a_mistake_is_named_alone_and_the_properties_catch_it_without_its_name(exercise, label):
    source = exercise.mistakes[label].source
    assert source != exercise.solution, "a replacement in the source found nothing"
    answer = load_answer(source, exercise.function)
    message = check(exercise, answer).message
    assert [other for other, m in exercise.mistakes.items() if m.says in message] == [label], message
    with pytest.raises(AssertionError):
        exercise.check(answer)


def _adamw_in_place(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    fix = (1 - beta2**t) ** 0.5
    return p * (1 - lr * decay) - lr / (1 - beta1**t) * m * fix / (v.sqrt() + eps * fix), m, v


def _by_the_other_gram_matrix(g):
    x = g.T / g.pow(2).sum().sqrt()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x @ (x.T @ x) + 2.0315 * x @ (x.T @ x) @ (x.T @ x)
    return x.T


def test_other_right_answers_pass():
    assert check(ADAMW, _adamw_in_place)
    assert check(GALORE, lambda m, n, r: state_numel((m, n), r))
    assert check(ORTHO, _by_the_other_gram_matrix)
    assert check(ORTHO, lambda g: orthogonalize(g[None], dtype=torch.float64)[0])


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (ADAMW, lambda p, *rest, **kinds: p, "three tensors"),
        (ADAMW, lambda p, g, m, v, t, **kinds: (p - 0.1 * g, m, v), "the first step without decay"),
        (GALORE, lambda m, n, r: "many", "give a number"),
        (GALORE, lambda m, n, r: m * r + 2 * r * n if r < min(m, n) else 2 * m * n, "the short side is projected"),
        (ORTHO, lambda g: g.T, "the shape stays"),
        (ORTHO, lambda g: torch.linalg.svd(g, full_matrices=False)[0] @ torch.linalg.svd(g, full_matrices=False)[2],
         "singular value goes through"),
    ],
)  # fmt: skip
def test_a_wrong_answer_that_nobody_named_gets_the_property(exercise, answer, words):
    result = check(exercise, answer)
    assert not result and words in result.message, result.message


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_a_prediction_answers_with_its_ratio(prediction, capsys):
    assert predict(prediction.name, prediction.answer).ratio == 1
    assert prediction.because


def test_the_notebook_asks_each_exercise_with_its_own_stub_and_each_prediction(project_root):
    path = project_root / NOTEBOOK
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    for exercise in EXERCISES:
        asked = [cell for cell in cells if f'check("{exercise.name}", {exercise.function})' in cell]
        assert len(asked) == 1, f"{exercise.name} is asked {len(asked)} times"
        assert asked[0].startswith(exercise.stub.strip()) and f'hint("{exercise.name}")' in asked[0]
        assert any(solution(exercise) in cell for cell in cells), f"not the solution of {exercise.name}"
    for prediction in PREDICTIONS:
        assert any(f'predict("{prediction.name}"' in cell for cell in cells), (
            f"nobody is asked {prediction.name}"
        )
