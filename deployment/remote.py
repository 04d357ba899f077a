"""What the bodies of Modal's functions call: the bridge between a job as plain values and `deployment.jobs`.

A job travels as a dict and its result comes back as one. On Modal the place is the mounted Volume; called with
`.local()`, without an account, it is the local folder of runs, and everything else is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from deployment.jobs import Interrupted, Job, JobResult, Node, run_job
from deployment.places import Place, local_place, volume_place
from deployment.spec import TrainSpec

PORT = 29500
ALONE = Node()


def train_place(spec: TrainSpec) -> Place:
    """The Volume inside a container, the local runs anywhere else."""
    import modal

    if modal.is_local():
        return local_place()
    return volume_place(modal.Volume.from_name(spec.volume), spec.mount)


def as_job(values: dict[str, Any]) -> Job:
    """The job that was sent. A list of arguments is as good as a tuple."""
    return Job(**{**values, "arguments": tuple(values.get("arguments", ()))})


def attempt(values: dict[str, Any], place: Place, spec: TrainSpec, node: Node = ALONE) -> dict[str, Any]:
    """One attempt. A result ends the job; an exception (`Interrupted`) asks the provider for another attempt."""
    return run_job(as_job(values), place, node=node, deadline=spec.deadline).to_dict()


def cluster_attempt(values: dict[str, Any], place: Place, spec: TrainSpec) -> dict[str, Any]:
    """The same on one of several machines; only the result of the first is looked at."""
    return attempt(values, place, spec, this_node())


def this_node() -> Node:
    """Which of the cluster's machines this is, as Modal tells it; the only one, outside a cluster."""
    import modal

    if modal.is_local():
        return ALONE
    cluster = modal.Cluster.from_context()
    return Node(cluster.container_rank(), cluster.container_ips("ipv4")[0], PORT)


def send_each(function: Any, gpu: str) -> Callable[[Sequence[dict[str, Any]]], Iterable[Any]]:
    """Send every job to a machine of its own, with `gpu` where one was named; results in the order of the jobs.

    One that fails is an exception among the results, and the others go on.
    """

    def send(jobs: Sequence[dict[str, Any]]) -> Iterable[Any]:
        target = function.with_options(gpu=gpu) if gpu else function
        for answer in target.starmap([(job,) for job in jobs], return_exceptions=True):
            yield readable(answer)

    return send


def send_clustered(function: Any, gpu: str) -> Callable[[Sequence[dict[str, Any]]], Iterable[Any]]:
    """Send one job to all machines of the cluster."""

    def send(jobs: Sequence[dict[str, Any]]) -> Iterable[Any]:
        target = function.with_options(gpu=gpu) if gpu else function
        return [readable(target.remote(job)) for job in jobs]

    return send


def readable(answer: Any) -> Any:
    """A result as `JobResult`, what was interrupted as its own result, any other exception as it is."""
    if isinstance(answer, dict):
        return JobResult(**answer)
    if isinstance(answer, Interrupted):
        return answer.result
    if isinstance(answer, BaseException):
        print(f"error: {answer}", file=sys.stderr)
    return answer
