"""How far one step moves the weights: ‖new − old‖ / ‖old‖ for each group of parameters.

The learning rate says how far a step should go, this how far it went, in the weights' own measure. About 1e-3 a step
is the rule of thumb for AdamW; 1e-1 tears down what was learned, 1e-6 teaches nothing. Muon's is set by its rate alone.
Measured on the steps that are logged, on at most 65,536 numbers a tensor (evenly spaced; smaller tensors whole), so
that it costs nothing that a clock would see. Rule of thumb: Karpathy, "Neural Networks: Zero to Hero", lecture 4.
Notebook 01 of this chapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SAMPLE = 65_536  # numbers looked at in a tensor


class UpdateRatio:
    """The ratios of the last watched step, as `update_ratio/<group>`: a group's own `name`, or what it holds."""

    def __init__(self, optimizer: Any, sample: int = SAMPLE) -> None:
        self.optimizer, self.sample = optimizer, sample
        self.names = _names(optimizer.param_groups)
        self.latest: dict[str, float] = {}

    @contextmanager
    def watching(self, wanted: bool = True) -> Iterator[None]:
        """Around `optimizer.step()`; fills `latest`. `wanted=False` leaves it empty."""
        self.latest = {}
        before = [self._numbers(group) for group in self.optimizer.param_groups] if wanted else []
        yield
        for name, old, group in zip(self.names, before, self.optimizer.param_groups, strict=wanted):
            new = self._numbers(group)
            size = _norm(old)
            moved = _norm([a - b for a, b in zip(new, old, strict=True)])
            if size > 0:
                self.latest[f"update_ratio/{name}"] = moved / size

    def take(self) -> dict[str, float]:
        """`latest`, once: a later line must not say again what an earlier step did."""
        taken, self.latest = self.latest, {}
        return taken

    @torch.no_grad()
    def _numbers(self, group: dict[str, Any]) -> list[torch.Tensor]:
        """A copy of some numbers of each tensor; of a sharded one, of this rank's shard."""
        found = []
        for p in group["params"]:
            flat = (p.to_local() if hasattr(p, "to_local") else p.detach()).reshape(-1)
            found.append(flat[:: max(1, flat.numel() // self.sample)].float().clone())
        return found


def _norm(tensors: list[torch.Tensor]) -> float:
    """The L2 norm of all of them together, 0 for none."""
    return float(torch.nn.utils.get_total_norm(tensors)) if tensors else 0.0


def _names(groups: list[dict[str, Any]]) -> list[str]:
    """matrices, vectors, matrices_2, …: what a group holds, unless it has a name."""
    names: list[str] = []
    for group in groups:
        kind = "vectors" if all(p.dim() < 2 for p in group["params"]) else "matrices"
        name = str(group.get("name", kind))
        same = sum(other.partition("_")[0] == name for other in names)
        names.append(f"{name}_{same + 1}" if same else name)
    return names
