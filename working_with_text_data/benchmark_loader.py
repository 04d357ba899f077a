"""What does a batch cost? The loader against torch's own, over the same ids, in the same process.

    python -m working_with_text_data.benchmark_loader

A loader that takes 1 % of a step is not worth a background thread: `BatchLoader` has none, and this is
the measurement behind that. Ids are random, 20 million in shards of 2 million, in the page cache after
the warm-up round; a disk that is read for the first time is not measured. Writes `results/loader.json`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from utils.cli import run_main
from utils.config import parse_args
from utils.timing import compare, write_result

from .shards import write_shards
from .windows import BatchLoader, NextTokenPredictionDataset

SHAPES = ((12, 64), (16, 256), (64, 1024))
STEP_MS = 50.0


@dataclass(frozen=True)
class LoaderBenchmarkConfig:
    """How much to measure, and where the figures go."""

    tokens: int = 20_000_000
    batches: int = 200
    rounds: int = 7
    seed: int = 0
    out: str = str(Path(__file__).parent / "results" / "loader.json")


def measure(config: LoaderBenchmarkConfig) -> dict[str, Any]:
    """Microseconds a batch of each way, by shape, with the ratio to torch's DataLoader."""
    ids = np.random.default_rng(config.seed).integers(0, 50_257, config.tokens).astype(np.uint16)
    figures: dict[str, Any] = {"tokens": config.tokens, "batches_a_round": config.batches, "shapes": {}}
    with tempfile.TemporaryDirectory() as folder:
        mapped = write_shards(
            folder,
            "train",
            [ids],
            tokenizer_sha256="00" * 32,
            vocab_size=50_257,
            shard_tokens=max(1, config.tokens // 10),
        )
        for batch, block in SHAPES:
            memory, disk = BatchLoader(ids, batch, block), BatchLoader(mapped, batch, block)
            for ours, theirs in zip(next(memory), next(disk), strict=True):
                if not torch.equal(ours, theirs):
                    raise AssertionError("memory and memory map give different batches")
            torchs = DataLoader(
                NextTokenPredictionDataset(ids, block), batch_size=batch, shuffle=True, drop_last=True
            )

            # torch draws its whole order when an epoch begins; here that is part of the first round.
            table = compare(
                {
                    "torch": _draw(_endless(torchs), config.batches),
                    "array": _draw(memory, config.batches),
                    "shards": _draw(disk, config.batches),
                },
                rounds=config.rounds,
            )
            figures["shapes"][f"{batch}x{block}"] = {
                name: {
                    "us_per_batch": row["median_s"] / config.batches * 1e6,
                    "us_min": row["min_s"] / config.batches * 1e6,
                    "us_max": row["max_s"] / config.batches * 1e6,
                    "share_of_a_50_ms_step": row["median_s"] / config.batches * 1e3 / STEP_MS,
                    "speedup_over_torch": row["speedup"],
                }
                for name, row in table["candidates"].items()
            }
    return figures


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _draw(source: Iterator[Any], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in islice(source, count):
            pass

    return run


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    config, _ = parse_args(
        argv,
        LoaderBenchmarkConfig,
        prog="python -m working_with_text_data.benchmark_loader",
        description="Measure what a batch costs.",
    )
    torch.set_num_threads(1)
    figures = measure(config)
    for shape, rows in figures["shapes"].items():
        for key, row in rows.items():
            name = "torch DataLoader" if key == "torch" else f"BatchLoader, {key}"
            us, share, ratio = row["us_per_batch"], row["share_of_a_50_ms_step"], row["speedup_over_torch"]
            print(
                f"{shape:>8}  {name:<20} {us:9.0f} µs  {share:6.2%} of a 50 ms step  {ratio:5.1f} x torch's"
            )
    path = write_result(
        config.out,
        name="loader",
        figures=figures,
        command="python -m working_with_text_data.benchmark_loader",
        seed=config.seed,
        notes="medians of rounds in turn; ids in the page cache; one thread",
    )
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
