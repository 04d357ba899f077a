"""Losses and sources of pairs compared over seeds: are pairs in order, and is what the model could still there?

    python -m finetuning.preference.benchmark ckpt=RUN
    python -m finetuning.preference.benchmark ckpt=assets 'seeds=[0]' 'variants=[dpo]' pairs=64 asked=34 out=/tmp/p.json

Each row is a run of `preference.dpo` with another seed (pairs, order, requests). Two goals: at least 90 % of
held-out pairs in order, and no exact answers lost. The second is missed with a seed where the tuned model is surely
worse than the untouched one: the 95 % interval of its win rate, request by request, lies below one half.
Every row is written at once; the same command goes on where it was stopped. Writes results/preference.json.
Left out: the way to the model that is tuned (`benchmark_instructions` has it whole). Notebook: finetuning/04.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from utils.cli import run_main
from utils.config import command_words, load_config, parse_args
from utils.errors import UserError

# What each variant changes. Means of nats are smaller than sums, so `per_token` takes a larger beta.
VARIANTS: dict[str, tuple[str, ...]] = {
    "dpo": (),
    "both_sources": ("source=both",),
    "own_mistakes": ("source=model",),
    "ipo": ("objective=ipo",),
    "smoothed": ("label_smoothing=0.1",),
    "per_token": ("per_token=true", "beta=10"),
}
GOAL = 0.9
OUT = Path(__file__).parents[1] / "results" / "preference.json"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which model, which variants, how much."""

    ckpt: str = _key("assets", "the instruction-tuned model: a run, a folder, assets")
    variants: tuple[str, ...] = _key(tuple(VARIANTS), "of those that there are")
    seeds: tuple[int, ...] = _key((0, 1, 2), "one run each")
    pairs: int = _key(2000, "to learn from")
    held_out: int = _key(200, "pairs to judge by")
    asked: int = _key(204, "held-out requests before and after")
    words: tuple[str, ...] = _key((), "more settings of every run, key=value")
    threads: int = _key(2, "of torch")
    fresh: bool = _key(False, "forget the rows that the results file holds")
    out: str = _key(str(OUT), "results file")

    def __post_init__(self) -> None:
        unknown = sorted(set(self.variants) - VARIANTS.keys())
        if unknown or not self.variants or not self.seeds:
            raise UserError(
                f"variants are {list(self.variants)}, seeds {list(self.seeds)}: give one or more of "
                f"{', '.join(VARIANTS)}, and a seed"
            )
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}, but torch needs one: set threads=1")

    def same_study(self) -> dict[str, Any]:
        """What must agree for two rows to be in one table."""
        names = ("ckpt", "pairs", "held_out", "asked", "words")
        return {name: getattr(self, name) for name in names}


def measure(config: BenchmarkConfig, variant: str, seed: int, model: Path) -> dict[str, Any]:
    """One row: tune the model in the folder `model` as the variant says, and keep what its run found.

    Raises KeyboardInterrupt when someone asked to stop, so that no half-trained row is kept.
    """
    from finetuning.preference.settings import PreferenceConfig
    from finetuning.preference.train import prefer

    with TemporaryDirectory(prefix="preference-") as folder:
        words = [
            *(f"ckpt={model}", f"seed={seed}", f"data_seed={seed}", f"pairs={config.pairs}"),
            *(f"held_out={config.held_out}", f"asked={config.asked}", "eval_every=0"),
            *(*VARIANTS[variant], *config.words, f"runs={folder}"),
        ]
        run = prefer(load_config(PreferenceConfig, None, words))
    if run.status != "complete":
        raise KeyboardInterrupt  # what is finished is written; the same command goes on
    return {"variant": variant, "seed": seed, **_row(run.meta)}


