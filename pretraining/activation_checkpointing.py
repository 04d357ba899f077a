"""Activation checkpointing: keep only each block's input, and compute the block again when backward needs it.

Training memory is mostly activations: every intermediate tensor of the forward pass waits for its backward step.
With this only the inputs of the L blocks wait, plus one block's intermediates at a time, for one more forward
pass (about a third more arithmetic). Gradients are the same to the last bit, dropout included: the random numbers of
the first pass are put back for the second. Chen et al., arXiv 1604.06174; `torch.utils.checkpoint` does the work.
Left out: choosing within a block what to keep. What it saves: `python -m pretraining.benchmark_memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from utils.errors import UserError


@contextmanager
def checkpointed_blocks(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Inside, each of `model.blocks` keeps its input only, in training; evaluation and sampling are untouched.

    Raises UserError for a model without blocks. `wanted=False` changes nothing, so a caller can pass its flag.
    """
    blocks = list(getattr(model, "blocks", ())) if wanted else []
    if wanted and not blocks:
        raise UserError(f"activation_checkpointing needs model.blocks, which {type(model).__name__} has not")
    for block in blocks:
        block.forward = partial(_again_in_backward, block, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the instance's; the class's own is there again


def _again_in_backward(block: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
