"""AdamW whose two moments are kept in 8 bits, `optimizer=adamw_8bit`, by bitsandbytes.

Each moment is cut into blocks, every block has its own scale, and a value becomes the index of the nearest of
256 codes that lie densely near zero: about 2 bytes a weight in place of 8. Dettmers et al., arXiv 2110.02861.
It is for the matrices inside the blocks. Embeddings, whose gradients are the least even (§2.3 of the paper), and
tensors of fewer than 4,096 numbers keep 32 bits. Left out: paging state to the CPU. The library is loaded when it
is chosen and not before.
"""

from __future__ import annotations

from typing import Any

import torch

from pretraining.config import TrainConfig
from utils.errors import UserError

SMALLEST = 4096  # numbers; smaller tensors would save nothing worth their error


def library() -> Any:
    """The module `bitsandbytes`. Raises UserError naming the command that adds it."""
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            "optimizer=adamw_8bit needs bitsandbytes, which is not installed: "
            "pip install -c constraints.txt -e '.[galore]', or use optimizer=adamw"
        ) from error
    return bitsandbytes


def build_adamw_8bit(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW over these groups."""
    return library().optim.AdamW8bit(
        groups,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        min_8bit_size=SMALLEST,
    )
