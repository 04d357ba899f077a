"""Where a token stands: learned embeddings, sinusoids, rotary positions (RoPE), and ALiBi.

Attention by itself is blind to order. Learned and sinusoidal positions add one vector per place to the
token's embedding. RoPE instead turns each pair of coordinates of every query and key by an angle that
grows with the position, so that a dot product depends on the *distance* between two tokens only:

    <R(m) q, R(n) k> = <q, R(n - m) k>,     angle of pair i at position p:  p * theta^(-2i / head_dim)

ALiBi leaves vectors alone and takes from every score a penalty that grows with the distance.

Papers: GPT-2 for learned positions; Vaswani et al. 2017 (arXiv 1706.03762, section 3.5) for sinusoids; Su et al.
2021, RoFormer (arXiv 2104.09864, section 3.4) for RoPE; Press et al. 2021 (arXiv 2108.12409) for ALiBi.
Which coordinates form a pair is a convention, and mixing the two up is a silent bug, so both have names:
`half_split` pairs i with i + head_dim/2 (GPT-NeoX, Llama in transformers), `interleaved` pairs 2i with
2i + 1 (the paper, Meta's Llama). Longer texts than trained: `rope_scaling`. Notebook: 04 of this chapter.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attention_mechanisms.rope_scaling import RopeScaling, rope_frequencies
from utils.errors import UserError

POSITIONS = ("learned", "rope", "sinusoidal", "alibi", "none")
ROPE_LAYOUTS = ("half_split", "interleaved")


class LearnedPositions(nn.Module):
    """One trained vector per position: `positions` (T,) or (B, T) -> (..., n_embd)."""

    def __init__(self, block_size: int, n_embd: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.weight = nn.Parameter(torch.empty(block_size, n_embd))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Tensor) -> Tensor:
        try:
            return nn.functional.embedding(positions, self.weight)
        except IndexError:
            raise past_the_table(positions, self.block_size) from None


class SinusoidalPositions(nn.Module):
    """Fixed waves: `positions` (T,) or (B, T) -> (..., n_embd). Nothing is trained and nothing is saved.

    Coordinates 2i and 2i + 1 are sine and cosine of position / 10000^(2i / n_embd). The table stays in float32:
    in half precision neighbouring positions would become equal.
    """

    def __init__(self, block_size: int, n_embd: int) -> None:
        super().__init__()
        if n_embd % 2:
            raise UserError(f"n_embd is {n_embd} but sinusoidal positions come in pairs: make it even")
        self.block_size, self.n_embd = block_size, n_embd
        self.register_buffer("weight", self._waves().float(), persistent=False)

    weight: Tensor

    def _waves(self) -> Tensor:
        angles = rope_angles(self.n_embd, self.block_size)  # (block_size, n_embd / 2)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """After `.to(...)`: rebuild the table, in float64 for a float64 module, else in float32."""
        super()._apply(fn, recurse)
        dtype = torch.float64 if self.weight.dtype == torch.float64 else torch.float32
        self.weight = self._waves().to(self.weight.device, dtype)
        return self

    def forward(self, positions: Tensor) -> Tensor:
        try:
            return self.weight[positions]
        except IndexError:
            raise past_the_table(positions, self.block_size) from None


def past_the_table(positions: Tensor, block_size: int) -> UserError:
    """The error for positions beyond what was prepared (on a CPU; `GPT` asks before it looks anything up)."""
    return UserError(
        f"position {int(positions.max())} is past block_size {block_size}: "
        "shorten the input or build the model with a larger block_size"
    )


def alibi_slopes(n_head: int) -> Tensor:
    """The penalty per token of distance, one for each head, float32 (n_head,).

    For a power of two the slopes are 2^(-8/n), 2^(-16/n), …, 2^-8. Otherwise those of the next smaller power,
    and then every other one of twice that power (Press et al. 2021, footnote and released code).

    >>> alibi_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** math.floor(math.log2(n_head))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(n_head - power)]
    return torch.tensor(slopes)


