"""`python -m pretraining.sweep key=a,b,c …`: train every combination, in local processes, and compare.

    python -m pretraining.sweep lr=1e-3,3e-3,1e-2 seed=0,1,2 steps=300
    python -m pretraining.sweep recipe=pretraining/configs/laptop.yaml attention=mha,mla steps=500 processes=2
    python -m pretraining.sweep method=random trials=12 'lr=log(1e-4,1e-2)' 'model.n_layer=int(2,6)' steps=300
    python -m pretraining.sweep method=halving lr=1e-4,3e-4,1e-3,3e-3 optimizer=adamw,muon steps=400

Any key of `pretraining.train` may be an axis; the rest is the same for all. The sweep's folder is named after what is
asked, so the same command goes on where it was interrupted and trains nothing twice. A trial that fails is shown with
its reason, and the others go on. Every setting is checked before the first trial begins. Ctrl-C lets the trials that
are under way save. `SweepPlan.jobs` gives the same command lines to whoever wants to run them elsewhere.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretraining.child_process import Child, python, threads_env
from pretraining.sweep_plan import SweepPlan, Trial, make_plan, read_words
from pretraining.sweep_report import (
    Outcome,
    choose_metric,
    describe,
    make_figures,
    read_outcome,
    sweep_figure,
)
from pretraining.train_job import find_job, is_done
from utils.cli import run_main
from utils.config import load_config, parse_args
from utils.errors import RunFailure, UserError, closest, did_you_mean
from utils.files import atomic_write_json, atomic_write_text
from utils.runs import Run, runs_root
from utils.schema import flat_keys

STAGE = "sweep"
ENDINGS = "trials.json"
POLL_SECONDS = 0.05


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class SweepConfig:
    """How to search. What to search over are the keys of `pretraining.train`, given beside these."""

    method: str = _key("grid", "grid, random or halving")
    trials: int | None = _key(None, "random, halving: so many, drawn")
    draw_seed: int = _key(0, "of the draw")
    rungs: int | None = _key(None, "halving: looks, the last at the end; null: as many as the trials allow")
    eta: int = _key(2, "halving: one in so many goes on")
    processes: int = _key(1, "trials at a time; the cores are shared out between them")
    recipe: str | None = _key(None, "a YAML file of pretraining.train, under the settings")
    settings: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "in a file: keys of pretraining.train, a list makes an axis"}
    )
    rank_by: str = _key("auto", "loss, bits_per_byte; auto: the latter where tokens differ")
    retry: bool = _key(False, "train again what failed in an earlier call")
    sweep_name: str | None = _key(None, "of the folder; null: by what is asked")

    def __post_init__(self) -> None:
        if self.rank_by not in ("auto", "loss", "bits_per_byte"):
            raise UserError(f"rank_by is {self.rank_by!r}: choose auto, loss or bits_per_byte")
        if self.processes < 1:
            raise UserError(f"processes is {self.processes}: the least is 1")


def own_keys() -> set[str]:
    """The sweep's own keys; every other key is one of training."""
    return set(flat_keys(SweepConfig))


