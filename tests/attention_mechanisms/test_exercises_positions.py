"""LD2 for notebook 04 of attention: right answers pass however they are written, wrong ones get a lesson."""

import json
import math

import pytest
import torch

from attention_mechanisms import alibi_bias, alibi_slopes
from attention_mechanisms.exercises.positions import ALIBI, EXERCISES, PREDICTIONS, ROTATE
from attention_mechanisms.positions import RotaryPositions
from utils.exercises import check, load_answer, predict, prove, solution

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


def _rotate_of_the_module(x, position, theta):
    rope = RotaryPositions(len(x), 64, theta=theta, layout="interleaved").double()
    if position != int(position):  # the checker turns by a quarter as well
        a, b = x
        return [
            a * math.cos(position) - b * math.sin(position),
            b * math.cos(position) + a * math.sin(position),
        ]
    return rope.rotate(torch.tensor([[[x]]], dtype=torch.float64), torch.tensor([int(position)])).flatten()


def _alibi_of_the_module(n_head, n_tokens):
    where = torch.arange(n_tokens)
    return alibi_bias(alibi_slopes(n_head), where, where)


def _alibi_by_the_key_alone(n_head, n_tokens):
    """slope · key: another number in each row, the same softmax."""
    return (alibi_slopes(n_head)[:, None, None] * torch.arange(n_tokens)).expand(-1, n_tokens, -1)


def _alibi_with_the_mask(n_head, n_tokens):
    tables = _alibi_of_the_module(n_head, n_tokens)
    return tables.masked_fill(torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1), -math.inf).tolist()


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (ROTATE, _rotate_of_the_module),
        (ALIBI, _alibi_of_the_module),
        (ALIBI, _alibi_by_the_key_alone),
        (ALIBI, _alibi_with_the_mask),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (ROTATE, lambda x, position, theta: "x", "a list of numbers, not str"),
        (ROTATE, lambda x, position, theta: [0.0] * len(x), "at position 0 nothing turns"),
        (ALIBI, lambda n_head, n_tokens: 0.0, "a table for each head"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(3, n_tokens, n_tokens), "1 heads but 3 tables"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(n_head, 1, n_tokens), "4 rows (queries)"),
        (ALIBI, lambda n_head, n_tokens: torch.zeros(n_head, n_tokens, n_tokens), "has the slope"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_predictions_answer_with_what_the_module_computes():
    from attention_mechanisms.positions import rope_angles

    radians = rope_angles(64, 2)[1, -1].item()
    assert predict("slowest_turn", 1000).answer == pytest.approx(2 * math.pi / radians)
    slope = alibi_slopes(8)[0].item()
    assert math.exp(-slope * predict("alibi_reach", 50).answer) == pytest.approx(0.01)


def test_the_notebook_asks_each_exercise_with_its_own_stub_and_each_prediction(project_root):
    path = project_root / "attention_mechanisms" / "04_positions.ipynb"
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
