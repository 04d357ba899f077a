"""The pictures of notebook 03: names that change, rows that are stacked, where two programs part, and the logit lens.

They take plain numbers, names and tensors and return a matplotlib figure; what is drawn is computed in the notebook,
never here. Differences are drawn on a logarithmic axis, on which zero has no place: it stands at the floor.
matplotlib is imported on use. Lines are those of the chapter before. Left out: style (`utils.plotting`).
Notebook: `03_loading_real_weights.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_mechanisms.figures.latent import draw_lines
from utils.plotting import PALETTE

__all__ = [
    "draw_fingerprints",
    "draw_lens",
    "draw_lines",
    "draw_profiles",
    "draw_renaming",
    "draw_stacks",
    "draw_verdicts",
]

if TYPE_CHECKING:
    from matplotlib.figure import Figure


QUIET = "#555555"
COPIED, TURNED, SQUARE = "#e8e8e8", "#cfe8f7", "#fbe3b3"  # backgrounds that black text stays readable on
KINDS = {"copied": COPIED, "turned": TURNED, "turned, and square": SQUARE}
LOOKS = ("o-", "s--", "^:", "D-.", "v-", "x--", "P:")  # readable without colours as well
FLOOR, CEILING = 1e-9, 10.0


def draw_renaming(rows: Sequence[tuple[str, str, str, str, str]]) -> Figure:
    """One line for each tensor: their name and shape, an arrow, our name and shape; the kind gives the colour."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.8, 0.6 + 0.29 * len(rows)))
    for line, (theirs, their_shape, ours, our_shape, kind) in enumerate(rows):
        box = {"boxstyle": "round,pad=0.25", "fc": KINDS[kind], "ec": "none"}
        for x, words in ((0.0, f"{theirs}  {their_shape}"), (5.6, f"{ours}  {our_shape}")):
            ax.text(x, -line, words, fontsize=9, va="center", bbox=box)
        ax.annotate("", (5.4, -line), (4.3, -line), arrowprops={"arrowstyle": "->", "color": QUIET})
        if kind != "copied":
            ax.text(4.85, -line + 0.05, "T", fontsize=9, ha="center", va="bottom", fontweight="bold")
    seen = [kind for kind in KINDS if any(row[-1] == kind for row in rows)]
    patches = [plt.Rectangle((0, 0), 1, 1, fc=KINDS[kind]) for kind in seen]
    ax.legend(patches, seen, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    ax.set(xlim=(-0.15, 10), ylim=(-len(rows) + 0.4, 0.6))
    ax.axis("off")
    return fig


def draw_stacks(stacks: Mapping[str, Sequence[tuple[str, int]]], width: int) -> Figure:
    """For each matrix of ours the tensors that lie in it, one below the other: (name, rows), to scale."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(stacks), figsize=(3.9 * len(stacks), 3.2), squeeze=False, sharey=True)
    for ax, (name, parts) in zip(axes[0], stacks.items(), strict=True):
        top = 0
        for i, (part, rows) in enumerate(parts):
            colour = (TURNED, SQUARE, COPIED)[i % 3]
            ax.add_patch(plt.Rectangle((0, top), width, rows, fc=colour, ec=QUIET, lw=0.8))
            ax.text(
                width / 2, top + rows / 2, f"{part}\n{rows} × {width}", ha="center", va="center", fontsize=9
            )
            top += rows
        ax.set_title(f"{name}  {top} × {width}", fontsize=10)
        ax.set(xlim=(-width / 2, 1.5 * width))
        ax.axis("off")
    axes[0, 0].set_ylim(max(sum(rows for _, rows in parts) for parts in stacks.values()), 0)
    return fig


def draw_profiles(curves: Mapping[str, Mapping[str, float]], limit: float) -> Figure:
    """For each name the difference at every place, in the order of computation; the dashed line is the limit."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.4, 3.7))
    for i, ((name, off), look) in enumerate(zip(curves.items(), LOOKS, strict=False)):
        heights = [max(float(value), FLOOR) for value in off.values()]
        ax.plot(range(len(heights)), heights, look, ms=4, label=name, color=PALETTE[i % len(PALETTE)])
    places = list(next(iter(curves.values())))
    ax.axhline(limit, color=QUIET, lw=1, ls="--")
    ax.annotate(
        f"limit {limit:.0e}", (1, limit), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", fontsize=9, color=QUIET,
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set(ylabel="largest difference /\nlargest number", ylim=(FLOOR / 2, CEILING))
    ax.set_yticks([FLOOR, *(10.0**n for n in (-7, -5, -3, -1))])
    ax.yaxis.set_major_formatter(lambda value, _: "equal" if value <= FLOOR else f"{value:.0e}")
    ax.yaxis.set_minor_locator(plt.NullLocator())
    ax.set_xticks(range(len(places)), places, rotation=60, ha="right", fontsize=9)
    ax.grid(False, axis="x")
    if len(curves) > 1:
        ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return fig


def draw_fingerprints(panels: Mapping[str, Any], places: Sequence[str], columns: int = 3) -> Figure:
    """For each name a map (places, tokens) of differences, on one logarithmic scale; white is exactly equal."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(3.0 * columns + 0.9, 3.1 * lines), squeeze=False, sharex=True, sharey=True
    )
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    colours = plt.get_cmap("YlOrRd").with_extremes(bad="white")
    for ax, (name, values) in zip(axes.flat, panels.items(), strict=False):
        off = np.asarray(values, dtype=float)
        shown = np.ma.masked_where(off <= 0, off)
        image = ax.imshow(
            shown, cmap=colours, norm=LogNorm(1e-8, 1.0), aspect="auto", interpolation="nearest"
        )
        ax.set_title(name, fontsize=10)
        ax.set_yticks(range(len(places)), places, fontsize=7)
        ax.grid(False)
    for ax in axes[-1]:
        ax.set_xlabel("token")
    fig.colorbar(image, ax=axes, label="difference / largest number", shrink=0.8)
    return fig


def draw_verdicts(groups: Mapping[str, Mapping[str, float]], limit: float) -> Figure:
    """For each name bars of differences side by side on a logarithmic axis; what is left of the limit passes."""
    import matplotlib.pyplot as plt

    series = list(next(iter(groups.values())))
    height = 0.8 / len(series)
    fig, ax = plt.subplots(figsize=(7.6, 0.9 + 0.27 * len(series) * len(groups)))
    for i, label in enumerate(series):
        widths = [max(float(values[label]), FLOOR) for values in groups.values()]
        places = [line + (i - (len(series) - 1) / 2) * height for line in range(len(groups))]
        bars = ax.barh(
            places, widths, height, label=label, color=PALETTE[i], hatch=("", "//")[i % 2], ec="white"
        )
        ax.bar_label(bars, ["equal" if w <= FLOOR else f"{w:.0e}" for w in widths], padding=3, fontsize=8)
    ax.axvline(limit, color=QUIET, lw=1.2, ls="--")
    ax.text(limit, -0.62, " limit", fontsize=9, color=QUIET, va="bottom")
    ax.set_xscale("log")
    ax.set(xlim=(FLOOR / 2, 30), xlabel="largest difference of a logit", ylim=(len(groups) - 0.4, -0.7))
    ax.set_yticks(range(len(groups)), list(groups))
    ax.grid(False, axis="y")
    ax.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return fig


def draw_lens(
    words: Sequence[Sequence[str]],
    chances: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    marked: Any = None,
) -> Figure:
    """A table: in each cell the likeliest next token at that layer and place, the darker the likelier.

    `marked` (rows, columns) of truth values: those cells are set in bold.
    """
    import matplotlib.pyplot as plt

    values = np.asarray(chances, dtype=float)
    bold = np.zeros(values.shape, dtype=bool) if marked is None else np.asarray(marked, dtype=bool)
    fig, ax = plt.subplots(figsize=(0.72 * len(columns) + 1.0, 0.36 * len(rows) + 0.8))
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (line, place), chance in np.ndenumerate(values):
        ax.text(
            place, line, _visible(words[line][place]), ha="center", va="center", fontsize=8,
            fontweight="bold" if bold[line, place] else "normal", color="white" if chance > 0.6 else "black",
        )  # fmt: skip
    ax.set_xticks(range(len(columns)), [_visible(word) for word in columns], fontsize=9)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=9)
    ax.set_xlabel("token that was read")
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    return fig


def _visible(word: str, longest: int = 9) -> str:
    """A token as a cell can hold it: line ends and lone spaces shown, long ones cut, no dollar read as mathematics."""
    word = word.strip(" ").replace("\n", "⏎") or "␣"
    word = word if len(word) <= longest else word[: longest - 1] + "…"
    return word.replace("$", r"\$")
