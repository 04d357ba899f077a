"""What a checkpoint written beside the loop, kept, forked or killed must hold: functions that raise AssertionError.

`test_checkpoint_laws.py` calls them on the code as it is, `tests/mutations/test_checkpoint_mutations.py` on code with a
classic bug put back.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from training_checks import (
    BASE,
    RESUME,
    TOUCHES,
    check_same_state,
    state_of,
    tiny_model,
    tiny_trainer,
    trained,
)

from pretraining import async_checkpoints, checkpoints
from pretraining.callbacks import Callback
from pretraining.optimizers import build_optimizer
from utils.errors import RunFailure
from utils.files import sha256_folder
from utils.runs import Run

LAWS = Path(__file__).parent


def stepped_model(seed: int = 0) -> tuple[Any, torch.optim.Optimizer]:
    """A small model and its optimizer after one step, so that there is a state to save."""
    model = tiny_model(seed)
    optimizer = build_optimizer(model, BASE)
    step(model, optimizer)
    return model, optimizer


def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
    ids = torch.arange(12).reshape(1, 12)
    model(ids, targets=ids.roll(-1, 1)).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


# ---------------------------------------------------------------- LP2: beside the loop


def check_async_is_the_same_checkpoint(root: Path) -> None:
    """Byte for byte what the synchronous save writes, also when the memory is used again, and after priming."""
    model, optimizer = stepped_model()
    background = async_checkpoints.AsyncCheckpoints(model)
    background.prime({"optimizer": optimizer.state_dict()})
    for number in (1, 2, 3):
        state = {"optimizer": optimizer.state_dict(), "number": number, "rng": torch.get_rng_state()}
        checkpoints.save_checkpoint(
            root / "sync", number, save_model=model.save_pretrained, state=state, score=1.0
        )
        background.save(root / "async", number, state=state, score=1.0)
        outcome = background.wait()
        assert outcome is not None and outcome.error is None, f"the write failed: {outcome}"
        assert outcome.path == root / "async" / checkpoints.step_name(number)
        name = checkpoints.step_name(number)
        for path in sorted((root / "sync" / name).iterdir()):
            other = root / "async" / name / path.name
            assert other.is_file() and other.read_bytes() == path.read_bytes(), (
                f"{path.name} of save {number} differs from the one written at once: what the thread writes is not "
                "the state that was given"
            )
        step(model, optimizer)
    assert (root / "async" / "last").read_text() == (root / "sync" / "last").read_text()


def check_snapshot_is_of_its_moment(root: Path) -> None:
    """Training goes on while the thread waits for the disk: what lands there is the state at the call."""
    model, optimizer = stepped_model()
    gate = threading.Event()

    def slow(*arguments: Any, **named: Any) -> Path:
        gate.wait(20)
        return checkpoints.write_checkpoint(*arguments, **named)

    background = async_checkpoints.AsyncCheckpoints(model, write=slow)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    background.save(root, 1, state={"optimizer": optimizer.state_dict()})
    for _ in range(3):
        step(model, optimizer)
    gate.set()
    background.wait()
    loaded = checkpoints.load_checkpoint(root)
    saved = checkpoints.load_file(loaded.path / "model.safetensors")
    for name, tensor in weights.items():
        assert torch.equal(saved[name], tensor), (
            f"{name} on disk is from a later step than was saved: copy before the next step, not while writing"
        )
    states = loaded.state["optimizer"]["state"].values()
    for state, moment in zip(states, moments, strict=True):
        assert torch.equal(state["exp_avg"], moment), "the optimizer's state on disk is from a later step"


def scored_save(root: Path, number: int) -> None:
    """One save in the background, with all that comes after the rename: pointers and removal."""
    model = tiny_model(number)
    background = async_checkpoints.AsyncCheckpoints(model)
    background.save(root, number, state={"step": number}, score=5.0 - number, keep_last=1)
    background.wait()


def check_async_kill_at_any_time(root: Path) -> int:
    """SIGKILL before each file operation of the writing thread: `last` and `best` load and are of one piece.

    Returns how many points were tried.
    """
    import shutil

    for number in (1, 2):
        scored_save(root / "start", number)
    point = 0
    while True:
        place = root / f"kill{point}"
        shutil.copytree(root / "start", place)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                threading.setprofile(kill_in_thread(point))
                scored_save(place, 3)
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        assert survived or os.WIFSIGNALED(status), f"the save raised before point {point}"
        for which in ("last", "best"):
            pointed = (place / which).read_text().strip()
            assert checkpoints.damage(place / pointed) is None, (
                f"killed before file operation {point}: {which} names {pointed}, which is not whole"
            )
            loaded = checkpoints.load_checkpoint(place, which)
            assert loaded.fallback is None and loaded.step == loaded.state["step"] >= 2, (
                f"killed before file operation {point}: {which} is step {loaded.step} ({loaded.fallback})"
            )
            saved = checkpoints.load_file(loaded.path / "model.safetensors")
            wanted = tiny_model(loaded.step).state_dict()
            assert all(torch.equal(saved[name], wanted[name]) for name in wanted), f"{which} mixes two steps"
        shutil.rmtree(place)
        if survived:
            return point
        point += 1


def kill_in_thread(touches: int) -> Any:
    """A profiler for new threads that kills the process before the n-th touch of a file."""
    count = 0

    def hook(frame: Any, event: str, function: Any) -> None:
        nonlocal count
        if event == "c_call" and (function.__name__ in TOUCHES or function.__name__ == "serialize_file"):
            count += 1
            if count > touches:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def check_killed_training_goes_on_exactly(folder: Path, kills: int = 2, seed: int = 5) -> None:
    """B6: a training process killed at random moments and resumed each time ends as the one that was not."""
    whole = state_of(*trained(folder / "whole", RESUME))
    chance, worker = random.Random(seed), LAWS / "killed_worker.py"
    for attempt in range(kills):
        child = subprocess.Popen(
            [sys.executable, worker, str(folder / "killed")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(LAWS)},
        )
        assert child.stdout is not None
        for _ in range(7 + attempt):  # so many steps it makes, at least
            child.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.03))
        child.send_signal(signal.SIGKILL)
        child.communicate()
    run = Run.open(folder / "killed" / "law" / "a")
    reached = checkpoints.load_checkpoint(run)
    assert reached.fallback is None and 0 < reached.step < 20, f"the kill came at step {reached.step}"
    trainer, watch = trained(folder / "killed", RESUME, resume_at=reached.step)
    resumed = state_of(trainer, watch)
    kept = [row for row in whole["rows"] if row[0] > reached.step]
    assert [tuple(row) for row in kept] == [tuple(row) for row in resumed["rows"]], (
        f"after kills and a resume at step {reached.step} the losses are others: a part of the "
        "state was not in the checkpoint"
    )
    resumed["rows"] = [row for row in resumed["rows"] if row[0] > 10]
    lost = [row for row in whole["rows"] if 10 < row[0] <= reached.step]
    check_same_state(whole, {**resumed, "rows": [*lost, *resumed["rows"]]})


# ---------------------------------------------------------------- a disk that refuses


def failing_writes(bad: set[int]) -> Any:
    """`write_checkpoint` on a disk that is full at the steps in `bad`."""
    honest = checkpoints.write_checkpoint

    def write(root: Path, number: int, **named: Any) -> Path:
        if number in bad:
            raise OSError(errno.ENOSPC, "No space left on device", str(root))
        return honest(root, number, **named)

    return write


class Saves(Callback):
    """Which checkpoints were announced."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_save(self, trainer: Any, path: Path) -> None:
        assert checkpoints.damage(path) is None, f"{path.name} was announced before it was whole"
        self.steps.append(int(path.name[5:]))


