"""The vocabularies of GPT-2, GPT-4 and GPT-4o in our own encoder.

The idea: a tiktoken file has one line a token, `base64(bytes) rank`, and the rank is both the id
and the order of merging. So a published vocabulary is just a table for `BPETokenizer`.

    tokenizer = GPT4Tokenizer()      # the same as load_tiktoken("cl100k_base")

The rank files are not part of this repository (1–4 MB each). They are looked for in `data/tokenizers`
(or `SCRATCHBOOK_DATA`), then in tiktoken's own cache, then fetched from their publisher; each is checked
by its sha256, and the error of a machine without a network names the file, its address and the folder.

Source: Radford et al. 2019 for GPT-2; tiktoken's `openai_public.py` for addresses, sums and special ids.
Left out: training (`fast_bpe`); tiktoken's own engine on the same tables (`tiktoken_adapter`).
Notebook: 03 of this chapter.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import RunFailure, UserError
from utils.files import atomic_write_bytes, sha256_file
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.byte_letters import unspell
from working_with_text_data.tie_breaks import gpt2_byte_order

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


# tiktoken itself builds "gpt2" from the file of merges that came with GPT-2, so that is what its cache holds.
_GPT2_MERGES = (
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe",
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
)


def load_tiktoken(name: str, folder: str | Path | None = None) -> BPETokenizer:
    """The published vocabulary `name` (`gpt2`, `cl100k_base`, `o200k_base`) in our encoder.

    Args:
        folder: where the `.tiktoken` file is. Without it: the folder `tokenizers` under the data
            root, then tiktoken's cache, then the publisher.

    Raises:
        UserError: unknown name, or no file and no network (it names the file, the address and the folder).
    """
    encoding = _encoding(name)
    return BPETokenizer(
        ranks=published_ranks(name, folder),
        pattern=encoding.pattern,
        special_tokens=dict(encoding.special_tokens),
    )


def GPT2Tokenizer(folder: str | Path | None = None) -> BPETokenizer:
    """GPT-2's tokenizer, 50,257 ids, in our encoder: `load_tiktoken("gpt2")`."""
    return load_tiktoken("gpt2", folder)


def GPT4Tokenizer(folder: str | Path | None = None) -> BPETokenizer:
    """The tokenizer of GPT-3.5 and GPT-4, 100,277 ids, in our encoder: `load_tiktoken("cl100k_base")`."""
    return load_tiktoken("cl100k_base", folder)


def GPT4oTokenizer(folder: str | Path | None = None) -> BPETokenizer:
    """GPT-4o's tokenizer, 200,019 ids, in our encoder: `load_tiktoken("o200k_base")`."""
    return load_tiktoken("o200k_base", folder)


def published_ranks(name: str, folder: str | Path | None = None) -> dict[bytes, int]:
    """Token bytes → id of a published vocabulary, from where `load_tiktoken` says; the same errors."""
    from utils.downloads import data_root, fetch

    encoding = _encoding(name)
    if folder is not None:
        path = Path(folder) / encoding.file
        if not path.is_file():
            raise UserError(
                f"{encoding.file} is not in {folder}: download it from {encoding.url} and put it there"
            )
        return read_ranks(path)
    file = f"tokenizers/{encoding.file}"
    if not (data_root() / file).exists():
        if cached := _in_tiktoken_cache(encoding.url, encoding.sha256):
            return read_ranks(cached)
        if name == "gpt2" and (cached := _in_tiktoken_cache(*_GPT2_MERGES)):
            return read_gpt2_merges(cached)
    try:
        return read_ranks(fetch(file, [encoding.url], encoding.sha256))
    except RunFailure as error:  # no network: what is missing is a file, which the person can put in place
        raise UserError(str(error)) from None


def at_hand(name: str) -> bool:
    """Whether `load_tiktoken(name)` would find its file on this machine and need no network."""
    from utils.downloads import data_root

    encoding = _encoding(name)
    return (
        (data_root() / "tokenizers" / encoding.file).is_file()
        or _in_tiktoken_cache(encoding.url, encoding.sha256) is not None
        or (name == "gpt2" and _in_tiktoken_cache(*_GPT2_MERGES) is not None)
    )


def _encoding(name: str) -> Encoding:
    if name not in ENCODINGS:
        raise UserError(
            f"no encoding {name!r}: use one of {list(ENCODINGS)}, or read_ranks for a file of your own"
        )
    return ENCODINGS[name]


def _in_tiktoken_cache(url: str, sha256: str) -> Path | None:
    """The file that tiktoken has kept of `url`, if it has and the sum is right. Its name is sha1(url)."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        import tempfile

        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    path = Path(folder) / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    return path if folder and path.is_file() and sha256_file(path) == sha256 else None


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


def read_gpt2_merges(path: str | Path) -> dict[bytes, int]:
    """Token bytes → id from `vocab.bpe`, the list of merges published with GPT-2.

    The file has a line of its version, then one merge a line, both halves in letters for bytes.
    """
    ranks = {bytes([byte]): i for i, byte in enumerate(gpt2_byte_order())}
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        try:
            left, right = map(unspell, line.split(" "))
        except (ValueError, KeyError):
            raise UserError(f"{path}, line {number}: expected two tokens, found {line[:60]!r}") from None
        ranks[left + right] = len(ranks)
    return ranks


def write_ranks(tokenizer: BPETokenizer, path: str | Path) -> None:
    """Write a tokenizer's ranks as a `.tiktoken` file (special tokens and pattern are no part of it)."""
    lines = [
        base64.b64encode(token) + b" %d\n" % token_id
        for token, token_id in sorted(tokenizer.ranks.items(), key=lambda item: item[1])
    ]
    atomic_write_bytes(Path(path), b"".join(lines))


def __getattr__(name: str) -> Any:
    """`to_tiktoken` lives in `tiktoken_adapter`, which needs this module; it is found here as well."""
    if name == "to_tiktoken":
        from working_with_text_data.tiktoken_adapter import to_tiktoken

        return to_tiktoken
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
