"""`python -m pretraining.benchmark_distributed`: one process against several, on the same global batch.

In turn, several rounds: `one` (a single process, one thread), then so many processes of one thread each: `apart` (each
computes its rows and sends nothing: what the cores can do at best), `ddp` and `fsdp`. What counts is seconds a step.
Each launch also counts what the formulas of `scale_plan` speak of: bytes received over the sockets a step, bytes of
state a rank, messages a step, and what the link carries (an all-reduce of as many bytes as there are gradients). The
time of a step is then foretold from `apart` and the link, and stands beside the measured one.
Writes results/distributed.json, from which SCALE.md is made. Every launch is torchrun's, so the figures contain what
users get; the time to start is not in them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure

if TYPE_CHECKING:
    from pretraining.distributed import World

RESULT = Path(__file__).parent / "results" / "distributed.json"
GOAL = 0.90  # of the speed of processes that send nothing
MODES = ("one", "apart", "ddp", "fsdp")


@dataclass(frozen=True)
class DistributedConfig:
    """What is measured."""

    preset: str = field(default="storyteller", metadata={"help": "the model's shape"})
    model: dict[str, Any] = field(default_factory=dict, metadata={"help": "changes: model.n_layer=2"})
    batch_size: int = field(default=16, metadata={"help": "sequences of a step, over all processes"})
    processes: int = field(default=2, metadata={"help": "how many share the batch"})
    steps: int = field(default=8, metadata={"help": "of one launch, after two that are not counted"})
    rounds: int = field(default=3, metadata={"help": "launches of each kind, in turn"})
    seed: int = field(default=0, metadata={"help": "of weights and ids"})
    mode: str = field(default="", metadata={"help": "for the processes themselves: what this launch does"})
    out: str = field(default=str(RESULT), metadata={"help": "where the result goes"})


def launch(config: DistributedConfig, mode: str) -> dict[str, Any]:
    """One launch of torchrun; what rank 0 measured. Raises RunFailure with the last line of its errors."""
    count = 1 if mode == "one" else config.processes
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        settings = {**asdict(config), "mode": mode, "out": str(out)}
        words = [
            f"{key}={json.dumps(value) if isinstance(value, dict) else value}"
            for key, value in settings.items()
        ]
        torchrun = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
        ]
        done = subprocess.run(
            [*torchrun, "-m", "pretraining.benchmark_distributed", *words], capture_output=True, text=True
        )
        if done.returncode or not out.exists():
            raise RunFailure(
                f"{mode}: the processes ended with {done.returncode}: {done.stderr.strip()[-400:]}"
            )
        return json.loads(out.read_text())


def measure_here(config: DistributedConfig, world: World) -> dict[str, Any]:
    """What one rank of a launch does and counts; rank 0 writes it."""
    import torch

    from gpt_model.config import preset
    from gpt_model.gpt import GPT
    from pretraining.config import TrainConfig
    from pretraining.distributed import SINGLE
    from pretraining.gradients import accumulate, clip_gradients
    from pretraining.optimizers import build_optimizer, trainable
    from pretraining.wire import received_bytes
    from utils.timing import Timer

    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    shape = preset(config.preset, **config.model)
    model = GPT(shape)
    alone = config.mode in ("one", "apart")
    forward = model if alone else world.wrap(model, config.mode)
    train = TrainConfig(device="cpu", dtype="fp32", batch_size=config.batch_size)
    optimizer, parameters = build_optimizer(model, train), list(trainable(model).values())
    rows = world.share_of(config.batch_size)
    ids = torch.randint(shape.vocab_size, (rows, shape.block_size + 1))

    def step() -> None:
        accumulate(forward, [(ids[:, :-1], ids[:, 1:])], world=SINGLE if alone else world)
        clip_gradients(parameters, train.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(2):  # DDP lays its buckets out anew after the first
        step()
    world.barrier()
    before = received_bytes()
    with Timer() as timer:
        for _ in range(config.steps):
            step()
        world.barrier()
    after = received_bytes()
    state = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    kept = [
        getattr(t, "to_local", lambda t=t: t)() for t in (*parameters, *parameters, *state)
    ]  # weights, gradients
    numbers = sum(p.numel() for p in parameters)
    return {
        "seconds_per_step": timer.seconds / config.steps,
        "received_bytes_per_step": None
        if before is None or after is None
        else (after - before) / config.steps,
        "state_bytes": sum(t.numel() * t.element_size() for t in kept),
        "parameters": numbers,
        "outside_blocks": sum(p.numel() for n, p in model.named_parameters() if "blocks." not in n),
        "link_seconds": link_seconds(world, numbers) if config.mode == "ddp" else None,
    }


def link_seconds(world: World, numbers: int, repeats: int = 5) -> float:
    """Seconds of one all-reduce of as many fp32 numbers as there are gradients: the median."""
    import torch
    import torch.distributed as dist

    from utils.timing import Timer

    payload, times = torch.zeros(numbers), []
    for _ in range(repeats + 1):
        world.barrier()
        with Timer() as timer:
            dist.all_reduce(payload)
        times.append(timer.seconds)
    return statistics.median(times[1:])


def measure(config: DistributedConfig) -> dict[str, Any]:
    """All launches, and the formulas beside what they measured."""
    from pretraining.scale_plan import ring_bytes, state_bytes, step_bytes

    rounds: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for _ in range(config.rounds):
        for mode in MODES:
            rounds[mode].append(launch(config, mode))
    seconds = {mode: [r["seconds_per_step"] for r in rows] for mode, rows in rounds.items()}
    median = {mode: statistics.median(values) for mode, values in seconds.items()}
    first = rounds["fsdp"][0]
    weights, count = first["parameters"], config.processes
    link = statistics.median(r["link_seconds"] for r in rounds["ddp"])
    gloo = {"outside": first["outside_blocks"], "gathered": 4, "scatter": ring_bytes}
    formula = {
        "ddp_bytes": step_bytes(weights, count, "ddp"),
        "fsdp_bytes": step_bytes(weights, count, "fsdp", **gloo),
        "ddp_state_bytes": state_bytes(weights, count, "ddp"),
        "fsdp_state_bytes": state_bytes(weights, count, "fsdp"),
        "ddp_seconds": median["apart"] + link,  # nothing hides on a CPU: its cores also carry the messages
    }
    measured = {
        **{f"{m}_bytes": rounds[m][0]["received_bytes_per_step"] for m in ("ddp", "fsdp")},
        **{f"{m}_state_bytes": rounds[m][0]["state_bytes"] for m in ("ddp", "fsdp")},
        "ddp_seconds": median["ddp"],
    }
    ratios = [
        a["seconds_per_step"] / b["seconds_per_step"]
        for a, b in zip(rounds["apart"], rounds["ddp"], strict=True)
    ]
    return {
        "goal": f"DDP at least {GOAL:g} × as fast as processes that send nothing",
        "setting": {k: v for k, v in asdict(config).items() if k not in ("mode", "out")},
        "parameters": weights,
        "processes": count,
        "seconds": seconds,
        "median_seconds": median,
        "efficiency": {mode: median["one"] / (count * median[mode]) for mode in ("apart", "ddp", "fsdp")},
        "ddp_over_apart": statistics.median(ratios),
        "ddp_over_apart_range": [min(ratios), max(ratios)],
        "link_bytes_per_second": ring_bytes(4 * weights, count) / link,
        "formula": formula,
        "measured": measured,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print goal and reached, write the result. Started by torchrun, one rank of a launch."""
    config, _ = parse_args(
        argv,
        DistributedConfig,
        prog="python -m pretraining.benchmark_distributed",
        description=(__doc__ or "").split("\n\n")[0],
    )
    if config.mode:
        from pretraining.distributed import open_world

        with open_world("cpu") as world:
            figures = measure_here(config, world)
            if world.is_main:
                Path(config.out).write_text(json.dumps(figures))
        os._exit(0)  # all is written; torch's threads sometimes abort when the interpreter ends under them
    from utils.timing import write_result

    figures = measure(config)
    for mode, value in figures["median_seconds"].items():
        share = figures["efficiency"].get(mode, 1.0)
        print(f"{mode:6} {1e3 * value:8.1f} ms a step   efficiency {share:.2f}")
    for name, said in figures["formula"].items():
        found = figures["measured"][name]
        print(
            f"{name:18} formula {said:14,.3f}   measured {'not counted here' if found is None else f'{found:14,.3f}'}"
        )
    low, high = figures["ddp_over_apart_range"]
    reached = f"{figures['ddp_over_apart']:.2f} × ({low:.2f} to {high:.2f})"
    print(f"goal {GOAL:g} × the speed without messages, reached {reached}")
    words = " ".join(["python -m pretraining.benchmark_distributed", *command_words(config)])
    print(write_result(config.out, name="distributed", figures=figures, command=words, seed=config.seed))
    return 0


if __name__ == "__main__":
    from pretraining.elastic import leave

    raise SystemExit(leave(run_main(main)))
