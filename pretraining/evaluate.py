"""`python -m pretraining.evaluate MODEL`: how well a model predicts, per split and per source.

    python -m pretraining.evaluate last
    python -m pretraining.evaluate RUN split=all by=source max_tokens=20000
    python -m pretraining.evaluate assets data=book.txt

A run is judged on its own data: the same text, split and tokenizer are made again from its config, and the baselines
are counted on its training part. With `data=` any model is judged on any text or shard folder. Nothing is random:
the same command prints the same numbers. Left out: tasks with answers (chapter finetuning).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, load_config, parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from pretraining.pretrain_config import PretrainConfig
    from pretraining.source_evaluation import PartResult

SPLITS = ("train", "val", "test", "all")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class EvaluateConfig:
    """What to judge, and on what."""

    data: str | None = _key(None, "a corpus, text or shard folder; null: what the run was trained on")
    split: str | None = _key(
        None, "train, val, test or all; null: val of the run's own data, all of other text"
    )
    by: str | None = _key(None, "source, or a field of the documents' meta: one row for each value")
    max_documents: int | None = _key(None, "take at most so many documents of data")
    max_tokens: int | None = _key(100_000, "predictions of each split or source; null: all")
    block_size: int | None = _key(None, "context; null: the model's")
    batch_size: int = _key(16, "windows in one forward pass")
    baselines: bool = _key(True, "unigram and bigram counts of the run's training part")
    dtype: str = _key("fp32", "of the forward pass: fp32, bf16, auto")
    device: str = _key("auto", "auto, cpu, cuda, mps")
    json: bool = _key(False, "print JSON instead of a table")
    out: str | None = _key(None, "also write the result to this JSON file")

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise UserError(f"split is {self.split!r}: choose one of {', '.join(SPLITS)}")
        for name in ("max_documents", "max_tokens", "block_size", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}, but the least is 1: set {name}=1 or more")


@dataclass(frozen=True)
class Evaluation:
    """The rows of one evaluation. `total` is over all rows, by tokens."""

    model: str
    data: str
    rows: dict[str, PartResult]
    total: PartResult
    baselines: dict[str, dict[str, float]]  # row → unigram and bigram, where they can be counted

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        rows = {name: {**part.to_dict(), **self.baselines.get(name, {})} for name, part in self.rows.items()}
        return {"model": self.model, "data": self.data, "parts": rows, "total": self.total.to_dict()}


def evaluate_model(model: str, config: EvaluateConfig, *, root: str | Path | None = None) -> Evaluation:
    """Judge the checkpoint that `model` names (`gpt_model.load_model`). Raises UserError."""
    from gpt_model.loading import load_model
    from pretraining.source_evaluation import evaluate_parts, together
    from utils.device import pick_device, pick_dtype

    device = pick_device(config.device)
    loaded = load_model(model, device=device, root=None if root is None else Path(root))
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer: evaluation needs the one that the model was trained with"
        )
    block_size = loaded.config.block_size if config.block_size is None else config.block_size
    if block_size > loaded.config.block_size:
        raise UserError(
            f"block_size is {block_size}, but the model was trained with {loaded.config.block_size}: take that or less"
        )
    recipe = _own_recipe(loaded.path) if config.data is None else None
    parts, train = _parts(config, recipe, loaded.tokenizer)
    rows = evaluate_parts(
        loaded.model,
        parts,
        block_size=block_size,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        tokenizer=loaded.tokenizer,
        device=device,
        dtype=pick_dtype(config.dtype, device),
    )
    counted = {}
    if config.baselines and train is not None:
        counted = _baselines(train, parts, config.max_tokens, loaded.tokenizer.vocab_size)
    data = recipe.data if recipe is not None else str(config.data)
    return Evaluation(str(loaded.path), data, rows, together(rows.values()), counted)


def _own_recipe(checkpoint: Path) -> PretrainConfig:
    """The config of the run that a checkpoint lies in."""
    from pretraining.pretrain_config import PretrainConfig
    from utils.runs import Run

    for folder in (checkpoint, *checkpoint.parents[:2]):
        if (folder / "run.json").is_file():
            saved = Run.open(folder).meta.get("config") or {}
            if "data" in saved and "val_fraction" in saved:
                from pretraining.train import as_overrides

                known = {k: v for k, v in saved.items() if k in PretrainConfig.__dataclass_fields__}
                return load_config(PretrainConfig, None, as_overrides(known))
    raise UserError(f"{checkpoint} does not say what it was trained on: name a text with data=FILE")


def _parts(
    config: EvaluateConfig, recipe: PretrainConfig | None, tokenizer: Any
) -> tuple[dict[str, Any], Any | None]:
    """The token sequences to judge by name, and the training tokens of the run, which baselines are counted on."""
    from pretraining.prepared_data import BASELINE_TOKENS, encode_documents
    from pretraining.shard_data import is_shard_folder
    from pretraining.source_evaluation import by_source

    source = recipe.data if recipe is not None else str(config.data)
    if is_shard_folder(source) or (recipe is not None and recipe.streaming):
        if config.by is not None:
            raise UserError(f"by is {config.by}, but {source} keeps no documents apart: leave it out")
        tokens = _token_sides(source, recipe, tokenizer)
        return _chosen(tokens, config.split or "val", source), tokens.get("train") if recipe else None
    sides = _document_sides(config, recipe, source)
    parts: dict[str, Any] = {}
    chosen = _chosen(sides, config.split or ("all" if recipe is None else "val"), source)
    for side, documents in chosen.items():
        if config.by is None:
            enough = None if config.max_tokens is None else config.max_tokens + 1
            parts[side] = encode_documents(documents, tokenizer, at_least=enough)
        else:
            rows = by_source(documents, tokenizer, field=config.by, max_tokens=config.max_tokens)
            parts |= {name if len(chosen) == 1 else f"{side}: {name}": ids for name, ids in rows.items()}
    if recipe is None or not config.baselines:
        return parts, None
    return parts, encode_documents(sides["train"], tokenizer, at_least=BASELINE_TOKENS)


def _document_sides(config: EvaluateConfig, recipe: PretrainConfig | None, source: str) -> dict[str, Any]:
    """A run's text as it was split for it; any other text as one side."""
    if recipe is not None:
        from pretraining.recipe import load_split

        split = load_split(recipe)
        return {"train": split.train, "val": split.val}
    from working_with_text_data.documents import load_documents

    return {"text": load_documents(source, max_documents=config.max_documents)}


