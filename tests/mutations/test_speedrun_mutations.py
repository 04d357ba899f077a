"""Ways to cheat at the speedrun, or to fool oneself, put back one at a time: a check must catch each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import speedrun_checks as checks
import torch

from pretraining import evaluation, speedrun_board, speedrun_recipes, speedrun_run
from pretraining.speedrun_text import Characters, characters

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Characters:
    path = tmp_path_factory.mktemp("text") / "little.txt"
    drawn = random.Random(1)
    path.write_text(" ".join(drawn.choice(["to", "be", "or", "not"]) for _ in range(600)))
    return characters(str(path))


def scored_on_a_part(patch: Patch) -> None:
    real = evaluation.EvalBatches
    patch.setattr(evaluation, "EvalBatches", lambda ids, block, rows: real(ids[: len(ids) // 2], block, rows))


def scored_on_what_was_learned(patch: Patch) -> None:
    real = evaluation.EvalBatches
    patch.setattr(evaluation, "EvalBatches", lambda ids, block, rows: real(ids[::-1].copy(), block, rows))


def windows_are_averaged(patch: Patch) -> None:
    """The mean of window means: the short last one counts as much as a full one."""

    def mean(model: Any, batches: Any, **_: Any) -> Any:
        losses = []
        with torch.no_grad():
            for x, y in batches:
                losses += [float(model(a[None], targets=b[None]).loss) for a, b in zip(x, y)]
        return evaluation.EvalResult(sum(losses) / len(losses), 1, 1.0)

    patch.setattr(evaluation, "evaluate", mean)


def two_changes_at_once(patch: Patch) -> None:
    rungs = speedrun_recipes.LADDER
    doubled = replace(rungs[2], training={**rungs[2].training, "batch_size": rungs[0].training["batch_size"]})
    patch.setattr(speedrun_recipes, "LADDER", (*rungs[:2], doubled, *rungs[3:]))
    patch.setattr(checks, "LADDER", speedrun_recipes.LADDER)


def a_rung_without_a_change(patch: Patch) -> None:
    rungs = speedrun_recipes.LADDER
    patch.setattr(checks, "LADDER", (*rungs, replace(rungs[-1], name="magic", model={}, training={})))


def the_clock_is_spent_on_looking(patch: Patch) -> None:
    patch.setitem(speedrun_recipes.QUIET, "eval_every", 10)
    rung = speedrun_recipes.LADDER[0]
    plain = replace(rung, training={**rung.training, "eval_every": 10})
    patch.setattr(speedrun_recipes, "LADDER", (plain, *speedrun_recipes.LADDER[1:]))


def own_steps_are_forgotten(patch: Patch) -> None:
    real = speedrun_run.train_config
    patch.setattr(
        speedrun_run,
        "train_config",
        lambda recipe, budget, block, seed: replace(real(recipe, budget, block, seed), steps=None),
    )


def a_signature_without_the_time(patch: Patch) -> None:
    patch.setattr(speedrun_board, "SIGNED", ("corpus_sha256", "threads", "rules", "model", "training"))


def a_signature_of_the_name(patch: Patch) -> None:
    patch.setattr(speedrun_board, "SIGNED", ("name",))


def signed_board(tmp_path: Any) -> None:
    recipe = speedrun_recipes.recipe_named("best")
    row = {
        **{"recipe": "best", "loss": 1.0, "seed": 0, "seconds": 1.0, "tokens": 10, "parameters": 5},
        **{"model": dict(recipe.model), "training": dict(recipe.training)},
    }
    text = Characters("little", "1" * 64, "ab", torch.zeros(2).numpy(), torch.zeros(2).numpy())
    board = tmp_path / "board.json"
    board.unlink(missing_ok=True)
    speedrun_board.record(board, [row], text, {"budget": "seconds=1", "threads": 1, "rules": 1}, "Ada")
    checks.check_board_notices(board)


def known_recipe() -> None:
    checks.check_recipe(speedrun_recipes.recipe_named("known"))


def plain_recipe() -> None:
    checks.check_recipe(speedrun_recipes.recipe_named("plain"))


@pytest.mark.parametrize("bug", [scored_on_a_part, scored_on_what_was_learned, windows_are_averaged])
def test_a_wrong_score_is_caught(bug, text, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="the whole part counts"):
        checks.check_score(text)


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (two_changes_at_once, checks.check_ladder, "to what it was"),
    (a_rung_without_a_change, checks.check_ladder, "changes nothing"),
    (the_clock_is_spent_on_looking, plain_recipe, "not spent on looking"),
    (own_steps_are_forgotten, known_recipe, "ends after them"),
]


@pytest.mark.parametrize(("bug", "law", "said"), BUGS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_dishonest_recipe_is_caught(bug, law, said, monkeypatch):
    law()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        law()


@pytest.mark.parametrize("bug", [a_signature_without_the_time, a_signature_of_the_name])
def test_a_weak_signature_is_caught(bug, tmp_path, monkeypatch):
    signed_board(tmp_path)
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="is not what was signed"):
        signed_board(tmp_path)
