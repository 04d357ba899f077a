"""LD2 for pretraining/05: exercises are proved, other right answers pass, new mistakes get the property that fails."""

import numpy as np
import pytest

from pretraining import scaling_study
from pretraining.exercises.scaling_on_a_laptop import BEST, PREDICTIONS, RUNG, TOKENS
from pretraining.power_laws import parabola
from pretraining.sweep_plan import make_plan, read_words
from utils.exercises import check, load_answer


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (TOKENS, lambda c, n, layers, d, t: c / (6 * n + 12 * layers * d * t)),
        (BEST, lambda sizes, losses: parabola(sizes, losses).best),
        (BEST, lambda sizes, losses: np.exp(np.polynomial.Polynomial.fit(np.log(sizes), losses, 2).deriv().roots()[0])),
        (RUNG, lambda losses, eta: [i for loss, i in sorted((loss, i) for i, loss in enumerate(losses) if loss == loss)]
            [: max(1, len(losses) // eta)]),
    ],
)  # fmt: skip
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (TOKENS, lambda c, n, layers, d, t: "many", "six FLOPs train it"),
        (TOKENS, lambda c, n, layers, d, t: c / (6 * n + 12 * layers * d), "weights and tables"),
        (BEST, lambda sizes, losses: 1.0, "bottom on a point"),
        (BEST, lambda sizes, losses: max(min(sizes), parabola(sizes, losses).best), "still has one"),
        (RUNG, lambda losses, eta: [0], "the lower half"),
        (RUNG, lambda losses, eta: sorted(range(len(losses)), key=lambda i: losses[i])[:2], "one in three"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_agree_with_the_modules():
    tokens_for = load_answer(TOKENS.solution, TOKENS.function)
    config = scaling_study.StudyConfig()
    for layers, width in zip(config.layers, config.widths):
        shape = scaling_study.shape_of(config, layers, width)
        n = scaling_study.multiplying_weights(shape)
        found = tokens_for(1e11, n, layers, width, config.block_size)
        assert found == pytest.approx(1e11 / scaling_study.flops_per_token(shape))
    axes, fixed = read_words(["lr=1,2,3,4,5", "steps=80"])
    plan = make_plan(axes, fixed, method="halving", steps=80)
    losses = [3.0, float("nan"), 1.0, 2.0, 5.0]
    go_on = load_answer(RUNG.solution, RUNG.function)
    kept = plan.survivors(dict(zip((t.id for t in plan.trials), losses)), 0)
    assert [plan.trials.index(trial) for trial in kept] == go_on(losses, plan.eta)


def test_the_predictions_are_what_the_modules_count():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    axes, fixed = read_words(["lr=" + ",".join(str(i) for i in range(1, 17)), "steps=1600"])
    taken, grid = make_plan(axes, fixed, method="halving", steps=1600).step_cost(1600)
    assert answers["steps_of_halving_16"] == taken / grid
    config = scaling_study.StudyConfig()
    middle = scaling_study.shape_of(config, 2, 40)
    assert answers["flops_of_a_million_bytes"] == scaling_study.flops_per_token(middle) * 1e6
