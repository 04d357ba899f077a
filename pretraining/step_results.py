"""What `benchmark` and `benchmark_overheads` found, read from their results files and set in tables: never typed.

The ladder of notebook 02 comes from here, with its machine and its day beside it. Where there is no file, or no such
shape in it, the words are "not measured", and how to measure. Left out: measuring and drawing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attention_mechanisms.race_results import markdown_table
from utils.errors import UserError

FOLDER = Path(__file__).with_name("results")
STEP, OVERHEADS = FOLDER / "fast_step.json", FOLDER / "overheads.json"
NOT_MEASURED = "not measured: run `python -m pretraining.benchmark`"
NO_OVERHEADS = "not measured: run `python -m pretraining.benchmark_overheads`"


def read(path: Path) -> dict[str, Any] | None:
    """The whole results file; None where there is none. Raises UserError for anything else."""
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return result if result["figures"] else None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no results file: measure again") from None


def shape_row(shape: str, path: Path = STEP) -> dict[str, Any] | None:
    """The figures of one shape, or None."""
    result = read(path)
    return None if result is None else result["figures"]["shapes"].get(shape)


def where_measured(shape: str, path: Path = STEP) -> str:
    """One line: command, model, machine and day."""
    row, result = shape_row(shape, path), read(path)
    if row is None or result is None:
        return NOT_MEASURED
    machine = result["hardware"].get("cpu", "unknown processor")
    size = f"{row['parameters'] / 1e6:.3g} M parameters, batch {row['batch_size']} × {row['model']['block_size']}"
    return f"`{row['command']}`: {size}, {row['threads']} threads of {machine}, {row['date'][:10]}"


def ladder(shape: str, path: Path = STEP) -> dict[str, tuple[float, float, float]]:
    """For each candidate its speed over the plain loop: median and range over rounds. Empty where not measured."""
    row = shape_row(shape, path)
    if row is None:
        return {}
    return {k: (c["speedup"], c["speedup_min"], c["speedup_max"]) for k, c in row["candidates"].items()}


def table(shape: str, path: Path = STEP) -> str:
    """Tokens/s, share of the GEMM peak, ratio and goal of each candidate of a shape, in Markdown."""
    row = shape_row(shape, path)
    if row is None:
        return NOT_MEASURED
    rows = []
    for name, one in row["candidates"].items():
        share = "peak unknown" if one["mfu"] is None else f"{one['mfu']:.0%}"
        goal = "" if one["goal"] is None else f"{one['goal']}"
        ratio = f"{one['speedup']:.2f} ({one['speedup_min']:.2f} to {one['speedup_max']:.2f})"
        rows.append([name, f"{one['tokens_per_second']:,.0f}", share, ratio, goal])
    rows += [[name, note, "", "", ""] for name, note in row["not_measured"].items()]
    return markdown_table(["step", "tokens/s", "MFU", "times the plain loop", "goal"], rows)


def ceiling(shape: str, path: Path = STEP) -> str:
    """One sentence: what nothing but matrix products at their best rate would reach on that machine."""
    row = shape_row(shape, path)
    if row is None:
        return NOT_MEASURED
    peaks, top = row["gemm_peak_gflops"], row["ceiling"]
    return (
        f"Its best matrix products run at {peaks['fp32']:,.0f} GFLOP/s in fp32 and {peaks['bf16']:,.0f} in bf16. "
        f"A step made of nothing else would be {top['fp32']:.2f} and {top['bf16']:.2f} times as fast as the plain loop."
    )


def overheads(path: Path = OVERHEADS) -> str:
    """What surrounds training, beside its goals, in Markdown."""
    result = read(path)
    if result is None:
        return NO_OVERHEADS
    figures, goals = result["figures"], result["figures"]["goals"]
    rows = [
        ["evaluation, logging, samples", f"{figures['around_share']:.1%}", f"under {goals['around_share']:.0%}"],
        ["a save blocks the loop", _ms(figures["save_block_s"]), f"under {_ms(goals['save_block_s'])}"],
        ["drawing a batch", f"{figures['loader_share']:.2%}", f"under {goals['loader_share']:.0%}"],
    ]  # fmt: skip
    return markdown_table(["beside training", "reached", "goal"], rows)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms"
