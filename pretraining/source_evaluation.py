"""One loss for each split or source, and one for all of them that is right.

A model is judged on parts: train and val, book by book, topic by topic. Each part is cut into windows of its own, so
no window mixes two. The loss of several parts together is the sum of all token losses over the number of all tokens,
never the mean of the parts' means, in which a part of ten tokens weighs as much as one of a million. Bits per byte
divide by the bytes of just those tokens that were predicted.

A cap takes the first `max_tokens` predictions of each part: the same ones at any batch size, in every run.
Left out: overlapping windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pretraining.evaluation import EvalBatches, bits_per_byte, byte_lengths, evaluate, perplexity
from pretraining.prepared_data import encode_documents
from utils.errors import UserError
from working_with_text_data.documents import Document


@dataclass(frozen=True)
class PartResult:
    """What one part (or all together) cost: nats summed over its tokens, and the bytes of text they stand for."""

    nats: float
    tokens: int
    n_bytes: int | None = None  # None where the tokenizer is not known

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float | None:
        """Comparable between tokenizers; None when the bytes are not known, or there are none."""
        return bits_per_byte(self.loss, self.n_bytes / self.tokens) if self.n_bytes else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe fields: an infinite perplexity becomes null."""
        ppl = perplexity(self.loss)
        return {
            "tokens": self.tokens,
            "loss": self.loss,
            "perplexity": ppl if math.isfinite(ppl) else None,
            "bits_per_byte": self.bits_per_byte,
        }


def together(parts: Iterable[PartResult]) -> PartResult:
    """All parts as one: sums over tokens, so that a large part weighs as much as it is large.

    >>> together([PartResult(10.0, 10), PartResult(300.0, 100)]).loss  # not (1 + 3) / 2
    2.8181818181818183
    """
    parts = list(parts)
    sizes = [part.n_bytes for part in parts]
    known = None if any(size is None for size in sizes) else sum(size for size in sizes if size is not None)
    return PartResult(sum(part.nats for part in parts), sum(part.tokens for part in parts), known)


def evaluate_parts(
    model: nn.Module,
    parts: Mapping[str, Any],
    *,
    block_size: int,
    batch_size: int = 16,
    max_tokens: int | None = None,
    tokenizer: Any = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, PartResult]:
    """Loss of each part (name → 1-D ids), on at most its first `max_tokens` predictions.

    With a `tokenizer`, bits per byte too. Raises UserError for a part of fewer than two tokens, and for ids that the
    model does not know.
    """
    sizes = None if tokenizer is None else byte_lengths(tokenizer)
    results = {}
    for name, tokens in parts.items():
        if len(tokens) < 2:
            raise UserError(
                f"{name} has {len(tokens)} tokens, but 2 are needed: give more text, or leave it out"
            )
        batches = EvalBatches(tokens, block_size, batch_size, max_tokens)
        asked = np.asarray(tokens[1 : batches.predictions + 1]).astype(np.int64)
        vocab_size = getattr(getattr(model, "config", None), "vocab_size", None)
        if vocab_size is not None and max(int(asked.max()), int(tokens[0])) >= vocab_size:
            raise UserError(
                f"{name} holds the id {int(asked.max())}, but the model knows {vocab_size} ids: "
                "encode it with the model's own tokenizer"
            )
        result = evaluate(model, batches, device=device, dtype=dtype)
        n_bytes = None if sizes is None else int(sizes[asked].sum())
        results[name] = PartResult(result.loss * result.tokens, result.tokens, n_bytes)
    return results


def by_source(
    documents: Iterable[Document], tokenizer: Any, *, field: str = "source", max_tokens: int | None = None
) -> dict[str, np.ndarray]:
    """The documents as one array of ids for each source, or for each value of a field of their meta.

    Encodes no more of a source than a cap of `max_tokens` predictions can use. A document without the field belongs
    to "(none)".
    """
    groups: dict[str, list[np.ndarray]] = {}
    counts: dict[str, int] = {}
    for document in documents:
        name = document.source if field == "source" else str((document.meta or {}).get(field, "(none)"))
        if max_tokens is not None and counts.get(name, 0) > max_tokens:
            continue
        ids = encode_documents([document], tokenizer)
        groups.setdefault(name, []).append(ids)
        counts[name] = counts.get(name, 0) + len(ids)
    return {name: np.concatenate(pieces) for name, pieces in sorted(groups.items())}
