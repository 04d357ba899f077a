"""`python -m pretraining.benchmark`: our training step against a plain fp32 PyTorch loop, in one process.

Both train the same GPT class on the same batches of random tokens at the demo's configuration. The plain
loop is what one writes first: fp32, scaled_dot_product_attention, unfused AdamW over all parameters,
`clip_grad_norm_`, torch's default settings. Ours is one step of `Trainer` with its defaults: bf16 autocast
where the CPU has it, fast exact fp32 where not, fused AdamW, attention chosen by shape. Rounds alternate
(A B A B …); losses are compared before anything is timed. Writes results/training_step.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt_model.config import preset
from gpt_model.gpt import GPT
from pretraining.config import TrainConfig
from pretraining.gradients import Batch, accumulate, clip_gradients
from pretraining.optimizers import build_optimizer, trainable
from utils.cli import run_main
from utils.device import exact_fast_matmul, pick_device, pick_dtype
from utils.errors import RunFailure
from utils.timing import compare, peak_memory_bytes, write_result
from working_with_text_data.windows import BatchLoader

RESULT = Path(__file__).parent / "results" / "training_step.json"
TOLERANCE = 0.01  # relative: bf16 against fp32 over a few steps (law LP10)


def flops_per_token(model: GPT) -> int:
    """6 N + 12 L H Q T: N weights in matrix products (a tied head is one), forward and backward."""
    c = model.config
    n = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "position" not in name)
    if not c.tie_weights:
        n -= model.token_embedding.weight.numel()  # looked up, not multiplied
    return 6 * n + 12 * c.n_layer * c.n_embd * c.block_size


def plain_step(model: GPT, batches: Iterator[Batch], lr: float) -> Callable[[], float]:
    """The loop one writes first. Returns a function that takes one step and returns its loss."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1, foreach=False, fused=False
    )

    def step() -> float:
        x, y = next(batches)
        optimizer.zero_grad()
        loss = model(x, targets=y).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def our_step(model: GPT, batches: Iterator[Batch], config: TrainConfig) -> Callable[[], float]:
    """What `Trainer.fit` does in one step, with the same functions."""
    optimizer = build_optimizer(model, config)
    parameters = list(trainable(model).values())
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)

    def step() -> float:
        loss, _ = accumulate(model, [next(batches)], device=device, dtype=dtype)
        clip_gradients(parameters, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def measure(
    *,
    name: str = "storyteller",
    batch_size: int = 16,
    steps: int = 5,
    rounds: int = 7,
    threads: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Tokens per second of both and their ratio, median and range over `rounds` of `steps` steps each.

    Raises RunFailure when the two do not compute the same losses.
    """
    torch.set_num_threads(threads)
    ours_config = TrainConfig(batch_size=batch_size, lr=1e-3, device="cpu")
    shape = preset(name)
    tokens = np.random.default_rng(seed).integers(shape.vocab_size, size=200_000)

    def build(backend: str) -> GPT:
        torch.manual_seed(seed)
        return GPT(preset(name, attn_backend=backend))

    def loader() -> Iterator[Batch]:
        return iter(BatchLoader(tokens, batch_size, shape.block_size, seed=seed))

    plain_model, our_model = build("sdpa"), build("auto")
    plain = plain_step(plain_model, loader(), ours_config.lr)
    fp32_config = TrainConfig(batch_size=batch_size, lr=1e-3, device="cpu", dtype="fp32")
    ours, ours_fp32 = (
        our_step(our_model, loader(), ours_config),
        our_step(build("auto"), loader(), fp32_config),
    )

    losses: dict[str, list[float]] = {"plain": [], "ours": [], "ours_fp32": []}

    def several(kind: str, step: Callable[[], float], fast: bool) -> Callable[[], None]:
        def call() -> None:
            with exact_fast_matmul(fast):
                losses[kind].extend(step() for _ in range(steps))

        return call

    calls = {
        "plain": several("plain", plain, False),
        "ours": several("ours", ours, True),
        "ours_fp32": several("ours_fp32", ours_fp32, True),
    }
    for call in calls.values():
        call()
    worst = max(
        abs(a - b) / a
        for kind in ("ours", "ours_fp32")
        for a, b in zip(losses["plain"], losses[kind], strict=True)
    )
    if worst > TOLERANCE:
        raise RunFailure(f"the loops do not compute the same losses (off by {worst:.1%}): nothing was timed")
    timed = compare(calls, rounds=rounds)
    per_call = steps * batch_size * shape.block_size
    flops = flops_per_token(our_model)
    for row in timed["candidates"].values():
        row["tokens_per_second"] = per_call / row["median_s"]
        row["gflops"] = flops * row["tokens_per_second"] / 1e9
    return {
        "goal": "ours at least 1.3 × plain",
        "model": shape.to_dict(),
        "parameters": our_model.num_parameters(),
        "batch_size": batch_size,
        "steps_per_round": steps,
        "threads": threads,
        "dtype": str(pick_dtype("auto", torch.device("cpu"))).removeprefix("torch."),
        "flops_per_token": flops,
        "worst_relative_loss_difference": worst,
        "gemm_peak_gflops": gemm_peaks(),
        "peak_memory_bytes": peak_memory_bytes(),
        "load_average": list(os.getloadavg()),
        **timed,
    }


def gemm_peaks(size: int = 1024) -> dict[str, float]:
    """The best rate of a square matrix product on this machine, GFLOP/s: what bounds a training step."""
    peaks = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        best = compare({name: partial(torch.matmul, a, b)}, rounds=40, warmup=2)["candidates"][name]["min_s"]
        peaks[name] = 2 * size**3 / best / 1e9
    return peaks


def main(argv: list[str] | None = None) -> int:
    """Measure, write the result, print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m pretraining.benchmark", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--preset", default="storyteller")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result goes")
    o = parser.parse_args(sys.argv[1:] if argv is None else argv)
    figures = measure(
        name=o.preset, batch_size=o.batch_size, steps=o.steps, rounds=o.rounds, threads=o.threads
    )
    for name, row in figures["candidates"].items():
        print(
            f"{name:10} {row['tokens_per_second']:8,.0f} tokens/s  {row['gflops']:6.1f} GFLOP/s  "
            f"× {row['speedup']:.2f} ({row['speedup_min']:.2f}–{row['speedup_max']:.2f})"
        )
    command = f"python -m pretraining.benchmark --preset {o.preset} --batch-size {o.batch_size}"
    command += f" --steps {o.steps} --rounds {o.rounds} --threads {o.threads}"
    print(write_result(o.out, name="training_step", figures=figures, command=command, seed=0))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
