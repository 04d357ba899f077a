"""Laws of tracking as plain functions: JSONL is the truth, the others look on, and none of them stops training."""

from __future__ import annotations

import csv
import errno
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_checks import BASE, Watch, tiny_trainer

from pretraining.run_state import TrainResult
from utils import tracking
from utils.files import read_jsonl
from utils.runs import Run
from utils.tracking import JsonlSink, MultiSink, SinkOptions

CONFIG = replace(BASE, steps=6, eval_every=3)


class Failing:
    """A sink that raises where it is told to, as a full disk or a lost network does."""

    def __init__(self, *, at: str, error: Exception | None = None) -> None:
        self.at, self.error = at, error or OSError(errno.ENOSPC, "no space left on device")

    def log(self, record: dict[str, Any]) -> None:
        record["loss"] = -1.0  # and it spoils what it is given
        if self.at == "log":
            raise self.error

    def close(self) -> None:
        if self.at == "close":
            raise self.error


def losses_with(sinks: list[Any], run: Run | None = None) -> tuple[list[Any], TrainResult]:
    """Each step's numbers of a short training with these sinks."""
    watch = Watch()
    trainer = tiny_trainer(CONFIG, callbacks=(watch,))
    if run is not None:
        trainer.record_in(run)
    trainer.journal.sinks.extend(sinks)
    result = trainer.fit()
    return watch.rows, result


def check_a_failing_sink_never_stops_training(folder: Path) -> None:
    """Bare or among others, at any record or at the end: same losses, all records in the sinks that work."""
    alone, _ = losses_with([])
    for number, at in enumerate(("log", "close")):
        for error in (OSError(errno.ENOSPC, "full"), ConnectionError("gone"), ValueError("strange")):
            good = JsonlSink(folder / f"{number}_{type(error).__name__}.jsonl")
            warnings: list[str] = []
            many = MultiSink([Failing(at=at, error=error), good], warn=warnings.append)
            run = Run.create("pretrain", {}, root=folder)
            try:
                rows, result = losses_with([Failing(at=at, error=error), many], run)
                many.close()
            except Exception as caught:
                raise AssertionError(
                    f"a sink that failed at {at} with {type(error).__name__} ended the training: {caught!r}"
                ) from caught
            assert rows == alone and result.status == "complete", "a failing sink changed the training"
            truth = [(r["step"], r["split"], r["loss"]) for r in run.metrics()]
            kept = [(r["step"], r["split"], r["loss"]) for r in read_jsonl(good._writer.path)]
            assert truth and kept == truth, (
                f"the sink beside it has {len(kept)} of {len(truth)} records, or others"
            )
            assert len(warnings) == 1, f"{len(warnings)} warnings for one broken sink: {warnings[:3]}"


def check_a_sink_that_cannot_open_is_one_line(folder: Path) -> None:
    """Opening fails: one warning that names the sink, the others open, nothing is raised."""
    (folder / "metrics.csv").mkdir(parents=True)  # a folder where the file should be
    warnings: list[str] = []
    try:
        sinks = tracking.open_sinks(["csv", "jsonl"], SinkOptions(folder, warn=warnings.append))
        sinks.log({"step": 1, "split": "val", "loss": 2.0})
        sinks.close()
    except Exception as caught:
        raise AssertionError(f"a sink that cannot be opened ended the training: {caught!r}") from caught
    assert len(warnings) == 1 and "csv" in warnings[0] and "\n" not in warnings[0], warnings
    assert [r["loss"] for r in read_jsonl(folder / "tracked.jsonl")] == [2.0]


def check_csv_says_what_jsonl_says(folder: Path) -> None:
    """metrics.csv has the exact header and one row for each record of metrics.jsonl with a loss."""
    run = Run.create("pretrain", {}, root=folder)
    sinks = tracking.open_sinks(["csv"], SinkOptions(run.path))
    losses_with([sinks], run)
    sinks.close()
    text = (run.path / "metrics.csv").read_text()
    assert text.splitlines()[0] == "step,epoch,split,loss,timestamp"
    rows = [(int(r["step"]), r["split"], float(r["loss"])) for r in csv.DictReader(text.splitlines())]
    truth = [(r["step"], r["split"], r["loss"]) for r in run.metrics() if r["loss"] is not None]
    assert rows == truth and {split for _, split, _ in rows} == {"train", "val"}


Points = dict[tuple[str, int], float]


def expected_points(records: list[dict[str, Any]]) -> Points:
    """(curve, step) → value of every number in the records, by hand."""
    points: Points = {}
    for record in records:
        split = record["split"] + ("_whole" if record.get("whole") else "")
        for name, value in record.items():
            if type(value) in (int, float) and name != "step":
                points[f"{split}/{name}", record["step"]] = float(value)
    return points


RECORDS = [
    {"step": 1, "epoch": 0, "split": "train", "loss": 3.5, "lr": 1e-3, "timestamp": "2026-11-20T00:00:00Z"},
    {"step": 2, "epoch": 0, "split": "train", "loss": 3.25, "lr": 2e-3},
    {"step": 2, "epoch": 0, "split": "val", "loss": 3.0, "perplexity": None, "whole": False},
    {"step": 1, "epoch": 0, "split": "train", "loss": 3.75, "lr": 1e-3},  # a resumed run says a step again
    {"step": 2, "epoch": 1, "split": "val", "loss": 2.75, "whole": True},
]


def check_a_service_gets_every_number(sink: Any, read: Callable[[], Points]) -> None:
    """Each number of each record is a point of a curve named split/name at its own step; the last one counts."""
    for record in RECORDS:
        sink.log(dict(record))
    sink.close()
    found, wanted = read(), expected_points(RECORDS)
    assert set(found) == set(wanted), (
        f"missing {sorted(set(wanted) - set(found))[:4]}, unexpected {sorted(set(found) - set(wanted))[:4]}"
    )
    for key, value in wanted.items():
        assert math.isclose(found[key], value, rel_tol=1e-6), f"{key}: {found[key]}, not {value}"
