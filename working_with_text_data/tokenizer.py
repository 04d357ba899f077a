"""What every tokenizer of this book can do, and how one is loaded back from a file.

The idea: text goes in, a list of integers comes out, and the integers give the very same text
back. `Tokenizer` is the promise (a protocol), `SpecialTokens` keeps control words such as
`<|endoftext|>` apart from ordinary text, `load_tokenizer` opens whatever a run has saved.

Why special tokens need care: a person who *types* `<|endoftext|>` into a chat must not be able to
end the document. So a special token becomes its id only where the caller allows it by name; a
special that is present but not allowed is an error. This is tiktoken's rule.

Left out: the algorithms themselves (`byte_tokenizer`, `bpe`, `fast_bpe`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from utils.errors import UserError

# Of the JSON file. 2 added a BPE tokenizer's options (split_digits, prefix_space). A file bears the lowest
# version that can read it, so tokenizers without options stay, byte for byte and hash for hash, version 1.
FORMAT_VERSION = 2


@runtime_checkable
class Tokenizer(Protocol):
    """The promise that every tokenizer keeps. Ids are ints in `range(vocab_size)`."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the number of rows that an embedding needs."""
        ...

    @property
    def special_tokens(self) -> dict[str, int]:
        """Control words and their ids. Never produced from plain text unless allowed by name."""
        ...

    def encode(self, text: str, allowed_special: Set[str] | Literal["all"] = frozenset()) -> list[int]:
        """Ids of `text`. A special token in `text` that is not allowed raises ValueError."""
        ...

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of `text` with every special token spelled out as plain text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, the replacement character."""
        ...

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The exact bytes of `ids`."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one id stands for."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Everything needed to build the tokenizer again, as JSON values."""
        ...

    def save(self, path: str | Path) -> None:
        """Write `to_dict()` as JSON, whole or not at all."""
        ...

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        ...


class SpecialTokens(dict[str, int]):
    """A mapping from control word to id that can cut a text at the words that are allowed.

    >>> special = SpecialTokens({"<|end|>": 9, "<|end|><|end|>": 10})
    >>> list(special.split("a<|end|><|end|>b", "all"))
    [('a', None), ('<|end|><|end|>', 10), ('b', None)]
    """

    def __init__(self, tokens: Mapping[str, int] | None = None) -> None:
        super().__init__(tokens or {})
        for word in self:
            if not isinstance(word, str) or not word:
                raise UserError(
                    f"special token {word!r} is not a non-empty string: remove it or spell it out"
                )
        self._cutters: dict[frozenset[str], re.Pattern[str]] = {}

    def split(self, text: str, allowed: Set[str] | Literal["all"]) -> Iterator[tuple[str, int | None]]:
        """Yield `(piece, id)` in order: id is None for plain text, else the special token's id.

        Overlapping specials: the leftmost match wins, and of those that start together the longest.

        Raises:
            UserError (a ValueError): a special token that is not allowed stands in the text.
        """
        names = frozenset(self) if allowed == "all" else frozenset(allowed).intersection(self)
        for word in self:
            if word not in names and word in text:
                raise UserError(
                    f"text holds the special token {word!r}, which is not allowed here: pass "
                    f"allowed_special={{{word!r}}} to make it special, or use encode_ordinary to spell it out"
                )
        if not names:
            if text:
                yield text, None
            return
        cutter = self._cutters.get(names)
        if cutter is None:
            # Longest first, because a regular expression takes the first alternative that fits.
            longest_first = sorted(names, key=len, reverse=True)
            cutter = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
            self._cutters[names] = cutter
        for position, piece in enumerate(cutter.split(text)):
            if position % 2:  # re.split puts what the group matched at the odd places
                yield piece, self[piece]
            elif piece:
                yield piece, None


