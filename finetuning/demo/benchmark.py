"""The demo measured: what more minutes buy on Storyland, and the same walk on real books.

Each row is one `scratchbook demo` in a process of its own, with nothing else running, so that its
peak memory is its own and its minutes are what a person would wait. Writes `results/demo_curve.json`
(Storyland, one row per training budget) and `results/demo_texts.json` (one row per text given).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetuning.demo.config import DemoConfig
from utils.errors import RunFailure

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class DemoBenchmarkConfig:
    """`budgets` are training minutes on Storyland; `texts` are files or folders for the two-minute demo."""

    budgets: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0, 4.0])
    texts: list[str] = field(default_factory=list)
    text_minutes: float = 2.0
    seeds: list[int] = field(default_factory=lambda: [1337])
    runs: str | None = None
    add: list[str] = field(default_factory=list)  # folders of demos already run, as further rows


DEFAULT_MINUTES = DemoConfig().minutes


def run_demo(arguments: Sequence[str], runs: Path) -> dict[str, Any]:
    """One demo in its own process; returns its summary with the wall seconds seen from outside."""
    before = set((runs / "demo").glob("*")) if (runs / "demo").exists() else set()
    started = time.perf_counter()
    command = [sys.executable, "-m", "scratchbook", "demo", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "SCRATCHBOOK_RUNS": str(runs)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    new = sorted(set((runs / "demo").glob("*")) - before)
    if done.returncode or not new:
        raise RunFailure(f"demo {' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1:]}")
    summary = json.loads((new[-1] / "summary.json").read_text(encoding="utf-8"))
    return {"arguments": list(arguments), "wall_seconds": wall, "summary": summary}


def row(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of one demo that the tables show."""
    s = result["summary"]
    return {
        "command": "scratchbook demo " + " ".join(result["arguments"]),
        "corpus": s["corpus"]["name"],
        "megabytes": s["corpus"]["megabytes"],
        "parameters": s["model"]["parameters"],
        "minutes": s["training"]["minutes"],
        "steps": s["training"]["steps"],
        "tokens": s["training"]["tokens"],
        "tokens_per_second": s["training"]["tokens_per_second"],
        "loss": s["proof"]["loss"],
        "bits_per_byte": s["proof"]["bits_per_byte"],
        "unigram": s["proof"]["unigram"],
        "bigram": s["proof"]["bigram"],
        "coherent": s["stories"]["share"] if "stories" in s else None,
        "coherent_interval": s["stories"]["interval"] if "stories" in s else None,
        "exact_before": s["tuning"]["before"] if "tuning" in s else None,
        "exact_after": s["tuning"]["after"] if "tuning" in s else None,
        "asked": s["tuning"]["asked"] if "tuning" in s else None,
        "stories": s["stories"]["total"] if "stories" in s else None,
        "cache_ratio": s["decoding"]["ratio"],
        "cached_tokens_per_second": s["decoding"]["cached"],
        "wall_seconds": result["wall_seconds"],
        "peak_memory_mib": s["peak_memory_bytes"] / 2**20,
        "sample": s["samples"][-1]["text"] if s["samples"] else None,
    }


def demo_row(folder: Path) -> dict[str, Any]:
    """The row of a demo that was run by hand; its wall time is from its own run.json."""
    from datetime import datetime

    meta = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    wall = (datetime.fromisoformat(meta["end"]) - datetime.fromisoformat(meta["start"])).total_seconds()
    return row({"arguments": meta["command"][2:], "wall_seconds": wall, "summary": summary})


CURVE_COLUMNS = {
    "minutes of training": "{minutes:.1f}",
    "million tokens": "{millions:.2f}",
    "loss": "{loss:.3f}",
    "bigram": "{bigram:.3f}",
    "bits per byte": "{bits_per_byte:.3f}",
    "coherent stories": "{coherent:.0%}",
    "requests, before": "{exact_before:.0%}",
    "requests, after": "{exact_after:.0%}",
    "wall s": "{wall_seconds:.0f}",
    "peak MiB": "{peak_memory_mib:.0f}",
}
TEXT_COLUMNS = {
    "text": "{corpus}",
    "MB": "{megabytes:.1f}",
    "minutes of training": "{minutes:.1f}",
    "loss": "{loss:.3f}",
    "unigram": "{unigram:.3f}",
    "bigram": "{bigram:.3f}",
    "bits per byte": "{bits_per_byte:.3f}",
    "wall s": "{wall_seconds:.0f}",
    "a sample": "{sample_shown}",
}


