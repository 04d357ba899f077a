"""LD2 for deployment/01: other right answers pass, wrong ones get the property that fails; solutions are ours."""

import math
from pathlib import Path

import pytest

from deployment.exercises.from_laptop_to_cloud import (
    FREE,
    INTERVAL,
    PREDICTIONS,
    VERDICT,
    overhead,
    simulate,
)
from deployment.lease import Lease
from deployment.places import Place
from utils.exercises import check, load_answer


def _by_search(save, life):
    return min((math.exp(n / 500) for n in range(8000)), key=lambda t: overhead(t, save, life))


def _by_parts(note, now):
    if note is None:
        return True
    return bool(note["renewed"] + note["seconds"] < now)


def _by_table(code, began, step):
    return {0: "complete", 2: "failed", 130: "again"}.get(code) or ("again" if step - began > 0 else "failed")


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(INTERVAL, _by_search), (FREE, _by_parts), (VERDICT, _by_table)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (INTERVAL, lambda save, life: 600.0, "loses less than your"),
        (INTERVAL, lambda save, life: "often", "seconds above 0"),
        (INTERVAL, lambda save, life: -1.0, "seconds above 0"),
        (FREE, lambda note, now: False, "the place is free"),
        (FREE, lambda note, now: note is None or abs(now - note["renewed"]) >= 10, "may be at work"),
        (VERDICT, lambda code, began, step: "again" if code else "complete", "as bad at the tenth attempt"),
        (VERDICT, lambda code, began, step: "", "is the end of the job"),
    ],
    ids=["constant", "text", "negative", "never", "own length", "all again", "nothing"],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solution_of_the_lease_is_what_the_module_does(tmp_path):
    free = load_answer(FREE.solution, FREE.function)
    for age in (0.0, 20.0, 29.0, 31.0, 500.0):
        mine = Lease(Place(Path(tmp_path)), "a/b", now=lambda: 1000.0)
        note = {"host": "another", "pid": 1, "token": "t", "renewed": 1000.0 - age, "seconds": 30.0}
        assert free(note, 1000.0) == mine._is_free(note), age
    assert free(None, 1000.0) is True


def test_the_simulation_agrees_with_the_formula_and_is_seeded():
    assert simulate(300, 10, 3600, 36000, seed=3) == simulate(300, 10, 3600, 36000, seed=3)
    assert simulate(300, 10, 1e12, 36000)[0] == pytest.approx(36000 + 120 * 10), (
        "a machine that never dies only saves"
    )
    runs = [simulate(400.0, 20.0, 7200.0, 72000.0, seed=seed)[0] for seed in range(200)]
    assert sum(runs) / 200 / 72000 - 1 == pytest.approx(overhead(400.0, 20.0, 7200.0), rel=0.15)


def test_the_predictions_are_what_the_code_gives():
    from deployment.cost import Gpu, estimate, training_hours
    from deployment.lease import SECONDS

    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    kill = [step % 20 for step in range(20)]
    assert answers["steps_lost_by_a_kill"] == pytest.approx(sum(kill) / 20, abs=1)
    one, eight = (
        estimate(gpu, hours=training_hours(1e18, gpu)).dollars for gpu in (Gpu("H100"), Gpu("H100", 8))
    )
    assert eight / one == pytest.approx(answers["price_of_eight_against_one"])
    assert answers["seconds_until_a_dead_machine_is_replaced"] == SECONDS
