"""`python -m pretraining.scaling_study`: five small models at equal budgets of compute, and the lines through them.

    python -m pretraining.scaling_study
    python -m pretraining.scaling_study budgets=[2e11,8e11,3.2e12] out=larger.json

Two questions of every training run: how large a model, and on how much text? At one budget C the product of both is
given, and loss against size is a valley (Hoffmann et al. 2022, arXiv 2203.15556): a model too small cannot hold
what it reads, one too large reads too little. Several valleys make a line, and a line a guess about the next budget.
Before that, the learning rate: each width is trained at several rates, because a rate that suits one width would decide
the comparison. FLOPs are counted exactly, attention included; at these sizes 6ND alone leaves out a third.

Tokens are bytes, so that no vocabulary grows with the model. Each finished run is written at once and not trained
again: `at_most=3` does three more and stops. Noise is measured by other seeds at the middle of the table.
Left out: batch sizes by budget, and rates tuned for every run, which the larger studies find to matter.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.kept_rows import kept_rows

RESULTS = Path(__file__).with_name("results")
BYTES = 260  # of the byte tokenizer: 256 and four special tokens


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class StudyConfig:
    """Which models, at which budgets. The defaults take about ten minutes on two quiet cores."""

    data: str = _key("pydoc", "a corpus or the path of a text, read as bytes")
    max_documents: int | None = _key(None, "take at most so many documents")
    layers: tuple[int, ...] = _key((2, 2, 2, 2, 3), "of each model")
    widths: tuple[int, ...] = _key((8, 16, 24, 40, 56), "of each model; heads are 8 wide")
    budgets: tuple[float, ...] = _key(
        (5e10, 1.5e11, 4.5e11), "training FLOPs of each model, one row a budget"
    )
    noise_seeds: tuple[int, ...] = _key((1, 2, 3), "more seeds of the middle model at the middle budget")
    rate_widths: tuple[int, ...] = _key((16, 40, 80), "2 layers each, trained at every rate")
    rates: tuple[float, ...] = _key((2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2), "peak learning rates to try")
    rate_steps: int = _key(300, "steps of each of these")
    lr: float = _key(1e-2, "peak learning rate at a width of 40; it goes with 1/√width")
    block_size: int = _key(64, "bytes of context")
    batch_size: int = _key(8, "sequences in a step")
    val_bytes: int = _key(131_072, "validation bytes that judge")
    seed: int = _key(0, "of weights and batches")
    device: str = _key("cpu", "cpu, cuda, mps or auto")
    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16")
    at_most: int | None = _key(None, "train so many models in this call and stop; null: all that are missing")
    fresh: bool = _key(False, "forget what the results file holds and begin again")
    out: str = _key(str(RESULTS / "scaling.json"), "results file")

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.widths) or len(self.widths) < 3:
            raise UserError(
                f"layers has {len(self.layers)} and widths {len(self.widths)} values: at least three of each"
            )
        for width in (*self.widths, *self.rate_widths):
            if width < 8 or width % 8:
                raise UserError(f"a width is {width}: heads are 8 wide, so give a multiple of 8")
        if not self.budgets or min(self.budgets) <= 0 or min(self.rates, default=1.0) <= 0 or self.lr <= 0:
            raise UserError(
                f"budgets={list(self.budgets)}, rates={list(self.rates)}, lr={self.lr}: all positive"
            )

    def rate(self, width: int) -> float:
        """The learning rate of a width: lr · √(40 / width)."""
        return self.lr * (40 / width) ** 0.5

    def same_study(self) -> dict[str, Any]:
        """The settings that must agree for two runs to be in one table."""
        what = ("data", "max_documents", "val_bytes", "block_size", "batch_size")
        names = (*what, "device", "dtype")
        return {name: getattr(self, name) for name in names}


def shape_of(config: StudyConfig, layers: int, width: int, vocab_size: int = BYTES) -> Any:
    """The model of that depth and width: rotary positions, no parameters but what multiplies and the norms."""
    from gpt_model.config import GPTConfig

    return GPTConfig(
        vocab_size=vocab_size,
        block_size=config.block_size,
        n_layer=layers,
        n_head=width // 8,
        n_embd=width,
        position="rope",
        norm="rmsnorm",
        bias=False,
        embedding_std=0.6 / width**0.5,
    )


def scale_weights(model: Any) -> None:
    """Initial weights for narrow models: each matrix at 1/√(numbers that come in), in place of GPT-2's 0.02.

    0.02 was chosen for a width of 768. In a model 16 wide it is twelve times too small: the blocks add nearly nothing,
    and training stands still at the frequencies of single bytes for hundreds of steps, more or fewer by chance.
    """
    import torch

    from gpt_model.gpt import INIT_STD

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "blocks." in name and weight.dim() == 2:
                weight.mul_(weight.shape[1] ** -0.5 / INIT_STD)


def multiplying_weights(shape: Any) -> int:
    """N of 6ND: the weights that multiply each token, which are the blocks' matrices and the (tied) head."""
    from gpt_model.costs import parameter_breakdown

    parts = parameter_breakdown(shape)
    return parts["attention"] + parts["feed-forward"] + shape.vocab_size * shape.n_embd


