"""What every adapter and the inspector must keep (LT1, LT3–LT6 and honest numbers), as functions that raise.

`test_adapter_laws.py` applies them; `test_adapter_mutations.py` puts the classic bugs back. The references
are written out here once more: the byte letters, the counting, the price of a token.
"""

import re
import unicodedata
from html.parser import HTMLParser
from math import log2

import pytest
from tokenizer_checks import bytes_of_printable

XSS = (
    '<script>alert(1)</script><img src=x onerror="alert(2)">\n'
    "\"><svg/onload=alert(3)> ' onmouseover='alert(4) &lt;b&gt; </div></i><!-- ]]> <style>*{display:none}</style>"
)


# --- Hugging Face ---------------------------------------------------------------------------------


def check_letters_are_bytes(tokenizer):
    """Byte-level tokens: `token_bytes` undoes GPT-2's letters, by a table written out independently."""
    table = bytes_of_printable()
    data = tokenizer.to_dict()
    added = {word["content"] for word in data["added_tokens"]}
    seen = 0
    for word, token_id in data["model"]["vocab"].items():
        if word in added:
            continue
        expected = bytes(table[letter] for letter in word)
        assert tokenizer.token_bytes(token_id) == expected, (
            f"token {token_id} is written {word!r}, which is {expected!r} and not "
            f"{tokenizer.token_bytes(token_id)!r}: the letters of the 68 bytes that do not print begin at U+0100"
        )
        seen += 1
    assert seen >= 256


def check_text_makes_no_special(tokenizer, text):
    """LT4 for any model: whatever a person types, no control id comes out; the unknown token may."""
    control = {i: word for word, i in tokenizer.special_tokens.items() if i != unknown_id(tokenizer)}
    made = [control[i] for i in tokenizer.encode_ordinary(text) if i in control]
    assert not made, (
        f"plain text {text!r} became the control tokens {made}: the library finds added tokens in a text by itself, "
        "and Unigram finds them in its vocabulary"
    )
    present = [word for word in control.values() if word in text]
    if present:
        with pytest.raises(ValueError, match=re.escape(repr(present[0])[1:-1]) + "|special token"):
            tokenizer.encode(text)


def check_special_by_name(tokenizer, word):
    """Allowed by name, it is one id, and the library's own reading of the text agrees."""
    text = f"one {word} two"
    inside = {other for other in tokenizer.special_tokens if other in word}  # its own beginning is one, too
    ids = tokenizer.encode(text, allowed_special=inside)
    assert ids.count(tokenizer.special_tokens[word]) == 1, f"{word!r} allowed by name is not one id: {ids}"
    assert tokenizer.encode(text, allowed_special="all") == ids


def check_spans(tokenizer, text):
    """Spans are bytes of the text, in order; a known token's bytes are those of its span."""
    data = text.encode()
    last = 0
    for token_id, start, end in tokenizer.encode_with_spans(text, None):
        assert last <= end <= len(data) and start <= end, (
            f"span {start}–{end} of {len(data)} bytes in {text!r}"
        )
        last = max(last, start)
        try:
            piece = data[start:end].decode()
        except UnicodeDecodeError:
            raise AssertionError(
                f"span {start}–{end} of {text!r} cuts a character in two: are these offsets of characters?"
            ) from None
        token = tokenizer.token_bytes(token_id)
        if token_id != unknown_id(tokenizer) and not _is_part(token):
            assert visible_part(piece) == visible_part(token.decode()), (
                f"token {token!r} is said to stand for {piece!r} (bytes {start}–{end} of {text!r})"
            )


def visible_part(text):
    """Without white space and control characters, which BERT's normaliser drops."""
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c)[0] != "C")


def _is_part(token):
    try:
        token.decode()
    except UnicodeDecodeError:
        return True
    return False


def unknown_id(tokenizer):
    return getattr(tokenizer, "unknown_id", None)


def check_known_text_comes_back(tokenizer, text):
    """What holds for Unigram: a text without unknown characters and without "▁" comes back exactly."""
    ids = tokenizer.encode_ordinary(text)
    if tokenizer.unknown_id not in ids and "▁" not in text:
        assert tokenizer.decode(ids) == text, f"{text!r} came back as {tokenizer.decode(ids)!r}"
        return True
    return False


def check_known_words_come_back(tokenizer, text):
    """What holds for WordPiece: the words come back; white space and control characters do not."""
    ids = tokenizer.encode_ordinary(text)
    if tokenizer.unknown_id not in ids:
        assert visible_part(tokenizer.decode(ids)) == visible_part(text)
        return True
    return False


def check_nothing_is_cut(tokenizer, text):
    """A file's truncation or padding, meant for training batches, must not shorten a text or lengthen it."""
    once = tokenizer.encode_ordinary(text)
    many = tokenizer.encode_ordinary("\n".join([text] * 50))
    assert len(many) >= 50 * len(once), f"{len(many)} ids for 50 lines of {len(once)}: the text was cut short"
    assert len(tokenizer.encode_ordinary("a")) <= 2, "a short text was padded"


# --- ours in other programs -----------------------------------------------------------------------


def check_inside_tiktoken(tokenizer, encoding, texts):
    """The exported encoding gives our ids, special tokens included, and has no other special tokens."""
    assert encoding.special_tokens_set == set(tokenizer.special_tokens)
    for word, token_id in tokenizer.special_tokens.items():
        found = encoding.encode(f"a{word}b", allowed_special="all")
        assert token_id in found, f"{word!r} is id {token_id} here and in tiktoken one of {found}"
    for text in texts:
        ids, theirs = tokenizer.encode_ordinary(text), encoding.encode_ordinary(text)
        assert ids == theirs, f"{text!r}: ours {ids}, inside tiktoken {theirs}"


