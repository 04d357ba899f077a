"""Folders of stages that are made once: each whole or absent, each with the key of what it was made from.

    key      options of the stage and the content of its input, hashed
    outputs  the sha256 of every file that the stage wrote

A stage is up to date when its key is the one of last time *and* its files still are what was written: a
changed option, a changed input and a damaged output are all noticed, and nothing else makes it run again.
Untouched files are not read for that (`content_cache`). The record of all stages is one JSON file, rewritten
after each of them.

Left out: what a stage does, and several programs at once in one folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import atomic_dir, atomic_write_json

from .content_cache import FileDigest, as_records, file_digests, key_of
from .document_files import Meter
from .tree_memory import TreeMemorySampler

VERSION = 1  # of the record and of what stages make; another version, another key
Made = dict[str, Any]  # a stage's record


class StageCache:
    """The stages in `out`, recorded in `out/<record_name>`.

    `record` is what is written; `old` what an earlier run left. Raises UserError for a folder that holds
    something else.
    """

    def __init__(self, out: Path, record_name: str, about: dict[str, Any]) -> None:
        self.out, self.path = out, out / record_name
        self.old = self._read()
        stages = dict(self.old.get("stages", {}))
        kept = {"inputs": self.old.get("inputs", [])}
        self.record: dict[str, Any] = {
            "version": VERSION,
            "status": "running",
            **about,
            **kept,
            "stages": stages,
        }
        self._ran: list[str] = []
        for left_over in out.glob(".*.tmp"):  # of a run that was killed
            if left_over.is_dir():
                shutil.rmtree(left_over, ignore_errors=True)
        self.save()

    def _read(self) -> dict[str, Any]:
        """The record of an earlier run; {} for a new folder. One that is not ours is refused."""
        out = self.out
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: a file where a folder for the stages is needed: choose another out=")
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            names = [p.name for p in out.iterdir() if not p.name.startswith(".")] if out.is_dir() else []
            if names:
                raise UserError(
                    f"{out}: holds other files ({names[0]}, …): choose a new folder as out="
                ) from None
            return {}
        except ValueError:
            raise UserError(f"{self.path}: damaged JSON: remove it, and every stage is made again") from None
        if not isinstance(record, dict) or record.get("version") != VERSION:
            raise UserError(f"{self.path}: not a record that this program reads: choose a new folder as out=")
        return record

    def save(self) -> None:
        """Write the record as it is now."""
        atomic_write_json(self.path, self.record)

    def finish(self) -> dict[str, Any]:
        """Mark the run complete. Stages that were left out this time stay, as "skipped"."""
        for name, made in self.record["stages"].items():
            if name not in self._ran:
                made["status"] = "skipped"
        self.record["status"] = "complete"
        self.save()
        return self.record

    def run(
        self,
        name: str,
        parts: list[Any],
        work: Callable[[Path], dict[str, Any]],
        meter: Meter,
        *,
        keyed: bool = True,
        resumable: bool = False,
    ) -> Made:
        """Bring the folder of a stage up to date and return its record.

        Args:
            parts: what decides the result, in plain values.
            work: makes the files in the folder that it is given; what it returns is recorded, and has
                "documents" and "text_bytes".
            meter: through which the documents come in; speed is counted from it if it was used.
            keyed: whether `parts` really is all that decides; if not, the stage is made each time and
                thrown away if it is what was there.
            resumable: `work` may go on in a half-made folder of its own, and knows how.
        """
        folder = self.out / name
        key = key_of([name, VERSION, *parts])
        old = self.old.get("stages", {}).get(name)
        whole = old is not None and old["key"] == key and self._is_whole(old, folder)
        if whole and keyed:
            return self._keep(name, {**old, "status": "unchanged"})
        started = time.monotonic()
        counts: dict[str, Any] = {}
        status = "made"
        with TreeMemorySampler() as memory:
            if resumable:
                counts = work(folder)
            else:
                with contextlib.suppress(_Same), atomic_dir(folder) as temporary:
                    counts = work(temporary)
                    if whole and _sums(temporary, file_digests(_files(temporary))) == _outputs(old):
                        status = "unchanged"
                        raise _Same
        digests = file_digests(_files(folder))
        seconds = max(time.monotonic() - started, 1e-9)
        documents = meter.documents or counts["documents"]
        n_bytes = meter.text_bytes or counts["text_bytes"]
        figures = {
            "status": status,
            "key": key,
            "seconds": seconds,
            "documents_in": documents,
            "text_bytes_in": n_bytes,
            "documents_per_s": documents / seconds,
            "mb_per_s": n_bytes / 1e6 / seconds,
            "peak_bytes": memory.peak_bytes,
            "tree_peak_bytes": memory.tree_peak_bytes,
        }
        return self._keep(name, {**figures, **counts, "outputs": _with_paths(folder, digests)})

    def _is_whole(self, old: Made, folder: Path) -> bool:
        """Whether a folder holds what its record says; the record then learns the newest fingerprints."""
        digests = file_digests(_files(folder), [record for _, record in old["outputs"]])
        same = _sums(folder, digests) == _outputs(old)
        if same:
            old["outputs"] = _with_paths(folder, digests)
        return same

    def _keep(self, name: str, made: Made) -> Made:
        self._ran.append(name)
        self.record["stages"][name] = made
        self.save()
        return made


class _Same(Exception):
    """What was made is what was there: throw it away."""


def content_key(made: Made) -> str:
    """One hash for all that a stage wrote: the key of what reads it."""
    return key_of(_outputs(made))


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _with_paths(folder: Path, digests: list[FileDigest]) -> list[list[Any]]:
    root = folder.absolute()
    paths = [Path(d.path).relative_to(root).as_posix() for d in digests]
    return [list(pair) for pair in zip(paths, as_records(digests), strict=True)]


def _sums(folder: Path, digests: list[FileDigest]) -> list[list[str]]:
    return [[path, record["sha256"]] for path, record in _with_paths(folder, digests)]


def _outputs(made: Made) -> list[list[str]]:
    return [[path, record["sha256"]] for path, record in made["outputs"]]
