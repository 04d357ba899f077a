"""What a run learns from and is judged on, wherever it lies: arrays in memory, shards on disk, a stream.

`PreparedData` is the seam between text and training: a tokenizer, the tokens of both parts, what a resumed run
must find again (`identity`), and the batches of one process (`batches`). Here it holds arrays; shards that are
mapped (`shard_data`) and streams (`streaming_data`) are the same thing with another way to the tokens.
Left out: making it from a config (`recipe`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretraining.baselines import bigram_baseline, unigram_baseline
from pretraining.distributed import SINGLE, World
from pretraining.pretrain_config import PretrainConfig
from pretraining.samples import end_id
from utils.errors import UserError
from utils.files import sha256_bytes
from working_with_text_data.documents import Document
from working_with_text_data.tokenizer import tokenizer_hash
from working_with_text_data.windows import BatchLoader

BASELINE_TOKENS = 20_000_000  # counting more changes the third digit and takes gigabytes


@dataclass(frozen=True)
class PreparedData:
    """A corpus ready for training: 1-D sequences of ids, each document followed by its end."""

    tokenizer: Any
    train: Any  # an array, or a TokenArray of mapped shards
    val: Any
    bytes_per_token: float  # of the validation part
    report: dict[str, Any]  # of the split

    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again, to the byte."""
        return {
            "tokenizer_sha256": tokenizer_hash(self.tokenizer),
            "train_tokens": len(self.train),
            "train_sha256": sha256_bytes(self.train.tobytes()),
            "val_tokens": len(self.val),
            "val_sha256": sha256_bytes(self.val.tobytes()),
        }

    def origin(self, config: PretrainConfig) -> Any:
        """What run.json keeps about where the text came from: a path with its checksum, a corpus by name."""
        path = Path(config.data)
        return path if path.exists() else config.data

    def batches(self, config: PretrainConfig, block_size: int, world: World = SINGLE) -> Any:
        """This process's share of shuffled windows of the training tokens, endless, with exact resume."""
        return BatchLoader(
            self.train,
            world.share_of(config.batch_size),
            block_size,
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
        )

    def baselines(self) -> dict[str, float]:
        """What counting alone achieves on the validation part (nats per token)."""
        size = self.tokenizer.vocab_size
        train, val = self.train[:BASELINE_TOKENS], self.val[:BASELINE_TOKENS]
        return {
            "unigram": unigram_baseline(train, val, size),
            "bigram": bigram_baseline(train, val, size),
        }


def encode_documents(
    documents: Iterable[Document], tokenizer: Any, *, at_least: int | None = None
) -> np.ndarray:
    """All documents as one array of ids, uint16 or uint32; the end token (if any) closes each document.

    With `at_least`, stops after the document that makes so many tokens.
    """
    end = end_id(tokenizer)
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    parts, count = [], 0
    for document in documents:
        ids = tokenizer.encode_ordinary(document.text)
        parts.append(np.asarray(ids if end is None else [*ids, end], dtype=dtype))
        count += len(parts[-1])
        if at_least is not None and count >= at_least:
            break
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def need_validation(tokens: Any, where: str) -> None:
    """Refuse a validation part that can judge nothing. Raises UserError."""
    if len(tokens) < 2:
        raise UserError(
            f"{where} leaves {len(tokens)} validation tokens: give more text or a larger val_fraction"
        )
