"""The pictures of notebook 03: a walk through a valley, matrices as colours, bars of what is kept, and lines.

They take plain numbers and tensors and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `03_optimizers.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_mechanisms.figures.latent import draw_counts, draw_lines
from attention_mechanisms.figures.race_of_the_variants import draw_missing
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_counts",
    "draw_lines",
    "draw_maps",
    "draw_missing",
    "draw_stacked",
    "draw_steps",
    "draw_valley",
]

LOOKS = ("o-", "s--", "^:", "D-.")  # readable without colours as well
QUIET = "#555555"


def draw_valley(paths: Mapping[str, Sequence[tuple[float, float]]], curvature: tuple[float, float]) -> Figure:
    """Walks over the bowl ½(a·x² + b·y²), each in a panel of its own with its number of steps."""
    import matplotlib.pyplot as plt
    import numpy as np

    fig, axes = plt.subplots(
        1, len(paths), figsize=(3.0 * len(paths), 2.5), sharex=True, sharey=True, squeeze=False
    )
    points = [p for path in paths.values() for p in path]
    wide, high = (1.15 * max(abs(p[i]) for p in points) for i in (0, 1))
    x, y = np.meshgrid(np.linspace(-wide, wide, 80), np.linspace(-high, high, 80))
    bowl = 0.5 * (curvature[0] * x**2 + curvature[1] * y**2)
    for ax, (name, path) in zip(axes[0], paths.items(), strict=True):
        ax.contour(
            x, y, bowl, levels=np.quantile(bowl, np.linspace(0.1, 0.8, 3)), colors="#c8c8c8", linewidths=0.8
        )
        ax.plot([p[0] for p in path], [p[1] for p in path], "o-", ms=2.5, lw=1, color=PALETTE[0])
        ax.plot(*path[-1], "s", ms=6, color=PALETTE[1])
        ax.plot(0, 0, "+", ms=10, color=QUIET)
        ax.set_title(f"{name}: {len(path) - 1} steps", fontsize=10, loc="left")
        ax.grid(False)
    axes[0][0].set_ylabel("steep direction")
    axes[0][len(paths) // 2].set_xlabel("flat direction")
    return fig


def draw_steps(groups: Mapping[str, Sequence[float]], names: Sequence[str], ylabel: str) -> Figure:
    """For each name a group of bars, one for each of `groups`, on a symmetric logarithmic scale."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    width = 0.8 / len(groups)
    for i, (label, values) in enumerate(groups.items()):
        places = [n + (i - (len(groups) - 1) / 2) * width for n in range(len(values))]
        ax.bar(places, list(values), width, label=label, color=PALETTE[i], edgecolor="white")
    ax.set_xticks(range(len(names)), names)
    ax.set_yscale("symlog", linthresh=1e-4)
    ax.axhline(0, color=QUIET, lw=0.8)
    ax.set_ylabel(ylabel)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups))
    return fig


def draw_maps(maps: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Figure:
    """Matrices as colours, each on its own scale around 0 (blue below, white 0, red above)."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(maps), figsize=(2.5 * len(maps), 2.7), squeeze=False)
    for ax, (name, matrix) in zip(axes[0], maps.items(), strict=True):
        values = matrix.detach().float().cpu().numpy() if hasattr(matrix, "detach") else matrix
        top = abs(values).max() or 1.0
        ax.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_xlabel((notes or {}).get(name, ""), fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return fig


def draw_stacked(rows: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """A bar for each row, cut into its parts, with the sum at its end."""
    import matplotlib.pyplot as plt

    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    fig, ax = plt.subplots(figsize=(7.4, 1.3 + 0.42 * len(rows)))
    for i, row in enumerate(rows.values()):
        left = 0.0
        for part in parts:
            value = row.get(part, 0.0)
            colour = PALETTE[parts.index(part)]
            ax.barh(i, value, left=left, color=colour, edgecolor="white", label=part if i == 0 else None)
            left += value
        ax.annotate(
            f"{left:,.0f}" if left >= 10 else f"{left:.3g}",
            (left, i),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=unit, xlim=(0, 1.14 * max(sum(row.values()) for row in rows.values())))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")
    return fig
