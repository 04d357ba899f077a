"""Streams from the Hugging Face Hub, one document at a time, stopped and taken up again exactly.

`datasets` reads parquet, JSON and text, here or on the Hub, without downloading a whole set first, and
knows its own position. `HubSource` turns its rows into documents and wraps its state: the same rows follow
in a new process, because the position is (file, row group, row) and not a count of rows to skip.

    source = HubSource("roneneldan/TinyStories", max_examples=1000)
    for document in source: ...
    state = source.state_dict()              # JSON; load_state_dict in another process goes on here

Local files go through the very same loader: `HubSource("json", data_files=["a.jsonl"])`. Without a network
the error comes within seconds and says what to fetch and where to put it. Left out: shuffling (a buffer that
is refilled after a resume would not repeat the same order; see the chapter's streaming loader), and private
sets beyond what `huggingface-cli login` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from utils.errors import RunFailure, UserError, one_line

from .documents import Document
from .online import hub_is_off, unreachable
from .published_forms import FORMS, Form, joined
from .readers import Problems

BUILDERS = ("json", "parquet", "text", "csv")  # loaders of `datasets` for files, not names on the Hub


class HubSource:
    """An iterable of documents from `datasets`, in streaming mode.

    Args:
        name: a data set on the Hub ("roneneldan/TinyStories"), or "json", "parquet", "text" with `data_files`.
        config: the subset, where the set has several.
        split: "train", "validation", … as the set names it.
        max_examples: stop after so many documents, counted from the very beginning, resumed or not.
        text_field: the column with the text (for the form "text").
        form: a name from `published_forms.FORMS`, or a `Form`.
        data_files: files for a builder: paths, or `hf://` addresses.
        revision: a branch or commit of the set.
        label: what `Document.source` says; the name by default.
        problems: counts the documents of nothing but white space, which are left out.
        by_hand: what to do without a network, for the end of the error's sentence.

    Iterating starts where `load_state_dict` said, or at the beginning; a second pass starts at the beginning.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        *,
        max_examples: int | None = None,
        text_field: str = "text",
        form: str | Form = "text",
        data_files: str | Path | Sequence[str | Path] | None = None,
        revision: str | None = None,
        label: str | None = None,
        problems: Problems | None = None,
        by_hand: str = "",
    ):
        if max_examples is not None and max_examples < 1:
            raise UserError(f"max_examples is {max_examples}: give at least 1, or leave it out for all")
        if (name in BUILDERS) != (data_files is not None):
            raise UserError(f"{name}: data_files go with one of {', '.join(BUILDERS)}, and with these only")
        self.form = FORMS[form] if isinstance(form, str) else form
        if self.form is FORMS["text"] and text_field != "text":
            self.form = replace(self.form, key=text_field, row=_row_of(text_field))
        self.max_examples = max_examples
        self.label = label or name
        self.problems = Problems() if problems is None else problems
        self.by_hand = by_hand
        files = [data_files] if isinstance(data_files, str | Path) else data_files
        self._files = None if files is None else [str(f) for f in files]
        self._request = {"path": name, "name": config, "split": split, "revision": revision}
        self._rows: Any = None
        self._start: dict[str, Any] | None = None
        self._yielded = 0
        self._pending: list[str] = []
        self._done = False

    def __iter__(self) -> Iterator[Document]:
        state, self._start = self._start, None
        self._yielded = state["yielded"] if state else 0
        self._pending = list(state["pending"]) if state else []
        self._done = bool(state and state["done"])
        self._rows = None
        if self._done and not self._pending:
            return
        self._rows = self._open()
        if state and state["rows"] is not None:
            self._rows.load_state_dict(state["rows"])
        for text, meta in self._parsed():
            if self.max_examples is not None and self._yielded >= self.max_examples:
                return
            if not text or text.isspace():
                self.problems.add("empty", self.label)
                continue
            self._yielded += 1
            yield Document(text, self.label, self._yielded - 1, meta)
            if self._yielded == self.max_examples:
                return

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as they are, from the beginning, for a reader that knows other forms than one text."""
        try:
            yield from islice(iter(self._open()), self.max_examples)
        except (UserError, RunFailure):
            raise
        except Exception as error:  # whatever `datasets` and the libraries below it raise
            raise RunFailure(f"{self.label}: the stream broke ({one_line(error)}): start again") from error

    def _parsed(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        if self.form.begins is None:
            for row in self._each_row():
                if row.get(self.form.key) is None:
                    self.problems.add("empty", self.label)
                    continue
                yield self.form.row(row)
        else:
            lines = (str(row[self.form.key] or "") for row in self._each_row())
            for text in joined(lines, self.form.begins, self._pending):
                yield text, None

    def _each_row(self) -> Iterator[dict[str, Any]]:
        if self._done:  # only the last document was left to hand out
            return
        checked = False
        rows = iter(self._rows)
        while True:
            try:
                row = next(rows, None)
            except Exception as error:  # whatever `datasets` and the libraries below it raise
                raise RunFailure(
                    f"{self.label}: the stream broke after {self._yielded:,} documents "
                    f"({type(error).__name__}: {one_line(error)}): "
                    "start again, or from the saved state"
                ) from error
            if row is None:
                self._done = True
                return
            if not checked and self.form.key not in row:
                has = ", ".join(map(repr, list(row)[:8]))
                raise UserError(
                    f"{self.label}: no column {self.form.key!r}; it has {has}: pass text_field=NAME"
                )
            checked = True
            yield row

    def state_dict(self) -> dict[str, Any]:
        """The position as JSON values: the next document will be the one after the last handed out."""
        if self._start is not None:
            return self._start
        rows = None if self._rows is None or self._done else self._rows.state_dict()
        return {
            "source": self._identity(),
            "yielded": self._yielded,
            "pending": list(self._pending),
            "done": self._done,
            "rows": rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` at the next `iter()`. UserError if it belongs to another source."""
        theirs = state.get("source")
        if theirs != self._identity():
            raise UserError(
                f"this state belongs to {theirs}, not to {self._identity()}: resume with the source it was saved from"
            )
        self._start = dict(state)

    def _identity(self) -> dict[str, Any]:
        files = None if self._files is None else [f if "://" in f else Path(f).name for f in self._files]
        return {**self._request, "files": files, "key": self.form.key}

    def _open(self) -> Any:
        """The streaming data set, or one line that says why there is none."""
        try:
            import datasets
            from huggingface_hub import constants
        except ImportError:
            raise UserError(
                f"{self.label}: streaming needs `datasets`: pip install -c constraints.txt -e '.[data]'"
            ) from None
        online = self._files is None or any("://" in f for f in self._files)
        if online and (why := hub_is_off() or unreachable(constants.ENDPOINT)):
            raise UserError(f"{self.label} cannot be streamed: {why}{self.by_hand}")
        if not online:
            missing = [f for f in self._files or [] if not Path(f).is_file()]
            if missing:
                raise UserError(f"{missing[0]}: no such file")
        try:
            return datasets.load_dataset(**self._request, data_files=self._files, streaming=True)
        except (ValueError, FileNotFoundError) as error:  # an unknown set, subset or split
            raise UserError(f"{self.label}: {one_line(error)}") from None
        except Exception as error:  # the network, by any of three libraries' names
            raise RunFailure(f"{self.label} cannot be opened: {one_line(error)}{self.by_hand}") from error


def _row_of(text_field: str) -> Callable[[Any], tuple[str, dict[str, Any] | None]]:
    return lambda row: (row[text_field], {k: v for k, v in row.items() if k != text_field} or None)
