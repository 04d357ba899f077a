"""`python -m attention_mechanisms.benchmark`: every variant of attention beside its peers, in turn, in one process.

    python -m attention_mechanisms.benchmark parts=[decode] contexts=[1024,16384] dtypes=[bf16]

Parts, any of which can be left out:
- decode: one token's attention over a preallocated cache (`benchmark_kernels`), and the whole module's step
  (`benchmark_layers`);
- prefill: a window over a whole text beside the T × T mask and beside full SDPA; whole modules with their caches
  and peak memory;
- train: forward and backward of causal attention at the shape of a small model's training step.

Results are compared before anything is timed. Beside a time stands what bounds it: the bytes that a decode step must
read against the rate at which this machine copies and reads memory, measured in the same run. Writes
`results/kernels.json` and two plots. On a machine with a GPU, `device=cuda` runs the same; until then its rows are
"not measured". Quality at an equal budget is `python -m pretraining.race`; a whole model's decoding is
`python -m gpt_model.benchmark_attention`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from attention_mechanisms.benchmark_harness import DTYPES, bandwidth, exponent
from attention_mechanisms.benchmark_kernels import measure_decode, measure_training, measure_window_prefill
from attention_mechanisms.benchmark_layers import measure_layer_decode, measure_layer_prefill
from attention_mechanisms.shape import AttentionShape
from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.device import pick_device
from utils.errors import UserError
from utils.timing import Timer, write_result

PARTS = ("decode", "prefill", "train")
RESULT = Path(__file__).with_name("results") / "kernels.json"

# What a figure was hoped to reach: (part, dtype, ratio or exponent) -> goal. Printed beside what was reached.
GOALS: dict[str, float] = {
    "decode mha_over_sdpa": 3.5,
    "decode gqa_over_enable_gqa": 12.0,
    "decode gqa_over_mha": 3.0,
    "decode mla_over_naive": 30.0,
    "decode mla_over_mha": 1.0,
    "decode swa_over_masked": 25.0,
    "prefill swa_over_masked_sdpa": 8.0,
    "prefill swa_over_full": 8.0,
    "train auto_over_sdpa": 2.5,
}
MOST: dict[str, float] = {"decode swa exponent": 0.15, "prefill swa exponent": 1.1}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure, and how."""

    parts: tuple[str, ...] = _key(PARTS, "some of decode, prefill, train")
    contexts: tuple[int, ...] = _key((1024, 4096, 16384), "tokens in the cache, or in the text")
    dtypes: tuple[str, ...] = _key(("bf16", "fp32"), "some of bf16, fp32, fp16")
    levels: tuple[str, ...] = _key(("kernel", "layer"), "attend alone, whole modules")
    rounds: int = _key(5, "rounds of each comparison")
    n_head: int = _key(12, "query heads")
    head_dim: int = _key(64, "numbers of a head")
    n_kv_head: int = _key(4, "key heads of the grouped variant")
    kv_latent_dim: int = _key(256, "numbers of the latent variant's latent")
    rope_dim: int = _key(32, "numbers of its rotary key")
    window: int = _key(256, "tokens of the sliding window")
    max_table: int = _key(4096, "longest text for which a T × T mask is made")
    train_shape: tuple[int, ...] = _key((16, 6, 256, 64), "batch, heads, tokens, head_dim of the train part")
    flex: bool = _key(True, "compile FlexAttention as a peer of windowed prefill (about ten seconds)")
    rotate_bytes: int | None = _key(
        None, "kernel decode cycles through copies of this size together; null: 0 on CPU, twice L2 on a GPU"
    )
    threads: int | None = _key(None, "threads of torch; null: what it takes by itself")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of the random inputs")
    out: str = _key(str(RESULT), "results file; plots go beside it")

    def __post_init__(self) -> None:
        for name, known in (("parts", PARTS), ("dtypes", tuple(DTYPES)), ("levels", ("kernel", "layer"))):
            given = getattr(self, name)
            if not given or set(given) - set(known):
                raise UserError(f"{name}={list(given)} must name some of {list(known)}")
        if not self.contexts or min(self.contexts) < 2:
            raise UserError(f"contexts={list(self.contexts)}: give lengths of at least 2 tokens")
        if self.rounds < 1:
            raise UserError(f"rounds is {self.rounds}: at least one is needed")
        if len(self.train_shape) != 4 or min(self.train_shape) < 1:
            raise UserError(f"train_shape={list(self.train_shape)}: give batch, heads, tokens, head_dim")
        if self.window < 1 or self.n_head % self.n_kv_head:
            raise UserError(
                f"window={self.window} must be at least 1 and n_head={self.n_head} a multiple of "
                f"n_kv_head={self.n_kv_head}"
            )

    @property
    def shape(self) -> AttentionShape:
        """One layer of the model that is measured."""
        return AttentionShape(
            n_layer=1,
            n_head=self.n_head,
            n_embd=self.n_head * self.head_dim,
            kv_latent_dim=self.kv_latent_dim,
            rope_dim=self.rope_dim,
            block_size=max(self.contexts),
        )


