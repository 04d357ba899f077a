"""LD2 for finetuning/04: other right answers pass, new kinds of wrong ones get the property that fails."""

import math

import pytest
import torch

from finetuning.exercises.preferences_dpo import ANSWER, KL, LOSS, PREDICTIONS
from finetuning.preference.losses import answer_log_probs, dpo_loss
from utils.exercises import check


def _by_module(logits, ids, prompt):
    labels = torch.full((1, len(logits)), -100)
    for place in range(prompt, len(ids)):
        labels[0, place - 1] = ids[place]
    return answer_log_probs(logits[None], labels)[0]


def _kl_by_torch(policy, reference):
    p, q = torch.tensor([policy, reference], dtype=torch.float64)
    return torch.nn.functional.kl_div(q.log(), p, reduction="sum")  # torch names the second one first


def _loss_by_module(*arguments):
    *four, beta = arguments
    return dpo_loss(*(torch.tensor([v], dtype=torch.float64) for v in four), beta=beta).loss[0]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (ANSWER, _by_module),
        (ANSWER, lambda z, ids, n: sum(z[p - 1, ids[p]] - z[p - 1].logsumexp(0) for p in range(n, len(ids)))),
        (LOSS, _loss_by_module),
        (LOSS, lambda a, b, c, d, beta: -math.log(1 / (1 + math.exp(-beta * (a - b - c + d))))),
        (KL, lambda p, q: sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a)),
        (KL, _kl_by_torch),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (ANSWER, lambda logits, ids, n: 0.0, "one token"),
        (ANSWER, lambda logits, ids, n: "likely", "one token"),
        (ANSWER, lambda z, ids, n: float(z.log_softmax(-1)[n - 1, ids[n]]), "two tokens"),
        (LOSS, lambda *arguments: math.log(2), "gained two nats"),
        (LOSS, lambda a, b, c, d, beta: max(0.0, math.log(2) - beta * (a - b - c + d)), "gained two nats"),
        (KL, lambda p, q: 0.0, "half of the time"),
        (KL, lambda p, q: sum((a - b) ** 2 for a, b in zip(p, q, strict=True)), "half of the time"),
    ],
)
def test_a_new_kind_of_wrong_answer_is_told_what_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_predictions_are_what_the_modules_give():
    answers = {p.name: p.answer for p in PREDICTIONS}
    zero = torch.zeros(1)
    assert answers["dpo_first_loss"] == pytest.approx(float(dpo_loss(zero, zero, zero, zero).loss))
    assert answers["bradley_terry_two"] == pytest.approx(float(torch.sigmoid(torch.tensor(2.0))))
    pulls = []
    for margin in (0.0, 3.0):
        one = torch.tensor([margin], requires_grad=True)
        pulls.append(float(torch.autograd.grad(dpo_loss(one, zero, zero, zero, beta=1.0).loss.sum(), one)[0]))
    assert answers["dpo_pull_in_order"] == pytest.approx(pulls[1] / pulls[0])
    at_aim = torch.tensor([answers["ipo_margin"]])
    assert float(dpo_loss(at_aim, zero, zero, zero, beta=0.1, kind="ipo").loss) == pytest.approx(0, abs=1e-9)
