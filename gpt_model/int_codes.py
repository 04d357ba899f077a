"""Real numbers as small integers: int8 by rows, int4 by groups, two codes to a byte.

The idea: neighbours in a weight matrix have similar sizes, so a few bits say where a number stands between the
smallest and the largest of its neighbourhood, and the neighbourhood shares one step (`scale`).

    int8, symmetric, one row      w ≈ code · scale                  code in -127 … 127, scale = max |w| / 127
    int4, asymmetric, 64 columns  w ≈ (code - 8) · scale + middle   code in 0 … 15, scale = (max - min) / 15

Rounding to the nearest code errs by at most half a step. A row is one output of the layer, so one outlier spoils
its own output and no other. Four bits have 16 codes only, too few to waste any on a side where no weight lies:
hence the middle, and the shorter neighbourhood. Bits per weight: 8 + 32/K, and 4 + 2 · 32/64 = 5.

LLM.int8(), Dettmers et al. 2022 (arXiv 2208.07339, section 2.1) for rows; groups as in Q-BERT (arXiv 1909.05840) and
GPTQ (arXiv 2210.17323, section 4). Left out on purpose: choosing codes by what they do to the activations (GPTQ, AWQ).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError

GROUP = 64


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) -> codes int8 (N, K) and scales float32 (N,), with weight ≈ codes · scale[:, None].

    >>> codes, scale = quantize_rows(torch.tensor([[1.0, -0.5, 0.25], [100.0, 0.0, 50.0]]))
    >>> codes.tolist(), [round(s * 127, 3) for s in scale.tolist()]
    ([[127, -64, 32], [127, 0, 64]], [1.0, 100.0])
    """
    weight = finite(weight.float())
    scale = weight.abs().amax(dim=1) / 127  # not 128: int8 has no +128, the largest number would wrap to -128
    codes = (weight / nonzero(scale)[:, None]).round()
    return codes.to(torch.int8), scale


def dequantize_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """The numbers that int8 codes (N, K) stand for, float32."""
    return codes * scale[:, None]


def quantize_groups(weight: Tensor, group: int = GROUP) -> tuple[Tensor, Tensor, Tensor]:
    """(N, K) -> codes uint8 0 … 15 (N, K'), scale and middle float32 (N, K' / group).

    K' is K rounded up to whole groups; the last group is filled with its row's last number, which moves neither its
    smallest nor its largest.
    """
    if group < 2 or group % 2:
        raise UserError(
            f"group is {group}: give an even number of at least 2, because two codes share a byte"
        )
    weight = finite(weight.float())
    missing = -weight.size(1) % group
    if missing:
        weight = torch.cat((weight, weight[:, -1:].expand(-1, missing)), dim=1)
    groups = weight.unflatten(1, (-1, group))  # (N, groups, group)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    scale = (high - low) / 15
    codes = ((groups - low[..., None]) / nonzero(scale)[..., None]).round().clamp(0, 15)
    return codes.flatten(1).to(torch.uint8), scale, low + 8 * scale


def dequantize_groups(codes: Tensor, scale: Tensor, middle: Tensor, columns: int | None = None) -> Tensor:
    """The numbers that int4 codes (N, K') stand for, float32 (N, columns): without the filling of the last group."""
    groups = codes.unflatten(1, (scale.size(1), -1))
    numbers = (groups.float() - 8) * scale[..., None] + middle[..., None]
    return numbers.flatten(1)[:, :columns]


def pack_nibbles(codes: Tensor) -> Tensor:
    """Codes 0 … 15 (N, K), K even -> bytes (N, K / 2): the even column in the low four bits, the odd in the high.

    >>> pack_nibbles(torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8)).tolist()
    [[33, 15]]
    """
    if codes.size(-1) % 2:
        raise UserError(f"{codes.size(-1)} codes of four bits do not fill whole bytes: give an even number")
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """The inverse of `pack_nibbles`: bytes (N, K / 2) -> codes uint8 (N, K)."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def pad_columns(x: Tensor, columns: int) -> Tensor:
    """x (…, K) with zeros behind it, (…, columns): they meet the filling of the last group and add nothing."""
    return x if x.size(-1) == columns else F.pad(x, (0, columns - x.size(-1)))


def nonzero(scale: Tensor) -> Tensor:
    """Scales to divide by: a row of zeros has scale 0, and 0 / tiny is 0."""
    return scale.clamp(min=torch.finfo(torch.float32).tiny)


def finite(weight: Tensor) -> Tensor:
    """The weight itself, or a UserError: NaN and infinity have no code."""
    if not bool(torch.isfinite(weight).all()):
        raise UserError(
            "the weights hold NaN or infinity, which no integer can stand for: load other weights"
        )
    return weight
