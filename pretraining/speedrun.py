"""`python -m pretraining.speedrun`: the lowest validation loss within three minutes of two CPU threads.

    python -m pretraining.speedrun                                   the best recipe, 180 s, one seed
    python -m pretraining.speedrun recipe=plain budget=seconds=90
    python -m pretraining.speedrun training.muon_lr=0.02 part=dev    try something, on text that is not reported
    python -m pretraining.speedrun --leaderboard name=me seeds=[0,1,2]
    python -m pretraining.speedrun measure                           the whole table of SPEEDRUN.md, row by row

The idea: steps, tokens and parameters are all prices in one currency, wall time; so a rule that fixes only the time
(compilation included), the threads, the text and the score lets every trick compete. The rules: `SPEEDRUN.md`; the
recipes: `speedrun_recipes`. A run is an ordinary `Trainer` with a budget of minutes, so whatever makes training
faster is in it. `--budget tokens=…` counts characters instead, for a machine whose clock is another (one GPU).
`measure` writes each finished row to the results file at once and never trains a row twice: it may be run in pieces
(`at_most=3`) and stopped at any time. Left out: more than one process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pretraining.speedrun_board import GOALS, RESULT, describe, record, summary
from pretraining.speedrun_recipes import ladder, recipe_named
from pretraining.speedrun_run import parse_budget, run_one, word
from pretraining.speedrun_text import Characters, characters
from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.kept_rows import kept_rows
from utils.timing import write_result

RULES = 1  # raised when the rules change: rows under other rules are not compared


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class SpeedrunConfig:
    """What is run, on what, for how long. Everything but recipe and its changes is part of the rules."""

    recipe: str = _key("best", "a rung of the ladder, best, known, known-whole-time or known-large")
    model: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "what to change in its model: model.n_layer=6"}
    )
    training: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "what to change in its training: training.lr=1e-3"}
    )
    budget: str = _key("seconds=180", "seconds=… of wall time in training, or tokens=… (characters)")
    corpus: str = _key(
        "auto", "auto (tinyshakespeare where it lies, else storyland), storyland, pydoc, a path"
    )
    part: str = _key("val", "what is scored: val (reported), dev (cut from the training text, to tune on)")
    seeds: tuple[int, ...] = _key((0,), "of weights and batches")
    threads: int = _key(2, "the rules say 2")
    leaderboard: bool = _key(False, "append the result to the leaderboard")
    name: str = _key("", "who asks to be on it")
    ladder_budget: str = _key("seconds=45", "measure: of each rung of the ladder")
    short_budget: str = _key("seconds=90", "measure: the shorter time of the best recipe")
    many_seeds: tuple[int, ...] = _key((0, 1, 2), "measure: of the best and of the known recipe")
    at_most: int | None = _key(None, "measure: train so many rows in this run and stop; null: all that miss")
    fresh: bool = _key(False, "measure: forget what the results file holds")
    out: str | None = _key(None, "results file of measure, leaderboard file of --leaderboard")

    def __post_init__(self) -> None:
        for text in (self.budget, self.ladder_budget, self.short_budget):
            parse_budget(text)
        for name in ("seeds", "many_seeds"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise UserError(f"{name}={list(given)}: give at least one, each once")
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}: the least is 1")
        if self.leaderboard and self.part != "val":
            raise UserError("part=dev is for tuning: the leaderboard takes scores on part=val only")
        if self.leaderboard and not self.name.strip():
            raise UserError("the leaderboard wants to know whose row it is: give name=…")
        recipe_named(self.recipe)


class Row(NamedTuple):
    """One training of the table that `measure` fills. Two rungs with the same settings are one row."""

    recipe: str
    budget: str
    seed: int

    def key(self, config: SpeedrunConfig) -> tuple[str, str, int]:
        """What two trainings have in common that need not both be done."""
        return recipe_named(self.recipe).changed(config.model, config.training).hash, self.budget, self.seed


def plan(config: SpeedrunConfig) -> list[Row]:
    """All rows of the table, the most important first where a part is all that there is time for."""
    top = ladder()[-1].name
    rows = [Row(name, config.budget, seed) for name in (top, "known") for seed in config.many_seeds]
    rows += [Row(rung.name, config.ladder_budget, config.seeds[0]) for rung in ladder()]
    rows += [Row(top, config.short_budget, seed) for seed in config.many_seeds]
    rows += [Row(name, config.budget, config.seeds[0]) for name in ("known-whole-time", "known-large")]
    return list(dict.fromkeys(rows))


def measure(config: SpeedrunConfig, text: Characters, command: str) -> Path:
    """Train what is missing, write the results after every row; returns the results file."""
    path = Path(config.out or RESULT)
    if path == RESULT and (config.model or config.training):
        raise UserError("with changed recipes the table is another one: give out=FILE")
    changes = {"model": config.model, "training": config.training}
    rules = {"part": config.part, "threads": config.threads, "rules": RULES}
    settings = {"corpus_sha256": text.sha256, **rules, "changes": changes}
    wanted = {row.key(config): row for row in reversed(plan(config))}
    rows = kept_rows(path, settings, rows="rows", study="speedrun", fresh=config.fresh) or ()
    kept = [row for row in rows if _key_of(row) in wanted]
    missing = [row for key, row in reversed(wanted.items()) if key not in map(_key_of, kept)]
    todo = missing if config.at_most is None else missing[: config.at_most]
    seconds = sum(parse_budget(row.budget)[1] for row in todo if row.budget.startswith("seconds"))
    print(
        f"{len(missing)} of {len(wanted)} rows are missing; {len(todo)} now, about {seconds / 60:.0f} minutes"
    )
    for number, row in enumerate(todo, start=1):
        recipe = recipe_named(row.recipe).changed(config.model, config.training)
        kept.append(run_one(recipe, text, row.budget, row.seed))
        told = f"{number}/{len(todo)} {row.recipe:18} {row.budget:12} seed {row.seed}"
        print(f"{told}  {kept[-1]['loss']:.4f}", flush=True)
        figures = {
            **summary(kept, config),
            "settings": settings,
            "corpus": text.about(),
            "complete": len(missing) == number,
            "rows": kept,
        }
        write_result(
            path,
            name=path.stem,
            figures=figures,
            command=command,
            seed=config.many_seeds[0],
            notes="Nats a character over the whole validation part; wall time of training, compilation included.",
        )
    return path


def _key_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["hash"], row["budget"], row["seed"]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, options = parse_args(
        argv,
        SpeedrunConfig,
        prog="python -m pretraining.speedrun",
        description="Train to the lowest validation loss within three minutes of two CPU threads.",
        aliases={
            **{f"--{name}": name for name in ("budget", "recipe", "corpus", "seeds", "name", "out")},
            "--leaderboard": "leaderboard",
        },
        positional={"what?": "measure: fill the whole table; nothing: run one recipe"},
    )
    if options.what not in (None, "measure"):
        raise UserError(f"unknown word {options.what!r}: leave it out to run a recipe, or write measure")
    text = characters(config.corpus, config.part)

    import torch

    from utils.device import keep_freed_memory

    torch.set_num_threads(config.threads)
    torch._inductor.config.force_disable_caches = True  # compilation counts, so it is always cold
    keep_freed_memory()
    print(
        f"{text.name}: {len(text.train):,} characters to learn from, {len(text.val):,} to be judged on ({config.part})"
    )
    words = command_words(config, ("out", "at_most", "fresh", "model", "training", "leaderboard", "name"))
    for part in ("model", "training"):
        words += [f"{part}.{key}={word(value)}" for key, value in getattr(config, part).items()]
    if options.what == "measure":
        if config.recipe != "best":
            raise UserError("measure trains every recipe: leave recipe out")
        path = measure(config, text, " ".join(["python -m pretraining.speedrun measure", *words]))
        print(describe(json.loads(path.read_text(encoding="utf-8"))["figures"]))
        print(f"wrote {path}\nnext: python -m pretraining.speedrun_board --write")
        return 0
    recipe = recipe_named(config.recipe).changed(config.model, config.training)
    rows = []
    for seed in config.seeds:
        rows.append(run_one(recipe, text, config.budget, seed))
        row = rows[-1]
        print(
            f"{recipe.name} seed {seed}: {row['loss']:.4f} nats a character, {row['seconds']:.1f} s, "
            f"{row['steps']:,} steps, {row['tokens_per_second']:,.0f} characters/s, {row['parameters']:,} parameters"
        )
    mean = sum(row["loss"] for row in rows) / len(rows)
    goal = GOALS.get((text.name, config.budget))
    print(
        f"mean of {len(rows)}: {mean:.4f}"
        + ("" if goal is None or config.part != "val" else f" (goal {goal})")
    )
    if config.leaderboard:
        settings = {"budget": config.budget, "threads": config.threads, "rules": RULES}
        entry = record(Path(config.out) if config.out else None, rows, text, settings, config.name)
        print(
            f"row {entry['signature']} is on the leaderboard; next: python -m pretraining.speedrun_board --write"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
