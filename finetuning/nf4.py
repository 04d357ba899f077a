"""NF4: four bits a weight, spent where weights are; and the constants of the blocks in eight bits.

The idea: weights of a trained matrix look like draws from a bell curve around zero. Codes at equal distances would
hardly ever use the outer ones; codes at equal *probability* use all sixteen alike. So take quantiles of N(0, 1), scale
them into [-1, 1], and give zero a code of its own. A block of 64 weights is divided by its largest absolute value
(`absmax`), and each weight becomes the nearest code:

    w ≈ NF4[code] · absmax        4 bits, and 32 bits for each 64 weights: 4.5 bits a weight

*Double quantization* writes the absmax of 256 blocks as bytes around their mean with one shared step: 8/64 and twice
32/(64 · 256) in place of 32/64, 4.13 bits a weight.

Dettmers et al., QLoRA, arXiv 2305.14314, §3 and appendix E. The codes are the paper's; what differs from bitsandbytes
is the byte format of the second step: even steps here, a dynamic exponent there. The layer is in `qlora`. Left out:
FP4, block sizes that differ from matrix to matrix. Notebook 03 of this chapter.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt_model.int_codes import finite, nonzero, pack_nibbles, unpack_nibbles
from utils.errors import UserError

BLOCK = 64  # weights that share an absmax
SECOND_BLOCK = 256  # absmax that share a mean and a step
LEVELS = 255  # steps between the bytes of the second quantization
OFFSET = 0.9677083  # the outermost probability, appendix E: the mean of 1 - 1/32 and 1 - 1/30


@functools.cache
def nf4_codes() -> Tensor:
    """The sixteen values, float32, from -1 to 1: quantiles of N(0, 1), eight above zero, seven below, and zero.

    >>> [round(v, 4) for v in nf4_codes().tolist()][:4]
    [-1.0, -0.6962, -0.5251, -0.3949]
    """
    above = _quantiles(torch.linspace(OFFSET, 0.5, 9, dtype=torch.float64)[:-1])
    below = -_quantiles(torch.linspace(OFFSET, 0.5, 8, dtype=torch.float64)[:-1])
    values = torch.cat((above, below, torch.zeros(1, dtype=torch.float64))).sort().values
    return (values / values.max()).float()


def _quantiles(probability: Tensor) -> Tensor:
    """Where a standard normal variable stays below with this probability."""
    return math.sqrt(2) * torch.erfinv(2 * probability - 1)


@dataclass
class Blocks:
    """A matrix in NF4: `packed` holds two codes a byte, the constants are absmax itself or its bytes.

    packed uint8 (n / 2,), absmax float32 (blocks,); or with double quantization absmax uint8 (blocks,), step and mean
    float32 (blocks / 256,).
    """

    packed: Tensor
    absmax: Tensor
    step: Tensor | None
    mean: Tensor | None
    shape: tuple[int, int]
    block: int

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(t.nbytes for t in (self.packed, self.absmax, self.step, self.mean) if t is not None)


def quantize_nf4(weight: Tensor, *, block: int = BLOCK, double: bool = True) -> Blocks:
    """A matrix (out, in) as NF4 codes; blocks run along its rows, the last one is filled with zeros.

    Raises UserError for NaN and infinity, and an odd block.
    """
    if block < 2 or block % 2:
        raise UserError(
            f"block is {block}: give an even number of at least 2, because two codes share a byte"
        )
    flat = finite(weight.detach().float()).flatten()
    flat = torch.nn.functional.pad(flat, (0, -flat.numel() % block))
    blocks = flat.view(-1, block)
    absmax = blocks.abs().amax(dim=1)
    codes = nearest_codes(blocks / nonzero(absmax)[:, None])
    packed = pack_nibbles(codes.flatten()[None])[0]
    shape = (weight.size(0), weight.size(1))
    if not double:
        return Blocks(packed, absmax, None, None, shape, block)
    return Blocks(packed, *quantize_constants(absmax), shape, block)


def nearest_codes(values: Tensor) -> Tensor:
    """The index of the nearest NF4 value, uint8, of numbers in [-1, 1]."""
    codes = nf4_codes().to(values.device)
    middles = (codes[1:] + codes[:-1]) / 2
    return torch.bucketize(values.contiguous(), middles).to(torch.uint8)


def quantize_constants(absmax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """absmax (blocks,) -> bytes (blocks,), step and mean (⌈blocks / 256⌉,) with absmax ≈ (byte - 128) · step + mean.

    The mean goes first, because absmax are all positive and near each other: what is left uses bytes of both signs.
    """
    filled = torch.cat((absmax, absmax[-1:].expand(-len(absmax) % SECOND_BLOCK))).view(-1, SECOND_BLOCK)
    mean = filled.mean(dim=1)
    rest = filled - mean[:, None]
    step = rest.abs().amax(dim=1) * 2 / LEVELS
    codes = (rest / nonzero(step)[:, None]).round().clamp(-128, 127) + 128
    return codes.to(torch.uint8).flatten()[: len(absmax)], step, mean


def constants(blocks: Blocks) -> Tensor:
    """The absmax of each block, float32 (blocks,), as the kept numbers give it."""
    if blocks.step is None or blocks.mean is None:
        return blocks.absmax
    which = torch.arange(len(blocks.absmax), device=blocks.absmax.device) // SECOND_BLOCK
    return (blocks.absmax.float() - 128) * blocks.step[which] + blocks.mean[which]


def dequantize_nf4(blocks: Blocks) -> Tensor:
    """The matrix that the codes stand for, float32 (out, in)."""
    rows, columns = blocks.shape
    values = byte_values(blocks.packed.device)[blocks.packed.int()]  # (n / 2, 2): a byte is two weights
    numbers = values.view(-1, blocks.block) * constants(blocks)[:, None]
    return numbers.flatten()[: rows * columns].view(rows, columns)


@functools.cache
def byte_values(device: torch.device) -> Tensor:
    """The two NF4 values that each of the 256 bytes stands for, (256, 2): reading a byte is then one look-up."""
    return nf4_codes()[unpack_nibbles(torch.arange(256, dtype=torch.uint8)[:, None]).int()].to(device)


def bits_per_weight(*, block: int = BLOCK, double: bool = True) -> float:
    """Bits that a weight takes, constants included, in a large matrix.

    >>> bits_per_weight(double=False), round(bits_per_weight(), 4)
    (4.5, 4.1289)
    """
    return 4 + (8 / block + 64 / (block * SECOND_BLOCK) if double else 32 / block)


def rms_error(weight: Tensor, blocks: Blocks) -> float:
    """The root mean square of what quantising has changed, in units of the weight's own."""
    error = dequantize_nf4(blocks) - weight.float()
    return float(error.square().mean().sqrt() / weight.float().square().mean().sqrt())
