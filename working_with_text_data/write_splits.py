"""Documents with their sides become token shards: once for the same content, and safe to kill.

What is written is a pure function of the documents in order, the tokenizer and the options, so a folder can
say whether it is up to date: `meta.json` holds a key over all of them. For files the key rests on their
sha256 (`content_cache`, which does not read an untouched file again); for texts that come from elsewhere on
a running hash of each side, made while they stream by.

Killed at any moment, the next attempt goes on after the last whole shard of each side: `progress.json`, made
anew with each shard, says how many documents lie in them and what the running hash was. Documents that are
skipped are hashed again, and if they are not those that were written, the work begins anew. `meta.json`,
without which no shard is opened, comes last.

Left out: knowing what a document is (`documents`), its side (`split_stream`) or its ids (`encode_stream`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from utils.errors import UserError
from utils.files import atomic_write_json, jsonable

from .content_cache import key_of
from .documents import SEPARATOR
from .encode_stream import encode_stream
from .shards import (
    META,
    SHARD_TOKENS,
    VERSION,
    Progress,
    ShardWriter,
    open_shard,
    open_shards,
    read_meta,
    record_splits,
)
from .split_stream import Sided
from .tokenizer import Tokenizer, tokenizer_hash

PROGRESS = "progress.json"
OnDocument = Callable[[str, int], None]


class SidedDocuments(Protocol):
    """What is written: `split_stream.SplitStream`, or anything else that keeps this."""

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of the sides, of train, val and test."""
        ...

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """side → {"documents", "text_bytes"} of what came so far."""
        ...

    @property
    def report(self) -> dict[str, Any]:
        """What the split did."""
        ...

    def __iter__(self) -> Iterator[Sided]:
        """(side, document, hash of its text), once; `counts` and `report` are complete afterwards."""
        ...


@dataclass(frozen=True)
class Written:
    """The folder, its meta, and whether anything had to be written."""

    path: Path
    meta: dict[str, Any]
    written: bool


class _InputChanged(Exception):
    """The documents that an interrupted run wrote are not those that come now."""


def write_splits(
    out: Path,
    open_documents: Callable[[], SidedDocuments],
    tokenizer: Tokenizer,
    *,
    options: Mapping[str, Any],
    source: Any = None,
    about: Mapping[str, Any] | None = None,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 0,
    on_document: OnDocument | None = None,
) -> Written:
    """Write the shards of every side into `out`, unless they are there already.

    Args:
        out: made if absent; a folder that holds anything else is refused.
        open_documents: gives the documents from the start, each time it is called.
        tokenizer: its end-of-text token, where it has one, closes each document.
        options: everything else that decides what the documents are (plain values).
        source: what is equal when, and only when, the documents are: sums of files. None where that
            is not known before reading; then the documents are read once more to see whether the
            folder is up to date, and not tokenised.
        about: recorded in `meta.json` beside it.
        shard_tokens: ids a shard. workers: processes that tokenise, 0 for this one; neither this nor
            their speed changes a byte of the result.
        on_document: called as (side, UTF-8 bytes of the text) after each text that is tokenised.

    Raises:
        UserError: a foreign folder, no documents, bad sizes.
        OSError: the disk is full or read-only. Shards written so far stay, for the next attempt.
    """
    sha = tokenizer_hash(tokenizer)
    base = key_of({"version": VERSION, "tokenizer": sha, "shard_tokens": shard_tokens, "options": options})
    refuse_foreign_folder(out)
    meta = whole_meta(out)
    if meta is not None and meta.get("base") == base:
        key = key_of([base, source if source is not None else _side_hashes(open_documents())])
        if meta["key"] == key:
            return Written(out, meta, written=False)
    found = _resumable(out, base, source, sha)
    if not found:  # what is there belongs to something else: no longer name it, then replace it
        (out / META).unlink(missing_ok=True)
    try:
        job = _Job(out, tokenizer, sha, base, source, shard_tokens, found)
        documents = job.run(open_documents(), workers, on_document)
    except _InputChanged:
        (out / PROGRESS).unlink(missing_ok=True)
        job = _Job(out, tokenizer, sha, base, source, shard_tokens, {})
        documents = job.run(open_documents(), workers, on_document)
    tokenizer.save(out / "tokenizer.json")
    meta = record_splits(
        out,
        {side: job.progress[side] for side in documents.sides},
        sha,
        tokenizer.vocab_size,
        extra={side: {"text_bytes": count["text_bytes"]} for side, count in documents.counts.items()},
        about={
            "base": base,
            "key": key_of([base, source if source is not None else job.hashes(documents.sides)]),
            "end_of_text": tokenizer.special_tokens.get(SEPARATOR),
            "split": documents.report,
            **(about or {}),
        },
        keep_others=False,
    )
    (out / PROGRESS).unlink(missing_ok=True)
    for left_over in out.glob(".*.tmp"):  # of a writer that was killed between its bytes and its rename
        left_over.unlink(missing_ok=True)
    return Written(out, meta, written=True)


