"""The pictures of notebook 07: bands, rings turning, how far a layer and a stack of layers reach.

They take plain numbers and tensors and return a matplotlib figure; what is drawn is computed in the notebook, never
here. matplotlib is imported on use. Left out: style (`utils.plotting`) and plain curves (`figures.latent.draw_lines`).
Notebook: `07_sliding_window.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_mechanisms.figures.latent import KEPT, LOOKS, PLAIN, QUIET, draw_counts, draw_lines
from utils.plotting import PALETTE, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_bands",
    "draw_counts",
    "draw_lines",
    "draw_occupancy",
    "draw_reach",
    "draw_recall",
    "draw_ring",
    "draw_who_sees",
]


def draw_bands(masks: Mapping[str, Any]) -> Figure:
    """Masks side by side, queries down and keys across; blue is allowed. Each title tells how many pairs are."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    fig, axes = plt.subplots(1, len(masks), squeeze=False, figsize=(2.7 * len(masks), 3.1))
    for ax, (name, mask) in zip(axes[0], masks.items(), strict=True):
        table = np.asarray(mask, dtype=bool)
        ax.imshow(table, cmap=ListedColormap(["#f2f2f2", PALETTE[0]]), vmin=0, vmax=1, aspect="equal")
        ax.set_xticks(np.arange(-0.5, table.shape[1]), minor=True)
        ax.set_yticks(np.arange(-0.5, table.shape[0]), minor=True)
        ax.grid(False, which="major")
        if max(table.shape) <= 40:
            ax.grid(True, which="minor", color="white", lw=0.8)
        ax.tick_params(which="minor", length=0)
        ax.set(title=f"{name}\n{int(table.sum()):,} pairs", xlabel="key")
        ax.title.set_fontsize(10)
    axes[0, 0].set_ylabel("query")
    return fig


def draw_reach(sizes: Mapping[str, Any]) -> Figure:
    """For each name a row of numbers over the tokens: how much each moves the last output. Exactly 0 is white."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    table = np.array([[float(size) for size in row] for row in sizes.values()])
    shown = np.ma.masked_equal(table, 0.0)
    fig, ax = plt.subplots(figsize=(8.4, 1.0 + 0.42 * len(sizes)))
    image = ax.imshow(shown, cmap=SEQUENTIAL + "_r", norm=LogNorm(shown.min(), shown.max()), aspect="auto")
    for row, values in enumerate(table):
        first = int(np.flatnonzero(values)[0])
        ax.plot([first - 0.5] * 2, [row - 0.5, row + 0.5], color=PALETTE[1], lw=2.5)
    ax.set_yticks(range(len(sizes)), list(sizes))
    ax.set(xlabel="token of the input")
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="gradient")
    return fig


def draw_ring(frames: Sequence[tuple[str, Sequence[int | None], Sequence[int]]], columns: int = 5) -> Figure:
    """Frames of a ring: (title, the position in each slot or None, slots just written).

    Slots lie on a circle, slot 0 at the top, clockwise; just written ones are orange.
    """
    import matplotlib.pyplot as plt

    rows = math.ceil(len(frames) / columns)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(1.75 * columns, 1.95 * rows))
    for ax in axes.flat:
        ax.axis("off")
    for ax, (title, slots, written) in zip(axes.flat, frames, strict=False):
        step = 360 / len(slots)
        for slot, position in enumerate(slots):
            start = 90 + step / 2 - (slot + 1) * step
            colour = KEPT if slot in written else PLAIN if position is not None else "#f2f2f2"
            wedge = plt.matplotlib.patches.Wedge(
                (0, 0), 1, start, start + step, width=0.55, fc=colour, ec="white", lw=2
            )
            ax.add_patch(wedge)
            angle = math.radians(start + step / 2)
            x, y = math.cos(angle), math.sin(angle)
            ax.text(0.72 * x, 0.72 * y, "" if position is None else str(position), ha="center", va="center")
            ax.text(1.14 * x, 1.14 * y, str(slot), ha="center", va="center", fontsize=7, color=QUIET)
        ax.text(0, 0, title, ha="center", va="center", fontsize=9)
        ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
        ax.set_aspect("equal")
    return fig


def draw_occupancy(steps: Sequence[Sequence[int | None]], first_step: int = 0) -> Figure:
    """One row a step: which position each slot holds, None for empty. The position written last is orange."""
    import matplotlib.pyplot as plt

    rows, slots = len(steps), len(steps[0])
    fig, ax = plt.subplots(figsize=(1.1 + 0.62 * slots, 0.7 + 0.33 * rows))
    for row, held in enumerate(steps):
        newest = max((p for p in held if p is not None), default=-1)
        for slot, position in enumerate(held):
            empty = position is None
            colour = "#f2f2f2" if empty else KEPT if position == newest else PLAIN
            ax.add_patch(plt.Rectangle((slot - 0.5, row - 0.5), 1, 1, fc=colour, ec="white", lw=1.5))
            ax.text(slot, row, "" if empty else str(position), ha="center", va="center", fontsize=9)
    ax.set_xticks(range(slots))
    ax.set_yticks(range(rows), [str(first_step + row) for row in range(rows)])
    ax.set(xlabel="slot", ylabel="after token", xlim=(-0.5, slots - 0.5), ylim=(rows - 0.5, -0.5))
    ax.grid(False)
    return fig


def draw_who_sees(
    wanted: Mapping[int, Sequence[int]], found: Mapping[int, Sequence[int]], n_keys: int
) -> Figure:
    """For each query, by position, the keys that it should see and those that it finds; what is lost is orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(1.4 + 0.5 * n_keys, 0.9 + 0.5 * len(wanted)))
    for row, (query, keys) in enumerate(wanted.items()):
        for key in range(n_keys):
            should, there = key in keys, key in found[query]
            colour = PLAIN if should and there else KEPT if should else "#f2f2f2"
            ax.add_patch(plt.Rectangle((key - 0.5, row - 0.5), 1, 1, fc=colour, ec="white", lw=1.5))
            ax.text(key, row, "lost" if should and not there else "", ha="center", va="center", fontsize=9)
    ax.set_xticks(range(n_keys))
    ax.set_yticks(range(len(wanted)), [str(query) for query in wanted])
    ax.set(xlabel="key", ylabel="query", xlim=(-0.5, n_keys - 0.5), ylim=(len(wanted) - 0.5, -0.5))
    ax.grid(False)
    return fig


def draw_recall(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], reach: Sequence[int], chance: float
) -> Figure:
    """Share of right answers by distance, one line a model, with the distance that each can reach."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    for i, ((name, (xs, ys)), end) in enumerate(zip(curves.items(), reach, strict=True)):
        ax.plot(list(xs), list(ys), LOOKS[i], ms=4, color=PALETTE[i], label=name)
        ax.axvline(end + 0.5, color=PALETTE[i], lw=1, ls=":")
    ax.axhline(chance, color=QUIET, lw=1)
    ax.text(
        max(max(xs) for xs, _ in curves.values()),
        chance - 0.07,
        "chance",
        ha="right",
        fontsize=9,
        color=QUIET,
    )
    ax.set(xlabel="distance of the planted key", ylabel="share of right answers", ylim=(0, 1.05))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return fig
