"""The gradient of one optimizer step: accumulated over micro-batches, weighted by tokens, clipped once.

A step's loss is (sum of token losses) / (number of labelled tokens) over *all* its micro-batches. Averaging
the micro-batches' means instead would give a token in a half-empty batch more weight than its neighbour in a
full one; the difference is silent and grows with padding (law LP3). The norm is taken once, over everything,
after the last micro-batch. Left out: more than one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from pretraining.evaluation import IGNORE

Batch = tuple[torch.Tensor, torch.Tensor]  # ids (B, T) and labels (B, T), int64; label -100 has no loss


def accumulate(
    model: Callable[..., Any],
    micro_batches: Sequence[Batch],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[float, int]:
    """Add the step's gradient to `.grad`; return (mean loss in nats per token, labelled tokens).

    `dtype` bf16 runs the forward pass under autocast; weights, loss and gradients stay in the weights' dtype.
    With no labelled token at all nothing is added and (nan, 0) is returned. What batches hold after their
    ids and labels goes to the model as it is.
    """
    device = torch.device(device)
    counts = [int((labels != IGNORE).sum()) for _, labels in micro_batches]
    total = sum(counts)
    loss_sum = 0.0
    for (ids, labels), count in zip(micro_batches, counts, strict=True):
        if count == 0:
            continue  # its mean would be 0/0, and one nan would spoil the whole step
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(ids.to(device), targets=labels.to(device)).loss  # mean over its own tokens, fp32
        if count != total:
            (loss * (count / total)).backward()
        else:
            loss.backward()
        loss_sum += float(loss.detach()) * count
    return (loss_sum / total if total else float("nan")), total


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """The global L2 norm of all gradients, before they are scaled down to `limit` if it is larger.

    A limit of 0 only measures. The sum runs in the gradients' dtype, fp32 also under bf16 autocast. With a
    norm of inf or nan, which is returned as it is, nothing is scaled: the step is lost anyway.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return 0.0
    norm = torch.nn.utils.get_total_norm(grads)
    if limit > 0 and torch.isfinite(norm) and norm > limit:
        torch._foreach_mul_(grads, float(limit / (norm + 1e-6)))
    return float(norm)
