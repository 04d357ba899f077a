"""Instruction tuning of a pretrained model: the pretraining Trainer on rendered conversations.

Two things differ from pretraining, and both are data. The labels of everything the user said are −100, so that the
model is trained to answer and not to ask. And a batch is made of whole conversations, in one of two ways:

    packing=True    rows full of conversations; each token sees its own conversation only (law LF4)
    packing=False   one conversation a row, padded to the longest of a batch of like lengths

InstructGPT (arXiv 2203.02155, §3.5); packing without attention across examples as in Krell et al. (arXiv 2107.02027).
What of the model learns is decided before (`finetuning.trainable`, `finetuning.lora`): the Trainer takes what
requires a gradient. Notebook: finetuning/02.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from finetuning.instruction.data import Example
from finetuning.instruction.lessons import LessonBatches
from pretraining.checkpoints import Checkpoint
from pretraining.config import TrainConfig
from pretraining.trainer import Trainer
from utils.errors import UserError
from utils.runs import Run
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.tokenizer import Tokenizer

BUCKET = 16  # batches whose examples are sorted by length together
C = TypeVar("C", bound=TrainConfig)


def tune(
    model: Any,
    tokenizer: Tokenizer,
    train: Sequence[Example],
    validation: Sequence[Example],
    config: TrainConfig,
    run: Run,
    *,
    lessons: Sequence[tuple[Sequence[Example], int]] = (),
    callbacks: Sequence[Any] = (),
    packing: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> Any:
    """Train `model` in place on `train`; the loss reported is nats per *answer* token of `validation`.

    `lessons` are (examples, optimizer steps) taught before, in order; their steps are part of the config's budget.

    Returns the Trainer's result. Examples longer than the model's context are dropped and counted by the loader.
    `packing` None packs where the model can keep conversations apart. With a `checkpoint` the run goes on, to the bit.
    """
    block = model.config.block_size
    batches: Any = make_batches(model, train, config, packing=packing)
    if lessons:
        told = [(make_batches(model, own, config, packing=packing), steps) for own, steps in lessons]
        batches = LessonBatches([(own, steps * config.grad_accum) for own, steps in told], batches)
    trainer = Trainer(
        model,
        in_steps(config, batches),
        batches,
        val_batches=validation_batches(validation, config.batch_size, block),
        run=run,
        tokenizer=tokenizer,
        callbacks=callbacks,
    )
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer.fit()


def make_batches(
    model: Any, train: Sequence[Example], config: TrainConfig, *, packing: bool | None = None
) -> ExampleBatches:
    """The training batches. Raises UserError for packing with a model that cannot keep conversations apart."""
    across = looks_across(model.config)
    if packing and across:
        raise UserError(f"the model has {across}, which look across packed conversations: set packing=false")
    pack = not across if packing is None else packing
    kind: dict[str, Any] = {"pack": True, "documents": True} if pack else {"bucket": BUCKET}
    return ExampleBatches(train, config.batch_size, model.config.block_size, seed=config.seed, **kind)


def looks_across(shape: Any) -> str | None:
    """What in a model reads earlier tokens whatever the mask says; None where nothing does."""
    if getattr(shape, "ngram_rows", ()):
        return "n-gram embeddings"
    return "attention sinks" if getattr(shape, "attention_sinks", 0) else None


def in_steps(config: C, batches: ExampleBatches | LessonBatches) -> C:
    """The config with a budget of epochs as steps: an epoch gives each example once, however rows are filled.

    Lessons come before the first epoch.
    """
    if config.epochs is None:
        return config
    steps = max(1, math.ceil(config.epochs * batches.rows_per_epoch / config.batch_size / config.grad_accum))
    steps += getattr(batches, "lesson_batches", 0) // config.grad_accum
    return replace(config, epochs=None, steps=steps if config.steps is None else min(steps, config.steps))


def validation_batches(
    examples: Sequence[Example], batch_size: int, block_size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The validation conversations as a fixed list of padded (x, y) batches, each example once, alone in its row.

    Sorted by length, so that neighbours waste little padding. Examples longer than the block are left out.
    """
    kept = sorted((e for e in examples if len(e[0]) <= block_size), key=lambda e: len(e[0]))
    groups = [kept[i : i + batch_size] for i in range(0, len(kept), batch_size)]
    rows = (next(ExampleBatches(g, len(g), block_size, shuffle=False)) for g in groups)
    return [(ids, labels) for ids, labels, *_ in rows]
