"""Laws of the fast training step: what is fast computes what is readable."""

import fast_step_checks as laws
import pytest
import torch
from training_checks import BLOCK, VOCAB, tiny_model

from pretraining import fast_loss


def test_the_fast_loss_is_cross_entropy_with_its_gradients():
    laws.check_fast_loss_is_cross_entropy()


def test_the_fast_loss_of_no_label_is_zero():
    laws.check_fast_loss_without_labels()


def test_the_fast_loss_in_bf16_is_as_exact_as_the_ordinary_one():
    laws.check_fast_loss_in_half()


@pytest.mark.parametrize("changes", [{}, {"tie_weights": False}, {"logit_softcap": 5.0}])
def test_a_model_trains_alike_without_its_logits(changes):
    laws.check_a_model_trains_alike_without_logits(**changes)


def test_a_head_that_is_more_than_a_matrix_keeps_its_logits():
    model = tiny_model(tie_weights=False)
    model.head = torch.nn.Sequential(model.head)  # as LoRA or a quantised layer would stand there
    with fast_loss.fast_loss(model):
        assert (
            model(
                torch.zeros(1, BLOCK, dtype=torch.int64), targets=torch.zeros(1, BLOCK, dtype=torch.int64)
            ).logits.shape[-1]
            == VOCAB
        )


@laws.small_tables_too()
def test_a_frozen_head_gets_no_gradient_and_the_stream_does():
    x, weight, targets = laws._case(torch.float32)
    loss = fast_loss.linear_cross_entropy(x, weight.detach(), targets)
    (found,) = torch.autograd.grad(loss, [x])
    assert float(found.abs().max()) > 0


@laws.small_tables_too()
def test_a_second_derivative_is_refused_and_not_wrong():
    x, weight, targets = laws._case(torch.float32)
    loss = fast_loss.linear_cross_entropy(x, weight, targets).square()
    (grad,) = torch.autograd.grad(loss, [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("least", [0, 10**9])
def test_small_and_large_tables_have_one_loss(least, monkeypatch):
    """On both sides of the threshold the same value and gradients, also where no label counts."""
    monkeypatch.setattr(fast_loss, "LEAST_NUMBERS", least)
    for labels in (laws._case(torch.float64)[2], torch.full((3, 7), -100)):
        x, weight, _ = laws._case(torch.float64)
        reference = torch.nn.functional.cross_entropy(
            (x @ weight.t()).reshape(-1, 11), labels.reshape(-1), reduction="sum"
        ) / max(1, int((labels != -100).sum()))
        found = fast_loss.linear_cross_entropy(x, weight, labels)
        assert abs(float(found.detach() - reference.detach())) <= 1e-12
        pairs = zip(
            torch.autograd.grad(found, [x, weight]), torch.autograd.grad(reference, [x, weight]), strict=True
        )
        assert all(float((a - b).abs().max()) <= 1e-12 for a, b in pairs)
