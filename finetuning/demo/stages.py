"""Stages 1 to 3 of the walk: the corpus, the tokenizer, the training. All of it is chapter `pretraining`'s recipe.

The demo turns its few settings into a `PretrainConfig`, so that the run it leaves behind is like any
other: `scratchbook train --resume` goes on with it. What a stage tells the reader it returns as
plain facts, which go to `summary.json`; printing is the caller's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from finetuning.demo.config import DemoConfig
from pretraining.config import PretrainConfig, TrainConfig
from pretraining.recipe import PreparedData
from utils.config import load_config
from utils.errors import UserError
from working_with_text_data.splitting import Split

Facts = dict[str, Any]
C = TypeVar("C", bound=TrainConfig)

# What the recipe's own defaults do not say. Chosen on another seed than the one reported, except for the two
# choices that LOG.md names.
PRETRAIN_RECIPE: Facts = {
    "optimizer": "muon",
    "batch_size": 8,
    "lr": 8e-3,
    "muon_lr": 0.04,
    "copy_first": 80,
    "copy_until": 500,
    "schedule": "cosine",
    "warmup": 0.02,
    "eval_every": 150,
    "save_every": 300,
    "keep_last": 1,
    "log_every": 5,
    "sample_seconds": 15.0,
}
TUNE_RECIPE: Facts = {
    "optimizer": "muon",
    "batch_size": 8,
    "lr": 3e-3,
    "muon_lr": 0.02,
    "schedule": "cosine",
    "warmup": 0.05,
    "weight_decay": 0.0,
    "eval_every": 100,
    "save_every": 0,
    "keep_last": 1,
    "log_every": 5,
    "prompts": [],
}


def make_config(kind: type[C], *layers: Mapping[str, Any]) -> C:
    """The recipe, the demo's settings and the person's own on top, checked like any other config."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in merged.items()]
    return load_config(kind, overrides=words)


def pretrain_config(config: DemoConfig, runs: Path) -> PretrainConfig:
    """Everything that pretraining is told. Raises UserError for a wrong `train.key`."""
    settings = {
        "data": config.text or "storyland",
        "vocab_size": config.vocab_size,
        "val_fraction": config.val_fraction,
        "data_seed": config.seed,
        "preset": config.preset,
        "model": config.model,
        "minutes": config.minutes,
        "seed": config.seed,
        "device": config.device,
        "prompts": [""],  # nothing but the end-of-text token, which every document follows
        "sample_temperature": config.temperature,
        "runs": str(runs),
    }
    if config.text is not None:
        # Two minutes on a book are spent on its words; only Storyland gets as far as who they speak of.
        settings |= {"copy_first": 0, "copy_until": 0}
    return make_config(PretrainConfig, PRETRAIN_RECIPE, settings, config.train)


def corpus_facts(config: DemoConfig, split: Split) -> Facts:
    """The name and the size of what is read."""
    return {
        "name": "Storyland" if config.text is None else Path(config.text).name,
        "train_documents": len(split.train),
        "val_documents": len(split.val),
        "megabytes": (split.report.train_bytes + split.report.val_bytes) / 1e6,
    }


def tokenizer_facts(data: PreparedData, seconds: float, sentences: Sequence[str]) -> Facts:
    """What the tokenizer became, and some sentences as it reads them."""
    tokenizer = data.tokenizer
    return {
        "vocab_size": tokenizer.vocab_size,
        "seconds": seconds,
        "bytes_per_token": data.bytes_per_token,
        "train_tokens": int(data.train.size),
        "sentences": [[tokenizer.decode([i]) for i in tokenizer.encode_ordinary(s)] for s in sentences],
    }


def three_sentences(split: Split) -> list[str]:
    """One from each of three validation documents, or from three places of the only one."""
    texts = [d.text for d in split.val]
    if len(texts) < 3:
        whole = "\n".join(texts)
        texts = [whole[len(whole) * i // 4 :].partition(" ")[2] for i in range(3)]
    return [_first_sentence(text) for text in texts[:3]]


def _first_sentence(text: str) -> str:
    piece = " ".join(text[:400].split())[:140]
    cut = max(piece.find(mark) for mark in (". ", "! ", "? "))
    return piece[: cut + 1] if cut > 20 else piece.rpartition(" ")[0] or piece


def check_length(data: PreparedData, block_size: int) -> None:
    """Raises UserError when a window of `block_size` does not fit into the text."""
    if data.train.size <= block_size:
        raise UserError(
            f"the text gives {data.train.size:,} training tokens, but a window needs more than "
            f"block_size={block_size}: use a longer text or a smaller model.block_size"
        )


def timed(work: Any) -> tuple[Any, float]:
    """The result of `work()` and the seconds it took."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started
