"""One's own conversations from a file: which form it is, what is wrong in which line, what comes twice.

    python -m finetuning.instruction.conversations my_data.jsonl

A file is `.jsonl`, `.json` (a list), `.csv`, each also `.gz`, or `.parquet`; `hf:owner/name` streams a set of
Hugging Face. The form (`conversation_formats`) is told from the first good record and then asked of all.
`on_bad_line` stops at the first bad record, naming its line, or skips and counts. Equal conversations are kept
once. Whether a request that judges a model was also trained on is asked by `overlap`, and refused or counted:
a model that has seen the question is not answering it. Nothing of the text is changed.
Left out: near duplicates (`working_with_text_data.near_duplicates`), judging how good an answer is.
Notebook: finetuning/02.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from finetuning.instruction.conversation_formats import FORMS, Dialogue, guess_form, parse
from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

__all__ = ["Dialogue", "ReadReport", "overlap", "read_conversations", "split_dialogues", "without_overlap"]

HUB = "hf:"
MAX_BYTES = 2**30
OnBadLine = Literal["stop", "skip"]
OnOverlap = Literal["stop", "drop", "count"]


@dataclass
class ReadReport:
    """What reading found: processed == kept + bad + duplicates."""

    source: str
    form: str = ""
    processed: int = 0
    kept: int = 0
    bad: int = 0
    duplicates: int = 0
    turns: int = 0
    problems: list[str] = field(default_factory=list)  # the first twenty, each with its line

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.kept:,} conversations of form {self.form or 'unknown'}, {self.turns:,} answers; "
            f"{self.bad:,} bad records, {self.duplicates:,} duplicates",
            *(f"  {problem}" for problem in self.problems),
        ]
        more = self.bad - len(self.problems)
        return "\n".join([*lines, f"  … and {more:,} more"] if more > 0 else lines)


def read_conversations(
    source: str | Path,
    *,
    form: str = "auto",
    on_bad_line: OnBadLine = "stop",
    max_records: int | None = None,
    max_bytes: int = MAX_BYTES,
    keep_duplicates: bool = False,
) -> tuple[list[Dialogue], ReadReport]:
    """The conversations of a file or of `hf:owner/name`, and a report of what was left out and why.

    `form` is alpaca, chat, prompt, preference, or auto. Raises UserError naming file and line for a bad record
    (`on_bad_line="stop"`), and always for a file that cannot be read or in which nothing is left.
    """
    if form != "auto" and form not in FORMS:
        raise UserError(f"form is {form!r}: choose auto, {', '.join(FORMS)}")
    if on_bad_line not in ("stop", "skip"):
        raise UserError(f"on_bad_line is {on_bad_line!r}: choose stop or skip")
    report = ReadReport(str(source), "" if form == "auto" else form)
    rows = _rows(source, report, on_bad_line, max_bytes)
    kept = list(_collect(rows, report, on_bad_line, max_records, keep_duplicates))
    if not kept:
        first = f" ({report.problems[0]})" if report.problems else ""
        raise UserError(f"{source}: no conversation in it{first}: give a file with at least one")
    return kept, report


def from_records(records: Iterable[Any], *, source: str = "records", form: str = "auto") -> list[Dialogue]:
    """Conversations from records in memory, numbered from 1. Raises UserError at a bad one."""
    report = ReadReport(source, "" if form == "auto" else form)
    return list(_collect(enumerate(records, start=1), report, "stop", None, keep_duplicates=True))


def _collect(
    rows: Iterable[tuple[int, Any]],
    report: ReadReport,
    on_bad_line: OnBadLine,
    max_records: int | None,
    keep_duplicates: bool,
) -> Iterator[Dialogue]:
    seen: set[str] = set()
    for line, record in rows:
        if max_records is not None and report.processed >= max_records:
            return
        where = f"{report.source}, line {line}"
        try:
            form = guess_form(record) if not report.form else report.form
            dialogues = parse(record, form, where)
        except ValueError as error:
            report.processed += 1
            _bad(report, line, _among(error, record, report.form), on_bad_line)
            continue
        report.form = form
        for dialogue in dialogues:
            report.processed += 1
            key = dialogue.key()
            if key in seen and not keep_duplicates:
                report.duplicates += 1
                continue
            seen.add(key)
            report.kept += 1
            report.turns += sum(m["role"] == "assistant" for m in dialogue.messages)
            yield dialogue


def _among(error: ValueError, record: Any, form: str) -> str:
    """The error's words; where the record is a good one of another form, that is what is wrong with it."""
    try:
        other = guess_form(record)
        if form and other != form:
            parse(record, other)
            return f"a record of form {other!r} among {form!r}: one file holds one form"
    except ValueError:
        pass  # it is no record of another form either: the first error says what is wrong
    return str(error)


def _bad(report: ReadReport, line: int | None, words: str, on_bad_line: OnBadLine) -> None:
    place = "" if line is None else f"line {line}: "
    if on_bad_line == "stop" or line is None:
        raise UserError(f"{report.source}: {place}{words} (on_bad_line=skip leaves such records out)")
    report.bad += 1
    if len(report.problems) < 20:
        report.problems.append(f"{place}{words}")


def _rows(
    source: str | Path, report: ReadReport, on_bad_line: OnBadLine, max_bytes: int
) -> Iterator[tuple[int, Any]]:
    """(line or row, record), from wherever the source is."""
    from working_with_text_data.readers import bare_suffix

    name = str(source)
    if name.startswith(HUB) or bare_suffix(Path(name)) == ".parquet":
        from working_with_text_data.huggingface_source import HubSource

        hub = HubSource(name.removeprefix(HUB)) if name.startswith(HUB) else None
        rows = hub or HubSource("parquet", data_files=[name], label=name)
        return enumerate(rows.rows(), start=1)
    return file_rows(Path(source), report, on_bad_line, max_bytes)