def alibi_bias(slopes: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """What is added to the scores: -slope · (q - k) for positions (Q,) and (K,) -> (H, Q, K)."""
    distance = queries[:, None] - keys[None, :]
    return -slopes[:, None, None] * distance


def rope_angles(
    head_dim: int, n_positions: int, theta: float = 10000.0, scaling: RopeScaling | None = None
) -> Tensor:
    """Angle of each pair at each position in radians, float64 (n_positions, head_dim / 2)."""
    frequencies = rope_frequencies(head_dim, theta, scaling)
    return torch.outer(torch.arange(n_positions, dtype=torch.float64), frequencies)


def rotate_half_split(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + D/2) of x (..., T, D) by the angles behind cos, sin (..., T, D/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def rotate_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (2i, 2i + 1) of x (..., T, D) by the angles behind cos, sin (..., T, D/2)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


class RotaryPositions(nn.Module):
    """RoPE for queries and keys, from precomputed tables of cosines and sines.

    The tables are buffers that are never saved (they follow from three numbers) and never rounded to
    half precision: at position 1000 bf16 would misplace a token by whole positions.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        head_dim: int,
        block_size: int,
        *,
        theta: float = 10000.0,
        layout: str = "half_split",
        scaling: RopeScaling | None = None,
    ) -> None:
        super().__init__()
        if layout not in ROPE_LAYOUTS:
            raise UserError(f"rope_layout is {layout!r}: choose one of {', '.join(ROPE_LAYOUTS)}")
        self.head_dim, self.block_size, self.theta, self.layout = head_dim, block_size, theta, layout
        self.scaling = scaling or RopeScaling()
        self._rotate = rotate_half_split if layout == "half_split" else rotate_interleaved
        cos, sin = self._tables()
        self.register_buffer("cos", cos.float(), persistent=False)
        self.register_buffer("sin", sin.float(), persistent=False)

    def _tables(self) -> tuple[Tensor, Tensor]:
        angles = rope_angles(self.head_dim, self.block_size, self.theta, self.scaling)
        factor = self.scaling.attention_factor
        return angles.cos() * factor, angles.sin() * factor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """After `.to(...)`: rebuild the tables, in float64 for a float64 module, else in float32."""
        super()._apply(fn, recurse)
        dtype = torch.float64 if self.cos.dtype == torch.float64 else torch.float32
        device = self.cos.device
        cos, sin = self._tables()
        self.cos, self.sin = cos.to(device, dtype), sin.to(device, dtype)
        return self

    def tables(self, positions: Tensor | None, start: int, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin that broadcast over heads: (T, D/2), or (B, 1, T, D/2) for positions (B, T)."""
        if positions is None:  # contiguous: a slice costs nothing
            return self.cos[start : start + length], self.sin[start : start + length]
        if positions.dim() == 2:
            positions = positions[:, None, :]
        try:
            return self.cos[positions], self.sin[positions]
        except IndexError:
            raise past_the_table(positions, self.block_size) from None

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None, start: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Rotate q (B, H, T, D) and k (B, H_kv, T, D).

        `positions` are absolute, (T,) or (B, T); without them the tokens stand at start, start + 1, ….
        Keys are rotated before they enter a cache and never again.
        """
        return self.rotate(q, positions, start), self.rotate(k, positions, start)

    def rotate(self, x: Tensor, positions: Tensor | None = None, start: int = 0) -> Tensor:
        """Rotate one tensor x (B, H, T, D), queries or keys; see `forward`."""
        cos, sin = self.tables(positions, start, x.size(-2))
        if cos.size(-2) != x.size(-2):
            raise UserError(
                f"positions {start}..{start + x.size(-2) - 1} reach past block_size {self.block_size}: "
                "shorten the input or build the model with a larger block_size"
            )
        wide = x.to(torch.promote_types(x.dtype, cos.dtype))  # once, not in each of the four products
        return self._rotate(wide, cos, sin).to(x.dtype)
