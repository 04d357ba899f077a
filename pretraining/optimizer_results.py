"""What the optimizer study found, read from its results file and set in tables: never typed.

A number in notebook 03 comes from the file that `benchmark_optimizers` wrote, with its machine and its day beside it.
Where there is none, the words are "not measured", and how to measure. Left out: measuring and drawing.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from attention_mechanisms.race_results import markdown_table
from utils.errors import UserError

RESULT = Path(__file__).with_name("results") / "optimizers.json"
COMMAND = "python -m pretraining.benchmark_optimizers"
NAMES = {"adamw": "AdamW", "adamw_2rates": "AdamW with two rates"}
NOT_MEASURED = f"not measured: run `{COMMAND}`"


def read(path: Path = RESULT) -> dict[str, Any] | None:
    """The whole results file; None where there is none or where it is not complete. Raises UserError for another."""
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return result if result["figures"]["complete"] else None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no results file: measure again with {COMMAND} fresh=true") from None


def where_measured(path: Path = RESULT) -> str:
    """One line: command, model, machine and day."""
    result = read(path)
    if result is None:
        return NOT_MEASURED
    setting = result["figures"]["settings"]
    seeds = result["figures"]["optimizers"]["adamw"]["val_loss"]["n"]
    return (
        f"`{result['command']}`: {setting['n_layer']} layers × {setting['n_embd']}, {setting['steps']} steps, "
        f"{seeds} seeds, {result['hardware'].get('cpu', 'unknown processor')}, {result['date'][:10]}"
    )


def table(path: Path = RESULT) -> str:
    """Loss, gap to AdamW and bytes of each optimizer, in Markdown."""
    result = read(path)
    return NOT_MEASURED if result is None else table_of(result["figures"])


def table_of(figures: dict[str, Any]) -> str:
    """The same, of figures that may not be in a file yet."""
    rows = []
    for name, row in figures["optimizers"].items():
        key = row["tried"]["key"]
        rate = f"{key}={row['changes'][key]:g}" if key in row["changes"] else "AdamW's"
        loss, gap = row["val_loss"], row["gap_to_adamw"]
        sd = "" if loss["sd"] is None else f" ± {loss['sd']:.3f}"
        rows.append(
            [
                name,
                rate,
                f"{loss['mean']:.3f}{sd}",
                f"{gap['mean']:+.3f}",
                f"{row['share_of_adamw_state']:.2f}",
            ]
        )
    return markdown_table(
        ["optimizer", "best of the tried", "validation loss", "gap to AdamW", "state, of AdamW's"], rows
    )


def muon_steps(path: Path = RESULT) -> str:
    """In how many of AdamW's steps Muon reaches AdamW's final loss, a sentence for each way to use AdamW."""
    result = read(path)
    if result is None or "muon_steps" not in result["figures"]:
        return NOT_MEASURED
    return " ".join(muon_sentences(result["figures"]["muon_steps"]))


def muon_sentences(muon: dict[str, Any]) -> list[str]:
    """A sentence for each way to use AdamW, from `figures["muon_steps"]`."""
    said = []
    for name, found in muon["to"].items():
        each = ", ".join(
            "never"
            if share is None
            else f"at most {share:.2f}"
            if share <= muon["smallest_share"]
            else f"{share:.2f}"
            for share in found["shares"]
        )
        reached = "reached" if found["goal_reached"] else "not reached"
        said.append(
            f"Muon comes to the final loss of {NAMES[name]} with this share of its steps: {each}, by seed "
            f"(goal ≤ {found['goal']}: {reached})."
        )
    return said


def as_text(path: Path = RESULT) -> str:
    """The whole study for a terminal: losses, gaps, bytes, goal and what was reached."""
    result = read(path)
    if result is None:
        return NOT_MEASURED
    lines = ["optimizer     validation loss       gap to AdamW  state bytes  by formula  of AdamW  seconds"]
    for name, row in result["figures"]["optimizers"].items():
        loss, gap = row["val_loss"], row["gap_to_adamw"]
        sd = "" if loss["sd"] is None else f" ± {loss['sd']:.4f}"
        lines.append(
            f"{name:12}  {loss['mean']:.4f}{sd:10}  {gap['mean']:>+16.4f}  {row['state_bytes']:>11,}"
            f"  {row['state_bytes_formula']:>10,}  {row['share_of_adamw_state']:8.3f}  {row['seconds']:7.1f}"
        )
    if "muon_steps" in result["figures"]:
        lines += muon_sentences(result["figures"]["muon_steps"])
    return "\n".join(lines)


def losses_by_share(path: Path = RESULT) -> dict[str, tuple[list[float], list[float]]]:
    """Muon's mean loss against its share of the steps, and AdamW's with all of them; {} where nothing was measured."""
    result = read(path)
    if result is None or "muon_steps" not in result["figures"]:
        return {}
    muon, rows = result["figures"]["muon_steps"], result["figures"]["optimizers"]
    shares = sorted(map(float, muon["losses"]))
    means = [statistics.fmean(muon["losses"][str(share)]) for share in shares]
    lines = {"Muon, a whole schedule each": (shares, means)}
    for name in muon["to"]:
        level = rows[name]["val_loss"]["mean"]
        lines[f"{NAMES[name]}, all steps"] = ([shares[0], 1.0], [level, level])
    return lines
