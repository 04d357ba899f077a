"""The pictures of notebook 02: a text that shrinks merge by merge, the tree of a token, compression, ties.

They take plain ids, strings and numbers and return a matplotlib figure; what is drawn is computed in the
notebook, never here. matplotlib is imported on use. Left out: style (`utils.plotting`); strips of tokens,
which the tour's pictures have. Notebook: `02_bpe_by_hand.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from utils.plotting import PALETTE
from working_with_text_data.figures.tour import ASKED, BLUE, KNOWN, ORANGE, QUIET
from working_with_text_data.inspect_tokens import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pair = tuple[int, int]
LOOKS = ("o-", "s--", "^:", "D-.")  # readable without colours as well


def draw_stages(stages: Sequence[Sequence[bytes]], names: Sequence[str]) -> Figure:
    """One row for each stage of a text: a box a token, as wide as its bytes; what is new in a row is orange."""
    import matplotlib.pyplot as plt

    length = sum(map(len, stages[0]))
    fig, ax = plt.subplots(figsize=(2.6 + 0.42 * length, 0.55 * len(stages)))
    seen: set[bytes] = set(stages[0])
    for row, (stage, name) in enumerate(zip(stages, names, strict=True)):
        ax.text(-0.4, -row, name, ha="right", va="center", fontsize=10)
        left = 0
        for token in stage:
            colour = KNOWN if token in seen else ASKED
            ax.barh(-row, len(token), left=left, height=0.74, color=colour, edgecolor="white", linewidth=2)
            middle = left + len(token) / 2
            ax.text(middle, -row, visible(token), ha="center", va="center", family="monospace")
            left += len(token)
        seen.update(stage)
        ax.text(length + 0.3, -row, f"{len(stage)} tokens", va="center", fontsize=9, color=QUIET)
    widest = max(map(len, names))
    ax.set(xlim=(-0.32 * widest - 0.6, length + 3), ylim=(0.5 - len(stages), 0.5))
    ax.axis("off")
    return fig


def draw_merge_tree(ids: Sequence[int], parts: Mapping[int, Pair], spell: Callable[[int], bytes]) -> Figure:
    """The tree of each token in `ids`: below a token stand the two it was merged from, down to single bytes.

    `parts` maps an id to its pair (an id without an entry is a leaf), `spell` gives the bytes of an id.
    """
    import matplotlib.pyplot as plt

    width = sum(_leaves(token, parts) for token in ids)
    depth = max(_depth(token, parts) for token in ids)
    fig, ax = plt.subplots(figsize=(0.72 * max(width, 6) + 0.4, 0.9 + 0.72 * depth))
    leaf = iter(range(width))

    def place(token: int, colour: str) -> tuple[float, float]:
        below = [place(part, KNOWN) for part in parts.get(token, ())]
        x = sum(x for x, _ in below) / 2 if below else float(next(leaf))
        y = float(_depth(token, parts))
        for child_x, child_y in below:
            ax.plot([x, child_x], [y, child_y], color=QUIET, lw=1, zorder=1)
        box = {"boxstyle": "round,pad=0.25", "fc": colour, "ec": "none"}
        label = visible(spell(token))
        ax.text(x, y, label, ha="center", va="center", family="monospace", bbox=box, zorder=2)
        behind = {"fc": "white", "ec": "none", "pad": 0.6}  # the lines to the parts begin below the number
        ax.text(x, y - 0.34, str(token), ha="center", va="center", fontsize=8, color=QUIET, bbox=behind)
        return x, y

    for token in ids:
        place(token, ASKED)
    ax.set(xlim=(-0.8, width - 0.2), ylim=(-0.6, depth + 0.45))
    ax.axis("off")
    return fig


def draw_compression(
    curves: Mapping[str, Sequence[tuple[int, float]]], marks: Mapping[int, float] | None = None
) -> Figure:
    """Bytes per token against the number of merges; `marks` are points that get their number written."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    for (name, points), look in zip(curves.items(), LOOKS, strict=False):
        ax.plot(*zip(*points, strict=True), look, ms=4, label=name)
    for merges, ratio in (marks or {}).items():
        ax.annotate(f"{ratio:.2f}", (merges, ratio), (0, 7), textcoords="offset points", ha="center")
    top = max(ratio for points in curves.values() for _, ratio in points)
    ax.set(xlabel="merges", ylabel="bytes per token", ylim=(0.8, 1.15 * top))
    ax.legend(loc="upper left")
    return fig


def draw_merge_counts(counts: Sequence[int], tied: Sequence[bool]) -> Figure:
    """How often each merged pair occurred, in the order of the merges; those that had to break a tie orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.4))
    for wanted, colour, marker, name in ((False, BLUE, "o", "alone at the top"), (True, ORANGE, "x", "tied")):
        points = [(i, n) for i, (n, t) in enumerate(zip(counts, tied, strict=True), start=1) if t is wanted]
        if points:
            x, y = zip(*points, strict=True)
            ax.scatter(x, y, color=colour, marker=marker, s=16, label=f"{name} ({len(points)})")
    ax.set_yscale("log")
    ticks = [n * 10**k for k in range(7) for n in (1, 2, 5) if min(counts) <= n * 10**k <= max(counts)]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="merge", ylabel="how often its pair occurred")
    ax.legend()
    return fig


def draw_shares(shares: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """A stacked bar for each row of `shares`: its parts side by side, with their numbers."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 0.9 + 0.5 * len(shares)))
    left = {row: 0.0 for row in shares}
    names = list(next(iter(shares.values())))
    for part, colour in zip(names, (KNOWN, ASKED, *PALETTE), strict=False):
        values = [shares[row][part] for row in shares]
        bars = ax.barh(list(shares), values, left=list(left.values()), color=colour, label=part)
        ax.bar_label(bars, [f"{value:,.0f}" if value else "" for value in values], label_type="center")
        left = {row: left[row] + shares[row][part] for row in shares}
    ax.set(xlabel=unit)
    ax.invert_yaxis()
    ax.grid(False)
    ax.legend(ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


def _leaves(token: int, parts: Mapping[int, Pair]) -> int:
    return sum(_leaves(part, parts) for part in parts[token]) if token in parts else 1


def _depth(token: int, parts: Mapping[int, Pair]) -> int:
    return 1 + max(_depth(part, parts) for part in parts[token]) if token in parts else 0
