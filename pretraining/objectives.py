"""What a training step makes smaller: the loss by name, so that a new one is one function.

`next_token`, the model's own cross-entropy, is what language models are trained on. `z_loss` adds a small pull of
log Z, the normaliser of the softmax, towards 0: the loss does not change when all logits of a place grow
alike, so nothing else keeps them from drifting out of bf16's fine range (PaLM, Chowdhery et al., arXiv 2204.02311,
§5). Another objective is `module:function`, see `registries`. Evaluation always measures nats per token, whatever
was trained, so that runs stay comparable.

An objective is a function of logits and labels. One that needs more is an object given to the Trainer in place of the
config's (`Trainer(…, objective=…)`), with one or both of these: `reads_ids = True`, and it is called with (logits,
labels, ids); `weigh(labels)`, how much a micro-batch counts beside its neighbours where that is not its labelled
tokens. `finetuning.preference` compares the rows of a batch with a second model so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100
Z_WEIGHT = 1e-4  # PaLM's


class Trained(NamedTuple):
    """A forward pass with the loss of an objective."""

    logits: Tensor
    loss: Tensor


def next_token(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean nats of the labelled tokens; 0, with a gradient of 0, where nothing is labelled."""
    flat = labels.reshape(-1)
    total = F.cross_entropy(logits.reshape(-1, logits.size(-1)), flat, ignore_index=IGNORE, reduction="sum")
    return total / (flat != IGNORE).sum().clamp(min=1)


def z_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """`next_token` + 1e-4 · mean (log Z)² over the labelled tokens."""
    labelled = labels != IGNORE
    squares = torch.logsumexp(logits, dim=-1).square() * labelled
    return next_token(logits, labels) + Z_WEIGHT * squares.sum() / labelled.sum().clamp(min=1)


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"next_token": next_token, "z_loss": z_loss}


def find_objective(name: str | Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The objective that a config names, or the one that is given. Raises UserError listing the known ones."""
    if callable(name):
        return name
    from pretraining.registries import resolve

    return resolve("objective", name, OBJECTIVES)


def with_objective(forward: Callable[..., Any], name: str | Callable[..., Tensor]) -> Callable[..., Any]:
    """`forward(ids, targets=…)` with the loss of the objective `name`; itself where that is its own.

    `forward` is a model, compiled or wrapped for several processes or not.
    """
    objective = find_objective(name)
    return forward if objective is next_token else _TrainedBy(forward, objective)


class _TrainedBy:
    """A forward pass whose loss is an objective's. `_orig_mod` is what lies below, as torch.compile has it."""

    def __init__(self, forward: Callable[..., Any], objective: Callable[..., Tensor]) -> None:
        self.forward, self.objective = forward, objective
        self.reads_ids = getattr(objective, "reads_ids", False)
        self.weigh: Callable[[Tensor], int] | None = getattr(objective, "weigh", None)
        self._orig_mod = getattr(forward, "_orig_mod", forward)

    def __call__(self, ids: Tensor, targets: Tensor, **kinds: Any) -> Trained:
        logits = self.forward(ids, **kinds).logits  # (B, T, V)
        more = (ids,) if self.reads_ids else ()
        return Trained(logits, self.objective(logits.float(), targets, *more))
