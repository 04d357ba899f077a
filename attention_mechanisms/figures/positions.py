"""The pictures of notebook 04: what shuffling changes, waves, rotations, decay with distance, loss past the end.

They take plain numbers (tensors as well) and return a matplotlib figure; what is drawn is computed in the notebook,
never here. matplotlib is imported on use. Left out: style (`utils.plotting`). Notebook: `04_positions.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from utils.plotting import DIVERGING, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET = "#555555"
LOOKS = ("o-", "s--", "^-.", "D:", "v-", "x--")  # readable without colours as well


def draw_changes(changes: Mapping[str, float]) -> Figure:
    """How much something changed, a bar for each name on a log scale; what is exactly zero says so."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 0.8 + 0.42 * len(changes)))
    least = min((value for value in changes.values() if value), default=1.0) / 30
    for row, value in enumerate(changes.values()):
        ax.barh(row, value or 0.0, color=PALETTE[0])
        text = f"{value:.2g}" if value else "exactly 0"
        ax.text((value or least) * 1.15, row, text, va="center", fontsize=10)
    ax.set_xscale("log")
    ax.set(xlabel="largest change of the output", xlim=(least, max(changes.values(), default=1.0) * 8 or 1.0))
    ax.set_yticks(range(len(changes)), list(changes))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    return fig


def draw_waves(table: Any, products: Any, places: Sequence[int]) -> Figure:
    """Left the table of sinusoids (positions, coordinates), right its dot products (positions, positions).

    A curve for each of `places` is drawn against the distance to it, so that equal curves lie on each other.
    """
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), width_ratios=(1.1, 1))
    image = left.imshow(table, aspect="auto", cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    left.set(xlabel="coordinate", ylabel="position", title="a vector for each position")
    left.grid(False)
    fig.colorbar(image, ax=left, ticks=(-1, 0, 1))
    for place, look in zip(places, LOOKS, strict=False):
        distances = [other - place for other in range(len(products))]
        right.plot(distances, list(products[place]), look, ms=3, markevery=4, label=f"from position {place}")
    right.set(xlabel="distance", ylabel="dot product", title="and how alike two of them are")
    right.legend()
    return fig


def draw_rotation(panels: Mapping[str, Sequence[Sequence[float]]], labels: Sequence[int]) -> Figure:
    """One circle for each pair: the arrow of (x, y) at each position, numbered with `labels` where there is room."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.3), squeeze=False)
    for ax, (name, points) in zip(axes[0], panels.items(), strict=True):
        ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="#cccccc"))
        last = (9.0, 9.0)  # where a number was written last
        for step, ((x, y), label) in enumerate(zip(points, labels, strict=True)):
            shade = 0.25 + 0.75 * step / max(len(points) - 1, 1)
            ax.annotate(
                "",
                (x, y),
                (0, 0),
                arrowprops={"arrowstyle": "->", "color": PALETTE[0], "alpha": shade, "lw": 1.8},
            )
            if math.dist(last, (x, y)) > 0.09:
                ax.text(1.17 * x, 1.17 * y, str(label), ha="center", va="center", fontsize=9)
                last = (x, y)
        ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", title=name)
        ax.axis("off")
    return fig


def draw_matrices(panels: Mapping[str, Any]) -> Figure:
    """Square matrices as maps from -1 to 1, outputs down and inputs across; what is zero is white."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(2.7 * len(panels) + 0.5, 2.6), squeeze=False)
    for ax, (name, matrix) in zip(axes[0], panels.items(), strict=True):
        image = ax.imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1)
        ax.set(title=name, xlabel="coordinate before", ylabel="after")
        ax.grid(False)
    fig.colorbar(image, ax=axes[0, -1], ticks=(-1, 0, 1))
    return fig


def draw_scores(panels: Mapping[str, Mapping[int, Mapping[int, float]]]) -> Figure:
    """For each panel curves of the score by distance: place of the query -> distance -> score."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(4.0 * len(panels), 3.1), squeeze=False)
    for ax, (name, curves) in zip(axes[0], panels.items(), strict=True):
        for (place, scores), look in zip(curves.items(), LOOKS, strict=False):
            ax.plot(list(scores), list(scores.values()), look, ms=4, label=f"query at {place}")
        ax.set(xlabel="distance to the key", ylabel="score", title=name)
    axes[0, -1].legend(fontsize=9)
    return fig


def draw_decay(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """For each panel curves against the distance 0, 1, 2, …: panel -> name -> values."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(3.9 * len(panels), 3.1), squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, values), look in zip(curves.items(), LOOKS, strict=False):
            ax.plot(range(len(values)), list(values), look[1:], label=name)
        ax.set(xlabel="distance", title=title)
        ax.legend(fontsize=9)
    return fig


def draw_bias(tables: Mapping[str, Any]) -> Figure:
    """Maps of what is added to the scores, queries down and keys across, one scale for all; the future is blank."""
    import matplotlib.pyplot as plt
    import numpy as np

    lowest = min(float(np.min(np.tril(table))) for table in tables.values())
    fig, axes = plt.subplots(1, len(tables), figsize=(2.9 * len(tables) + 0.6, 3.0), squeeze=False)
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        future = np.triu(np.ones_like(np.asarray(table), dtype=bool), 1)
        image = ax.imshow(np.ma.masked_array(np.asarray(table), future), vmin=lowest, vmax=0)
        ax.set(title=name, xlabel="key", ylabel="query")
        ax.grid(False)
    fig.colorbar(image, ax=axes[0, -1])
    return fig


def draw_loss_by_position(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], trained: int, *, top: float | None = None
) -> Figure:
    """Loss against the position in the text: name -> (positions, losses); a line where training ended."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8.0, 3.9))
    for (name, (places, losses)), look in zip(curves.items(), LOOKS, strict=False):
        ax.plot(list(places), list(losses), look, ms=4, label=name)
    ax.axvline(trained, color=QUIET, ls=":", lw=1.2)
    ax.text(
        trained,
        1.0,
        " longer than trained →",
        transform=ax.get_xaxis_transform(),
        va="top",
        fontsize=9,
        color=QUIET,
    )
    ax.set(xlabel="position of the token", ylabel="loss (nats)")
    if top is not None:
        ax.set_ylim(top=top)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def draw_speeds(speeds: Mapping[str, Sequence[float]]) -> Figure:
    """Speed of each pair, as a share of the unscaled one: name -> shares, from the fastest pair to the slowest."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.8, 3.2))
    for (name, shares), look in zip(speeds.items(), LOOKS, strict=False):
        ax.plot(range(len(shares)), list(shares), look, ms=4, label=name)
    ax.set(xlabel="pair (fast → slow)", ylabel="speed / speed before", ylim=(0, 1.08))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig
