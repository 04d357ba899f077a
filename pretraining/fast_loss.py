"""The loss of a language model without its logits: head, softmax and cross-entropy in one step, piece by piece.

The idea: the logits are the largest tensor of a training step (16 × 256 tokens × 5,000 ids are 82 MB in float32, and
GPT-2's vocabulary is ten times that), and the ordinary way walks over such a table about ten times: made in bf16,
widened, its softmax written, a table of zeros for the labels, the gradient, narrowed again. But the gradient of a
token's loss is known as soon as its logits are: softmax - one-hot. So a slice of rows is multiplied with the head's
matrix, turned into its own gradient *in place*, a piece at a time that stays in the processor's cache, and at once
multiplied into the gradients of the stream and of the head. One table is left, and it need not be whole.
The same idea for GPUs: Hsu et al. 2024 (Liger, arXiv 2410.10989, section 3.2), Wijmans et al. 2024 (arXiv 2411.09009).

Softmax and sums run in float32 (float64 for float64). Held to F.cross_entropy by the laws of `test_fast_step_laws`.
Left out on purpose: second derivatives, label smoothing, class weights; a head that is more than a matrix (a bias,
LoRA, a cap on the logits) takes the ordinary way (see `gpt_model.gpt.GPT.head_matrix`).
Notebook: 02 of this chapter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

IGNORE = -100
TABLE_NUMBERS = 2**25  # logits that are held at once: 64 MB in bf16
LEAST_NUMBERS = 2**20  # a smaller table stays in the cache anyhow: the ordinary way has fewer calls
PIECE_NUMBERS = 2**18  # of them widened at once: 1 MB in float32, so that it stays in a core's cache


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, table: int = TABLE_NUMBERS) -> Tensor:
    """The mean cross-entropy of the logits x @ weight.T against `targets`, in nats, without keeping the logits.

    x (…, n_embd), weight (V, n_embd), targets (…) int64; a target of -100 does not count, and without any that counts
    the loss is 0. Under autocast the products run in its dtype. At most `table` logits exist at a time;
    a batch with fewer than LEAST_NUMBERS of them goes the ordinary way.
    """
    x, targets = x.reshape(-1, x.size(-1)), targets.reshape(-1)
    if len(x) * len(weight) < LEAST_NUMBERS:
        logits = F.linear(x, weight)
        total = F.cross_entropy(logits.to(_wide(logits)), targets, ignore_index=IGNORE, reduction="sum")
        return total / (targets != IGNORE).sum().clamp(min=1)
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    return _HeadLoss.apply(x.to(kind), weight, targets, table)


class _HeadLoss(torch.autograd.Function):
    """Its gradients are made in the forward pass; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, table: int) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            total, d_x, d_weight = _loss_and_gradients(x, weight, targets, table, ctx.needs_input_grad)
        ctx.save_for_backward(d_x, d_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        d_x, d_weight = ctx.saved_tensors
        if (
            grad.device.type != "cpu" or float(grad) != 1.0
        ):  # 1 is the usual case: a pass over the table is saved
            d_x = None if d_x is None else d_x * grad.to(d_x.dtype)
            d_weight = None if d_weight is None else d_weight * grad.to(d_weight.dtype)
        return d_x, d_weight, None, None


def _loss_and_gradients(
    x: Tensor, weight: Tensor, targets: Tensor, table: int, wanted: tuple[bool, ...]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The mean loss, and its gradients to x and to weight where they are `wanted`."""
    vocab, narrow = weight.size(0), weight.to(x.dtype)
    counted = targets != IGNORE
    share = counted / counted.sum().clamp(min=1).to(_wide(x))  # (N,): what a row's loss weighs in the mean
    share = share.unsqueeze(1)
    rows = max(1, min(len(x), table // vocab))
    d_x = torch.empty_like(x) if wanted[0] else None
    d_weight: Tensor | None = None
    total = share.new_zeros(())
    for begin in range(0, len(x), rows):
        some = slice(begin, begin + rows)
        scores = x[some] @ narrow.t()  # (rows, V): the logits, and after the next line their gradient
        total += (into_gradient(scores, targets[some], any(wanted[:2])) * share[some]).sum()
        if d_x is not None:  # a row's share is multiplied in here, where rows are short, not in the table
            d_x[some] = (scores @ narrow) * share[some]
        if wanted[1]:
            part = (scores.t() @ (x[some] * share[some]).to(x.dtype)).to(weight.dtype)
            d_weight = part if d_weight is None else d_weight.add_(part)  # summed as wide as the weight is
    return total, d_x, d_weight


def into_gradient(scores: Tensor, targets: Tensor, wanted: bool) -> Tensor:
    """The loss of each row, (rows, 1); `scores` (rows, V) becomes softmax - one-hot in place, if that is `wanted`.

    Subtle: log Σ exp(z) is taken from the largest share, which is exp(max z - log Σ exp(z)) and never below 1/V. So no
    second table of logarithms is needed, and a share that underflows costs nothing.
    """
    wide = _wide(scores)
    right = targets.clamp(min=0).unsqueeze(1)  # a place that does not count may name any id
    losses = scores.new_empty((len(scores), 1), dtype=wide)
    step = max(1, PIECE_NUMBERS // scores.size(1)) if scores.device.type == "cpu" else len(scores)
    for begin in range(0, len(scores), step):
        some = slice(begin, begin + step)
        piece = scores[some].to(wide)
        shares = piece.softmax(dim=-1)
        log_sum = piece.amax(dim=-1, keepdim=True) - shares.amax(dim=-1, keepdim=True).log()
        losses[some] = log_sum - piece.gather(1, right[some])
        if wanted:
            scores[some] = shares.scatter_add_(1, right[some], shares.new_full((len(shares), 1), -1.0))
    return losses


def _wide(x: Tensor) -> torch.dtype:
    """The dtype of sums and of softmax: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


@contextlib.contextmanager
def fast_loss(model: nn.Module, wanted: bool = True) -> Iterator[None]:
    """While training, every GPT inside `model` computes its loss by `linear_cross_entropy`; its logits are then None.

    In evaluation mode, and when no targets are given, nothing changes.
    """
    found = [module for module in model.modules() if wanted and hasattr(module, "head_loss")]
    before = [module.head_loss for module in found]
    for module in found:
        module.head_loss = linear_cross_entropy  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, loss in zip(found, before, strict=True):
            module.head_loss = loss
