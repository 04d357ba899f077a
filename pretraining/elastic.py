"""A process died: torchrun starts all of them again, and training goes on from the last checkpoint.

`torchrun --max-restarts 3 …` repeats the same command after a failure. The command says how to *begin*; whoever is
started again must find the run that the earlier attempt made, and go on with it. Each run therefore keeps the name of
its launch: torchrun's `--rdzv-id` where one was given, else the machine and the process id of torchrun itself, which
stays while its children come and go. The number of processes may have changed (`--nnodes 1:4`): the batch is global,
the place in the data counts over all ranks, and a checkpoint is whole, so any number goes on (law LP4).
Left out: noticing a rank that hangs instead of dying (torch's own time limits do), keeping several machines' disks
alike. Explained in notebook 04_many_processes.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from utils.runs import list_runs


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun (or anything else that sets RANK and WORLD_SIZE) started this process."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def leave(code: int) -> int:
    """The last call of a command: ends a process that torchrun started, at once; elsewhere gives back `code`.

    torch 2.13 keeps a process group alive after everything made of it is gone (its gloo threads show it), and when
    the interpreter then takes things down in its own order, some exits abort although all work succeeded (3 of 12).
    """
    if not launched():
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def launch_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The name of the torchrun that started this process, the same after each restart; None without one.

    >>> launch_id({"TORCHELASTIC_RUN_ID": "night-7"})
    'night-7'
    """
    name = environment.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return None
    return (
        name if name != "none" else f"{socket.gethostname()}:{os.getppid()}"
    )  # "none" is what all are called


def restarts(environment: Mapping[str, str] = os.environ) -> int:
    """How often torchrun has started this process again."""
    text = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(text) if text.isdigit() else 0


def run_to_go_on_with(stage: str, root: Path | str | None = None) -> Path | None:
    """The newest run of this launch that has a checkpoint, if this process was started again; else None."""
    if restarts() == 0:
        return None
    from pretraining.checkpoints import checkpoint_root, step_folders

    name = launch_id()
    mine = (run for run in list_runs(stage=stage, root=root) if run.meta.get("launch") == name)
    return next((run.path for run in mine if step_folders(checkpoint_root(run))), None)
