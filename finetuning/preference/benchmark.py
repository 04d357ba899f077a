"""Losses and sources of pairs compared over seeds: are pairs in order, and is what the model could still there?

    python -m finetuning.preference.benchmark ckpt=RUN
    python -m finetuning.preference.benchmark ckpt=assets 'seeds=[0]' 'variants=[dpo]' pairs=64 asked=34 out=/tmp/p.json

Each row is a run of `preference.dpo` with another seed (pairs, order, requests). The goals are those of the issue: 90 %
of held-out pairs in order, and exact answers that do not fall, judged by the interval of the paired difference.
Left out: the way to the model that is tuned (`benchmark_instructions` has it whole).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
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
    words: tuple[str, ...] = _key((), "more settings of every run")
    out: Path = OUT

    def __post_init__(self) -> None:
        unknown = sorted(set(self.variants) - VARIANTS.keys())
        if unknown or not self.variants or not self.seeds:
            raise UserError(
                f"variants are {list(self.variants)}, seeds {list(self.seeds)}: give one or more of "
                f"{', '.join(VARIANTS)}, and a seed"
            )


def measure(config: BenchmarkConfig) -> dict[str, Any]:
    """Every variant with every seed. Returns the figures: for each variant its rows and what they add up to."""
    from finetuning.evaluation.resampling import over_seeds
    from finetuning.preference.settings import PreferenceConfig
    from finetuning.preference.train import prefer

    figures: dict[str, Any] = {"goal_accuracy": GOAL, "variants": {}}
    for name in config.variants:
        rows = []
        for seed in config.seeds:
            with TemporaryDirectory() as folder:
                words = [
                    *(f"ckpt={config.ckpt}", f"seed={seed}", f"data_seed={seed}", f"pairs={config.pairs}"),
                    *(f"held_out={config.held_out}", f"asked={config.asked}", "eval_every=0"),
                    *(*VARIANTS[name], *config.words, f"runs={folder}"),
                ]
                rows.append({"seed": seed, **_row(prefer(load_config(PreferenceConfig, None, words)).meta)})
            print(f"{name}, seed {seed}: {_say(rows[-1])}", flush=True)
        keys = [k for k, v in rows[0].items() if isinstance(v, float)]
        means = {key: over_seeds([row[key] for row in rows]).to_dict() for key in keys}
        figures["variants"][name] = {"rows": rows, "means": means}
    return figures


def measured(path: Path = OUT) -> dict[str, dict[str, float]]:
    """The means of each variant in a results file, for a notebook; empty where nothing was measured."""
    import json

    if not path.is_file():
        return {}
    variants = json.loads(path.read_text(encoding="utf-8"))["figures"]["variants"]
    return {name: {key: v["value"] for key, v in found["means"].items()} for name, found in variants.items()}


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
    """Measure, write the results file, say whether the goals were reached."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m finetuning.preference.benchmark",
        description="Compare losses and sources of preference pairs over seeds.",
    )
    figures = measure(config)
    for name, found in figures["variants"].items():
        means = found["means"]
        reached = "reached" if means["accuracy"]["value"] >= GOAL else "not reached"
        print(f"{name}: goal {GOAL:.0%} of the pairs in order, {means['accuracy']['value']:.1%}: {reached}")
        if "exact_after" in means:
            lost = sum(row["win_rate_interval"][1] < 0.5 for row in found["rows"])
            print(
                f"  goal no exact answers lost: {means['exact_before']['value']:.1%} → "
                f"{means['exact_after']['value']:.1%}, surely worse with {lost} of {len(found['rows'])} seeds"
            )
    from utils.timing import write_result

    command = shlex.join(["python", "-m", "finetuning.preference.benchmark", *command_words(config)])
    print(write_result(config.out, name="preference", figures=figures, command=command, seed=config.seeds[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
