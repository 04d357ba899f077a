"""Instruction tuning of a pretrained model: the pretraining Trainer on rendered conversations.

Two things differ from pretraining, and both are data: the batches hold whole conversations padded
on the right, and the labels of everything the user said are -100, so that the model is trained to
answer and not to ask. InstructGPT (arXiv 2203.02155, section 3.5). Left out here: adapters (LoRA),
packing, and templates other than the book's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from finetuning.instruction.data import Example
from pretraining import TrainConfig, Trainer
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
    batches = ExampleBatches(train, config.batch_size, block, seed=config.seed)
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
    """The validation conversations as a fixed list of (x, y) batches, each example once."""
    loader = ExampleBatches(examples, batch_size, block_size, seed=0)
    count = -(-len(loader) // batch_size)
    return [next(loader) for _ in range(count)]
