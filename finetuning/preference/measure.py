"""What preference tuning changed, on pairs and requests that it never saw.

- **Preference accuracy**: the share of held-out pairs whose chosen answer has the larger reward, β · log π/π_ref. Of
  the untouched model every reward is 0, which counts as not preferred; `likelier` is the same question about the
  plain log-probabilities, which the untouched model can already answer.
- **Margins**: the mean difference of the rewards, and both log-probabilities. They may both fall while the margin
  grows: the loss asks for a difference and not for a level (Rafailov et al. 2024, arXiv 2404.12358).
- **KL and lengths**: how far the policy has gone from the reference where it itself goes. Answers are drawn from the
  policy, and at each of their places the divergence of the two next-token distributions is taken whole, so only the
  drawing is left to chance. A reward that pays for length shows in the length of the answers.

Who answers better, judged by verifiers: `evaluation.resampling.win_rate`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetuning.evaluation.intervals import Share
from finetuning.preference.data import EncodedPair, by_length, stack
from finetuning.preference.losses import dpo_loss
from finetuning.preference.reference import log_probs_of
from finetuning.preference.sources import sampled_ids
from pretraining.evaluation import evaluating
from utils.errors import UserError


@dataclass(frozen=True)
class PreferenceScore:
    """What was found on held-out pairs; means over pairs, nats for log-probabilities."""

    accuracy: Share  # the chosen answer has the larger reward
    likelier: Share  # the chosen answer has the larger probability
    by_reason: dict[str, Share]  # accuracy, by what is wrong with the worse answer
    margin: float  # of the rewards
    chosen_reward: float
    rejected_reward: float
    chosen_log_prob: float
    rejected_log_prob: float
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json: shares with their intervals."""
        fields: dict[str, Any] = {k: v for k, v in vars(self).items() if not isinstance(v, Share | dict)}
        fields |= {"accuracy": _told(self.accuracy), "likelier": _told(self.likelier)}
        return fields | {"by_reason": {reason: _told(share) for reason, share in self.by_reason.items()}}


@dataclass(frozen=True)
class Drift:
    """Where the policy itself goes: nats of divergence from the reference, and how long its answers are."""

    kl: float  # a whole answer, mean over answers
    kl_per_token: float
    length: float  # tokens of an answer, its end token not counted
    answers: int


def measure_preferences(
    policy: Any,
    reference: Any,
    pairs: Sequence[EncodedPair],
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    kind: str = "dpo",
    per_token: bool = False,
    batch_size: int = 32,
) -> PreferenceScore:
    """Judge `policy` on held-out pairs. `reference(ids, labels)` gives the reference's log-probabilities.

    Leaves no trace in the model or the random numbers. Raises UserError without a pair.
    """
    if not pairs:
        raise UserError("there is no held-out pair to judge by: give some")
    columns: dict[str, list[torch.Tensor]] = defaultdict(list)
    reasons: list[str] = []
    for group in by_length(pairs, batch_size):
        ids, labels = stack(group)
        chosen, rejected = log_probs_of(policy, ids, labels, per_token=per_token).cpu().chunk(2)
        theirs = reference(ids, labels).cpu().chunk(2)
        found = dpo_loss(chosen, rejected, *theirs, beta=beta, label_smoothing=label_smoothing, kind=kind)
        reasons += [each.pair.reason for each in group]
        for name, values in {**found._asdict(), "chosen": chosen, "rejected": rejected}.items():
            columns[name].append(values)
    whole = {name: torch.cat(parts).double() for name, parts in columns.items()}
    margin = whole["chosen_reward"] - whole["rejected_reward"]
    right = (margin > 0).tolist()
    groups: dict[str, list[bool]] = defaultdict(list)
    for reason, hit in zip(reasons, right, strict=True):
        if reason:
            groups[reason].append(hit)
    return PreferenceScore(
        accuracy=Share(sum(right), len(right)),
        likelier=Share(int((whole["chosen"] > whole["rejected"]).sum()), len(right)),
        by_reason={reason: Share(sum(hits), len(hits)) for reason, hits in sorted(groups.items())},
        margin=float(margin.mean()),
        chosen_reward=float(whole["chosen_reward"].mean()),
        rejected_reward=float(whole["rejected_reward"].mean()),
        chosen_log_prob=float(whole["chosen"].mean()),
        rejected_log_prob=float(whole["rejected"].mean()),
        loss=float(whole["loss"].mean()),
    )


def drift(
    policy: Any, reference: Any, prompts: Sequence[list[int]], ends: tuple[int, ...], *, seed: int = 0
) -> Drift:
    """Draw one answer to each prompt (ids) from `policy`; measure KL(policy ‖ reference) along it. No trace is left."""
    device = next(policy.parameters()).device
    total, places, lengths = 0.0, 0, []
    with evaluating(policy), evaluating(reference):
        for prompt, answer in zip(
            prompts, sampled_ids(policy, list(prompts), ends, 1.0, seed, 48), strict=True
        ):
            if answer is None:
                continue
            ids = torch.tensor([[*prompt, *answer]], device=device)
            asked = slice(len(prompt) - 1, None)  # the places that ask for the answer and for its end
            mine = policy(ids).logits[0, asked].double().log_softmax(-1)  # (places, V)
            theirs = reference(ids).logits[0, asked].double().log_softmax(-1)
            total += float((mine.exp() * (mine - theirs)).sum())
            places += mine.size(0)
            lengths.append(len(answer))
    answers = max(1, len(lengths))
    return Drift(total / answers, total / max(1, places), sum(lengths) / answers, len(lengths))


def _told(share: Share) -> dict[str, Any]:
    return {
        "value": share.value,
        "hits": share.hits,
        "total": share.total,
        "interval": list(share.interval),
    }
