"""Draw the race's frontier: validation loss against bytes of cache, one point a variant.

    python -m pretraining.race_plot pretraining/results/race.json

The idea: a variant is worth having if no other is both smaller and better. Those points are joined; bars show the
spread over seeds, without which an order of points means nothing. Left out: training (`race`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.errors import UserError
from utils.files import atomic_write_text
from utils.plotting import PALETTE, figure_to_svg, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points (bytes, loss) that no other point beats in both, from small to large.

    >>> frontier({"a": (1, 3.0), "b": (2, 2.0), "c": (3, 2.5), "d": (2, 2.2)})
    ['a', 'b']
    """
    best: list[str] = []
    for name, (_, loss) in sorted(points.items(), key=lambda item: item[1]):
        if not best or loss < points[best[-1]][1]:
            best.append(name)
    return best


def frontier_figure(figures: Mapping[str, Any]) -> Figure:
    """Loss against bytes of cache at a full block, with the range over seeds, and the frontier as a line."""
    import matplotlib.pyplot as plt

    table = figures["table"]
    points = {name: (row["cache_bytes"] / 1024, row["val_loss"]["mean"]) for name, row in table.items()}
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 4.0))
        line = [points[name] for name in frontier(points)]
        axis.plot(*zip(*line), color="#bbbbbb", zorder=1)
        for i, (name, (x, y)) in enumerate(points.items()):
            loss = table[name]["val_loss"]
            bars = [[y - loss["min"]], [loss["max"] - y]]
            axis.errorbar(x, y, yerr=bars, marker="o", capsize=4, color=PALETTE[i % len(PALETTE)])
            axis.annotate(name, (x, y), textcoords="offset points", xytext=(8, 5))
        seeds = len(figures["seeds"])
        axis.set(
            xlabel=f"KiB of cache for {figures['base']['block_size']:,} tokens, bf16",
            ylabel="validation loss, nats a token",
            title=f"{figures['corpus']['name']}: {seeds} seed{'s' if seeds > 1 else ''}, "
            f"{figures['settings']['steps']:,} steps",
            ylim=_limits([v for row in table.values() for v in (row["val_loss"]["min"], row["val_loss"]["max"])]),
        )  # fmt: skip
        axis.set_xlim(left=0)
    return figure


def _limits(values: list[float]) -> tuple[float, float]:
    margin = max(0.01, 0.2 * (max(values) - min(values)))
    return min(values) - margin, max(values) + margin


def plot_file(path: str | Path) -> Path:
    """The plot of a race's results file, written beside it as `<name>_frontier.svg`.

    Raises:
        UserError: the file is missing, or was not written by a race.
    """
    import matplotlib.pyplot as plt

    path = Path(path)
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        figure = frontier_figure(figures)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run python -m pretraining.race") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds no figures of a race: run python -m pretraining.race") from None
    target = path.with_name(f"{path.stem}_frontier.svg")
    atomic_write_text(target, figure_to_svg(figure))
    plt.close(figure)
    return target


def main(argv: list[str] | None = None) -> int:
    """Draw the plot of one results file."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        print((__doc__ or "").split("\n\n")[1].strip())
        return 0 if words and words[0] in ("-h", "--help") else 2
    print(f"wrote {plot_file(words[0])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