def disk_trainer(
    folder: Path, bad: set[int], monkeypatch: Any, *, beside: bool, **changes: Any
) -> tuple[Any, Saves]:
    """Eight steps, saved at every second one, on a disk that is full at some of them."""
    write = failing_writes(bad)
    monkeypatch.setattr(checkpoints, "write_checkpoint", write)
    monkeypatch.setattr(async_checkpoints.AsyncCheckpoints.__init__, "__kwdefaults__", {"write": write})
    saves = Saves()
    config = replace(BASE, steps=8, save_every=2, prompts=[], save_async=beside, **changes)
    return tiny_trainer(config, run=Run.create("disk", {}, root=folder), callbacks=(saves,)), saves


def check_full_disk_can_be_waited_out(folder: Path, monkeypatch: Any, *, beside: bool) -> None:
    """`on_save_error=continue`: said aloud, all steps are made, later saves are tried, the earlier one stands."""
    trainer, saves = disk_trainer(folder, {4, 6}, monkeypatch, beside=beside, on_save_error="continue")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = trainer.fit()
    texts = [str(w.message) for w in said if "cannot save" in str(w.message)]
    assert [t for t in texts if "step 4" in t and "step_000002 is intact" in t and "goes on" in t], (
        f"a failed save must be said with what is intact; said was {texts}"
    )
    assert result.step == 8 and result.checkpoint is not None and result.checkpoint.name == "step_000008"
    assert saves.steps == [2, 8], f"announced as saved: {saves.steps}"


