"""How many bytes an optimizer keeps, by formula, for a whole model; a law holds it against what is really kept.

Every parameter of AdamW costs two fp32 numbers and one step count. The others differ in the matrices inside the
blocks: one number a weight (Muon), two in a few directions (GaLore, where a rank below the short side leaves
something to save), two codes of a byte with one scale a block of 256 (8 bits). Left out: what kernels need while
they run, and sharding over ranks. Notebook 03 draws it.
"""

from __future__ import annotations

from torch import nn

from pretraining.config import TrainConfig
from pretraining.galore import state_numel
from pretraining.optimizers import hidden_matrices, trainable
from utils.errors import UserError

FLOAT, COUNT = 4, 4  # bytes of a number, and of torch's step counter, an fp32 scalar
QUANTISED_BLOCK, CODE_TABLES = (
    256,
    2 * 256 * FLOAT,
)  # of bitsandbytes; the two tables are shared by all parameters
KNOWN = ("adamw", "muon", "galore", "adamw_8bit", "lion", "sgd")


def matrix_bytes(name: str, shape: tuple[int, int], config: TrainConfig) -> int:
    """Bytes of state for one matrix in a block. Raises UserError for an optimizer without a formula.

    >>> matrix_bytes("galore", (768, 3072), TrainConfig(galore_rank=128))
    3538944
    """
    from pretraining.eight_bit import SMALLEST

    numbers = shape[0] * shape[1]
    if name == "galore":
        return FLOAT * state_numel(shape, config.galore_rank, config.galore_proj)
    if name == "adamw_8bit" and numbers >= SMALLEST:
        return 2 * (numbers + FLOAT * -(-numbers // QUANTISED_BLOCK))
    if name == "adamw_8bit":
        return 2 * FLOAT * numbers
    if name in ("muon", "lion") or (name == "sgd" and config.momentum > 0):
        return FLOAT * numbers
    if name == "sgd":
        return 0
    if name == "adamw":
        return 2 * FLOAT * numbers + COUNT
    raise UserError(f"no formula for the state of optimizer {name!r}: there are {', '.join(KNOWN)}")


def state_bytes_formula(model: nn.Module, config: TrainConfig) -> int:
    """Bytes that `config.optimizer` keeps for `model` after its first step."""
    from pretraining.eight_bit import SMALLEST

    name, hidden = config.optimizer, hidden_matrices(model)
    total = 0
    for key, p in trainable(model).items():
        if key in hidden:
            total += matrix_bytes(name, (p.size(0), p.size(1)), config)
        elif name in ("lion", "sgd"):
            total += FLOAT * p.numel() if name == "lion" or config.momentum > 0 else 0
        else:
            total += 2 * FLOAT * p.numel() + COUNT
    coded = name == "adamw_8bit" and any(p.numel() >= SMALLEST for p in hidden.values())
    return total + (CODE_TABLES if coded else 0)
