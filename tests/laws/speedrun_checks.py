"""Laws of the speedrun, as functions that raise: an honest ladder, a whole score, a board that notices.

The reference for a score is a loop over windows and places with a log-softmax in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_model import GPT, GPTConfig
from gpt_model.costs import skeleton
from pretraining import speedrun_board, speedrun_run
from pretraining.optimizers import build_optimizer
from pretraining.speedrun_recipes import LADDER, Recipe, ladder, recipe_named
from pretraining.speedrun_text import Characters
from utils.errors import UserError

TINY = {"n_layer": 1, "n_embd": 16, "n_head": 2, "block_size": 16, "ngram_rows": []}


def check_ladder() -> None:
    """A rung changes at least one setting of the rung below, says why and from where, and sets nothing that was so."""
    names = [rung.name for rung in LADDER]
    assert names[0] == "plain" and len(set(names)) == len(names), f"rungs have names of their own: {names}"
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for rung in LADDER:
        assert rung.what and rung.why and rung.paper, (
            f"{rung.name} must say what it is, why, and who found it"
        )
        assert rung.model or rung.training, f"{rung.name} changes nothing"
        for held, new in ((model, rung.model), (training, rung.training)):
            idle = [key for key, value in new.items() if key in held and held[key] == value]
            assert not idle, f"{rung.name} sets {idle} to what it was: a rung is what it changes"
            held.update(new)
    recipes = ladder()
    assert len({recipe.hash for recipe in recipes}) == len(recipes), "two rungs are the same recipe"
    assert (recipes[-1].model, recipes[-1].training) == (model, training), "the top is all changes together"


def check_recipe(recipe: Recipe) -> None:
    """The model can be built, the training is valid, and a step's optimizer finds its parameters."""
    shape = GPTConfig.from_dict({**recipe.model, "vocab_size": 65})
    assert skeleton(shape).num_parameters() > 0
    config = speedrun_run.train_config(recipe, "seconds=180", shape.block_size, 0)
    assert config.minutes == 3.0 and config.device == "cpu"
    assert not (config.eval_every or config.save_every or config.log_every), (
        "the clock is not spent on looking"
    )
    assert config.steps == recipe.training.get("steps"), "a recipe that names its steps ends after them"
    counted = speedrun_run.train_config(recipe, "tokens=4096", shape.block_size, 0)
    assert counted.minutes is None and counted.steps is not None
    build_optimizer(GPT(GPTConfig.from_dict({**recipe.model, **TINY, "vocab_size": 65})), config)


@torch.no_grad()
def check_score(text: Characters) -> None:
    """The loss of a row is the mean over every character of the validation part but the first, in float32."""
    kept: list[GPT] = []
    real = GPT.__init__

    def init(self: GPT, config: GPTConfig) -> None:
        real(self, config)
        kept.append(self)

    recipe = recipe_named("best").changed(TINY, {"batch_size": 4})
    with pytest.MonkeyPatch.context() as patch, torch.enable_grad():
        patch.setattr(GPT, "__init__", init)
        row = speedrun_run.run_one(recipe, text, "tokens=400", 0, bar=False)
    model = kept[-1].eval()
    ids = torch.from_numpy(text.val.astype("int64"))
    total, block = 0.0, model.config.block_size
    for begin in range(0, len(ids) - 1, block):
        window = ids[begin : begin + block + 1]
        shares = model(window[None, :-1]).logits[0].double().log_softmax(-1)
        total -= sum(shares[t, window[t + 1]].item() for t in range(len(window) - 1))
    wanted = total / (len(ids) - 1)
    assert abs(row["loss"] - wanted) < 1e-5, (
        f"the row says {row['loss']:.6f}, every character of the part together {wanted:.6f}: the whole part counts, in "
        "float32, each character once"
    )


def check_board_notices(board: Path) -> None:
    """A row whose settings, text, time or rules are not those that were signed is refused by its name."""
    entries = json.loads(board.read_text())
    for key, value in (
        ("budget", "seconds=180"),
        ("threads", 64),
        ("rules", 99),
        ("corpus_sha256", "0" * 64),
        ("model", {**entries[0]["model"], "n_layer": 2}),
        ("training", {**entries[0]["training"], "lr": 9.0}),
    ):
        board.write_text(json.dumps([{**entries[0], key: value}, *entries[1:]]))
        try:
            speedrun_board.read_board(board)
        except UserError as error:
            assert entries[0]["name"] in str(error), f"the refusal must name the row: {error}"
        else:
            raise AssertionError(f"the board takes a row whose {key} is not what was signed")
    board.write_text(json.dumps(entries))
