"""LD2 for notebook 03: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import math

import pytest
import torch
from torch.nn.functional import gelu

from gpt_model.exercises.real_weights import FIRST, INTERLEAVE, PREDICTIONS, TO_LINEAR
from gpt_model.huggingface_layouts import to_half_split
from gpt_model.import_gpt2 import BLOCK_KEYS, TOP_KEYS
from utils.exercises import check, load_answer


def _linear_by_list(tensors):
    turned = {
        "h.0.attn.c_attn.weight",
        "h.0.attn.c_proj.weight",
        "h.0.mlp.c_fc.weight",
        "h.0.mlp.c_proj.weight",
    }
    return {name: tensors[name].t().contiguous() if name in turned else tensors[name] for name in tensors}


def _interleave_by_loop(weight, n_head):
    dim = weight.size(0) // n_head
    order = [
        head * dim + half * (dim // 2) + pair
        for head in range(n_head)
        for pair in range(dim // 2)
        for half in (0, 1)
    ]
    return weight[order]


def _first_by_list(ours, theirs, limit):
    def far(place):
        return not bool(((ours[place] - theirs[place]).abs() <= limit * theirs[place].abs().max()).all())

    return next((place for place in theirs if far(place)), None)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(TO_LINEAR, _linear_by_list), (INTERLEAVE, _interleave_by_loop), (FIRST, _first_by_list)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (TO_LINEAR, lambda tensors: 1, "a dict of tensors, not int"),
        (TO_LINEAR, lambda tensors: {"wte.weight": tensors["wte.weight"]}, "every tensor comes back"),
        (TO_LINEAR, lambda tensors: {n: -t for n, t in tensors.items()}, "is no Conv1D weight: it stays"),
        (TO_LINEAR, lambda tensors: {n: 2 * t if t.dim() == 2 and "w" not in n[:1] else t
                                     for n, t in _linear_by_list(tensors).items()}, "must give what x @ weight"),
        (INTERLEAVE, lambda weight, n_head: 1, "a tensor, not int"),
        (INTERLEAVE, lambda weight, n_head: weight[:2], "rows are moved, not made"),
        (INTERLEAVE, lambda weight, n_head: weight * 2, "every row must be there once"),
        (INTERLEAVE, lambda weight, n_head: weight.flip(0), "must find the same scores"),
        (FIRST, lambda ours, theirs, limit: "logits", "so there is no first place"),
        (FIRST, lambda *runs: _first_by_list(*runs) and "logits", "the first place, in order"),
    ],
)  # fmt: skip
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_modules_do():
    to_linear = load_answer(TO_LINEAR.solution, TO_LINEAR.function)
    names = [*TOP_KEYS, *(f"h.0.{name}" for name in BLOCK_KEYS)]
    given = {name: torch.randn(4, 6) for name in names}
    turned = {name for name, tensor in to_linear(given).items() if tensor.shape == (6, 4)}
    assert turned == {f"h.0.{name}" for name, (_, conv1d) in BLOCK_KEYS.items() if conv1d}
    weight = torch.randn(24, 5)
    moved = load_answer(INTERLEAVE.solution, INTERLEAVE.function)(weight, 3)
    assert torch.equal(to_half_split(moved, 3), weight), "the exporter's map is the way back"


def test_the_predictions_are_true():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    x = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    gap = float((gelu(x) - gelu(x, approximate="tanh")).abs().max())
    assert math.isclose(answers["largest_gap_of_two_gelus"], gap, rel_tol=1e-3)
    width = 48
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    assert answers["conv1d_that_fit_unturned"] == sum(a == b for a, b in shapes)
