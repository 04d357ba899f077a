"""`python -m pretraining.benchmark`: our training step against the loop one writes first, one change at a time.

    python -m pretraining.benchmark
    python -m pretraining.benchmark shapes=[small] rounds=3 peers=[]

Shapes: `small` (4 layers × 128, block 64, batch 12, characters), `medium` (6 × 384, block 256, batch 16) and `gpt2`
(124M, block 256, batch 2), all GPT-2 with random weights on random tokens. Each candidate (`step_candidates`) takes a
few steps in turn, A B A B …; losses are compared before anything is timed, and a ratio is taken within its round.
Beside each speed stands MFU: what the model needs (6 N + 12 · L · H · Q · T FLOPs a token) over the rate of the best
matrix product of that precision on this machine, measured in the same run. A shape that is not measured now keeps its
figures in the results file, with the command and the date of its own. `shapes=[gpu] device=cuda` measures the GPU's
row (GPT-2 124M, block 1,024), where the peers run in bf16 too and the plain loop is also compiled. Left out: data
loading, evaluation, logging: `benchmark_overheads`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure, UserError

if TYPE_CHECKING:
    from gpt_model.config import GPTConfig

RESULT = Path(__file__).parent / "results" / "fast_step.json"
TOLERANCE = {"bf16": 0.01, "fp32": 1e-4}  # relative, over a few steps (law LP10)
# name: GPT-2's sizes, rows of a batch, steps in a round
SHAPES: dict[str, tuple[dict[str, Any], int, int]] = {
    "small": (
        {"vocab_size": 65, "block_size": 64, "n_layer": 4, "n_head": 4, "n_embd": 128, "bias": False},
        12,
        8,
    ),
    "medium": (
        {"vocab_size": 5000, "block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384, "bias": False},
        16,
        1,
    ),
    "gpt2": ({"vocab_size": 50257, "block_size": 256, "n_layer": 12, "n_head": 12, "n_embd": 768}, 2, 1),
    "gpu": ({"vocab_size": 50257, "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}, 16, 10),
    "tiny": (
        {"vocab_size": 48, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16},
        2,
        1,
    ),  # of the tests
}
ALL = ("fused AdamW", "oneDNN", "attention", "ours fp32", "bf16", "bf16 attention", "ours")
STEPS = {  # what is measured beside the plain loop
    "small": (*ALL, "compiled"),
    "medium": ALL,
    "gpt2": ("ours fp32", "ours"),
    "gpu": ("plain compiled", "ours", "compiled"),
    "tiny": ALL,
}
GOALS = {  # (shape, candidate): least speed over the plain loop
    ("small", "ours"): 1.8,
    ("small", "compiled"): 2.6,
    ("medium", "ours fp32"): 1.9,
    ("medium", "ours"): 3.4,
    ("gpt2", "ours fp32"): 1.8,
    ("gpt2", "ours"): 2.7,
}
GOAL_GPU_MFU = 0.45


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class StepBenchmarkConfig:
    """What is measured, and how."""

    shapes: tuple[str, ...] = _key(("small", "medium", "gpt2"), "some of small, medium, gpt2, gpu, tiny")
    peers: tuple[str, ...] = _key(("transformers", "llms-from-scratch"), "some of these")
    compile: bool = _key(
        True, "also the compiled step, where a compiler is found (a minute or two the first time)"
    )
    rounds: int = _key(5, "rounds of each comparison")
    threads: int = _key(2, "threads of torch")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of weights and tokens")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name in self.shapes:
            if name not in SHAPES:
                raise UserError(f"shapes names {name!r}: choose some of {', '.join(SHAPES)}")
        for name in self.peers:
            if name not in ("transformers", "llms-from-scratch"):
                raise UserError(f"peers names {name!r}: choose some of transformers, llms-from-scratch")
        if "gpu" in self.shapes and self.device == "cpu":
            raise UserError("shape gpu is for a GPU: add device=cuda")
        for name in ("rounds", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but the least is 1: set {name}=1 or more")


def shape_of(name: str) -> GPTConfig:
    """GPT-2 in one of the sizes, with the exact GELU, as the plain loop's users write it."""
    from gpt_model.config import GPTConfig

    return GPTConfig(**SHAPES[name][0], mlp="gelu")


