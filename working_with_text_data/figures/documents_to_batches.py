"""The pictures of notebook 05: what cleaning drops, what a naive split leaks, what windows and rows cover.

They take plain numbers (arrays and tensors as well) and return a matplotlib figure; what is drawn is computed
in the notebook, never here. matplotlib is imported on use. Left out: style (`utils.plotting`), and the
stations and the ladder, which are the tour's.
Notebook: `05_from_documents_to_batches.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plotting import PALETTE
from working_with_text_data.figures.tour import BLUE, ORANGE, QUIET, draw_ladder, draw_stations
from working_with_text_data.inspect_tokens import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "draw_account",
    "draw_coverage",
    "draw_estimates",
    "draw_ladder",
    "draw_leaks",
    "draw_mask",
    "draw_rows",
    "draw_sides",
    "draw_stations",
    "draw_times_asked",
]

SIDE_COLOURS = ("#eeeeee", "#9ecae9", ORANGE, "#7f0000")  # no text, training, validation, both
SIDE_NAMES = ("no text here", "training", "validation", "in both: a leak")


def draw_account(dropped: Mapping[str, int], kept: int) -> Figure:
    """What came in, as bars: kept (blue), and dropped by reason (orange); reasons without a document are left out."""
    import matplotlib.pyplot as plt

    rows = {"kept": kept, **{name.replace("_", " "): n for name, n in dropped.items() if n}}
    fig, ax = plt.subplots(figsize=(7, 0.5 + 0.36 * len(rows)))
    bars = ax.barh(list(rows), list(rows.values()), color=[BLUE, *[ORANGE] * (len(rows) - 1)])
    ax.bar_label(bars, [f" {n:,}" for n in rows.values()])
    title = f"{kept + sum(dropped.values()):,} documents came in: where did each go?"
    ax.set(xlim=(0, 1.15 * max(rows.values())), xticks=[], title=title)
    ax.invert_yaxis()
    ax.grid(False)
    return fig


def draw_estimates(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """(true likeness, estimate) of pairs of texts, a panel for each number of hash functions."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(pairs), squeeze=False, figsize=(3.2 * len(pairs), 3.1), sharey=True)
    for ax, (name, points) in zip(axes[0], pairs.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--")
        ax.plot(*zip(*points, strict=True), "o", ms=4, alpha=0.7)
        ax.set(title=name, xlabel="true likeness", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("estimated likeness")
    return fig


def draw_sides(maps: Mapping[str, Any]) -> Figure:
    """Who is asked for which token: (documents, places) of 0 no text, 1 training, 2 validation, 3 both."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    fig, axes = plt.subplots(1, len(maps), squeeze=False, figsize=(4.8 * len(maps), 3.4))
    for ax, (name, sides) in zip(axes[0], maps.items(), strict=True):
        grid = np.asarray(sides)
        ax.imshow(
            grid, cmap=ListedColormap(SIDE_COLOURS), vmin=0, vmax=3, aspect="auto", interpolation="none"
        )
        ax.set(title=name, xlabel="place in the document (tokens)", ylabel="document")
        ax.grid(False)
    present = sorted({int(v) for sides in maps.values() for v in np.unique(np.asarray(sides))})
    handles = [Patch(fc=SIDE_COLOURS[i], ec=QUIET, lw=0.5, label=SIDE_NAMES[i]) for i in present]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    return fig


def draw_leaks(measured: Mapping[float, Sequence[tuple[float, float]]]) -> Figure:
    """Validation questions that were trained on against the overlap k: measured for each v, and 1 − vᵏ⁻¹."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.8, 3.2))
    for look, colour, (v, points) in zip("os^D", PALETTE, measured.items(), strict=False):
        ks = np.geomspace(1, max(k for k, _ in points), 60)
        ax.plot(ks, 1 - v ** (ks - 1), color=colour, ls="--", lw=1)
        ax.plot(*zip(*points, strict=True), look, color=colour, ms=7, label=f"v = {v:g} held out")
    ax.plot([], [], color=QUIET, ls="--", lw=1, label="1 − vᵏ⁻¹")
    ticks = sorted({int(k) for points in measured.values() for k, _ in points})
    ax.set(xlabel="k: windows that ask for the same token", ylabel="leaked questions", ylim=(-0.05, 1.08))
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, list(map(str, ticks)))
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig


def draw_coverage(starts: Mapping[str, Sequence[int]], length: int, n_tokens: int) -> Figure:
    """A panel for each way to cut: windows as bars with their last target; how often each token is asked for."""
    import matplotlib.pyplot as plt

    tallest = max(map(len, starts.values()))
    fig, axes = plt.subplots(
        1, len(starts), squeeze=False, figsize=(3.7 * len(starts), 0.9 + 0.27 * tallest), sharey=True
    )
    for ax, (name, places) in zip(axes[0], starts.items(), strict=True):
        asked = np.zeros(n_tokens, dtype=int)
        for row, start in enumerate(places):
            ax.barh(row, length, left=start, height=0.7, color=BLUE, alpha=0.75)
            ax.barh(row, 1, left=start + length, height=0.7, color=ORANGE)
            asked[start + 1 : start + length + 1] += 1
        for place, times in enumerate(asked):
            colour = ORANGE if times == 0 else QUIET
            ax.text(place + 0.5, tallest + 0.5, str(times), ha="center", fontsize=8, color=colour)
        ax.set(title=f"{name}: {len(places)} windows", xlim=(0, n_tokens), ylim=(tallest + 1.2, -0.7))
        ax.set(yticks=[], xlabel="token, and how often it is asked for")
        ax.grid(False)
    return fig


def draw_times_asked(counts: Mapping[str, Any], expected: Sequence[float] = ()) -> Figure:
    """Share of the tokens that an epoch asks for 0, 1, 2, … times; dots are what chance alone would give."""
    import matplotlib.pyplot as plt

    top = 5
    fig, ax = plt.subplots(figsize=(6.4, 3))
    width = 0.8 / len(counts)
    for i, (name, times) in enumerate(counts.items()):
        shares = np.bincount(np.minimum(np.asarray(times), top), minlength=top + 1) / len(times)
        ax.bar(np.arange(top + 1) + i * width - 0.4 + width / 2, shares, width, label=name)
    if expected:
        ax.plot(range(len(expected)), expected, "ko", ms=4, label="chance: 1 / (e · n!)")
    labels = [*map(str, range(top)), f"{top} or more"]
    ax.set(xlabel="times that a token was asked for in one epoch", ylabel="share of the tokens")
    ax.set_xticks(range(top + 1), labels)
    ax.legend()
    return fig


def draw_rows(packings: Mapping[str, Sequence[Sequence[int]]], block_size: int) -> Figure:
    """Rows of documents by their lengths, a panel for each method; what stays empty is white."""
    import matplotlib.pyplot as plt

    tallest = max(map(len, packings.values()))
    fig, axes = plt.subplots(
        1, len(packings), squeeze=False, figsize=(4.6 * len(packings), 0.8 + 0.13 * tallest), sharey=True
    )
    for ax, (name, rows) in zip(axes[0], packings.items(), strict=True):
        for r, row in enumerate(rows):
            at = 0
            for number, length in enumerate(row):
                ax.barh(
                    r, length, left=at, height=0.8, color=COLOURS[number % len(COLOURS)], ec=QUIET, lw=0.4
                )
                at += length
        used = sum(map(sum, rows)) / (len(rows) * block_size)
        ax.set(title=f"{name}: {len(rows)} rows, {used:.0%} full", xlim=(0, block_size), ylim=(tallest, -1))
        ax.set(xlabel="place in the row", yticks=[])
        ax.grid(False)
    return fig


def draw_mask(masks: Mapping[str, Any], labels: Sequence[str]) -> Figure:
    """Who may look at whom: (T, T) of yes (blue) and no (white); a row for each token that looks."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    count = len(labels)
    fig, axes = plt.subplots(
        1, len(masks), squeeze=False, figsize=(0.27 * count * len(masks) + 0.8, 0.27 * count + 0.9)
    )
    for ax, (name, mask) in zip(axes[0], masks.items(), strict=True):
        ax.imshow(np.asarray(mask, dtype=int), cmap=ListedColormap(["white", PALETTE[5]]), vmin=0, vmax=1)
        ax.set_title(name)
        ax.set_xticks(range(count), labels, fontsize=8)
        ax.set_yticks(range(count), labels, fontsize=8)
        ax.set_xticks(np.arange(count) - 0.5, minor=True)
        ax.set_yticks(np.arange(count) - 0.5, minor=True)
        ax.grid(False)
        ax.grid(which="minor", color="#dddddd", lw=0.5)
        ax.tick_params(which="both", length=0)
    return fig
