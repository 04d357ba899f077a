"""The settings of the pipeline: what to read, which stages to run and how.

Left out: what the stages do (`pipeline_stages`) and when they need not (`pipeline`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from utils.errors import UserError

from .cleaning import CleaningConfig
from .documents import SEPARATOR
from .shards import SHARD_TOKENS
from .splitting import check_fractions
from .worker_pool import check_workers


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """What to read, what to do with it, and where everything goes."""

    input: str = field(metadata={"help": "a corpus (storyland, …), a file, a folder or a glob"})
    out: str = field(metadata={"help": "the folder for all stages"})
    tokenizer: str | None = field(default=None, metadata={"help": "its JSON file, or byte, gpt2, …"})
    vocab_size: int | None = field(default=None, metadata={"help": "train a tokenizer of this size instead"})
    pattern: str = field(default="gpt2", metadata={"help": "split pattern of a trained tokenizer"})
    special_tokens: tuple[str, ...] = (SEPARATOR,)
    tokenizer_bytes: int = field(default=100_000_000, metadata={"help": "of text that it is trained on"})
    load: bool = True
    clean: bool = True
    split: bool = True
    statistics: bool = True
    tokenise: bool = True
    cleaning: CleaningConfig = field(default_factory=lambda: CleaningConfig(remember=50_000))
    val_fraction: float = 0.05
    test_fraction: float = 0.0
    split_method: Literal["auto", "documents", "spans", "threshold"] = "auto"
    seed: int = 0
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = "text"
    errors: Literal["strict", "replace"] = "strict"
    on_bad_line: Literal["stop", "skip"] = "stop"
    shard_tokens: int = SHARD_TOKENS
    workers: int = field(default=0, metadata={"help": "processes that clean and tokenise; 0 is this one"})

    def __post_init__(self) -> None:
        check_fractions(self.val_fraction, self.test_fraction)
        check_workers(self.workers)
        if self.tokenise and self.tokenizer is None and self.vocab_size is None:
            raise UserError(
                "no tokenizer: give tokenizer=FILE (or byte, gpt2, …), vocab_size=N to train one, "
                "or tokenise=false"
            )
        if self.tokenizer is not None and self.vocab_size is not None:
            raise UserError("tokenizer and vocab_size are both given: take one tokenizer or train one")
        if self.vocab_size is not None and not self.split:
            raise UserError("vocab_size with split=false: a tokenizer is trained on the training side only")
        if self.statistics and not self.split:
            raise UserError(
                "statistics with split=false: they compare the sides, so give statistics=false too"
            )
