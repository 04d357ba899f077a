"""`modal run deployment/modal_train.py --run-id night-7 --arguments "--preset gpt2-small data=/vol/shards"`.

Training on rented GPUs by the command that trains at home. Data, shards and runs lie on a Volume; each checkpoint is
committed when it is whole; a preempted, timed-out or crashed attempt is started again with the same name and goes on
(`deployment.jobs`). The cost is said before anything starts: `--max-dollars 20` refuses above, `--dry-run` only says.

    --gpu H100:8                          torchrun inside, one process a GPU
    --nodes 2                             several machines (SCRATCHBOOK_MODAL_NODES says how many are rented together)
    --sweep "lr=1e-3,3e-3 seed=0,1"       all combinations at the same time
    --command sft                         finetuning: sft, dpo or classify

Each function is one call into plain functions that the tests run on a CPU. What Modal itself does was not run: there
was no account (deployment/README.md says which steps those are). Settings of the machine: `deployment.spec.TrainSpec`.
"""

from __future__ import annotations

from typing import Any

import modal

from deployment.image import TRAIN_EXTRAS, modal_image
from deployment.remote import attempt, cluster_attempt, send_clustered, send_each, train_place
from deployment.spec import TrainSpec, from_environment, train_options
from deployment.submit import submit

SPEC = from_environment(TrainSpec)
app = modal.App("scratchbook-train", image=modal_image(TRAIN_EXTRAS))


@app.function(**train_options(SPEC))
def train(job: dict[str, Any]) -> dict[str, Any]:
    """One attempt at a job, on one machine."""
    return attempt(job, train_place(SPEC), SPEC)


@app.function(**train_options(SPEC, single_node=False))
@modal.clustered(size=SPEC.nodes)
def train_on_nodes(job: dict[str, Any]) -> dict[str, Any]:
    """One attempt at a job, on several machines at once."""
    return cluster_attempt(job, train_place(SPEC), SPEC)


@app.local_entrypoint()
def main(
    run_id: str,
    arguments: str = "",
    command: str = "pretrain",
    gpu: str = "",
    nodes: int = 1,
    sweep: str = "",
    max_dollars: float = 0.0,
    dry_run: bool = False,
) -> None:
    """Say what it costs, then run the job, or a sweep of jobs, by name."""
    submit(
        SPEC,
        send_each(train, gpu),
        send_clustered(train_on_nodes, gpu),
        run_id=run_id,
        arguments=arguments,
        command=command,
        gpu=gpu,
        nodes=nodes,
        sweep=sweep,
        max_dollars=max_dollars,
        dry_run=dry_run,
    )
