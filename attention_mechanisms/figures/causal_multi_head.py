"""The pictures of notebook 02: masks, who can influence whom, heads as boxes, and the heads of a real model.

They take plain numbers (tensors as well) and strings and return a matplotlib figure; what is drawn is computed in
the notebook, never here. matplotlib is imported on use. Left out: style (`utils.plotting`); the page that answers to
the mouse (`viewer`). Notebook: `02_causal_multi_head.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET = "#555555"
MAY, MAY_NOT = PALETTE[5], "white"


def draw_masks(
    masks: Mapping[str, Any], labels: Sequence[str] | None = None, side: float = 0.27, columns: int = 4
) -> Figure:
    """Who may look at whom: a row for each query, a column for each key, blue where it may.

    The labels name the keys; queries are the newest of them, so the last labels name the rows.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    tables = {name: np.asarray(mask, dtype=int) for name, mask in masks.items()}
    columns = min(columns, len(tables))
    rows = -(-len(tables) // columns)
    wide = max(table.shape[1] for table in tables.values())
    high = max(table.shape[0] for table in tables.values())
    size = ((side * wide + 0.5) * columns + 0.4, (side * high + 0.75) * rows)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=size)
    for ax in axes.flat[len(tables) :]:
        ax.axis("off")
    for ax, (name, table) in zip(axes.flat, tables.items(), strict=False):
        high, wide = table.shape
        names = [str(k) for k in range(wide)] if labels is None else list(labels)[:wide]
        ax.imshow(table, cmap=ListedColormap([MAY_NOT, MAY]), vmin=0, vmax=1)
        ax.set_title(name, fontsize=11)
        turned = 90 if max(map(len, names)) > 2 else 0
        ax.set_xticks(range(wide), names, fontsize=8, rotation=turned)
        ax.set_yticks(range(high), names[wide - high :], fontsize=8)
        ax.set_xticks(np.arange(wide + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(high + 1) - 0.5, minor=True)
        ax.tick_params(length=0, which="both")
        ax.grid(False)
        ax.grid(which="minor", color="#bbbbbb", lw=0.6)
        ax.spines[["left", "bottom"]].set_visible(False)
    return fig


def draw_influence(tables: Mapping[str, Any], side: float = 0.3) -> Figure:
    """How strongly input j moves output i, |∂ out_i / ∂ in_j|: blue is some, white is exactly none, red is a leak.

    A leak is any influence above the diagonal: an input that comes after the output.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    count = max(np.asarray(table).shape[0] for table in tables.values())
    fig, axes = plt.subplots(
        1, len(tables), squeeze=False, figsize=((side * count + 0.9) * len(tables), side * count + 1.1)
    )
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        some = np.asarray(table, dtype=float) != 0
        kinds = some.astype(int) + np.triu(some, 1)  # 0 none, 1 from the past, 2 from the future
        ax.imshow(kinds, cmap=ListedColormap([MAY_NOT, MAY, PALETTE[1]]), vmin=0, vmax=2)
        leaks = int(np.triu(some, 1).sum())
        ax.set_title(f"{name}: {leaks or 'no'} leak{'s' if leaks > 1 else ''}", fontsize=11)
        ax.set(xlabel="input", ylabel="output")
        ax.set_xticks(range(len(some)), [str(i) for i in range(len(some))], fontsize=8)
        ax.set_yticks(range(len(some)), [str(i) for i in range(len(some))], fontsize=8)
        ax.grid(False)
    return fig


def draw_layout(layouts: Mapping[str, Any], n_tokens: int) -> Figure:
    """Where the numbers of each token went: a panel for each layout (heads, rows, numbers), a colour for each token.

    The numbers of `layouts` are token numbers; the text in a box says which token its number came from.
    """
    import matplotlib.pyplot as plt

    heads, rows, width = np.asarray(next(iter(layouts.values()))).shape
    fig, axes = plt.subplots(
        1,
        len(layouts),
        squeeze=False,
        figsize=((0.42 * heads * (width + 0.6) + 0.8) * len(layouts), 0.42 * rows + 1),
    )
    for ax, (name, layout) in zip(axes[0], layouts.items(), strict=True):
        for (head, row, number), token in np.ndenumerate(np.asarray(layout, dtype=int)):
            left = head * (width + 0.6) + number
            colour = PALETTE[token % n_tokens % len(PALETTE)]
            ax.barh(row, 1, left=left, height=0.9, color=colour, alpha=0.45, edgecolor="white", linewidth=2)
            ax.text(left + 0.5, row, str(token), ha="center", va="center", fontsize=10)
        ax.set_title(name, fontsize=11)
        middles = [head * (width + 0.6) + width / 2 for head in range(heads)]
        ax.set_xticks(middles, [f"head {head}" for head in range(heads)])
        ax.set_yticks(range(rows), [f"row {row}" for row in range(rows)])
        ax.invert_yaxis()
        ax.tick_params(length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.grid(False)
    return fig


def draw_blocks(parts: Mapping[str, tuple[int, int]], title: str) -> Figure:
    """Matrices as rectangles to scale, name to (rows, columns), with their number of entries."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.4, 2.5))
    left, tall = 0.0, max(rows for rows, _ in parts.values())
    gap = 0.16 * tall
    for i, (name, (rows, columns)) in enumerate(parts.items()):
        ax.bar(left + columns / 2, rows, width=columns, color=PALETTE[i % len(PALETTE)], alpha=0.45)
        ax.text(
            left + columns / 2,
            rows / 2,
            f"{rows:,} × {columns:,}\n{rows * columns:,}",
            ha="center",
            va="center",
        )
        ax.text(left + columns / 2, -0.06 * tall, name, ha="center", va="top")
        left += columns + gap
    ax.set(xlim=(-gap, left), ylim=(-0.25 * tall, 1.02 * tall), title=title, aspect="equal")
    ax.axis("off")
    return fig


def draw_head_grid(maps: Any, names: Mapping[tuple[int, int], str] | None = None) -> Figure:
    """All heads of a model as small maps (L, H, T, T), a row for each layer; light is a large share."""
    import matplotlib.pyplot as plt

    grid = np.asarray(maps, dtype=float)
    layers, heads = grid.shape[:2]
    fig, axes = plt.subplots(layers, heads, squeeze=False, figsize=(1.75 * heads, 1.95 * layers))
    for (layer, head), ax in np.ndenumerate(axes):
        ax.imshow(grid[layer, head] ** 0.5, vmin=0, vmax=1)  # the root lets small shares be seen
        name = (names or {}).get((layer, head), "")
        ax.set_title(f"{layer}.{head} {name}".strip(), fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return fig


def draw_maps(maps: Mapping[str, Any], pieces: Sequence[str], side: float = 0.15) -> Figure:
    """A few heads large enough to read: a row for each token that looks, a column for each that is looked at."""
    import matplotlib.pyplot as plt

    count = len(pieces)
    fig, axes = plt.subplots(
        1,
        len(maps),
        squeeze=False,
        figsize=((side * count + 0.5) * len(maps) + 0.7, side * count + 1.2),
        sharey=True,
    )
    for ax, (name, table) in zip(axes[0], maps.items(), strict=True):
        ax.imshow(np.asarray(table, dtype=float), vmin=0, vmax=1)
        ax.set_title(name, fontsize=11)
        ax.set_xticks(range(count), pieces, rotation=90, fontsize=7.5)
        ax.set_yticks(range(count), pieces, fontsize=7.5)
        ax.grid(False)
    return fig


def draw_points(values: Any, heads: Mapping[str, Any]) -> Figure:
    """Values in the plane, numbered, and what heads made of them: each head's output as a cross with its name."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3))
    points = np.asarray(values, dtype=float)
    ax.scatter(points[:, 0], points[:, 1], s=46, color=PALETTE[0], zorder=2)
    for i, (x, y) in enumerate(points):
        ax.annotate(f"value {i}", (x, y), (7, 5), textcoords="offset points", fontsize=9, color=QUIET)
    for (name, point), colour in zip(heads.items(), PALETTE[1:], strict=False):
        x, y = (float(n) for n in point)
        ax.scatter([x], [y], marker="X", s=90, color=colour, zorder=3)
        ax.annotate(name, (x, y), (9, -13), textcoords="offset points", fontsize=10, color=colour)
    ax.margins(0.2)
    return fig


def draw_losses(curves: Mapping[str, Sequence[float]], levels: Mapping[str, float]) -> Figure:
    """Losses step by step, and levels to compare them with as thin lines with their names."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 3.2))
    for (name, losses), style in zip(curves.items(), ("-", "--", ":"), strict=False):
        ax.plot(losses, style, label=name)
    for name, level in levels.items():
        ax.axhline(level, color=QUIET, lw=1)
        ax.text(ax.get_xlim()[1], level + 0.08, name, fontsize=9, color=QUIET, ha="right")
    highest = max(*levels.values(), *(max(losses) for losses in curves.values()))
    ax.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, 1.15 * highest))
    ax.legend(loc="center right")
    return fig