def measure(name: str, config: StepBenchmarkConfig, peaks: dict[str, float] | None) -> dict[str, Any]:
    """One shape: tokens per second of each candidate and its ratio to the plain loop, round by round.

    Raises RunFailure when a candidate does not compute the losses of the plain loop.
    """
    import numpy as np

    from gpt_model.mfu import flops_per_token
    from pretraining import step_candidates as steps
    from pretraining.compiling import missing_compiler
    from utils.device import pick_device
    from utils.timing import compare
    from working_with_text_data.windows import BatchLoader

    shape, (_, rows, in_round) = shape_of(name), SHAPES[name]
    device = pick_device(config.device)
    tokens = np.random.default_rng(config.seed).integers(
        shape.vocab_size, size=max(20_000, 4 * rows * shape.block_size)
    )
    model = steps.initial_model(shape, config.seed)

    def loader() -> BatchLoader:
        return BatchLoader(tokens, rows, shape.block_size, seed=config.seed)

    notes: dict[str, str] = {}
    half = peers_in_half(device)
    found = {"plain": steps.plain(model, loader(), device, half=half)}
    for rung in STEPS[name]:
        compiled = rung.endswith("compiled")
        missing = missing_compiler(device) if compiled and config.compile else None
        if compiled and (missing or not config.compile):
            notes[rung] = f"not measured: {missing or 'compile=false'}"
        elif rung == "plain compiled":
            found[rung] = steps.plain(model, loader(), device, half=half, compile=True)
        else:
            found[rung] = steps.ours(model, loader(), steps.LADDER[rung], config.device)
    for other in config.peers:
        candidate, note = steps.peer(other, model, loader(), device, half=half)
        if candidate is None:
            notes[other] = note
        else:
            found[other] = candidate
    worst = _same_losses(found, shape.vocab_size, device)

    def several(candidate: steps.Candidate) -> Any:
        return lambda: [candidate.step() for _ in range(in_round)]

    timed = compare(
        {key: several(c) for key, c in found.items()},
        rounds=config.rounds,
        around={key: c.settings for key, c in found.items()},
    )
    need = flops_per_token(shape, shape.block_size)
    for key, row in timed["candidates"].items():
        row["tokens_per_second"] = in_round * rows * shape.block_size / row["median_s"]
        row["gflops"] = need * row["tokens_per_second"] / 1e9
        peak = None if peaks is None else peaks["bf16" if _in_half(key, device) else "fp32"]
        row["mfu"] = None if peak is None else row["gflops"] / peak
        row["goal"] = GOALS.get((name, key))
        del row["seconds"]
    return {
        "shape": name,
        "model": shape.to_dict(),
        "parameters": model.num_parameters(),
        "batch_size": rows,
        "steps_per_round": in_round,
        "flops_per_token": need,
        "gemm_peak_gflops": peaks,
        "worst_relative_loss_difference": worst,
        "not_measured": notes,
        "load_average": os.getloadavg()[0],
        **timed,
    }


def _same_losses(found: dict[str, Any], vocab: int, device: Any) -> dict[str, float]:
    """Three steps of each; the worst relative difference to the plain loop's losses, by candidate."""
    from pretraining.step_candidates import believable

    losses = {}
    for key, candidate in found.items():
        with candidate.settings():
            losses[key] = [candidate.step() for _ in range(3)]
    worst = {}
    for key, own in losses.items():
        if not found[key].same_weights:
            if not believable(own[0], vocab):
                raise RunFailure(f"{key} begins with a loss of {own[0]:.2f}: nothing was timed")
            continue
        worst[key] = max(abs(a - b) / a for a, b in zip(losses["plain"], own, strict=True))
        rounded = _in_half(key, device) or _in_half("plain", device)
        if not worst[key] <= TOLERANCE["bf16" if rounded else "fp32"]:
            raise RunFailure(
                f"{key} does not compute the plain loop's losses (off by {worst[key]:.1e}): nothing was timed"
            )
    return worst


def _in_half(candidate: str, device: Any) -> bool:
    """Whether its products are in bf16."""
    import torch

    from pretraining.step_candidates import LADDER
    from utils.device import pick_dtype

    if candidate not in LADDER:
        return peers_in_half(device)
    return LADDER[candidate].dtype == "auto" and pick_dtype("auto", device) == torch.bfloat16


def peers_in_half(device: Any) -> bool:
    """Whether the plain loop and other people's models are run in bf16, as their users run them on such a device."""
    import torch

    from utils.device import pick_dtype

    return device.type == "cuda" and pick_dtype("auto", device) == torch.bfloat16


