"""The pictures of notebook 06: what a token leaves, shapes of matrices and of what flows between them, costs.

They take plain numbers, names and tensors and return a matplotlib figure; what is drawn is computed in the notebook,
never here. matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `06_multi_head_latent.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = PALETTE[0], PALETTE[1]
QUIET = "#555555"
PLAIN, KEPT, WEIGHT = "#cfe8f7", "#fbe3b3", "#e8e8e8"  # backgrounds that black text stays readable on
LOOKS = ("o-", "s--", "^:", "D-.", "v-", "x--")  # readable without colours as well


def draw_counts(counts: Mapping[str, float], unit: str, marked: Sequence[str] = ()) -> Figure:
    """A bar for each name with its number written at the end; those `marked` are orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 0.9 + 0.38 * len(counts)))
    colours = [ORANGE if name in marked else BLUE for name in counts]
    bars = ax.barh(list(counts), list(counts.values()), color=colours)
    ax.bar_label(bars, [f"{n:,.0f}" if n >= 10 else f"{n:.3g}" for n in counts.values()], padding=3)
    ax.set(xlabel=unit, xlim=(0, 1.14 * max(counts.values())))
    ax.invert_yaxis()
    ax.grid(False)
    return fig


def draw_lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    *,
    log: str = "",
    marks: Mapping[str, float] | None = None,
    points: bool = True,
) -> Figure:
    """One line for each (xs, ys); `log` names the logarithmic axes ("x", "y", "xy"), `marks` are vertical lines."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    for (name, (xs, ys)), look in zip(curves.items(), LOOKS, strict=False):
        ax.plot(list(xs), list(ys), look if points else look.lstrip("os^Dvx"), ms=4, label=name)
    if "x" in log:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if "y" in log:
        ax.set_yscale("log")
    for words, x in (marks or {}).items():
        ax.axvline(x, color=QUIET, lw=1, ls=":")
        ax.annotate(
            words, (x, 0.02), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
            fontsize=9, color=QUIET,
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(curves) > 1:
        ax.legend()
    return fig


def draw_flow(rows: Mapping[str, Sequence[tuple[str, str]]], kept: Sequence[str] = ()) -> Figure:
    """For each row a chain of boxes (words, shape) with arrows; boxes whose words are in `kept` are orange."""
    import matplotlib.pyplot as plt

    longest = max(map(len, rows.values()))
    fig, ax = plt.subplots(figsize=(2.0 * longest, 1.15 * len(rows)))
    for row, (name, chain) in enumerate(rows.items()):
        ax.text(-0.45, -row + 0.4, name, fontsize=10, fontweight="bold")
        for i, (words, shape) in enumerate(chain):
            box = {"boxstyle": "round,pad=0.4", "fc": KEPT if words in kept else PLAIN, "ec": "none"}
            ax.text(i, -row + 0.1, words, ha="center", va="center", fontsize=10, bbox=box)
            ax.text(i, -row - 0.22, shape, ha="center", va="center", fontsize=8, color=QUIET)
            if i:
                ax.annotate(
                    "", (i - 0.42, -row + 0.1), (i - 0.58, -row + 0.1), arrowprops={"arrowstyle": "->"}
                )
    ax.set(xlim=(-0.55, longest - 0.45), ylim=(-len(rows) + 0.6, 0.6))
    ax.axis("off")
    return fig


def draw_matrices(columns: Sequence[Sequence[tuple[str, int, int, str]]]) -> Figure:
    """Rectangles to scale, in columns from left to right: (name, rows, columns, kind) each.

    `kind` is "weight" (grey, stays), "data" (blue, made for each token) or "kept" (orange, in the cache).
    """
    import matplotlib.pyplot as plt

    gap, colours = 260, {"weight": WEIGHT, "data": PLAIN, "kept": KEPT}
    widths = [max(max(w for _, _, w, _ in column), 560) for column in columns]
    heights = [sum(h + gap for _, h, _, _ in column) for column in columns]
    total = sum(widths) + 110 * len(columns)
    fig, ax = plt.subplots(figsize=(9.2, 9.2 * (max(heights) + gap) / total))
    left = 0.0
    for column, width, height in zip(columns, widths, heights, strict=True):
        top = height / 2
        for name, h, w, kind in column:
            x = left + (width - w) / 2
            ax.add_patch(plt.Rectangle((x, top - h), w, h, fc=colours[kind], ec=QUIET, lw=0.8))
            ax.text(
                left + width / 2, top + 20, f"{name}\n{h:,} × {w:,}", ha="center", va="bottom", fontsize=8
            )
            top -= h + gap
        left += width + 110
    ax.set(xlim=(-30, left - 80), ylim=(-max(heights) / 2 + gap - 20, max(heights) / 2 + gap))
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def draw_shares(rows: Mapping[str, Any], xlabel: str = "key position", ylabel: str = "share") -> Figure:
    """Bars side by side: for each name its values over the same places."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.2))
    width = 0.84 / len(rows)
    for i, (name, values) in enumerate(rows.items()):
        heights = [float(value) for value in values]
        places = [place + (i - (len(rows) - 1) / 2) * width for place in range(len(heights))]
        ax.bar(places, heights, width, label=name, color=PALETTE[i])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(range(len(heights)))
    ax.legend(ncols=len(rows), loc="lower left", bbox_to_anchor=(0, 1))
    return fig
