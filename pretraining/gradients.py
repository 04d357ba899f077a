"""The gradient of one optimizer step: accumulated over micro-batches and ranks, weighted by tokens, clipped once.

A step's loss is (sum of token losses) / (number of labelled tokens) over *all* its micro-batches on all ranks.
Averaging the micro-batches' means instead would give a token in a half-empty batch more weight than its
neighbour in a full one; the difference is silent and grows with padding (law LP3). The norm is taken once, over
everything, after the last micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from pretraining.distributed import SINGLE, World
from pretraining.evaluation import IGNORE
from pretraining.precision import autocast

Pair = tuple[torch.Tensor, torch.Tensor]  # ids (B, T) and labels (B, T), int64; label -100 has no loss
Batch = tuple[torch.Tensor, ...]  # a Pair, of packed rows perhaps also documents (B, T)


def accumulate(
    model: Callable[..., Any],
    micro_batches: Sequence[Batch],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    scale: float = 1.0,
    world: World = SINGLE,
) -> tuple[float, int]:
    """Add the step's gradient, times `scale`, to `.grad`; return (mean loss in nats per token, labelled tokens).

    `dtype` bf16 or fp16 runs the forward pass under autocast; weights, loss and gradients stay in the weights'
    dtype. Loss and tokens are those of all ranks, each of which has other micro-batches, equally many. With no
    labelled token at all nothing is added and (nan, 0) is returned. A model trained by an objective whose loss is not
    a mean over tokens (`objectives`) says by its `weigh` what each micro-batch counts; the loss is weighted so too.
    """
    device = torch.device(device)
    counts = [int((labels != IGNORE).sum()) for _, labels, *_ in micro_batches]
    weigh = getattr(model, "weigh", None)
    shares = counts if weigh is None else [weigh(labels) for _, labels, *_ in micro_batches]
    tokens, total = (int(n) for n in world.sum([sum(counts), sum(shares)]))
    if tokens == 0 or total == 0:
        return float("nan"), 0
    wrapped = getattr(model, "_orig_mod", model)  # what `World.wrap` gave, if torch.compile stands before it
    losses, last = [0.0], len(counts) - 1
    for i, ((ids, labels, *packed), count) in enumerate(zip(micro_batches, shares, strict=True)):
        if count == 0 and world.size == 1:
            continue  # its mean would be 0/0 in some models, and one nan would spoil the whole step
        with world.accumulating(wrapped, last=i == last):
            with autocast(device, dtype):
                kinds = {"documents": packed[0].to(device)} if packed else {}
                loss = model(ids.to(device), targets=labels.to(device), **kinds).loss  # its own mean, fp32
            # ranks are averaged by whoever adds them up, so their number is multiplied back in
            weight = scale * world.size * (count / total)
            (loss if weight == 1.0 else loss * weight).backward()
        if count:
            losses.append(float(loss.detach()) * count)
    return world.sum([sum(losses)])[0] / total, tokens


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """The global L2 norm of all gradients, before they are scaled down to `limit` if it is larger.

    A limit of 0 only measures. The sum runs in the gradients' dtype, fp32 also under bf16 autocast. With a
    norm of inf or nan, which is returned as it is, nothing is scaled: the step is lost anyway.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return 0.0
    norm = torch.nn.utils.get_total_norm(grads)
    if hasattr(norm, "full_tensor"):  # gradients are shards: add up the squares of all ranks
        norm = norm.full_tensor()
    if limit > 0 and torch.isfinite(norm) and norm > limit:
        torch._foreach_mul_(grads, float(limit / (norm + 1e-6)))
    return float(norm)
