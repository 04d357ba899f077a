"""LD2 for pretraining/06: exercises are proved, other right answers pass, wrong ones get the property that fails."""

import copy

import pytest
import torch

from pretraining.checkpoints import save_checkpoint, step_folders
from pretraining.exercises.checkpoints_and_resume import (
    KEPT,
    PLAN,
    PREDICTIONS,
    SCORES,
    SNAPSHOT,
    outcomes,
)
from utils.exercises import check, load_answer


def _deep(run):
    return {**copy.deepcopy({k: v for k, v in vars(run).items() if k != "rng"}), "rng": run.rng.getstate()}


def _careful(name, data):
    return [("write", "x", data), ("sync", "x"), ("sync", "x"), ("rename", "x", name), ("sync", name)]


def _by_loop(losses, last, best):
    stay = set(list(dict(sorted(losses.items())))[-last:])
    scored = {s: x for s, x in losses.items() if x is not None}
    for _ in range(best):
        if scored:
            stay.add(min(scored, key=scored.get))
            scored.pop(min(scored, key=scored.get))
    return stay


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(SNAPSHOT, _deep), (PLAN, _careful), (KEPT, _by_loop)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (SNAPSHOT, lambda run: list(run.weights), "give a dict, not list"),
        (SNAPSHOT, lambda run: {"weights": list(run.weights)}, "a part is missing: position, rng, velocity"),
        (
            SNAPSHOT,
            lambda run: {**_deep(run), "weights": [round(w, 3) for w in run.weights]},
            "to the last bit",
        ),
        (PLAN, lambda name, data: "write it", "a list of tuples"),
        (PLAN, lambda name, data: [("move", "a", name)], "is no operation of this disk"),
        (PLAN, lambda name, data: [("sync", name)], "the new content must be there"),
        (PLAN, lambda name, data: [*_careful(name, data), ("write", "more", "x")], "more is left behind"),
        (
            PLAN,
            lambda name, data: [("rename", name, "old"), *_careful(name, data), ("remove", "old")],
            "the reader finds nothing",
        ),
        (KEPT, lambda losses, last, best: list(losses), "a set of steps"),
        (KEPT, lambda losses, last, best: set(losses), "at most 2 stay"),
        (KEPT, lambda losses, last, best: {1}, "only steps that were saved"),
        (
            KEPT,
            lambda losses, last, best: _by_loop(
                {s: 2.95 if x is None else x for s, x in losses.items()}, last, best
            ),
            "a step without a loss is never among the best",
        ),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_modules_do(tmp_path):
    kept = load_answer(KEPT.solution, KEPT.function)
    for step, loss in SCORES.items():
        save_checkpoint(
            tmp_path, step, save_model=lambda folder: None, state={}, score=loss, keep_last=2, keep_best=2
        )
        past = {s: x for s, x in SCORES.items() if s <= step}
        assert {int(p.name[5:]) for p in step_folders(tmp_path)} == kept(past, 2, 2)
    plan = load_answer(PLAN.solution, PLAN.function)
    assert set(outcomes(plan("a", "new content"), "a", "old", "new content")) == {"old", "new"}


def test_the_predictions_are_what_the_code_gives(tmp_path):
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    p = torch.nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.AdamW([p])
    p.grad = torch.ones(1000)
    optimizer.step()
    save_checkpoint(tmp_path, 1, save_model=lambda f: None, state={"p": p, "o": optimizer.state_dict()})
    size = (tmp_path / "step_000001" / "trainer.safetensors").stat().st_size
    assert round(size / 1000) == answers["bytes_per_parameter_in_a_checkpoint"]
    assert answers["losses_that_differ_after_a_resume"] == 0 == answers["operations_at_which_a_kill_may_hurt"]
