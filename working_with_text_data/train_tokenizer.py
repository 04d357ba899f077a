r"""Train a tokenizer on a text, from the command line.

    python -m working_with_text_data.train_tokenizer input=book.txt vocab_size=2048 out=tokenizer.json
    python -m working_with_text_data.train_tokenizer --config FILE.yaml workers=2
    python -m working_with_text_data.train_tokenizer inspect …     # look at tokens
    python -m working_with_text_data.train_tokenizer benchmark …   # measure against other libraries

`input` is a corpus by name (storyland, pydoc), a file, a folder or a glob. `out` is one JSON file that
`load_tokenizer` opens and that goes with every model trained on it; beside it lies a report
(`tokenizer_report`), `tokenizer.report.json`. If `out` is a folder, or ends in a slash, every
different tokenizer becomes a version in it: `v1/tokenizer.json`, `v2/tokenizer.json`, …, and
`load_tokenizer(folder)` opens the newest; the same tokenizer again makes no new version.

Training stops early if the text has too few pairs, and says at how many ids and why.
Left out: other algorithms (`huggingface_adapter`). Notebook: 01 of this chapter.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from working_with_text_data.bpe_tokenizer import BPETokenizer

DEMO_SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")
SAMPLE_CHARS = 200_000  # of the training text, for the report where no other text is given
REPORT_CHARS = 5_000_000  # of a text given for the report
SHOWN_CHARS = 160
# The first word of a command line may hand the rest to another module's `main`.
SUBCOMMANDS = {"inspect": "inspect_tokens", "benchmark": "benchmark"}


@dataclass(frozen=True)
class TrainTokenizerConfig:
    """What to learn from, how much, and where the tokenizer goes."""

    input: str = field(metadata={"help": "a corpus (storyland, pydoc), a file, a folder or a glob"})
    out: str = field(
        default="tokenizer.json",
        metadata={"help": "the file to write, or a folder (ends in /) that keeps versions"},
    )
    vocab_size: int = field(
        default=2048, metadata={"help": "ids in all: 256 bytes + merges + special tokens"}
    )
    pattern: str = field(
        default="gpt2", metadata={"help": "gpt2, cl100k (gpt4), o200k, or a regular expression"}
    )
    split_digits: bool | int = field(
        default=False, metadata={"help": "true: each digit its own piece; n: numbers in groups of at most n"}
    )
    prefix_space: bool = field(
        default=False, metadata={"help": "put a space before a text that does not begin with one"}
    )
    min_frequency: int = field(default=1, metadata={"help": "a pair seen fewer times is never merged"})
    special_tokens: tuple[str, ...] = DEMO_SPECIALS
    special_regex: str | None = field(
        default=None, metadata={"help": r"also take what matches as special tokens, such as <\|[a-z]+\|>"}
    )
    tie_break: Literal["bytes", "first_seen", "smallest_ids", "huggingface"] = "bytes"
    workers: int = field(default=0, metadata={"help": "processes that count words; the result is the same"})
    readable: bool = field(default=False, metadata={"help": "use the slow trainer and show every merge"})
    report_input: str | None = field(
        default=None, metadata={"help": "a text kept out of training, for the report (same forms as input)"}
    )
    max_documents: int | None = None
    n_bytes: int | None = field(default=None, metadata={"help": "size of a generated corpus"})
    text_field: str = field(default="text", metadata={"help": "the field of a .jsonl line"})
    seed: int = 0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in SUBCOMMANDS:
        return importlib.import_module(f"{__package__}.{SUBCOMMANDS[words[0]]}").main(words[1:])
    config, _ = parse_args(
        words[1:] if words[:1] == ["train"] else words,
        TrainTokenizerConfig,
        prog="python -m working_with_text_data.train_tokenizer",
        description="Train a byte-level BPE tokenizer on a text.\n\n"
        "Before all else may stand `train` (this), `inspect` (look at tokens) or `benchmark` (measure);\n"
        "each has a --help of its own.",
        aliases={
            "--input": "input",
            "--out": "out",
            "--vocab-size": "vocab_size",
            "--pattern": "pattern",
            "--workers": "workers",
            "--readable": "readable",
        },
    )
    _check(config)
    begin = time.perf_counter()
    with _Bar() as bar:
        seen = _Seen(bar)
        tokenizer = _train(config, seen, bar)
        seconds = time.perf_counter() - begin
        if not seen.characters:
            raise UserError(f"{config.input}: no text in it: give a file or a folder that holds some text")
        figures = _report(config, tokenizer, seen)
    path = _write(config, tokenizer, figures)
    _tell(config, tokenizer, figures, seen, seconds, path)
    return 0


def _check(config: TrainTokenizerConfig) -> None:
    """Everything that can be wrong is reported before any text is read."""
    from working_with_text_data.bpe import check_min_frequency, check_vocab_size
    from working_with_text_data.patterns import splitter
    from working_with_text_data.special_tokens import find_special_tokens
    from working_with_text_data.worker_pool import check_workers

    check_vocab_size(config.vocab_size, config.special_tokens)
    check_min_frequency(config.min_frequency)
    check_workers(config.workers)
    splitter(config.pattern, digits=config.split_digits, prefix_space=config.prefix_space)
    if config.special_regex is not None:
        find_special_tokens((), config.special_regex)
    if config.readable and config.workers:
        raise UserError("the readable trainer has no workers: leave out readable=true or workers")
    out = Path(config.out).expanduser()
    folder = out if _keeps_versions(config.out) else out.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"out={config.out}: {folder} is a file where a folder is needed: choose another name")
    if not os.access(folder, os.W_OK):
        raise UserError(f"out={config.out}: nothing can be written to {folder}: choose another folder")


def _train(config: TrainTokenizerConfig, seen: _Seen, bar: _Bar) -> BPETokenizer:
    from working_with_text_data.bpe import check_vocab_size, train_bpe_readable
    from working_with_text_data.fast_bpe import train_bpe
    from working_with_text_data.special_tokens import find_special_tokens

    specials = config.special_tokens
    if config.special_regex is not None:
        bar.stage("looking for special tokens")
        found = find_special_tokens(bar.watch(_texts(config, config.input)), config.special_regex)
        specials = tuple(dict.fromkeys([*specials, *found]))
        check_vocab_size(config.vocab_size, specials)
    texts = seen.watch(_texts(config, config.input))
    options: dict[str, Any] = {
        "min_frequency": config.min_frequency,
        "split_digits": config.split_digits,
        "prefix_space": config.prefix_space,
    }
    arguments = (config.vocab_size, config.pattern, specials, config.tie_break)
    if config.readable:
        return train_bpe_readable(texts, *arguments, verbose=True, **options)
    bar.stage("counting words")
    on_merge = bar.merges(config.vocab_size - 256 - len(specials))
    return train_bpe(texts, *arguments, workers=config.workers, on_merge=on_merge, **options)


def _texts(config: TrainTokenizerConfig, source: str) -> Iterator[str]:
    from working_with_text_data.documents import iter_documents

    size: dict[str, Any] = {} if config.n_bytes is None else {"n_bytes": config.n_bytes}
    documents = iter_documents(
        source, max_documents=config.max_documents, seed=config.seed, text_field=config.text_field, **size
    )
    return (document.text for document in documents)


def _report(config: TrainTokenizerConfig, tokenizer: BPETokenizer, seen: _Seen) -> dict[str, Any]:
    from working_with_text_data.tokenizer_report import report

    if config.report_input is None:
        texts, source = seen.sample, "the beginning of the training text"
    else:
        texts, source = list(_first(_texts(config, config.report_input), REPORT_CHARS)), config.report_input
    figures = report(tokenizer, texts)
    figures["text"]["source"] = source
    figures["training"] = {"requested_vocab_size": tokenizer.requested_vocab_size, **tokenizer.training}
    return figures


def _first(texts: Iterator[str], characters: int) -> Iterator[str]:
    """The beginning of the texts, up to so many characters."""
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


# --- where it goes --------------------------------------------------------------------------------


def _keeps_versions(out: str) -> bool:
    return out.endswith(("/", os.sep)) or Path(out).expanduser().is_dir()


def _write(config: TrainTokenizerConfig, tokenizer: BPETokenizer, figures: dict[str, Any]) -> Path:
    from working_with_text_data.tokenizer_report import write_report

    path = Path(config.out).expanduser()
    if _keeps_versions(config.out):
        path = version_path(path, tokenizer)
    tokenizer.save(path)
    write_report(path.with_name(f"{path.stem}.report.json"), figures)
    return path


def version_path(folder: Path, tokenizer: BPETokenizer) -> Path:
    """The file of `tokenizer` in a folder of versions: the newest, if it is the same one, or else the next."""
    from working_with_text_data.tokenizer import load_tokenizer, tokenizer_hash, tokenizer_versions

    numbers = tokenizer_versions(folder)
    if numbers:
        newest = folder / f"v{numbers[-1]}" / "tokenizer.json"
        if tokenizer_hash(load_tokenizer(newest)) == tokenizer_hash(tokenizer):
            return newest
    number = 1 + max(numbers, default=0)
    while (folder / f"v{number}").exists():  # made by somebody else, or left empty
        number += 1
    return folder / f"v{number}" / "tokenizer.json"


# --- what a person sees ---------------------------------------------------------------------------


def _tell(
    config: TrainTokenizerConfig,
    tokenizer: BPETokenizer,
    figures: dict[str, Any],
    seen: _Seen,
    seconds: float,
    path: Path,
) -> None:
    from working_with_text_data.bpe import STOPPED
    from working_with_text_data.inspect_tokens import coloured, token_table
    from working_with_text_data.tokenizer import tokenizer_hash
    from working_with_text_data.tokenizer_report import report_lines

    print(f"read {seen.documents:,} documents, {seen.characters:,} characters; trained in {seconds:.1f} s")
    found = [word for word in tokenizer.special_tokens if word not in config.special_tokens]
    if config.special_regex is not None:
        print(f"special tokens found: {' '.join(found) or 'none that were not named'}")
    shown = "".join(seen.sample)[:SHOWN_CHARS].strip()
    if sys.stdout.isatty():
        print(coloured(shown, tokenizer))
    else:  # in a file colours are noise
        print("|".join(row.shown for row in token_table(shown, tokenizer)))
    print(f"on {figures['text']['source']}:")
    for line in report_lines(figures):
        print(f"  {line}")
    reason = tokenizer.training["stopped"]
    if reason != "vocab_size":
        advice = "use more text for more" if reason == "no_pairs" else "lower it or use more text for more"
        print(
            f"stopped at {tokenizer.vocab_size:,} of {tokenizer.requested_vocab_size:,} ids: "
            f"{STOPPED[reason]}; {advice}"
        )
    print(f"wrote {path}: {tokenizer.vocab_size:,} ids, sha256 {tokenizer_hash(tokenizer)[:12]}")
    print(
        f"next: python -m working_with_text_data.preprocess input={config.input} tokenizer={path} out=data/shards"
    )


class _Seen:
    """Counts the texts that pass by and keeps the beginning of them."""

    def __init__(self, bar: _Bar) -> None:
        self.documents = 0
        self.characters = 0
        self.sample: list[str] = []
        self._bar = bar

    def watch(self, texts: Iterator[str]) -> Iterator[str]:
        for text in self._bar.watch(texts):
            if self.characters < SAMPLE_CHARS:
                self.sample.append(text[: SAMPLE_CHARS - self.characters])
            self.documents += 1
            self.characters += len(text)
            yield text


class _Bar:
    """A line of progress on a terminal, nothing in a pipe."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            text = TextColumn("{task.description} {task.fields[done]}")
            console = Console(stderr=True)
            self._bar = Progress(text, BarColumn(), TimeElapsedColumn(), console=console, transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new line of work."""
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, done="")

    def watch(self, texts: Iterator[str]) -> Iterator[str]:
        """The texts, their characters counted on the line."""
        characters = 0
        for text in texts:
            characters += len(text)
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, done=f"{characters / 1e6:,.1f} M characters")
            yield text

    def merges(self, total: int) -> Any:
        """A function to call after each merge with their number; None where nobody looks."""
        if self._bar is None:
            return None

        def on_merge(made: int) -> None:
            if made == 1:
                self.stage("merging", total)
            if made % 64 == 0 or made == total:
                self._bar.update(self._task, completed=made, done=f"{made:,} of {total:,}")

        return on_merge


if __name__ == "__main__":
    raise SystemExit(run_main(main))
