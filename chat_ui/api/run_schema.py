"""What /api/v1/runs says about run directories. Left out: how they come to be (`utils.runs`, `pretraining`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from chat_ui.api.route import Answer
from chat_ui.api.tokenization_schema import Count


class RunLine(Answer):
    """One run in a table. `latest` holds the newest record of each split of its metrics."""

    id: str = Field(examples=["pretrain/20261120-114530-k3f9"])
    stage: str
    run_id: str
    status: str = Field(description="running, complete, failed, stopped, or stopped (process ended)")
    start: str
    end: str | None
    error: str | None
    latest: dict[str, dict[str, Any]]
    checkpoints: Count


class RunTable(Answer):
    total: Count = Field(description="runs that fit the filter")
    runs: list[RunLine]
    stages: list[str] = Field(description="of all runs, to choose from")


class RunDetail(RunLine):
    """A run with everything that its run.json holds about how it was made."""

    config: dict[str, Any]
    command: list[str]
    files: dict[str, Count] = Field(description="bytes of metrics, samples and log, where there are any")
    extra: dict[str, Any] = Field(description="what this kind of work has noted besides: stages, figures")


class Rows(Answer):
    """Records of a growing file. `next` is the offset from which to go on, here or in the stream."""

    rows: list[dict[str, Any]]
    next: Count
    more: bool = Field(description="whether there may be further records already")
    skipped: Count = Field(description="lines that are no record, or too long to send")


class LogLines(Answer):
    lines: list[str]
    next: Count
    more: bool
    skipped: Count


class CheckpointLine(Answer):
    name: str
    step: Count
    bytes: Count
    score: float | None = Field(description="the validation loss it was saved with")
    files: list[str]
    last: bool
    best: bool


class Checkpoints(Answer):
    checkpoints: list[CheckpointLine]
    being_written: bool = Field(description="whether a further one is not whole yet; it is not in the list")


class SourceFile(Answer):
    """A file or folder that a run read or made. Values that are no files are in `value`."""

    name: str
    path: str | None = None
    sha256: str | None = None
    bytes: Count | None = None
    value: Any = None
    from_run: str | None = Field(
        default=None, description="the run that it lies in, if it is one of these runs"
    )
    now: Literal["same", "changed", "missing", "not checked"] = "not checked"


class Provenance(Answer):
    """Where a run comes from: code, command, machine, and the files it read and made, with their sums."""

    id: str
    git_sha: str | None
    git_dirty: bool | None
    command: list[str]
    start: str
    end: str | None
    resumed: list[str]
    versions: dict[str, Any]
    hardware: dict[str, Any]
    inputs: list[SourceFile]
    outputs: list[SourceFile]
