"""`python -m pretraining.benchmark_overheads`: what a run spends on anything but training.

    python -m pretraining.benchmark_overheads
    python -m pretraining.benchmark_overheads n_layer=4 n_embd=128 block_size=64 batch_size=12

A real `Trainer.fit` with a run folder, a metrics sink, samples and checkpoints, which does each of them every few steps
so that a short run measures them often. What each costs at the *default* cadences is then arithmetic: its seconds over
the steps between two of them. Goals: evaluation, logging and samples under 5 % of training time (samples as often as
evaluations, though they are off by default), a save blocks the loop for less than 50 ms at 10 M parameters, and drawing
a batch takes under 1 % of a step. Left out: the time that the thread behind an asynchronous save takes from later
steps, and the final evaluation. Writes results/overheads.json.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

RESULT = Path(__file__).parent / "results" / "overheads.json"
GOALS = {"around_share": 0.05, "save_block_s": 0.05, "loader_share": 0.01}
WORDS = {
    "around_share": "evaluation, logging and samples, share of training time",
    "save_block_s": "a save blocks the loop, seconds",
    "loader_share": "drawing a batch, share of a step",
}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class OverheadsConfig:
    """The model and how long it is watched."""

    n_layer: int = _key(6, "layers")
    n_head: int = _key(6, "heads")
    n_embd: int = _key(384, "width: 10.8 M parameters by default")
    block_size: int = _key(256, "tokens a row")
    batch_size: int = _key(16, "rows")
    steps: int = _key(13, "steps, the first of which is not counted")
    every: int = _key(4, "steps between evaluations, samples and saves in this run")
    eval_tokens: int = _key(32768, "tokens of an evaluation; the default of training")
    threads: int = _key(2, "threads of torch")
    seed: int = _key(0, "of weights and tokens")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        if self.every < 1 or self.steps <= self.every:
            raise UserError(
                f"steps is {self.steps} and every {self.every}: take more steps than every, at least 1"
            )


class Watch:
    """Seconds of each call of what it wraps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds.setdefault(name, []).append(time.perf_counter() - started)

        return timed

    def typical(self, name: str) -> float:
        """The median of its calls after the first one, or that one."""
        found = self.seconds.get(name, [0.0])
        return median(found[1:] or found)


class WatchedBatches:
    """A loader whose every draw is timed; all else is its own."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self.inner, self.draw = inner, watch.around("loader", inner.__next__)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.draw()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def measure(config: OverheadsConfig) -> dict[str, Any]:
    """Seconds of each part, and its share of training time at the default cadences."""
    import numpy as np
    import torch

    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from pretraining.config import TrainConfig
    from pretraining.evaluation import EvalBatches
    from pretraining.trainer import Trainer
    from utils.runs import Run
    from utils.tracking import CsvSink
    from working_with_text_data.byte_tokenizer import ByteTokenizer
    from working_with_text_data.windows import BatchLoader

    torch.manual_seed(config.seed)
    tokenizer = ByteTokenizer()
    sizes = {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "block_size")}
    model = GPT(GPTConfig(tokenizer.vocab_size, mlp="gelu", **sizes))
    tokens = np.random.default_rng(config.seed).integers(97, 123, size=config.eval_tokens + 1)  # a to z
    watch = Watch()
    batches = WatchedBatches(
        BatchLoader(tokens, config.batch_size, config.block_size, seed=config.seed), watch
    )
    often: dict[str, Any] = {f"{what}_every": config.every for what in ("eval", "sample", "save")}
    told = TrainConfig(
        steps=config.steps, device="cpu", log_every=1, eval_tokens=config.eval_tokens, keep_last=2, **often
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        run = Run.create("overheads", {}, root=Path(folder))
        sink = stack.enter_context(contextlib.closing(CsvSink(run.path / "metrics.csv")))
        validation = EvalBatches(tokens, config.block_size, config.batch_size)
        trainer: Any = Trainer(
            model, told, batches, val_batches=validation, run=run, tokenizer=tokenizer, sinks=[sink]
        )
        for name, method in (("log", "_log"), ("eval", "evaluate"), ("sample", "sample"), ("save", "save")):
            setattr(trainer, method, watch.around(name, getattr(trainer, method)))
        trainer.throughput.count = _steps(trainer.throughput.count, watch)
        trainer.fit()
        run.close()
    parts = {name: watch.typical(name) for name in ("loader", "step", "log", "eval", "sample", "save")}
    usual = TrainConfig()
    around = parts["log"] / usual.log_every + (parts["eval"] + parts["sample"]) / usual.eval_every
    saving = parts["save"] / usual.save_every
    return {
        "parameters": model.num_parameters(),
        "seconds": parts,
        "around_share": around / (parts["step"] + around),
        "save_block_s": max(watch.seconds["save"][1:] or watch.seconds["save"]),
        "save_share": saving / (parts["step"] + saving),
        "loader_share": parts["loader"] / parts["step"],
        "cadences": {"log": usual.log_every, "eval": usual.eval_every, "save": usual.save_every},
        "events": {name: len(seconds) for name, seconds in watch.seconds.items()},
    }


def _steps(count: Callable[..., None], watch: Watch) -> Callable[..., None]:
    """The trainer tells `count` how long each step took; so do we."""

    def counted(now: Any, micro_batches: Any, seconds: float) -> None:
        watch.seconds.setdefault("step", []).append(seconds)
        count(now, micro_batches, seconds)

    return counted


def main(argv: list[str] | None = None) -> int:
    """Measure, write the result, print goal and reached."""
    config, _ = parse_args(
        argv,
        OverheadsConfig,
        prog="python -m pretraining.benchmark_overheads",
        description=(__doc__ or "").split("\n\n")[0],
    )
    import torch

    from utils.device import keep_freed_memory
    from utils.timing import write_result

    torch.set_num_threads(config.threads)
    keep_freed_memory()
    figures = {**measure(config), "goals": GOALS, "load_average": os.getloadavg()[0]}
    for name, goal in GOALS.items():
        reached = figures[name]
        verdict = "reached" if reached < goal else "not reached"
        print(f"{WORDS[name]}: {reached:.4f} (goal under {goal}: {verdict})")
    command = " ".join(["python -m pretraining.benchmark_overheads", *command_words(config)])
    print(write_result(config.out, name="overheads", figures=figures, command=command, seed=config.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
