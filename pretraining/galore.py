"""GaLore: Adam whose memory lives in the few directions that a gradient matrix really uses.

Adam keeps two numbers for every weight. GaLore looks at a gradient matrix G (m × n), takes its r strongest
singular directions on one side, and keeps Adam's two moments for the projected gradient alone: with the
projector P on the short side that is short·r + 2·long·r numbers in place of 2·m·n (884,736 for 4,718,592 at
768 × 3072 and r = 128). The step made down there is lifted back by P and scaled. Every `update_proj_gap` steps P
is computed anew; the moments stay as they are, now read in the new directions. Zhao et al., arXiv 2403.03507.

    G ──Pᵀ──▶ low rank ──Adam──▶ step in r directions ──P──▶ step of the weights

The signs of singular vectors are anyone's choice. Here the largest entry of each is positive: otherwise the
moments, kept over a refresh, would be read with signs that differ between machines, ranks and libraries.
A rank of at least the short side leaves nothing to save: then there is no projection and this is AdamW. (A full
rotation would be *another* optimizer: Adam divides coordinate by coordinate and so depends on the basis.)
State is tensors and a step count, nothing pickled. Left out: 8-bit moments inside (the library has them, see
`galore_engine`), updates inside the backward pass, matrices spread over ranks. Notebook 03 takes it apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pretraining.distributed import share
from utils.errors import UserError

PROJECTIONS = ("std", "reverse_std", "left", "right", "full")  # the names of galore-torch


def sides(shape: Iterable[int], rank: int, proj_type: str = "std") -> tuple[str, ...]:
    """On which sides an m × n gradient is projected: "left" is PᵀG, "right" is GPᵀ, none at full rank.

    `std` projects the short side, so that the moments are long × r; `reverse_std` the long one.

    >>> sides((768, 3072), 128), sides((3072, 768), 128), sides((64, 64), 64)
    (('left',), ('right',), ())
    """
    if proj_type not in PROJECTIONS:
        raise UserError(f"proj_type is {proj_type!r}, but GaLore knows {', '.join(PROJECTIONS)}")
    m, n = shape
    if rank >= min(m, n):
        return ()
    tall = m >= n
    if proj_type == "full":
        return ("left", "right")
    if proj_type in ("left", "right"):
        return (proj_type,)
    return ("right",) if tall == (proj_type == "std") else ("left",)


def state_numel(shape: Iterable[int], rank: int, proj_type: str = "std") -> int:
    """Numbers that GaLore keeps for one matrix: its projectors and two moments.

    >>> state_numel((768, 3072), 128), 2 * 768 * 3072
    (884736, 4718592)
    """
    m, n = shape
    on = sides((m, n), rank, proj_type)
    rows, columns = (rank if "left" in on else m), (rank if "right" in on else n)
    projectors = (m * rank if "left" in on else 0) + (n * rank if "right" in on else 0)
    return projectors + 2 * rows * columns


def projectors(gradient: Tensor, rank: int, on: Iterable[str]) -> dict[str, Tensor]:
    """The `rank` strongest singular directions of `gradient` on the sides `on`, with fixed signs.

    "left" is (m, r) with orthonormal columns, "right" (r, n) with orthonormal rows. The SVD runs in fp32.
    """
    u, _, vh = torch.linalg.svd(gradient.float(), full_matrices=False)
    found = {"left": u[:, :rank], "right": vh[:rank]}
    return {
        side: fixed_signs(found[side], along=0 if side == "left" else 1).to(gradient.dtype) for side in on
    }


def fixed_signs(vectors: Tensor, along: int) -> Tensor:
    """The same vectors, each (it runs `along` this dimension) turned so that its largest entry is positive."""
    largest = vectors.abs().argmax(dim=along, keepdim=True)
    return (vectors * vectors.gather(along, largest).sign()).contiguous()


def project(gradient: Tensor, by: dict[str, Any]) -> Tensor:
    """The gradient in the directions of the projectors in `by`; as it is where there are none."""
    low = by["left"].mT @ gradient if "left" in by else gradient  # (r, n)
    return low @ by["right"].mT if "right" in by else low  # (m, r), or (r, r) with both


def lift(low: Tensor, by: dict[str, Any]) -> Tensor:
    """A step among the projected directions as a step of the whole matrix (m, n)."""
    high = by["left"] @ low if "left" in by else low
    return high @ by["right"] if "right" in by else high


class Galore(torch.optim.Optimizer):
    """AdamW in the projected space, for matrices. Groups take galore-torch's keys, each may differ by group.

    `rank` of the projection, `update_proj_gap` steps between refreshes, `scale` of the lifted step,
    `proj_type` one of PROJECTIONS. Decay is decoupled and comes first, as in torch's AdamW.
    Under torch.distributed every rank takes rank 0's projectors. Raises UserError for what is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        rank: int = 128,
        update_proj_gap: int = 200,
        scale: float = 0.25,
        proj_type: str = "std",
    ) -> None:
        own = {"rank": rank, "update_proj_gap": update_proj_gap, "scale": scale, "proj_type": proj_type}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **own})
        for group in self.param_groups:
            check_group(group)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)

    def _update(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        done = state.get("step", 0)
        if done % group["update_proj_gap"] == 0:
            on = sides(p.shape, group["rank"], group["proj_type"])
            if on:
                found = projectors(gradient, group["rank"], on)
                state.update({side: share(matrix) for side, matrix in found.items()})
        low = project(gradient, state)
        if not done:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(low), torch.zeros_like(low)
        state["step"] = done + 1

        beta1, beta2 = group["betas"]
        mean = state["exp_avg"].lerp_(low, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(low, low, value=1 - beta2)
        mean_fix, square_fix = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        step = (mean / mean_fix) / ((square / square_fix).sqrt() + group["eps"])

        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(lift(step, state), alpha=-group["lr"] * group["scale"])


def check_group(group: dict[str, Any]) -> None:
    """Raise UserError for a group that GaLore cannot train, naming the value and the limit."""
    for name in ("rank", "update_proj_gap"):
        if group[name] < 1:
            raise UserError(f"GaLore's {name} is {group[name]}, but the least is 1: try {name}=128")
    for p in group["params"]:
        if p.dim() != 2:
            raise UserError(f"GaLore was given a tensor of shape {tuple(p.shape)}: it is for matrices only")
        sides(p.shape, group["rank"], group["proj_type"])
