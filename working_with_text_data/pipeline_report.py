"""What the pipeline shows: a bar while a stage runs, a table when all have run.

Left out: the figures themselves, which `pipeline` takes and `pipeline.json` keeps.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


class StageBar:
    """Told when a stage begins and ends; this one shows nothing."""

    def begin(self, name: str, expected_bytes: int | None) -> Callable[[int], None] | None:
        """A stage begins; what is returned is called with the bytes of each document that passes."""
        return None

    def end(self, name: str, made: dict[str, Any]) -> None:
        """The stage is done, or was up to date."""


class _RichBar(StageBar):
    def __init__(self, bar: Any) -> None:
        self.bar, self.task, self.documents = bar, None, 0

    def begin(self, name: str, expected_bytes: int | None) -> Callable[[int], None]:
        self.documents = 0
        self.task = self.bar.add_task(name, total=expected_bytes, documents=0)

        def on_document(n_bytes: int) -> None:
            self.documents += 1
            self.bar.update(self.task, advance=n_bytes, documents=self.documents)

        return on_document

    def end(self, name: str, made: dict[str, Any]) -> None:
        self.bar.remove_task(self.task)


@contextlib.contextmanager
def stage_bar() -> Iterator[StageBar]:
    """A bar on a terminal (stage, MB/s, documents, time left where the size is known), nothing in a pipe."""
    if not sys.stderr.isatty():
        yield StageBar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[documents]:,} documents"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _RichBar(bar)


def stage_table(record: dict[str, Any]) -> str:
    """One line a stage, as plain text. A stage that was not made now shows what it was made with."""
    lines = [
        f"{'stage':<11}{'':<10}{'documents':>11}{'MB':>9}{'docs/s':>9}{'MB/s':>7}{'seconds':>9}{'peak MB':>9}"
    ]
    for name, made in record["stages"].items():
        lines.append(
            f"{name:<11}{made['status']:<10}{made['documents']:>11,}{made['text_bytes'] / 1e6:>9.1f}"
            f"{made['documents_per_s']:>9,.0f}{made['mb_per_s']:>7.1f}{made['seconds']:>9.1f}"
            f"{made['tree_peak_bytes'] / 1e6:>9.0f}"
        )
    return "\n".join(lines)