def split_words(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line as (the sweep's own, settings of training)."""
    own: list[str] = []
    training: list[str] = []
    for word in argv:
        key = word.partition("=")[0]
        is_setting = "=" in word and not word.startswith("-") and key.partition(".")[0] not in own_keys()
        (training if is_setting else own).append(word)
    return own, training


def settings_words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The `settings` of a file as the words of a command line.

    >>> settings_words({"lr": [0.001, 0.003], "steps": 10, "model": {"n_layer": [1, 2]}})
    ['lr=0.001,0.003', 'steps=10', 'model.n_layer=1,2']
    """
    words = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            words += settings_words(value, f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list) else [value]
            words.append(f"{prefix}{key}={','.join('null' if v is None else str(v) for v in values)}")
    return words


def prepare(config: SweepConfig, words: Sequence[str]) -> tuple[SweepPlan, dict[str, str], Path | None]:
    """The plan, what is fixed, and the root of runs; every trial's settings checked.

    Raises UserError naming the trial and the setting. Nothing has been written then.
    """
    from pretraining.config import PretrainConfig

    axes, fixed = read_words([*settings_words(config.settings), *words])
    known = flat_keys(PretrainConfig)
    for key in (*axes, *fixed):
        if key not in known and not key.startswith("model."):
            hint = did_you_mean(closest(key, [*known, *own_keys()]))
            raise UserError(
                f"unknown key {key}: {hint}see `python -m pretraining.train --help` and "
                "`python -m pretraining.sweep --help`"
            )
    root = fixed.pop("runs", None)
    if "runs" in axes:
        raise UserError("runs is where the folders go, not an axis: give one")
    if "resume" in (*axes, *fixed):
        raise UserError("a sweep goes on by itself: give the same command again")
    base = load_config(
        PretrainConfig, config.recipe, [f"{key}={value}" for key, value in fixed.items()]
    )  # what is wrong for all is said without naming a trial
    plan = make_plan(
        axes,
        fixed,
        method=config.method,
        trials=config.trials,
        draw_seed=config.draw_seed,
        steps=base.steps,
        rungs=config.rungs,
        eta=config.eta,
        recipe=config.recipe,
    )
    for trial in plan.trials:
        try:
            load_config(PretrainConfig, config.recipe, trial.words)
        except UserError as error:
            raise UserError(f"trial {trial.name}: {error}") from None
    return plan, fixed, None if root is None else Path(root)


def open_sweep(config: SweepConfig, plan: SweepPlan, root: Path | None) -> Run:
    """The sweep's run: a new one, or that of the same command. Raises UserError while it is running."""
    from utils.config import to_dict
    from working_with_text_data.content_cache import key_of

    identity = {"trials": [trial.id for trial in plan.trials], "rungs": list(plan.rungs), "eta": plan.eta}
    key = key_of(identity)[:8]
    axes = "-".join(dict.fromkeys(k.rpartition(".")[2] for t in plan.trials for k in t.settings))[:40]
    run_id = config.sweep_name or f"{axes}-{key}"
    folder = runs_root(root) / STAGE / run_id
    if not (folder / "run.json").is_file():
        return Run.create(STAGE, to_dict(config), root=root, inputs={"plan": key}, run_id=run_id)
    run = Run.open(folder)
    if run.meta["inputs"].get("plan") != key:
        raise UserError(f"{folder} holds another sweep: give another sweep_name=, or remove it")
    run.resume()
    return run


class Sweep:
    """Runs a plan. `launch` makes the command line of a job; another one makes tests cheap."""

    def __init__(
        self,
        plan: SweepPlan,
        folder: Path,
        *,
        processes: int = 1,
        metric: str = "loss",
        retry: bool = False,
        launch: Callable[..., list[str]] = python,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plan, self.folder, self.processes, self.metric = plan, folder, processes, metric
        self.launch, self.say = launch, say
        self.trials_folder = folder / "trials"
        file = folder / ENDINGS
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.endings: dict[str, Any] = {
            key: value for key, value in before.items() if value["status"] == "failed" and not retry
        }

    def run(self, stop: Any) -> bool:
        """Train rung by rung; False when `stop` was requested on the way (a `StopRequest`)."""
        trials: Sequence[Trial] = self.plan.trials
        for number, rung in enumerate(self.plan.rungs):
            if number:
                losses = {t.id: self.outcome(t).at(self.plan.rungs[number - 1], self.metric) for t in trials}
                trials = self.plan.survivors(losses, number - 1)
                names = ", ".join(trial.name for trial in trials) or "none"
                self.say(f"rung {number} of {len(self.plan.rungs)}: {len(trials)} go on ({names})")
            if not self._train(trials, number, rung, stop):
                return False
        return True

    def outcome(self, trial: Trial) -> Outcome:
        """How far a trial has come."""
        return read_outcome(self.trials_folder, trial, self.endings.get(trial.id))

    def outcomes(self) -> dict[str, Outcome]:
        """Of all trials."""
        return {trial.id: self.outcome(trial) for trial in self.plan.trials}

    def _train(self, trials: Sequence[Trial], number: int, rung: int | None, stop: Any) -> bool:
        """Bring these trials to a rung, some at a time. False when asked to stop; those under way have saved."""
        waiting = [trial for trial in trials if not self._finished(trial, rung)]
        under_way: dict[str, tuple[Trial, Child]] = {}
        env = threads_env(self.processes)
        try:
            while waiting or under_way:
                if stop.requested:
                    waiting.clear()
                    for _, child in under_way.values():
                        child.stop()
                while waiting and len(under_way) < self.processes:
                    trial = waiting.pop(0)
                    (job,) = self.plan.jobs(self.trials_folder, number, [trial])
                    log = self.trials_folder / f"{trial.id}.log"
                    self.say(f"{trial.name}: begins")
                    under_way[trial.id] = (trial, Child(self.launch(*job), log, env))
                for trial, child in list(under_way.values()):
                    end = child.ended()
                    if end is not None:
                        del under_way[trial.id]
                        self._note(trial, rung, end, child)
                time.sleep(POLL_SECONDS)
        finally:
            for _, child in under_way.values():
                child.kill()
        return not stop.requested

    def _finished(self, trial: Trial, rung: int | None) -> bool:
        if self.endings.get(trial.id, {}).get("status") == "failed":
            return True  # it failed before, and is not to be tried again
        run = find_job(trial.id, self.trials_folder)
        return run is not None and is_done(run, rung)

    def _note(self, trial: Trial, rung: int | None, end: Any, child: Child) -> None:
        """Write down how a trial's process ended. One that returned 0 and left no loss has failed too."""
        status, reason = end.status, end.reason
        if status == "complete":
            loss = self.outcome(trial).at(rung, self.metric)
            if loss is None:
                status, reason = "failed", f"it ended well but left no validation loss: see {child.log}"
        self.endings[trial.id] = {"status": status, "reason": reason, "code": end.code, "rung": rung}
        atomic_write_json(self.folder / ENDINGS, self.endings)
        shown = self.outcome(trial).at(rung, self.metric)
        found = f"{self.metric.replace('_', ' ')} {shown:.4f}" if shown is not None else reason or ""
        self.say(f"{trial.name}: {status} after {child.seconds:.0f} s, {found}".rstrip(", "))


def write_report(sweep: Sweep, config: SweepConfig, fixed: Mapping[str, str], command: str) -> dict[str, Any]:
    """sweep.json and sweep.svg in the sweep's folder; returns the figures."""
    import matplotlib.pyplot as plt

    from utils.plotting import figure_to_svg
    from utils.timing import write_result

    figures = make_figures(
        sweep.plan, sweep.outcomes(), metric=sweep.metric, method=config.method, fixed=fixed
    )
    write_result(sweep.folder / "sweep.json", name="sweep", figures=figures, command=command)
    figure = sweep_figure(figures)
    atomic_write_text(sweep.folder / "sweep.svg", figure_to_svg(figure))
    plt.close(figure)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Plan, train, compare. Returns 0 when every trial ended well, 1 when one failed, 130 when it was stopped."""
    from pretraining.stopping import StopRequest

    words = list(sys.argv[1:] if argv is None else argv)
    own, training = split_words(words)
    config, _ = parse_args(
        own,
        SweepConfig,
        prog="python -m pretraining.sweep",
        description="Train every combination of key=a,b,c (or some, or the most promising) and compare.",
    )
    plan, fixed, root = prepare(config, training)
    metric = choose_metric(config.rank_by, [key for trial in plan.trials[:1] for key in trial.settings])
    command = " ".join(["python -m pretraining.sweep", *words])
    with open_sweep(config, plan, root) as run:
        sweep = Sweep(plan, run.path, processes=config.processes, metric=metric, retry=config.retry)
        print(f"{len(plan.trials)} trials in {run.path}")
        with StopRequest() as stop:
            whole = sweep.run(stop)
        figures = write_report(sweep, config, fixed, command)
        run.meta["result"] = {"counts": figures["counts"], "best": figures["table"][0]}
        run.add_output("report", run.path / "sweep.json")
        failed = figures["counts"].get("failed", 0)
        if not whole:
            run.finish("stopped", stop.reason)
        elif failed:
            run.finish("failed", f"{failed} of {len(plan.trials)} trials failed")
    print(describe(figures))
    print(f"wrote {run.path / 'sweep.json'} and sweep.svg")
    if not whole:
        print("stopped: the same command goes on", file=sys.stderr)
        return 130
    best = figures["table"][0]
    if best["mean"] is not None:
        trial = next(t for t in plan.trials if t.settings.items() >= best["settings"].items())
        print(f"next: scratchbook sample --ckpt {run.path / 'trials' / 'pretrain' / trial.id}")
    if failed:
        raise RunFailure(f"{failed} of {len(plan.trials)} trials failed; retry=true trains them again")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
