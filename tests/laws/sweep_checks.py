"""What a sweep and a pipeline must keep: nothing lost, nothing stale, and no failure that looks like a success.

As in `training_checks`: functions that raise AssertionError, for the laws and for the mutations. Jobs are small
programs without torch, which leave a run folder as training does; the one law about training itself trains.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

from pretraining import child_process, pipeline, sweep, sweep_plan
from pretraining.stopping import StopRequest
from utils.runs import Run

# A trainer that trains nothing: it writes the run that `train_job` would write, with a loss from its settings.
FAKE_TRAINER = """
import argparse, os, signal, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("-m"); parser.add_argument("--run-id"); parser.add_argument("--stop-at", type=int)
parser.add_argument("--config"); parser.add_argument("words", nargs="*")
options = parser.parse_intermixed_args()
config = dict(word.split("=", 1) for word in options.words)
root, lr, steps = Path(config["runs"]), config["lr"], int(config["steps"])
if lr == "1e9":
    print("error: the run has diverged: try a lower lr", file=sys.stderr); sys.exit(1)
if lr == "1e8":
    os.kill(os.getpid(), signal.SIGKILL)
if lr == "1e7":
    sys.exit(0)  # says that all is well and leaves nothing
from utils.runs import Run
folder = root / "pretrain" / options.run_id
if (folder / "run.json").exists():
    run = Run.open(folder)
else:
    run = Run.create("pretrain", config, root=root, run_id=options.run_id)
(folder / "began").open("a").write("x")
end = options.stop_at or steps
loss = abs(float(lr) - 0.003) * 100 + 1 / end
with run:
    run.meta["status"] = "running"
    if lr == "7e-3":
        signal.signal(signal.SIGTERM, lambda *_: (run.finish("stopped", "SIGTERM"), sys.exit(130)))
        (folder / "waiting").touch(); time.sleep(30)
    run.metric(step=end, split="val", loss=loss, bits_per_byte=loss)
    checkpoint = folder / "checkpoints" / f"step_{end:06d}"
    checkpoint.mkdir(parents=True, exist_ok=True); (checkpoint / "manifest.json").write_text("{}")
    run.meta["result"] = {"step": end, "tokens": end, "seconds": 0.1, "val": {"loss": loss, "bits_per_byte": loss}}
    run.finish("complete" if end == steps else "stopped", None if end == steps else f"stop_at={end}")
"""


def fake_launcher(folder: Path, source: str = FAKE_TRAINER) -> Any:
    """A `launch` that runs `source` instead of the module that a job names."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "program.py"
    program.write_text(textwrap.dedent(source))
    return lambda *words: [sys.executable, str(program), *words]


def plan_of(*words: str, **options: Any) -> sweep_plan.SweepPlan:
    axes, fixed = sweep_plan.read_words(words)
    steps = int(fixed["steps"]) if "steps" in fixed else None
    return sweep_plan.make_plan(axes, fixed, steps=steps, **options)


def swept(folder: Path, plan: sweep_plan.SweepPlan, **options: Any) -> sweep.Sweep:
    made = sweep.Sweep(plan, folder, launch=fake_launcher(folder), say=lambda _: None, **options)
    made.run(StopRequest())
    return made


# --- the plan -------------------------------------------------------------------------------------------


def check_grid_is_complete() -> None:
    """Every combination once, in the order of the axes, each with an id of its own that nothing else decides."""
    lrs, layers = ("1e-3", "3e-3", "1e-2"), ("1", "2")
    plan = plan_of("lr=1e-3,3e-3,1e-2", "model.n_layer=1,2", "steps=8")
    found = [tuple(trial.settings.values()) for trial in plan.trials]
    assert found == list(itertools.product(lrs, layers)), (
        f"the grid is {found}: a combination is missing or twice"
    )
    assert len({trial.id for trial in plan.trials}) == 6, (
        "two trials share an id, so one would hide the other"
    )
    for trial in plan.trials:
        assert "steps=8" in trial.words, "what is the same for all must reach every trial"
    again = plan_of("steps=8", "model.n_layer=2,1", "lr=1e-2,3e-3,1e-3")
    same = {frozenset(t.settings.items()): t.id for t in plan.trials}
    for trial in again.trials:
        known = same[frozenset(trial.settings.items())]
        assert known == trial.id, "an id must come from the settings alone, or a resumed sweep trains twice"


