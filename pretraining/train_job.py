"""`python -m pretraining.train_job --run-id ID …`: train this run, or go on with it, or find it done.

    python -m pretraining.train_job --run-id lr3 lr=3e-3 steps=1000
    python -m pretraining.train_job --run-id lr3 --stop-at 250 lr=3e-3 steps=1000

`pretraining.train` makes a new run each time; a job has a name, and the same command may be given any number of
times: after a crash, a preemption or a timeout it goes on from the last checkpoint, and once the run is complete it
does nothing. That is what sweeps, pipelines and rented machines need. `--stop-at` ends the process after a step, with
an evaluation and a checkpoint, but leaves the budget as it is: the learning rate follows `steps`, so a run that was
paused on the way is, to the last bit, the run that was not. Left out: a terminal's progress bar (`pretraining.train`).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError
from utils.runs import Run, runs_root

if TYPE_CHECKING:
    from pretraining.config import PretrainConfig

STAGE = "pretrain"
PAUSED = "stop_at"  # how the reason of a planned stop begins, in run.json


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run-id", required=True, metavar="ID", help="the run's folder below RUNS/pretrain")
    parser.add_argument(
        "--stop-at", type=int, metavar="STEP", help="evaluate, save and end after this step; budget unchanged"
    )


def find_job(run_id: str, root: Path | str | None) -> Run | None:
    """The run of that name, if there is one."""
    folder = runs_root(root) / STAGE / run_id
    return Run.open(folder) if (folder / "run.json").is_file() else None


def reached(run: Run) -> int:
    """The step of the newest checkpoint; 0 without one. (Told by the folders' names: no torch.)"""
    steps = [
        int(found.group(1))
        for path in (run.path / "checkpoints").glob("step_*")
        if (found := re.fullmatch(r"step_(\d+)", path.name)) and (path / "manifest.json").is_file()
    ]
    return max(steps, default=0)


def is_done(run: Run, stop_at: int | None) -> bool:
    """Whether nothing is left to do: complete, or paused at `stop_at` or later."""
    if run.status == "complete":
        return True
    paused = run.status == "stopped" and str(run.meta.get("error") or "").startswith(PAUSED)
    return paused and stop_at is not None and reached(run) >= stop_at


def run_job(config: PretrainConfig, run_id: str, *, stop_at: int | None = None) -> Run:
    """Bring the run `run_id` to its end, or to step `stop_at`; returns it, complete or stopped.

    Raises UserError for a config that is not the run's, and while another process trains it.
    """
    if stop_at is not None and stop_at < 1:
        raise UserError(f"--stop-at is {stop_at}: the first step is 1")
    run = find_job(run_id, config.runs)
    if run is not None:
        _same_config(run, config)
        if is_done(run, stop_at):
            return run
        if run.status == "running":
            raise UserError(f"run {run_id} is being trained by process {run.meta['pid']}: wait for it")
        if not reached(run):  # it died before its first checkpoint, so nothing is lost
            shutil.rmtree(run.path)
            run = None
    from pretraining.recipe import train

    callbacks = [] if stop_at is None else [stop_after(stop_at)]
    return train(config, resume=None if run is None else run.path, run_id=run_id, callbacks=callbacks)


def stop_after(step: int) -> Any:
    """A callback that evaluates after `step` and asks the trainer to stop: it then saves, and returns."""
    from pretraining.callbacks import Callback

    class StopAfter(Callback):
        def on_step_end(self, trainer: Any, record: Any) -> None:
            if trainer.now.step == step and trainer.progress() < 1.0:
                trainer.evaluate()
                trainer.stop.request(f"{PAUSED}={step}")

    return StopAfter()


def _same_config(run: Run, config: PretrainConfig) -> None:
    """A job's name stands for one config. How often a run logs, or where it lies, is not part of it."""
    from utils.config import to_dict

    free = {"runs", "log_every", "eval_every", "save_every", "sample_every", "sample_seconds", "keep_last"}
    mine, saved = json.loads(json.dumps(to_dict(config))), run.meta["config"]
    other = sorted(
        key for key in (mine.keys() | saved.keys()) - free if mine.get(key) != saved.get(key, mine.get(key))
    )
    if other:
        key = other[0]
        raise UserError(
            f"run {run.id} was begun with {key}={saved.get(key)}, not {mine.get(key)}: give it another --run-id"
        )


def main(argv: list[str] | None = None) -> int:
    """Bring the job up to date. Returns 0 when it is done (or paused as asked), 130 when it was stopped."""
    from pretraining.config import PretrainConfig

    config, options = parse_args(
        argv,
        PretrainConfig,
        prog="python -m pretraining.train_job",
        description=(__doc__ or "").split("\n\n")[0],
        configure=_own_flags,
    )
    from utils.device import keep_freed_memory

    keep_freed_memory()
    run = run_job(config, options.run_id, stop_at=options.stop_at)
    print(f"{run.status} at step {reached(run)}: {run.path}")
    return 0 if is_done(run, options.stop_at) else 130


if __name__ == "__main__":
    raise SystemExit(run_main(main))
