"""The pictures of notebook 01: which token is read, what is confused, how sure is sure, what a trained number buys.

They take plain numbers and words and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `01_classification.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_words(scores: Mapping[str, float]) -> Figure:
    """One bar a word: how much it speaks for the label on the right."""
    import matplotlib.pyplot as plt

    words = sorted(scores, key=lambda word: scores[word])
    fig, ax = plt.subplots(figsize=(6.8, 0.8 + 0.24 * len(words)))
    ax.barh(words, [scores[w] for w in words], color=[PALETTE[0 if scores[w] > 0 else 1] for w in words])
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xlabel("log-odds: negative ←  → positive")
    ax.grid(axis="y", visible=False)
    return fig


def draw_rows(rows: Sequence[Sequence[str]], last: Sequence[int]) -> Figure:
    """A batch as cells: padding is grey, the last real token of each row blue; a cross marks the end of the row."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    width = max(len(row) for row in rows)
    fig, ax = plt.subplots(figsize=(min(9.0, 0.8 + 0.8 * width), 0.7 + 0.5 * len(rows)))
    for y, (row, place) in enumerate(zip(rows, last, strict=True)):
        for x in range(width):
            token = row[x] if x < len(row) else ""
            colour = PALETTE[0] if x == place else "#f2f2f2" if token else "#bbbbbb"
            ax.add_patch(Rectangle((x, y), 0.95, 0.85, color=colour, lw=0))
            ax.text(x + 0.47, y + 0.42, token, ha="center", va="center", fontsize=8,
                    color="white" if x == place else "black")  # fmt: skip
        ax.plot(width - 0.16, y + 0.2, "x", color=PALETTE[1], ms=7, mew=2)
    ax.set(xlim=(-0.05, width), ylim=(len(rows), -0.1), xticks=[], yticks=[])
    ax.set_title("blue: the last real token; cross: position −1 of the row", fontsize=10)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    return fig


def draw_clouds(clouds: Mapping[str, tuple[Any, Sequence[int]]], labels: Sequence[str]) -> Figure:
    """Points in the plane, coloured by label, one panel a cloud: what the head has to cut apart."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(clouds), figsize=(3.6 * len(clouds), 3.3), squeeze=False)
    for ax, (name, (points, numbers)) in zip(axes[0], clouds.items(), strict=True):
        for i, label in enumerate(labels):
            mine = [row for row, number in zip(points, numbers, strict=True) if number == i]
            ax.plot(
                [p[0] for p in mine],
                [p[1] for p in mine],
                "o",
                ms=3,
                alpha=0.5,
                color=PALETTE[1 - i],
                label=label,
            )
        ax.set(title=name, xticks=[], yticks=[])
    axes[0][0].legend(fontsize=9, markerscale=2)
    return fig


def draw_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str, x: str) -> Figure:
    """One line a name."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    for name, (steps, values) in curves.items():
        ax.plot(steps, values, "o-", ms=3, label=name)
    ax.set(xlabel=x, ylabel=label)
    ax.legend()
    return fig


def draw_share(
    points: Mapping[str, tuple[float, float, float, float]], lines: Mapping[str, float] | None = None
) -> Figure:
    """Accuracy (value, low, high) against the share of numbers that learned, in percent; dashed lines are baselines."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.8, 3.9))
    for i, (name, (share, value, low, high)) in enumerate(points.items()):
        x = 100 * share
        ax.errorbar(x, 100 * value, [[100 * (value - low)], [100 * (high - value)]], fmt="o", ms=7, capsize=3,
                    color=PALETTE[i % 6])  # fmt: skip
        ax.annotate(name, (x, 100 * value), xytext=(7, -12), textcoords="offset points", fontsize=10)
    for name, value in (lines or {}).items():
        ax.axhline(100 * value, color="#777777", lw=1, ls="--")
        ax.annotate(name, (0.01, 100 * value), xycoords=("axes fraction", "data"), xytext=(0, 3),
                    textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    ax.set(xscale="log", xlabel="numbers that learn, % of all", ylabel="accuracy on the test set, %")
    ax.margins(x=0.2)
    return fig


def draw_confusion(tables: Mapping[str, Sequence[Sequence[int]]], labels: Sequence[str]) -> Figure:
    """One table a name: rows are what a text is, columns what it was called; colour is the share of its row."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(tables), figsize=(3.1 * len(tables) + 0.6, 2.9), squeeze=False)
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        shares = [[n / max(1, sum(row)) for n in row] for row in table]
        ax.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for i, row in enumerate(table):
            for j, count in enumerate(row):
                ax.text(
                    j,
                    i,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color="white" if shares[i][j] > 0.6 else "black",
                )
        ax.set(title=name, xlabel="called")
        ax.set_xticks(range(len(labels)), labels)
        ax.set_yticks(range(len(labels)), labels if ax is axes[0][0] else [""] * len(labels))
        ax.grid(False)
    axes[0][0].set_ylabel("is")
    return fig


def draw_calibration(bins: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """(confidence, accuracy, count) of each bin; on the diagonal a forecaster is as good as it says."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5.4, 4.2))
    low = min((confidence for rows in bins.values() for confidence, _, _ in rows), default=0.5)
    start = min(0.45, low - 0.05)
    ax.plot([start, 1], [start, 1], color="#777777", lw=1, ls="--")
    for i, (name, rows) in enumerate(bins.items()):
        ax.plot([c for c, _, _ in rows], [a for _, a, _ in rows], "-", color=PALETTE[i], lw=1.2, label=name)
        ax.scatter([c for c, _, _ in rows], [a for _, a, _ in rows], s=[15 + n for _, _, n in rows], color=PALETTE[i],
                   alpha=0.7)  # fmt: skip
    ax.set(
        xlabel="how sure it was",
        ylabel="how often it was right",
        xlim=(start, 1.02),
        ylim=(min(start, 0.3), 1.02),
    )
    ax.legend(loc="lower right")
    return fig


def draw_intervals(
    rows: Mapping[str, tuple[float, float, float]], label: str, at: float | None = None
) -> Figure:
    """One line a name: value with its interval, in percent; `at` is a line to compare with."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.8, 0.9 + 0.42 * len(rows)))
    for y, (value, low, high) in enumerate(rows.values()):
        ax.plot([100 * low, 100 * high], [y, y], color=PALETTE[0])
        ax.plot(100 * value, y, "o", ms=7, color=PALETTE[0])
    if at is not None:
        ax.axvline(100 * at, color="black", lw=0.8)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    return fig
