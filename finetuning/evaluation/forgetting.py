"""What did tuning cost? The loss on the pretraining validation part, before and after.

A model that learned to answer has moved away from the text it learned before; how far is *forgetting* (catastrophic
interference, McCloskey & Cohen 1989). It is measured where pretraining was measured: the same documents, the same
windows. Two models with different tokenizers are compared in bits per byte, which do not depend on the tokens.
Left out: keeping it small (`instruction.replay`, a lower rate, LoRA).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from utils.errors import UserError


@dataclass(frozen=True)
class Forgetting:
    """Losses on the same text, before and after tuning."""

    text: str
    tokens: int  # predictions of the base
    loss_before: float  # nats per token of each model's own tokenizer
    loss_after: float
    bits_per_byte_before: float
    bits_per_byte_after: float
    same_tokenizer: bool

    @property
    def perplexity_before(self) -> float:
        """exp of the loss."""
        return math.exp(self.loss_before)

    @property
    def perplexity_after(self) -> float:
        """exp of the loss."""
        return math.exp(self.loss_after)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe fields with both perplexities, and the ratio of bits per byte (1 is nothing forgotten)."""
        return {
            **asdict(self),
            "perplexity_before": self.perplexity_before,
            "perplexity_after": self.perplexity_after,
            "bits_ratio": self.bits_per_byte_after / self.bits_per_byte_before,
        }


def measure_forgetting(
    base: Any,
    tuned: Any,
    documents: Sequence[Any],
    *,
    text: str,
    max_tokens: int | None = 100_000,
    device: str = "cpu",
    batch_size: int = 16,
) -> Forgetting:
    """Loss of two `LoadedModel`s on the same documents, the first `max_tokens` predictions of the base.

    Raises UserError when there is too little text, or a model has no tokenizer.
    """
    from pretraining.prepared_data import encode_documents
    from pretraining.source_evaluation import evaluate_parts
    from working_with_text_data.tokenizer import tokenizer_hash

    kept = list(documents)
    for loaded in (base, tuned):
        if loaded.tokenizer is None:
            raise UserError(f"{loaded.path} has no tokenizer: its loss on a text cannot be measured")
    same = tokenizer_hash(base.tokenizer) == tokenizer_hash(tuned.tokenizer)
    if not same and max_tokens is not None:  # whole documents, so that both read the same text
        kept = _about(kept, base.tokenizer, max_tokens)
    block = min(base.config.block_size, tuned.config.block_size)
    parts = []
    for loaded in (base, tuned):
        enough = max_tokens + 1 if same and max_tokens is not None else None
        ids = encode_documents(kept, loaded.tokenizer, at_least=enough)
        (part,) = evaluate_parts(
            loaded.model,
            {text: ids},
            block_size=block,
            batch_size=batch_size,
            max_tokens=max_tokens if same else None,
            tokenizer=loaded.tokenizer,
            device=device,
        ).values()
        parts.append(part)
    before, after = parts
    if before.bits_per_byte is None or after.bits_per_byte is None:
        raise UserError(f"{text} has no byte to predict: give more text")
    return Forgetting(
        text, before.tokens, before.loss, after.loss, before.bits_per_byte, after.bits_per_byte, same
    )


def _about(documents: Sequence[Any], tokenizer: Any, max_tokens: int) -> list[Any]:
    kept, count = [], 0
    for document in documents:
        kept.append(document)
        count += len(tokenizer.encode_ordinary(document.text)) + 1
        if count > max_tokens:
            break
    return kept
