"""The pictures of notebook 01: a prompt by roles, the budget of a context, cold and warm work, answers in time.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Left out: style (`utils.plotting`). Notebook: `01_from_generate_to_conversation.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("marker", "words", "end")


def draw_prompt(tokens: Sequence[tuple[str, str]], per_row: int = 14) -> Figure:
    """Tokens as boxes in reading order, (text, kind): markers, words and end tokens in their own colours."""
    import matplotlib.pyplot as plt

    rows = -(-len(tokens) // per_row)
    fig, ax = plt.subplots(figsize=(7.6, 0.55 + 0.42 * rows))
    for index, (text, kind) in enumerate(tokens):
        x, y = index % per_row, index // per_row
        colour = PALETTE[KINDS.index(kind)]
        ax.barh(y, 0.94, left=x, height=0.8, color=colour, alpha=0.3 if kind == "words" else 0.85)
        size = 8 if len(text) < 7 else 5.5
        ax.text(x + 0.47, y, text, ha="center", va="center", fontsize=size, family="monospace")
    ax.set(xlim=(0, per_row), ylim=(rows - 0.5, -0.5))
    ax.axis("off")
    return fig


def draw_budget(turns: Sequence[tuple[int, int, int]], context: int) -> Figure:
    """One bar a turn, (forgotten, read, room): what no longer fits, what is read, what is left for the answer."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 1.2 + 0.32 * len(turns)))
    names = ("no longer seen", "read", "room for the answer")
    for y, (forgotten, read, room) in enumerate(turns):
        for number, (left, width) in enumerate(((-forgotten, forgotten), (0, read), (read, room))):
            colour = (PALETTE[1], PALETTE[0], PALETTE[2])[number]
            ax.barh(y, width, left=left, height=0.7, color=colour, alpha=0.45 if number == 2 else 0.9,
                    label=names[number] if y == 0 else None)  # fmt: skip
    ax.axvline(context, color="0.3", linestyle="--", linewidth=1)
    ax.set(xlabel="tokens", yticks=range(len(turns)))
    ax.set_yticklabels([f"turn {n + 1}" for n in range(len(turns))])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    return fig


def draw_work(work: Mapping[str, Sequence[float]], unit: str) -> Figure:
    """One line a way of working: what each turn cost."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for number, (name, values) in enumerate(work.items()):
        ax.plot(range(1, len(values) + 1), values, marker="o", color=PALETTE[number], label=name)
    ax.set(xlabel="turn", ylabel=unit)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return fig


def draw_arrivals(arrivals: Mapping[str, Sequence[float]]) -> Figure:
    """One row an answer, a mark for each token at the millisecond it came."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 1.0 + 0.5 * len(arrivals)))
    for y, times in enumerate(arrivals.values()):
        ax.plot(times, [y] * len(times), "|", markersize=16, color=PALETTE[y % len(PALETTE)])
    ax.set(
        xlabel="milliseconds since the first question",
        yticks=range(len(arrivals)),
        ylim=(len(arrivals) - 0.4, -0.6),
    )
    ax.set_yticklabels(list(arrivals))
    ax.grid(axis="y", visible=False)
    return fig
