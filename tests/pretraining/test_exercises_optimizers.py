"""LD2 for pretraining/03: exercises are proved, other right answers pass, new wrong ones get the property."""

import pytest
import torch

from pretraining.exercises.optimizers import ADAMW, GALORE, ORTHO
from pretraining.galore import state_numel
from pretraining.muon import orthogonalize
from utils.exercises import check


def _adamw_in_place(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    fix = (1 - beta2**t) ** 0.5
    return p * (1 - lr * decay) - lr / (1 - beta1**t) * m * fix / (v.sqrt() + eps * fix), m, v


def _by_the_other_gram_matrix(g):
    x = g.T / g.pow(2).sum().sqrt()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x @ (x.T @ x) + 2.0315 * x @ (x.T @ x) @ (x.T @ x)
    return x.T


def test_other_right_answers_pass():
    assert check(ADAMW, _adamw_in_place)
    assert check(GALORE, lambda m, n, r: state_numel((m, n), r))
    assert check(ORTHO, _by_the_other_gram_matrix)
    assert check(ORTHO, lambda g: orthogonalize(g[None], dtype=torch.float64)[0])


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (ADAMW, lambda p, *rest, **kinds: p, "three tensors"),
        (ADAMW, lambda p, g, m, v, t, **kinds: (p - 0.1 * g, m, v), "the first step without decay"),
        (GALORE, lambda m, n, r: "many", "give a number"),
        (GALORE, lambda m, n, r: m * r + 2 * r * n if r < min(m, n) else 2 * m * n, "the short side is projected"),
        (ORTHO, lambda g: g.T, "the shape stays"),
        (ORTHO, lambda g: torch.linalg.svd(g, full_matrices=False)[0] @ torch.linalg.svd(g, full_matrices=False)[2],
         "singular value goes through"),
    ],
)  # fmt: skip
def test_a_wrong_answer_that_nobody_named_gets_the_property(exercise, answer, words):
    result = check(exercise, answer)
    assert not result and words in result.message, result.message
