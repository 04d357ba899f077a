"""Training from token shards: gigabytes of ids that are mapped, not loaded.

`data=FOLDER` with a `meta.json` of `preprocess`, `pipeline` or `prepare_smollm` is taken as it is: its tokens, its
split, its tokenizer. The ids are read through the operating system's cache, so a run starts at once whatever the
size, and several processes share the same pages. Nothing is hashed again: what a resumed run must find is known
from the sums that were taken when the shards were written.
Left out: shards in another place than a local folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretraining.evaluation import count_bytes_per_token
from pretraining.prepared_data import PreparedData, need_validation
from pretraining.pretrain_config import PretrainConfig
from utils.errors import UserError
from utils.files import sha256_bytes
from working_with_text_data.shards import META, open_shards, read_meta
from working_with_text_data.tokenizer import load_tokenizer, tokenizer_hash


@dataclass(frozen=True)
class ShardData(PreparedData):
    """Mapped shards. `sums` are the sha256 of both parts, from the sums of their files."""

    sums: dict[str, str]

    def identity(self) -> dict[str, Any]:
        """As written in the folder's meta.json; no token is read."""
        return {
            "tokenizer_sha256": tokenizer_hash(self.tokenizer),
            "train_tokens": len(self.train),
            "val_tokens": len(self.val),
            **{f"{split}_sha256": value for split, value in self.sums.items()},
        }

    def origin(self, config: PretrainConfig) -> Any:
        """The folder by its path; hashing it again would read all of it."""
        return {"shards": str(Path(config.data).resolve()), **self.sums}


def is_shard_folder(data: str) -> bool:
    """Whether `data` names a folder of token shards."""
    return (Path(data).expanduser() / META).is_file()


def open_shard_data(config: PretrainConfig, tokenizer: Any = None) -> ShardData:
    """The shards of `config.data` with their tokenizer, all headers checked.

    `tokenizer` (a checkpoint's, or what the config names) must be the one that made the shards. Raises UserError
    when it is not, when the folder has no validation split, and for keys that shards cannot obey.
    """
    folder = Path(config.data).expanduser()
    if config.max_documents is not None:
        raise UserError(
            f"max_documents is {config.max_documents}, but {folder} holds finished shards: leave it out"
        )
    if config.streaming:
        raise UserError(f"streaming=true, but {folder} holds finished shards, which are mapped: leave it out")
    meta = read_meta(folder)
    if tokenizer is None:
        tokenizer = shard_tokenizer(folder) if config.tokenizer == "bpe" else load_tokenizer(config.tokenizer)
    for split in ("train", "val"):
        if split not in meta["splits"]:
            raise UserError(
                f"{folder} has no {split} split (it has {', '.join(meta['splits'])}): preprocess with val_fraction=0.05"
            )
    sha = tokenizer_hash(tokenizer)
    train, val = (open_shards(folder, split, tokenizer_sha256=sha) for split in ("train", "val"))
    need_validation(val, str(folder))
    sums = {split: _sum(meta["splits"][split]["shards"]) for split in ("train", "val")}
    return ShardData(
        tokenizer, train, val, count_bytes_per_token(tokenizer, val), meta.get("split", {}), sums
    )


def shard_tokenizer(folder: Path) -> Any:
    """The tokenizer that lies beside the shards it made. Raises UserError when there is none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no tokenizer.json: name the tokenizer that made it with tokenizer=FILE"
        )
    return load_tokenizer(str(path))


def _sum(shards: list[dict[str, Any]]) -> str:
    return sha256_bytes("".join(shard["sha256"] for shard in shards).encode())
