"""What the benchmarks of writing found, read from their results files and set in tables: never typed.

The idea: a number in the notebook comes from a file that a benchmark wrote, with its machine and its day beside it. One
that is missing gives "not measured: run …", nowhere a number. Every benchmark compares in turn
(`utils.timing.compare`), and a comparison is found by its form wherever it stands in a file. A ratio has a range over
rounds, and counts as faster or slower only if all rounds agree.

Left out: measuring (`benchmark`, `benchmark_engine`, `quantization`) and drawing.
Notebook: `05_generation_engine.ipynb`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_mechanisms.race_results import markdown_table
from utils.errors import UserError

RESULTS = Path(__file__).with_name("results")
COMMANDS = {
    "decode": "python -m gpt_model.benchmark",
    "engine": "python -m gpt_model.benchmark_engine",
    "quantization": "python -m gpt_model.quantization ckpt=assets",
}


def read(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The whole results file; None where nothing was measured. Raises UserError for another name or kind of file."""
    if name not in COMMANDS:
        raise UserError(f"there are no results {name!r}: choose one of {', '.join(COMMANDS)}")
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        result = None
    if not isinstance(result, dict) or not isinstance(result.get("figures"), dict):
        raise UserError(f"{path} is no results file: measure again with {COMMANDS[name]}")
    return result


def not_measured(name: str) -> str:
    """What stands in the place of a number that nobody has measured."""
    return f"{name}: not measured: run `{COMMANDS[name]}`"


def where_measured(name: str, folder: Path = RESULTS) -> str:
    """One line: the command, the machine and the day."""
    result = read(name, folder)
    if result is None:
        return not_measured(name)
    hardware, threads = result.get("hardware") or {}, result["figures"].get("threads")
    machine = hardware.get("gpu") if result["figures"].get("device") == "cuda" else hardware.get("cpu")
    threads = f"{threads} threads of " if threads else ""
    return f"`{result.get('command')}`, {threads}{machine or 'an unknown machine'}, {str(result.get('date'))[:10]}"


@dataclass(frozen=True)
class Comparison:
    """Candidates that were timed in turn: where in the file, milliseconds, and × as fast as the first (range)."""

    where: str
    first: str
    milliseconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]  # median, lowest, highest of the rounds; none for the first


def comparisons(figures: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Comparison]:
    """Every comparison in a file, in order: a table of rows that each have a `median_s`, under whatever names."""
    rows = figures.get("candidates", figures)
    if _timed(rows):
        base = figures.get("baseline", next(iter(rows)))
        others = {name: _ratio(rows[base], row) for name, row in rows.items() if name != base}
        ratios = {name: ratio for name, ratio in others.items() if ratio}
        yield Comparison(
            " ".join(path), base, {name: row["median_s"] * 1e3 for name, row in rows.items()}, ratios
        )
        return
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from comparisons(value, (*path, str(key)))


def _timed(rows: Any) -> bool:
    if not isinstance(rows, Mapping) or len(rows) < 2:
        return False
    return all(isinstance(row, Mapping) and "median_s" in row for row in rows.values())


def _ratio(base: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """× as fast as the base: as the file says, or round by round from the seconds; None where it has neither."""
    if "speedup" in own:
        ratio = own["speedup"]
        return ratio, own.get("speedup_min", ratio), own.get("speedup_max", ratio)
    one, other = base.get("seconds", []), own.get("seconds", [])
    if not one or len(one) != len(other):
        return None
    rounds = [a / b for a, b in zip(one, other, strict=True)]
    return statistics.median(rounds), min(rounds), max(rounds)


def speedups(name: str, folder: Path = RESULTS) -> dict[str, tuple[float, float, float]]:
    """Candidate -> how many times as fast as the one it was compared with: median, lowest and highest of the rounds."""
    result = read(name, folder)
    found = comparisons(result["figures"] if result else {})
    return {f"{own.where}: {candidate}": ratio for own in found for candidate, ratio in own.ratios.items()}


def verdict(low: float, high: float) -> str:
    """What all rounds say together.

    >>> verdict(1.2, 1.9), verdict(0.7, 0.9), verdict(0.9, 1.2)
    ('faster', 'slower', 'not told apart')
    """
    return "faster" if low > 1 else "slower" if high < 1 else "not told apart"


def speed_table(name: str, folder: Path = RESULTS) -> str:
    """All comparisons of a file as Markdown: milliseconds, the ratio to the first, and what all rounds say."""
    result = read(name, folder)
    if result is None:
        return not_measured(name)
    rows = []
    for own in comparisons(result["figures"]):
        for candidate, milliseconds in own.milliseconds.items():
            says = ["1", "compared with"] if candidate == own.first else ["not compared", ""]
            if candidate in own.ratios:
                ratio, low, high = own.ratios[candidate]
                says = [f"{ratio:.2f} ({low:.2f} to {high:.2f})", verdict(low, high)]
            rows.append([own.where, candidate, f"{milliseconds:,.2f}", *says])
    return markdown_table(["measured", "", "ms, median", "× as fast (range)", ""], rows)


def waits(folder: Path = RESULTS) -> str:
    """How long a request waits for its first token, alone and in a busy engine, by `benchmark_engine`."""
    result = read("engine", folder)
    if result is None:
        return not_measured("engine")
    rows = []
    for model, own in result["figures"]["models"].items():
        wait = own["first_token"]
        alone, beside, ratio = wait["alone_s"], wait["beside_s"], wait["ratio"]
        rows.append([model, f"{wait['others']}", f"{alone * 1e3:.0f}", f"{beside * 1e3:.0f}", f"{ratio:.2f}"])
    return markdown_table(["model", "others", "ms alone", "ms beside them", "ratio"], rows)


def perplexities(folder: Path = RESULTS) -> str:
    """What smaller weights cost, by `quantization`: every row of the file that has a perplexity, with its bytes."""
    result = read("quantization", folder)
    if result is None:
        return not_measured("quantization")
    rows = []
    for where, own in _with_key(result["figures"], "perplexity"):
        size = next((value for key, value in own.items() if "bytes" in key and isinstance(value, int)), None)
        rows.append([where, "" if size is None else f"{size:,}", f"{own['perplexity']:.4f}"])
    return markdown_table(["weights", "bytes", "perplexity"], rows)


def _with_key(
    figures: Mapping[str, Any], key: str, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(figures.get(key), int | float):
        yield " ".join(path), figures
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _with_key(value, key, (*path, str(name)))
