"""From the runs of a scaling study to its lines: best rates, valleys, exponents with intervals.

Pure arithmetic over the rows of `scaling_study`, so that a notebook or a test can repeat it. The noise that seeds were
seen to make goes through every fit (`power_laws.bootstrap`); a figure that the runs do not carry yet is None.
Left out: drawing. Notebook: 05 of this chapter.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pretraining.power_laws import Array, bootstrap, fit_loss, parabola, power_law
from utils.errors import UserError

Row = Mapping[str, Any]
RESULTS = Path(__file__).with_name("results") / "scaling.json"


def seed_noise(rows: Sequence[Row]) -> float | None:
    """Standard deviation of the loss over seeds: the middle run of the table and its repetitions."""
    again = [row for row in rows if row["part"] == "noise"]
    if not again:
        return None
    key = ("layers", "width", "budget")
    same = [r for r in rows if r["part"] == "budgets" and all(r[k] == again[0][k] for k in key)]
    losses = [row["val_loss"] for row in (*same, *again)]
    return statistics.stdev(losses) if len(losses) > 1 else None


def by_budget(rows: Sequence[Row]) -> dict[float, list[Row]]:
    """The runs of the table, one list a budget, by size."""
    groups: dict[float, list[Row]] = {}
    for row in rows:
        if row["part"] == "budgets":
            groups.setdefault(row["budget"], []).append(row)
    return {budget: sorted(group, key=lambda r: r["n"]) for budget, group in sorted(groups.items())}


def near_bottom(group: Sequence[Row], reach: int = 2) -> list[Row]:
    """The run with the lowest loss and up to `reach` neighbours on either side: far up the hill is no parabola."""
    group = sorted(group, key=lambda row: row["n"])
    at = min(range(len(group)), key=lambda i: group[i]["val_loss"])
    return group[max(0, at - reach) : at + reach + 1]


def valleys(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The best size and the lowest loss at each budget that has a valley."""
    found = []
    for budget, group in by_budget(rows).items():
        near = near_bottom(group)
        try:
            curve = parabola([r["n"] for r in near], [r["val_loss"] for r in near])
        except UserError:
            continue  # too few sizes, or no lowest point
        if curve.inside:
            per_token = _between([(r["n"], r["flops_per_token"]) for r in group], curve.best)
            found.append({"budget": budget, **asdict(curve), "tokens": budget / per_token})
    return found


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    """FLOPs of a token at a size between two that were trained: a power law through all."""
    return power_law([n for n, _ in points], [cost for _, cost in points], resamples=0)(at)


def best_rates(rows: Sequence[Row]) -> dict[int, dict[str, float]]:
    """For each width the rate at the lowest point of a parabola through the best rate and its neighbours."""
    widths: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row["part"] == "rates" and row["val_loss"] is not None:
            widths.setdefault(row["width"], []).append((row["lr"], row["val_loss"]))
    found = {}
    for width, points in sorted(widths.items()):
        points.sort()
        at = min(range(len(points)), key=lambda i: points[i][1])
        near = points[max(0, at - 1) : at + 2]
        best, inside = points[at][0], 0 < at < len(points) - 1
        if inside and len(near) == 3:
            best = parabola([lr for lr, _ in near], [loss for _, loss in near]).best
        found[width] = {"lr": best, "tried": points[at][0], "loss": points[at][1], "inside": float(inside)}
    return found


def _slope_of_valleys(rows: Sequence[Row], value: str, losses: Array) -> float:
    changed = [{**row, "val_loss": float(loss)} for row, loss in zip(rows, losses, strict=True)]
    found = valleys(changed)
    return power_law([v["budget"] for v in found], [v[value] for v in found], resamples=0).exponent


def analyse(rows: Sequence[Row]) -> dict[str, Any]:
    """All that the notebook shows: noise, valleys, exponents with intervals, and the formula in N and D."""
    table = [row for row in rows if row["part"] == "budgets"]
    noise, found, rates = seed_noise(rows), valleys(rows), best_rates(rows)
    figures: dict[str, Any] = {
        "noise": noise,
        "valleys": found,
        "rates": {str(width): best for width, best in rates.items()},
        "size_law": None,
        "loss_law": None,
        "rate_law": None,
        "formula": None,
    }
    if len(found) >= 2:
        for name, value in (("size_law", "best"), ("loss_law", "loss")):
            law = power_law([v["budget"] for v in found], [v[value] for v in found])
            spread = None
            if noise is not None:
                losses = [row["val_loss"] for row in table]
                with suppress(UserError):  # too noisy for an interval: none is given
                    spread, _ = bootstrap(partial(_slope_of_valleys, table, value), losses, noise)
            figures[name] = {"factor": law.factor, "exponent": law.exponent, "interval": spread}
    inside = {width: best["lr"] for width, best in rates.items() if best["inside"]}
    if len(inside) >= 2:
        figures["rate_law"] = asdict(power_law(list(inside), list(inside.values())))
    if len(table) >= 6:
        with suppress(UserError):  # no formula fits so few, or such, models: none is given
            law_nd = fit_loss(*([row[key] for row in table] for key in ("n", "tokens", "val_loss")))
            figures["formula"] = {**asdict(law_nd), "best_exponent": law_nd.best_exponent}
    return figures


def read_study(path: Path = RESULTS) -> dict[str, Any]:
    """The figures of a study's results file; without one, those of a study in which nothing was measured.

    Raises UserError for a file of something else.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return {**figures, "runs": list(figures["runs"])}
    except FileNotFoundError:
        return {"runs": [], "complete": False, "seconds": 0.0, **analyse([])}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} holds no scaling study: run python -m pretraining.scaling_study") from None


def describe_exponent(figures: Mapping[str, Any], name: str) -> str:
    """An exponent with its interval in words, or "not measured"."""
    law = figures.get(name)
    if law is None:
        return "not measured"
    if law["interval"] is None:
        return f"{law['exponent']:.2f}"
    low, high = law["interval"]
    return f"{law['exponent']:.2f} (95 % interval {low:.2f} to {high:.2f})"