def check_full_disk_may_cost_lines_but_not_the_run(folder: Path, monkeypatch: Any) -> None:
    """`on_save_error=continue`, and for a while no line of metrics can be written: said once, and it goes on."""
    honest = Run.metric

    def metric(run: Run, **fields: Any) -> None:
        if fields["step"] in (3, 4):
            raise OSError(errno.ENOSPC, "No space left on device", str(run.path))
        honest(run, **fields)

    monkeypatch.setattr(Run, "metric", metric)
    trainer, _ = disk_trainer(folder, {4}, monkeypatch, beside=True, on_save_error="continue")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = trainer.fit()
        except OSError as error:
            raise AssertionError(f"a line that could not be written ended the run: {error}") from error
    lost = [str(w.message) for w in said if "some lines are lost" in str(w.message)]
    assert len(lost) == 1, f"lost lines must be said once, not {len(lost)} times"
    steps = [row["step"] for row in trainer.run.metrics() if row["split"] == "train"]
    assert result.step == 8 and steps == [1, 2, 5, 6, 7, 8] and trainer.journal.lost_lines == 2


def check_full_disk_stops_cleanly(folder: Path, monkeypatch: Any, *, beside: bool) -> None:
    """`on_save_error=stop`: one line that names what is intact, and the earlier checkpoint loads."""
    trainer, saves = disk_trainer(folder, {4}, monkeypatch, beside=beside)
    stopped = "the run went on although a save had failed"
    try:
        trainer.fit()
    except RunFailure as failure:
        stopped = str(failure)
    assert "cannot save step 4" in stopped and "step_000002 is intact" in stopped and "\n" not in stopped, (
        stopped
    )
    assert trainer.now.step < 8 and saves.steps == [2]
    loaded = checkpoints.load_checkpoint(trainer.run)
    assert loaded.step == 2 and loaded.fallback is None


def check_lost_last_step_is_a_failure(folder: Path, monkeypatch: Any, *, beside: bool) -> None:
    """A run whose last step is nowhere is not complete, whatever `on_save_error` says."""
    trainer, _ = disk_trainer(folder, {8}, monkeypatch, beside=beside, on_save_error="continue")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = trainer.fit()
    except RunFailure as failure:
        assert "step 8" in str(failure) and "step_000006 is intact" in str(failure), str(failure)
        return
    raise AssertionError(f"the run ended as {result.status}, but its last step was never saved")


# ---------------------------------------------------------------- which checkpoints stay


