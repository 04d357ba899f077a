"""Direct preference optimisation in two pure functions: how likely an answer is, and what a pair of them costs.

A person, or a verifier, says of two answers to one request which is the better. Bradley and Terry's model (1952)
turns rewards r into such a choice: P(chosen beats rejected) = σ(r_chosen − r_rejected). Reward learning fits r to the
choices, then reinforcement learning looks for a policy π with a high reward that stays near a reference. Rafailov et
al. 2023 (arXiv 2305.18290, §4) solve the second step on paper: the best such policy has

    r(x, y) = β · log [π(y | x) / π_ref(y | x)] + a term of x alone

The term cancels in the difference, so the policy itself is the reward model and the choices train it directly:

    loss = −log σ( β · [log π(chosen)/π_ref(chosen) − log π(rejected)/π_ref(rejected)] )

At the start the two models are one, every ratio is 0, and the loss is ln 2 whatever β and the answers are.

Variants: `label_smoothing` (a share of the choices is taken to be wrong; Mitchell 2023, "cDPO"), `kind="ipo"`
(the margin is pulled to 1 / 2β instead of to infinity; Azar et al. 2023, arXiv 2310.12036, eq. 17), and answers that
are judged per token (`per_token`), so that a long one has no larger reward for its length alone. Left out: losses
without a reference, and rankings of more than two. Notebook 04 of this chapter; law LF8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError

IGNORE = -100
KINDS = ("dpo", "ipo")


class PairLosses(NamedTuple):
    """For each pair: the loss, and β · log π/π_ref of both answers, the rewards that the policy stands for.

    The rewards carry no gradient: they are for looking at.
    """

    loss: Tensor  # (pairs,)
    chosen_reward: Tensor  # (pairs,)
    rejected_reward: Tensor  # (pairs,)


def answer_log_probs(logits: Tensor, labels: Tensor, *, per_token: bool = False) -> Tensor:
    """log π(answer | prompt) of each row, in nats: the sum of its labelled tokens' log-probabilities.

    logits (B, T, V), labels (B, T) → (B,). **The labels are shifted already**, as a loader gives them: labels[b, t]
    is the token after place t, or −100 where it is not of the answer. Shift again and every token is asked for at
    the wrong place. With `per_token` the mean instead of the sum. Raises UserError for a row without a label: no
    answer has no probability.

    >>> logits = torch.tensor([[[2.0, 2.0], [0.0, 0.0], [9.0, 0.0]]])   # the last place asks for nothing
    >>> round(float(answer_log_probs(logits, torch.tensor([[0, 1, -100]]))), 4)   # two fair coins
    -1.3863
    """
    if logits.shape[:-1] != labels.shape:
        raise UserError(
            f"logits are {tuple(logits.shape)}, labels {tuple(labels.shape)}: give one label for each place"
        )
    labelled = labels != IGNORE  # (B, T)
    lengths = labelled.sum(dim=-1)  # (B,)
    if bool((lengths == 0).any()):
        row = int((lengths == 0).nonzero()[0])
        raise UserError(f"row {row} has no answer (every label is {IGNORE}): leave such pairs out")
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    nats = F.cross_entropy(wide.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    sums = -nats.view_as(labels).sum(dim=-1)  # what is ignored costs 0
    return sums / lengths if per_token else sums


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    kind: str = "dpo",
) -> PairLosses:
    """The loss of each pair from four log-probabilities (pairs,), in nats, as `answer_log_probs` gives them.

    `beta` says how much a nat of distance from the reference is worth: small lets the policy go far, large holds it.
    The gradient is −β · σ(−margin) · (∇log π(chosen) − ∇log π(rejected)): a pair that is in order pulls no more.
    "ipo" never stops pulling, towards a margin of exactly 1 / 2β nats.

    Raises UserError for a beta that is not positive, smoothing outside [0, 0.5), or an unknown kind.

    >>> one = torch.tensor([-3.0])
    >>> round(float(dpo_loss(one, one - 4, one, one - 4).loss), 4)   # ln 2: it is the reference still
    0.6931
    """
    if not beta > 0:
        raise UserError(f"beta is {beta}, but it weighs the distance from the reference: give one above 0")
    if not 0 <= label_smoothing < 0.5:
        raise UserError(
            f"label_smoothing is {label_smoothing}, the share of wrong choices: give 0 to below 0.5"
        )
    chosen = policy_chosen - reference_chosen  # log π/π_ref
    rejected = policy_rejected - reference_rejected
    margin = chosen - rejected
    if kind == "dpo":
        # logsigmoid, not log(sigmoid): at −100 the latter is log(0)
        right, wrong = F.logsigmoid(beta * margin), F.logsigmoid(-beta * margin)
        loss = -(1 - label_smoothing) * right - label_smoothing * wrong
    elif kind == "ipo":
        if label_smoothing:
            raise UserError("label_smoothing belongs to kind='dpo': leave it out, or change the kind")
        loss = (margin - 1 / (2 * beta)).square()
    else:
        raise UserError(f"the kind of preference loss is {kind!r}: choose {' or '.join(KINDS)}")
    return PairLosses(loss, (beta * chosen).detach(), (beta * rejected).detach())