def measure(config: BenchmarkConfig) -> dict[str, Any]:
    """All parts of the configuration, printed as they come. The nested keys are part, level, dtype, context."""
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    figures: dict[str, Any] = {
        "shape": {"n_head": config.n_head, "head_dim": config.head_dim, "n_kv_head": config.n_kv_head,
                  "kv_latent_dim": config.kv_latent_dim, "rope_dim": config.rope_dim, "window": config.window},
        "device": str(device),
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
        "rounds": config.rounds,
        "bandwidth": bandwidth(device),
        "seconds": {},
    }  # fmt: skip
    rates = figures["bandwidth"]
    print(
        f"{device}, {figures['threads']} threads; memory: copy {rates['copy_bytes_per_s'] / 1e9:.1f} GB/s, "
        f"read {rates['read_bytes_per_s'] / 1e9:.1f} GB/s",
        flush=True,
    )
    for part in config.parts:
        with Timer() as timer:
            figures[part] = _part(part, config, device, rates)
        figures["seconds"][part] = timer.seconds
        print(f"{part} took {timer.seconds:.0f} s\n", flush=True)
    figures["goals"] = compare_with_goals(figures, max(config.contexts), config.max_table)
    figures["gpu"] = None if device.type == "cpu" else str(torch.cuda.get_device_name(device))
    return figures


def _part(
    part: str, config: BenchmarkConfig, device: torch.device, rates: dict[str, float]
) -> dict[str, Any]:
    """One part: level -> dtype -> context -> comparison (the train part has no contexts)."""
    if part == "train":
        batch, heads, length, dim = config.train_shape
        shape = {"batch": batch, "heads": heads, "length": length, "dim": dim}
        own: dict[str, Any] = {}
        for name in config.dtypes:
            own[name] = measure_training(DTYPES[name], device, rounds=config.rounds, **shape)
            _show(f"train {name} {'×'.join(map(str, config.train_shape))}", own[name], rates)
        return {"kernel": own}
    levels: dict[str, Any] = {}
    for level in config.levels:
        by_dtype = levels[level] = {}
        for name in config.dtypes:
            by_context = by_dtype[name] = {}
            for context in config.contexts:
                by_context[str(context)] = row = _one(part, level, config, context, DTYPES[name], device)
                _show(f"{part} {level} {name} {context:,}", row, rates)
            by_dtype[name]["exponents"] = growth(by_context)
    return levels


