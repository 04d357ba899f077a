"""How well a tokenizer fits a text: what it costs, what it covers, which tokens earn their place.

The idea: a vocabulary is judged on a text that it was not made from. Bytes per token say how much of a text
fits into a model's window; the share of words that are one token says how much the model sees whole; and
tokens that never occur are rows of the embedding that never learn.

Three words that are easily mixed up:
- an *unknown* is a token that stands for text it cannot give back. Byte-level tokenizers have none.
- an *unused* token did not occur in this text. Another text may use it.
- an *unreachable* token can hardly occur in any text: its own spelling is encoded as something else, alone
  and between other characters. Vocabularies joined from two sources, or used with another split
  pattern than they were trained with, have many. Thirteen bytes are never part of UTF-8 at all.

The answer is a dict of JSON values with a version. Left out: pictures and colours (`inspect_tokens`), other
tokenizers beside it (`inspect_tokens.compare_tokenizers`). Notebook: 01 of this chapter.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import atomic_write_text
from working_with_text_data.inspect_tokens import visible
from working_with_text_data.tokenizer import Tokenizer, tokenizer_hash, valid_unicode

REPORT_VERSION = 1
WORD = re.compile(r"\w+")
NEVER_IN_UTF8 = frozenset([0xC0, 0xC1, *range(0xF5, 0x100)])
# Contexts in which an unreachable token is looked for. Contractions are among them: o200k has "on'" in "on's".
BEFORE = ("", "a", " ", "\n", "1", "!")
AFTER = ("", "a", "s", "t", "ll", "ve", "re", "1", " a")


def report(tokenizer: Tokenizer, texts: str | Iterable[str], *, shown: int = 20) -> dict[str, Any]:
    """What `tokenizer` makes of `texts`, as JSON values; rates are from 0 to 1.

    Special tokens in the texts count as themselves; a word is a run of letters and digits. The keys:

    - `version`, and `tokenizer`: its hash, type, sizes and options;
    - `text`: documents, characters, bytes, words, tokens, bytes_per_token, characters_per_token, tokens_per_word;
    - `coverage`: vocabulary_used, words_of_one_token (with a space before them), unknown_rate, and
      part_of_a_character, the share of tokens that are no whole characters;
    - `top`, `longest`, `longest_used`: at most `shown` tokens each;
    - `unused`: count and examples, special tokens left aside;
    - `unreachable`: count, examples, how many of them are bytes that UTF-8 never has, and how many tokens
      were not checked because they are parts of characters.

    Raises:
        UserError: there is no text.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> report(ByteTokenizer(), "banana")["top"][0]
    {'id': 97, 'shown': 'a', 'count': 3, 'share': 0.5}
    """
    used: Counter[int] = Counter()
    words: Counter[str] = Counter()
    documents = characters = n_bytes = 0
    for text in [texts] if isinstance(texts, str) else texts:
        text = valid_unicode(text)
        documents += 1
        characters += len(text)
        n_bytes += len(text.encode("utf-8"))
        used.update(tokenizer.encode(text, allowed_special="all"))
        words.update(WORD.findall(text))
    tokens = used.total()
    if not tokens:
        raise UserError("there is no text to report on: give at least one that is not empty")
    special = set(tokenizer.special_tokens.values())
    table = _vocabulary(tokenizer)
    plain = [token_id for token_id in table if token_id not in special]
    unused = [token_id for token_id in plain if token_id not in used]
    whole = sum(n for word, n in words.items() if len(tokenizer.encode_ordinary(" " + word)) == 1)

    def row(token_id: int) -> dict[str, Any]:
        count = used[token_id]
        return {"id": token_id, "shown": visible(table[token_id]), "count": count, "share": count / tokens}

    by_length = sorted(plain, key=lambda token_id: (-len(table[token_id]), token_id))
    most = sorted(used, key=lambda token_id: (-used[token_id], token_id))
    return {
        "version": REPORT_VERSION,
        "tokenizer": {
            "sha256": tokenizer_hash(tokenizer),
            "type": tokenizer.to_dict().get("type", type(tokenizer).__name__),
            "vocab_size": tokenizer.vocab_size,
            "special_tokens": len(special),
            "options": _options(tokenizer),
        },
        "text": {
            "documents": documents,
            "characters": characters,
            "bytes": n_bytes,
            "words": words.total(),
            "tokens": tokens,
            "bytes_per_token": n_bytes / tokens,
            "characters_per_token": characters / tokens,
            "tokens_per_word": tokens / words.total() if words else None,
        },
        "coverage": {
            "vocabulary_used": (len(plain) - len(unused)) / len(plain),
            "words_of_one_token": whole / words.total() if words else None,
            "unknown_rate": _unknown(tokenizer, used) / tokens,
            "part_of_a_character": sum(n for i, n in used.items() if not _is_text(table[i])) / tokens,
        },
        "top": [row(token_id) for token_id in most[:shown]],
        "longest": [row(token_id) for token_id in by_length[:shown]],
        "longest_used": [row(token_id) for token_id in by_length if used[token_id]][:shown],
        "unused": {"count": len(unused), "examples": [row(token_id) for token_id in unused[:shown]]},
        "unreachable": _unreachable(tokenizer, {i: table[i] for i in plain}, used, shown),
    }


def write_report(path: str | Path, figures: Mapping[str, Any]) -> Path:
    """Write what `report` gave as JSON, whole or not at all; returns the path."""
    return atomic_write_text(Path(path), json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def report_lines(figures: Mapping[str, Any]) -> list[str]:
    """The report in four lines for a terminal."""
    text, coverage = figures["text"], figures["coverage"]
    words = coverage["words_of_one_token"]
    return [
        f"{text['bytes_per_token']:.2f} bytes per token on {text['bytes']:,} bytes ({text['tokens']:,} tokens)",
        f"{coverage['vocabulary_used']:.1%} of the vocabulary used"
        + ("" if words is None else f", {words:.1%} of the words are one token"),
        f"{figures['unused']['count']:,} tokens unused, {figures['unreachable']['count']:,} never reachable",
        "most frequent: " + " ".join(row["shown"] for row in figures["top"][:10]),
    ]


def _vocabulary(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Id → bytes of every id that stands for something; ids may have gaps."""
    table = {}
    for token_id in range(tokenizer.vocab_size):
        try:
            table[token_id] = tokenizer.token_bytes(token_id)
        except ValueError:  # an id that nobody has taken
            continue
    return table


