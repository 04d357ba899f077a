"""What `benchmark_lora` and `benchmark_nf4` measured, as words and tables; "not measured" where a file is missing.

Notebook: `03_lora_and_qlora.ipynb`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
NOT_MEASURED = "not measured yet: make it with"
LORA_COMMAND, NF4_COMMAND = "python -m finetuning.benchmark_lora", "python -m finetuning.benchmark_nf4"


def _read(path: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    except FileNotFoundError:
        return {}
    return figures


def cost_table(path: Path = RESULTS / "lora.json") -> str:
    """Share that trains, bytes and seconds a step, for each way of tuning, as markdown."""
    cost = _read(path).get("cost")
    if cost is None:
        return f"The cost of a step is {NOT_MEASURED} `{LORA_COMMAND} part=cost`."
    lines = [
        f"A step of {cost['shape']['preset']}'s shape on {cost['device']}:\n",
        "| what learns | numbers that train | weights + optimizer + step, MB | of full | seconds a step | as fast |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way, row in cost["ways"].items():
        lines.append(
            f"| {way} | {row['trainable']:,} ({row['share']:.2%}) | {row['total_bytes'] / 1e6:,.0f} "
            f"| 1/{row['memory_ratio']:.2f} | {row['seconds_per_step']:.2f} | {row['speedup']:.2f} × |"
        )
    return "\n".join(lines)


def memory_parts(path: Path = RESULTS / "lora.json") -> dict[str, dict[str, float]]:
    """For each way its megabytes by what they are for; empty where nothing was measured."""
    ways = _read(path).get("cost", {}).get("ways", {})
    names = {
        "weight_bytes": "weights",
        "optimizer_bytes": "optimizer",
        "step_bytes": "gradients and activations",
    }
    return {way: {label: row[key] / 1e6 for key, label in names.items()} for way, row in ways.items()}


def quality_table(path: Path = RESULTS / "lora.json") -> str:
    """Exact match of each way with its interval over seeds, as markdown."""
    figures = _read(path)
    quality = figures.get("quality")
    if not quality:
        return f"Quality beside full tuning is {NOT_MEASURED} `{LORA_COMMAND} part=quality ckpt=TUNED`."
    lines = ["| what learns | exact match on held-out requests | beside full |", "|---|--:|--:|"]
    for way, row in quality.items():
        behind = f"{row['over_full']['value']:+.1%}" if "over_full" in row else ""
        lines.append(f"| {way} | {_with_interval(row['exact'])} | {behind} |")
    seeds = len({row["seed"] for row in figures["rows"]})
    study = figures["study"]
    task = f"A model that could answer learned {study['steps']} steps of `{' '.join(study['words'])}`."
    return "\n".join(
        [*lines, "", f"{task} Means over {seeds} seeds, with 95 % intervals where there are several."]
    )


def _with_interval(estimate: dict[str, Any]) -> str:
    text = f"{estimate['value']:.1%}"
    return text if estimate["low"] is None else f"{text} ({estimate['low']:.1%} to {estimate['high']:.1%})"


def nf4_table(path: Path = RESULTS / "nf4.json") -> str:
    """Bits, error and perplexity of the model in NF4, as markdown."""
    figures = _read(path)
    if not figures:
        return f"What four bits cost is {NOT_MEASURED} `{NF4_COMMAND}`."
    mean = figures["matrices"]["mean"]
    error = {"float": 0.0, "nf4": mean["nf4"], "nf4_double": mean["nf4_double"]}
    lines = [
        "| matrices of the blocks | bits a number | RMS error, σ | perplexity | growth |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, row in figures["modes"].items():
        lines.append(
            f"| {name} | {row['bits']:.3f} | {error[name]:.4f} | {row['perplexity']:.4f} | {row['growth']:+.2%} |"
        )
    bell = figures["bell_curve"]
    return "\n".join(
        [
            *lines,
            "",
            f"On a bell curve NF4 errs by {bell['nf4']:.4f} σ, sixteen even steps by {bell['even']:.4f} σ.",
        ]
    )
