"""Any of our BPE tokenizers with tiktoken's engine inside: the same ids, several threads, Rust speed.

The idea: a `tiktoken.Encoding` is a table of ranks, a split pattern and special tokens, and that is all a
`BPETokenizer` is. So `TiktokenTokenizer` *is* a `BPETokenizer` whose encoding alone is done by tiktoken. It
saves the same JSON with `"engine": "tiktoken"` beside it, and has the same hash: shards made with one of
them are read with the other. The swap is one word of a config: `tokenizer: gpt2` is our encoder,
`tokenizer: tiktoken:gpt2` is this one. `to_tiktoken` gives the bare `tiktoken.Encoding` of a vocabulary
trained here to any program that knows tiktoken.

Special tokens are cut out by our own rule before tiktoken sees the text: where two of them overlap, its
own choice depends on the order of a hash table.

Source: tiktoken 0.14, `core.py`. Left out: training (`fast_bpe`) and the rank files (`tiktoken_ranks`).
Notebook: 03 of this chapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from utils.errors import UserError, one_line
from working_with_text_data.bpe_tokenizer import BPETokenizer
from working_with_text_data.patterns import SPLIT_PATTERNS
from working_with_text_data.tiktoken_ranks import load_tiktoken
from working_with_text_data.tokenizer import Tokenizer, valid_unicode

if TYPE_CHECKING:
    import tiktoken

ENGINE = "tiktoken"  # what a saved file says under "engine"


class TiktokenTokenizer(BPETokenizer):
    """A `BPETokenizer` (the same arguments) that encodes with tiktoken.

    >>> tokenizer = TiktokenTokenizer(merges=[(104, 101), (256, 121)], special_tokens=["<|end|>"])
    >>> tokenizer.encode("hey he<|end|>", allowed_special="all")
    [257, 32, 256, 258]
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._encoding = _encoding_of(self, "scratchbook")

    @classmethod
    def from_name(cls, name: str, folder: str | Path | None = None) -> Self:
        """A published vocabulary (`gpt2`, `cl100k_base`, `o200k_base`).

        The ranks are looked for in `folder`; without it under the data root, in tiktoken's own cache, and
        at their publisher. Raises UserError for an unknown name, and where there is neither file nor
        network: it names the file, the address and the folder.
        """
        return cls.from_tokenizer(load_tiktoken(name, folder))

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer) -> Self:
        """The same tokenizer, with the other engine.

        Raises UserError if it is no `BPETokenizer`, or if tiktoken cannot read its split pattern.
        """
        if not isinstance(tokenizer, BPETokenizer):
            kind = type(tokenizer).__name__
            raise UserError(f"a {kind} has no byte-pair merges for tiktoken: only a BPETokenizer has")
        own = cls(
            ranks=tokenizer.ranks,
            pattern=tokenizer.pattern,
            special_tokens=tokenizer.special_tokens,
            split_digits=tokenizer.splitter.digits,
            prefix_space=tokenizer.splitter.prefix_space,
            requested_vocab_size=tokenizer.requested_vocab_size,
            training=tokenizer.training,
        )
        own._merges = tokenizer._merges  # worked out once, if they were
        return own

    @classmethod
    def from_encoding(cls, encoding: tiktoken.Encoding) -> Self:
        """A `tiktoken.Encoding` from elsewhere behind our protocol.

        It can be saved if its ranks are merges without a gap between the ids, as the published ones are but
        for `p50k_base` and `p50k_edit`; those raise UserError in `save` and work otherwise.
        """
        names = {_plain(pattern): name for name, pattern in SPLIT_PATTERNS.items()}
        own = cls(
            ranks=encoding._mergeable_ranks,
            pattern=names.get(_plain(encoding._pat_str), encoding._pat_str),
            special_tokens={word: encoding.encode_single_token(word) for word in encoding.special_tokens_set},
        )
        own._encoding = encoding
        return own

    @property
    def encoding(self) -> tiktoken.Encoding:
        """tiktoken's own object. It knows nothing of `prefix_space`: that space is put in before it."""
        return self._encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of `text` with special tokens spelled out as plain text. Lone surrogates become U+FFFD."""
        return self._encoding.encode_ordinary(self._splitter.prefixed(valid_unicode(text)))

    def encode_batch(
        self,
        texts: Iterable[str],
        allowed_special: Set[str] | Literal["all"] = frozenset(),
        *,
        workers: int = 0,
    ) -> list[list[int]]:
        """Ids of many texts: the same as `encode` one by one. `workers` are threads: tiktoken lets go of
        Python's lock while it encodes, so nothing has to be sent to another process.
        """
        if not workers:
            return [self.encode(text, allowed_special) for text in texts]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda text: self.encode(text, allowed_special), texts))

    def to_dict(self) -> dict[str, Any]:
        """The dictionary of the `BPETokenizer` and the engine, which decides no id and is not hashed."""
        return {**super().to_dict(), "engine": ENGINE}

    def __repr__(self) -> str:
        return super().__repr__().replace("BPETokenizer", "TiktokenTokenizer", 1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_encoding"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._encoding = _encoding_of(self, "scratchbook")


def to_tiktoken(tokenizer: BPETokenizer, name: str = "scratchbook") -> tiktoken.Encoding:
    """The same tokenizer as a `tiktoken.Encoding`: same ids, special tokens included.

    Raises:
        UserError: `prefix_space`, which a `tiktoken.Encoding` has no place for (a `TiktokenTokenizer` has);
            a home-made split pattern that tiktoken's engine cannot read.
    """
    if tokenizer.splitter.prefix_space:
        raise UserError(
            "prefix_space cannot be written into a tiktoken.Encoding, which encodes a text as it stands: use "
            "TiktokenTokenizer.from_tokenizer, or put the space before the text yourself"
        )
    return _encoding_of(tokenizer, name)


def _encoding_of(tokenizer: BPETokenizer, name: str) -> tiktoken.Encoding:
    import tiktoken

    splitter = tokenizer.splitter
    try:
        return tiktoken.Encoding(
            name=name,
            pat_str=splitter.pattern,
            mergeable_ranks=tokenizer.ranks,
            special_tokens=tokenizer.special_tokens,
        )
    except ValueError as error:
        raise UserError(
            f"tiktoken cannot read the split pattern {splitter.name!r} ({one_line(error)}): use a named one"
        ) from None


def _plain(pattern: str) -> str:
    """A published pattern without what changes its speed only: possessive signs, and white space at the end
    of the text looked for first. So tiktoken's newest spelling of a pattern is known for the older one.
    """
    plain = re.sub(r"([+*?]|\{\d+,?\d*\})\+", r"\1", pattern).replace(r"|\s+$", "")
    return plain + "+" if plain.endswith(r"|\s") else plain
