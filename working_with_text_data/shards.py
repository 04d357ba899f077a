"""Token shards: ids on disk that are read without being loaded.

A corpus is tokenised once and kept as files of raw little-endian integers, so that a run of any size
starts at once and shares its pages with the operating system's cache:

    train_000.bin, train_001.bin, …   a 64-byte header, then uint16 ids (uint32 above 65,535 ids)
    val_000.bin, …
    meta.json                         what belongs together: written last, so it never lists half a file

The header says magic, version, bytes per id, vocabulary, count and the tokenizer's sha256. Opening
compares all of them with the file's length and with the tokenizer in hand: ids mean nothing under
another tokenizer, and half a file is refused, not trained on.

Left out: compression (a memory map needs fixed width) and document boundaries beyond the end-of-text
token that the caller puts between documents.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.files import atomic_write_bytes, atomic_write_json

from .token_array import TokenArray

MAGIC = b"SBTOKENS"
VERSION = 1
HEADER = struct.Struct("<8sHHIQ32s8x")  # magic, version, bytes per id, vocabulary, count, sha256
SHARD_TOKENS = 1 << 24  # 32 MiB of uint16
META = "meta.json"
_DTYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
assert HEADER.size == 64


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """uint16 while every id is at most 65,535, uint32 above; both little-endian."""
    return _DTYPES[2] if vocab_size <= 65_536 else _DTYPES[4]


@dataclass
class Progress:
    """How far a split has been written: enough to go on after the last whole shard."""

    shards: list[dict[str, Any]] = field(default_factory=list)
    documents: int = 0  # documents that lie wholly in the written shards
    carry: int = 0  # ids of the next document that already lie there


class ShardWriter:
    """Fills shards with the ids of one document after another; each is on disk whole or not at all.

    `progress` is that of an earlier writer: give its documents again from `progress.documents` on.
    `on_shard(progress)` is called when a shard is safely on disk.
    """

    def __init__(
        self,
        out_dir: Path,
        split: str,
        *,
        tokenizer_sha256: str,
        vocab_size: int,
        shard_tokens: int = SHARD_TOKENS,
        progress: Progress | None = None,
        on_shard: Callable[[Progress], None] | None = None,
    ) -> None:
        if shard_tokens < 1:
            raise UserError(f"shard_tokens is {shard_tokens}: it must be at least 1")
        if vocab_size < 1:
            raise UserError(f"vocab_size is {vocab_size}: it must be at least 1")
        if not split.isidentifier():
            raise UserError(f"split is {split!r}: use a plain name such as train or val")
        self.out_dir, self.split, self.vocab_size = Path(out_dir), split, vocab_size
        self.progress = progress or Progress()
        self._sha = _sha_bytes(tokenizer_sha256)
        self._on_shard = on_shard
        dtype = dtype_for(vocab_size)
        # Header and ids in one piece of memory, so that a shard is hashed and written without a copy. It is
        # an array's, because a page of that costs nothing before it is written to.
        raw = np.empty(HEADER.size + shard_tokens * dtype.itemsize, dtype=np.uint8)
        self._raw = memoryview(raw)  # type: ignore[arg-type]
        self._buffer = raw[HEADER.size :].view(dtype)
        self._used = 0
        self._document = self.progress.documents  # the one that `add` gets next
        self._skip = self.progress.carry
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def add(self, ids: Sequence[int] | NDArray[Any]) -> None:
        """Append one document's ids. An id outside the vocabulary is a UserError."""
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise UserError(f"document {self._document}: ids must be a flat list of whole numbers")
        if array.size and (int(array.min()) < 0 or int(array.max()) >= self.vocab_size):
            bad = int(array.min()) if int(array.min()) < 0 else int(array.max())
            raise UserError(
                f"document {self._document} holds the id {bad}, but the vocabulary has "
                f"{self.vocab_size:,} ids: tokenise it with the tokenizer that is named"
            )
        done, self._skip = self._skip, 0
        while done < len(array):
            take = min(len(array) - done, len(self._buffer) - self._used)
            self._buffer[self._used : self._used + take] = array[done : done + take]
            self._used, done = self._used + take, done + take
            if self._used == len(self._buffer):
                whole = done == len(array)
                self._flush(self._document + whole, 0 if whole else done)
        self._document += 1

    def close(self) -> Progress:
        """Write what is left as a last, shorter shard."""
        if self._used or not self.progress.shards:
            self._flush(self._document, 0)
        self.progress.documents, self.progress.carry = self._document, 0
        return self.progress

    def _flush(self, documents: int, carry: int) -> None:
        name = f"{self.split}_{len(self.progress.shards):03d}.bin"
        width = self._buffer.dtype.itemsize
        HEADER.pack_into(self._raw, 0, MAGIC, VERSION, width, self.vocab_size, self._used, self._sha)
        whole = self._raw[: HEADER.size + self._used * width]
        atomic_write_bytes(self.out_dir / name, whole)  # type: ignore[arg-type]
        digest = hashlib.sha256(whole).hexdigest()
        self.progress.shards.append({"file": name, "tokens": self._used, "sha256": digest})
        self.progress.documents, self.progress.carry = documents, carry
        self._used = 0
        if self._on_shard:
            self._on_shard(self.progress)


