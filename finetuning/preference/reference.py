"""The model that the policy is compared with: asked in every step, or once before the first.

The reference is the model as it was when preference tuning began. It says how likely each answer *was*, so that what
is learned is a change and not a level: a fluent answer is likely under every model, and that alone is no reason to
prefer it. It never learns; here that means a copy of its own, in evaluation mode, whose weights take no gradient.

- `OnlineReference` keeps that second model and asks it in each step: twice the weights, a third more computing.
- `CachedReference` asks it once about each pair and keeps two numbers a pair. Afterwards the model may go. A row is
  looked up by its content, so no shuffle, resume or other batch can give it another's number.

Both give the same log-probabilities (law LF8). Left out: a reference that moves along (sync_ref_model of TRL).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from finetuning.preference.data import EncodedPair, by_length, stack
from finetuning.preference.losses import IGNORE, answer_log_probs
from pretraining.evaluation import evaluating
from pretraining.precision import autocast
from utils.errors import RunFailure


def frozen_copy(model: nn.Module) -> nn.Module:
    """The model as it is now, for ever: evaluation mode, no gradients, weights of its own."""
    copy = deepcopy(model).eval()
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    return copy


def log_probs_of(
    model: Any, ids: Tensor, labels: Tensor, *, per_token: bool = False, dtype: torch.dtype = torch.float32
) -> Tensor:
    """log π(answer) of each row (B,), without gradient and without a trace in the model's state or the RNG."""
    device = next(model.parameters()).device
    with evaluating(model), autocast(device, dtype):
        logits = model(ids.to(device)).logits
        return answer_log_probs(logits.float(), labels.to(device), per_token=per_token)


class OnlineReference:
    """Asks a frozen model of its own (`frozen_copy`) about every batch."""

    def __init__(
        self, model: nn.Module, *, per_token: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        self.model = frozen_copy(model)
        self.per_token, self.dtype = per_token, dtype

    def __call__(self, ids: Tensor, labels: Tensor) -> Tensor:
        """log π_ref of each row's answer, (B,)."""
        if next(self.model.parameters()).device != ids.device:
            self.model.to(ids.device)
        return log_probs_of(self.model, ids, labels, per_token=self.per_token, dtype=self.dtype)


class CachedReference:
    """Remembers what `model` says of the answers of `pairs`; knows nothing else. Made once, before training.

    Raises RunFailure when it is asked about a row that is not of these pairs.
    """

    def __init__(
        self,
        model: nn.Module,
        pairs: Sequence[EncodedPair],
        *,
        batch_size: int = 32,
        per_token: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.per_token = per_token
        self.table: dict[tuple[bytes, bytes], float] = {}
        for group in by_length(pairs, batch_size):
            ids, labels = stack(group)
            found = log_probs_of(model, ids, labels, per_token=per_token, dtype=dtype).cpu()
            self.table.update(zip(_keys(ids, labels), found.tolist(), strict=True))

    def __call__(self, ids: Tensor, labels: Tensor) -> Tensor:
        """log π_ref of each row's answer, (B,)."""
        try:
            values = [self.table[key] for key in _keys(ids.cpu(), labels.cpu())]
        except KeyError:
            raise RunFailure(
                "a pair of this batch was not among those that the reference was asked about: give "
                "CachedReference all pairs, or set reference=online"
            ) from None
        return torch.tensor(values, device=ids.device)


def _keys(ids: Tensor, labels: Tensor) -> list[tuple[bytes, bytes]]:
    """What tells a row from all others, whatever it is padded to: its ids and labels up to the last label."""
    keys = []
    for row, asked in zip(ids.numpy(), labels.numpy(), strict=True):
        end = int((asked != IGNORE).nonzero()[0].max(initial=-1)) + 1
        keys.append((row[:end].tobytes(), asked[:end].tobytes()))
    return keys