def _options(tokenizer: Tokenizer) -> dict[str, Any]:
    splitter = getattr(tokenizer, "splitter", None)
    return {} if splitter is None else {"pattern": splitter.name, **splitter.options}


def _unknown(tokenizer: Tokenizer, used: Counter[int]) -> int:
    """How many tokens are the unknown token, in tokenizers that have one (`unknown_id`)."""
    unknown_id = getattr(tokenizer, "unknown_id", None)
    return 0 if unknown_id is None else used[unknown_id]


def _is_text(token: bytes) -> bool:
    try:
        token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unreachable(
    tokenizer: Tokenizer, table: Mapping[int, bytes], used: Counter[int], shown: int
) -> dict[str, Any]:
    """Tokens whose own spelling is encoded without them, alone and in each of some contexts."""
    bytes_not_in_utf8 = not_checked = 0
    out_of_reach: list[int] = []
    for token_id, token in table.items():
        if token_id in used or not token:
            continue
        if len(token) == 1 and token[0] in NEVER_IN_UTF8:
            bytes_not_in_utf8 += 1
        elif not _is_text(token):
            not_checked += 1
        else:
            text = token.decode("utf-8")
            contexts = (before + text + after for after, before in product(AFTER, BEFORE))
            if not any(token_id in tokenizer.encode_ordinary(context) for context in contexts):
                out_of_reach.append(token_id)
    return {
        "count": len(out_of_reach) + bytes_not_in_utf8,
        "bytes_not_in_utf8": bytes_not_in_utf8,
        "not_checked": not_checked,
        "examples": [{"id": i, "shown": visible(table[i])} for i in out_of_reach[:shown]],
    }
