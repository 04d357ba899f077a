"""`python -m pretraining.plot_curves RUN`: the loss curves of one or more runs as PNG files.

Reads a run (its metrics.jsonl), a .jsonl or a .csv with the header `step,epoch,split,loss,timestamp`, and
writes train_loss.png, val_loss.png and val_ppl.png; several runs share each plot. Where a resumed run has written a
step twice, the later line counts. The final evaluation reads more tokens than those on the way, so it is a point of
the curve only where there is no other. `--x tokens` and `--x seconds` compare runs whose steps differ in size.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.errors import UserError
from utils.files import read_jsonl
from utils.runs import find_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LOSS = 700.0  # exp of more overflows


AXES = {"step": "step", "tokens": "tokens", "seconds": "elapsed"}  # what --x may be, and its field


def read_curves(
    source: str | Path, *, root: Path | None = None, x: str = "step"
) -> dict[str, dict[int, float]]:
    """Loss by split ("train", "val") and `x` (step, tokens or seconds), from a run reference, a .jsonl or a .csv.

    Raises UserError when there is no loss in it, or nothing to put on that axis.
    """
    path = Path(source)
    if path.suffix == ".csv" and path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"step", "split", "loss"} - set(reader.fieldnames or ())
            if missing:
                raise UserError(
                    f"{path} has no column {min(missing)}: the header is step,epoch,split,loss,timestamp"
                )
            rows: Iterable[Mapping[str, Any]] = list(reader)
    elif path.suffix == ".jsonl" and path.is_file():
        rows = read_jsonl(path)
    else:
        path = find_run(str(source), root=root).path
        rows = read_jsonl(path / "metrics.jsonl")
    curves: dict[str, dict[int, float]] = {}
    last: dict[str, dict[int, float]] = {}  # of the final evaluations, on the whole validation part
    tokens = 0
    for row in rows:
        tokens = int(row.get("tokens") or tokens) if row.get("split") == "train" else tokens
        if row.get("loss") in (None, "") or row.get("step") in (None, ""):
            continue
        # an evaluation's own `tokens` are those it was judged on, not those learned from
        at = {"step": row["step"], "tokens": tokens, "seconds": row.get("elapsed")}[x]
        if at in (None, ""):
            raise UserError(f"{path} has no {AXES[x]}: only --x step can be drawn from it")
        kind = last if row.get("whole") is True else curves
        kind.setdefault(str(row.get("split", "train")), {})[int(float(at))] = float(row["loss"])
    curves = {**last, **curves}
    if not curves:
        raise UserError(f"{path} holds no loss: nothing to plot yet")
    return {split: dict(sorted(curve.items())) for split, curve in curves.items()}


@dataclass(frozen=True)
class Plot:
    """One figure: what it shows, in which unit, from which split."""

    file: str
    title: str
    unit: str
    split: str
    perplexity: bool = False


PLOTS = (
    Plot("train_loss.png", "Training loss", "nats per token", "train"),
    Plot("val_loss.png", "Validation loss", "nats per token", "val"),
    Plot("val_ppl.png", "Validation perplexity", "perplexity", "val", perplexity=True),
)


def draw(plot: Plot, runs: Mapping[str, Mapping[str, Mapping[int, float]]], x: str = "step") -> Figure | None:
    """The figure for all runs (name -> curves) that have this split; None when none has."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from pretraining.evaluation import perplexity
    from utils.plotting import style

    shown = {name: curves[plot.split] for name, curves in runs.items() if plot.split in curves}
    if not shown:
        return None
    with style():
        figure = Figure()
        axes = figure.subplots()
        for name, curve in shown.items():
            values = (
                [perplexity(min(v, MAX_LOSS - 1)) for v in curve.values()]
                if plot.perplexity
                else curve.values()
            )
            axes.plot(list(curve), list(values), label=name, marker="." if len(curve) < 30 else None)
        axes.set(title=plot.title, xlabel=x, ylabel=plot.unit)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))  # there is no step 22.5
        if plot.perplexity:
            axes.set_yscale("log")
        if len(shown) > 1:
            axes.legend()
    return figure


def plot_curves(
    sources: Sequence[str | Path], out: Path, *, root: Path | None = None, x: str = "step"
) -> list[Path]:
    """Write the figures that the sources have data for into `out`; returns their paths."""
    runs: dict[str, dict[str, dict[int, float]]] = {}
    for source in sources:
        name = (
            Path(source).stem if Path(source).is_file() else Path(find_run(str(source), root=root).path).name
        )
        runs[name if name not in runs else f"{name} ({len(runs) + 1})"] = read_curves(source, root=root, x=x)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in PLOTS:
        figure = draw(plot, runs, x)
        if figure is not None:
            figure.savefig(out / plot.file)
            written.append(out / plot.file)
    return written


def main(argv: list[str] | None = None) -> int:
    """Parse, plot, print the paths."""
    parser = argparse.ArgumentParser(
        prog="python -m pretraining.plot_curves", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "sources", nargs="*", default=["last"], help="runs (last, id, path), .jsonl or .csv files"
    )
    parser.add_argument("--x", choices=list(AXES), default="step", help="what to draw against (step)")
    parser.add_argument("--out", type=Path, help="folder for the figures; default: beside the first source")
    parser.add_argument("--runs", type=Path, help="where runs are; default: $SCRATCHBOOK_RUNS, else ./runs")
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)
    out = options.out
    if out is None:
        first = Path(options.sources[0])
        out = (
            first.parent
            if first.is_file()
            else find_run(options.sources[0], root=options.runs).path / "plots"
        )
    for path in plot_curves(options.sources, out, root=options.runs, x=options.x):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
