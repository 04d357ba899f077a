"""The pictures of notebook 03: shares as bars, rows that repeat, a phase change, the stripe, what heads are worth.

They take plain numbers (tensors as well) and strings and return a matplotlib figure; what is drawn is computed in
the notebook, never here. matplotlib is imported on use. Left out: style (`utils.plotting`); the page that answers to
the mouse (`viewer`); a grid of maps, which notebook 02 draws. Notebook: `03_reading_attention.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET = "#555555"
NEW, KNOWN = "white", PALETTE[5]


def draw_shares(rows: Mapping[str, Any], columns: int = 4) -> Figure:
    """One row of a map each, as bars over the keys; the name stands above."""
    import matplotlib.pyplot as plt

    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    fig, axes = plt.subplots(
        lines, columns, squeeze=False, sharey=True, figsize=(2.3 * columns, 1.9 * lines + 0.3)
    )
    for ax in axes.flat[len(rows) :]:
        ax.axis("off")
    for ax, (name, shares) in zip(axes.flat, rows.items(), strict=False):
        heights = np.asarray(shares, dtype=float)
        ax.bar(range(len(heights)), heights, color=PALETTE[0])
        ax.set_title(name, fontsize=10)
        ax.set(xticks=range(len(heights)), ylim=(0, 1.02))
        ax.grid(False, axis="x")
    axes[-1, 0].set(xlabel="key", ylabel="share")
    return fig


def draw_rows(rows: Any, known: Any, opening: int | None = None) -> Figure:
    """Texts of numbers, a line each; blue is what could be known from the tokens before it."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    numbers, marks = np.asarray(rows, dtype=int), np.asarray(known, dtype=int)
    count, length = numbers.shape
    fig, ax = plt.subplots(figsize=(0.27 * length + 0.5, 0.3 * count + 0.6))
    ax.imshow(marks, cmap=ListedColormap([NEW, KNOWN]), vmin=0, vmax=1, aspect="auto")
    for (row, place), number in np.ndenumerate(numbers):
        ax.text(place, row, "·" if number == opening else str(number), ha="center", va="center", fontsize=8)
    ax.set(xlabel="place", yticks=[])
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    return fig


def draw_stripe(maps: Mapping[str, Any], keys: Any, side: float = 0.085, every: int = 5) -> Figure:
    """Maps large enough to see a line in them; small orange marks stand where `keys` (T, T) says a head should look.

    A row is a query. Equal scales, 0 to 1; the marks are drawn beside the cell, so that they hide nothing.
    """
    import matplotlib.pyplot as plt

    queries, wanted = np.nonzero(np.asarray(keys))
    count = np.asarray(keys).shape[0]
    fig, axes = plt.subplots(
        1,
        len(maps),
        squeeze=False,
        sharey=True,
        figsize=((side * count + 0.35) * len(maps) + 0.5, side * count + 0.9),
    )
    for ax, (name, table) in zip(axes[0], maps.items(), strict=True):
        ax.imshow(np.asarray(table, dtype=float), vmin=0, vmax=1)
        ax.scatter(wanted + 1.0, queries, s=5, color=PALETTE[1], linewidths=0)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=range(0, count, every), yticks=range(0, count, every), xlabel="key")
        ax.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
        ax.grid(False)
    axes[0, 0].set_ylabel("query")
    return fig


def draw_phase(
    steps: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    scores: Mapping[str, Sequence[float]],
    levels: Mapping[str, float],
) -> Figure:
    """Losses above, scores of the best heads below, over the same steps; `levels` are thin lines among the losses."""
    import matplotlib.pyplot as plt

    fig, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 4.6))
    styles = ("-", "--", ":", "-.")
    for (name, values), line, colour in zip(losses.items(), styles, PALETTE, strict=False):
        above.plot(steps, list(values), line, color=colour, label=name)
    for name, level in levels.items():
        above.axhline(level, color=QUIET, lw=0.8)
        above.text(0.995 * steps[-1], level + 0.07, name, fontsize=9, color=QUIET, ha="right")
    for (name, values), line, colour in zip(scores.items(), styles, PALETTE[2:], strict=False):
        below.plot(steps, list(values), line, color=colour, label=name)
    highest = max(max(values) for values in losses.values())
    above.set(ylabel="nats per token", ylim=(0, 1.15 * max(highest, *levels.values(), 0)))
    below.set(xlabel="step", ylabel="best head", ylim=(0, 1.02))
    above.legend(fontsize=9, loc="lower left")
    below.legend(fontsize=9, loc="center right")
    return fig


def draw_worth(tables: Mapping[str, Any], top: float | None = None) -> Figure:
    """Numbers for each head, layers down and heads across, one table for each name; darker is more.

    `top` is the darkest number of all tables; None lets each have its own.
    """
    import matplotlib.pyplot as plt

    arrays = {name: np.asarray(table, dtype=float) for name, table in tables.items()}
    layers, heads = next(iter(arrays.values())).shape
    fig, axes = plt.subplots(
        1,
        len(arrays),
        squeeze=False,
        figsize=((0.72 * heads + 0.9) * len(arrays) + 0.4, 0.5 * layers + 0.9),
    )
    for ax, (name, table) in zip(axes[0], arrays.items(), strict=True):
        darkest = max(float(table.max()), 1e-9) if top is None else top
        ax.imshow(table, cmap="Blues", vmin=0, vmax=1.6 * darkest, aspect="auto")
        for (layer, head), value in np.ndenumerate(table):
            ax.text(head, layer, f"{value:.2f}", ha="center", va="center", fontsize=9)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=range(heads), yticks=range(layers), xlabel="head")
        ax.grid(False)
    axes[0, 0].set_ylabel("layer")
    return fig


def draw_looks_and_worth(models: Mapping[str, Mapping[str, tuple[float, float]]], score: str) -> Figure:
    """How telling a map is against what the head is worth: model name -> head name -> (score, rise of the loss)."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(models), squeeze=False, figsize=(4.1 * len(models), 3.3))
    for ax, (model, heads), colour in zip(axes[0], models.items(), PALETTE, strict=False):
        for name, (x, y) in heads.items():
            ax.scatter([x], [y], s=34, color=colour)
            ax.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=9, color=QUIET)
        ax.set_title(model, fontsize=11)
        ax.set(xlabel=score, ylabel="loss without it, minus loss (nats)")
        ax.margins(0.16)
    return fig


def draw_levels(levels: Mapping[str, float], title: str, lines: Mapping[str, float] | None = None) -> Figure:
    """Named numbers as bars from top to bottom, written out; `lines` are thin upright lines with their names."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 0.32 * len(levels) + 1.0))
    values = list(levels.values())
    ax.barh(range(len(values)), values, color=PALETTE[0], alpha=0.75)
    top = max(*values, *(lines or {}).values(), 0)
    for place, value in enumerate(values):
        ax.text(value + 0.01 * top, place, f"{value:.2f}", va="center", fontsize=9)
    for name, value in (lines or {}).items():
        ax.axvline(value, color=QUIET, lw=1)
        ax.text(value, -0.75, name, fontsize=9, color=QUIET, ha="center", va="bottom")
    ax.set_yticks(range(len(values)), list(levels))
    ax.set(xlabel=title, xlim=(0, 1.12 * top), ylim=(len(values) - 0.5, -0.7))
    ax.grid(False, axis="y")
    return fig