def check_last_and_best_are_kept(root: Path) -> None:
    """The newest 2 and the 2 of the lowest loss stay; `best` is the lowest that is on disk, always."""
    scores = {1: 4.0, 2: 2.0, 3: 3.0, 4: 3.5, 5: 1.0, 6: 2.5, 7: 5.0, 8: 4.5}
    for number, score in scores.items():
        checkpoints.save_checkpoint(
            root, number, save_model=lambda folder: None, state={}, score=score, keep_last=2, keep_best=2
        )
        there = {int(path.name[5:]) for path in checkpoints.step_folders(root)}
        past = [n for n in scores if n <= number]
        wanted = set(past[-2:]) | set(sorted(past, key=scores.__getitem__)[:2])
        assert there == wanted, f"after step {number} the folders are {sorted(there)}, not {sorted(wanted)}"
        best = checkpoints.load_checkpoint(root, "best").step
        assert best == min(past, key=scores.__getitem__), f"after step {number} `best` is {best}"
    # the run goes on from step 6 and does better, then worse, than what it left behind
    for number, score, best in ((6, 0.5, 6), (7, 6.0, 6), (6, 9.0, 5)):
        checkpoints.save_checkpoint(
            root, number, save_model=lambda folder: None, state={}, score=score, keep_last=2, keep_best=2
        )
        assert checkpoints.load_checkpoint(root, "best").step == best, (
            "`best` must be the lowest loss of what is on disk now: a step that was written again has a new one"
        )
        assert checkpoints.load_checkpoint(root).step == number


# ---------------------------------------------------------------- fork


def check_fork_takes_weights_and_nothing_else(folder: Path) -> None:
    """Weights and tokenizer of the parent; step, optimizer, data and folder of its own; the parent as it was."""
    from pretraining.config import PretrainConfig
    from pretraining.recipe import train
    from utils.config import load_config

    tiny = [
        "steps=3",
        "batch_size=2",
        "preset=debug",
        "model.block_size=16",
        "tokenizer=byte",
        "max_documents=20",
    ]
    rest = ["log_every=1", "prompts=[]", "dtype=fp32", "device=cpu", f"runs={folder}"]
    config = load_config(PretrainConfig, None, [*tiny, *rest])
    parent = train(config)
    before = sha256_folder(parent.path)
    found: dict[str, Any] = {}

    class Look(Callback):
        def on_fit_start(self, trainer: Any) -> None:
            found["weights"] = {n: t.clone() for n, t in trainer.model.state_dict().items()}
            found["state"] = dict(trainer.optimizer.state)
            found["progress"] = trainer.now.step, trainer.now.tokens, trainer.train_batches.state_dict()

    fork = train(replace(config, seed=7, max_documents=30), fork=f"{parent.id}@best", callbacks=[Look()])
    saved = checkpoints.load_file(checkpoints.load_checkpoint(parent).path / "model.safetensors")
    assert found, "the fork did not begin"
    for name, tensor in saved.items():
        assert torch.equal(found["weights"][name], tensor), f"{name} is not the parent's at the fork's start"
    assert not found["state"], "a fork takes no optimizer state: its first step is a first step"
    assert found["progress"][:2] == (0, 0), f"the fork began at step {found['progress'][0]}, not 0"
    fresh = tiny_trainer().train_batches.state_dict()
    assert {k: found["progress"][2].get(k) for k in ("epoch", "position") if k in fresh} == {
        k: fresh[k] for k in ("epoch", "position") if k in fresh
    }, "a fork begins its data at the beginning"
    origin = fork.meta["inputs"]["fork"]
    assert origin["run"] == parent.id and origin["step"] == 3 and len(origin["sha256"]) == 64, (
        f"run.json does not say where the weights came from: {origin}"
    )
    assert fork.id != parent.id and fork.meta["config"]["parent"] == f"{parent.id}@3"
    assert sha256_folder(parent.path) == before, "the parent's folder was changed by its fork"