def file_rows(
    path: Path, report: ReadReport, on_bad_line: OnBadLine, max_bytes: int
) -> Iterator[tuple[int, Any]]:
    """(line, record) of a text file; what `dataset_formats` finds wrong is passed on with its line."""
    from working_with_text_data import dataset_formats
    from working_with_text_data.readers import bare_suffix

    found = dataset_formats.DatasetReport(str(path), max_errors=100_000)
    try:
        with path.open("rb") as stream:
            data = dataset_formats.contents(stream, found, max_bytes)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    text = None if data is None else dataset_formats.text_of(data, found, "strict")
    if text is None:
        raise UserError(f"{path}: {found.errors[0]}")
    kind = dataset_formats.FORMATS.get(bare_suffix(path), "") or dataset_formats.guess_format(text)
    if kind == "txt":
        raise UserError(
            f"{path}: conversations are .jsonl, .json or .csv, this is plain text: give one of them"
        )
    not_utf8 = {issue.line for issue in found.errors}
    if not_utf8 and kind != "jsonl":  # a record of several lines cannot be told from its neighbour
        raise UserError(f"{path}: {found.errors[0]}: save it as UTF-8")
    told = 0
    for line, record in dataset_formats.READERS[kind](text, found):
        told = _pass_on(found, told, report, on_bad_line)
        if line not in not_utf8:
            yield line, record
    _pass_on(found, told, report, on_bad_line)


def _pass_on(found: Any, told: int, report: ReadReport, on_bad_line: OnBadLine) -> int:
    """Report the errors that came since the first `told`; returns how many there are now."""
    for issue in found.errors[told:]:
        report.processed += 1
        _bad(report, issue.line, issue.message, on_bad_line)
    return len(found.errors)


# ---------------------------------------------------------------- train and held-out


def split_dialogues(
    dialogues: Sequence[Dialogue], *, val_fraction: float = 0.05, seed: int = 0
) -> tuple[list[Dialogue], list[Dialogue]]:
    """(train, held out). The opening request alone decides, so that two answers to one request stay together.

    At least one conversation judges. Raises UserError when nothing is left to train on.
    """
    from working_with_text_data.splitting import assign

    sides = {
        key: assign(key, val_fraction=val_fraction, seed=seed) for key in {d.request_key() for d in dialogues}
    }
    if "val" not in sides.values():
        sides[min(sides)] = "val"
    train = [d for d in dialogues if sides[d.request_key()] == "train"]
    held_out = [d for d in dialogues if sides[d.request_key()] == "val"]
    if not train:
        raise UserError(
            f"{len(dialogues)} conversations with {len(sides)} different requests: two are needed at least"
        )
    return train, held_out


def overlap(train: Sequence[Dialogue], held_out: Sequence[Dialogue]) -> list[tuple[Dialogue, Dialogue]]:
    """Each held-out conversation whose opening request is trained on too, with the first training one like it."""
    first: dict[str, Dialogue] = {}
    for dialogue in train:
        first.setdefault(dialogue.request_key(), dialogue)
    return [(first[key], d) for d in held_out if (key := d.request_key()) in first]


def without_overlap(
    train: Sequence[Dialogue], held_out: Sequence[Dialogue], on_overlap: OnOverlap = "stop"
) -> tuple[list[Dialogue], int]:
    """(training conversations, held-out requests that are among them).

    "stop" raises UserError naming the first; "drop" leaves out of training what is held out; "count" only counts.
    """
    if on_overlap not in ("stop", "drop", "count"):
        raise UserError(f"on_overlap is {on_overlap!r}: choose stop, drop or count")
    found = overlap(train, held_out)
    if found and on_overlap == "stop":
        mine, theirs = found[0]
        raise UserError(
            f"{len(found)} of {len(held_out)} held-out requests are trained on, first {theirs.where or 'one'} "
            f"({mine.where or 'in training'}): set on_overlap=drop to leave them out of training, or count to go on"
        )
    if on_overlap == "drop":
        keys = {d.request_key() for _, d in found}
        return [d for d in train if d.request_key() not in keys], len(found)
    return list(train), len(found)


# ---------------------------------------------------------------- the command


@dataclass(frozen=True)
class CheckConfig:
    """How to look at a file of conversations."""

    form: str = field(default="auto", metadata={"help": "auto, alpaca, chat, prompt, preference"})
    on_bad_line: str = field(
        default="skip", metadata={"help": "skip counts them all, stop ends at the first"}
    )
    held_out: Path | None = field(
        default=None, metadata={"help": "a second file: is any of it in the first?"}
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Say what a file holds; 0 when every record is good, else 2."""
    config, options = parse_args(
        argv,
        CheckConfig,
        prog="python -m finetuning.instruction.conversations",
        description="Check conversations of your own: their form, bad lines, duplicates, overlap.",
        positional={"file": "a .jsonl, .json, .csv or .parquet file, or hf:owner/name"},
    )
    skip: OnBadLine = config.on_bad_line  # type: ignore[assignment]
    dialogues, report = read_conversations(options.file, form=config.form, on_bad_line=skip)
    print(report)
    kinds = Counter(d.kind for d in dialogues if d.kind)
    if kinds:
        print("kinds: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(12)))
    if config.held_out is not None:
        held_out, _ = read_conversations(config.held_out, form=config.form, on_bad_line=skip)
        print(
            f"{len(overlap(dialogues, held_out))} of {len(held_out)} held-out requests are in {options.file}"
        )
    print(f"next: python -m finetuning.instruction.train ckpt=last data={options.file}")
    return 2 if report.bad else 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
