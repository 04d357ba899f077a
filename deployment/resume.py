"""What an earlier attempt left behind, and what a new one does with it: begin, go on, begin again, or nothing.

    no folder                      new          begin
    run.json says complete         complete     nothing to do
    a whole checkpoint             resumable    go on with `--resume`
    a run without a checkpoint     dead         remove it and begin: nothing was learned yet

The name of the run is the only memory that an attempt has: a machine that is started again knows the same command and
nothing else. Whether a run is over is told by its own run.json, how far it came by its checkpoints, and a checkpoint
counts when its manifest is there (`pretraining.train_job.reached`).

A killed machine leaves "running" in run.json for ever, and the machine that follows cannot ask whether that process
lives. Whoever holds the job's lease knows that it does not, and writes that down first (`take_over`): otherwise the
resume would refuse, to protect a process that is long gone.
"""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from pretraining.train_job import reached
from utils.errors import UserError
from utils.runs import Run


@dataclass(frozen=True)
class Found:
    """What is there: `state` is new, dead, resumable or complete; `step` of the newest whole checkpoint."""

    state: str
    path: Path
    step: int = 0


def look(root: Path, stage: str, run_id: str) -> Found:
    """What is there of the run `stage/run_id` below `root`. Changes nothing."""
    path = root / stage / run_id
    if not path.exists():
        return Found("new", path)
    if not (path / "run.json").is_file():  # killed between making the folder and the first line in it
        return Found("dead", path)
    run = Run.open(path)
    step = reached(run)
    if run.status == "complete":
        return Found("complete", path, step)
    return Found("resumable" if step else "dead", path, step)


def take_over(path: Path) -> str | None:
    """Write into run.json that the process of another machine is gone; a word about it, or None if nothing was.

    Only for the holder of the job's lease. A process of *this* machine can be asked: one that lives is refused.

    Raises:
        UserError: the run is being trained on this machine.
    """
    run = Run.open(path)
    if run.meta["status"] != "running":
        return None
    host = run.meta.get("host")
    if host == socket.gethostname():
        if run.status == "running":
            raise UserError(
                f"run {run.id} is being trained by process {run.meta['pid']} of this machine: wait for it or stop it"
            )
        return None
    run.finish("stopped", f"the machine {host} went away")
    return f"{host} went away at step {reached(run)}"


def prepare(root: Path, stage: str, run_id: str) -> Found:
    """Make the place ready for an attempt: what is dead is removed, what can go on may.

    Only for the holder of the job's lease.
    """
    found = look(root, stage, run_id)
    if found.state in ("dead", "resumable") and (found.path / "run.json").is_file():
        take_over(found.path)
    if found.state == "dead":
        shutil.rmtree(found.path)
    return found
