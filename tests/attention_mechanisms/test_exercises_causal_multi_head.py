"""LD2 for notebook 02: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import json
from types import SimpleNamespace

import pytest
import torch

from attention_mechanisms import MultiHeadAttention, causal_mask, window_mask
from attention_mechanisms.exercises.causal_multi_head import EXERCISES, JOIN, MASK, PREDICTIONS, SPLIT
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
    with pytest.raises((AssertionError, RuntimeError)):
        exercise.check(load_answer(exercise.mistakes[label].source, exercise.function))


def _mask_by_positions(q_len, k_len):
    keys = torch.arange(k_len)
    return keys[None, :] <= keys[k_len - q_len :, None]


def _split_by_chunks(x, n_head):
    return torch.stack(x.chunk(n_head, dim=-1), dim=1)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (MASK, _mask_by_positions),
        (MASK, causal_mask),
        (MASK, lambda q_len, k_len: [[k <= q + k_len - q_len for k in range(k_len)] for q in range(q_len)]),
        (SPLIT, _split_by_chunks),
        (SPLIT, lambda x, n_head: x.unflatten(-1, (n_head, -1)).transpose(1, 2)),
        (JOIN, lambda y: torch.cat(y.unbind(dim=1), dim=-1)),
        (JOIN, lambda y: y.transpose(1, 2).flatten(2)),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (MASK, lambda q_len, k_len: q_len, "give a tensor, not int"),
        (MASK, lambda q_len, k_len: causal_mask(q_len, k_len).int(), "give booleans"),
        (MASK, lambda q_len, k_len: window_mask(q_len, k_len, 3), "the last query is the newest token"),
        (MASK, lambda q_len, k_len: causal_mask(q_len, k_len).flip(1), "whoever sees a key"),
        (SPLIT, lambda x, n_head: x, "(batch, heads, tokens, numbers)"),
        (SPLIT, lambda x, n_head: _split_by_chunks(x.flip(-1), n_head), "has the channels"),
        (SPLIT, lambda x, n_head: _split_by_chunks(x.flip(1), n_head), "tokens got mixed up"),
        (JOIN, lambda y: y, "all its heads side by side"),
        (JOIN, lambda y: torch.cat(y.flip(1).unbind(dim=1), dim=-1), "has the channels"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_joining_undoes_splitting_and_both_are_what_the_module_does():
    """A layer whose projections hand everything through returns what the two exercises make of its input."""
    split, join = (load_answer(e.solution, e.function) for e in (SPLIT, JOIN))
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(join(split(x, 3)), x)
    config = SimpleNamespace(
        n_embd=12, n_head=3, dropout=0.0, bias=False, position="learned", attn_backend="manual"
    )
    layer = MultiHeadAttention(config)
    with torch.no_grad():
        layer.qkv_proj.weight.copy_(torch.eye(12).repeat(3, 1))
    for ours, theirs in zip((split(x, 3),) * 3, layer.project(x), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_a_prediction_answers_with_its_reason(prediction):
    found = predict(prediction.name, prediction.answer * 2)
    assert found.ratio == pytest.approx(2) and prediction.because in found.message


def _cells(project_root):
    path = project_root / "attention_mechanisms" / "02_causal_multi_head.ipynb"
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
