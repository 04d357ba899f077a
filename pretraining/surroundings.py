"""What holds while a trainer's `fit` runs, and is put back when it ends, however it ends.

The run folder is ours alone, the fast exact fp32 products and the loss without logits are on where they fit, blocks
are recomputed if that was asked for, and the clock runs. Each is a context manager of its own; here is their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from pretraining.activation_checkpointing import checkpointed_blocks
from pretraining.checkpoints import remove_left_overs
from pretraining.distributed import is_sharded
from pretraining.fast_loss import fast_loss
from pretraining.run_lock import run_lock
from utils.device import exact_fast_matmul
from utils.seeding import deterministic

if TYPE_CHECKING:
    from pretraining.trainer import Trainer


@contextmanager
def surroundings(trainer: Trainer) -> Iterator[None]:
    """Everything around the loop. An error inside is told to the callbacks and goes on."""
    config, world = trainer.config, trainer.world
    trainer.checkpoint_dir = world.tell(trainer.checkpoint_dir)  # all ranks take part in saving
    with ExitStack() as stack:
        lock_note = stack.enter_context(run_lock(trainer.run.path)) if trainer.run is not None else None
        if trainer.checkpoint_dir is not None and world.is_main:
            remove_left_overs(trainer.checkpoint_dir)
        stack.callback(trainer.saver.close)  # before the lock is given back
        on_cpu = trainer.device.type == "cpu"
        stack.enter_context(exact_fast_matmul(config.exact_fast_matmul and on_cpu))
        stack.enter_context(fast_loss(trainer.model, config.fast_loss and _fits_fast_loss(trainer)))
        stack.enter_context(checkpointed_blocks(trainer.model, config.activation_checkpointing))
        stack.enter_context(deterministic(config.deterministic))
        trainer.start_clock()
        stack.callback(trainer.stop_clock)
        trainer.throughput.begin(trainer.look_at_the_clock(), trainer.elapsed())
        for note in (lock_note, trainer.resume_note, trainer.throughput.note):
            if note:
                trainer.journal.log(note)
        try:
            yield
        except BaseException as error:
            trainer.journal.call("on_exception", trainer, error)
            raise


def _fits_fast_loss(trainer: Trainer) -> bool:
    """On a CPU, uncompiled, with whole weights; not in fp16, whose gradients it would make before they are scaled."""
    sharded = is_sharded(trainer.model)
    half = trainer.dtype == torch.float16
    return trainer.device.type == "cpu" and not (trainer.config.compile or sharded or half)
