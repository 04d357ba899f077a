"""Instruction tuning of a pretrained model: the pretraining Trainer on rendered conversations.

Two things differ from pretraining, and both are data: the batches hold whole conversations packed
into rows, and the labels of everything the user said are -100, so that the model is trained to
answer and not to ask. InstructGPT (arXiv 2203.02155, section 3.5). Left out here: adapters (LoRA),
a mask that hides a row's conversations from each other, and templates other than the book's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from finetuning.instruction.data import Example
from pretraining.config import TrainConfig
from pretraining.trainer import Trainer
from utils.runs import Run
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.tokenizer import Tokenizer


def tune(
    model: Any,
    tokenizer: Tokenizer,
    train: Sequence[Example],
    validation: Sequence[Example],
    config: TrainConfig,
    run: Run,
    *,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train `model` in place on `train`; the loss reported is nats per *answer* token of `validation`.

    Returns the Trainer's result. Examples longer than the model's context are dropped and counted
    by the loader.
    """
    block = model.config.block_size
    # Whole conversations, one behind the other: padding each row to the longest would waste half the work.
    batches = ExampleBatches(train, config.batch_size, block, seed=config.seed, pack=True)
    trainer = Trainer(
        model,
        config,
        batches,
        val_batches=validation_batches(validation, config.batch_size, block),
        run=run,
        tokenizer=tokenizer,
        callbacks=callbacks,
    )
    return trainer.fit()


def validation_batches(
    examples: Sequence[Example], batch_size: int, block_size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The validation conversations as a fixed list of padded (x, y) batches, each example once, alone in its row.

    Sorted by length, so that neighbours waste little padding. Examples longer than the block are left out.
    """
    kept = sorted((e for e in examples if len(e[0]) <= block_size), key=lambda e: len(e[0]))
    groups = [kept[i : i + batch_size] for i in range(0, len(kept), batch_size)]
    return [next(ExampleBatches(g, len(g), block_size, shuffle=False)) for g in groups]