class _Job:
    """One attempt: a writer and a running hash for each side."""

    def __init__(
        self,
        out: Path,
        tokenizer: Tokenizer,
        sha: str,
        base: str,
        source: Any,
        shard_tokens: int,
        found: Mapping[str, _Found],
    ) -> None:
        self.out, self.tokenizer, self.sha, self.base, self.source = out, tokenizer, sha, base, source
        self.shard_tokens = shard_tokens
        self.found = {side: found.get(side, _Found()) for side in ("train", "val", "test")}
        self.progress = {side: Progress(**asdict(f.progress)) for side, f in self.found.items()}
        self._flushed = {side: (f.texts, f.texts_sha256) for side, f in self.found.items()}
        self._seen = dict.fromkeys(self.found, 0)  # documents of each side that were hashed
        self._running = {side: hashlib.sha256() for side in self.found}
        self._closing = False

    def run(self, documents: SidedDocuments, workers: int, on_document: OnDocument | None) -> SidedDocuments:
        """Write every side; returns `documents`, now read to the end."""
        writers = {side: self._writer(side) for side in documents.sides}
        end = self.tokenizer.special_tokens.get(SEPARATOR)
        fresh = ((sided, sided[1].text) for sided in documents if not self._lies_there(sided))
        encoded = encode_stream(fresh, self.tokenizer, end=end, workers=workers)
        with contextlib.closing(encoded):  # a writer that fails ends the workers
            for (side, document, digest), ids in encoded:
                self._hash(side, digest)
                writers[side].add(ids)
                if on_document:
                    on_document(side, len(document.text.encode("utf-8")))
        if any(self._seen[side] < found.texts for side, found in self.found.items()):
            raise _InputChanged  # there are fewer documents than before
        self._closing = True  # a last, shorter shard is nothing to go on after
        for writer in writers.values():
            writer.close()
        return documents

    def hashes(self, sides: tuple[str, ...]) -> dict[str, str]:
        """The running hash of each side after all of its documents."""
        return {side: self._running[side].hexdigest() for side in sides}

    def _writer(self, side: str) -> ShardWriter:
        def save(_: Progress) -> None:
            if not self._closing:
                self._flushed[side] = (self._seen[side], self._running[side].hexdigest())
                self._save()

        return ShardWriter(
            self.out,
            side,
            tokenizer_sha256=self.sha,
            vocab_size=self.tokenizer.vocab_size,
            shard_tokens=self.shard_tokens,
            progress=self.progress[side],
            on_shard=save,
        )

    def _save(self) -> None:
        sides = {
            side: {"progress": asdict(self.progress[side]), "texts": texts, "texts_sha256": sha}
            for side, (texts, sha) in self._flushed.items()
            if texts
        }
        atomic_write_json(self.out / PROGRESS, {"base": self.base, "source": self.source, "sides": sides})

    def _lies_there(self, sided: Sided) -> bool:
        """Whether the shards that were found hold the whole of this document: then it is only hashed."""
        side, _, digest = sided
        if self._seen[side] >= self.found[side].progress.documents:
            return False
        self._hash(side, digest)
        return True

    def _hash(self, side: str, digest: str) -> None:
        self._running[side].update(bytes.fromhex(digest))
        self._seen[side] += 1
        found = self.found[side]
        if self._seen[side] == found.texts and self._running[side].hexdigest() != found.texts_sha256:
            raise _InputChanged


@dataclass(frozen=True)
class _Found:
    """What an interrupted run left of one side."""

    progress: Progress = field(default_factory=Progress)
    texts: int = 0  # documents that lie in its shards, the last one perhaps in part
    texts_sha256: str = ""  # the running hash over them


def _side_hashes(documents: SidedDocuments) -> dict[str, str]:
    running = {side: hashlib.sha256() for side in documents.sides}
    for side, _, digest in documents:
        running[side].update(bytes.fromhex(digest))
    return {side: hash_.hexdigest() for side, hash_ in running.items()}


def refuse_foreign_folder(out: Path) -> None:
    """Shards are deleted and replaced in `out`: a folder of something else is not for that."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file where a folder for the shards is needed: choose another out=")
    if out.is_dir() and any(out.iterdir()):
        known = (META, PROGRESS, "tokenizer.json")
        names = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if names and not any(n in known or n.startswith(("train_", "val_", "test_")) for n in names):
            raise UserError(f"{out}: holds other files ({names[0]}, …): choose a new folder as out=")


def whole_meta(out: Path) -> dict[str, Any] | None:
    """The meta of a folder in which every shard is in one piece, or None."""
    with contextlib.suppress(UserError):
        meta = read_meta(out)
        for name in meta["splits"]:
            open_shards(out, name)
        return meta
    return None


def _resumable(out: Path, base: str, source: Any, sha: str) -> dict[str, _Found]:
    """What an interrupted run for the same key left, if all of it is whole; else nothing."""
    try:
        saved = json.loads((out / PROGRESS).read_text(encoding="utf-8"))
        if saved["base"] != base or saved["source"] != jsonable(source):
            return {}
        sides = {
            side: _Found(Progress(**state["progress"]), state["texts"], state["texts_sha256"])
            for side, state in saved["sides"].items()
        }
        for found in sides.values():
            for shard in found.progress.shards:
                if len(open_shard(out / shard["file"], tokenizer_sha256=sha)) != shard["tokens"]:
                    return {}
        return sides
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # UserError is a ValueError
        return {}
