"""What the benchmarks of the variants found, read from their results files and said in words: never typed.

The idea: a sentence such as "GQA is faster" is computed where it is printed. A ratio of times has a range over rounds,
and counts as faster or slower only if all rounds agree; a difference of losses is judged by `significance`.

Files are results of `attention_mechanisms.benchmark`, `gpt_model.benchmark_attention` and `pretraining.race`. One that
is missing gives "not measured: run …", nowhere a number. Left out: measuring, and drawing
(`figures.race_of_the_variants`). Notebook: `08_race_of_the_variants.ipynb`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_mechanisms.significance import Paired, paired
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]

# Name -> (file, the command that writes it).
FILES: dict[str, tuple[str, str]] = {
    "kernels": ("attention_mechanisms/results/kernels.json", "python -m attention_mechanisms.benchmark"),
    "model": ("gpt_model/results/attention_decode.json", "python -m gpt_model.benchmark_attention"),
    "race": ("pretraining/results/race.json", "python -m pretraining.race"),
    "race_tinyshakespeare": (
        "pretraining/results/race_tinyshakespeare.json",
        "python -m pretraining.race data=tinyshakespeare.txt",
    ),
}
VARIANTS = ("gqa", "mla", "swa")  # what is set beside mha
LEVELS = ("attention alone", "one layer", "whole model")
MIB = 2**20

Figures = Mapping[str, Any]
Speedups = dict[str, dict[str, dict[int, dict[str, float]]]]


def results_file(name: str, root: Path | None = None) -> Path:
    """Where the results called `name` are. Raises UserError for another name."""
    if name not in FILES:
        raise UserError(f"there are no results {name!r}: choose one of {', '.join(FILES)}")
    return (root or ROOT) / FILES[name][0]


def read(name: str, root: Path | None = None) -> dict[str, Any] | None:
    """The figures of a results file; None where it was not measured. Raises UserError for a file of another kind."""
    path = results_file(name, root)
    if not path.exists():
        return None
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    except (ValueError, KeyError, TypeError):
        figures = None
    if not isinstance(figures, dict):
        raise UserError(f"{path} is no results file: measure again with {FILES[name][1]}")
    return figures


def not_measured(name: str) -> str:
    """What stands in the place of a number that nobody has measured."""
    return f"not measured: run `{FILES[name][1]}`"


def where_measured(name: str, root: Path | None = None) -> str:
    """One line: the command, the machine and the day."""
    path = results_file(name, root)
    if not path.exists():
        return not_measured(name)
    result = json.loads(path.read_text(encoding="utf-8"))
    hardware, figures = result.get("hardware", {}), result["figures"]
    threads = figures.get("threads")
    machine = (
        f"{threads} thread{'s' if threads > 1 else ''} of {hardware.get('cpu', 'an unknown CPU')}"
        if threads
        else "unknown"
    )
    return f"`{result['command']}`, {machine}, {str(result.get('date', ''))[:10]}"


# ---------------------------------------------------------------------------- losses


def losses(figures: Figures) -> dict[str, dict[int, float]]:
    """Validation losses of a race: variant -> seed -> nats a token. The first variant is the one to compare with."""
    found: dict[str, dict[int, float]] = {}
    for row in figures["models"]:
        found.setdefault(row["variant"], {})[row["seed"]] = row["val_loss"]
    return found


def compare_losses(figures: Figures) -> dict[str, Paired]:
    """Every variant against the first, seed by seed."""
    (_, base), *others = losses(figures).items()
    return {name: paired(base, own) for name, own in others if base.keys() & own.keys()}


def frontier_points(
    figures: Figures | None,
) -> dict[str, dict[str, tuple[float, tuple[float, float, float]]]]:
    """What a variant costs against its loss: cost -> variant -> (cost, (mean, lowest, highest loss)).

    Costs are KiB of cache, and, once speeds were measured, milliseconds of a training and of a decode step.
    """
    costs = {
        "KiB of cache for a full block": ("cache_bytes", 1 / 1024),
        "ms of a training step": ("train_step_seconds", 1e3),
        "ms of a decode step": ("decode_seconds", 1e3),
    }
    table = figures["table"] if figures else {}
    loss = {
        name: tuple(row["val_loss"][key] for key in ("mean", "min", "max")) for name, row in table.items()
    }
    return {
        cost: {name: (row[key] * unit, loss[name]) for name, row in table.items()}
        for cost, (key, unit) in costs.items()
        if table and all(key in row for row in table.values())
    }


# ---------------------------------------------------------------------------- speed


def speed_verdict(ratio: Mapping[str, float]) -> str:
    """`faster` or `slower` where every round agrees, else `no difference`.

    >>> speed_verdict({"median": 1.2, "min": 1.1, "max": 1.3}), speed_verdict({"median": 1.2, "min": 0.9, "max": 1.3})
    ('faster', 'no difference')
    """
    return "faster" if ratio["min"] > 1 else "slower" if ratio["max"] < 1 else "no difference"


def speedups(kernels: Figures | None, model: Figures | None, dtype: str = "bf16") -> Speedups:
    """How many times as fast as mha a decode step is: level -> variant -> context -> median, min, max over rounds."""
    decode = (kernels or {}).get("decode", {})
    by_level = {
        LEVELS[0]: decode.get("kernel", {}).get(dtype, {}),
        LEVELS[1]: decode.get("layer", {}).get(dtype, {}),
        LEVELS[2]: (model or {}).get(dtype, {}).get("contexts", {}),
    }
    found: Speedups = {}
    for level, rows in by_level.items():
        for context, row in rows.items():
            if context == "exponents":
                continue
            for name in VARIANTS:
                by_context = found.setdefault(level, {}).setdefault(name, {})
                by_context[int(context)] = row["ratios"][f"{name}_over_mha"]
    return found


def prefill_speedups(kernels: Figures | None, dtype: str = "bf16") -> dict[str, dict[int, dict[str, float]]]:
    """How many times as fast as mha one layer reads a prompt: variant -> length -> median, min, max over rounds."""
    rows = (kernels or {}).get("prefill", {}).get("layer", {}).get(dtype, {})
    lengths = {int(length): row["ratios"] for length, row in rows.items() if length != "exponents"}
    return {
        name: {length: ratios[f"{name}_over_mha"] for length, ratios in lengths.items()}
        for name in VARIANTS
        if lengths
    }


def say_speed(by_context: Mapping[int, Mapping[str, float]]) -> str:
    """When a variant is faster and when it is not.

    >>> row = {"median": 2.0, "min": 1.8, "max": 2.2}
    >>> say_speed({1024: {"median": 1.0, "min": 0.9, "max": 1.1}, 4096: row, 16384: row})
    'faster at 4,096 and 16,384 tokens (2.00 × and 2.00 ×); no difference at 1,024 tokens (1.00 ×)'
    """
    groups: dict[str, list[int]] = {"faster": [], "slower": [], "no difference": []}
    for context, ratio in sorted(by_context.items()):
        groups[speed_verdict(ratio)].append(context)
    words = []
    for verdict, contexts in groups.items():
        if contexts:
            times = _listed([f"{by_context[c]['median']:.2f} ×" for c in contexts])
            words.append(f"{verdict} at {_listed([f'{c:,}' for c in contexts])} tokens ({times})")
    return "; ".join(words)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# ---------------------------------------------------------------------------- tables


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_table(found: Speedups) -> str:
    """Times as fast as mha with the range over rounds; bold where every round is above 1."""
    if not found:
        return not_measured("kernels")
    contexts = sorted({c for rows in found.values() for row in rows.values() for c in row})
    rows = []
    for name in VARIANTS:
        for level, by_variant in found.items():
            cells = []
            for context in contexts:
                ratio = by_variant[name].get(context)
                if ratio is None:
                    cells.append("not measured")
                    continue
                mark = "**" if speed_verdict(ratio) == "faster" else ""
                cells.append(f"{mark}{ratio['median']:.2f}{mark} ({ratio['min']:.2f} to {ratio['max']:.2f})")
            rows.append([name, level, *cells])
    return markdown_table(["", "× mha's speed", *(f"{c:,} tokens" for c in contexts)], rows)


def model_table(model: Figures | None, dtype: str = "bf16") -> str:
    """Tokens a second of a whole model, with the share of the bytes read that is cache."""
    if model is None or dtype not in model:
        return not_measured("model")
    contexts = model[dtype]["contexts"]
    names = list(next(iter(contexts.values()))["candidates"])
    rows = []
    for name in names:
        own = [row["candidates"][name] for row in contexts.values()]
        cells = [
            f"{r['tokens_per_second']:.1f} ({r['cache_bytes'] / r['bytes_read']:.0%} cache)" for r in own
        ]
        rows.append([name, *cells])
    return markdown_table(["tokens a second", *(f"at {int(c):,}" for c in contexts)], rows)


def prefill_table(kernels: Figures | None, dtype: str = "bf16") -> str:
    """A prompt through one layer: milliseconds, MiB of cache and MiB that the call took at its peak."""
    levels = (kernels or {}).get("prefill", {}).get("layer", {}).get(dtype)
    if not levels:
        return not_measured("kernels")
    lengths = {int(length): row["candidates"] for length, row in levels.items() if length != "exponents"}
    rows = []
    for name in next(iter(lengths.values())):
        cells = []
        for candidates in lengths.values():
            own = candidates[name]
            cells.append(
                f"{own['median_s'] * 1e3:,.0f} ms, {own['cache_bytes'] / MIB:.2f} MiB cache, "
                f"{own['peak_bytes'] / MIB:,.0f} MiB peak"
            )
        rows.append([name, *cells])
    return markdown_table(["prefill, one layer", *(f"{length:,} tokens" for length in lengths)], rows)


def race_table(figures: Figures | None, name: str = "race") -> str:
    """Loss with its spread, the difference with its interval, cache and speeds of every variant."""
    if figures is None:
        return not_measured(name)
    compared = compare_losses(figures)
    rows = []
    for variant, row in figures["table"].items():
        loss = row["val_loss"]
        sd = "" if loss["sd"] is None else f" ± {loss['sd']:.4f}"
        speeds = [
            f"{row[key]:,.0f}" if key in row else "not measured"
            for key in ("decode_tokens_per_second", "train_step_tokens_per_second")
        ]
        difference = compared[variant].says if variant in compared else "–"
        cells = [f"{loss['mean']:.4f}{sd}", difference, f"{row['share_of_mha']:.3f}", *speeds]
        rows.append([variant, *cells, f"{row['parameters']:,}"])
    first = next(iter(figures["table"]))
    head = ["", "validation loss, nats", f"difference to {first}", "cache", "decode tokens/s"]
    return markdown_table([*head, "training tokens/s", "parameters"], rows)
