"""The vocabularies of GPT-2, GPT-4 and GPT-4o in our own encoder, and our own in tiktoken's.

The idea: a tiktoken file has one line a token, `base64(bytes) rank`, and the rank is both the id
and the order of merging. So a published vocabulary is just a table for `BPETokenizer`, and a
vocabulary trained here is just a table for `tiktoken.Encoding`, the fast production encoder.

The rank files are not part of this repository (1–4 MB each): they are looked for in
`data/tokenizers` (or `SCRATCHBOOK_DATA`), fetched from their publisher if there is a network, and
checked by sha256. Left out: training (`fast_bpe`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import atomic_write_bytes
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.patterns import splitter

if TYPE_CHECKING:
    import tiktoken

_PUBLISHER = "https://openaipublic.blob.core.windows.net/encodings/"


@dataclass(frozen=True)
class Encoding:
    """A published vocabulary: where it is, how it is recognised, how text is cut, its control words."""

    file: str
    url: str
    sha256: str
    pattern: str
    special_tokens: Mapping[str, int]


# URLs, checksums and special ids as in tiktoken's `openai_public.py`. GPT-2's vocabulary is r50k_base.
ENCODINGS = {
    "gpt2": Encoding(
        "gpt2.tiktoken",
        _PUBLISHER + "r50k_base.tiktoken",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "gpt2",
        {"<|endoftext|>": 50256},
    ),
    "cl100k_base": Encoding(
        "cl100k_base.tiktoken",
        _PUBLISHER + "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "cl100k",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Encoding(
        "o200k_base.tiktoken",
        _PUBLISHER + "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "o200k",
        {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}


def load_tiktoken(name: str, folder: str | Path | None = None) -> BPETokenizer:
    """The published vocabulary `name` (`gpt2`, `cl100k_base`, `o200k_base`) in our encoder.

    Args:
        folder: where the `.tiktoken` file is. Without it: the folder `tokenizers` under the data
            root, and if it is not there, the publisher.

    Raises:
        UserError: unknown name, or no file and no network (it names the file and the folder).
    """
    encoding = ENCODINGS.get(name)
    if encoding is None:
        raise UserError(
            f"no encoding {name!r}: use one of {list(ENCODINGS)}, or read_ranks for a file of your own"
        )
    if folder is not None:
        path = Path(folder) / encoding.file
        if not path.is_file():
            raise UserError(
                f"{encoding.file} is not in {folder}: download it from {encoding.url} and put it there"
            )
    else:
        from utils.downloads import fetch

        path = fetch(f"tokenizers/{encoding.file}", [encoding.url], encoding.sha256)
    return BPETokenizer(
        ranks=read_ranks(path), pattern=encoding.pattern, special_tokens=dict(encoding.special_tokens)
    )


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Token bytes → id from a `.tiktoken` file; UserError names a line of another form."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise UserError(f"{path}, line {number}: expected `base64 rank`, found {line[:60]!r}") from None
    if not ranks:
        raise UserError(f"{path} holds no tokens: it may have been cut short")
    return ranks


def write_ranks(tokenizer: BPETokenizer, path: str | Path) -> None:
    """Write a tokenizer's ranks as a `.tiktoken` file (special tokens and pattern are no part of it)."""
    lines = [
        base64.b64encode(token) + b" %d\n" % token_id
        for token, token_id in sorted(tokenizer.ranks.items(), key=lambda item: item[1])
    ]
    atomic_write_bytes(Path(path), b"".join(lines))


def to_tiktoken(tokenizer: BPETokenizer, name: str = "scratchbook") -> tiktoken.Encoding:
    """The same tokenizer as a `tiktoken.Encoding`: same ids, Rust speed, several threads."""
    import tiktoken

    return tiktoken.Encoding(
        name=name,
        pat_str=splitter(tokenizer.pattern).pattern,
        mergeable_ranks=tokenizer.ranks,
        special_tokens=tokenizer.special_tokens,
    )