def _one(
    part: str, level: str, config: BenchmarkConfig, context: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """One comparison."""
    options: dict[str, Any] = {"rounds": config.rounds, "window": config.window}
    if level == "layer":
        run = measure_layer_decode if part == "decode" else measure_layer_prefill
        return run(config.shape, context, dtype, device, n_kv_head=config.n_kv_head, **options)
    if part == "decode":
        rotate_bytes = config.rotate_bytes
        if rotate_bytes is None:
            on_gpu = device.type == "cuda"
            rotate_bytes = 2 * torch.cuda.get_device_properties(device).L2_cache_size if on_gpu else 0
        options |= {"n_kv_head": config.n_kv_head, "rotate_bytes": rotate_bytes}
        return measure_decode(config.shape, context, dtype, device, **options)
    options |= {"max_table": config.max_table, "flex": config.flex and context == config.max_table}
    return measure_window_prefill(config.shape, context, dtype, device, **options)


def growth(by_context: dict[str, Any]) -> dict[str, float]:
    """The exponent of each candidate's time in the context, where there are at least two contexts."""
    rows = {int(context): row["candidates"] for context, row in by_context.items()}
    names = {name for row in rows.values() for name in row}
    found = {}
    for name in sorted(names):
        seconds = {context: row[name]["median_s"] for context, row in rows.items() if name in row}
        if len(seconds) > 1:
            found[name] = exponent(seconds)
    return found


def compare_with_goals(figures: dict[str, Any], longest: int, table: int) -> list[dict[str, Any]]:
    """One row a goal and dtype, at kernel level: reached or not, at the context that the goal speaks of."""
    rows = []
    for goal, least in GOALS.items():
        part, ratio = goal.split()
        for dtype, own in figures.get(part, {}).get("kernel", {}).items():
            at = table if "masked_sdpa" in ratio else longest
            result = own if part == "train" else own.get(str(at), {})
            value = result.get("ratios", {}).get(ratio)
            if value is not None:
                where = None if part == "train" else at
                row = {"goal": goal, "dtype": dtype, "context": where, "least": least, **value}
                rows.append({**row, "reached": value["median"] >= least})
    for goal, most in MOST.items():
        part, name, _ = goal.split()
        for dtype, own in figures.get(part, {}).get("kernel", {}).items():
            if name in own.get("exponents", {}):
                slope = own["exponents"][name]
                row = {"goal": goal, "dtype": dtype, "context": None, "most": most, "median": slope}
                rows.append({**row, "reached": slope <= most})
    return rows


def _show(title: str, row: dict[str, Any], rates: dict[str, float]) -> None:
    print(title)
    for name, own in row["candidates"].items():
        extra = ""
        if "bytes_per_s" in own:
            share = own["bytes_per_s"] / rates["read_bytes_per_s"]
            rate = f"{own['bytes_per_s'] / 1e9:6.1f} GB/s"
            extra = f"  {own['bytes_read'] / 1e6:8.2f} MB at {rate} ({share:.0%} of memory)"
        if "flops_per_s" in own:
            extra = f"  {own['flops_per_s'] / 1e9:6.1f} GFLOP/s of {row['gemm_peak_flops_per_s'] / 1e9:.0f}"
        print(f"  {name:12} {own['median_s'] * 1e6:12,.1f} µs{extra}")
    for name, ratio in row["ratios"].items():
        print(f"  {name:24} × {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
    for name, note in row.get("notes", {}).items():
        print(f"  {name}: {note}")
    sys.stdout.flush()


def show_goals(rows: list[dict[str, Any]]) -> None:
    """The goals and what was reached, one line each."""
    for row in rows:
        limit = f"at least {row['least']:g}" if "least" in row else f"at most {row['most']:g}"
        verdict = "reached" if row["reached"] else "NOT reached"
        where = f" at {row['context']:,}" if row["context"] else ""
        print(f"{row['goal']} {row['dtype']}{where}: {row['median']:.2f}, {limit}: {verdict}")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m attention_mechanisms.benchmark",
        description="Time decode, prefill and training of every attention variant beside SDPA.",
        aliases={"--out": "out", "--rounds": "rounds", "--device": "device"},
    )
    figures = measure(config)
    show_goals(figures["goals"])
    path = write_result(
        Path(config.out),
        name="kernels",
        figures=figures,
        command=" ".join(["python -m attention_mechanisms.benchmark", *command_words(config)]),
        seed=config.seed,
        notes=(
            "Compared with the formula in float32 before timing. Kernel: attention over given keys. Layer: "
            "projections, cache and rules included. Ratios are within rounds. One layer's cache may stay in the CPU's "
            "last cache level from call to call, so rates above the memory's are possible."
        ),
    )
    print(f"wrote {path}")
    from attention_mechanisms.benchmark_plot import plot_file

    for plot in plot_file(path):
        print(f"wrote {plot}")
    print("next: python -m utils.readme --write puts the figures into the READMEs", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
