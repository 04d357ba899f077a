"""`python -m pretraining.race`: small models that differ in their attention only, trained alike, and compared.

    python -m pretraining.race
    python -m pretraining.race data=shakespeare.txt variants=[mha,mla] seeds=[0,1,2]

The idea: bytes and speed say what a variant saves, only training says what it costs. Every runner has the same text,
tokenizer, steps, order of batches (for a seed) and, within 2 %, the same number of parameters: what an attention saves
in matrices goes into a wider feed-forward layer. Judged on the whole validation part, over several seeds, because two
seeds of one variant differ as much as two variants do; the difference to the first variant is taken seed by seed.

Each finished model is written to the results file at once, and what stands there is not trained again: the race
may be run in pieces (`at_most=3`). Speeds are measured in turn at the end, on the trained shapes. Writes
`results/race.json` (`race_<name>.json` for a file) and a plot of the frontier between loss and bytes.
Left out: tuning each variant by itself; one learning rate serves all, which favours none on purpose.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpt_model.config import GPTConfig, preset
from gpt_model.gpt import GPT
from pretraining.config import PretrainConfig
from pretraining.evaluation import EvalBatches
from pretraining.progress import ProgressBar
from pretraining.race_runners import RUNNERS, measure_speeds, runner, tabulate
from pretraining.recipe import PreparedData, make_batches, prepare_data
from pretraining.trainer import Trainer
from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.device import pick_device, pick_dtype
from utils.errors import UserError
from utils.kept_rows import kept_rows
from utils.seeding import set_seed
from utils.timing import write_result

RESULTS = Path(__file__).with_name("results")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RaceConfig:
    """Who runs, on what, how far. The defaults take about ten minutes on two quiet cores."""

    data: str = _key("storyland", "a corpus or the path of a text")
    max_documents: int | None = _key(None, "take at most so many documents")
    variants: tuple[str, ...] = _key(("mha", "gqa", "mla", "swa"), f"some of {', '.join(RUNNERS)}")
    seeds: tuple[int, ...] = _key((0, 1, 2), "of weights and batches; at least three make a spread")
    steps: int = _key(240, "optimizer steps of each model")
    batch_size: int = _key(8, "sequences in a step")
    optimizer: str = _key("adamw", "a key of pretraining.OPTIMIZERS")
    lr: float = _key(3e-3, "peak learning rate, for all")
    vocab_size: int = _key(1024, "of the BPE tokenizer, trained on the training part")
    val_fraction: float = _key(0.05, "share of the documents that judges")
    preset: str = _key("storyteller", "the shape that all start from")
    model: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "what to change in it, for all: model.n_layer=2"}
    )
    at_most: int | None = _key(None, "train so many models in this run and stop; null: all that are missing")
    rounds: int = _key(5, "rounds of the speed comparison")
    device: str = _key("cpu", "cpu, cuda, mps or auto")
    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16")
    fresh: bool = _key(False, "forget what the results file holds and begin again")
    out: str | None = _key(None, "results file; null: by the name of the data")

    def __post_init__(self) -> None:
        unknown = [name for name in self.variants if name not in RUNNERS]
        if unknown or not self.variants:
            raise UserError(f"variants={list(self.variants)} must name some of {', '.join(RUNNERS)}")
        for name in ("variants", "seeds"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise UserError(f"{name}={list(given)}: give at least one, each once")
        for name in ("steps", "batch_size", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")

    @property
    def result_file(self) -> Path:
        if self.out is not None:
            return Path(self.out)
        name = "race" if self.data == "storyland" else f"race_{Path(self.data).stem}"
        return RESULTS / f"{name}.json"

    def training(self, seed: int) -> PretrainConfig:
        """The recipe of one model."""
        return PretrainConfig(
            data=self.data,
            max_documents=self.max_documents,
            val_fraction=self.val_fraction,
            vocab_size=self.vocab_size,
            preset=self.preset,
            steps=self.steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            lr=self.lr,
            device=self.device,
            dtype=self.dtype,
            seed=seed,
            eval_every=0,
            eval_tokens=None,  # the whole validation part
            save_every=0,
            prompts=[],
        )

    def same_race(self) -> dict[str, Any]:
        """The settings that must agree for two models to be in one table."""
        names = [
            *("data", "max_documents", "steps", "batch_size", "optimizer", "lr", "vocab_size"),
            *("val_fraction", "preset", "model", "dtype", "device"),
        ]
        return {name: getattr(self, name) for name in names}


def train_one(
    config: RaceConfig, name: str, seed: int, data: PreparedData, title: str
) -> dict[str, Any] | None:
    """Train one model and judge it: a row of the results; None when it was asked to stop."""
    shape = runner(name, base_shape(config, data.tokenizer.vocab_size))
    recipe = config.training(seed)
    set_seed(seed)
    model = GPT(shape)
    bar = ProgressBar(title=title)
    trainer = Trainer(
        model,
        recipe,
        make_batches(recipe, data, shape.block_size),
        val_batches=EvalBatches(data.val, shape.block_size, recipe.batch_size),
        callbacks=[bar],
        bytes_per_token=data.bytes_per_token,
    )
    try:
        result = trainer.fit()
    finally:
        bar.close()
    if result.status != "complete" or result.val is None:
        return None
    return {
        "variant": name,
        "seed": seed,
        "val_loss": result.val.loss,
        "bits_per_byte": result.val.bits_per_byte,
        "val_tokens": result.val.tokens,
        "train_loss": result.train_loss,
        "steps": result.step,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens / result.seconds,
        "skipped": result.skipped_nonfinite + result.skipped_empty,
        "parameters": model.num_parameters(),
        "mlp_hidden": shape.mlp_hidden,
    }


def base_shape(config: RaceConfig, vocab_size: int) -> GPTConfig:
    """The preset with the race's changes and the tokenizer's vocabulary."""
    return preset(config.preset, **{"vocab_size": vocab_size, **config.model})


def run_race(config: RaceConfig, command: str) -> Path:
    """Train what is missing, write the results after each model, measure speeds when all are there."""
    data = prepare_data(config.training(config.seeds[0]))
    identity = {
        key: value for key, value in data.identity().items() if key.endswith("sha256") or "tokens" in key
    }
    settings = {**config.same_race(), **identity}
    kept = kept_rows(config.result_file, settings, rows="models", study="race", fresh=config.fresh)
    rows = list(kept or ())
    base = base_shape(config, data.tokenizer.vocab_size)
    shapes = {
        name: runner(name, base) for name in config.variants
    }  # an impossible one is said before training
    wanted = list(itertools.product(config.seeds, config.variants))  # seed by seed: a part is a small race
    missing = [pair for pair in wanted if pair not in {(row["seed"], row["variant"]) for row in rows}]
    todo = missing if config.at_most is None else missing[: config.at_most]
    if rows:
        print(f"{len(wanted) - len(missing)} of {len(wanted)} models are in {config.result_file} already")

    def write(speeds: dict[str, Any] | None = None) -> Path:
        order = {name: i for i, name in enumerate(RUNNERS)}
        rows.sort(key=lambda row: (order[row["variant"]], row["seed"]))
        table = tabulate(rows, base)
        for name, own in (speeds or {}).items():
            table[name] |= own
        done = {(row["seed"], row["variant"]) for row in rows}
        figures = {
            "settings": settings,
            "corpus": {"name": Path(config.data).name, "bytes_per_token": data.bytes_per_token,
                       "train_tokens": int(data.train.size), "val_tokens": int(data.val.size)},
            "base": base.to_dict(),
            "runners": {name: RUNNERS[name] for name in table},
            "seeds": sorted({row["seed"] for row in rows}),
            "threads": torch.get_num_threads(),
            "complete": done >= set(wanted),
            "table": table,
            "models": rows,
        }  # fmt: skip
        return write_result(
            config.result_file,
            name=config.result_file.stem,
            figures=figures,
            command=command,
            seed=config.seeds[0],
            notes=(
                "Same text, tokenizer, steps, batches (by seed) and learning rate; parameters within 2 % by the width "
                "of the feed-forward layer. Loss: nats a token over the whole validation part. Difference: to the "
                "first variant, seed by seed. Cache bytes: bf16, one row, a full block. Step speeds in turn at the end."
            ),
        )

    path = config.result_file
    for number, (seed, name) in enumerate(todo, start=1):
        row = train_one(config, name, seed, data, f"{name} seed {seed} ({number} of {len(todo)})")
        if row is None:
            raise KeyboardInterrupt  # what is finished is written; the same command goes on
        rows.append(row)
        path = write()
    if rows and len(todo) == len(missing):
        every = {name: runner(name, base) for name in dict.fromkeys(row["variant"] for row in rows)}
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        speeds = measure_speeds(
            shapes | every, config.batch_size, device=device, dtype=dtype, rounds=config.rounds
        )
        path = write(speeds)
    return path


def describe(figures: Mapping[str, Any]) -> str:
    """The table as text."""
    lines = [
        "variant       validation loss      difference   cache bytes  of mha   decode tokens/s  parameters"
    ]
    for name, row in figures["table"].items():
        loss, difference = row["val_loss"], row["difference"]
        sd = "" if loss["sd"] is None else f" ± {loss['sd']:.4f}"
        gap = "" if difference is None else f"{difference['mean']:+.4f}"
        speed = (
            f"{row['decode_tokens_per_second']:,.0f}" if "decode_tokens_per_second" in row else "not measured"
        )
        lines.append(
            f"{name:12}  {loss['mean']:.4f}{sd:10} (n={loss['n']})  {gap:>9}  {row['cache_bytes']:>11,}"
            f"  {row['share_of_mha']:6.3f}  {speed:>16}  {row['parameters']:>10,}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        RaceConfig,
        prog="python -m pretraining.race",
        description="Train small models that differ in their attention only, and compare loss, bytes and speed.",
        aliases={"--out": "out", "--data": "data"},
    )
    words = command_words(config, ("out", "at_most", "fresh", "model"))
    words += [f"model.{key}={value}" for key, value in config.model.items()]
    path = run_race(config, " ".join(["python -m pretraining.race", *words]))
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    print(describe(figures))
    print(f"wrote {path}")
    if not figures["complete"]:
        print("not all models are trained yet: the same command goes on")
    from pretraining.race_plot import plot_file

    print(f"wrote {plot_file(path)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
