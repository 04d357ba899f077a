"""The pictures of notebook 05: keys that change or not, work done again, masks, cuttings, slots, heads, memory.

They take plain numbers (tensors as well) and return a matplotlib figure; what is drawn is computed in the notebook,
never here. matplotlib is imported on use. Left out: style (`utils.plotting`).
Notebook: `05_kv_cache_and_grouped_query.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = PALETTE[0], PALETTE[1]
QUIET, EMPTY = "#555555", "#f2f2f2"
KEPT, NEW = "#cfe8f7", "#fbe3b3"  # backgrounds that black text stays readable on
LOOKS = ("o-", "s--", "^-.", "D:", "v-")  # readable without colours as well


def draw_key_changes(panels: Mapping[str, Any], tokens: Sequence[str]) -> Figure:
    """How much the keys changed, (layers, tokens), one map for each name; each cell has its number."""
    import matplotlib.pyplot as plt

    top = max(float(max(max(row) for row in table)) for table in panels.values()) or 1.0
    fig, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 2.6), squeeze=False)
    for ax, (name, table) in zip(axes[0], panels.items(), strict=True):
        rows = [[float(value) for value in row] for row in table]
        ax.imshow(rows, cmap="Oranges", vmin=0, vmax=1.6 * top, aspect="auto")
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                ax.text(j, i, f"{value:.2f}" if value else "0", ha="center", va="center", fontsize=9)
        ax.set_xticks(range(len(tokens)), tokens)
        ax.set_yticks(range(len(rows)), [f"layer {i}" for i in range(len(rows))])
        ax.set(title=name)
        ax.grid(False)
    return fig


def draw_work(panels: Mapping[str, Sequence[Sequence[int]]]) -> Figure:
    """What each step does: rows are steps, columns tokens; 0 not there yet, 1 read first, 2 read again, 3 kept."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    colours = {0: EMPTY, 1: BLUE, 2: ORANGE, 3: KEPT}
    names = {1: "read for the first time", 2: "read again", 3: "kept in the cache"}
    fig, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.4), squeeze=False)
    for ax, (name, grid) in zip(axes[0], panels.items(), strict=True):
        for step, row in enumerate(grid):
            for token, state in enumerate(row):
                ax.add_patch(plt.Rectangle((token, step), 0.92, 0.92, color=colours[int(state)]))
        done = sum(state in (1, 2) for row in grid for state in row)
        ax.set(
            xlim=(0, len(grid[0])),
            ylim=(len(grid), 0),
            xlabel="token",
            ylabel="step",
            title=f"{name}: {done}",
        )
        ax.set_aspect("equal")
        ax.grid(False)
    handles = [Patch(color=colours[state], label=label) for state, label in names.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return fig


def draw_masks(masks: Mapping[str, Any], n_cached: int, right: str) -> Figure:
    """Who may look (blue), new tokens down and all tokens across; cells other than in `right` are marked ×."""
    import matplotlib.pyplot as plt

    truth = masks[right]
    fig, axes = plt.subplots(1, len(masks), figsize=(4.2 * len(masks), 2.6), squeeze=False)
    for ax, (name, mask) in zip(axes[0], masks.items(), strict=True):
        for i, row in enumerate(mask):
            for j, allowed in enumerate(row):
                ax.add_patch(plt.Rectangle((j, i), 0.94, 0.94, color=BLUE if allowed else EMPTY))
                if bool(allowed) != bool(truth[i][j]):
                    ax.text(
                        j + 0.47,
                        i + 0.47,
                        "×",
                        ha="center",
                        va="center",
                        color=ORANGE,
                        fontsize=16,
                        weight="bold",
                    )
        ax.axvline(n_cached - 0.03, color=QUIET, lw=1.2, ls=":")
        ax.text(n_cached / 2, len(mask) + 0.1, "cached", ha="center", va="top", fontsize=9, color=QUIET)
        ax.text(
            (n_cached + len(mask[0])) / 2,
            len(mask) + 0.1,
            "new",
            ha="center",
            va="top",
            fontsize=9,
            color=QUIET,
        )
        ax.set(xlim=(0, len(mask[0])), ylim=(len(mask) + 0.6, 0), title=name, aspect="equal")
        ax.axis("off")
    return fig


def draw_cuttings(cuts: Sequence[Sequence[int]], wrong: Sequence[bool]) -> Figure:
    """Each way to cut a text as a row of chunks; orange where the result was wrong. The right ones come first."""
    import matplotlib.pyplot as plt

    ordered = sorted(zip(wrong, map(list, cuts), strict=True), key=lambda pair: (pair[0], len(pair[1])))
    rows = -(-len(ordered) // 4)
    length = sum(ordered[0][1])
    fig, ax = plt.subplots(figsize=(8.4, 0.32 * rows + 0.5))
    for i, (bad, cut) in enumerate(ordered):
        left, top = (i // rows) * (length + 1.2), i % rows
        for size in cut:
            ax.barh(top, size - 0.1, left=left, height=0.7, color=ORANGE if bad else BLUE)
            left += size
    ax.set(xlim=(-0.3, 4 * (length + 1.2)), ylim=(rows - 0.4, -0.7))
    ax.axis("off")
    return fig


def draw_slots(rows: Mapping[str, Sequence[str]], length: Mapping[str, int]) -> Figure:
    """The slots of a cache, a row for each moment: filled up to `length`, behind it what is still there, in grey."""
    import matplotlib.pyplot as plt

    width = max(map(len, rows.values()))
    fig, ax = plt.subplots(figsize=(2.6 + 0.8 * width, 0.6 * len(rows)))
    for i, (name, slots) in enumerate(rows.items()):
        ax.text(-0.2, i, name, ha="right", va="center", fontsize=10)
        for j, slot in enumerate(slots):
            filled = j < length[name]
            ax.barh(i, 0.94, left=j, height=0.76, color=KEPT if filled else EMPTY)
            ax.text(
                j + 0.47,
                i,
                slot,
                ha="center",
                va="center",
                fontsize=9,
                color="black" if filled else "#999999",
            )
        ax.plot([length[name] - 0.03] * 2, [i - 0.45, i + 0.45], color=ORANGE, lw=2)
    ax.set(xlim=(-0.13 * max(map(len, rows)) - 0.3, width), ylim=(len(rows) - 0.4, -0.6))
    ax.axis("off")
    return fig


def draw_heads(panels: Mapping[str, Sequence[int]]) -> Figure:
    """Which key head each query head reads: query heads above, key heads below, a line for each query head."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 2.3), squeeze=False)
    for ax, (name, reads) in zip(axes[0], panels.items(), strict=True):
        kv_heads = sorted(set(reads))
        centre = {kv: (i + 0.5) * len(reads) / len(kv_heads) - 0.5 for i, kv in enumerate(kv_heads)}
        for head, kv in enumerate(reads):
            colour = PALETTE[kv % 6]
            ax.plot([head, centre[kv]], [1, 0], color=colour, lw=1.3, zorder=1)
            ax.scatter(head, 1, color="white", edgecolor=colour, s=90, zorder=2)
            ax.text(head, 1, str(head), ha="center", va="center", fontsize=7, zorder=3)
        for kv, x in centre.items():
            ax.scatter(x, 0, color=PALETTE[kv % 6], marker="s", s=90, zorder=2)
        ax.set(xlim=(-0.9, len(reads) - 0.1), ylim=(-0.4, 1.4), title=name)
        ax.axis("off")
    return fig


def draw_memory(bytes_per_token: Mapping[str, float], contexts: Sequence[int], weights: float) -> Figure:
    """Bytes of the cache against the context, both logarithmic, and the bytes of the weights as a line."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 3.9))
    for (name, each), look in zip(bytes_per_token.items(), LOOKS, strict=False):
        ax.plot(contexts, [each * n / 2**20 for n in contexts], look, ms=4, label=name)
    ax.axhline(weights / 2**20, color=QUIET, ls=":", lw=1.4)
    ax.text(contexts[0], weights / 2**20 * 1.12, "all weights", fontsize=9, color=QUIET)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(contexts, [f"{n // 1024}k" if n >= 1024 else str(n) for n in contexts])
    ax.set(xlabel="tokens in the cache", ylabel="MiB")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def draw_errors(errors: Mapping[str, Sequence[float]], limit: float) -> Figure:
    """Histograms of rounding errors, one for each name, with the limit that theory gives as a line."""
    import matplotlib.pyplot as plt
    import numpy as np

    fig, axes = plt.subplots(1, len(errors), figsize=(4.4 * len(errors), 3.0), squeeze=False)
    for ax, ((name, values), colour) in zip(axes[0], zip(errors.items(), PALETTE, strict=False), strict=True):
        ax.hist(np.asarray(values), bins=60, color=colour)
        ax.axvline(limit, color=QUIET, ls=":", lw=1.4)
        ax.set(xlabel="error / largest number of its vector", ylabel="numbers", title=name)
        ax.set_xlim(left=0)
    return fig
