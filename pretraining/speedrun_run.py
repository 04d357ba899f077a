"""One run of the speedrun: a recipe, a budget and a seed go in, a row of results comes out.

The idea: the clock that counts is the trainer's own, which starts before the first step and runs through compilation,
data, logging and everything else that happens inside `fit`; what is outside is the drawing of the initial weights and
the final score. The score is taken in float32 whatever the recipe trains in, on windows that do not overlap.
Left out: checkpoints and samples, which a recipe would pay for.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

from pretraining.speedrun_recipes import Recipe
from pretraining.speedrun_text import Characters
from utils.errors import UserError

EVAL_ROWS = 64  # windows that are scored at a time
CURVE_POINTS = 60


def parse_budget(text: str) -> tuple[str, float]:
    """("seconds", 180.0) of "seconds=180".

    >>> parse_budget("tokens=5_000_000")
    ('tokens', 5000000.0)
    """
    unit, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if unit not in ("seconds", "tokens") or not (value > 0 and math.isfinite(value)):
        raise UserError(f"budget is {text!r}: write seconds=180 or tokens=5000000")
    return unit, value


def train_config(recipe: Recipe, budget: str, block_size: int, seed: int) -> Any:
    """The recipe as a `TrainConfig` whose budget is that of the run; a recipe's own `steps` end it sooner."""
    from pretraining.config import TrainConfig
    from utils.config import load_config

    unit, value = parse_budget(budget)
    settings: dict[str, Any] = {**recipe.training, "seed": seed}
    if unit == "seconds":
        settings["minutes"] = value / 60
    else:
        per_step = settings.get("batch_size", 16) * settings.get("grad_accum", 1) * block_size
        steps = max(1, math.ceil(value / per_step))
        settings["steps"] = min(steps, settings.get("steps") or steps)
    return load_config(TrainConfig, None, [f"{key}={word(value)}" for key, value in settings.items()])


def word(value: Any) -> str:
    """A setting as `key=value` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def run_one(recipe: Recipe, text: Characters, budget: str, seed: int, *, bar: bool = True) -> dict[str, Any]:
    """Train by the recipe, score on the whole of `text.val`: a row of the results.

    Raises KeyboardInterrupt when someone asked to stop, so that no half-trained row is kept.
    """
    import torch

    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from pretraining.evaluation import EvalBatches, evaluate
    from pretraining.progress import ProgressBar
    from pretraining.trainer import Trainer
    from utils.seeding import set_seed
    from working_with_text_data.windows import BatchLoader

    shape = GPTConfig.from_dict({**recipe.model, "vocab_size": len(text.alphabet)})
    config = train_config(recipe, budget, shape.block_size, seed)
    torch._dynamo.reset()  # what an earlier row compiled is not given to this one
    set_seed(seed)
    model = GPT(shape)
    watch = _watch()
    shown = ProgressBar(title=f"{recipe.name} seed {seed}") if bar else None
    batches = BatchLoader(text.train, config.batch_size, shape.block_size, seed=seed)
    trainer = Trainer(model, config, batches, callbacks=[watch, *([shown] if shown else [])])
    speed = machine_speed()
    try:
        result = trainer.fit()
    finally:
        if shown:
            shown.close()
    if result.status != "complete":
        raise KeyboardInterrupt
    started = time.perf_counter()
    judged = evaluate(
        model, EvalBatches(text.val, shape.block_size, EVAL_ROWS)
    )  # in float32, outside the time
    return {
        "recipe": recipe.name,
        "hash": recipe.hash,
        "budget": budget,
        "seed": seed,
        "loss": judged.loss,
        "bits_per_character": judged.loss / math.log(2),
        "characters_judged": judged.tokens,
        "seconds": watch.times[-1],
        "seconds_of_first_step": watch.times[0],
        "seconds_of_scoring": time.perf_counter() - started,
        "steps": len(watch.times),
        "tokens": result.tokens,
        "tokens_per_second": result.tokens / watch.times[-1],
        "skipped": result.skipped_nonfinite + result.skipped_empty,
        "parameters": model.num_parameters(),
        "train_loss": sum(watch.losses[-20:]) / len(watch.losses[-20:]),
        "curve": watch.curve(CURVE_POINTS),
        "gemm_gflops": speed,
        "model": dict(recipe.model),
        "training": dict(recipe.training),
    }


def _watch() -> Any:
    """A callback that notes the time and the loss of every step."""
    from pretraining.callbacks import Callback

    class Watch(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []
            self.losses: list[float] = []

        def on_step_end(self, trainer: Any, record: dict[str, Any]) -> None:
            self.times.append(record["elapsed"])
            self.losses.append(record["loss"])

        def curve(self, points: int) -> list[list[float]]:
            """[seconds, mean loss] of so many equal parts of the run."""
            size = math.ceil(len(self.times) / points)
            parts = [slice(at, at + size) for at in range(0, len(self.times), size)]
            return [
                [round(self.times[p][-1], 3), round(sum(self.losses[p]) / len(self.losses[p]), 5)]
                for p in parts
            ]

    return Watch()


def machine_speed(size: int = 512, rounds: int = 20) -> dict[str, float]:
    """The best rate of a square matrix product now, GFLOP/s: rows of a busy machine are known by it."""
    import torch

    rates = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        best = math.inf
        for _ in range(rounds):
            started = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - started)
        rates[name] = 2 * size**3 / best / 1e9
    return rates
