"""LD2 for notebook 01: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch

from pretraining.exercises.trusted_loop import GROUPS, RATE, WEIGHTS
from pretraining.optimizers import decay_groups, trainable
from pretraining.schedules import lr_multiplier
from utils.exercises import check, load_answer


def _groups_by_dict(parameters):
    one = {tensor: (name, shape) for name, (shape, tensor) in reversed(list(parameters.items()))}
    return [n for n, s in one.values() if len(s) > 1], [n for n, s in one.values() if len(s) <= 1]


def _rate_by_module(step, steps, warmup, peak, floor):
    return peak * lr_multiplier(
        "cosine", step / steps, warmup=warmup / steps, floor=floor / peak, step_size=1 / steps
    )


def _weights_by_torch(labelled):
    counts = torch.tensor(labelled, dtype=torch.float64)
    return counts / counts.sum().clamp(min=1)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(GROUPS, _groups_by_dict), (RATE, _rate_by_module), (WEIGHTS, _weights_by_torch)],
    ids=lambda part: getattr(part, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (GROUPS, lambda parameters: list(parameters), "give two lists"),
        (GROUPS, lambda parameters: (["nothing"], []), "no parameter of this model"),
        (
            GROUPS,
            lambda parameters: ([n for n, (s, _) in parameters.items() if len(s) > 1][:1], []),
            "never learns",
        ),
        (RATE, lambda *a: "fast", "give a number for step 0"),
        (RATE, lambda *a: 0.0, "step 0 has rate 0"),
        (RATE, lambda step, steps, warmup, peak, floor: peak, "of the warm-up has"),
        (WEIGHTS, lambda counts: 1.0, "one weight for each"),
        (WEIGHTS, lambda counts: [float("nan")] * len(counts), "no division by 0"),
        (
            WEIGHTS,
            lambda counts: [1.0 / len(counts) if sum(counts) else 0.0] * len(counts),
            "15 times as much",
        ),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solution_of_groups_is_the_modules_on_a_real_model():
    from training_checks import tiny_model

    model = tiny_model(tie_weights=True)
    answer = load_answer(GROUPS.solution, GROUPS.function)
    ours = answer(
        {name: (tuple(p.shape), id(p)) for name, p in model.named_parameters(remove_duplicate=False)}
    )
    theirs = decay_groups(trainable(model), 0.1)
    assert [sorted(names) for names in ours] == [sorted(n for n, _ in group["params"]) for group in theirs]
