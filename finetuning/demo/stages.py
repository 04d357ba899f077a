"""The seven stages of the walk, each a function from what is there to what it adds.

A stage returns plain facts (numbers, strings, lists) besides the objects the next stage needs; the
facts go to `summary.json`, from which the report is drawn. Printing is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetuning.demo.config import DemoConfig
from pretraining import TrainConfig, Trainer
from pretraining.evaluation import EvalBatches
from utils.errors import UserError
from utils.runs import Run
from working_with_text_data import (
    BatchLoader,
    BPETokenizer,
    load_documents,
    open_shards,
    split_documents,
    tokenizer_hash,
    train_bpe,
    write_shards,
)

SPECIAL_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")
END = SPECIAL_TOKENS[0]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """Training and validation texts, split by document before anything else happens to them."""

    name: str
    is_storyland: bool
    train: list[str]
    val: list[str]
    facts: Facts


def make_corpus(config: DemoConfig) -> Corpus:
    """Storyland, generated now, or the person's own text. Raises UserError for a text that cannot serve."""
    if config.text is None:
        from working_with_text_data.documents import Document
        from working_with_text_data.storyland import story_corpus

        texts = story_corpus(n_bytes=int(config.corpus_mb * 1e6), seed=config.seed)
        documents = [Document(text, "storyland", i) for i, text in enumerate(texts)]
    else:
        documents = load_documents(config.text)
    split = split_documents(documents, val_fraction=config.val_fraction, seed=config.seed)
    train, val = [d.text for d in split.train], [d.text for d in split.val]
    if not val:
        raise UserError(
            f"{config.text} is too short to hold out a validation part: give at least a few thousand characters"
        )
    size = sum(len(t.encode()) for t in train) + sum(len(t.encode()) for t in val)
    name = "Storyland" if config.text is None else Path(config.text).name
    facts = {
        "name": name,
        "documents": len(documents),
        "train_documents": len(train),
        "val_documents": len(val),
        "megabytes": size / 1e6,
    }
    return Corpus(name, config.text is None, train, val, facts)


def make_tokenizer(config: DemoConfig, corpus: Corpus) -> tuple[BPETokenizer, Facts]:
    """A byte-pair encoding trained on the training texts alone, and three sentences cut by it."""
    started = time.perf_counter()
    tokenizer = train_bpe(corpus.train, config.vocab_size, pattern="gpt2", special_tokens=SPECIAL_TOKENS)
    seconds = time.perf_counter() - started
    sentences = [_first_sentence(text) for text in corpus.val[:3]]
    if len(sentences) < 3:  # one long text: take its sentences from different places
        sentences = [_first_sentence(corpus.val[0][i * len(corpus.val[0]) // 4 :]) for i in range(3)]
    probe = "\n".join(corpus.val)[:200_000]
    return tokenizer, {
        "vocab_size": tokenizer.vocab_size,
        "seconds": seconds,
        "bytes_per_token": len(probe.encode()) / max(1, len(tokenizer.encode_ordinary(probe))),
        "sentences": [
            [tokenizer.decode([i]) for i in tokenizer.encode_ordinary(sentence)] for sentence in sentences
        ],
    }


def _first_sentence(text: str) -> str:
    start = text.find(" ") if text[:1].islower() else 0
    piece = " ".join(text[max(start, 0) :].split())[:140]
    cut = max(piece.find(mark) for mark in (". ", "! ", "? "))
    return piece[: cut + 1] if cut > 20 else piece


def tokenize(corpus: Corpus, tokenizer: BPETokenizer, folder: Path) -> dict[str, Any]:
    """Both splits as memory-mapped shards of ids, every document followed by the end token."""
    end, sha = tokenizer.special_tokens[END], tokenizer_hash(tokenizer)
    arrays = {}
    for split, texts in (("train", corpus.train), ("val", corpus.val)):
        rows = ([end, *tokenizer.encode_ordinary(text)] for text in texts)
        write_shards(folder, split, rows, tokenizer_sha256=sha, vocab_size=tokenizer.vocab_size)
        arrays[split] = open_shards(folder, split, tokenizer_sha256=sha)
    return arrays


def build_model(config: DemoConfig, tokenizer: BPETokenizer, arrays: Mapping[str, Any]) -> tuple[Any, Facts]:
    """A GPT of the preset's shape with this tokenizer's vocabulary. Too short a text is a UserError."""
    from gpt_model import GPT, preset

    shape = preset(config.preset, **{"vocab_size": tokenizer.vocab_size, **config.model})
    shortest = min(len(arrays["train"]), len(arrays["val"]))
    if shortest <= shape.block_size:
        raise UserError(
            f"the text gives {len(arrays['train']):,} training and {len(arrays['val']):,} validation tokens, but a "
            f"window needs more than block_size={shape.block_size}: use a longer text or a smaller model.block_size"
        )
    torch.manual_seed(config.seed)
    model = GPT(shape)
    return model, {"preset": config.preset, "parameters": model.num_parameters(), "config": shape.to_dict()}


# Found by measuring on Storyland with other seeds than the one reported; see results/README.md.
PRETRAIN_RECIPE: Facts = {
    "optimizer": "muon",
    "lr": 3e-3,
    "muon_lr": 0.02,
    "weight_decay": 0.05,
    "batch_size": 16,
    "schedule": "cosine",
    "warmup": 0.02,
    "eval_every": 100,
    "save_every": 0,
    "log_every": 5,
    "sample_seconds": 15.0,
}
TUNE_RECIPE: Facts = {
    "optimizer": "muon",
    "lr": 2e-3,
    "muon_lr": 0.01,
    "weight_decay": 0.0,
    "batch_size": 64,
    "schedule": "cosine",
    "warmup": 0.05,
    "eval_every": 100,
    "save_every": 0,
    "log_every": 5,
}


def pretrain(
    config: DemoConfig, model: Any, tokenizer: BPETokenizer, arrays: Mapping[str, Any], run: Run, prompt: str
) -> Any:
    """Train for `config.minutes` of wall time, with a sample every 15 seconds."""
    recipe = {
        **PRETRAIN_RECIPE,
        "minutes": config.minutes,
        "seed": config.seed,
        "device": config.device,
        "prompts": [prompt],
        "sample_temperature": config.temperature,
        **config.train,
    }
    train_config = TrainConfig(**recipe)
    block = model.config.block_size
    batches = BatchLoader(arrays["train"], train_config.batch_size, block, seed=config.seed)
    trainer = Trainer(
        model,
        train_config,
        batches,
        val_batches=EvalBatches(arrays["val"], block, train_config.batch_size),
        run=run,
        tokenizer=tokenizer,
    )
    return trainer.fit()
