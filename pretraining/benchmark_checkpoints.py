"""`python -m pretraining.benchmark_checkpoints`: how long saving a checkpoint holds up training.

    python -m pretraining.benchmark_checkpoints                 a model of 10 M parameters: two minutes on two cores
    python -m pretraining.benchmark_checkpoints n_layer=2 n_embd=64 saves=2 out=/tmp/small.json

The same model is trained twice through the ordinary Trainer, saved at once and in a thread. Blocking is the time that
`Trainer.save` takes; the thread then shares cores and disk with the next steps, so the steps during a write are timed
apart from the others, and what they lose is in the table too. The first save is listed by itself: its memory was set
aside after the first step, not by an earlier save. Left out: a GPU's copy to the host; networks.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

RESULT = Path(__file__).parent / "results" / "checkpoints.json"
GOAL_MS = 50.0


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class CheckpointBenchmarkConfig:
    """The model that is saved, and how often."""

    n_layer: int = _key(6, "layers; with 6 and 368 the model has 10 M parameters")
    n_embd: int = _key(368, "width")
    saves: int = _key(6, "saves of each kind")
    steps_between: int = _key(4, "training steps between two saves")
    threads: int = _key(2, "threads of torch")
    seed: int = _key(0, "of weights and tokens")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_embd", "saves", "steps_between", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but the least is 1: set {name}=1 or more")


def measure(config: CheckpointBenchmarkConfig) -> dict[str, Any]:
    """Both ways of saving: how long the loop stood still, how long a write took, how long steps took meanwhile."""
    import torch

    torch.set_num_threads(config.threads)
    figures: dict[str, Any] = {"goal_ms": GOAL_MS, "threads": config.threads, "kinds": {}}
    for kind, beside in (("at once", False), ("in a thread", True)):
        with tempfile.TemporaryDirectory(prefix="scratchbook-saves-") as folder:
            figures["kinds"][kind] = _train(config, Path(folder), beside, figures)
    blocked = figures["kinds"]["in a thread"]["blocked_ms"]
    figures["reached_ms"] = max(blocked)
    figures["reached"] = max(blocked) <= GOAL_MS
    return figures


def _train(
    config: CheckpointBenchmarkConfig, folder: Path, beside: bool, figures: dict[str, Any]
) -> dict[str, Any]:
    """One run with saves; model and sizes go into `figures`."""
    import numpy as np

    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from pretraining.checkpoints import step_folders
    from pretraining.config import TrainConfig
    from pretraining.trainer import Trainer
    from utils.seeding import set_seed
    from working_with_text_data.windows import BatchLoader

    set_seed(config.seed)
    heads = max(h for h in (1, 2, 4, 8) if config.n_embd % h == 0)
    shape = GPTConfig(
        vocab_size=512, block_size=64, n_layer=config.n_layer, n_head=heads, n_embd=config.n_embd
    )
    model = GPT(shape)
    tokens = np.random.default_rng(config.seed).integers(512, size=20_000)
    steps = 1 + config.steps_between * config.saves
    recipe = TrainConfig(
        steps=steps, batch_size=4, save_every=0, log_every=0, eval_every=0, save_async=beside, keep_last=2
    )
    clock = _clock(config.steps_between)
    batches = BatchLoader(tokens, 4, 64, seed=config.seed)
    trainer = Trainer(model, recipe, batches, checkpoint_dir=folder, callbacks=[clock])
    trainer.fit()
    files = list(step_folders(folder)[-1].iterdir())
    figures["parameters"] = model.num_parameters()
    figures["checkpoint_bytes"] = sum(path.stat().st_size for path in files)
    row = clock.figures()
    if beside:
        row["write_s"] = clock.write_seconds(trainer)
    return row


def _clock(every: int) -> Any:
    """A callback that saves every so many steps, with a stop-watch on saves and steps."""
    from pretraining.callbacks import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.blocked: list[float] = []
            self.free: list[float] = []
            self.busy: list[float] = []
            self.begun = 0.0

        def on_step_start(self, trainer: Any) -> None:
            self.writing = trainer.saver.writing
            self.begun = time.perf_counter()

        def on_step_end(self, trainer: Any, record: dict[str, Any]) -> None:
            seconds = time.perf_counter() - self.begun
            if record["step"] > 1:  # the first one warms up
                (self.busy if self.writing else self.free).append(1e3 * seconds)
            if record["step"] > 1 and (record["step"] - 1) % every == 0:
                start = time.perf_counter()
                trainer.save()
                self.blocked.append(1e3 * (time.perf_counter() - start))

        def figures(self) -> dict[str, Any]:
            quiet = statistics.median(self.free) if self.free else None
            lost = sum(max(0.0, ms - quiet) for ms in self.busy) if quiet is not None else 0.0
            return {
                "blocked_ms": self.blocked,
                "first_ms": self.blocked[0],
                "median_ms": statistics.median(self.blocked),
                "max_ms": max(self.blocked),
                "step_ms": quiet,
                "step_while_writing_ms": statistics.median(self.busy) if self.busy else None,
                "lost_in_steps_ms_per_save": lost / len(self.blocked),
            }

        def write_seconds(self, trainer: Any) -> float | None:
            taken = trainer.saver.background.write_seconds if trainer.saver.background else []
            return statistics.median(taken) if taken else None

    return Clock()


def table(figures: dict[str, Any]) -> str:
    """The figures as a person reads them."""
    size = f"{figures['parameters'] / 1e6:.1f} M parameters, {figures['checkpoint_bytes'] / 1e6:.0f} MB a checkpoint"
    lines = [
        size,
        f"{'saved':<12} {'first':>9} {'median':>9} {'longest':>9} {'lost in the steps beside it':>28}",
    ]
    for kind, row in figures["kinds"].items():
        cells = [f"{row[name]:>6.1f} ms" for name in ("first_ms", "median_ms", "max_ms")]
        lines.append(f"{kind:<12} {' '.join(cells)} {row['lost_in_steps_ms_per_save']:>25.0f} ms")
    reached = "reached" if figures["reached"] else "missed"
    lines.append(
        f"goal: {GOAL_MS:.0f} ms at most with 10 M parameters; {figures['reached_ms']:.1f} ms: {reached}"
    )
    return "\n".join(lines)


def measured(path: Path = RESULT) -> str:
    """The table of the kept result, with the machine it was made on; or how to make one."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return f"{table(result['figures'])}\n{result['command']}; {result['hardware']['cpu']}, {result['date'][:10]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "not measured: python -m pretraining.benchmark_checkpoints"


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the result. Returns 0."""
    config, _ = parse_args(
        argv,
        CheckpointBenchmarkConfig,
        prog="python -m pretraining.benchmark_checkpoints",
        description=(__doc__ or "").split("\n\n")[0],
    )
    from utils.device import keep_freed_memory
    from utils.timing import write_result

    keep_freed_memory()
    figures = measure(config)
    print(table(figures))
    command = " ".join(["python -m pretraining.benchmark_checkpoints", *command_words(config)])
    path = write_result(config.out, name="checkpoints", figures=figures, command=command, seed=config.seed)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
