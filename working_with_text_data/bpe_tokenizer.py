"""The BPE tokenizer as a thing one can hold: merges, split pattern, special tokens; encode, decode, save.

The idea: training (`bpe` readable, `fast_bpe` quick) leaves a list of merges. Merge number i made
token 256 + i out of two older tokens, so the list is both the vocabulary and the order in which
new text is merged. Byte-level BPE: Radford et al. 2019; BPE: Sennrich et al., arXiv 1508.07909.

Ids: 0–255 the single bytes, then the merges in order, special tokens last.
Left out: how merges are found (`bpe`, `fast_bpe`) and how a piece is merged quickly (`fast_encode`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, Self

from utils.errors import UserError
from utils.files import atomic_write_text
from working_with_text_data.fast_encode import FastEncoder, merge_piece
from working_with_text_data.patterns import Splitter, splitter
from working_with_text_data.tokenizer import (
    SpecialTokens,
    join_bytes,
    read_tokenizer_json,
    valid_unicode,
)

PLAIN_BYTES = bytes(range(256))


class BPETokenizer:
    """Byte-level BPE.

    Args:
        merges: pairs of ids; merge i makes id 256 + i. Give either this or `ranks`.
        pattern: a name of `patterns.SPLIT_PATTERNS` or a regular expression of the `regex` package.
        special_tokens: names (ids follow the merges) or a mapping from name to id.
        split_digits: True makes each digit its own piece, n cuts numbers into groups of at most n.
        prefix_space: a text that does not begin with a space gets one before it is cut, and `decode`
            gives it back *with* that space: " a" and "a" have the same ids, so no decoder could know.
            Between special tokens every piece of plain text counts as a text.
        byte_order: byte_order[i] is the byte with id i; `bytes(range(256))` unless the ranks of an
            older model are loaded (GPT-2 numbers the printable characters first).
        ranks: token bytes → id, as in a tiktoken file, where the pairs are not known.
        requested_vocab_size: what the training was asked for; more than `vocab_size` if the text
            ran out of pairs first.
        training: a report of the training, saved with the tokenizer but no part of its hash.

    >>> tokenizer = BPETokenizer(merges=[(104, 101), (256, 121)], special_tokens=["<|end|>"])
    >>> tokenizer.encode("hey he<|end|>", allowed_special="all")
    [257, 32, 256, 258]
    """

    def __init__(
        self,
        merges: Iterable[tuple[int, int]] | None = None,
        *,
        pattern: str = "gpt2",
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        split_digits: int | bool | None = False,
        prefix_space: bool = False,
        byte_order: bytes = PLAIN_BYTES,
        ranks: Mapping[bytes, int] | None = None,
        requested_vocab_size: int | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self._merges = None if merges is None else [(int(a), int(b)) for a, b in merges]
        if ranks is None:
            self._byte_order = bytes(byte_order)
            ranks = _ranks_of_merges(self._merges or [], self._byte_order)
            self._merges = self._merges or []
        else:
            ranks = dict(ranks)
            order = sorted((token_id, token) for token, token_id in ranks.items() if len(token) == 1)
            self._byte_order = b"".join(token for _, token in order)
            if [token_id for token_id, _ in order] != list(range(256)):
                raise UserError("ranks must give the ids 0 to 255 to the 256 single bytes")
        self._ranks: dict[bytes, int] = dict(ranks)
        self._special = SpecialTokens(_special_ids(special_tokens, 1 + max(self._ranks.values())))
        self._splitter = splitter(pattern, digits=split_digits, prefix_space=prefix_space)
        self._table = {token_id: token for token, token_id in self._ranks.items()}
        for word, token_id in self._special.items():
            if token_id in self._table:
                raise UserError(f"special token {word!r} wants id {token_id}, which is taken: choose another")
            self._table[token_id] = word.encode("utf-8")
        self._vocab_size = 1 + max(self._table)
        self.requested_vocab_size = requested_vocab_size or self._vocab_size
        self.training = dict(training or {})
        self._encoder = FastEncoder(self._ranks, self._splitter)

    # What it is -----------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._vocab_size

    @property
    def pattern(self) -> str:
        """Name of the split pattern, or the regular expression itself."""
        return self._splitter.name

    @property
    def splitter(self) -> Splitter:
        """How text is cut before merging, pattern and options together."""
        return self._splitter

    @property
    def special_tokens(self) -> dict[str, int]:
        return dict(self._special)

    @property
    def ranks(self) -> dict[bytes, int]:
        """Token bytes → id, special tokens left out: what tiktoken calls mergeable ranks."""
        return dict(self._ranks)

    @property
    def byte_order(self) -> bytes:
        """The byte that has id i, for i in 0–255."""
        return self._byte_order

    @property
    def merges(self) -> list[tuple[int, int]]:
        """The pair of ids that made each token from 256 on (worked out on first use if loaded from ranks)."""
        if self._merges is None:
            self._merges = _merges_of_ranks(self._ranks)
        return list(self._merges)

    def __repr__(self) -> str:
        special = list(self._special)
        options = "".join(f", {name}={value}" for name, value in self._splitter.options.items())
        return f"BPETokenizer(vocab_size={self.vocab_size}, pattern={self.pattern!r}{options}, special={special})"

    # Text to ids ----------------------------------------------------------------------------------

    def encode(self, text: str, allowed_special: Set[str] | Literal["all"] = frozenset()) -> list[int]:
        """Ids of `text`; a special token that is not allowed raises UserError (a ValueError)."""
        if not self._special:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for piece, token_id in self._special.split(text, allowed_special):
            if token_id is None:
                ids += self.encode_ordinary(piece)
            else:
                ids.append(token_id)
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of `text` with special tokens spelled out as plain text. Lone surrogates become U+FFFD."""
        return self._encoder.encode(self._splitter.prefixed(valid_unicode(text)))

    def encode_batch(
        self,
        texts: Iterable[str],
        allowed_special: Set[str] | Literal["all"] = frozenset(),
        *,
        workers: int = 0,
    ) -> list[list[int]]:
        """Ids of many texts: the same as `encode` one by one, in their order.

        With `workers` the texts are shared out to so many processes, each of which is sent the tokenizer
        once. That pays from a few megabytes on. A program that uses workers must start its work under
        `if __name__ == "__main__":`, because the processes import it again.

        Raises:
            UserError: a special token that is not allowed, as `encode` does.
            RunFailure: a worker process died.
        """
        if not workers:
            return [self.encode(text, allowed_special) for text in texts]
        from working_with_text_data.worker_pool import encode_in_processes

        return encode_in_processes(self, texts, allowed_special, workers)

    def clear_cache(self) -> None:
        """Forget the pieces seen so far. Ids never depend on it; speed does."""
        self._encoder.clear_cache()

    # Ids to text ----------------------------------------------------------------------------------

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The exact bytes of `ids`; an id outside the vocabulary is a UserError."""
        return join_bytes(self._table, ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, or the spelling of a special token."""
        return join_bytes(self._table, [token_id])

    # To another process: only what cannot be worked out again ----------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_splitter", "_encoder", "_table")
        state = {name: value for name, value in vars(self).items() if name not in derived}
        return state | {"_cut": (self.pattern, self._splitter.digits, self._splitter.prefix_space)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pattern, digits, prefix_space = state.pop("_cut")
        vars(self).update(state)
        self._splitter = splitter(pattern, digits=digits, prefix_space=prefix_space)
        self._table = {token_id: token for token, token_id in self._ranks.items()}
        self._table |= {token_id: word.encode("utf-8") for word, token_id in self._special.items()}
        self._encoder = FastEncoder(self._ranks, self._splitter)

    # Files ----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The tokenizer as JSON values: what decides the ids, and under "training" how it came about."""
        data: dict[str, Any] = {
            "type": "bpe",
            "version": 2 if self._splitter.options else 1,  # an older program must not overlook an option
            "pattern": self.pattern,
            **self._splitter.options,
            "special_tokens": self.special_tokens,
            "merges": [list(pair) for pair in self.merges],
        }
        if self._byte_order != PLAIN_BYTES:
            data["byte_order"] = list(self._byte_order)
        data["training"] = {"requested_vocab_size": self.requested_vocab_size, **self.training}
        return data

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON, whole or not at all."""
        atomic_write_text(Path(path), json.dumps(self.to_dict(), ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; UserError if it is cut short or something else."""
        data = read_tokenizer_json(path, "bpe")
        try:
            training = dict(data.get("training") or {})
            return cls(
                [(a, b) for a, b in data["merges"]],
                pattern=data["pattern"],
                special_tokens={str(word): int(i) for word, i in data["special_tokens"].items()},
                split_digits=data.get("split_digits"),
                prefix_space=_yes_or_no(data.get("prefix_space", False)),
                byte_order=bytes(data.get("byte_order", PLAIN_BYTES)),
                requested_vocab_size=training.pop("requested_vocab_size", None),
                training=training,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is not a BPE tokenizer of this book ({error!r}): save it again"
            ) from None


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"prefix_space is {value!r}, not true or false")
    return value