def _token_sides(source: str, recipe: PretrainConfig | None, tokenizer: Any) -> dict[str, Any]:
    """The splits of a shard folder, mapped; of a stream its validation tokens and its beginning."""
    from working_with_text_data.shards import open_shards, read_meta
    from working_with_text_data.tokenizer import tokenizer_hash

    if recipe is not None and recipe.streaming:
        from pretraining.streaming_data import open_stream_data

        data = open_stream_data(recipe, tokenizer)
        return {"train": data.train, "val": data.val}
    folder, sha = Path(source).expanduser(), tokenizer_hash(tokenizer)
    return {split: open_shards(folder, split, tokenizer_sha256=sha) for split in read_meta(folder)["splits"]}


def _chosen(sides: Mapping[str, Any], wanted: str, source: str) -> dict[str, Any]:
    """The sides that `split` asks for. Raises UserError for one that is not there."""
    if wanted == "all":
        return dict(sides)
    if wanted not in sides:
        raise UserError(
            f"split is {wanted}, but {source} has {', '.join(sides)} only: choose one, or split=all"
        )
    return {wanted: sides[wanted]}


def _baselines(
    train: Any, parts: Mapping[str, Any], max_tokens: int | None, vocab_size: int
) -> dict[str, dict[str, float]]:
    """Unigram and bigram losses of the very predictions that the model was asked for."""
    from pretraining.baselines import bigram_baseline, unigram_baseline
    from pretraining.prepared_data import BASELINE_TOKENS

    train = train[:BASELINE_TOKENS]
    counted = {}
    for name, tokens in parts.items():
        asked = tokens[: len(tokens) if max_tokens is None else max_tokens + 1]
        unigram = unigram_baseline(train, asked, vocab_size)
        counted[name] = {"unigram": unigram, "bigram": bigram_baseline(train, asked, vocab_size)}
    return counted


def table(result: Evaluation) -> str:
    """The rows as aligned text; one more for all together where there are several."""
    rows = {**result.rows, **({"together": result.total} if len(result.rows) > 1 else {})}
    width = max(len("part"), *(len(name) for name in rows))
    heads = {"tokens": 12, "loss": 10, "perplexity": 13, "bits/byte": 11, "unigram": 10, "bigram": 10}
    lines = ["part".ljust(width) + "".join(head.rjust(size) for head, size in heads.items())]
    for name, part in rows.items():
        facts, counted = part.to_dict(), result.baselines.get(name, {})
        cells = [
            _cell(part.tokens, ",", heads["tokens"]),
            _cell(part.loss, ".4f", heads["loss"]),
            _cell(facts["perplexity"], ",.2f", heads["perplexity"], "overflow"),
            _cell(facts["bits_per_byte"], ".3f", heads["bits/byte"]),
            *(_cell(counted.get(kind), ".4f", heads[kind]) for kind in ("unigram", "bigram")),
        ]
        lines.append(name.ljust(width) + "".join(cells))
    return "\n".join(lines)


def _cell(value: float | None, form: str, width: int, missing: str = "–") -> str:
    return (missing if value is None else format(value, form)).rjust(width)


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", metavar="DIR", help="where runs are; default: $SCRATCHBOOK_RUNS, else ./runs"
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, judge, print. Returns the exit code."""
    config, options = parse_args(
        argv,
        EvaluateConfig,
        prog="python -m pretraining.evaluate",
        description=(__doc__ or "").split("\n\n")[0],
        positional={"model?": "last, best, a run, RUN@best, RUN@STEP, a checkpoint folder or assets (last)"},
        aliases={
            "--data": "data",
            "--split": "split",
            "--by": "by",
            "--max_tokens": "max_tokens",
            "--json": "json",
        },
        configure=_own_flags,
    )
    model = options.model or "last"
    result = evaluate_model(model, config, root=options.runs)
    if config.out is not None:
        from utils.timing import write_result

        words = " ".join(["python -m pretraining.evaluate", model, *command_words(config, ("out", "json"))])
        write_result(config.out, name="evaluation", figures=result.to_dict(), command=words)
    if config.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(f"{result.model} on {result.data}, nats per token")
        print(table(result))
        if config.out is not None:
            print(f"wrote {config.out}", file=sys.stderr)
    return 0


class _CallableModule(ModuleType):
    """`pretraining.evaluate` is a function in the book's imports (`evaluation.evaluate`), a module on the command line.

    Importing the module sets the package's attribute of that name, so the two cannot be kept apart; the module can be
    called instead (as `pretraining.train` can).
    """

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from pretraining.evaluation import evaluate

        return evaluate(*arguments, **named)


sys.modules[__name__].__class__ = _CallableModule


if __name__ == "__main__":
    raise SystemExit(run_main(main))
