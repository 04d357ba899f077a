"""LD2 for pretraining/02: exercises are proved, other right answers pass, wrong ones hear the property that fails."""

import json

import pytest
import torch
import torch.nn.functional as F

from gpt_model.config import preset
from gpt_model.mfu import multiplied_parameters, utilisation
from pretraining.exercises.fast_step import AMDAHL, EXERCISES, LOSS, MFU, PREDICTIONS
from pretraining.fast_loss import into_gradient
from utils.exercises import check, load_answer, predict, prove, solution

NOTEBOOK = "pretraining/02_faster_measure_then_change.ipynb"
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


def _by_autograd(logits, targets):
    leaf = logits.requires_grad_()
    loss = F.cross_entropy(leaf, targets, ignore_index=-100)
    return loss, torch.autograd.grad(loss, leaf)[0]


def _by_the_module(logits, targets):
    counted = (targets != -100).unsqueeze(1)
    losses = into_gradient(logits, targets, wanted=True)
    return (losses * counted).sum() / counted.sum(), logits * counted / counted.sum()


def test_other_right_answers_pass():
    assert check(LOSS, _by_autograd)
    assert check(LOSS, _by_the_module)
    assert check(AMDAHL, lambda share, factor: factor / (factor * (1 - share) + share))
    assert check(MFU, lambda n, L, w, T, speed, peak: speed / (peak / (6 * n + 12 * L * w * T)))


def test_the_formula_of_the_exercise_is_that_of_the_model_chapter():
    c = preset("gpt2")
    answer = load_answer(MFU.solution, "mfu")
    own = answer(multiplied_parameters(c), c.n_layer, c.n_embd, 1024, 1000.0, 1e15)
    assert own == pytest.approx(utilisation(c, 1024, 1000.0, 1e15), rel=1e-12)


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (MFU, lambda *numbers: "much", "give a number"),
        (MFU, lambda n, *rest: 6.0 * n, "a token costs 6 N"),
        (AMDAHL, lambda share, factor: factor, "when nothing of it gets faster"),
        (AMDAHL, lambda share, factor: None if share == 1 else 1.0, "give a number"),
        (LOSS, lambda logits, targets: logits, "give two things back"),
        (LOSS, lambda logits, targets: (0.0, logits[0]), "a number for each logit"),
        (LOSS, lambda logits, targets: (7.0, logits), "with a label in each row the loss is"),
    ],
)
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
