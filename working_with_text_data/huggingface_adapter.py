"""Hugging Face's `tokenizers` behind the protocol of this book: train three kinds, load any `tokenizer.json`.

The idea: the library does the work, the promises stay ours. `train` learns byte-level BPE, WordPiece or
Unigram (`huggingface_training`). `load` opens the file of any model of transformers without a network, and
`save` writes one that transformers opens again.

Three promises take some care:
- *No injection.* The library reads "<|endoftext|>" in a person's text as the control token. And Unigram finds
  it even with that turned off, because the word stands in its vocabulary. So plain text is encoded by a copy in
  which every special token has a random name that nobody can type.
- *Bytes.* `token_bytes` undoes the library's spelling: letters for bytes, "▁" for a space, "##" for "no
  space before me", "<0xE4>" for a byte. `decode` is always these bytes joined, so that text can be shown
  token by token; the library's own decoder, which tidies the whole text, is `decode_tidy`.
- *Honesty.* WordPiece drops white space and control characters, Unigram knows only the characters it has
  seen. Then `lossless` is False, `unknown_id` says what an unknown word becomes, and `encode_with_spans` gives
  the bytes of the text that each token stands for.

Left out: pairs of sentences, padding and truncation (switched off when a file is loaded: they would cut a
text silently), and the post-processor that adds [CLS]. Export of our own: `huggingface_export`.
Notebook: 03 of this chapter.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from utils.errors import UserError, one_line
from utils.files import atomic_write_text
from working_with_text_data.huggingface_export import export_tokenizer_json as export_tokenizer_json
from working_with_text_data.huggingface_export import to_huggingface as to_huggingface
from working_with_text_data.huggingface_spelling import is_lossless, speller
from working_with_text_data.huggingface_training import WHAT_FOR, Model, train_tokenizer
from working_with_text_data.optional_packages import need
from working_with_text_data.tokenizer import SpecialTokens, join_bytes, read_tokenizer_json, valid_unicode

if TYPE_CHECKING:
    import tokenizers


class HuggingFaceTokenizer:
    """Our protocol over a `tokenizers.Tokenizer`.

    Args:
        tokenizer: the library's object; it is copied.
        more_special: added tokens that the file does not call special and that a person's text must not
            hold all the same, such as "<tool_call>" in some chat models.

    Attributes:
        special_tokens: the added tokens that are special; other added tokens are words like any other.
        lossless: whether every text comes back from its ids unchanged.
        unknown_id: the id of what the model does not know, or None.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, more_special: Iterable[str] = ()) -> None:
        self._set(json.loads(tokenizer.to_str()), more_special)

    def _set(self, data: dict[str, Any], more_special: Iterable[str] = ()) -> None:
        data["truncation"] = data["padding"] = None
        wanted = set(more_special)
        for added in data["added_tokens"]:
            added["special"] = added["special"] or added["content"] in wanted
        self._special = SpecialTokens(
            {added["content"]: added["id"] for added in data["added_tokens"] if added["special"]}
        )
        if missing := wanted.difference(self._special):
            raise UserError(
                f"more_special names {sorted(missing)}, which are no added tokens of this tokenizer"
            )
        self._json = json.dumps(data, ensure_ascii=False)
        self._plain = _from_json(_without_names(json.loads(self._json), self._special))
        ids = _ids(data)
        if not ids:
            raise UserError("this tokenizer has an empty vocabulary: train it, or load another file")
        spelled = speller(data)
        added_words = {added["content"] for added in data["added_tokens"]}
        self._table = {
            token_id: content.encode("utf-8") if content in added_words else spelled(content)
            for content, token_id in ids.items()
        }
        self._vocab_size = 1 + max(self._table)
        self.lossless = is_lossless(data)
        self.unknown_id = _unknown_id(data["model"], ids)

    @cached_property
    def _whole(self) -> Any:
        """The tokenizer that reads special tokens in a text; it sees only text that was checked for them."""
        return _from_json(json.loads(self._json))

    # What it is -----------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._vocab_size

    @property
    def special_tokens(self) -> dict[str, int]:
        return dict(self._special)

    @property
    def kind(self) -> str:
        """The library's name of the model: BPE, WordPiece, Unigram or WordLevel."""
        return str(json.loads(self._json)["model"].get("type", "BPE"))

    def __repr__(self) -> str:
        special = list(self._special)
        return f"HuggingFaceTokenizer({self.kind}, vocab_size={self.vocab_size}, special={special})"

    # Text to ids ----------------------------------------------------------------------------------

    def encode(self, text: str, allowed_special: Set[str] | Literal["all"] = frozenset()) -> list[int]:
        """Ids of `text`; a special token that is not allowed raises UserError (a ValueError).

        Where special tokens are allowed and there, the library reads the whole text, so that the ids are
        those of transformers (without what its post-processor adds).
        """
        return self._encoding(valid_unicode(text), allowed_special).ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of `text` with special tokens spelled out as plain text. Lone surrogates become U+FFFD."""
        return self._plain.encode(valid_unicode(text), add_special_tokens=False).ids

    def encode_batch(
        self,
        texts: Iterable[str],
        allowed_special: Set[str] | Literal["all"] = frozenset(),
        *,
        workers: int = 0,
    ) -> list[list[int]]:
        """Ids of many texts: the same as `encode` one by one. `workers` are threads."""
        if not workers:
            return [self.encode(text, allowed_special) for text in texts]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda text: self.encode(text, allowed_special), texts))

    def encode_with_spans(
        self, text: str, allowed_special: Set[str] | Literal["all"] | None = frozenset()
    ) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token: the bytes of `text`, in UTF-8, that it stands for.

        A tokenizer that drops or changes text leaves gaps between the spans. Tokens that share a character
        (byte fallback) share its span. `allowed_special=None` is `encode_ordinary`.
        """
        text = valid_unicode(text)
        encoding = self._encoding(text, allowed_special)
        byte_at = _byte_offsets(text)
        return [(i, byte_at[start], byte_at[end]) for i, (start, end) in zip(encoding.ids, encoding.offsets)]

    def _encoding(self, text: str, allowed: Set[str] | Literal["all"] | None) -> Any:
        """The library's encoding of `text`; `allowed` is None where special tokens are plain text."""
        found: set[int] = set()
        if allowed is not None:  # raises where a special token is not allowed
            found = {token_id for _, token_id in self._special.split(text, allowed) if token_id is not None}
        encoding = (self._whole if found else self._plain).encode(text, add_special_tokens=False)
        stray = set(encoding.ids).intersection(self._special.values()) - found - {self.unknown_id}
        if stray:  # only a normaliser can do that: it has turned other text into a special token
            words = sorted(word for word, token_id in self._special.items() if token_id in stray)
            raise UserError(
                f"this tokenizer's normaliser turns some of the text into {words}, not allowed here"
            )
        return encoding

    # Ids to text ----------------------------------------------------------------------------------

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`; an id outside the vocabulary is a UserError."""
        return join_bytes(self._table, ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Where every word's token begins with a space ("▁the"), so does the text.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_tidy(self, ids: Sequence[int]) -> str:
        """Text of `ids` as the library's decoder writes it, for example without the first space.

        It looks at all ids at once, so it is no use for text that is shown while it is generated.
        """
        self.decode_bytes(ids)  # an unknown id is an error here too, and not left out in silence
        return self._whole.decode([int(i) for i in ids], skip_special_tokens=False)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token: what it adds to a text; the spelling of a special token."""
        return join_bytes(self._table, [token_id])

    # Files ----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The library's own format, as JSON values."""
        return json.loads(self._json)

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json` that this class, `load_tokenizer` and transformers open."""
        atomic_write_text(Path(path), self._json)

    @classmethod
    def load(cls, path: str | Path, *, more_special: Iterable[str] = ()) -> Self:
        """Open a `tokenizer.json` of the library (or the folder that holds it), whoever wrote it.

        Raises:
            UserError: not there, cut short, one of ours, or of a kind that the installed version cannot read.
        """
        data = read_tokenizer_json(path, "huggingface")
        own = cls.__new__(cls)
        try:
            written = json.loads(_from_json(data).to_str())  # in today's form, whatever the file's age
            if isinstance(data["model"].get("vocab"), list):
                # Unigram's scores as they stand in the file: the library reads them with a last digit lost.
                written["model"]["vocab"] = data["model"]["vocab"]
            own._set(written, more_special)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        return own

    def __getstate__(self) -> dict[str, Any]:
        return {"json": self._json}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(json.loads(state["json"]))

    # Training -------------------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        model: Model = "bpe",
        *,
        special_tokens: Sequence[str] = (),
        min_frequency: int = 1,
        pattern: str = "gpt2",
        lowercase: bool = False,
    ) -> Self:
        """Learn a tokenizer with up to `vocab_size` ids, special tokens included.

        Args:
            texts: one text or several.
            model: `bpe` is byte-level and lossless. `wordpiece` splits at white space and punctuation and drops the
                white space. `unigram` writes a space as "▁".
            special_tokens: control words; they get the last ids and are never learned from. The unknown
                token of `wordpiece` ("[UNK]") and `unigram` ("<unk>") has id 0 and need not be named.
            min_frequency: `bpe`, `wordpiece`: a pair must occur this often to be merged.
            pattern: `bpe`: how text is cut before merging (see `patterns`).
            lowercase: `wordpiece`: fold case and strip accents first, as BERT's uncased models do.

        Raises:
            UserError: the package is missing, an option is wrong, there is no text, or the vocabulary has no
                room for the alphabet.
        """
        return cls(
            train_tokenizer(
                texts,
                vocab_size,
                model,
                special_tokens=special_tokens,
                min_frequency=min_frequency,
                pattern=pattern,
                lowercase=lowercase,
            )
        )


def _from_json(data: dict[str, Any]) -> Any:
    hf: Any = need("tokenizers", WHAT_FOR, "hf")
    try:
        return hf.Tokenizer.from_str(json.dumps(data, ensure_ascii=False))
    except Exception as error:  # the library raises bare Exception
        raise UserError(
            f"tokenizers {hf.__version__} cannot read this file ({one_line(error)}): update the package"
        ) from None


def _without_names(data: dict[str, Any], special: SpecialTokens) -> dict[str, Any]:
    """`data`, changed: a random name for each special token, in the added tokens and the vocabulary.

    Ids stay. The post-processor goes: it adds special tokens, and trims spaces from the offsets.
    """
    secret = secrets.token_hex(16)
    rename = {word: f"\ufdd0{secret}{i}" for i, word in enumerate(special)}  # U+FDD0 is no character
    data["post_processor"] = None
    for added in data["added_tokens"]:
        added["content"] = rename.get(added["content"], added["content"])
    model = data["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {rename.get(word, word): token_id for word, token_id in vocabulary.items()}
    else:  # Unigram: [word, score] in the order of the ids
        model["vocab"] = [[rename.get(word, word), score] for word, score in vocabulary]
    if model.get("unk_token") in rename:
        model["unk_token"] = rename[model["unk_token"]]
    return data


def _ids(data: dict[str, Any]) -> dict[str, int]:
    """Word → id of the whole vocabulary, added tokens included."""
    vocabulary = data["model"]["vocab"]
    if not isinstance(vocabulary, dict):  # Unigram: [word, score] in the order of the ids
        vocabulary = {word: token_id for token_id, (word, _) in enumerate(vocabulary)}
    return vocabulary | {added["content"]: added["id"] for added in data["added_tokens"]}


def _unknown_id(model: dict[str, Any], ids: dict[str, int]) -> int | None:
    if "unk_id" in model:  # Unigram
        return model["unk_id"]
    return ids.get(model["unk_token"]) if model.get("unk_token") else None


def _byte_offsets(text: str) -> list[int]:
    """Where character i of `text` begins in UTF-8, for i up to and with the length of the text.

    >>> _byte_offsets("aé東")
    [0, 1, 3, 6]
    """
    if text.isascii():
        return list(range(len(text) + 1))
    return [0, *accumulate(len(character.encode("utf-8")) for character in text)]
