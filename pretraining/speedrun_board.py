"""The tables of the speedrun: the ladder, the seeds, the leaderboard; written into SPEEDRUN.md from results files.

    python -m pretraining.speedrun_board            are the tables of SPEEDRUN.md those of the files?
    python -m pretraining.speedrun_board --write    write them

The idea of a signed row: what was run (settings, text, time, threads, rules) is hashed, the hash stands in the row, and
anyone can run the settings that stand beside it and see whether the score comes again within its spread. A score whose
settings were changed by hand no longer fits its signature, which a test and this command check. The signature says
what was run, not that it was run: the score is believed because it can be repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretraining.speedrun_recipes import KNOWN, LADDER, ladder, recipe_named
from utils.cli import run_main
from utils.errors import RunFailure, UserError
from utils.files import atomic_write_json, atomic_write_text, sha256_bytes

if TYPE_CHECKING:
    from pretraining.speedrun import SpeedrunConfig
    from pretraining.speedrun_text import Characters

FOLDER = Path(__file__).parent
RESULT = FOLDER / "results" / "speedrun.json"
BOARD = FOLDER / "results" / "speedrun_board.json"
PAGE = FOLDER / "SPEEDRUN.md"
GOALS = {("tinyshakespeare", "seconds=90"): 1.55, ("tinyshakespeare", "seconds=180"): 1.47}
SIGNED = ("corpus_sha256", "budget", "threads", "rules", "model", "training")
BLOCK = re.compile(
    r"(?P<head><!-- speedrun (?P<table>\w+) -->\n)(?P<body>.*?)(?P<tail><!-- /speedrun -->)", re.DOTALL
)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value), smallest, largest, number."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": statistics.fmean(values),
        "sd": sd,
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def chosen(rows: Sequence[Mapping[str, Any]], digest: str, budget: str, seeds: Sequence[int]) -> list[Any]:
    """The rows of one recipe and budget, by seed."""
    found = [r for r in rows if (r["hash"], r["budget"]) == (digest, budget) and r["seed"] in seeds]
    return sorted(found, key=lambda row: row["seed"])


def summary(rows: Sequence[Mapping[str, Any]], config: SpeedrunConfig) -> dict[str, Any]:
    """`ladder` (one entry a rung, its gain over the rung before) and `scores` (recipe and budget over seeds)."""
    steps: list[dict[str, Any]] = []
    for recipe in (each.changed(config.model, config.training) for each in ladder()):
        found = chosen(rows, recipe.hash, config.ladder_budget, config.seeds[:1])
        row = found[0] if found else dict.fromkeys(("loss", "seconds", "steps", "tokens_per_second"))
        before = steps[-1]["loss"] if steps else None
        gain = None if row["loss"] is None or before is None else before - row["loss"]
        kept = {key: row[key] for key in ("loss", "seconds", "steps", "tokens_per_second")}
        steps.append({"name": recipe.name, "hash": recipe.hash, "gain": gain, **kept})
    scores = []
    best = [("best", budget) for budget in dict.fromkeys((config.short_budget, config.budget))]
    for name, budget in (*best, *((known, config.budget) for known in KNOWN)):
        digest = recipe_named(name).changed(config.model, config.training).hash
        found = chosen(rows, digest, budget, config.many_seeds)
        if found:
            scores.append(
                {
                    "recipe": name,
                    "budget": budget,
                    "loss": spread([row["loss"] for row in found]),
                    "seconds": max(row["seconds"] for row in found),
                    "steps": round(statistics.median(row["steps"] for row in found)),
                    "tokens_per_second": statistics.median(row["tokens_per_second"] for row in found),
                    "parameters": found[0]["parameters"],
                }
            )
    return {"ladder": steps, "ladder_budget": config.ladder_budget, "scores": scores}


def describe(figures: Mapping[str, Any]) -> str:
    """The table as text, goals and what was reached."""
    lines = [f"ladder ({figures['ladder_budget']}):"]
    for step in figures["ladder"]:
        loss = "not measured" if step["loss"] is None else f"{step['loss']:.4f}"
        gain = "" if step["gain"] is None else f"{step['gain']:+.4f}"
        lines.append(f"  {step['name']:18} {loss:>12} {gain:>9}")
    for score in figures["scores"]:
        goal = GOALS.get((figures["corpus"]["name"], score["budget"])) if score["recipe"] == "best" else None
        lines.append(f"{score['recipe']:18} {score['budget']:12} {_loss(score['loss'])}{_goal(goal, score)}")
    return "\n".join(lines)


def _loss(loss: Mapping[str, Any]) -> str:
    sd = "" if loss["sd"] is None else f" ± {loss['sd']:.4f}"
    return f"{loss['mean']:.4f}{sd} (n={loss['n']})"


def _goal(goal: float | None, score: Mapping[str, Any]) -> str:
    if goal is None:
        return ""
    return f"  goal {goal}: {'reached' if score['loss']['mean'] <= goal else 'not reached'}"


# ---------------------------------------------------------------- the leaderboard


def signature(entry: Mapping[str, Any]) -> str:
    """Sixteen digits that stand for what was run."""
    said = json.dumps({key: entry[key] for key in SIGNED}, sort_keys=True)
    return sha256_bytes(said.encode())[:16]


def record(
    path: Path | None,
    rows: Sequence[Mapping[str, Any]],
    text: Characters,
    settings: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """Append the runs of one recipe over seeds to the leaderboard; returns the new entry."""
    from utils.device import hardware
    from utils.provenance import git_state, now

    path = path or BOARD
    entry = {
        "name": name.strip(),
        "recipe": rows[0]["recipe"],
        "corpus": text.name,
        "corpus_sha256": text.sha256,
        **settings,
        "loss": spread([row["loss"] for row in rows]),
        "seeds": [row["seed"] for row in rows],
        "seconds": max(row["seconds"] for row in rows),
        "tokens": round(statistics.median(row["tokens"] for row in rows)),
        "parameters": rows[0]["parameters"],
        "model": dict(rows[0]["model"]),
        "training": dict(rows[0]["training"]),
        "hardware": hardware(),
        **git_state(),
        "date": now(),
    }
    entry["signature"] = signature(entry)
    atomic_write_json(path, [*read_board(path), entry])
    return entry


def read_board(path: Path | None = None) -> list[dict[str, Any]]:
    """The leaderboard's rows. Raises UserError for a file that is none, or a row that does not fit its signature."""
    path = path or BOARD
    if not path.exists():
        return []
    try:
        entries = list(json.loads(path.read_text(encoding="utf-8")))
        wrong = [entry["name"] for entry in entries if signature(entry) != entry["signature"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no leaderboard ({error}): restore it, or give another out=") from None
    if wrong:
        raise UserError(
            f"{path}: the settings of the row by {wrong[0]} do not fit its signature: what it says was not what was "
            "run; remove the row and run it again"
        )
    return entries


# ---------------------------------------------------------------- the page


def ladder_table(figures: Mapping[str, Any]) -> str:
    """One line a rung."""
    time = figures["ladder_budget"].replace("=", " ")
    lines = [
        f"| rung | what | why | source | nats a character ({time}) | gain | characters/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for rung, step in zip(LADDER, figures["ladder"], strict=True):
        loss = "not measured" if step["loss"] is None else f"{step['loss']:.4f}"
        gain = "" if step["gain"] is None else f"{step['gain']:+.4f}"
        speed = "" if step["tokens_per_second"] is None else f"{step['tokens_per_second']:,.0f}"
        lines.append(f"| {rung.name} | {rung.what} | {rung.why} | {rung.paper} | {loss} | {gain} | {speed} |")
    return "\n".join(lines)


def scores_table(figures: Mapping[str, Any]) -> str:
    """Recipes over seeds, with goals."""
    lines = [
        "| recipe | time | nats a character | goal | steps | parameters | characters/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in figures["scores"]:
        goal = GOALS.get((figures["corpus"]["name"], score["budget"])) if score["recipe"] == "best" else None
        told = "" if goal is None else f"{goal}"
        lines.append(
            f"| {score['recipe']} | {score['budget'].replace('=', ' ')} | {_loss(score['loss'])} | {told} | "
            f"{score['steps']:,} | {score['parameters']:,} | {score['tokens_per_second']:,.0f} |"
        )
    return "\n".join(lines)


def board_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The leaderboard, best first within a corpus and a budget."""
    if not entries:
        return "Nobody yet."
    lines = [
        "| nats a character | time | corpus | who | recipe | seeds | processor | signature |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = sorted(entries, key=lambda e: (e["corpus"], e["budget"], e["loss"]["mean"]))
    for e in order:
        lines.append(
            f"| {_loss(e['loss'])} | {e['budget'].replace('=', ' ')} | {e['corpus']} | {e['name']} | {e['recipe']} | "
            f"{', '.join(map(str, e['seeds']))} | {e['hardware'].get('cpu', 'unknown')} | `{e['signature']}` |"
        )
    return "\n".join(lines)


def fill(page: str, result: Path = RESULT, board: Path = BOARD) -> str:
    """The page with every table made again from its file; "not measured" where there is none."""

    def measured(table: Callable[[Mapping[str, Any]], str]) -> str:
        if not result.exists():
            return "not measured"
        return table(json.loads(result.read_text(encoding="utf-8"))["figures"])

    def one(match: re.Match[str]) -> str:
        kinds: dict[str, Callable[[], str]] = {
            "ladder": lambda: measured(ladder_table),
            "scores": lambda: measured(scores_table),
            "board": lambda: board_table(read_board(board)),
        }
        if match["table"] not in kinds:
            raise UserError(f"the page asks for a table {match['table']!r}: there are {', '.join(kinds)}")
        return f"{match['head']}{kinds[match['table']]()}\n{match['tail']}"

    return BLOCK.sub(one, page)


def main(argv: list[str] | None = None) -> int:
    """Check or write the tables of SPEEDRUN.md."""
    parser = argparse.ArgumentParser(
        prog="python -m pretraining.speedrun_board",
        description="Write the tables of SPEEDRUN.md from their files.",
    )
    parser.add_argument("--write", action="store_true", help="write; without it only compare")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--board", type=Path, default=BOARD)
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)
    page = options.page.read_text(encoding="utf-8")
    filled = fill(page, options.result, options.board)
    if filled == page:
        print(f"{options.page} says what its files say")
        return 0
    if not options.write:
        raise RunFailure(
            f"{options.page} differs from its files: python -m pretraining.speedrun_board --write"
        )
    atomic_write_text(options.page, filled)
    print(f"wrote {options.page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
