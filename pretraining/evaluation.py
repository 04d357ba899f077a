"""Evaluation that measures and does not disturb: fixed windows, no dropout, no random numbers.

The validation tokens are cut into windows that do not overlap, the last one shorter, so each token but the
first is predicted exactly once and the same call always gives the same number. Loss is nats per token;
perplexity is its exponential; bits per byte divides by the bytes the tokens stand for, so that models with
different tokenizers can be compared. Left out: overlapping windows (more context per token, more time).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pretraining.distributed import SINGLE, World
from pretraining.precision import autocast
from utils.errors import UserError
from utils.seeding import preserved_rng

_PIECE = 1 << 22  # ids looked at at once
IGNORE = -100  # the label that has no loss, as in torch's cross_entropy


@dataclass(frozen=True)
class EvalResult:
    """A measured loss. `bits_per_byte` is None when the bytes of the text are not known."""

    loss: float  # nats per token
    tokens: int
    perplexity: float  # inf where exp overflows
    bits_per_byte: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe fields: an infinite perplexity becomes null."""
        fields = asdict(self)
        if not math.isfinite(self.perplexity):
            fields["perplexity"] = None
        return fields


def perplexity(loss: float) -> float:
    """exp(loss), and inf instead of an OverflowError.

    >>> perplexity(0.0), perplexity(1e6)
    (1.0, inf)
    """
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """Nats per token → bits per byte of text.

    >>> bits_per_byte(math.log(256), 1.0)
    8.0
    """
    if bytes_per_token <= 0:
        raise UserError(
            f"bytes_per_token is {bytes_per_token}, but it must be positive: count the text's bytes"
        )
    return loss / math.log(2) / bytes_per_token


def byte_lengths(tokenizer: Any) -> np.ndarray:
    """Bytes of text each id stands for, int64 (vocab_size,). Special tokens stand for no text: 0."""
    special = set(tokenizer.special_tokens.values())
    sizes = [0 if i in special else len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    return np.asarray(sizes, dtype=np.int64)


def count_bytes_per_token(tokenizer: Any, ids: Any) -> float:
    """Mean bytes of text per token of `ids` (any integer sequence)."""
    ids = ids if hasattr(ids, "__getitem__") else list(ids)
    if not len(ids):
        raise UserError("the validation part has no token: give more text or a larger val_fraction")
    sizes = byte_lengths(tokenizer)
    pieces = range(0, len(ids), _PIECE)  # shards may hold more than fits into memory as int64
    total = sum(int(sizes[np.asarray(ids[at : at + _PIECE]).astype(np.int64)].sum()) for at in pieces)
    return float(total / len(ids))


class EvalBatches:
    """The whole of `tokens` (or its first `max_tokens` predictions) as batches, the same at each iteration.

    Yields (x, y), int64 (B, T), B ≤ batch_size, T = block_size; y is x one later; what pads the last window
    has label -100. The n-token text has n − 1 predictions, each in exactly one batch.
    """

    def __init__(self, tokens: Any, block_size: int, batch_size: int, max_tokens: int | None = None) -> None:
        predictions = len(tokens) - 1
        if predictions < 1:
            raise UserError(f"the validation part has {len(tokens)} tokens, but 2 are needed: give more text")
        self.tokens, self.block_size, self.batch_size = tokens, block_size, batch_size
        self.predictions = predictions if max_tokens is None else min(predictions, max_tokens)

    def capped(self, max_tokens: int | None) -> EvalBatches:
        """The same text, at most its first `max_tokens` predictions."""
        return EvalBatches(self.tokens, self.block_size, self.batch_size, max_tokens)

    def __len__(self) -> int:
        windows = -(-self.predictions // self.block_size)
        return -(-windows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        per_batch = self.block_size * self.batch_size
        for start in range(0, self.predictions, per_batch):
            count = min(per_batch, self.predictions - start)
            flat = torch.from_numpy(np.asarray(self.tokens[start : start + count + 1]).astype(np.int64))
            rows = -(-count // self.block_size)
            x = torch.zeros(rows * self.block_size, dtype=torch.int64)
            y = torch.full((rows * self.block_size,), IGNORE, dtype=torch.int64)
            x[:count], y[:count] = flat[:-1], flat[1:]
            yield x.view(rows, -1), y.view(rows, -1)  # (B, T)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradient inside; each submodule's own mode and the global RNG as they were after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), preserved_rng():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    bytes_per_token: float | None = None,
    world: World = SINGLE,
) -> EvalResult:
    """The mean loss over all labelled tokens of `batches`, each token counted once and equally.

    The ranks of a `world` share the batches out and add up what they found: all get the same result.

    `dtype` bf16 or fp16 runs the forward pass under autocast; losses are summed in double precision. Training state
    is untouched: mode, gradients and RNG are restored (LP5).
    """
    device = torch.device(device)
    total, count = 0.0, 0
    with evaluating(model), autocast(device, dtype):
        for (x, y), counts in world.deal(batches):
            n = int((y != IGNORE).sum()) if counts else 0
            if n or world.size > 1:  # a sharded model's forward pass needs all ranks
                loss = model(x.to(device), targets=y.to(device)).loss
            if n:
                total, count = total + float(loss) * n, count + n
    total, count = (world.sum([total])[0], int(world.sum([count])[0]))
    if count == 0:
        raise UserError("no label to evaluate: every label of the validation batches is ignored (-100)")
    loss = total / count
    bpb = None if bytes_per_token is None else bits_per_byte(loss, bytes_per_token)
    return EvalResult(loss, count, perplexity(loss), bpb)