def check_inside_transformers(tokenizer, loaded, texts):
    """`loaded` is transformers' tokenizer of the exported file: same ids, both ways, special tokens included."""
    for text in texts:
        ids = tokenizer.encode_ordinary(text)
        theirs = loaded.encode(text, add_special_tokens=False)
        assert theirs == ids, f"{text!r}: ours {ids}, transformers {theirs}"
        if ids:
            assert loaded.decode(ids) == tokenizer.decode(ids)
    words = list(tokenizer.special_tokens)
    text = "a".join([*words, "b "])
    assert loaded.encode(text) == tokenizer.encode(text, "all"), (
        "special tokens have other ids in transformers"
    )
    assert len(loaded) == tokenizer.vocab_size or set(loaded.get_vocab().values()) <= set(
        range(tokenizer.vocab_size)
    )


# --- the inspector --------------------------------------------------------------------------------


def check_offsets(rows, text):
    """For a lossless tokenizer: the bytes of the text at a row's offsets are the token's bytes."""
    data = text.encode()
    for row in rows:
        assert data[row.start : row.end] == row.bytes, (
            f"row {row.index} says bytes {row.start}–{row.end} of {text!r}, which are "
            f"{data[row.start : row.end]!r} and not {row.bytes!r}: offsets count bytes, not characters"
        )
    assert not rows or (rows[0].start == 0 and rows[-1].end == len(data))


def check_statistics(numbers, text, rows, vocab_size):
    """Counted again from the definitions, byte by byte."""
    data = text.encode()
    holders = [[row for row in rows if row.start <= b < row.end] for b in range(len(data))]

    def whole(start, end):
        first = holders[start]
        return (
            len(first) == 1 and not first[0].unknown and all(holders[b] == first for b in range(start, end))
        )

    at = [len(text[:i].encode()) for i in range(len(text) + 1)]
    words = [m.span() for m in re.finditer(r"\w+", text)]
    ids = [row.id for row in rows]
    expected = {
        "tokens": len(rows),
        "bytes": len(data),
        "characters": len(text),
        "words": len(words),
        "whole_words": sum(whole(at[a], at[b]) for a, b in words),
        "whole_characters": sum(whole(at[i], at[i + 1]) for i in range(len(text))),
        "unknown_tokens": sum(row.unknown for row in rows),
        "unique_tokens": len(set(ids)),
        "vocab_size": vocab_size,
    }
    for name, value in expected.items():
        assert getattr(numbers, name) == value, f"{name} of {text!r} is {getattr(numbers, name)}, not {value}"
    bits = -sum(log2(ids.count(i) / len(ids)) for i in ids)
    assert abs(numbers.entropy_bits - bits) < 1e-6 * max(1, bits), (
        f"entropy_bits of {text!r} is {numbers.entropy_bits}, but Σ −log2(share) is {bits}"
    )
    assert numbers.fixed_bits == len(ids) * log2(vocab_size), "fixed_bits is tokens × log2(vocab_size)"
    for ratio in ("word_coverage", "character_coverage", "unknown_rate", "vocabulary_share"):
        assert 0 <= getattr(numbers, ratio) <= 1


def check_comparison(comparison, text):
    """Stretches join to the text, hold every token once, and end only where all tokenizers cut."""
    size = len(text.encode())
    ends = {
        name: {row.start for row in rows} | {row.end for row in rows}
        for name, rows in comparison.rows.items()
    }
    shared = set.intersection(*ends.values()) - {0, size}
    every = set.union(*ends.values()) - {0, size}
    assert comparison.shared_cuts == shared and comparison.disputed_cuts == every - shared
    assert comparison.agreement == (len(shared) / len(every) if every else 1.0)
    stretches = comparison.stretches
    assert [s.start for s in stretches] == [0, *(s.end for s in stretches[:-1])] and stretches[-1].end == size
    for name, rows in comparison.rows.items():
        assert [row for stretch in stretches for row in stretch.rows[name]] == rows
        for stretch in stretches:
            assert all(stretch.start <= row.start and row.end <= stretch.end for row in stretch.rows[name])


def check_prices(estimate):
    """A price is of one million tokens, as on the providers' pages; input and output apart."""
    table = {"a": 3.0, "b": {"input": 2.0, "output": 8.0}}
    million = estimate(1_000_000, table)
    assert million["a"].total == 3.0, (
        f"a million tokens at 3.0 a million cost {million['a'].total}: is the price taken for a thousand tokens?"
    )
    both = estimate(500_000, table, n_output_tokens=250_000)
    assert (both["b"].input, both["b"].output, both["b"].total) == (1.0, 2.0, 3.0)
    assert estimate(0, table)["b"].total == 0.0


class _Page(HTMLParser):
    HARMLESS = frozenset(
        [
            *("html", "head", "meta", "title", "style", "body", "div", "span", "i", "wbr", "br", "p"),
            *("table", "tr", "td", "th", "details", "summary"),
        ]
    )
    EMPTY = frozenset(("meta", "wbr", "br"))

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        assert tag in self.HARMLESS, f"<{tag}> is in the page: the text was not escaped"
        for name, value in attrs:
            assert name in ("class", "title", "style", "lang", "charset", "content", "name", "http-equiv"), (
                f"<{tag} {name}={value!r}> is in the page: the text was not escaped"
            )
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing: the text was not escaped"

    def handle_comment(self, data):
        raise AssertionError(f"a comment {data!r} is in the page: the text was not escaped")

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def check_html_is_inert(page, *shown):
    """The page holds only harmless elements, all closed, nothing from outside, and shows the texts as text."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page
    text = parser.text.replace("\n", "")
    for wanted in shown:
        assert wanted in text, f"{wanted!r} is not shown as it is"