def _ranks_of_merges(merges: Sequence[tuple[int, int]], byte_order: bytes) -> dict[bytes, int]:
    """Token bytes → id. A merge may only join tokens that exist already, and makes a token that is new."""
    if sorted(byte_order) != list(range(256)):
        raise UserError("byte_order must hold each of the 256 bytes once")
    tokens = [byte_order[i : i + 1] for i in range(256)]
    ranks = {token: token_id for token_id, token in enumerate(tokens)}
    for a, b in merges:
        new_id = len(tokens)
        if not (0 <= a < new_id and 0 <= b < new_id):
            raise UserError(
                f"merge {new_id - 256} joins ids {a} and {b}, but only ids below {new_id} exist then"
            )
        token = tokens[a] + tokens[b]
        if token in ranks:
            raise UserError(f"merge {new_id - 256} makes {token!r}, which is token {ranks[token]} already")
        ranks[token] = new_id
        tokens.append(token)
    return ranks


def _merges_of_ranks(ranks: Mapping[bytes, int]) -> list[tuple[int, int]]:
    """Find the last merge of every token: with only lower ranks allowed, its bytes end as two tokens."""
    merges: list[tuple[int, int]] = []
    older: dict[bytes, int] = {}
    for token, token_id in sorted(ranks.items(), key=lambda item: item[1]):
        if token_id >= 256:
            pair = merge_piece(token, older)
            if len(pair) != 2 or token_id != 256 + len(merges):
                raise UserError(
                    f"token {token!r} (id {token_id}) is not a merge of two older tokens: "
                    "these ranks cannot be written as a list of merges"
                )
            merges.append((pair[0], pair[1]))
        older[token] = token_id
    return merges


def _special_ids(special_tokens: Sequence[str] | Mapping[str, int], first_id: int) -> dict[str, int]:
    """Give names without ids the ids that follow the merges, in the order named."""
    if isinstance(special_tokens, Mapping):
        return dict(special_tokens)
    if isinstance(special_tokens, str):
        raise UserError(f"special_tokens is the string {special_tokens!r}: pass a list of strings")
    if len(set(special_tokens)) != len(special_tokens):
        raise UserError(f"special tokens must differ from each other: {list(special_tokens)}")
    return {word: first_id + i for i, word in enumerate(special_tokens)}