def flops_per_token(shape: Any) -> float:
    """Training FLOPs of a token, forward and backward, attention's tables included."""
    from gpt_model.costs import training_flops

    return training_flops(shape, 1, shape.block_size) / shape.block_size


def wanted_runs(config: StudyConfig, vocab_size: int = BYTES) -> list[dict[str, Any]]:
    """Every run of the study: its part, shape, rate, seed and steps; small ones first within a part."""
    tokens_a_step = config.batch_size * config.block_size

    def row(part: str, layers: int, width: int, lr: float, seed: int, budget: float | None) -> dict[str, Any]:
        shape = shape_of(config, layers, width, vocab_size)
        cost = flops_per_token(shape)
        steps = config.rate_steps if budget is None else max(2, round(budget / cost / tokens_a_step))
        return {"part": part, "layers": layers, "width": width, "lr": lr, "seed": seed, "budget": budget,
                "steps": steps, "n": multiplying_weights(shape), "flops_per_token": cost}  # fmt: skip

    rows = [
        row("rates", 2, width, lr, config.seed, None) for width in config.rate_widths for lr in config.rates
    ]
    models = list(zip(config.layers, config.widths, strict=True))
    for budget in config.budgets:
        rows += [
            row("budgets", layers, width, config.rate(width), config.seed, budget) for layers, width in models
        ]
    layers, width = models[len(models) // 2]
    middle = sorted(config.budgets)[len(config.budgets) // 2]
    return rows + [
        row("noise", layers, width, config.rate(width), seed, middle) for seed in config.noise_seeds
    ]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("part", "layers", "width", "lr", "seed", "budget", "steps"))


def train_one(config: StudyConfig, row: Mapping[str, Any], data: Any) -> dict[str, Any] | None:
    """Train one model and judge it; None when it was asked to stop."""
    from gpt_model.gpt import GPT
    from pretraining.evaluation import EvalBatches
    from pretraining.pretrain_config import PretrainConfig
    from pretraining.progress import ProgressBar
    from pretraining.recipe import make_batches
    from pretraining.trainer import Trainer
    from utils.seeding import set_seed

    recipe = PretrainConfig(
        data=config.data, steps=row["steps"], batch_size=config.batch_size, lr=row["lr"], warmup=0.05,
        seed=row["seed"], device=config.device, dtype=config.dtype, eval_every=0, save_every=0, log_every=0,
        eval_tokens=None, prompts=[],
    )  # fmt: skip
    set_seed(row["seed"])
    model = GPT(shape_of(config, row["layers"], row["width"], data.tokenizer.vocab_size))
    scale_weights(model)
    val = EvalBatches(data.val[: config.val_bytes + 1], config.block_size, 64)
    bar = ProgressBar(title=f"{row['part']}: {row['n']:,} weights, {row['steps']:,} steps")
    shown = [bar] if sys.stderr.isatty() else []  # in a pipe one line a model, which `run_study` prints
    trainer = Trainer(
        model, recipe, make_batches(recipe, data, config.block_size), val_batches=val, callbacks=shown
    )
    started = time.perf_counter()
    try:
        result = trainer.fit()
    finally:
        bar.close()
    if result.status != "complete" or result.val is None:
        return None
    return {
        **row,
        "tokens": result.tokens,
        "flops": result.tokens * row["flops_per_token"],
        "epochs": result.tokens / int(data.train.size),
        "val_loss": result.val.loss,
        "train_loss": result.train_loss,
        "skipped": result.skipped_nonfinite,
        "seconds": time.perf_counter() - started,
    }


def run_study(config: StudyConfig, command: str) -> Path:
    """Train what is missing, writing the results after each run."""
    from pretraining.pretrain_config import PretrainConfig
    from pretraining.recipe import prepare_data
    from pretraining.scaling_lines import analyse
    from utils.timing import write_result

    data = prepare_data(
        PretrainConfig(data=config.data, tokenizer="byte", max_documents=config.max_documents)
    )
    identity = {key: value for key, value in data.identity().items() if key.endswith("sha256")}
    wanted = wanted_runs(config, data.tokenizer.vocab_size)
    settings = {**config.same_study(), **identity}
    kept = kept_rows(config.out, settings, rows="runs", study="scaling study", fresh=config.fresh)
    rows = list(kept or ())
    done = {_identity(row) for row in rows}
    missing = [row for row in wanted if _identity(row) not in done]
    todo = missing if config.at_most is None else missing[: config.at_most]
    if rows:
        print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {config.out} already")

    def write() -> Path:
        order = {_identity(row): i for i, row in enumerate(wanted)}
        chosen = sorted(
            (row for row in rows if _identity(row) in order), key=lambda row: order[_identity(row)]
        )
        return write_result(
            config.out,
            name=Path(config.out).stem,
            figures={
                "settings": settings,
                "corpus": {
                    "name": Path(config.data).name,
                    "train_bytes": int(data.train.size),
                    "val_bytes": min(int(data.val.size) - 1, config.val_bytes),
                },
                "complete": len(chosen) == len(wanted),
                "seconds": sum(row["seconds"] for row in chosen),
                "runs": chosen,
                **analyse(chosen),
            },
            command=command,
            seed=config.seed,
            notes="Loss: nats a byte. N: weights that multiply a token. FLOPs: exact, attention included.",
        )

    path = Path(config.out)
    for number, row in enumerate(todo, start=1):
        finished = train_one(config, row, data)
        if finished is None:
            raise KeyboardInterrupt  # what is finished is written; the same command goes on
        rows.append(finished)
        path = write()
        print(
            f"{number} of {len(todo)}: {row['part']:8} N {row['n']:>8,}  D {finished['tokens']:>11,}  "
            f"lr {row['lr']:.2e}  loss {finished['val_loss']:.4f}  {finished['seconds']:.1f} s"
        )
    return write() if rows else path


def describe(figures: Mapping[str, Any]) -> str:
    """What came out, in a few lines."""
    lines = [f"{len(figures['runs'])} runs, {figures['seconds']:.0f} s of training"]
    for valley in figures["valleys"]:
        where = "" if valley["inside"] else " (outside the sizes tried)"
        lines.append(
            f"C = {valley['budget']:.1e}: best N {valley['best']:,.0f}, loss {valley['loss']:.4f}{where}"
        )

    def shown(name: str, words: str) -> None:
        found = figures.get(name)
        if found is not None:
            low, high = found["interval"] or (float("nan"), float("nan"))
            lines.append(f"{words} {found['exponent']:.3f} (95 % interval {low:.3f} to {high:.3f})")

    shown("size_law", "best N grows with C to the power")
    shown("loss_law", "lowest loss falls with C to the power")
    shown("rate_law", "best learning rate goes with width to the power")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        StudyConfig,
        prog="python -m pretraining.scaling_study",
        description="Train five small models at equal budgets of compute, and fit the lines through them.",
        aliases={"--out": "out", "--data": "data"},
    )
    words = command_words(config, ("out", "at_most", "fresh"))
    path = run_study(config, " ".join(["python -m pretraining.scaling_study", *words]))
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    print(describe(figures))
    print(f"wrote {path}")
    if not figures["complete"]:
        print("not all models are trained yet: the same command goes on")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
