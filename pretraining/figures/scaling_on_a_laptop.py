"""The pictures of notebook 05: valleys at equal compute, lines with what noise does to them, rungs of halving.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`). Notebook: `05_scaling_on_a_laptop.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from gpt_model.figures.gpt2_and_its_size import draw_bars
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_against",
    "draw_bars",
    "draw_counts",
    "draw_fan",
    "draw_lines",
    "draw_missing",
    "draw_rungs",
    "draw_valleys",
]

QUIET = "#555555"
MARKS = "os^Dvx"

Points = Sequence[tuple[float, float]]


def draw_valleys(
    groups: Mapping[str, tuple[Points, Callable[[float], float] | None]],
    xlabel: str,
    ylabel: str,
    bottoms: Points = (),
) -> Figure:
    """Points of each group and the curve through them over a logarithmic x; crosses at `bottoms`."""
    import matplotlib.pyplot as plt
    import numpy as np

    fig, ax = plt.subplots(figsize=(7.2, 4.0))
    if not any(points for points, _ in groups.values()):
        plt.close(fig)
        return draw_missing("not measured")
    for i, (name, (points, curve)) in enumerate(groups.items()):
        colour = PALETTE[i % len(PALETTE)]
        xs, ys = zip(*points)
        ax.plot(
            xs, ys, MARKS[i % len(MARKS)], ms=6, color=colour, label=name, ls="none" if curve else "-", lw=1.2
        )
        if curve is not None:
            fine = np.geomspace(min(xs) * 0.85, max(xs) * 1.18, 80)
            ax.plot(fine, [curve(x) for x in fine], color=colour, lw=1)
    for x, y in bottoms:
        ax.plot(x, y, "P", ms=10, color="black", zorder=4)
    ax.set_xscale("log")
    places = sorted({x for points, _ in groups.values() for x, _ in points})
    ax.set_xticks(places, [f"{x:,.0f}" if x >= 1 else f"{x:g}" for x in places])
    ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(groups) > 1:
        ax.legend(fontsize=9)
    return fig


def draw_fan(
    points: Points,
    lines: Sequence[Callable[[float], float]],
    best: Callable[[float], float] | None,
    reach: tuple[float, float],
    xlabel: str,
    ylabel: str,
    *,
    others: Mapping[str, Callable[[float], float]] | None = None,
) -> Figure:
    """Points on logarithmic axes, the line through them over `reach`, and behind it what it might as well have been."""
    import matplotlib.pyplot as plt
    import numpy as np

    if not points:
        return draw_missing("not measured")
    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    fine = np.geomspace(*reach, 60)
    for line in lines:
        ax.plot(fine, [line(x) for x in fine], color=PALETTE[0], lw=0.7, alpha=0.12)
    if best is not None:
        ax.plot(fine, [best(x) for x in fine], color=PALETTE[0], label="the line")
    for i, (name, line) in enumerate((others or {}).items(), start=1):
        ax.plot(fine, [line(x) for x in fine], "--", color=PALETTE[i % len(PALETTE)], lw=1.4, label=name)
    ax.plot(*zip(*points), "o", ms=7, color="black", zorder=4, label="measured")
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high / low < 5:  # powers of ten would be one label, or none
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        ax.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=9)
    return fig


def draw_against(groups: Mapping[str, Points], xlabel: str, ylabel: str) -> Figure:
    """Points (x, y) that would lie on the diagonal if x told y."""
    import matplotlib.pyplot as plt

    shown = {name: points for name, points in groups.items() if points}
    if not shown:
        return draw_missing("not measured")
    fig, ax = plt.subplots(figsize=(4.8, 4.4))
    every = [value for points in shown.values() for point in points for value in point]
    low, high = min(every), max(every)
    margin = 0.04 * (high - low)
    ax.plot([low - margin, high + margin], [low - margin, high + margin], color=QUIET, lw=0.8)
    for i, (name, points) in enumerate(shown.items()):
        ax.plot(*zip(*points), MARKS[i % len(MARKS)], ms=7, color=PALETTE[i % len(PALETTE)], label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=9)
    return fig


def draw_rungs(
    curves: Sequence[Points], rungs: Sequence[float], ylabel: str, *, missed: Points | None = None
) -> Figure:
    """The loss of each trial as far as it was trained; vertical lines where it was decided who goes on.

    The longest is the winner; `missed` is drawn dashed, a trial as it would have gone on.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    longest = max(len(curve) for curve in curves)
    for curve in curves:
        winner = len(curve) == longest
        colour, width = (PALETTE[1], 2.2) if winner else (PALETTE[0], 1.1)
        ax.plot(*zip(*curve), color=colour, lw=width, label="the winner" if winner else None)
        ax.plot(*curve[-1], "o", ms=5, color=colour)
    if missed is not None:
        ax.plot(
            *zip(*missed),
            "--",
            color=PALETTE[2],
            lw=1.4,
            label="the best after all steps, dropped on the way",
        )
    for rung in rungs:
        ax.axvline(rung, color=QUIET, ls=":", lw=1)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.set(xlabel="step", ylabel=ylabel)
    ax.legend(fontsize=9)
    return fig
