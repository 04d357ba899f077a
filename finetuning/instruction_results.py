"""What the rows of `benchmark_instructions` say together: means over seeds, pairs within each, tables.

Rows of one seed are compared request by request; over seeds the spread of the runs counts (`evaluation.resampling`).
Left out: making the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "instructions.json"
ARMS = ("base", "prompted", "sft", "dpo")
PAIRS = (("sft", "base"), ("sft", "prompted"), ("dpo", "sft"))
GOAL = 0.9


def read_results(path: Path = RESULTS) -> dict[str, Any] | None:
    """The figures of the results file; None where nothing was measured yet, or not all of it."""
    if not path.is_file():
        return None
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return figures if figures.get("complete") else None


def kind_intervals(figures: Mapping[str, Any] | None, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For a forest plot: arm → kind → (share, low, high), all seeds' requests together; "all" stands last."""
    from finetuning.evaluation.intervals import wilson_interval

    found: dict[str, dict[str, Any]] = {}
    for arm in arms:
        rows = [row for row in (figures or {}).get("rows", []) if row["arm"] == arm]
        sums = {
            kind: [sum(row["by_kind"][kind][key] for row in rows) for key in ("hits", "total")]
            for kind in sorted({kind for row in rows for kind in row["by_kind"]})
        }
        shares = {k: (h / n, *wilson_interval(h, n)) for k, (h, n) in sums.items()}
        if rows:
            mean = (figures or {})["overall"][arm]
            value = mean["value"]
            shares["all"] = (
                (value, value, value) if mean["low"] is None else (value, mean["low"], mean["high"])
            )
            found[arm] = shares
    return found


def analyse(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the rows say together: means over seeds with their interval, pairs within each seed, kinds, the table."""
    from finetuning.evaluation.resampling import over_seeds, paired_difference

    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS}
    by_arm = {arm: own for arm, own in by_arm.items() if own}
    overall = {arm: over_seeds([r["overall"]["value"] for r in own]).to_dict() for arm, own in by_arm.items()}
    differences: dict[str, dict[str, Any]] = {}
    values: dict[str, list[float]] = {}
    for seed in sorted({row["seed"] for row in rows}):
        own = {row["arm"]: [c == "1" for c in row["right"]] for row in rows if row["seed"] == seed}
        gaps = {}
        for after, before in PAIRS:
            if after in own and before in own:
                name = f"{after} over {before}"
                gap = paired_difference(own[before], own[after], seed=seed)
                gaps[name] = gap.to_dict()
                values.setdefault(name, []).append(gap.value)
        differences[str(seed)] = gaps
    ordered = [row["pairs_in_order"] for row in rows if row.get("pairs_in_order") is not None]
    kinds = sorted({kind for row in rows for kind in row["by_kind"]})
    by_kind = {
        kind: {
            arm: sum(r["by_kind"][kind]["hits"] for r in own) / sum(r["by_kind"][kind]["total"] for r in own)
            for arm, own in by_arm.items()
        }
        for kind in kinds
    }
    return {
        "overall": overall,
        "differences": differences,
        "mean_differences": {name: over_seeds(found).to_dict() for name, found in values.items()},
        "by_kind": by_kind,
        "pairs_in_order": over_seeds(ordered).to_dict() if ordered else None,
        "goal": GOAL,
        "reached": overall.get("sft", {}).get("value"),
        "table": table(by_arm, overall),
        "kinds_table": kinds_table(by_kind, list(by_arm)),
    }


def table(by_arm: Mapping[str, Sequence[Mapping[str, Any]]], overall: Mapping[str, Any]) -> str:
    """One row an arm, as Markdown."""
    heads = ["exact, mean over seeds", "interval", "each seed", "perplexity on stories", "pairs in order"]
    heads += ["training s", "CPU s"]
    lines = [f"| | {' | '.join(heads)} |", f"|---{'|---' * len(heads)}|"]
    for arm, rows in by_arm.items():
        mean = overall[arm]
        spread = "one seed"
        if mean["low"] is not None:  # Student's interval knows no ends, a share has two
            low, high = max(0.0, mean["low"]), min(1.0, mean["high"])
            spread = f"{100 * low:.1f} to {100 * high:.1f} %"
        each = ", ".join(f"{100 * row['overall']['value']:.1f}" for row in rows)
        cells = [
            _mean(rows, key, form)
            for key, form in (
                ("perplexity", ".2f"),
                ("pairs_in_order", ".1%"),
                ("training_seconds", ".0f"),
                ("cpu_seconds", ".0f"),
            )
        ]
        lines.append(f"| {arm} | {100 * mean['value']:.1f} % | {spread} | {each} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(rows: Sequence[Mapping[str, Any]], key: str, form: str) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return format(sum(values) / len(values), form) if values else "–"


def kinds_table(by_kind: Mapping[str, Mapping[str, float]], arms: Sequence[str]) -> str:
    """One row a kind, the hardest for the last arm first."""
    lines = [f"| kind | {' | '.join(arms)} |", f"|---{'|---' * len(arms)}|"]
    last = arms[-1] if arms else ""
    for kind in sorted(by_kind, key=lambda k: (by_kind[k][last], k)):
        lines.append(f"| {kind} | {' | '.join(f'{100 * by_kind[kind][arm]:.0f} %' for arm in arms)} |")
    return "\n".join(lines)
