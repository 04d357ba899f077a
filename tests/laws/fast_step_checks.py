"""Laws of the fast training step: each fast twin computes what the readable form computes.

References: F.cross_entropy over whole logits, float64 where sums are compared, torch's own clip and AdamW.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from training_checks import BLOCK, VOCAB, tiny_model

from gpt_model.gpt import GPT
from pretraining import fast_loss


@contextmanager
def small_tables_too() -> Iterator[None]:
    """Inside, tiny batches take the fast way as well, which is for large ones."""
    before, fast_loss.LEAST_NUMBERS = fast_loss.LEAST_NUMBERS, 0
    try:
        yield
    finally:
        fast_loss.LEAST_NUMBERS = before


def _case(dtype: torch.dtype, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """A stream (3, 7, 8), a head (11, 8) and labels, one row of which, and some places more, do not count."""
    generator = torch.Generator().manual_seed(3)
    x = (spread * torch.randn(3, 7, 8, generator=generator, dtype=torch.float64)).to(dtype)
    weight = torch.randn(11, 8, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(11, (3, 7), generator=generator)
    targets[1] = -100
    targets[0, ::3] = -100
    return x.requires_grad_(), weight.requires_grad_(), targets


@small_tables_too()
def check_fast_loss_is_cross_entropy() -> None:
    """Value and both gradients, float64, to 1e-12: whole, in slices of any size, scaled, with far-apart logits."""
    for spread in (1.0, 300.0):  # with the second, shares underflow: their logarithm must not be taken
        x, weight, targets = _case(torch.float64, spread)
        logits = (x @ weight.t()).reshape(-1, 11)
        expected = F.cross_entropy(logits, targets.reshape(-1), ignore_index=-100)
        wanted = torch.autograd.grad(2.5 * expected, [x, weight])
        for table in (1, 11, 40, 10**6):  # one row at a time, rows that do not divide, all at once
            loss = fast_loss.linear_cross_entropy(x, weight, targets, table)
            found = torch.autograd.grad(2.5 * loss, [x, weight])
            off = abs(float(loss.detach() - expected.detach())) / float(expected.detach())
            assert off <= 1e-12, f"table of {table}: the loss is off by {off:.1e} of it (spread {spread})"
            for name, one, other in zip(("stream", "head"), found, wanted, strict=True):
                worst = float((one - other).abs().max())
                assert worst <= 1e-12 * spread, (
                    f"table of {table}: the gradient of the {name} is off by {worst:.1e}: it is "
                    "(softmax - one-hot) / counted labels, and a place without a label has none"
                )


@small_tables_too()
def check_fast_loss_without_labels() -> None:
    """No label at all: loss 0 and gradients 0, no nan."""
    x, weight, targets = _case(torch.float32)
    loss = fast_loss.linear_cross_entropy(x, weight, torch.full_like(targets, -100))
    grads = torch.autograd.grad(loss, [x, weight])
    assert float(loss.detach()) == 0.0, f"the loss of no label is {float(loss.detach())}"
    assert all(float(g.abs().max()) == 0.0 for g in grads), "a batch without labels moved something"


@small_tables_too()
def check_fast_loss_in_half() -> None:
    """Under bf16 autocast: within bf16's rounding of the float64 gradient, and no worse than the ordinary way."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(64, 32, generator=generator, requires_grad=True)
    weight = (0.3 * torch.randn(97, 32, generator=generator)).requires_grad_()
    targets = torch.randint(97, (64,), generator=generator)
    truth = torch.autograd.grad(F.cross_entropy(x.double() @ weight.double().t(), targets), [x, weight])
    with torch.autocast("cpu", torch.bfloat16):
        ordinary = F.cross_entropy(F.linear(x, weight).float(), targets)
        fast = fast_loss.linear_cross_entropy(x, weight, targets)
    assert fast.dtype == torch.float32, f"the loss is {fast.dtype}: it must be summed in float32"
    for usual, found, true in zip(
        torch.autograd.grad(ordinary, [x, weight]), torch.autograd.grad(fast, [x, weight]), truth, strict=True
    ):
        assert found.dtype == torch.float32, "a float32 parameter needs a float32 gradient"
        errors = [float((g - true).norm() / true.norm()) for g in (found, usual)]
        assert errors[0] <= 2 * errors[1] + 1e-6, f"relative errors {errors}: rounded more often than needed"


@small_tables_too()
def check_a_model_trains_alike_without_logits(**changes: object) -> None:
    """A whole GPT: the same loss and gradients with and without logits; nothing changes in evaluation mode."""
    model: GPT = tiny_model(**changes).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(5)
    ids, labels = torch.randint(VOCAB, (2, 3, BLOCK), generator=generator)
    labels[0, :5] = -100
    usual = model(ids, targets=labels)
    usual.loss.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with fast_loss.fast_loss(model):
        fast = model(ids, targets=labels)
        fast.loss.backward()
        model.eval()
        quiet = model(ids, targets=labels)
        model.train()
    assert (fast.logits is None) == (model.head_matrix() is not None), (
        "logits of the fast way, or none of the usual"
    )
    assert torch.equal(quiet.logits, usual.logits), "evaluation must be as it was"
    assert model.head_loss is None, "the model must be left as it was found"
    off = abs(float(fast.loss.detach() - usual.loss.detach()))
    assert off <= 1e-12, f"the loss is off by {off:.1e}: is something of the head left out?"
    for name, p in model.named_parameters():
        worst = float((p.grad - wanted[name]).abs().max())
        assert worst <= 1e-12, f"the gradient of {name} is off by {worst:.1e}"
