"""The pictures of notebook 06: what a reader finds after a power cut, what stays on the disk, what a run is made of.

They take plain numbers and words and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Curves, bars and time lines are those of the neighbours. Left out: style
(`utils.plotting`).
Notebook: `06_checkpoints_and_resume.ipynb`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from attention_mechanisms.figures.latent import draw_counts
from pretraining.figures.trusted_loop import draw_curves
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_counts", "draw_curves", "draw_kept", "draw_lanes", "draw_outcomes"]

COLOURS = {"old": PALETTE[5], "new": PALETTE[0], "torn": PALETTE[1], "nothing": "#222222"}


def draw_outcomes(rows: Mapping[str, Sequence[str]]) -> Figure:
    """For each way of writing one cell a moment of the power cut, coloured by what a reader finds afterwards."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch, Rectangle

    longest = max(len(found) for found in rows.values())
    fig, ax = plt.subplots(figsize=(7.2, 0.9 + 0.45 * len(rows)))
    for y, found in enumerate(rows.values()):
        for x, what in enumerate(found):
            ax.add_patch(Rectangle((x, y), 0.94, 0.86, color=COLOURS[what], lw=0))
            pale = what == "old"
            ax.text(
                x + 0.47,
                y + 0.43,
                what,
                ha="center",
                va="center",
                fontsize=8,
                color="black" if pale else "white",
            )
    ax.set(
        xlim=(-0.05, longest),
        ylim=(len(rows), -0.1),
        xlabel="power cut before operation …; last cell: after all",
    )
    ax.set_xticks([x + 0.47 for x in range(longest)], [str(x + 1) for x in range(longest)])
    ax.set_yticks([y + 0.43 for y in range(len(rows))], list(rows))
    ax.grid(False)
    ax.tick_params(length=0)
    names = [name for name in COLOURS if any(name in found for found in rows.values())]
    fig.legend(
        [Patch(color=COLOURS[name]) for name in names], names, loc="outside upper right", ncols=4, fontsize=9
    )
    return fig


def draw_kept(
    losses: Mapping[int, float], kept: Mapping[int, Collection[int]], best: Mapping[int, int]
) -> Figure:
    """Above the loss of each saved step; below, after each save, which steps are on the disk and which is `best`."""
    import matplotlib.pyplot as plt

    steps = sorted(losses)
    fig, (top, ax) = plt.subplots(
        2, 1, figsize=(7.2, 4.6), sharex=True, gridspec_kw={"height_ratios": [1, 1.7]}
    )
    top.plot(steps, [losses[s] for s in steps], "o-", color=PALETTE[0])
    top.set(ylabel="validation loss")
    for moment in steps:
        there = sorted(kept[moment])
        gone = [s for s in steps if s <= moment and s not in there]
        ax.plot(gone, [moment] * len(gone), "o", ms=7, mfc="none", mec="#bbbbbb")
        ax.plot(there, [moment] * len(there), "o", ms=9, color=PALETTE[0])
        ax.plot([best[moment]], [moment], "*", ms=9, color="white")
    ax.plot([], [], "o", ms=9, color=PALETTE[0], label="on the disk")
    ax.plot([], [], "o", ms=7, mfc="none", mec="#bbbbbb", label="removed")
    ax.plot([], [], "*", ms=9, mfc="white", mec="black", label="best")
    ax.set(xlabel="step of the checkpoint", ylabel="after the save of step", xticks=steps, yticks=steps)
    ax.invert_yaxis()
    ax.legend(loc="upper right")
    return fig


def draw_lanes(lanes: Mapping[str, Sequence[tuple[float, float, str]]], unit: str = "ms") -> Figure:
    """One lane a name, one bar for each (start, end, label): bars with a label are orange and say it, the others
    are steps."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8.2, 0.9 + 0.6 * len(lanes)))
    for y, bars in enumerate(lanes.values()):
        for start, end, label in bars:
            colour = PALETTE[1] if label else PALETTE[5]
            ax.barh(y, end - start, left=start, height=0.62, color=colour, edgecolor="white")
            if label:
                ax.text((start + end) / 2, y - 0.36, label, ha="center", va="bottom", fontsize=8)
    ax.set_yticks(range(len(lanes)), list(lanes))
    ax.invert_yaxis()
    ax.set_xlabel(unit)
    ax.grid(axis="y", visible=False)
    return fig