def gemm_peaks(device: str = "cpu", sizes: tuple[int, ...] = (1024, 2048)) -> dict[str, float]:
    """The best rate of a square matrix product on this machine, GFLOP/s, in fp32 (by the better library) and bf16.

    Of a GPU that stands in the table of `gpt_model.mfu`, the peaks of its data sheet.
    """
    from functools import partial

    import torch

    from gpt_model.mfu import peak_flops, this_machine
    from utils.device import exact_fast_matmul
    from utils.timing import compare

    sheet = {kind: peak_flops(this_machine(), kind) for kind in ("fp32", "bf16")} if device != "cpu" else {}
    if sheet and all(sheet.values()):
        return {kind: (rate or 0.0) / 1e9 for kind, rate in sheet.items()}
    peaks: dict[str, float] = {}
    for name, dtype, onednn in (
        ("fp32 default", torch.float32, False),
        ("fp32 oneDNN", torch.float32, True),
        ("bf16", torch.bfloat16, True),
    ):
        best = 0.0
        with exact_fast_matmul(onednn and device == "cpu"):
            for size in sizes:
                a, b = (torch.randn(size, size).to(device, dtype) for _ in range(2))
                call = {name: partial(torch.matmul, a, b)}
                seconds = compare(call, rounds=12, warmup=2)["candidates"][name]["min_s"]
                best = max(best, 2 * size**3 / seconds / 1e9)
        peaks[name] = best
    peaks["fp32"] = max(peaks["fp32 default"], peaks["fp32 oneDNN"])
    return peaks


def ceilings(row: dict[str, Any]) -> dict[str, float]:
    """What a step made of nothing but matrix products at this machine's best rate would gain over the plain loop."""
    peaks, plain = row["gemm_peak_gflops"], row["candidates"]["plain"]["gflops"]
    return {kind: peaks[kind] / plain for kind in ("fp32", "bf16")}


def table(row: dict[str, Any]) -> str:
    """The shape's candidates, one a line: tokens/s, MFU, ratio with its range, goal."""
    lines = [
        f"{row['shape']}: {row['parameters']:,} parameters, batch {row['batch_size']} × {row['model']['block_size']}"
    ]
    for key, one in row["candidates"].items():
        share = "peak unknown" if one["mfu"] is None else f"{one['mfu']:5.1%} of peak"
        text = f"  {key:18} {one['tokens_per_second']:10,.0f} tokens/s  {share}  × {one['speedup']:.2f} "
        text += f"({one['speedup_min']:.2f} to {one['speedup_max']:.2f})"
        if one["goal"] is not None:
            text += f"  goal {one['goal']}: {'reached' if one['speedup'] >= one['goal'] else 'not reached'}"
        lines.append(text)
    lines += [f"  {key:18} {note}" for key, note in row["not_measured"].items()]
    if row["gemm_peak_gflops"] is not None:
        top = row["ceiling"]
        best = f"× {top['fp32']:.2f} in fp32, × {top['bf16']:.2f} in bf16"
        lines.append(f"  matrix products alone, at their best rate, would give {best}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure the shapes that were asked for, keep the others' figures, print a table."""
    config, _ = parse_args(
        argv,
        StepBenchmarkConfig,
        prog="python -m pretraining.benchmark",
        description=(__doc__ or "").split("\n\n")[0],
    )
    import torch

    from utils.device import keep_freed_memory
    from utils.provenance import now
    from utils.timing import peak_memory_bytes, write_result

    torch.set_num_threads(config.threads)
    keep_freed_memory()  # for all candidates: the plain loop at its best
    command = " ".join(["python -m pretraining.benchmark", *command_words(config)])
    out = Path(config.out)
    kept = json.loads(out.read_text())["figures"]["shapes"] if out.exists() else {}
    peaks = gemm_peaks(
        config.device,
        (256,) if config.shapes == ("tiny",) else (1024, 2048, 8192)[: 2 + (config.device != "cpu")],
    )
    for name in config.shapes:
        row = measure(name, config, peaks)
        row |= {"ceiling": ceilings(row), "command": command, "date": now(), "threads": config.threads}
        row["peak_memory_bytes"] = peak_memory_bytes()
        kept[name] = row
        print(table(row), flush=True)
    figures = {
        "shapes": kept,
        "goals": {f"{s}: {c}": g for (s, c), g in GOALS.items()},
        "gpu": kept.get("gpu", "not measured"),
    }
    print(write_result(out, name="fast_step", figures=figures, command=command, seed=config.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
