"""What came out of a sweep: every trial with its true status, one table, one plot, one JSON file.

Trials that differ in the seed only are one row: their mean, and the spread without which a difference between rows
means nothing. Where the tokenizer differs between trials, nats a token cannot be compared and bits a byte are. A trial
that failed stays in the table with its reason, one that halving let go with the loss at which it stood. Everything is
read from the run folders, so a table can be made at any moment, of a sweep that is still running too.
Left out: curves of single runs (`plot_curves`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretraining.sweep_plan import SweepPlan, Trial
from pretraining.train_job import PAUSED, find_job, reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = {"loss": "validation loss, nats a token", "bits_per_byte": "validation, bits a byte"}
OTHER_TOKENS = {"vocab_size", "tokenizer", "data"}  # an axis that makes tokens of different trials different


@dataclass(frozen=True)
class Outcome:
    """One trial as its run folder tells it. `status`: waiting, running, paused, stopped, complete or failed."""

    id: str
    status: str = "waiting"
    reason: str | None = None
    step: int = 0
    loss: float | None = None
    bits_per_byte: float | None = None
    parameters: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, validation loss)
    bits: dict[int, float] = field(default_factory=dict)  # step -> bits a byte, of the same evaluations

    def at(self, rung: int | None, metric: str = "loss") -> float | None:
        """The loss of the evaluation at step `rung`, or the final one."""
        if rung is None:
            return getattr(self, metric) if self.status == "complete" else None
        return dict(self.curve).get(rung) if metric == "loss" else self.bits.get(rung)


def read_outcome(folder: Path, trial: Trial, ended: Mapping[str, Any] | None = None) -> Outcome:
    """How far a trial has come. `ended` is what the sweep saw of its process (status and reason)."""
    run = find_job(trial.id, folder)
    if run is None:
        return (
            Outcome(trial.id, ended["status"], ended.get("reason"))
            if ended and ended["status"] == "failed"
            else Outcome(trial.id)
        )
    result = run.meta.get("result") or {}
    val = {row["step"]: row for row in run.metrics() if row.get("split") == "val" and not row.get("whole")}
    last = result.get("val") or (val[max(val)] if val else {})
    status, reason = run.status, run.meta.get("error")
    if status == "stopped" and str(reason).startswith(PAUSED):
        status, reason = "paused", None
    if ended and ended["status"] == "failed" and status != "complete":
        status, reason = "failed", ended.get("reason") or reason
    return Outcome(
        trial.id,
        status,
        reason,
        step=result.get("step") or reached(run),
        loss=last.get("loss"),
        bits_per_byte=last.get("bits_per_byte"),
        parameters=_parameters(run.path),
        tokens=result.get("tokens"),
        seconds=result.get("seconds"),
        curve=[(step, row["loss"]) for step, row in sorted(val.items()) if row.get("loss") is not None],
        bits={step: row["bits_per_byte"] for step, row in val.items() if row.get("bits_per_byte") is not None},
    )  # fmt: skip


def _parameters(run: Path) -> int | None:
    """Of the model whose config lies in the newest checkpoint."""
    import json

    from gpt_model.config import GPTConfig
    from gpt_model.costs import parameter_breakdown

    for file in sorted((run / "checkpoints").glob("step_*/config.json"), reverse=True)[:1]:
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
            saved.pop("model_type", None)
            return sum(parameter_breakdown(GPTConfig.from_dict(saved)).values())
        except (OSError, ValueError, TypeError, KeyError):
            return None
    return None


def choose_metric(rank_by: str, axes: Sequence[str]) -> str:
    """`loss` or `bits_per_byte`; "auto" takes the latter where an axis changes what a token is."""
    if rank_by != "auto":
        return rank_by
    return "bits_per_byte" if OTHER_TOKENS & set(axes) else "loss"


def tabulate(plan: SweepPlan, outcomes: Mapping[str, Outcome], metric: str) -> list[dict[str, Any]]:
    """One row for all seeds of a configuration: complete ones first by their mean, then how far the others came.

    A mean stands only over trials that are complete. `n` of them; `sd` is None for fewer than two.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
    for trial in plan.trials:
        groups.setdefault(
            tuple((k, v) for k, v in trial.settings.items() if k != "seed"), []
        ).append(trial)  # fmt: skip
    rows = []
    for settings, trials in groups.items():
        own = [outcomes[trial.id] for trial in trials]
        values = [v for o in own if o.status == "complete" and (v := getattr(o, metric)) is not None]
        others = [v for o in own if o.status != "complete" and (v := getattr(o, metric)) is not None]
        first = next((o for o in own if o.parameters is not None), own[0])
        rows.append(
            {
                "settings": dict(settings),
                "status": _together([o.status for o in own]),
                "reason": next((o.reason for o in own if o.reason), None),
                "trials": len(own),
                "n": len(values),
                "mean": statistics.fmean(values) if values else None,
                "sd": statistics.stdev(values) if len(values) > 1 else None,
                "min": min(values, default=None),
                "max": max(values, default=None),
                "so_far": None if values or not others else statistics.fmean(others),
                "step": max(o.step for o in own),
                "parameters": first.parameters,
                "seconds": sum(o.seconds or 0.0 for o in own),
            }
        )
    return sorted(rows, key=_order)


