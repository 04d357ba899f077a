"""`python -m pretraining.results_table RUN …`: one row for each reference run, from what the runs themselves recorded.

    python -m pretraining.results_table last
    python -m pretraining.results_table runs=[run1,run2] out=pretraining/results/reference.json

A row says what was trained (recipe, parameters, tokens), on what (processor, cores, GPU), how long, how fast, how well,
and under which hash of the config, so that the same run can be asked for again. Nothing is typed in: a run that has not
ended, or has no loss, is refused or shown as "not measured". The README shows the table from the results file.
Left out: speedrun rows, which have a board of their own (`speedrun_board`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.runs import Run, find_run, list_runs
from utils.timing import write_result

RESULTS = Path(__file__).parent / "results" / "reference.json"
# What says where, and not what: two runs that differ in these only are the same experiment.
PLACES = ("runs", "track", "track_project", "track_mode", "name", "version", "parent", "created")


@dataclass(frozen=True)
class TableConfig:
    """Which runs, and where the table goes."""

    runs: tuple[str, ...] = field(
        default=(), metadata={"help": "runs (last, ids, paths); empty: all complete ones"}
    )
    root: str | None = field(
        default=None, metadata={"help": "where runs are; null: $SCRATCHBOOK_RUNS, else ./runs"}
    )
    out: str = field(default=str(RESULTS), metadata={"help": "the results file"})


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of what was trained and how, whatever folder it was written to.

    >>> config_hash({"lr": 0.001, "runs": "a"}) == config_hash({"runs": "b", "lr": 0.001})
    True
    """
    kept = {key: value for key, value in config.items() if key not in PLACES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def parameters_in(weights: Path) -> int | None:
    """Numbers in a safetensors file, from its header alone; None where there is none.

    A tied matrix is stored once and counted once.
    """
    try:
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (OSError, ValueError, struct.error):
        return None
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def row_of(run: Run) -> dict[str, Any]:
    """The facts of one complete run. Raises UserError for one that has not ended well."""
    if run.status != "complete":
        raise UserError(f"run {run.id} is {run.status}, not complete: a reference is a run that has ended")
    result, config, machine = run.meta.get("result"), run.meta["config"], run.meta["hardware"]
    if not result or not result.get("val"):
        raise UserError(
            f"run {run.id} has no validation loss: it was not made by python -m pretraining.train"
        )
    gpus = [gpu["name"] for gpu in machine["gpu"]] if isinstance(machine.get("gpu"), list) else []
    checkpoint = Path(str(result.get("checkpoint") or ""))
    inside = run.path / "checkpoints" / checkpoint.name  # the folder may have been moved since
    seconds, on_gpu = float(result["seconds"]), bool(gpus) and config.get("device") != "cpu"
    return {
        "run": run.id,
        "recipe": config.get("name") or config.get("preset"),
        "config_hash": config_hash(config),
        "data": Path(str(config.get("data"))).name,
        "parameters": parameters_in(inside / "model.safetensors"),
        "steps": result["step"],
        "tokens": result["tokens"],
        "seconds": seconds,
        "gpu_hours": seconds * len(gpus) / 3600 if on_gpu else None,
        "tokens_per_second": result["tokens"] / seconds if seconds else None,
        "loss": result["val"]["loss"],
        "bits_per_byte": result["val"]["bits_per_byte"],
        "bigram": (result.get("baselines") or {}).get("bigram"),
        "hardware": ", ".join(dict.fromkeys(gpus))
        if on_gpu
        else f"{machine['cpu']}, {machine['cores']} cores",
        "git_sha": run.meta.get("git_sha"),
        "torch": run.meta["versions"].get("torch"),
        # Where the run was put is somebody's own folder: without it the command gives the same run anywhere.
        "command": " ".join(str(w) for w in run.meta.get("command") or [] if not str(w).startswith("runs=")),
        "date": run.meta.get("end"),
    }


def rows_of(references: Sequence[str], root: str | None = None) -> list[dict[str, Any]]:
    """A row for each run named; without names, for each complete run of pretraining that has a loss, oldest first."""
    if references:
        return [row_of(find_run(name, stage="pretrain", root=root)) for name in references]
    rows = []
    for run in reversed(list_runs(stage="pretrain", root=root)):
        if run.status == "complete" and (run.meta.get("result") or {}).get("val"):
            rows.append(row_of(run))
    if not rows:
        raise UserError("no complete run with a validation loss: train one with python -m pretraining.train")
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown, as the README shows them."""
    heads = (
        "| recipe | parameters | tokens | wall time | tokens/s | loss | bits per byte | machine | config |"
    )
    lines = [heads, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            str(row["recipe"]),
            _said(row["parameters"], _millions),
            _said(row["tokens"], _millions),
            _said(row["seconds"], _clock),
            _said(row["tokens_per_second"], lambda n: f"{n:,.0f}"),
            _said(row["loss"], lambda n: f"{n:.4f}"),
            _said(row["bits_per_byte"], lambda n: f"{n:.3f}"),
            row["hardware"],
            f"`{row['config_hash']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _millions(number: int) -> str:
    """Three digits, at least: 0.14 M, 5.43 M, 124 M."""
    return f"{number / 1e6:.3g} M" if number < 1e9 else f"{number / 1e9:.3g} G"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _said(value: Any, say: Any) -> str:
    return "not measured" if value is None else say(value)


def main(argv: list[str] | None = None) -> int:
    """Parse, collect, write, print the table. Returns the exit code."""
    config, options = parse_args(
        argv,
        TableConfig,
        prog="python -m pretraining.results_table",
        description=(__doc__ or "").split("\n\n")[0],
        positional={"run?": "one run, instead of runs=[…]"},
        aliases={"--out": "out", "--runs": "root"},
    )
    names = [*([options.run] if options.run else []), *config.runs]
    rows = rows_of(names, config.root)
    text = table(rows)
    words = ["python -m pretraining.results_table", *([options.run] if options.run else [])]
    words += command_words(config, ("out", "root"))
    figures = {"rows": rows, "table": text}
    path = write_result(config.out, name="reference", figures=figures, command=" ".join(words))
    print(text)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
