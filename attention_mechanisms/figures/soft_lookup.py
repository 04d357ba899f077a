"""The pictures of notebook 01: arrows and their shares, blended colours, heat maps, and what √d does.

They take plain numbers (tensors as well) and strings and return a matplotlib figure; what is drawn is computed in
the notebook, never here. matplotlib is imported on use. Left out: style (`utils.plotting`); maps of a real model
(`causal_multi_head`). Notebook: `01_attention_as_soft_lookup.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUIET = "#555555"
LOOKS = ("o-", "s--", "^:", "D-.")  # readable without colours as well


def draw_wheel(
    keys: Mapping[str, Any], colours: Sequence[Any], query: Any, query_name: str, scores: Any
) -> Figure:
    """Keys as coloured arrows and the query as a black one; beside them the score of each key."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4), width_ratios=(1, 1.1))
    for (name, key), colour in zip(keys.items(), colours, strict=True):
        x, y = (float(n) for n in key)
        left.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": _ink(colour), "lw": 3})
        left.text(1.22 * x, 1.22 * y, name, ha="center", va="center", fontsize=10)
    x, y = (float(n) for n in query)
    left.annotate(
        "", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.5, "ls": "--"}
    )
    left.text(1.27 * x, 1.27 * y, query_name, ha="center", va="center", fontsize=10, style="italic")
    left.set(xlim=(-1.6, 1.6), ylim=(-1.4, 1.4), aspect="equal", title="keys, and a query (dashed)")
    left.axis("off")
    numbers = [float(s) for s in scores]
    inks = [_ink(colour) for colour in colours]
    bars = right.barh(list(keys), numbers, color=inks, edgecolor=QUIET, linewidth=0.6)
    right.bar_label(bars, [f"{s:+.2f}" for s in numbers], padding=4, fontsize=10)
    right.axvline(0, color=QUIET, lw=0.8)
    right.set(xlim=(-1.5, 1.5), title="score: the dot product")
    right.invert_yaxis()
    right.grid(False)
    return fig


def draw_lookups(
    lookups: Mapping[str, tuple[Any, Any]], names: Sequence[str], colours: Sequence[Any]
) -> Figure:
    """For each lookup its shares, a bar a key in the key's colour, and the colour that comes out of it."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        2, len(lookups), squeeze=False, figsize=(2.1 * len(lookups), 3.2), height_ratios=(3, 1), sharey="row"
    )
    for (shown, patch), (label, (shares, answer)) in zip(axes.T, lookups.items(), strict=True):
        places = range(len(names))
        shown.bar(places, [float(s) for s in shares], color=[_ink(c) for c in colours], ec=QUIET, lw=0.6)
        shown.set(ylim=(0, 1.05), title=label)
        shown.set_xticks(places, names, rotation=90, fontsize=9)
        shown.grid(False)
        patch.imshow([[_ink(answer)]], aspect="auto")
        patch.set_title("answer", fontsize=10)
        patch.axis("off")
    axes[0, 0].set_ylabel("share")
    return fig


def draw_heat_maps(
    maps: Mapping[str, Any],
    queries: Sequence[str],
    keys: Sequence[str],
    *,
    numbers: bool = True,
    sums: bool = False,
    side: float = 0.52,
) -> Figure:
    """Tables of shares: a row for each query, a column for each key; dark is 0 and light is 1.

    `numbers` writes each share into its cell, `sums` the sum of each row beside it; a cell is `side` inches wide.
    """
    import matplotlib.pyplot as plt

    width = (side * len(keys) + (0.7 if sums else 0.2)) * len(maps) + 1.2
    fig, axes = plt.subplots(
        1, len(maps), squeeze=False, figsize=(width, 0.8 * side * len(queries) + 1.3), sharey=True
    )
    for ax, (title, table) in zip(axes[0], maps.items(), strict=True):
        shares = np.asarray(table, dtype=float)
        ax.imshow(shares, vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if numbers and share > 0:
                ink = "black" if share > 0.5 else "white"
                ax.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=8, color=ink)
        if sums:
            for row, total in enumerate(shares.sum(axis=1)):
                ax.text(len(keys) - 0.4, row, f"Σ {total:.2f}", va="center", fontsize=9, clip_on=False)
        ax.set_title(title)
        ax.set_xticks(range(len(keys)), keys, rotation=45, ha="right", fontsize=9)
        ax.set_yticks(range(len(queries)), queries, fontsize=9)
        ax.grid(False)
    axes[0, 0].set_ylabel("query")
    fig.supxlabel("key", fontsize=11)
    return fig


def draw_strips(rows: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Rows of colours under each other, with names below: a colour for each query. Numbers over 1 are cut to 1."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(rows), 1, squeeze=False, figsize=(7.6, 0.62 * len(rows) + 0.7), sharex=True)
    for ax, (label, colours) in zip(axes[:, 0], rows.items(), strict=True):
        ax.imshow([[_ink(colour) for colour in colours]], aspect="auto")
        ax.set_yticks([0], [label])
        ax.set_xticks(range(len(names)), names, fontsize=9)
        ax.tick_params(length=0)
        ax.grid(False)
    return fig


def draw_spread(scores: Mapping[str, Any]) -> Figure:
    """Histograms of scores on one axis, a row for each width of the vectors."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3))
    edge = max(float(np.abs(np.asarray(s)).max()) for s in scores.values())
    edges = np.linspace(-edge, edge, 121)
    for (name, values), style, colour in zip(scores.items(), ("-", "--", ":"), PALETTE, strict=False):
        heights, _ = np.histogram(np.asarray(values, dtype=float), bins=edges, density=True)
        ax.stairs(heights, edges, label=name, color=colour, ls=style, lw=1.8)
    ax.set(xlabel="q · k", ylabel="how often", yscale="log")
    ax.legend()
    return fig


def draw_against_width(
    panels: Mapping[str, Mapping[str, Sequence[float]]], widths: Sequence[int], log: Sequence[str] = ()
) -> Figure:
    """A panel for each quantity, a curve for each way of scoring, against the width d (logarithmic).

    The panels named in `log` have a logarithmic axis upwards, too.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.2 * len(panels), 3.3))
    for ax, (quantity, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, values), look in zip(curves.items(), LOOKS, strict=False):
            ax.plot(widths, values, look, ms=5, label=name)
        ax.set_xscale("log", base=2)
        ax.set_xticks(widths, [str(d) for d in widths], fontsize=9)
        ax.minorticks_off()
        ax.set(xlabel="width d of queries and keys", title=quantity)
        if quantity in log:
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
    axes[0, 0].legend()
    return fig


def _ink(colour: Any) -> tuple[float, ...]:
    """Numbers as a colour that can be shown: each between 0 and 1."""
    return tuple(min(max(float(c), 0.0), 1.0) for c in colour)