def check_halving_keeps_the_best() -> None:
    """At each rung the lowest losses go on, as many as one in eta of those that began; no failed one ever does."""
    plan = plan_of("lr=1,2,3,4,5,6,7,8", "steps=80", method="halving")
    assert plan.rungs == (10, 20, 40, None), f"rungs {plan.rungs}: each is eta times the one before"
    losses: dict[str, float | None] = {
        t.id: loss
        for t, loss in zip(plan.trials, [math.nan, 1.0, 5.0, None, 0.5, 4.0, 2.0, 3.0], strict=True)
    }
    kept = [t.settings["lr"] for t in plan.survivors(losses, 0)]
    assert kept == ["5", "2", "7", "8"], (
        f"{kept} go on: the four lowest finite losses are those of 5, 2, 7 and 8"
    )
    bad: dict[str, float | None] = dict.fromkeys(losses, None)
    assert plan.survivors(bad, 0) == [], "where every trial failed nobody goes on"
    taken, grid = plan.step_cost(80)
    assert (taken, grid) == (8 * 10 + 4 * 10 + 2 * 20 + 1 * 40, 640)


# --- the work -------------------------------------------------------------------------------------------


def check_a_failure_is_shown_and_the_rest_goes_on(folder: Path) -> None:
    """A trial that fails, is killed, or leaves nothing: its true status and reason, and all others trained."""
    plan = plan_of("lr=1e9,1e-3,1e8,1e7,3e-3", "steps=4")
    found = swept(folder, plan, processes=2).outcomes()
    by_lr = {trial.settings["lr"]: found[trial.id] for trial in plan.trials}
    assert by_lr["1e-3"].status == by_lr["3e-3"].status == "complete", "the others must go on"
    for lr, word in (("1e9", "diverged"), ("1e8", "SIGKILL"), ("1e7", "no validation loss")):
        assert by_lr[lr].status == "failed", f"lr={lr} is {by_lr[lr].status}: it must be shown as failed"
        assert word in str(by_lr[lr].reason), (
            f"lr={lr} failed because {by_lr[lr].reason!r}: where is {word!r}?"
        )


def check_nothing_is_trained_twice(folder: Path) -> None:
    """The same command again starts no process for what is complete; what failed is tried again only on request."""
    plan = plan_of("lr=1e-3,3e-3,1e9", "steps=4")
    swept(folder, plan)
    began = sorted((folder / "trials").glob("pretrain/*/began"))
    assert [file.read_text() for file in began] == ["x", "x"]
    log = next((folder / "trials").glob("*.log")).parent / f"{plan.trials[2].id}.log"
    once = log.read_text()
    swept(folder, plan)
    assert [file.read_text() for file in began] == ["x", "x"], "a complete trial was begun again"
    assert log.read_text() == once, "a failed trial was begun again without retry=true"
    swept(folder, plan, retry=True)
    assert log.read_text() == once * 2, "retry=true must begin the failed trial again"


def check_halving_trains_the_survivors_on(folder: Path) -> None:
    """Losers stay at their rung, winners are the same run going on to the end."""
    plan = plan_of("lr=1e-3,2e-3,3e-3,4e-3", "steps=8", method="halving")
    found = swept(folder, plan).outcomes()
    steps = {trial.settings["lr"]: (found[trial.id].step, found[trial.id].status) for trial in plan.trials}
    assert steps["3e-3"] == (8, "complete"), (
        f"the best trial must be trained to the end, but is at {steps['3e-3']}"
    )
    assert sorted(step for step, _ in steps.values()) == [2, 2, 4, 8], f"each rung lets half go on: {steps}"
    assert steps["1e-3"] == (2, "paused")


def stop_when_there(waiting: Path, stop: StopRequest) -> None:
    """Ask to stop as soon as the job under way has written its file."""

    def ask() -> None:
        deadline = time.monotonic() + 30
        while not waiting.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        stop.request("SIGTERM")

    threading.Thread(target=ask).start()


def check_stopping_lets_trials_save(folder: Path) -> None:
    """A request to stop reaches the trial under way, which saves; nothing new begins, and nothing is called failed."""
    plan = plan_of("lr=7e-3,1e-3", "steps=4")
    stop = StopRequest()
    made = sweep.Sweep(plan, folder, launch=fake_launcher(folder), say=lambda _: None)
    stop_when_there(folder / "trials" / "pretrain" / plan.trials[0].id / "waiting", stop)
    assert made.run(stop) is False, "a stopped sweep must say so"
    found = made.outcomes()
    statuses = [found[trial.id].status for trial in plan.trials]
    assert statuses == ["stopped", "waiting"], (
        f"{statuses}: the first saves and stops, the second never begins"
    )


# --- how a process ended --------------------------------------------------------------------------------


def check_endings() -> None:
    """An exit code is never read as better than it is."""
    cases = [
        (0, "", "complete", None),
        (130, "", "stopped", "stopped"),
        (-15, "", "stopped", "SIGTERM"),
        (143, "", "stopped", "stopped"),
        (-9, "", "failed", "memory"),
        (137, "", "failed", "memory"),
        (2, "error: lr is 'x'", "failed", "bad input: lr is 'x'"),
        (1, "epoch 1\nerror: torch.OutOfMemoryError: CUDA out of memory", "failed", "out of memory"),
        (1, "error: RuntimeError: DefaultCPUAllocator: can't allocate memory", "failed", "smaller batch"),
        (-11, "", "failed", "SIGSEGV"),
        (1, "", "failed", "without a word"),
        (3, "wrote all files\n", "failed", "wrote all files"),
    ]  # fmt: skip
    for code, log, status, word in cases:
        found = child_process.ending(code, log)
        assert found.status == status, f"exit code {code} was read as {found.status}: it means {status}"
        assert word is None or word in str(found.reason), f"exit code {code}: {found.reason!r} lacks {word!r}"


# --- the pipeline ---------------------------------------------------------------------------------------

# Every stage writes what its settings and its input say, so that a stale product is seen in the text.
FAKE_STAGE = """
import os, signal, sys, time
from pathlib import Path
words = sys.argv[1:]
config = dict(word.split("=", 1) for word in words if "=" in word)
module = words[1]
if config.get("seed") == "13":
    os.kill(os.getpid(), signal.SIGKILL)
if config.get("seed") == "15" and not (Path(config["runs"]) / "go").exists():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    (Path(config["runs"]) / "waiting").touch(); time.sleep(30)
if config.get("seed") == "14":
    print("error: no such key", file=sys.stderr); sys.exit(2)
if module.endswith("text_data.pipeline"):
    out = Path(config["out"])
    text = Path(config["input"]).read_text()
    if config.get("tokenise") == "false":
        target = out / "tokenizer" / "tokenizer.json"; content = f"tokenizer {config['vocab_size']} {text}"
    else:
        target = out / "tokenise" / "train_000.bin"
        content = f"shards of {text} by {Path(config['tokenizer']).read_text()}"
elif module.endswith("train_job"):
    run_id = words[words.index("--run-id") + 1]
    folder = Path(config["runs"]) / "pretrain" / run_id / "checkpoints" / "step_000001"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    data = Path(config["data"]); data = data / "train_000.bin" if data.is_dir() else data
    target = folder / "model.safetensors"; content = f"model lr {config.get('lr')} on {data.read_text()}"
elif module.endswith("evaluate"):
    target = Path(config["out"]); content = "judged " + (Path(words[2]) / "model.safetensors").read_text()
else:
    print("a sample of " + (Path(words[words.index("--ckpt") + 1]) / "model.safetensors").read_text()); sys.exit(0)
target.parent.mkdir(parents=True, exist_ok=True); target.write_text(content)
"""


def piped(folder: Path, stop: StopRequest | None = None, **settings: Any) -> tuple[pipeline.Pipeline, Any]:
    """A pipeline of fake stages over `folder/book.txt`; returns it and how it ended (an exception counts)."""
    config = pipeline.PipelineConfig(input=str(folder / "book.txt"), runs=str(folder / "runs"), **settings)
    with Run.create("pipeline", {}, root=folder / "runs") as run:
        made = pipeline.Pipeline(config, run, launch=fake_launcher(folder, FAKE_STAGE), say=lambda _: None)
        end: Any
        try:
            end = made.go(stop or StopRequest())
        except Exception as error:
            end = error
            run.finish("failed", str(error))
    return made, end


def statuses_of(made: pipeline.Pipeline) -> list[str]:
    return [made.report[stage]["status"] for stage in ("tokenizer", "shards", "train", "evaluate", "sample")]


def check_stages_are_kept_and_never_stale(folder: Path) -> None:
    """A stage is made again exactly when something that decides it has changed: settings, texts, or its files."""
    book = folder / "book.txt"
    book.parent.mkdir(parents=True, exist_ok=True)
    book.write_text("one")
    made, end = piped(folder)
    assert end.status == "complete" and statuses_of(made) == ["made"] * 5, f"{end}: {made.report}"
    made, _ = piped(folder)
    assert statuses_of(made) == ["unchanged"] * 5, f"nothing changed, but {statuses_of(made)}"
    made, _ = piped(folder, training={"lr": 0.5})
    assert statuses_of(made) == ["unchanged", "unchanged", "made", "made", "made"], (
        f"another learning rate remakes the training and what reads it, and nothing else: {statuses_of(made)}"
    )
    sample = Path(made.report["sample"]["path"]).read_text()
    assert "lr 0.5" in sample, f"the sample is of another model: {sample!r}"
    made, _ = piped(folder)
    assert statuses_of(made) == ["unchanged"] * 5, (
        "going back to earlier settings finds everything still there"
    )

    book.write_text("two")
    made, _ = piped(folder)
    assert statuses_of(made) == ["made"] * 5, f"another text behind the same name: {statuses_of(made)}"
    sample = Path(made.report["sample"]["path"]).read_text()
    assert "on shards of two by tokenizer 2048 two" in sample, f"something old went into {sample!r}"

    shard = Path(made.report["shards"]["path"]) / "train_000.bin"
    shard.write_text(shard.read_text()[:-1] + "X")
    made, _ = piped(folder)
    assert made.report["shards"]["status"] == "made", "a shard with a changed byte must be made again"
    assert made.report["train"]["status"] == "unchanged", (
        "the remade shards are the old ones, so is the model"
    )


