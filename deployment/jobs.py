"""`python -m deployment.jobs --run-id night-7 -- data=storyland minutes=30`: a job with a name, on any machine.

The same command may be given again and again, after a crash, a preemption, a timeout: it begins the run of that name,
goes on with it, or finds it complete. A rented machine does nothing else; `modal_train` is this function on a volume.

The work itself is a command of the book in a process of its own, the same `main` as at home, with torchrun around it
where there are several GPUs. This process watches it: a new checkpoint is committed to the place at once, the lease is
renewed, SIGTERM and the deadline are handed on (the command finishes its step and saves). How it ended decides whether
another attempt can help (`verdict`): bad input never gets better, and a crash that has come no further than the
attempt before it would only cost the same money again.
Left out: where the machine comes from.
Notebook: `01_from_laptop_to_cloud`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deployment.lease import Lease
from deployment.places import Place, local_place
from deployment.resume import Found, prepare
from pretraining.child_process import Child, Ending, python
from pretraining.stopping import StopRequest
from pretraining.train_job import reached
from utils.cli import run_main
from utils.errors import RunFailure, UserError, closest, did_you_mean
from utils.runs import RUN_ID_VARIABLE, Run

POLL_SECONDS = 0.2
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True)
class Command:
    """A command of the book that can be a job: its module, the stage of its runs, whether torchrun may start it."""

    module: str
    stage: str
    distributed: bool = False


COMMANDS = {
    "pretrain": Command("pretraining.train", "pretrain", distributed=True),
    "sft": Command("finetuning.instruction.train", "sft"),
    "dpo": Command("finetuning.preference.dpo", "dpo"),
    "classify": Command("finetuning.classification.train", "classify"),
}


@dataclass(frozen=True)
class Job:
    """What to run, by name. `arguments` are those of the command; `processes` are on each of `nodes` machines."""

    run_id: str
    command: str = "pretrain"
    arguments: tuple[str, ...] = ()
    processes: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        if (
            not self.run_id
            or self.run_id.startswith(".")
            or set(self.run_id) - PLAIN
            or len(self.run_id) > 80
        ):
            raise UserError(
                f"run id is {self.run_id!r}: use up to 80 letters, digits, '-', '_' and '.', not first a '.'"
            )
        if self.command not in COMMANDS:
            hint = did_you_mean(closest(self.command, COMMANDS))
            raise UserError(f"command is {self.command!r}: {hint}choose one of {', '.join(COMMANDS)}")
        for word in self.arguments:
            if word.startswith(("--resume", "runs=", "--runs")):
                raise UserError(f"{word!r}: the job decides that itself, by its run id; leave it out")
        if self.processes < 1 or self.nodes < 1:
            raise UserError(f"processes={self.processes}, nodes={self.nodes}: the least is 1")
        if self.processes * self.nodes > 1 and not COMMANDS[self.command].distributed:
            raise UserError(f"{self.command} runs in one process: take one GPU on one machine")

    @property
    def stage(self) -> str:
        """The stage of its run."""
        return COMMANDS[self.command].stage


@dataclass(frozen=True)
class Node:
    """Which machine of a job's machines this is, and where the first one listens."""

    rank: int = 0
    master: str = "127.0.0.1"
    port: int = 29500


ALONE = Node()


@dataclass(frozen=True)
class JobResult:
    """How an attempt ended, in plain values: it travels between machines.

    `began` is the step that it went on from, `step` the newest checkpoint now.
    """

    run_id: str
    status: str
    path: str
    began: int
    step: int
    seconds: float
    reason: str | None = None
    code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{self.run_id}: {self.status} at step {self.step} (from {self.began}, {self.seconds:.0f} s){why}"
        )


class Interrupted(RunFailure):
    """The attempt is over but the job is not; whoever started it should start it again."""

    def __init__(self, result: JobResult) -> None:
        super().__init__(f"{result}; the same command goes on")
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:  # it crosses between machines, too
        return Interrupted, (self.result,)


def command_line(job: Job, found: Found, node: Node = ALONE) -> list[str]:
    """The process to start: the command, with `--resume` where there is something to go on with, under torchrun
    where there are several."""
    command = COMMANDS[job.command]
    tail = ["--resume", str(found.path)] if found.state == "resumable" else list(job.arguments)
    if job.processes * job.nodes == 1:
        return python("-m", command.module, *tail)
    if job.nodes == 1:
        place = ["--standalone"]
    else:
        where = ["--master-addr", node.master, "--master-port", str(node.port)]
        place = ["--nnodes", str(job.nodes), "--node-rank", str(node.rank), *where]
    launcher = ["-m", "torch.distributed.run", *place, "--nproc-per-node", str(job.processes)]
    return python(*launcher, "-m", command.module, *tail)


