"""`python -m finetuning.instruction.benchmark_lessons ckpt=BASE`: one kind of request, taught at once and after recall.

For each seed two copies of one pretrained base learn the same requests of one kind for the same number of steps in all:
one begins at once, the other first has a lesson of recall (`lessons`). On the way both are asked held-out requests of
that kind. Two things of one sort are named in a request and one is asked for, so guessing between them is right half
of the time. Every run is written at once; the same command goes on where it was stopped. Writes results/lessons.json.
Left out: minutes; both ways take the same steps of the same size. Notebook: finetuning/02.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

RESULT = Path(__file__).parents[1] / "results" / "lessons.json"
WAYS = ("at once", "after recall")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class LessonsBenchmark:
    """What is taught, how long, how often. Six runs of 1,500 steps take about 20 minutes on two cores."""

    ckpt: str = _key("last", "the pretrained base")
    kind: str = _key("colour", "of the requests")
    recall: int = _key(1100, "steps of the lesson")
    steps: int = _key(1500, "of each run, the lesson's among them")
    every: int = _key(50, "steps between two looks")
    asked: int = _key(100, "held-out requests at each look")
    seeds: tuple[int, ...] = _key((1, 2, 3), "of requests and batches")
    settings: tuple[str, ...] = _key(("muon_lr=0.01",), "more settings of the training, key=value")
    threads: int = _key(2, "of torch")
    fresh: bool = _key(False, "forget the runs that the results file holds")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        from working_with_text_data.storyland.tasks import KINDS

        if self.kind not in KINDS:
            raise UserError(f"kind is {self.kind!r}: choose one of {', '.join(KINDS)}")
        if not 0 < self.recall < self.steps:
            raise UserError(f"recall is {self.recall} of {self.steps} steps: leave some for the requests")
        if min(self.every, self.asked, len(self.seeds)) < 1:
            raise UserError("every, asked and the number of seeds are 1 or more")

    def same_study(self) -> dict[str, Any]:
        """What must agree for two runs to be in one table."""
        names = ("ckpt", "kind", "recall", "steps", "every", "asked", "settings")
        return {name: getattr(self, name) for name in names}


class _Ask:
    """Asks the held-out requests now and then, and keeps what share was right."""

    def __init__(self, model: Any, tokenizer: Any, requests: Sequence[Any], every: int) -> None:
        self.model, self.tokenizer, self.requests, self.every = model, tokenizer, requests, every
        self.steps: list[int] = []
        self.right: list[float] = []

    def on_step_end(self, trainer: Any, record: dict[str, Any]) -> None:
        """Ask, each `every` steps."""
        from finetuning.evaluation.instructions import exact_match

        if trainer.now.step % self.every == 0:
            self.model.eval()
            self.right.append(exact_match(self.model, self.tokenizer, self.requests).overall.value)
            self.steps.append(trainer.now.step)
            self.model.train()


def teach(config: LessonsBenchmark, way: str, seed: int, folder: str) -> dict[str, Any]:
    """One run: steps, and the share of held-out requests that was right at each look."""
    from finetuning.instruction.data import held_out_requests
    from finetuning.instruction.train import make_lessons
    from finetuning.instruction.train_config import InstructionConfig
    from finetuning.instruction.tune import tune
    from gpt_model.loading import load_model
    from utils.config import load_config
    from utils.runs import Run
    from utils.seeding import set_seed
    from working_with_text_data.storyland.tasks import KINDS

    set_seed(seed)
    loaded = load_model(config.ckpt)
    taught = [
        f"{config.kind}:{config.steps}",
        *([f"recall:{config.recall}"] if way == "after recall" else []),
    ]
    words = [f"steps={config.steps}", f"seed={seed}", f"data_seed={seed}", "eval_every=0", "device=cpu"]
    recipe = load_config(InstructionConfig, None, [*words, f"lessons={json.dumps(taught)}", *config.settings])
    (train, _), *lessons = make_lessons(recipe, loaded)  # the requests are the same for both ways
    asked = held_out_requests(config.asked * len(KINDS), seed=seed)
    requests = [request for request in asked if request.kind == config.kind]
    look = _Ask(loaded.model, loaded.tokenizer, requests, config.every)
    with Run.create("sft", {"way": way}, root=folder) as run:
        result = tune(
            loaded.model, loaded.tokenizer, train, train[:64], recipe, run, lessons=lessons, callbacks=[look]
        )
    if result.status != "complete":
        raise KeyboardInterrupt  # half a run is no row; the same command goes on
    return {"way": way, "seed": seed, "steps": look.steps, "right": look.right}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last look of each way over seeds, and the difference within a seed."""
    from finetuning.evaluation.resampling import over_seeds

    last = {(row["way"], row["seed"]): row["right"][-1] for row in rows}
    found = {
        way.replace(" ", "_"): over_seeds([v for (own, _), v in last.items() if own == way]).to_dict()
        for way in WAYS
        if any(own == way for own, _ in last)
    }
    both = sorted(seed for way, seed in last if way == WAYS[1] and (WAYS[0], seed) in last)
    if both:
        found["difference"] = over_seeds([last[WAYS[1], s] - last[WAYS[0], s] for s in both]).to_dict()
    return found


def measured(path: Path = RESULT) -> dict[str, Any] | None:
    """The figures of the results file; None where nothing was measured."""
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs that are missing, writing each, and print what they reached."""
    config, _ = parse_args(
        argv,
        LessonsBenchmark,
        prog="python -m finetuning.instruction.benchmark_lessons",
        description="One kind of request, taught at once and after a lesson of recall.",
        aliases={"--ckpt": "ckpt", "--out": "out"},
    )
    import torch

    from utils.kept_rows import kept_rows
    from utils.timing import write_result

    torch.set_num_threads(config.threads)
    settings = config.same_study()
    rows: list[dict[str, Any]] = (
        kept_rows(config.out, settings, rows="rows", study="lessons benchmark", fresh=config.fresh) or []
    )
    words = command_words(config, ("out", "fresh"))
    command = " ".join(["python -m finetuning.instruction.benchmark_lessons", *words])
    for seed in config.seeds:
        for way in WAYS:
            if any((row["way"], row["seed"]) == (way, seed) for row in rows):
                continue
            with TemporaryDirectory(prefix="lessons-") as folder:
                rows.append(teach(config, way, seed, folder))
            print(f"seed {seed}, {way:12} {rows[-1]['right'][-1]:.0%} of {config.asked} right")
            figures = {"settings": settings, "rows": rows, "summary": summary(rows)}
            write_result(config.out, name="lessons", figures=figures, command=command, seed=seed)
    for name, row in summary(rows).items():
        interval = f" ({row['low']:.1%} to {row['high']:.1%})" if row["low"] is not None else ""
        print(f"{name:12} {row['value']:.1%}{interval}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
