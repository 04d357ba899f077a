"""LD2 for pretraining/02: exercises are proved, other right answers pass, wrong ones hear the property that fails."""

import pytest
import torch
import torch.nn.functional as F

from gpt_model.config import preset
from gpt_model.mfu import multiplied_parameters, utilisation
from pretraining.exercises.fast_step import AMDAHL, LOSS, MFU
from pretraining.fast_loss import into_gradient
from utils.exercises import check, load_answer


def _by_autograd(logits, targets):
    leaf = logits.requires_grad_()
    loss = F.cross_entropy(leaf, targets, ignore_index=-100)
    return loss, torch.autograd.grad(loss, leaf)[0]


def _by_the_module(logits, targets):
    counted = (targets != -100).unsqueeze(1)
    losses = into_gradient(logits, targets, wanted=True)
    return (losses * counted).sum() / counted.sum(), logits * counted / counted.sum()


def test_other_right_answers_pass():
    assert check(LOSS, _by_autograd)
    assert check(LOSS, _by_the_module)
    assert check(AMDAHL, lambda share, factor: factor / (factor * (1 - share) + share))
    assert check(MFU, lambda n, L, w, T, speed, peak: speed / (peak / (6 * n + 12 * L * w * T)))


def test_the_formula_of_the_exercise_is_that_of_the_model_chapter():
    c = preset("gpt2")
    answer = load_answer(MFU.solution, "mfu")
    own = answer(multiplied_parameters(c), c.n_layer, c.n_embd, 1024, 1000.0, 1e15)
    assert own == pytest.approx(utilisation(c, 1024, 1000.0, 1e15), rel=1e-12)


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (MFU, lambda *numbers: "much", "give a number"),
        (MFU, lambda n, *rest: 6.0 * n, "a token costs 6 N"),
        (AMDAHL, lambda share, factor: factor, "when nothing of it gets faster"),
        (AMDAHL, lambda share, factor: None if share == 1 else 1.0, "give a number"),
        (LOSS, lambda logits, targets: logits, "give two things back"),
        (LOSS, lambda logits, targets: (0.0, logits[0]), "a number for each logit"),
        (LOSS, lambda logits, targets: (7.0, logits), "with a label in each row the loss is"),
    ],
)
def test_a_wrong_answer_that_nobody_named_gets_the_property(exercise, answer, words):
    result = check(exercise, answer)
    assert not result and words in result.message, result.message
