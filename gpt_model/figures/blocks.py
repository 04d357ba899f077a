"""The pictures of notebook 01: maps of numbers, bent curves, and a block as arrows on the residual stream.

They take plain numbers, names and tensors and return a matplotlib figure; what is drawn is computed in the notebook,
never here. matplotlib is imported on use. Bars, lines and chains of boxes are those of the chapter before. Left out:
style (`utils.plotting`).
Notebook: `01_blocks.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_mechanisms.figures.latent import draw_counts, draw_flow, draw_lines
from utils.plotting import DIVERGING, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_block", "draw_counts", "draw_curves", "draw_flow", "draw_lines", "draw_maps"]

QUIET = "#555555"
BOXES = {"norm": "#fbe3b3", "attention": "#cfe8f7", "feed-forward": "#cfe8f7", "+": "#ffffff"}
LOOKS = ("-", "--", ":", "-.", (0, (1, 1)))  # readable without colours as well


def draw_maps(
    panels: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    *,
    limit: float | None = None,
    scale: str = "",
    extent: tuple[float, float, float, float] | None = None,
) -> Figure:
    """A map for each name, side by side, red above zero and blue below, all on one scale of ± `limit`.

    `scale` are the words beside the colours; `limit` is the largest size among all values unless given; `extent`
    is (left, right, bottom, top) where the axes are not rows and columns.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    grids = {name: np.asarray(values, dtype=float) for name, values in panels.items()}
    limit = limit or max(float(np.abs(grid).max()) for grid in grids.values()) or 1.0
    fig, axes = plt.subplots(1, len(grids), figsize=(1.4 + 2.9 * len(grids), 2.7), squeeze=False)
    for ax, (name, grid) in zip(axes[0], grids.items(), strict=True):
        image = ax.imshow(
            grid,
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
            extent=extent,
        )
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set(title=name, xlabel=xlabel)
        ax.title.set_fontsize(10)
        ax.grid(False)
    axes[0][0].set_ylabel(ylabel)
    fig.colorbar(image, ax=list(axes[0]), label=scale)
    return fig


def draw_curves(
    xs: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str
) -> Figure:
    """Panels side by side, in each a curve for every name over the same `xs`; colours agree between panels."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    fig, axes = plt.subplots(1, len(panels), figsize=(1.0 + 3.4 * len(panels), 3.2), squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, ys in curves.items():
            i = names.index(name)
            ax.plot(list(xs), list(ys), color=PALETTE[i], ls=LOOKS[i % len(LOOKS)], label=name)
        ax.set(title=title, xlabel=xlabel)
    axes[0][0].legend(fontsize=9)
    return fig


def draw_block(orders: Mapping[str, Sequence[tuple[str, bool]]]) -> Figure:
    """For each name the stream from left to right, with boxes on it or on a branch above it.

    A step is (words, on_branch): steps on a branch stand above the stream; the run of them is joined to it by arrows
    that leave before the first and come back at the next "+".
    """
    import matplotlib.pyplot as plt

    longest = max(len(steps) for steps in orders.values())
    fig, ax = plt.subplots(figsize=(1.25 * longest + 1.2, 1.75 * len(orders)))
    for row, (name, steps) in enumerate(orders.items()):
        y = -2.2 * row
        ax.text(-1.0, y + 1.3, name, fontsize=10, fontweight="bold")
        ax.annotate("", (longest, y), (-1.0, y), arrowprops={"arrowstyle": "->", "lw": 2.4, "color": QUIET})
        for i, (words, branch) in enumerate(steps):
            box = {"boxstyle": "round,pad=0.35", "fc": BOXES.get(words, "#e8e8e8"), "ec": QUIET, "lw": 0.6}
            ax.text(i, y + (0.8 if branch else 0), words, ha="center", va="center", fontsize=9, bbox=box)
            if branch and (i == 0 or not steps[i - 1][1]):  # leaves the stream
                left = i - 0.6
            if words == "+":  # comes back
                ax.plot([left, left, i], [y, y + 0.8, y + 0.8], color=QUIET, lw=1, zorder=0)
                ax.annotate("", (i, y + 0.22), (i, y + 0.8), arrowprops={"arrowstyle": "->", "color": QUIET})
    ax.set(xlim=(-1.1, longest + 0.1), ylim=(-2.2 * (len(orders) - 1) - 0.5, 1.7))
    ax.axis("off")
    return fig
