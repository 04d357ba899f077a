"""The pictures of notebook 01: attempts of one job, what saving costs, a lease in time, prices, a cold start.

They take plain numbers and return a matplotlib figure; what is drawn is computed in the notebook, never here.
matplotlib is imported on use. Curves are those of the neighbours. Left out: style (`utils.plotting`).
Notebook: `01_from_laptop_to_cloud.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pretraining.figures.trusted_loop import draw_curves
from utils.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_attempts", "draw_curves", "draw_lease", "draw_overhead", "draw_phases", "draw_prices"]


def draw_attempts(attempts: Sequence[tuple[int, int, int]], total: int) -> Figure:
    """One row an attempt, (began, reached, safe): what was kept is blue, what was done for nothing is orange."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 1.2 + 0.5 * len(attempts)))
    for y, (began, reached, safe) in enumerate(attempts):
        ax.barh(y, safe - began, left=began, height=0.6, color=PALETTE[0])
        ax.barh(y, reached - safe, left=safe, height=0.6, color=PALETTE[1], hatch="//", edgecolor="white")
        lost = f", {reached - safe} for nothing" if reached > safe else ""
        ax.text(reached + total * 0.01, y, f"{began} to {reached}{lost}", va="center", fontsize=9)
    ax.set(xlim=(0, total * 1.32), xlabel="step", yticks=range(len(attempts)))
    ax.set_yticklabels([f"attempt {n + 1}" for n in range(len(attempts))])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return fig


def draw_overhead(
    intervals: Sequence[float],
    parts: Mapping[str, Sequence[float]],
    measured: Sequence[tuple[float, float]],
    best: float,
) -> Figure:
    """The share of time lost against the interval: its parts as lines, simulated points, the best as a dotted line."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.6))
    for number, (name, values) in enumerate(parts.items()):
        ax.plot(intervals, values, color=PALETTE[number], label=name)
    ax.plot(*zip(*measured), "o", color="black", ms=5, label="simulated")
    ax.axvline(best, color="#555555", ls=":")
    ax.text(best * 1.06, 0.96, f"{best:.0f} s", transform=ax.get_xaxis_transform(), va="top", fontsize=9)
    top = 1.5 * max(value for _, value in measured)
    ax.set(xscale="log", xlabel="seconds between two saves", ylabel="share of time lost", ylim=(0, top))
    ax.legend(loc="upper right", fontsize=9)
    return fig


def draw_lease(rows: Mapping[str, Sequence[tuple[float, str]]], lease: float, end: float) -> Figure:
    """Machines in time: `renew` marks with the lease that each gives, `dies` as a cross, `takes` as a star."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 1.3 + 0.55 * len(rows)))
    for y, events in enumerate(rows.values()):
        colour = PALETTE[y]
        for time, what in events:
            if what in ("renew", "takes"):
                ax.barh(y, min(lease, end - time), left=time, height=0.5, color=colour, alpha=0.18, lw=0)
            mark = {"renew": "|", "takes": "*", "dies": "X", "asks": "."}[what]
            ax.plot(
                time, y, mark, color="black" if what == "dies" else colour, ms=12 if what != "asks" else 6
            )
    for label, mark in (("renews", "|"), ("dies", "X"), ("asks, and waits", "."), ("takes over", "*")):
        ax.plot([], [], mark, color="black", label=label, ls="none")
    ax.set(xlim=(0, end), xlabel="seconds", yticks=range(len(rows)))
    ax.set_yticklabels(list(rows))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper right", ncols=4, fontsize=9)
    return fig


def draw_prices(rows: Mapping[str, tuple[float, float]]) -> Figure:
    """A point for each machine: hours across, dollars up, both on log scales, with its name."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    for number, (name, (hours, dollars)) in enumerate(rows.items()):
        ax.plot(hours, dollars, "o", ms=8, color=PALETTE[number % len(PALETTE)])
        ax.annotate(name, (hours, dollars), xytext=(7, 5), textcoords="offset points", fontsize=9)
    across, up = zip(*rows.values())
    ax.set(
        xscale="log", yscale="log", xlim=(min(across) / 1.6, max(across) * 3), ylim=(min(up) / 2, max(up) * 2)
    )
    ax.set(xlabel="hours", ylabel="US dollars")
    return fig


def draw_phases(rows: Mapping[str, Mapping[str, float] | None]) -> Figure:
    """One bar a way of starting, its phases in seconds side by side; None says "not measured"."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 1.3 + 0.5 * len(rows)))
    names = list(dict.fromkeys(phase for phases in rows.values() if phases for phase in phases))
    for y, phases in enumerate(rows.values()):
        at = 0.0
        for phase, seconds in (phases or {}).items():
            ax.barh(y, seconds, left=at, height=0.6, color=PALETTE[names.index(phase)])
            at += seconds
        ax.text(at, y, f" {at:.2g} s" if phases else " not measured", va="center", fontsize=9)
    for number, phase in enumerate(names):
        ax.barh(0, 0, color=PALETTE[number], label=phase)
    longest = max(sum(phases.values()) for phases in rows.values() if phases)
    ax.set(xlim=(0, longest * 1.2), ylim=(len(rows) - 0.5, -0.5), xlabel="seconds", yticks=range(len(rows)))
    ax.set_yticklabels(list(rows))
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper right", ncols=len(names), fontsize=9)
    return fig
