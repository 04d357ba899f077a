"""Muon: momentum whose update is made orthogonal, for the matrices inside the network.

A gradient matrix is dominated by a few directions; Muon steps equally far along all of them. It replaces the
momentum matrix M = U S Vᵀ by roughly U Vᵀ, with five steps of a Newton–Schulz polynomial (matrix products
only, no SVD). Embeddings, the head and vectors are not such maps and stay with AdamW. Jordan et al. 2024
("Muon: an optimizer for hidden layers", kellerjordan.github.io/posts/muon), Bernstein & Newhouse, arXiv
2409.20325. Matrices of one shape are done as one batch: one by one, the small products would eat the step.
A fused query-key-value matrix is three maps stored as one and is split before it is made orthogonal: early in
training attention is flat, the gradients of queries and keys are tiny beside those of the values, and in one
matrix they would hardly move. Left out: sharding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.errors import UserError

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # steepest at zero: all singular values reach about 0.7 to 1.2
STEPS = 5
EPS = 1e-7


def orthogonalize(matrices: Tensor, steps: int = STEPS, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """U f(S) Vᵀ for each of the matrices (K, m, n), with f(S) near 1; the same shape, in `dtype`.

    One step is X ← a X + (b A + c A²) X with A = X Xᵀ: a polynomial in the singular values alone.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.to(dtype)
    x = x.mT if tall else x  # A is m × m: take the short side
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS)  # all singular values at most 1
    for _ in range(steps):
        gram = x @ x.mT  # (K, m, m)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for 2-D parameters.

    A group's `split` says of which blocks of rows each of its matrices consists: a number of equal ones (3 for fused
    QKV), or their heights (fused QKV with fewer key heads). Each block is a map of its own.
    A matrix with more rows than columns steps √(rows / columns) further, as in the original.
    `dtype` is of the Newton–Schulz products. Raises UserError for a parameter that is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        *,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "split": 1})
        self.dtype = dtype
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise UserError(
                        f"Muon was given a tensor of shape {tuple(p.shape)}: it is for matrices only"
                    )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            maps: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}  # shape -> (map, its update)
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"])  # Nesterov: look ahead
                rows = block_rows(group["split"], p.size(0))
                for block, step in zip(p.split(rows), update.split(rows), strict=True):
                    maps.setdefault(block.shape, []).append((block, step))
            for shape, pairs in maps.items():
                directions = orthogonalize(torch.stack([step for _, step in pairs]), dtype=self.dtype)
                reach = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                for (block, _), direction in zip(pairs, directions, strict=True):
                    block.mul_(1 - group["lr"] * group["weight_decay"])
                    block.add_(direction.to(block.dtype), alpha=-reach)


def block_rows(split: int | Sequence[int], rows: int) -> list[int]:
    """The heights of the blocks that `split` cuts a matrix of `rows` rows into.

    >>> block_rows(3, 12), block_rows([8, 2, 2], 12)
    ([4, 4, 4], [8, 2, 2])
    """
    heights = [rows // split] * split if isinstance(split, int) else list(split)
    if sum(heights) != rows:
        raise UserError(f"split {split} does not cut {rows} rows: its blocks must add up to them")
    return heights


class Together:
    """Several optimizers that step as one, each with its own parameters. Looks like one to the trainer."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, in order; changing one changes the part's."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """The state of all parts by parameter."""
        return {p: state for part in self.parts for p, state in part.state.items()}

    def step(self) -> None:
        """Step every part."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The parts' states under `parts`."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` gave."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