def table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> str:
    """Rows as a Markdown table; numbers are aligned right by the renderer's default."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for each in rows:
        shown = " ".join((each["sample"] or "").split())[:160].replace("|", "/")
        values = {**each, "millions": each["tokens"] / 1e6, "sample_shown": f"*{shown} …*"}
        lines.append("| " + " | ".join(cell.format(**values) for cell in columns.values()) + " |")
    return "\n".join(lines)


def draw_curve(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss, coherent stories and exact answers against minutes of training, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from utils.files import atomic_write_text
    from utils.plotting import figure_to_svg, style

    rows = sorted(rows, key=lambda r: r["minutes"])
    minutes = [r["minutes"] for r in rows]
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2))
        left.plot(minutes, [r["loss"] for r in rows], "o-", label="the model")
        left.axhline(rows[0]["bigram"], color="grey", linestyle="--", linewidth=1, label="bigram table")
        left.set(
            xlabel="minutes of training", ylabel="nats per token", title="Validation loss", ylim=(0, None)
        )
        left.legend()
        for key, label in (("coherent", "coherent stories"), ("exact_after", "requests answered exactly")):
            right.plot(minutes, [100 * r[key] for r in rows], "o-", label=label)
        right.set(xlabel="minutes of training", ylabel="%", title="What it can do", ylim=(-3, 103))
        right.legend()
        atomic_write_text(path, figure_to_svg(figure))
        plt.close(figure)


def default_demo(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the two-minute demo, one row per seed: the first seed's, and the band of all of them.

    The band is what was seen, widened by five percent of the loss and ten points of the shares, because
    another machine takes other numbers of steps in two minutes.
    """
    first = rows[0]
    return {
        **first,
        "seeds": len(rows),
        "wall_minutes": first["wall_seconds"] / 60,
        "loss_low": 0.95 * min(r["loss"] for r in rows),
        "loss_high": 1.05 * max(r["loss"] for r in rows),
        "coherent_low": max(0.0, min(r["coherent"] for r in rows) - 0.1),
        "coherent_high": min(1.0, max(r["coherent"] for r in rows) + 0.1),
        "exact_low": max(0.0, min(r["exact_after"] for r in rows) - 0.1),
        "exact_high": min(1.0, max(r["exact_after"] for r in rows) + 0.1),
    }


def main(argv: list[str] | None = None) -> int:
    """`python -m finetuning.demo.benchmark budgets=[0.5,1,2] texts=[FILE,FOLDER]`."""
    from utils.config import parse_args

    config, _ = parse_args(
        argv,
        DemoBenchmarkConfig,
        prog="python -m finetuning.demo.benchmark",
        description="The demo against its training minutes, and on real texts.",
    )
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(config.runs) if config.runs else Path(scratch)
        _measure_storyland(config, runs)
        _measure_texts(config, runs)
    return 0


def _measure_storyland(config: DemoBenchmarkConfig, runs: Path) -> None:
    from utils.timing import write_result

    rows = [demo_row(Path(folder)) for folder in config.add]
    two_minutes = []
    for budget in config.budgets:
        for seed in config.seeds if budget == DEFAULT_MINUTES else config.seeds[:1]:
            rows.append(row(run_demo([f"minutes={budget:g}", f"seed={seed}"], runs)))
            _print(rows[-1])
            if budget == DEFAULT_MINUTES:
                two_minutes.append(rows[-1])
    if not rows:
        return
    rows.sort(key=lambda r: r["minutes"])
    command = "python -m finetuning.demo.benchmark " + " ".join(f"budgets={config.budgets}".split())
    write_result(
        RESULTS / "demo_curve.json",
        name="demo_curve",
        figures={"rows": rows, "table": table(rows, CURVE_COLUMNS)},
        command=command,
        seed=config.seeds[0],
    )
    draw_curve(rows, RESULTS / "demo_curve.svg")
    if two_minutes:
        write_result(
            RESULTS / "demo.json",
            name="demo",
            figures=default_demo(two_minutes),
            command="scratchbook demo",
            seed=config.seeds[0],
        )


def _measure_texts(config: DemoBenchmarkConfig, runs: Path) -> None:
    from utils.timing import write_result

    rows = []
    for text in config.texts:
        rows.append(row(run_demo([f"minutes={config.text_minutes:g}", "--text", text], runs)))
        rows[-1]["command"] = rows[-1]["command"].replace(text, Path(text).name)
        _print(rows[-1])
    if rows:
        write_result(
            RESULTS / "demo_texts.json",
            name="demo_texts",
            figures={"rows": rows, "table": table(rows, TEXT_COLUMNS)},
            command=f"python -m finetuning.demo.benchmark texts={[Path(t).name for t in config.texts]}",
            seed=1337,
        )


def _print(figures: dict[str, Any]) -> None:
    shown = (
        "corpus",
        "minutes",
        "loss",
        "bigram",
        "bits_per_byte",
        "coherent",
        "exact_after",
        "wall_seconds",
    )
    cells = (f"{k}={figures[k]:.3f}" if isinstance(figures[k], float) else f"{k}={figures[k]}" for k in shown)
    print("  ".join(cells), flush=True)


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
