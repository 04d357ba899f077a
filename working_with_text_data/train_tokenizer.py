"""Train a tokenizer on a text, from the command line.

    python -m working_with_text_data.train_tokenizer input=book.txt vocab_size=2048 out=tokenizer.json

`input` is a corpus by name (storyland, pydoc), a file, a folder or a glob; `out` becomes one JSON file
that `load_tokenizer` opens and that goes with every model trained on it. If the text has too few
pairs for the vocabulary asked for, training stops there and says at how many.

Left out: reports and other algorithms; a vocabulary is looked at with `inspect_tokens`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

DEMO_SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")
SAMPLE_CHARS = 200_000  # of the text, to measure bytes per token
SHOWN_CHARS = 160


@dataclass(frozen=True)
class TrainTokenizerConfig:
    """What to learn from, how much, and where the tokenizer goes."""

    input: str = field(metadata={"help": "a corpus (storyland, pydoc), a file, a folder or a glob"})
    out: str = field(default="tokenizer.json", metadata={"help": "the file to write"})
    vocab_size: int = field(
        default=2048, metadata={"help": "ids in all: 256 bytes + merges + special tokens"}
    )
    pattern: str = field(
        default="gpt2", metadata={"help": "gpt2, cl100k (gpt4), o200k, or a regular expression"}
    )
    special_tokens: tuple[str, ...] = DEMO_SPECIALS
    tie_break: Literal["bytes", "smallest_ids", "huggingface"] = "bytes"
    readable: bool = field(default=False, metadata={"help": "use the slow trainer and show every merge"})
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = field(default="text", metadata={"help": "the field of a .jsonl line"})
    seed: int = 0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    config, _ = parse_args(
        argv,
        TrainTokenizerConfig,
        prog="python -m working_with_text_data.train_tokenizer",
        description="Train a byte-level BPE tokenizer on a text.",
        aliases={
            "--input": "input",
            "--out": "out",
            "--vocab-size": "vocab_size",
            "--pattern": "pattern",
            "--readable": "readable",
        },
    )
    from working_with_text_data.bpe import check_vocab_size, train_bpe_readable
    from working_with_text_data.documents import iter_documents
    from working_with_text_data.fast_bpe import train_bpe
    from working_with_text_data.inspect_tokens import coloured, token_table
    from working_with_text_data.patterns import splitter
    from working_with_text_data.tokenizer import tokenizer_hash

    check_vocab_size(config.vocab_size, config.special_tokens)
    splitter(config.pattern)  # a wrong pattern is reported before any text is read
    out = Path(config.out).expanduser()
    if out.is_dir():
        raise UserError(f"{out} is a folder: give the file to write, such as out={out / 'tokenizer.json'}")

    options = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    seen = _Seen()
    texts = seen.watch(
        document.text
        for document in iter_documents(
            config.input,
            max_documents=config.max_documents,
            seed=config.seed,
            text_field=config.text_field,
            **options,
        )
    )
    begin = time.perf_counter()
    arguments = (config.vocab_size, config.pattern, config.special_tokens, config.tie_break)
    tokenizer = (
        train_bpe_readable(texts, *arguments, verbose=True)
        if config.readable
        else train_bpe(texts, *arguments)
    )
    seconds = time.perf_counter() - begin
    if not seen.characters:
        raise UserError(f"{config.input}: no text in it: give a file or a folder that holds some text")
    tokenizer.save(out)

    sample = seen.sample
    ids = tokenizer.encode_ordinary(sample)
    print(f"read {seen.documents:,} documents, {seen.characters:,} characters; trained in {seconds:.1f} s")
    shown = sample[:SHOWN_CHARS].strip()
    if sys.stdout.isatty():
        print(coloured(shown, tokenizer))
    else:  # in a file colours are noise
        print("|".join(row.shown for row in token_table(shown, tokenizer)))
    print(f"{len(tokenizer.decode_bytes(ids)) / max(1, len(ids)):.2f} bytes per token on this text")
    if tokenizer.vocab_size < tokenizer.requested_vocab_size:
        print(
            f"stopped at {tokenizer.vocab_size:,} of {tokenizer.requested_vocab_size:,} ids: "
            "the text has no pair left to merge; use more text for more"
        )
    print(f"wrote {out}: {tokenizer.vocab_size:,} ids, sha256 {tokenizer_hash(tokenizer)[:12]}")
    print(
        f"next: python -m working_with_text_data.preprocess input={config.input} tokenizer={out} out=data/shards"
    )
    return 0


class _Seen:
    """Counts the texts that pass by and keeps the beginning of them."""

    def __init__(self) -> None:
        self.documents = 0
        self.characters = 0
        self.sample = ""

    def watch(self, texts: Iterator[str]) -> Iterator[str]:
        for text in texts:
            self.documents += 1
            self.characters += len(text)
            if len(self.sample) < SAMPLE_CHARS:
                self.sample += text[: SAMPLE_CHARS - len(self.sample)]
            yield text


if __name__ == "__main__":
    raise SystemExit(run_main(main))
