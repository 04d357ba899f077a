"""`python -m pretraining.benchmark_optimizers`: what each optimizer stores, and how far it gets in equal steps.

    python -m pretraining.benchmark_optimizers
    python -m pretraining.benchmark_optimizers optimizers=[adamw,muon] seeds=[1,2,3,4,5]

The idea: an optimizer is judged at its own learning rate or not at all. Each gets a short list of rates, tried on a
seed that is never reported, over half of the steps; the best one then runs on the reported seeds, same text, same
batches, same initial weights, and is compared with AdamW seed by seed. Two more questions: how many bytes does it
keep (by formula and counted), and in how many steps does Muon reach AdamW's final loss? Muon is trained for several
shares of AdamW's steps, each time with a whole schedule, and the crossing is read between them: a run that is merely
stopped early has not cooled down and would prove nothing. AdamW is there twice, with one rate for all, as it is mostly
used, and with a second one for the matrices in the blocks, which Muon and GaLore have too.

Every finished model is written to the results file at once, and the same command goes on where it stopped.
Left out: tuning decay, clipping and betas, and models larger than a laptop trains in a minute.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.kept_rows import kept_rows
from utils.timing import write_result

RESULT = Path(__file__).with_name("results") / "optimizers.json"
GOAL = 0.65  # of AdamW's steps, for Muon
# row -> optimizer, the key that is tuned, the values tried. The order is that of training: AdamW comes first, because
# the others take its rate for what is not in a block. AdamW with two rates is the control of Muon and GaLore, which
# have a rate of their own for the matrices: GaLore at full rank is AdamW (law LP8), and its scale is the second rate.
TRIED: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "adamw": ("adamw", "lr", (2e-3, 4e-3, 8e-3)),
    "adamw_2rates": ("galore", "galore_scale", (0.1, 0.25, 0.5)),
    "muon": ("muon", "muon_lr", (0.015, 0.03, 0.06)),
    "galore": ("galore", "galore_scale", (0.25, 0.5, 1.0)),
    "lion": ("lion", "lr", (2e-4, 5e-4, 1e-3)),
    "sgd": ("sgd", "lr", (0.1, 0.3, 1.0)),
    "adamw_8bit": ("adamw_8bit", "lr", ()),  # AdamW's rate: the question is what rounding costs
}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class BenchmarkConfig:
    """Who runs, on what, how far. The defaults take about a quarter of an hour on two quiet cores."""

    optimizers: tuple[str, ...] = _key(tuple(TRIED), f"adamw and some of {', '.join(list(TRIED)[1:])}")
    seeds: tuple[int, ...] = _key((1, 2, 3), "of weights and batches; at least three make a spread")
    tuning_seed: int = _key(0, "of the runs that choose the rates; never reported")
    shares: tuple[float, ...] = _key((0.2, 0.3, 0.4, 0.5, 0.65), "of AdamW's steps, for Muon alone")
    steps: int = _key(400, "optimizer steps of each model")
    batch_size: int = _key(16, "sequences in a step")
    n_layer: int = _key(4, "blocks of the model")
    n_embd: int = _key(128, "its width")
    block_size: int = _key(64, "its context")
    galore_rank: int = _key(32, "a quarter of the width")
    galore_gap: int = _key(50, "steps between projectors")
    data: str = _key("storyland", "a corpus or the path of a text")
    max_documents: int | None = _key(4000, "take at most so many documents")
    vocab_size: int = _key(1024, "of the BPE tokenizer")
    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16")
    device: str = _key("cpu", "cpu, cuda, mps or auto")
    fresh: bool = _key(False, "forget what the results file holds and begin again")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        unknown = [name for name in self.optimizers if name not in TRIED]
        if unknown or "adamw" not in self.optimizers:
            raise UserError(
                f"optimizers={list(self.optimizers)}: give adamw, which the others are compared with, and some of "
                f"{', '.join(list(TRIED)[1:])}"
            )
        if not self.seeds or self.tuning_seed in self.seeds:
            raise UserError(
                f"seeds={list(self.seeds)}: give at least one, and not tuning_seed={self.tuning_seed}, which chose "
                "the rates"
            )
        if self.steps < 2 or any(not 0 < share < 1 for share in self.shares):
            raise UserError("steps must be at least 2 and shares lie between 0 and 1")

    def settings(self) -> dict[str, Any]:
        """What must agree for two models to be in one table."""
        own = {key: value for key, value in vars(self).items() if key not in SET_ELSEWHERE}
        return json.loads(json.dumps(own))

    def training(self, optimizer: str, seed: int, steps: int, changes: Mapping[str, Any]) -> Any:
        """The recipe of one model: all but the optimizer is the same for all."""
        from pretraining.config import PretrainConfig

        every = max(1, steps // 10)
        return PretrainConfig(
            data=self.data, max_documents=self.max_documents, vocab_size=self.vocab_size, steps=steps,
            batch_size=self.batch_size, optimizer=optimizer, schedule="cosine", warmup=0.05, seed=seed,
            galore_rank=changes.get("galore_rank", self.galore_rank), galore_gap=self.galore_gap,
            dtype=self.dtype, device=self.device,
            eval_every=every, eval_tokens=8192, save_every=0, log_every=0, prompts=[], preset="debug",
            beta2=0.99 if optimizer == "lion" else 0.95,
            **{key: value for key, value in changes.items() if key != "galore_rank"},
        )  # fmt: skip


SET_ELSEWHERE = ("fresh", "out", "optimizers", "seeds", "shares")


class Study:
    """The models that are trained already, by name, and the way to the missing ones."""

    def __init__(self, config: BenchmarkConfig, save: Callable[[dict[str, Any]], None]) -> None:
        from pretraining.recipe import prepare_data

        self.config, self.save = config, save
        self.data = prepare_data(config.training("adamw", 0, 2, {}))
        self.models: dict[str, dict[str, Any]] = {}

    def train(
        self, optimizer: str, seed: int, steps: int, changes: Mapping[str, float], what: str
    ) -> dict[str, Any]:
        """The row of one model: trained now, or found in the results."""
        name = f"{optimizer} seed={seed} steps={steps} {json.dumps(dict(sorted(changes.items())))}"
        if name not in self.models:
            print(f"{what}: {optimizer}, seed {seed}, {steps} steps, {dict(changes)}", flush=True)
            self.models[name] = train_model(self.config, self.data, optimizer, seed, steps, changes)
            self.save(self.models)
        return self.models[name]

    def best_changes(
        self, row: str, shared: Mapping[str, float]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The settings with the lowest loss of the tuning seed, and each tried value's loss."""
        optimizer, key, values = TRIED[row]
        if row == "adamw_2rates":
            shared = {**shared, "galore_rank": self.config.n_embd}  # every matrix's short side: full rank
        steps = max(2, self.config.steps // 2)
        tried = {}
        for value in values:
            trained = self.train(optimizer, self.config.tuning_seed, steps, {**shared, key: value}, "tuning")
            tried[value] = trained["val_loss"]
        best = min(tried, key=lambda value: tried[value]) if tried else None
        chosen = dict(shared) if best is None else {**shared, key: best}
        return chosen, {str(value): loss for value, loss in tried.items()}


def train_model(
    config: BenchmarkConfig,
    data: Any,
    optimizer: str,
    seed: int,
    steps: int,
    changes: Mapping[str, float],
) -> dict[str, Any]:
    """Train one model from scratch by the ordinary Trainer and judge it on the whole validation part."""
    from gpt_model.config import preset
    from gpt_model.gpt import GPT
    from pretraining.callbacks import Callback
    from pretraining.evaluation import EvalBatches
    from pretraining.optimizer_costs import state_bytes_formula
    from pretraining.optimizers import state_bytes
    from pretraining.recipe import make_batches
    from pretraining.trainer import Trainer
    from utils.seeding import set_seed

    curve: list[tuple[int, float]] = []

    class Keep(Callback):
        def on_evaluate(self, trainer: Any, result: Any) -> None:
            curve.append((trainer.now.step, round(result.loss, 5)))

    recipe = config.training(optimizer, seed, steps, changes)
    set_seed(seed)
    shape = preset(
        "debug",
        vocab_size=data.tokenizer.vocab_size,
        **{name: getattr(config, name) for name in ("n_layer", "n_embd", "block_size")},
        n_head=max(1, config.n_embd // 32),
    )
    model = GPT(shape)
    trainer = Trainer(
        model,
        recipe,
        make_batches(recipe, data, config.block_size),
        val_batches=EvalBatches(data.val, config.block_size, 4 * config.batch_size),
        callbacks=[Keep()],
    )
    result = trainer.fit()
    if result.status != "complete" or result.val is None:
        raise KeyboardInterrupt  # what is finished is written; the same command goes on
    return {
        "optimizer": optimizer,
        "seed": seed,
        "steps": steps,
        "changes": dict(changes),
        "val_loss": result.val.loss,
        "curve": curve,
        "seconds": result.seconds,
        "skipped": result.skipped_nonfinite,
        "state_bytes": state_bytes(trainer.optimizer),
        "state_bytes_formula": state_bytes_formula(model, recipe),
        "parameters": model.num_parameters(),
    }


def crossing(points: Mapping[float, float], target: float) -> float | None:
    """The least share of steps whose loss is `target`, in straight lines between `points` {share: loss}.

    None when no share reaches it; the smallest share when that one does already.

    >>> crossing({0.5: 2.2, 0.75: 2.0, 1.0: 1.9}, 2.1)
    0.625
    """
    before: tuple[float, float] | None = None
    for share, loss in sorted(points.items()):
        if loss <= target:
            if before is None:
                return share
            return before[0] + (share - before[0]) * (before[1] - target) / (before[1] - loss)
        before = (share, loss)
    return None


def run_study(config: BenchmarkConfig, command: str) -> Path:
    """Train what is missing and write the results file after every model."""
    from pretraining.optimizer_results import NAMES, muon_sentences, table_of
    from pretraining.race_runners import spread

    path = Path(config.out)
    figures: dict[str, Any] = {"settings": config.settings(), "goal_muon_share": GOAL, "complete": False}

    def save(models: dict[str, Any]) -> None:
        write_result(
            path,
            name=path.stem,
            figures={**figures, "models": models},
            command=command,
            seed=config.seeds[0],
            notes=(
                "Same text, tokenizer, steps, batches and initial weights by seed. Rates chosen on tuning_seed over "
                "half the steps; all tried ones are listed. Loss: nats a token over the whole validation part. Gap: to "
                "AdamW, seed by seed. Muon's share: the least share of AdamW's steps, each with a whole schedule of "
                "its own, that reaches AdamW's final loss, between the trained shares in straight lines."
            ),
        )

    study = Study(config, save)
    kept = kept_rows(path, config.settings(), rows="models", study="study of optimizers", fresh=config.fresh)
    study.models = dict(kept or {})
    optimizers, chosen = {}, {}
    shared: dict[str, float] = {}
    finals: dict[str, list[float]] = {}
    for name in [name for name in TRIED if name in config.optimizers]:
        chosen[name], tried = study.best_changes(name, shared)
        optimizer, key, _ = TRIED[name]
        rows = [
            study.train(optimizer, seed, config.steps, chosen[name], "measuring") for seed in config.seeds
        ]
        if name == "adamw":
            shared, base = dict(chosen[name]), rows
        finals[name] = [row["val_loss"] for row in rows]
        optimizers[name] = {
            "changes": chosen[name],
            "tried": {"key": key, "losses": tried},
            "val_loss": spread(finals[name]),
            "gap_to_adamw": spread(
                [row["val_loss"] - b["val_loss"] for row, b in zip(rows, base, strict=True)]
            ),
            "seconds": statistics.median(row["seconds"] for row in rows),
            "state_bytes": rows[0]["state_bytes"],
            "state_bytes_formula": rows[0]["state_bytes_formula"],
            "share_of_adamw_state": rows[0]["state_bytes"] / base[0]["state_bytes"],
            "curve": rows[0]["curve"],
        }
        figures["optimizers"] = optimizers
    if "muon" in config.optimizers:
        targets = {name: losses for name, losses in finals.items() if name in NAMES}
        figures["muon_steps"] = muon_steps(study, chosen["muon"], targets)
        figures["muon_sentence"] = " ".join(muon_sentences(figures["muon_steps"]))
    figures["table"] = table_of(figures)
    figures["complete"] = True
    save(study.models)
    return path


def muon_steps(
    study: Study, changes: Mapping[str, float], targets: Mapping[str, list[float]]
) -> dict[str, Any]:
    """Muon at several shares of the steps, and where it crosses the final losses `targets`, seed by seed."""
    config = study.config
    losses: dict[str, list[float]] = {}
    crossed: dict[str, list[float | None]] = {name: [] for name in targets}
    for i, seed in enumerate(config.seeds):
        points = {}
        for share in (*config.shares, 1.0):
            steps = max(2, round(share * config.steps))
            points[share] = study.train("muon", seed, steps, changes, "Muon's steps")["val_loss"]
            losses.setdefault(str(share), []).append(points[share])
        for name, finals in targets.items():
            crossed[name].append(crossing(points, finals[i]))
    reached = {}
    for name, shares in crossed.items():
        found = [share for share in shares if share is not None]
        mean = statistics.fmean(found) if len(found) == len(shares) else None
        reached[name] = {
            "shares": shares,
            "mean": mean,
            "goal": GOAL,
            "goal_reached": mean is not None and mean <= GOAL,
        }
    return {"losses": losses, "smallest_share": min(config.shares), "to": reached}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        BenchmarkConfig,
        prog="python -m pretraining.benchmark_optimizers",
        description="Train one small model by each optimizer at its own rate; compare loss, steps and stored bytes.",
        aliases={"--out": "out", "--data": "data"},
    )
    from pretraining.optimizer_results import as_text as results_as_text

    words = ["python -m pretraining.benchmark_optimizers", *command_words(config, ("out", "fresh"))]
    path = run_study(config, " ".join(words))
    print(results_as_text(path))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