def run_benchmark(config: BenchmarkConfig, command: str) -> dict[str, Any]:
    """Make the rows that are missing, writing the results after each; returns the figures."""
    from gpt_model.loading import find_checkpoint
    from utils.files import sha256_file
    from utils.kept_rows import kept_rows
    from utils.timing import write_result

    model = find_checkpoint(config.ckpt)  # here, because `last` means nothing in the runs' own empty folders
    # `assets` and `last` are names of other models later on
    settings = {**config.same_study(), "model_sha256": sha256_file(model / "model.safetensors")}
    rows: list[dict[str, Any]] = (
        kept_rows(config.out, settings, rows="rows", study="preference benchmark", fresh=config.fresh) or []
    )
    done = {(row["variant"], row["seed"]) for row in rows}
    for variant in config.variants:
        for seed in config.seeds:
            if (variant, seed) in done:
                continue
            rows.append(measure(config, variant, seed, model))
            print(f"{variant}, seed {seed}: {_say(rows[-1])}", flush=True)
            write_result(
                config.out, name="preference", figures=figures_of(settings, rows), command=command, seed=seed
            )
    return figures_of(settings, rows)


def figures_of(settings: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the results file holds: settings, rows, and of each variant the means of its figures over seeds."""
    from finetuning.evaluation.resampling import over_seeds

    means: dict[str, Any] = {}
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        keys = [key for key, value in own[0].items() if isinstance(value, float)]
        means[name] = {key: over_seeds([row[key] for row in own]).to_dict() for key in keys}
    return {"goal_accuracy": GOAL, "settings": dict(settings), "rows": list(rows), "variants": means}


def measured(path: Path = OUT) -> dict[str, dict[str, float]]:
    """The means of each variant in a results file, for a notebook; empty where nothing was measured."""
    if not path.is_file():
        return {}
    variants = json.loads(path.read_text(encoding="utf-8"))["figures"]["variants"]
    return {name: {key: mean["value"] for key, mean in means.items()} for name, means in variants.items()}


def _row(meta: dict[str, Any]) -> dict[str, Any]:
    result = meta["result"]
    found, gone = result["preferences"], result.get("drift", {})
    row = {
        "accuracy": found["accuracy"]["value"],
        "margin": found["margin"],
        "kl": gone.get("kl"),
        "length": gone.get("length"),
        "by_reason": {reason: share["value"] for reason, share in found["by_reason"].items()},
        "seconds": result["seconds"],
    }
    if "exact_after" in result:
        for when in ("before", "after"):
            share = result[f"exact_{when}"]
            row[f"exact_{when}"] = share["hits"] / share["total"]
        rate = result["win_rate"]["rate"]
        row["win_rate"], row["win_rate_interval"] = rate["value"], [rate["low"], rate["high"]]
    return row


def _say(row: dict[str, Any]) -> str:
    words = f"{row['accuracy']:.1%} of the pairs in order"
    if "exact_after" in row:
        words += f", exact {row['exact_before']:.1%} → {row['exact_after']:.1%}"
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Make the rows that are missing, writing each, and say whether the goals were reached."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m finetuning.preference.benchmark",
        description="Compare losses and sources of preference pairs over seeds.",
        aliases={"--ckpt": "ckpt", "--out": "out"},
    )
    import torch

    torch.set_num_threads(config.threads)
    words = command_words(config, ("out", "fresh"))
    figures = run_benchmark(config, shlex.join(["python", "-m", "finetuning.preference.benchmark", *words]))
    for name, means in figures["variants"].items():
        reached = "reached" if means["accuracy"]["value"] >= GOAL else "not reached"
        print(f"{name}: goal {GOAL:.0%} of the pairs in order, {means['accuracy']['value']:.1%}: {reached}")
        if "exact_after" in means:
            own = [row for row in figures["rows"] if row["variant"] == name]
            lost = sum(row["win_rate_interval"][1] < 0.5 for row in own)
            print(
                f"  goal no exact answers lost: {means['exact_before']['value']:.1%} → "
                f"{means['exact_after']['value']:.1%}, surely worse with {lost} of {len(own)} seeds"
            )
    print(config.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
