"""Half-precision arithmetic around full-precision weights: autocast, and the loss scale that fp16 needs.

Matrix products run in 16 bits, weights, loss, norms and optimizer state stay in fp32 (Micikevicius et al.,
arXiv 1710.03740). bf16 has fp32's range and needs nothing else. fp16 has a tenth of the exponents: gradients
below 6e-8 would become 0. So the loss, and with it every gradient, is multiplied by a large power of two before
the backward pass and divided out again before the norm is taken; both are exact. Where a scaled gradient
overflows, the step is skipped and the scale halved; after many good steps it is doubled.
The rule is that of `torch.amp.GradScaler`, which a law compares it with; this one keeps its state in two Python
numbers, so that a resume is exact, and is decided by the global norm, so that all ranks and shards agree.
Left out: fp8, and weights that are themselves in 16 bits with a copy in 32. Notebook 02 of this chapter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from utils.device import pick_dtype

START, GROWTH, BACKOFF = 2.0**16, 2.0, 0.5
GROW_AFTER = 2000  # good steps in a row


def training_dtype(name: str, device: torch.device) -> torch.dtype:
    """The format of a training step's products. fp16 is allowed on every device: the scale makes it safe."""
    return torch.float16 if name == "fp16" else pick_dtype(name, device)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Products in `dtype` inside the block; fp32 switches autocast off."""
    half = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(device.type, dtype=dtype if half else torch.bfloat16, enabled=half)


class LossScaler:
    """The loss scale of fp16. With any other dtype the scale is 1 and nothing is ever multiplied.

    A step: `accumulate(…, scale=scaler.scale)`, `unscale`, take the norm, clip, then `update` with whether the
    norm was finite.
    """

    def __init__(self, dtype: torch.dtype, *, start: float = START, grow_after: int = GROW_AFTER) -> None:
        self.enabled = dtype == torch.float16
        self.scale = start if self.enabled else 1.0
        self.grow_after = grow_after
        self.good_steps = 0

    @torch.no_grad()
    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the scale out of every gradient, in place."""
        if self.enabled:
            grads = [p.grad for p in parameters if p.grad is not None]
            if grads:
                torch._foreach_mul_(grads, 1.0 / self.scale)

    def update(self, finite: bool) -> None:
        """Halve the scale after an overflow, double it after `grow_after` good steps in a row."""
        if not self.enabled:
            return
        if not finite:
            self.scale, self.good_steps = self.scale * BACKOFF, 0
            return
        self.good_steps += 1
        if self.good_steps == self.grow_after:
            self.scale, self.good_steps = self.scale * GROWTH, 0

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe, exact."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved scale; a run that changed to another dtype starts its own."""
        if self.enabled:
            self.scale, self.good_steps = float(state["scale"]), int(state["good_steps"])