def check_a_failed_stage_is_told_truly(folder: Path) -> None:
    """Killed or refused: the stage failed with its reason, what follows was not reached, and the code is its own."""
    from utils.errors import RunFailure, UserError

    (folder / "book.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "book.txt").write_text("text")
    made, end = piped(folder, training={"seed": 13})
    assert isinstance(end, RunFailure) and end.exit_code == 1, (
        f"a killed stage ended the pipeline with {end!r}"
    )
    assert statuses_of(made) == ["made", "made", "failed", "not reached", "not reached"], made.report
    assert "memory" in made.report["train"]["reason"] and made.report["train"]["code"] == -9
    saved = json.loads((made.run.path / "run.json").read_text())
    assert saved["status"] == "failed" and saved["stages"]["train"]["status"] == "failed", (
        "run.json must say so too"
    )
    made, end = piped(folder, training={"seed": 14})
    assert isinstance(end, UserError) and end.exit_code == 2 and "no such key" in str(end), repr(end)


def check_a_stopped_pipeline_goes_on(folder: Path) -> None:
    """SIGTERM reaches the stage under way; it is stopped and not failed, and the same command goes on there."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "book.txt").write_text("text")
    stop = StopRequest()
    stop_when_there(folder / "runs" / "waiting", stop)
    made, end = piped(folder, stop, training={"seed": 15})
    assert getattr(end, "status", None) == "stopped" and end.code == 130, (
        f"a pipeline that was asked to stop ended with {end!r}"
    )
    assert statuses_of(made) == ["made", "made", "stopped", "not reached", "not reached"], made.report
    (folder / "runs" / "go").touch()
    made, end = piped(folder, training={"seed": 15})
    assert statuses_of(made) == ["unchanged", "unchanged", "made", "made", "made"], made.report


def check_latest_and_given(folder: Path) -> None:
    """`latest` is the newest whole product, whatever its settings; a path is taken as it is; off is off."""
    (folder / "book.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "book.txt").write_text("text")
    first, _ = piped(folder, training={"lr": 0.1})
    second, _ = piped(folder, training={"lr": 0.2})
    made, _ = piped(folder, tokenizer=False, shards=False, train="latest", evaluate=False)
    assert statuses_of(made) == ["off", "off", "given", "off", "unchanged"], made.report
    assert made.report["train"]["path"] == second.report["train"]["path"], "latest is not the newest"
    weights = Path(second.report["train"]["path"]) / "model.safetensors"
    weights.write_text("damaged")
    made, _ = piped(folder, tokenizer=False, shards=False, train="latest", evaluate=False)
    assert made.report["train"]["path"] == first.report["train"]["path"], (
        "a damaged product is not the latest whole"
    )


# --- training by name -----------------------------------------------------------------------------------


def check_a_paused_run_is_the_run_that_was_not(folder: Path) -> None:
    """Stopped at a rung and let on, a run has the weights and losses of one that was never stopped, bit for bit."""
    import torch
    from safetensors.torch import load_file

    from pretraining import train_job
    from pretraining.pretrain_config import PretrainConfig

    model = {"n_layer": 1, "n_embd": 16, "n_head": 2, "block_size": 16, "dropout": 0.1}
    config = PretrainConfig(
        data="storyland", max_documents=40, tokenizer="byte", preset="tiny", model=model, steps=6, batch_size=2,
        lr=1e-2, prompts=[], eval_every=0, save_every=0, log_every=1, eval_tokens=64, dtype="fp32", device="cpu",
        runs=str(folder),
    )  # fmt: skip
    straight = train_job.run_job(config, "straight")
    paused = train_job.run_job(config, "paused", stop_at=2)
    assert paused.status == "stopped" and train_job.reached(paused) == 2, paused
    assert train_job.is_done(paused, 2) and not train_job.is_done(paused, None)
    for stop_at in (2, 4, None):
        paused = train_job.run_job(config, "paused", stop_at=stop_at)
    assert paused.status == "complete"

    def weights(run: Run) -> dict[str, Any]:
        return load_file(run.path / "checkpoints" / "step_000006" / "model.safetensors")

    ours, theirs = weights(paused), weights(straight)
    same = all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert same, (
        "the survivor of a rung is not the run that trains alone: its learning rate saw another budget"
    )

    def losses(run: Run) -> dict[int, float]:
        return {row["step"]: row["loss"] for row in run.metrics() if row["split"] == "train"}

    assert losses(paused) == losses(straight)
