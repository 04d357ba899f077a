"""The demo measured: what more minutes buy on Storyland, and the same walk on real books.

Each row is one `scratchbook demo` in a process of its own, with nothing else running, so that its
peak memory is its own and its minutes are what a person would wait. Writes `results/demo_curve.json`
(Storyland, one row per training budget) and `results/demo_texts.json` (one row per text given).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def run_demo(arguments: Sequence[str], runs: Path) -> dict[str, Any]:
    """One demo in its own process; returns its summary with the wall seconds seen from outside."""
    before = set((runs / "demo").glob("*")) if (runs / "demo").exists() else set()
    started = time.perf_counter()
    command = [sys.executable, "-m", "finetuning.demo.main", *arguments]
    import os

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
        "cache_ratio": s["decoding"]["ratio"],
        "cached_tokens_per_second": s["decoding"]["cached"],
        "wall_seconds": result["wall_seconds"],
        "peak_memory_mib": s["peak_memory_bytes"] / 2**20,
        "sample": s["samples"][-1]["text"] if s["samples"] else None,
    }


def main(argv: list[str] | None = None) -> int:
    """`python -m finetuning.demo.benchmark budgets=[0.5,1,2] texts=[FILE,FOLDER]`."""
    import tempfile

    from utils.config import parse_args
    from utils.timing import write_result

    config, _ = parse_args(
        argv,
        DemoBenchmarkConfig,
        prog="python -m finetuning.demo.benchmark",
        description=__doc__.splitlines()[0],
    )
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(config.runs) if config.runs else Path(scratch)
        command = "python -m finetuning.demo.benchmark " + " ".join(argv or sys.argv[1:])
        if config.budgets:
            rows = []
            for budget in config.budgets:
                for seed in config.seeds:
                    rows.append(row(run_demo([f"minutes={budget}", f"seed={seed}"], runs)))
                    _print(rows[-1])
                    write_result(
                        RESULTS / "demo_curve.json",
                        name="demo against training minutes",
                        figures={"rows": rows},
                        command=command,
                        seed=config.seeds[0],
                    )
        rows = []
        for text in config.texts:
            rows.append(row(run_demo([f"minutes={config.text_minutes}", "--text", text], runs)))
            rows[-1]["command"] = rows[-1]["command"].replace(text, Path(text).name)
            _print(rows[-1])
            write_result(
                RESULTS / "demo_texts.json",
                name="demo on real texts",
                figures={"rows": rows},
                command=command.replace(str(Path(text).parent) + "/", ""),
                seed=1337,
            )
    return 0


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