def valid_unicode(text: str) -> str:
    """`text` with lone surrogates replaced by U+FFFD, since UTF-8 cannot hold them (as in tiktoken)."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def join_bytes(table: Mapping[int, bytes], ids: Iterable[int]) -> bytes:
    """Concatenate the bytes of `ids`; an id that is not in `table` is a UserError that names it."""
    ids = ids if isinstance(ids, list | tuple) else [int(i) for i in ids]
    try:
        return b"".join(map(table.__getitem__, ids))
    except KeyError as missing:
        raise UserError(
            f"token id {missing.args[0]} is not in the vocabulary of {max(table) + 1} ids: "
            "were these ids made by another tokenizer?"
        ) from None


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """sha256 of what decides the ids, as canonical JSON: equal hashes mean equal ids for every text.

    Notes on the training (its report, the size asked for) and the engine that does the work are not part of it.
    """
    parts = {k: value for k, value in tokenizer.to_dict().items() if k not in ("training", "engine")}
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def tokenizer_file(path: str | Path) -> Path:
    """The file itself; in a folder `tokenizer.json`, or else that of its newest version `v1`, `v2`, ….

    The versions are those that `train_tokenizer out=FOLDER/` makes.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / "tokenizer.json").exists() and (numbers := tokenizer_versions(path)):
        path = path / f"v{numbers[-1]}"
    return path / "tokenizer.json"


def tokenizer_versions(folder: Path) -> list[int]:
    """The numbers n of the folders `vn` in `folder` that hold a tokenizer, from the oldest on."""
    found = (entry.parent.name for entry in folder.glob("v*/tokenizer.json"))
    return sorted(int(name[1:]) for name in found if re.fullmatch(r"v[1-9][0-9]*", name))


def read_tokenizer_json(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Read and check the outer shape of a tokenizer file.

    Raises:
        UserError: not there, not JSON (cut short), not one of ours, of another type or a newer version.
    """
    path = tokenizer_file(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"tokenizer file {path} does not exist: train one with "
            "`python -m working_with_text_data.train_tokenizer`"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a whole JSON file ({error}): it may have been cut short") from None
    found = data.get("type") if isinstance(data, dict) else None
    if found is None and isinstance(data, dict) and isinstance(data.get("model"), dict):
        found = "huggingface"  # the file of the library `tokenizers`, which has a version of its own
    if found not in ("byte", "bpe", "huggingface"):
        raise UserError(
            f'{path} is not a tokenizer of this book: its "type" is {found!r}, not "byte" or "bpe"'
        )
    if kind is not None and found != kind:
        raise UserError(f"{path} holds a {found!r} tokenizer, not {kind!r}: open it with load_tokenizer")
    if found == "huggingface":
        return data
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version!r}; this program reads 1 to {FORMAT_VERSION}: "
            "update the program, or train the tokenizer again"
        )
    return data


def load_tokenizer(path_or_name: str | Path) -> Tokenizer:
    """Open a saved tokenizer (a file, or a folder as `tokenizer_file` reads it) or one known by name.

    Names: `byte`; `gpt2`, `cl100k_base`, `o200k_base` (from a local rank file, see `tiktoken_ranks`).
    `tiktoken:` before a name or a path opens the same tokenizer with tiktoken's engine. A `tokenizer.json`
    of Hugging Face's `tokenizers` opens too (`huggingface_adapter`), if that package is installed.
    """
    from working_with_text_data.bpe_tokenizer import BPETokenizer
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    name = str(path_or_name)
    if not Path(path_or_name).exists():
        from working_with_text_data.tiktoken_ranks import ENCODINGS, load_tiktoken

        if name == "byte":
            return ByteTokenizer()
        if name in ENCODINGS:
            return load_tiktoken(name)
        if name.startswith("tiktoken:"):
            from working_with_text_data.tiktoken_adapter import TiktokenTokenizer

            return TiktokenTokenizer.from_tokenizer(load_tokenizer(name.removeprefix("tiktoken:")))
    data = read_tokenizer_json(path_or_name)
    kind: type[Tokenizer] = ByteTokenizer if data.get("type") == "byte" else BPETokenizer
    if data.get("engine") == "tiktoken":
        from working_with_text_data.tiktoken_adapter import TiktokenTokenizer

        kind = TiktokenTokenizer
    elif "type" not in data:
        from working_with_text_data.huggingface_adapter import HuggingFaceTokenizer

        kind = HuggingFaceTokenizer
    return kind.load(path_or_name)