def write_shards(
    out_dir: str | Path,
    split: str,
    ids: Iterable[Sequence[int] | NDArray[Any]],
    *,
    tokenizer_sha256: str,
    vocab_size: int,
    shard_tokens: int = SHARD_TOKENS,
    extra: dict[str, Any] | None = None,
) -> TokenArray:
    """Write the ids of one split (one sequence a document) as shards, record them, and open them.

    An older set of the same split is replaced; `meta.json` names the new one only when it is whole.
    `extra` is recorded with the split (for instance `{"text_bytes": …}`).
    """
    out_dir = Path(out_dir)
    writer = ShardWriter(
        out_dir, split, tokenizer_sha256=tokenizer_sha256, vocab_size=vocab_size, shard_tokens=shard_tokens
    )
    forget_split(out_dir, split)
    for document in ids:
        writer.add(document)
    record_splits(out_dir, {split: writer.close()}, tokenizer_sha256, vocab_size, extra={split: extra or {}})
    return open_shards(out_dir, split, tokenizer_sha256=tokenizer_sha256)


def record_splits(
    out_dir: Path,
    splits: Mapping[str, Progress],
    tokenizer_sha256: str,
    vocab_size: int,
    *,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    about: Mapping[str, Any] | None = None,
    keep_others: bool = True,
) -> dict[str, Any]:
    """Name finished splits in `meta.json`, all in one write, and remove shards that nothing names.

    `extra` is recorded with each split, `about` with the folder. Other splits that the folder has stay
    named if they were made by the same tokenizer, unless `keep_others` is false. Returns the new meta.
    """
    made_by = {"tokenizer_sha256": tokenizer_sha256, "vocab_size": vocab_size}
    meta = read_meta(out_dir) if keep_others and (out_dir / META).exists() else {}
    if any(meta.get(key) != value for key, value in made_by.items()):
        meta = {}
    named = dict(meta.get("splits", {}))
    for split, progress in splits.items():
        named[split] = {
            "tokens": sum(shard["tokens"] for shard in progress.shards),
            "documents": progress.documents,
            **(extra or {}).get(split, {}),
            "shards": progress.shards,
        }
    head = {"format": MAGIC.decode(), "version": VERSION, "dtype": dtype_for(vocab_size).name, **made_by}
    meta = {**meta, **head, **(about or {}), "splits": named}
    atomic_write_json(out_dir / META, meta)
    listed = {shard["file"] for split in named.values() for shard in split["shards"]}
    for path in out_dir.glob("*_[0-9][0-9][0-9]*.bin"):
        if path.name not in listed:
            path.unlink()
    return meta


def forget_split(out_dir: Path, split: str) -> None:
    """Take a split out of `meta.json` before its files are replaced."""
    if (out_dir / META).exists():
        meta = read_meta(out_dir)
        if meta["splits"].pop(split, None) is not None:
            atomic_write_json(out_dir / META, meta)


