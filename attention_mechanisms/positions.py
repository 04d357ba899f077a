"""Where a token stands: learned embeddings, and rotary positions (RoPE).

Attention by itself is blind to order. Learned positions add one trained vector per place to the
token's embedding. RoPE instead turns each pair of coordinates of every query and key by an angle that
grows with the position, so that a dot product depends on the *distance* between two tokens only:

    <R(m) q, R(n) k> = <q, R(n - m) k>,     angle of pair i at position p:  p * theta^(-2i / head_dim)

Papers: GPT-2 for learned positions; Su et al. 2021, RoFormer (arXiv 2104.09864, section 3.4) for RoPE.
Which coordinates form a pair is a convention, and mixing the two up is a silent bug, so both have names:
`half_split` pairs i with i + head_dim/2 (GPT-NeoX, Llama in transformers), `interleaved` pairs 2i with
2i + 1 (the paper, Meta's Llama). Left out on purpose: sinusoidal positions, ALiBi, scaled RoPE.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError

ROPE_LAYOUTS = ("half_split", "interleaved")


class LearnedPositions(nn.Module):
    """One trained vector per position: `positions` (T,) or (B, T) -> (..., n_embd)."""

    def __init__(self, block_size: int, n_embd: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.weight = nn.Parameter(torch.empty(block_size, n_embd))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Tensor) -> Tensor:
        return nn.functional.embedding(positions, self.weight)


def rope_angles(head_dim: int, n_positions: int, theta: float = 10000.0) -> Tensor:
    """Angle of each pair at each position in radians, float64 (n_positions, head_dim / 2)."""
    if head_dim % 2:
        raise UserError(f"head_dim is {head_dim} but rotary positions turn pairs: make n_embd / n_head even")
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
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
        self, head_dim: int, block_size: int, *, theta: float = 10000.0, layout: str = "half_split"
    ) -> None:
        super().__init__()
        if layout not in ROPE_LAYOUTS:
            raise UserError(f"rope_layout is {layout!r}: choose one of {', '.join(ROPE_LAYOUTS)}")
        self.head_dim, self.block_size, self.theta, self.layout = head_dim, block_size, theta, layout
        self._rotate = rotate_half_split if layout == "half_split" else rotate_interleaved
        angles = rope_angles(head_dim, block_size, theta)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """After `.to(...)`: rebuild the tables, in float64 for a float64 module, else in float32."""
        super()._apply(fn, recurse)
        dtype = torch.float64 if self.cos.dtype == torch.float64 else torch.float32
        device = self.cos.device
        angles = rope_angles(self.head_dim, self.block_size, self.theta)
        self.cos, self.sin = angles.cos().to(device, dtype), angles.sin().to(device, dtype)
        return self

    def tables(self, positions: Tensor | None, start: int, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin that broadcast over heads: (T, D/2), or (B, 1, T, D/2) for positions (B, T)."""
        if positions is None:  # contiguous: a slice costs nothing
            return self.cos[start : start + length], self.sin[start : start + length]
        if positions.dim() == 2:
            positions = positions[:, None, :]
        return self.cos[positions], self.sin[positions]

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None, start: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Rotate q (B, H, T, D) and k (B, H_kv, T, D).

        `positions` are absolute, (T,) or (B, T); without them the tokens stand at start, start + 1, ….
        Keys are rotated before they enter a cache and never again.
        """
        cos, sin = self.tables(positions, start, q.size(-2))
        if cos.size(-2) != q.size(-2):
            raise UserError(
                f"positions {start}..{start + q.size(-2) - 1} reach past block_size {self.block_size}: "
                "shorten the input or build the model with a larger block_size"
            )
        return self._rotate(q, cos, sin).to(q.dtype), self._rotate(k, cos, sin).to(k.dtype)
