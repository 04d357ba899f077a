"""Where the numbers of a training go while it runs: the terminal, JSON lines, CSV, or several at once.

The idea: a sink takes one flat record at a time. Training must never die of its bookkeeping, so `MultiSink`
turns a failing sink into one warning and goes on, and `open_sinks` does the same for one that cannot start.
`SINKS` are the sinks that a config may name. Left out: the run directory's own metrics.jsonl, which is
`Run.metric`; TensorBoard, W&B and Trackio are in `tracking_services`.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from utils.errors import UserError, closest, did_you_mean, one_line
from utils.files import JsonlWriter, LineWriter, PathLike
from utils.provenance import now

CSV_COLUMNS = ("step", "epoch", "split", "loss", "timestamp")


class Sink(Protocol):
    """Takes flat records such as `{"step": 100, "epoch": 0, "split": "train", "loss": 2.31}`."""

    def log(self, record: dict[str, Any]) -> None:
        """Take one record."""

    def close(self) -> None:
        """Let go of files; no record may follow."""


class ConsoleSink:
    """One readable line per record: `step 100 | train | loss 2.3100 | lr 0.0003`."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream

    def log(self, record: dict[str, Any]) -> None:
        """Print the record; `timestamp` is left out."""
        print(format_record(record), file=self._stream or sys.stdout, flush=True)

    def close(self) -> None:
        """Nothing to close: the stream belongs to someone else."""


class JsonlSink:
    """Appends each record as a line of JSON, with a `timestamp` when it has none."""

    def __init__(self, path: PathLike):
        self._writer = JsonlWriter(path)

    def log(self, record: dict[str, Any]) -> None:
        """Append the record."""
        self._writer.write({"timestamp": now(), **record})

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class CsvSink:
    """Appends the records that hold a loss to a CSV file with the header `step,epoch,split,loss,timestamp`.

    Other fields are left out: the columns are the same for every run, so files can be put side by side.
    Raises `UserError` when the file exists with another header.
    """

    def __init__(self, path: PathLike):
        header = ",".join(CSV_COLUMNS)
        self._writer = LineWriter(path)
        with Path(path).open(encoding="utf-8") as file:
            first = file.readline().rstrip("\r\n")
        if not first:
            self._writer.write_line(header)
        elif first != header:
            self._writer.close()
            raise UserError(f"{path} begins with {first!r}, not with {header!r}: choose another file")

    def log(self, record: dict[str, Any]) -> None:
        """Append one row, if the record has a loss; a missing column stays empty."""
        if "loss" in record:
            row = {"timestamp": now(), **record}
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow([row.get(name, "") for name in CSV_COLUMNS])
            self._writer.write_line(line.getvalue())

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class MultiSink:
    """Hands each record to all sinks. A failing one is reported once, tried on, and never stops the rest."""

    def __init__(self, sinks: Sequence[Sink], warn: Callable[[str], None] | None = None):
        self._sinks = list(sinks)
        self._warned: set[int] = set()
        self._warn = warn or (lambda text: print(f"warning: {text}", file=sys.stderr))

    def log(self, record: dict[str, Any]) -> None:
        """Give the record to every sink."""
        self._each(lambda sink: sink.log(dict(record)))

    def close(self) -> None:
        """Close every sink, also when one fails."""
        self._each(lambda sink: sink.close())

    def _each(self, call: Callable[[Sink], None]) -> None:
        for index, sink in enumerate(self._sinks):
            try:
                call(sink)
            except Exception as exc:  # whatever it is: the training matters more
                if index not in self._warned:
                    self._warned.add(index)
                    what = one_line(f"{type(exc).__name__}: {exc}")
                    self._warn(f"{type(sink).__name__} fails ({what}); training goes on without its records")


@dataclass(frozen=True)
class SinkOptions:
    """What a sink is told: where its files go, and for services the names under which a run is kept.

    `run` is the run's id; the same id again goes on with the same record. `mode` is W&B's: auto, online, offline.
    """

    folder: Path
    project: str = "scratchbook"
    run: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "auto"
    warn: Callable[[str], None] = lambda text: print(f"warning: {text}", file=sys.stderr)


def _service(name: str) -> Callable[[SinkOptions], Sink]:
    def open_it(options: SinkOptions) -> Sink:
        from utils import tracking_services

        return getattr(tracking_services, name)(options)

    return open_it


SINKS: dict[str, Callable[[SinkOptions], Sink]] = {
    "console": lambda options: ConsoleSink(),
    "csv": lambda options: CsvSink(options.folder / "metrics.csv"),
    "jsonl": lambda options: JsonlSink(options.folder / "tracked.jsonl"),
    "tensorboard": _service("TensorBoardSink"),
    "wandb": _service("WandbSink"),
    "trackio": _service("TrackioSink"),
}
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


def check_sinks(names: Sequence[str]) -> None:
    """Refuse what could never work, before any work is done: an unknown name, a package that is not installed."""
    for name in names:
        if name not in SINKS:
            hint = did_you_mean(closest(name, SINKS))
            raise UserError(f"there is no sink named {name!r}: {hint}choose of {', '.join(SINKS)}")
        package = PACKAGES.get(name)
        if package and package not in sys.modules and importlib.util.find_spec(package) is None:
            extra = "trackio" if package == "trackio" else "-c constraints.txt -e '.[track]'"
            raise UserError(f"track={name} needs the package {package}: pip install {extra}")


def open_sinks(names: Sequence[str], options: SinkOptions) -> MultiSink:
    """The named sinks as one. One that cannot be opened is a warning, and training goes on without it.

    Raises `UserError` for an unknown name or a package that is missing (`check_sinks`).
    """
    check_sinks(names)
    sinks: list[Sink] = []
    for name in dict.fromkeys(names):
        try:
            sinks.append(SINKS[name](options))
        except Exception as exc:  # a full disk, a service without a network: the training matters more
            what = one_line(f"{type(exc).__name__}: {exc}")
            options.warn(f"{name} cannot be opened ({what}); training goes on without it")
    return MultiSink(sinks, warn=options.warn)


def format_record(record: Mapping[str, Any]) -> str:
    """A record as one line: step, split, then the rest, floats with four decimals or four digits.

    >>> format_record({"step": 100, "split": "train", "loss": 2.31, "lr": 3e-4})
    'step 100 | train | loss 2.3100 | lr 0.0003'
    """
    parts = []
    for key, value in record.items():
        if key == "timestamp":
            continue
        if isinstance(value, float):
            value = f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"
        parts.append(str(value) if key == "split" else f"{key} {value}")
    return " | ".join(parts)