def read_meta(directory: str | Path) -> dict[str, Any]:
    """`meta.json` of a shard folder; absent, damaged or foreign is a UserError."""
    path = Path(directory) / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{directory}: no token shards there ({META} is missing): make them with "
            "python -m working_with_text_data.preprocess"
        ) from None
    except ValueError:
        raise UserError(f"{path}: damaged JSON: run the preprocessing again") from None
    if not isinstance(meta, dict) or meta.get("format") != MAGIC.decode() or "splits" not in meta:
        raise UserError(f"{path}: not a description of token shards: name a folder that preprocess made")
    if meta.get("version") != VERSION:
        found = meta.get("version")
        raise UserError(f"{path}: version {found}, this program reads {VERSION}: preprocess again")
    return meta


def open_shards(
    directory: str | Path, split: str, *, tokenizer_sha256: str | None = None, verify: bool = False
) -> TokenArray:
    """Map the shards of a split. Nothing is read but the headers, unless `verify` asks for the sha256.

    Raises:
        UserError: no such folder or split; a shard that is missing, cut, foreign, of another version
            or made by another tokenizer than `tokenizer_sha256`.
    """
    directory = Path(directory)
    meta = read_meta(directory)
    if split not in meta["splits"]:
        has = ", ".join(meta["splits"]) or "none"
        raise UserError(f"{directory}: no split named {split!r}: it has {has}")
    if tokenizer_sha256 is not None and meta["tokenizer_sha256"] != tokenizer_sha256:
        raise _other_tokenizer(directory, meta["tokenizer_sha256"], tokenizer_sha256)
    expected = meta["tokenizer_sha256"]
    shards = []
    for entry in meta["splits"][split]["shards"]:
        path = directory / entry["file"]
        shard = open_shard(path, tokenizer_sha256=expected)
        if len(shard) != entry["tokens"]:
            listed = entry["tokens"]
            raise UserError(f"{path}: {len(shard):,} tokens where {META} lists {listed:,}: preprocess again")
        if verify and hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise UserError(f"{path}: its content is not what was written (sha256 differs): preprocess again")
        shards.append(shard)
    return TokenArray(shards, vocab_size=meta["vocab_size"], tokenizer_sha256=expected)


def open_shard(path: Path, *, tokenizer_sha256: str | None = None) -> NDArray[Any]:
    """Map one shard after checking every field of its header against the file. Raises UserError."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(HEADER.size)
            size = stream.seek(0, 2)
    except FileNotFoundError:
        raise UserError(f"{path}: the shard is missing: run the preprocessing again") from None
    if len(head) < HEADER.size:
        raise UserError(
            f"{path}: {len(head)} bytes, less than a shard's header ({HEADER.size}): preprocess again"
        )
    magic, version, width, vocab_size, count, sha = HEADER.unpack(head)
    if magic != MAGIC:
        raise UserError(f"{path}: not a token shard (it begins with {magic!r}, not {MAGIC!r})")
    if version != VERSION:
        raise UserError(f"{path}: shard version {version}, this program reads {VERSION}: preprocess again")
    if width not in _DTYPES or _DTYPES[width] != dtype_for(vocab_size):
        raise UserError(
            f"{path}: {width} bytes an id for a vocabulary of {vocab_size:,}, which needs "
            f"{dtype_for(vocab_size).itemsize}: the header is damaged, preprocess again"
        )
    if size != HEADER.size + count * width:
        raise UserError(
            f"{path}: {size:,} bytes where its header promises {HEADER.size + count * width:,} "
            f"({count:,} tokens): the file was cut or grew, preprocess again"
        )
    if tokenizer_sha256 is not None and sha != _sha_bytes(tokenizer_sha256):
        raise _other_tokenizer(path, sha.hex(), tokenizer_sha256)
    if count == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=_DTYPES[width])
    mapped = np.memmap(path, dtype=_DTYPES[width], mode="r", offset=HEADER.size, shape=(count,))
    return mapped.view(np.ndarray)  # the same pages; slicing a plain array costs a fraction of a memmap's


def _sha_bytes(sha256: str) -> bytes:
    try:
        raw = bytes.fromhex(sha256)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UserError(f"tokenizer_sha256 is {sha256!r}: it must be 64 hexadecimal digits")
    return raw


def _other_tokenizer(where: Path, found: str, wanted: str) -> UserError:
    return UserError(
        f"{where}: made by another tokenizer (sha256 {found[:12]}…, yours is {wanted[:12]}…): "
        "use that tokenizer or preprocess again"
    )