def _order(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Complete rows by their mean; behind them those that came farthest, by how they stood."""
    if row["mean"] is not None:
        return (0, row["mean"])
    return (1, -row["step"], math.inf if row["so_far"] is None else row["so_far"])


def _together(statuses: Sequence[str]) -> str:
    """One word for several trials: the worst that needs a person first."""
    order = ("failed", "stopped", "running", "waiting", "paused", "complete")
    return min(statuses, key=lambda status: order.index(status) if status in order else 1)


def make_figures(
    plan: SweepPlan, outcomes: Mapping[str, Outcome], *, metric: str, method: str, fixed: Mapping[str, str]
) -> dict[str, Any]:
    """All that the JSON file and the plot are made from."""
    axes: dict[str, list[str]] = {}
    for trial in plan.trials:
        for key, value in trial.settings.items():
            if value not in axes.setdefault(key, []):
                axes[key].append(value)
    statuses = [outcomes[trial.id].status for trial in plan.trials]
    steps = sum(outcomes[trial.id].step for trial in plan.trials)
    finished = [outcomes[trial.id].step for trial in plan.trials if outcomes[trial.id].status == "complete"]
    trials = []
    for trial in plan.trials:
        facts = asdict(outcomes[trial.id])
        facts.pop("bits")
        trials.append({"name": trial.name, "settings": trial.settings, **facts})
    return {
        "method": method,
        "metric": metric,
        "axes": axes,
        "fixed": dict(fixed),
        "recipe": plan.recipe,
        "rungs": [rung for rung in plan.rungs if rung is not None],
        "eta": plan.eta if len(plan.rungs) > 1 else None,
        "counts": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
        "steps_taken": steps,
        "steps_without_halving": max(finished, default=0) * len(statuses) if len(plan.rungs) > 1 else None,
        "table": tabulate(plan, outcomes, metric),
        "trials": trials,
    }


def describe(figures: Mapping[str, Any]) -> str:
    """The table as text, the best first."""
    keys = [key for key in figures["axes"] if key != "seed"]
    head = [key.rpartition(".")[2] for key in keys] + [
        figures["metric"].replace("_", " "),
        "n",
        "steps",
        "parameters",
        "status",
    ]
    lines = [head]
    for row in figures["table"]:
        value = row["mean"] if row["mean"] is not None else row["so_far"]
        spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
        mark = "" if row["mean"] is not None or value is None else " so far"
        shown = "–" if value is None else f"{value:.4f}{spread}{mark}"
        size = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        status = row["status"] + (
            f": {row['reason'][:80]}" if row["reason"] and row["status"] == "failed" else ""
        )
        lines.append(
            [row["settings"].get(key, "") for key in keys] + [shown, str(row["n"]), f"{row['step']:,}", size, status]
        )  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def sweep_figure(figures: Mapping[str, Any]) -> Figure:
    """A panel for each axis: the metric of every configuration against its value there, the best one filled."""
    import matplotlib.pyplot as plt

    from utils.plotting import PALETTE, style

    keys = [key for key in figures["axes"] if key != "seed"] or ["seed"]
    rows = [row for row in figures["table"] if row["mean"] is not None]
    with style():
        size = (1.2 + 3.6 * len(keys), 3.6)
        figure, panels = plt.subplots(1, len(keys), figsize=size, squeeze=False, sharey=True)
        for axis, key in zip(panels[0], keys, strict=True):
            texts = list(figures["axes"][key])
            numbers = [_number(text) for text in texts]
            numeric = len(texts) > 1 and all(number is not None for number in numbers)
            places = dict(zip(texts, numbers if numeric else range(len(texts))))
            others: dict[tuple[str, ...], list[Any]] = {}
            for row in rows:
                rest = tuple(v for k, v in row["settings"].items() if k != key)
                others.setdefault(rest, []).append(row)
            for i, group in enumerate(others.values()):
                group = sorted(group, key=lambda row: places.get(row["settings"].get(key, texts[0]), 0))
                xs = [places.get(row["settings"].get(key, texts[0]), 0) for row in group]
                ys = [row["mean"] for row in group]
                bars = [[row["sd"] or 0.0 for row in group]] * 2
                colour = PALETTE[i % len(PALETTE)]
                axis.errorbar(
                    xs, ys, yerr=bars, marker="o", mfc="white", color=colour, lw=1.2, capsize=3, alpha=0.85
                )
            if rows:
                best = rows[0]
                axis.plot(
                    places.get(best["settings"].get(key, texts[0]), 0), best["mean"], "o", color="black"
                )
            if numeric:
                positive = [n for n in numbers if n is not None]
                if min(positive) > 0 and max(positive) / min(positive) >= 4:
                    axis.set_xscale("log")
                    axis.minorticks_off()
                axis.set_xticks([n for n in numbers if n is not None], texts)
            else:
                axis.set_xticks(range(len(texts)), texts, rotation=20 if max(map(len, texts)) > 8 else 0)
            axis.set_xlabel(key)
        panels[0][0].set_ylabel(METRICS[figures["metric"]])
        failed = figures["counts"].get("failed", 0)
        note = f", {failed} failed" if failed else ""
        panels[0][0].set_title(f"{len(figures['trials'])} trials{note}; the best is black")
    return figure
