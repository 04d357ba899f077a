"""From what a person typed to the jobs that are sent: each named, its cost said first, and a limit that is obeyed.

`modal_train` hands its options to `submit`, with the two functions that send. Nothing here knows Modal, so a test sends
to a list. A sweep is the axes of `pretraining.sweep` (`lr=1e-3,3e-3`), one job for each combination, all at the same
time and each with its own name: given again, the sweep does only what is not done.
Left out: collecting the results of a sweep into a table (`pretraining.sweep` reads the runs of a folder).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from deployment.cost import Estimate, estimate, hours_of, parse_gpu
from deployment.jobs import Job
from deployment.spec import TrainSpec
from utils.errors import UserError

Send = Callable[[Sequence[dict[str, Any]]], Iterable[Any]]


def plan_jobs(
    run_id: str,
    command: str,
    arguments: Sequence[str],
    *,
    sweep: Sequence[str] = (),
    processes: int = 1,
    nodes: int = 1,
) -> list[Job]:
    """One job, or one for each combination of the sweep, named after the run and the settings."""
    if not sweep:
        return [Job(run_id, command, tuple(arguments), processes, nodes)]
    from pretraining.sweep_plan import make_plan, read_words

    axes, fixed = read_words(sweep)
    trials = make_plan(axes, fixed).trials
    return [
        Job(f"{run_id}-{trial.id}", command, (*arguments, *trial.words), processes, nodes) for trial in trials
    ]


def price_of(jobs: Sequence[Job], spec: TrainSpec, gpu: str) -> Estimate:
    """What these jobs cost together, side by side or one after the other."""
    kind = parse_gpu(gpu)
    first = jobs[0]
    hours, why = None, f"no formula for {first.command}: give minutes= to know its time"
    if first.command == "pretrain":
        found = [hours_of(job.arguments, kind, nodes=job.nodes) for job in jobs]
        why = found[0][1]
        hours = None if any(h is None for h, _ in found) else sum(h for h, _ in found if h is not None)
    else:
        minutes = [word for word in first.arguments if word.startswith("minutes=")]
        if minutes:
            hours, why = len(jobs) * float(minutes[-1].partition("=")[2]) / 60, minutes[-1]
    return estimate(
        kind,
        nodes=first.nodes,
        hours=hours,
        cores=spec.cores,
        timeout_hours=spec.timeout_hours,
        attempts=len(jobs) * (spec.retries + 1),
        why=why if len(jobs) == 1 else f"{len(jobs)} jobs; {why}",
    )


def check_price(found: Estimate, max_dollars: float | None) -> None:
    """Raise UserError where the estimate is above the limit, or cannot be made although there is one."""
    if max_dollars is None:
        return
    if found.dollars is None:
        raise UserError(
            f"max-dollars is {max_dollars:g}, but the cost is not known ({found.why}): give steps= or minutes=, "
            "or leave --max-dollars out"
        )
    if found.dollars > max_dollars:
        raise UserError(
            f"the estimate is ${found.dollars:.2f}, above max-dollars={max_dollars:g}: a smaller budget, a cheaper "
            "--gpu, or a higher limit"
        )


def submit(
    spec: TrainSpec,
    send: Send,
    send_clustered: Send,
    *,
    run_id: str,
    arguments: str = "",
    command: str = "pretrain",
    gpu: str = "",
    nodes: int = 1,
    sweep: str = "",
    max_dollars: float = 0.0,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> list[Any]:
    """Plan, say the cost, and send unless it is a dry run or too dear. Returns what came back, job by job.

    Raises:
        UserError: something that the machine at the other end would have found out for money.
    """
    kind = parse_gpu(gpu or spec.gpu)
    if nodes > 1 and nodes != spec.nodes:
        raise UserError(
            f"nodes is {nodes} but the cluster was made for {spec.nodes}: set SCRATCHBOOK_MODAL_NODES={nodes}"
        )
    if nodes > 1 and sweep:
        raise UserError("a sweep runs many small jobs: leave --nodes out")
    jobs = plan_jobs(
        run_id,
        command,
        shlex.split(arguments),
        sweep=shlex.split(sweep),
        processes=kind.count,
        nodes=nodes,
    )
    found = price_of(jobs, spec, str(kind))
    for job in jobs:
        say(f"job {job.run_id}: {job.command} {shlex.join(job.arguments)}".rstrip())
    say(str(found))
    check_price(found, max_dollars or None)
    if dry_run:
        say("dry run: nothing was sent")
        return []
    results = list((send if nodes == 1 else send_clustered)([asdict(job) for job in jobs]))
    for result in results:
        say(str(result))
    return results
