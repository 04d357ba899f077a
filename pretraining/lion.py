"""Lion: the sign of a momentum, and nothing else to remember.

Every weight moves by exactly `lr`, up or down: only the sign of a blend of gradient and momentum counts. That
is one number of state a weight (AdamW keeps two), and a step whose size never depends on the gradient's.
Signs are larger than Adam's quotients, so the rate wants to be three to ten times smaller and the decay as much
larger. Chen et al., arXiv 2302.06675, algorithm 2. Left out: a fused kernel. Notebook 03 compares it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """Lion with decoupled weight decay. `betas` are of the blend that moves and of the memory that stays."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                direction = state["exp_avg"].lerp(p.grad, 1 - beta1).sign_()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                state["exp_avg"].lerp_(p.grad, 1 - beta2)  # subtle: remembered after it was used