def verdict(ending: Ending, began: int, step: int, *, asked_to_stop: bool) -> str:
    """`complete`, `again` (another attempt goes on or may help) or `failed` (it would end the same way).

    >>> verdict(Ending("failed", 2), 0, 0, asked_to_stop=False)  # bad input
    'failed'
    >>> verdict(Ending("failed", 1), 200, 400, asked_to_stop=False)  # it came further before it fell
    'again'
    >>> verdict(Ending("failed", 1), 200, 200, asked_to_stop=False)  # at the same step as the attempt before it
    'failed'
    """
    if ending.status == "complete":
        return "complete"
    if asked_to_stop or ending.status == "stopped":
        return "again"
    if ending.code == 2:
        return "failed"
    return "again" if step > began else "failed"


def run_job(
    job: Job,
    place: Place,
    *,
    node: Node = ALONE,
    deadline: float | None = None,
    lease: Callable[[Place, str], Lease] = Lease,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> JobResult:
    """One attempt: begin the job, go on with it, or find it complete. Safe to call again, from any machine.

    After `deadline` seconds it is asked to stop and saves, so that a machine with a time limit loses nothing.

    Raises:
        Interrupted: it was stopped, or fell after it had come further: call again.
        UserError: someone else is working on the run.
    """
    name = f"{job.stage}/{job.run_id}"
    if node.rank > 0:  # the first machine holds the lease and writes; the others compute
        place.reload()
        return _attempt(job, place, node, None, deadline, say)
    with lease(place, name) as held:
        return _attempt(job, place, node, held, deadline, say)


def _attempt(
    job: Job, place: Place, node: Node, held: Lease | None, deadline: float | None, say: Callable[[str], None]
) -> JobResult:
    from deployment.resume import look

    found = (prepare if held else look)(place.root, job.stage, job.run_id)
    result = JobResult(job.run_id, "complete", str(found.path), found.step, found.step, 0.0)
    if found.state == "complete":
        say(f"{job.run_id}: complete already at step {found.step}, nothing to do")
        return result
    words = command_line(job, found, node)
    begins = {"resumable": f"go on from step {found.step}", "new": "begin", "dead": "begin again"}
    say(f"{job.run_id}: {begins[found.state]}: {' '.join(words[1:])}")
    ending, seconds, asked = _watch(job, words, place, found, held, deadline, say)
    run = Run.open(found.path) if (found.path / "run.json").is_file() else None
    step = 0 if run is None else reached(run)
    result = replace(result, step=step, seconds=seconds, reason=ending.reason, code=ending.code)
    judged = verdict(ending, found.step, step, asked_to_stop=asked)
    place.commit()
    if judged == "again":
        raise Interrupted(replace(result, status="stopped" if asked else "interrupted"))
    result = replace(result, status=judged)
    say(str(result))
    return result


def _watch(
    job: Job,
    words: list[str],
    place: Place,
    found: Found,
    held: Lease | None,
    deadline: float | None,
    say: Callable[[str], None],
) -> tuple[Ending, float, bool]:
    """Start the process and see to it until it ends: (how, seconds, whether it was asked to stop)."""
    place.root.mkdir(parents=True, exist_ok=True)
    machine = "" if held else ".other-machine"  # which has a log of its own
    log = place.root / "logs" / f"{job.stage}-{job.run_id}{machine}.log"
    environment = {"SCRATCHBOOK_RUNS": str(place.root), RUN_ID_VARIABLE: f"{job.stage}/{job.run_id}"}
    safe = found.step
    with StopRequest() as stop:
        child = Child(words, log, environment)
        try:
            while (ending := child.ended()) is None:
                if deadline is not None and child.seconds > deadline:
                    stop.request(f"the limit of {deadline:.0f} s")
                if stop.requested:
                    child.stop()
                if held is not None:
                    held.renew()
                    step = _newest(found.path)
                    if step > safe:
                        safe = step
                        place.commit()
                        say(f"{job.run_id}: step {safe} is safe")
                time.sleep(POLL_SECONDS)
        finally:
            child.kill()
        return ending, child.seconds, stop.requested


def _newest(path: Path) -> int:
    """The newest whole checkpoint of a run that may not have begun."""
    return reached(Run.open(path)) if (path / "run.json").is_file() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployment.jobs",
        description="Begin the run of this name, go on with it, or find it complete.",
        epilog="after --: the arguments of the command, such as data=storyland minutes=5",
    )
    parser.add_argument("--run-id", required=True, metavar="ID", help="the run's name: the same each time")
    parser.add_argument("--command", default="pretrain", help=f"{', '.join(COMMANDS)} (default: pretrain)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="one for each GPU (default: 1)")
    parser.add_argument(
        "--runs", metavar="DIR", help="where runs are; default: $SCRATCHBOOK_RUNS, else ./runs"
    )
    parser.add_argument("--limit-seconds", type=float, metavar="S", help="stop and save after so long")
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """One attempt on this machine. Returns 0 complete, 130 stopped and saved, else the command's own code."""
    options = _parser().parse_args(argv)
    job = Job(options.run_id, options.command, tuple(options.arguments), options.processes)
    try:
        result = run_job(job, local_place(options.runs), deadline=options.limit_seconds)
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 130
    if result.status == "complete":
        print(f"next: scratchbook sample --ckpt {os.path.relpath(result.path)}")
    return 0 if result.status == "complete" else result.code or 1


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
