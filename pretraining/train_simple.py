"""`python -m pretraining.train_simple books=FOLDER`: a model that reads one book after another.

    python -m pretraining.prepare_gutenberg out=data/books
    python -m pretraining.train_simple books=data/books epochs=2
    python -m pretraining.train_simple --resume last epochs=3

The whole recipe on one page: texts, a tokenizer, a model, and the one Trainer of this chapter. After each book the
model writes a few words, and at the end each book's held-out part is judged on its own. For everything else that a
training may need, `pretraining.train`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import load_config, parse_args
from utils.errors import UserError


@dataclass(frozen=True)
class SimpleConfig:
    """The dozen numbers that matter; each is handed on to `PretrainConfig` or to the model."""

    books: str = field(default="data/books", metadata={"help": "a folder (or file) of books, one file each"})
    epochs: float = field(default=1.0, metadata={"help": "passes over the shelf"})
    steps: int | None = field(default=None, metadata={"help": "end after so many steps"})
    batch_size: int = 8
    lr: float = 1e-3
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    block_size: int = 128
    vocab_size: int = field(default=2048, metadata={"help": "of a tokenizer trained on the books"})
    tokenizer: str = field(default="bpe", metadata={"help": "bpe (trained on the books), byte, or a file"})
    val_share: float = field(default=0.1, metadata={"help": "the end of each book that is held out"})
    eval_every: int = field(default=100, metadata={"help": "steps between evaluations"})
    save_every: int = field(default=200, metadata={"help": "steps between checkpoints"})
    prompt: str = field(default="It was", metadata={"help": "the beginning of each sample"})
    sample_tokens: int = 40
    seed: int = 1337
    device: str = "auto"
    runs: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise UserError(
                f"val_share is {self.val_share}, but it is a share between 0 and 1: set val_share=0.1"
            )


def recipe_of(config: SimpleConfig) -> Any:
    """The same as a `PretrainConfig`: a small GPT-2 under AdamW and a cosine."""
    from pretraining.pretrain_config import PretrainConfig

    same = ["epochs", "steps", "batch_size", "lr", "vocab_size", "tokenizer", "eval_every", "save_every"]
    same += ["sample_tokens", "seed", "device", "runs"]
    shape = ("n_layer", "n_head", "n_embd", "block_size")
    return PretrainConfig(
        **{name: getattr(config, name) for name in same},
        model={name: getattr(config, name) for name in shape},
        preset="tiny",
        data=config.books,
        val_fraction=config.val_share,
        prompts=[config.prompt],
        eval_tokens=20_000,
        name="train_simple",
    )


def train_on_books(config: SimpleConfig, *, resume: str | None = None, quiet: bool = False) -> Any:
    """Read the books, train, judge each book; returns the run, whose `result` has a loss per book."""
    from pretraining.book_data import BookTeller, read_shelf
    from pretraining.checkpoints import load_checkpoint
    from pretraining.progress import ProgressBar
    from pretraining.recipe import STAGE, fit, make_model, make_tokenizer
    from pretraining.source_evaluation import evaluate_parts
    from utils.runs import find_run
    from working_with_text_data.documents import load_documents
    from working_with_text_data.tokenizer import load_tokenizer

    recipe = recipe_of(config)
    documents = [replace(d, source=Path(d.source).name) for d in load_documents(config.books)]
    going_on = None
    if resume is None:
        kept = 1 - config.val_share  # the tokenizer, too, must not see what is held out
        tokenizer = make_tokenizer(recipe, [d.text[: int(kept * len(d.text))] for d in documents])
    else:
        run = find_run(resume, stage=STAGE, root=config.runs)
        going_on = (run, load_checkpoint(run))
        tokenizer = load_tokenizer(going_on[1].path / "tokenizer.json")
    data = read_shelf(documents, tokenizer, config.block_size, config.val_share)
    data.report["train_simple"] = asdict(config)
    model = make_model(recipe, tokenizer.vocab_size)
    bar = None if quiet else ProgressBar()
    callbacks = [BookTeller(data.titles, quiet), *([bar] if bar else [])]
    try:
        run = fit(recipe, data, model, going_on=going_on, callbacks=callbacks)
    finally:
        if bar is not None:
            bar.close()
    if run.status == "complete":
        parts = dict(zip(data.titles, data.held_out, strict=True))
        device = next(model.parameters()).device
        rows = evaluate_parts(model, parts, block_size=config.block_size, tokenizer=tokenizer, device=device)
        run.meta["result"]["books"] = {title: row.to_dict() for title, row in rows.items()}
        run.finish("complete")
    return run


def main(argv: list[str] | None = None) -> int:
    """Parse, train, print a loss for each book. Returns the exit code."""

    def own_flags(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--resume", metavar="RUN", help="go on with a run of this command: last, an id or a path"
        )
        parser.add_argument("--quiet", action="store_true", help="print only the result")

    config, options = parse_args(
        argv,
        SimpleConfig,
        prog="python -m pretraining.train_simple",
        description=(__doc__ or "").split("\n\n")[0],
        aliases={f"--{name}": name for name in ("books", "epochs", "batch_size", "lr", "runs")},
        configure=own_flags,
    )
    if options.resume is not None:
        config = _resumed(options, config)
    run = train_on_books(config, resume=options.resume, quiet=options.quiet)
    result = run.meta["result"]
    if run.status != "complete":
        print(f"stopped by {result['reason']} at step {result['step']}, saved in {result['checkpoint']}")
        print(f"go on with: python -m pretraining.train_simple --resume {run.path}")
        return 130
    print(
        f"{result['step']} steps, validation loss {result['val']['loss']:.4f} nats per token; book by book:"
    )
    for title, row in result["books"].items():
        print(f"  {row['loss']:.4f}  {row['bits_per_byte']:.3f} bits per byte  {title}")
    print(f"run: {run.path}")
    print(f"next: scratchbook sample --ckpt {run.id}   or   python -m pretraining.plot_curves {run.path}")
    return 0


def _resumed(options: argparse.Namespace, config: SimpleConfig) -> SimpleConfig:
    """The config that a run was begun with, changed by what is on the command line now."""
    from pretraining.train import as_overrides
    from utils.runs import find_run

    saved = find_run(options.resume, stage="pretrain", root=config.runs).meta
    began = (saved["inputs"].get("split") or {}).get("train_simple")
    if began is None:
        raise UserError(
            f"run {saved['id']} is not one of train_simple: python -m pretraining.train --resume goes on"
        )
    return load_config(SimpleConfig, None, [*as_overrides(began), *options.overrides])


if __name__ == "__main__":
    raise SystemExit(run_main(main))
