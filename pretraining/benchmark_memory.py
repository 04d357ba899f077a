"""`python -m pretraining.benchmark_memory`: what activation checkpointing saves, and what it costs.

One training step (forward and backward, gradients already there) of the same model on the same batch, with and
without. Memory is counted, not sampled: the most bytes that torch's allocator had handed out at once. Gradients are
compared before anything is measured. The formula beside it is `gpt_model.memory`. Writes
results/activation_checkpointing.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args

RESULT = Path(__file__).parent / "results" / "activation_checkpointing.json"
GOAL = 2.0  # times less memory for activations: what makes the flag worth a third more arithmetic


@dataclass(frozen=True)
class MemoryConfig:
    """What is measured."""

    preset: str = field(default="storyteller", metadata={"help": "the model's shape"})
    model: dict[str, Any] = field(default_factory=dict, metadata={"help": "changes: model.n_layer=12"})
    batch_size: int = field(default=8, metadata={"help": "sequences in the step"})
    rounds: int = field(default=5, metadata={"help": "of the timing"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda"})
    seed: int = field(default=0, metadata={"help": "of weights and ids"})
    out: str = field(default=str(RESULT), metadata={"help": "where the result goes"})


def peak_bytes(work: Callable[[], Any], device: Any) -> int:
    """The most bytes that `work` had allocated at once above what was there before it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    held = most = 0
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(config: MemoryConfig) -> dict[str, Any]:
    """Peak bytes and seconds of a step, plain and checkpointed. Raises RunFailure when gradients differ."""
    import torch

    from gpt_model.config import preset
    from gpt_model.gpt import GPT
    from gpt_model.memory import training_memory
    from pretraining.activation_checkpointing import checkpointed_blocks
    from utils.device import pick_device
    from utils.errors import RunFailure
    from utils.timing import compare

    device = pick_device(config.device)
    shape = preset(config.preset, **config.model)
    torch.manual_seed(config.seed)
    model = GPT(shape).to(device).train()
    ids = torch.randint(shape.vocab_size, (config.batch_size, shape.block_size), device=device)

    def step(wanted: bool) -> list[torch.Tensor]:
        with checkpointed_blocks(model, wanted):
            model.zero_grad(set_to_none=False)
            torch.manual_seed(config.seed)  # the same dropout
            model(ids, targets=ids).loss.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = [gradient.clone() for gradient in step(False)]
    if not all(torch.equal(a, b) for a, b in zip(plain, step(True), strict=True)):
        raise RunFailure("gradients differ with activation checkpointing: nothing was measured")
    del plain
    steps = {"plain": partial(step, False), "checkpointed": partial(step, True)}
    peaks = {name: peak_bytes(call, device) for name, call in steps.items()}
    timed = compare(steps, rounds=config.rounds)
    said = training_memory(shape, config.batch_size, shape.block_size)
    return {
        "goal": f"activations in at least {GOAL:g} × less memory",
        "model": shape.to_dict(),
        "parameters": model.num_parameters(),
        "batch_size": config.batch_size,
        "device": str(device),
        "peak_bytes": peaks,
        "memory_ratio": peaks["plain"] / peaks["checkpointed"],
        "formula_bytes_plain": said.activations + said.vocabulary,
        "seconds": {name: row["median_s"] for name, row in timed["candidates"].items()},
        "time_ratio": 1 / timed["candidates"]["checkpointed"]["speedup"],
        **timed,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print goal and reached, write the result."""
    config, _ = parse_args(
        argv,
        MemoryConfig,
        prog="python -m pretraining.benchmark_memory",
        description=(__doc__ or "").split("\n\n")[0],
    )
    from utils.timing import write_result

    figures = measure(config)
    for name, peak in figures["peak_bytes"].items():
        print(f"{name:13} {peak / 1e6:8.1f} MB at the peak   {1e3 * figures['seconds'][name]:8.1f} ms a step")
    print(
        f"goal {GOAL:g} × less memory, reached {figures['memory_ratio']:.2f} × "
        f"for {figures['time_ratio']:.2f} × the time"
    )
    words = " ".join(["python -m pretraining.benchmark_memory", *command_words(config)])
    print(
        write_result(
            config.out, name="activation_checkpointing", figures=figures, command=words, seed=config.seed
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
