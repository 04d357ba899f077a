"""DPO as an objective of the ordinary Trainer: rows of a batch are compared in pairs, and with the reference.

The Trainer calls the policy on 2B rows (`data.stack`) and hands over logits, labels and ids. Here they become
log-probabilities, the reference is asked about the same rows, and the mean of the pairs' losses goes back. A
micro-batch weighs as many as it has pairs, not labelled tokens: each pair is one choice, however long its answers.
What is worth looking at (rewards, margins, the share of pairs in order) is summed up between two lines of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from finetuning.preference.losses import answer_log_probs, dpo_loss
from utils.errors import UserError


@dataclass
class PreferenceObjective:
    """The mean loss of a batch's pairs, for `Trainer(…, objective=…)`. `reference(ids, labels)` → log-probs (2B,).

    `per_token` must be the reference's own: means are compared with means.
    """

    reference: Callable[[Tensor, Tensor], Tensor]
    beta: float = 0.1
    label_smoothing: float = 0.0
    kind: str = "dpo"
    per_token: bool = False
    reads_ids: bool = field(default=True, init=False)  # the seam of `pretraining.objectives`
    _sums: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        theirs = getattr(self.reference, "per_token", self.per_token)
        if theirs != self.per_token:
            raise UserError(
                f"per_token is {self.per_token}, the reference's {theirs}: a mean and a sum cannot be compared"
            )
        one = torch.zeros(1)
        dpo_loss(one, one, one, one, **self.settings)  # wrong settings are better known before the first step

    @property
    def settings(self) -> dict[str, Any]:
        """What `dpo_loss` is told."""
        return {"beta": self.beta, "label_smoothing": self.label_smoothing, "kind": self.kind}

    def weigh(self, labels: Tensor) -> int:
        """The pairs of a micro-batch."""
        return labels.size(0) // 2

    def __call__(self, logits: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        """logits (2B, T, V), labels and ids (2B, T): chosen rows first. Returns the mean loss of the B pairs."""
        if labels.size(0) % 2:
            raise UserError(
                f"{labels.size(0)} rows are no pairs: give the chosen rows, then the rejected ones"
            )
        policy = answer_log_probs(logits, labels, per_token=self.per_token)
        with torch.no_grad():
            reference = self.reference(ids, labels).to(policy.dtype)
        found = dpo_loss(*policy.chunk(2), *reference.chunk(2), **self.settings)
        self._remember(found, policy.detach())
        return found.loss.mean()

    def take(self) -> dict[str, float]:
        """Means over the pairs since the last call, for a line of the log; empty when there were none."""
        sums, self._sums = self._sums, {}
        pairs = sums.pop("pairs", 0.0)
        return {name: value / pairs for name, value in sums.items()}

    def _remember(self, found: Any, policy: Tensor) -> None:
        margin = found.chosen_reward - found.rejected_reward
        chosen, rejected = policy.chunk(2)
        now = {
            "margin": margin,
            "accuracy": (margin > 0).float(),
            "chosen_reward": found.chosen_reward,
            "rejected_reward": found.rejected_reward,
            "chosen_log_prob": chosen,
            "rejected_log_prob": rejected,
        }
        for name, values in now.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.sum())
        self._sums["pairs"] = self._sums.get("pairs", 0.0) + len(margin)
