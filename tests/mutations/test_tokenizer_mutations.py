"""Classic tokenizer bugs, put back on purpose: the laws LT1–LT4 (★) must notice each of them."""

import re

import pytest
from tokenizer_checks import (
    check_bytes_round_trip,
    check_equals_tiktoken,
    check_longest_special_first,
    check_no_cliff,
    check_no_injection,
    check_round_trip,
    check_same_ids_as_naive,
    check_same_merges,
    check_stop,
    check_stream,
    fuzz_strings,
)

from working_with_text_data import (
    BPETokenizer,
    ByteTokenizer,
    StreamingDecoder,
    bpe,
    coarse_words,
    fast_bpe,
    fast_encode,
    patterns,
    tie_breaks,
    train_bpe,
    train_bpe_readable,
)
from working_with_text_data import tokenizer as tokenizer_module
from working_with_text_data.tiktoken_ranks import to_tiktoken

TEXTS = [
    "banana bandana can't aaaa aaaaa abab",
    "low lower lowest newer wider, the cat sat\n\non the mat  twice",
]
WHITE = ["x\n  y\n  z a   b  c \t d\x1c\x1cd !!\x1fa 1 12 12 123 \n\n\n e" * 20]  # merges within white space
SPECIALS = ["<|x|>", "<|x|><|y|>", "a+b"]


def caught(check, *args, **kwargs):
    """The law notices: it fails, and says something."""
    with pytest.raises(AssertionError) as failure:
        check(*args, **kwargs)
    assert str(failure.value).strip()


# --- LT1: round trip --------------------------------------------------------------------------------


def test_lt1_notices_characters_taken_for_bytes(monkeypatch):
    check_round_trip(ByteTokenizer(), "é東")
    monkeypatch.setattr(ByteTokenizer, "encode_ordinary", lambda self, text: [ord(c) & 255 for c in text])
    caught(check_round_trip, ByteTokenizer(), "é東")


def test_lt1_notices_bytes_that_pass_through_text(monkeypatch):
    check_bytes_round_trip(train_bpe(TEXTS, 300), b"\xff\xfe")
    monkeypatch.setattr(
        BPETokenizer,
        "decode_bytes",
        lambda self, ids: b"".join(self.token_bytes(i).decode("utf-8", "replace").encode() for i in ids),
    )
    caught(check_bytes_round_trip, train_bpe(TEXTS, 300), b"\xff\xfe")


def test_lt1_notices_a_pattern_that_drops_white_space(monkeypatch):
    cut = patterns.Splitter("gpt2")
    monkeypatch.setattr(cut, "_ascii", re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+").findall)
    monkeypatch.setattr("working_with_text_data.bpe_tokenizer.splitter", lambda name, **options: cut)
    caught(check_round_trip, BPETokenizer([]), "two  spaces\n")


def test_lt1_notices_normalised_text(monkeypatch):
    import unicodedata

    monkeypatch.setattr(
        "working_with_text_data.bpe_tokenizer.valid_unicode", lambda text: unicodedata.normalize("NFC", text)
    )
    caught(check_round_trip, BPETokenizer([]), "e\u0301")


# --- LT2: the merges and the ids --------------------------------------------------------------------


def source_with(module, name, old, new):
    """The function `name` of `module` with one expression of its source replaced."""
    import inspect

    source = inspect.getsource(getattr(module, name))
    assert old in source, f"{name} has changed: put the bug {new!r} where it belongs now"
    scope = dict(vars(module))
    exec(source.replace(old, new), scope)
    return scope[name]


EVERYWHERE, IN_WORD = "_merge_everywhere", "_merge_in_word"
FAST_BUGS = {
    "the pair left of the merge keeps its count": (EVERYWHERE, "pair_count[x + first] -= n", "pass"),
    "the pair right of the merge keeps its count": (EVERYWHERE, "pair_count[second + x] -= n", "pass"),
    "a word counts once however often it occurs": (IN_WORD, "n = counts[i]", "n = 1"),
    "words with two merges are forgotten": (IN_WORD, "where[x].append(i)", "where[x]"),
    "two merges in one word count their old pairs on": (IN_WORD, "pair_count[x] -= n", "pass"),
}


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("bug", FAST_BUGS)
def test_lt2_notices_wrong_incremental_counts(monkeypatch, bug, few):
    name, right, wrong = FAST_BUGS[bug]
    monkeypatch.setattr(fast_bpe, "FEW_PLACES", few)
    check_same_merges(train_bpe, TEXTS, 300)
    # The broken function and its callers live in one namespace, which monkeypatch gives back.
    monkeypatch.setattr(fast_bpe, name, source_with(fast_bpe, name, right, wrong))
    caught(check_same_merges, train_bpe, TEXTS * 2, 300)


def test_lt2_notices_overlapping_pairs_merged_twice(monkeypatch):
    def merge_overlapping(ids, pair, new_id):
        marked = [new_id if (a, b) == pair else a for a, b in zip(ids, [*ids[1:], None])]
        return marked[:-1] if marked[-1:] != list(ids[-1:]) else marked

    monkeypatch.setattr(bpe, "merge", merge_overlapping)
    caught(check_same_merges, train_bpe_readable, TEXTS, 290)


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable])
def test_lt2_notices_the_wrong_tie_break(monkeypatch, train):
    """The smallest pair instead of the greatest; and the plain id order, which most libraries use."""
    monkeypatch.setattr(tie_breaks, "_backwards", lambda token: token.decode("latin-1"))
    caught(check_same_merges, train, TEXTS, 300)
    caught(
        check_same_merges,
        lambda texts, size, special_tokens=(): train(texts, size, tie_break="smallest_ids"),
        TEXTS,
        300,
    )


def test_lt2_notices_a_beginning_that_sorts_before_its_continuation(monkeypatch):
    """The subtle tie: of "a" and "ab" the longer is the greater."""
    texts = ["xab xac " * 3 + "xabxac", "babcb bbbca baa ccca acac bcab bccac bcbac"]
    check_same_merges(train_bpe, texts, 275)
    monkeypatch.setattr(
        tie_breaks, "_backwards", lambda token: token.translate(tie_breaks._FLIP).decode("latin-1")
    )
    caught(check_same_merges, train_bpe, texts, 275)


def test_lt2_notices_pairs_across_specials(monkeypatch):
    texts = ["xy<|end|>xy<|end|>xy<|end|>"]
    check_same_merges(train_bpe, texts, 260, special_tokens=["<|end|>"])
    caught(
        check_same_merges,
        lambda texts, size, special_tokens: train_bpe(texts, size - 1),  # special left in the text
        texts,
        260,
        special_tokens=["<|end|>"],
    )


def test_lt2_notices_leftmost_first_instead_of_lowest_rank_first(monkeypatch):
    tokenizer = BPETokenizer([tuple(b"bc"), tuple(b"ab")])
    text = "abcab"
    check_same_ids_as_naive(tokenizer, text)

    def leftmost_first(piece, ranks):
        parts, i = [piece[i : i + 1] for i in range(len(piece))], 0
        while i < len(parts) - 1:
            if parts[i] + parts[i + 1] in ranks:
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
                i = 0
            else:
                i += 1
        return [ranks[part] for part in parts]

    monkeypatch.setattr(fast_encode, "merge_piece", leftmost_first)
    tokenizer.clear_cache()
    caught(check_same_ids_as_naive, tokenizer, text)


def test_lt2_notices_a_long_piece_whose_left_pairs_are_forgotten(monkeypatch):
    tokenizer = BPETokenizer([tuple(b"bc"), (ord("a"), 256)])
    text = "abcd" * 50
    check_same_ids_as_naive(tokenizer, text)
    broken = source_with(fast_encode, "merge_long_piece", "push(heap, rank * n + h)", "pass")
    monkeypatch.setattr(fast_encode, "merge_long_piece", broken)
    tokenizer.clear_cache()
    caught(check_same_ids_as_naive, tokenizer, text)


# --- LT3: the same as tiktoken ----------------------------------------------------------------------

PATTERN_BUGS = {
    "no look-ahead after white space": (r"|\s+(?!\S)", ""),
    "digits without the space before them": (" ?[0-9]+", "[0-9]+"),
    "contractions only with a straight s": ("'(?:[sdmt]|ll|ve|re)", "'s"),
}


@pytest.mark.parametrize("bug", PATTERN_BUGS)
def test_lt3_notices_a_wrong_split_pattern(monkeypatch, bug):
    tokenizer = train_bpe([*TEXTS, *WHITE, *fuzz_strings(50)], 500)
    encoding = to_tiktoken(tokenizer)
    texts = list(fuzz_strings(2000, seed=2))
    check_equals_tiktoken(tokenizer, encoding, texts)
    old, new = PATTERN_BUGS[bug]
    assert old in patterns._ASCII["gpt2"]
    broken = re.compile(patterns._ASCII["gpt2"].replace(old, new, 1), re.ASCII).findall
    monkeypatch.setattr(tokenizer._splitter, "_ascii", broken)
    tokenizer.clear_cache()
    try:
        caught(check_equals_tiktoken, tokenizer, encoding, texts)
    finally:
        tokenizer.clear_cache()


def test_lt3_notices_white_space_as_python_sees_it(monkeypatch):
    """Python's `\\s` takes U+001C to U+001F too, which Unicode's White_Space does not."""
    tokenizer = train_bpe(WHITE, 300)
    encoding = to_tiktoken(tokenizer)
    texts = ["a\x1c\x1c b  c", "é!!\x1fa  b"]
    check_equals_tiktoken(tokenizer, encoding, texts)
    monkeypatch.setattr(coarse_words, "SPACES", coarse_words.SPACES + "\x1c\x1d\x1e\x1f")
    tokenizer.clear_cache()
    caught(check_equals_tiktoken, tokenizer, encoding, texts)


def test_lt3_notices_a_cut_inside_white_space(monkeypatch):
    """A word begins with all its white space: "\\n  x" must stay whole."""
    tokenizer = train_bpe(WHITE, 300)
    encoding = to_tiktoken(tokenizer)
    texts = ["a\n  b", "a  b", "a \n\n\n b", "a\t b"]
    check_equals_tiktoken(tokenizer, encoding, texts)
    broken = source_with(coarse_words, "coarse_words", "marked.replace(space + mark, space)", "marked")
    monkeypatch.setattr(fast_encode, "coarse_words", broken)
    tokenizer.clear_cache()
    caught(check_equals_tiktoken, tokenizer, encoding, texts)


# --- LT4: no injection ------------------------------------------------------------------------------


def special_tokenizers():
    return [ByteTokenizer(SPECIALS), train_bpe(TEXTS, 300, special_tokens=SPECIALS)]


def test_lt4_notices_specials_that_are_always_parsed(monkeypatch):
    split = tokenizer_module.SpecialTokens.split
    monkeypatch.setattr(
        tokenizer_module.SpecialTokens, "split", lambda self, text, allowed: split(self, text, "all")
    )
    for tokenizer in special_tokenizers():
        caught(check_no_injection, tokenizer, "hello ", "<|x|>", "!")


def test_lt4_notices_specials_that_pass_in_silence(monkeypatch):
    """Not allowed, not raised: the text goes through as plain pieces."""
    split = tokenizer_module.SpecialTokens.split

    def lenient(self, text, allowed):
        return iter([(text, None)]) if allowed != "all" and not allowed else split(self, text, allowed)

    monkeypatch.setattr(tokenizer_module.SpecialTokens, "split", lenient)
    for tokenizer in special_tokenizers():
        caught(check_no_injection, tokenizer, "hello ", "<|x|>", "!")


def test_lt4_notices_plain_text_that_becomes_special(monkeypatch):
    for kind in (ByteTokenizer, BPETokenizer):
        monkeypatch.setattr(
            kind, "encode_ordinary", lambda self, text: self.encode(text, allowed_special="all")
        )
        monkeypatch.setattr(
            kind, "encode", lambda self, text, allowed_special=frozenset(): _parse(self, text)
        )

    def _parse(self, text):
        return [i for piece, i in self._special.split(text, "all") if i is not None]

    for tokenizer in special_tokenizers():
        caught(check_no_injection, tokenizer, "hello ", "<|x|>", "!")


def test_lt4_notices_shortest_first(monkeypatch):
    for tokenizer in special_tokenizers():
        check_longest_special_first(tokenizer, "<|x|>", "<|x|><|y|>")
    broken = source_with_method("key=len, reverse=True", "key=len")
    monkeypatch.setattr(tokenizer_module.SpecialTokens, "split", broken)
    for tokenizer in special_tokenizers():
        caught(check_longest_special_first, tokenizer, "<|x|>", "<|x|><|y|>")


def test_lt4_notices_specials_read_as_regular_expressions(monkeypatch):
    tokenizers = special_tokenizers()
    for tokenizer in tokenizers:
        check_no_injection(tokenizer, "1 ", "a+b", " 2")
    broken = source_with_method("map(re.escape, longest_first)", "longest_first")
    monkeypatch.setattr(tokenizer_module.SpecialTokens, "split", broken)
    for tokenizer in tokenizers:
        tokenizer._special._cutters.clear()
        caught(check_no_injection, tokenizer, "1 ", "a+b", " 2")


def source_with_method(old, new):
    import inspect
    import textwrap

    source = textwrap.dedent(inspect.getsource(tokenizer_module.SpecialTokens.split))
    assert old in source, f"SpecialTokens.split has changed: put the bug {new!r} where it belongs now"
    scope = dict(vars(tokenizer_module))
    exec("from __future__ import annotations\n" + source.replace(old, new), scope)
    return scope["split"]


# --- LT6 and LT7 are not starred; their classic bugs are cheap to try all the same ----------------------


def test_lt6_notices_half_characters(monkeypatch):
    tokenizer = ByteTokenizer()
    monkeypatch.setattr(StreamingDecoder, "push", lambda self, i: tokenizer.decode([i]))
    caught(check_stream, tokenizer, tokenizer.encode("é😀"))


def test_lt6_notices_a_stop_string_across_tokens(monkeypatch):
    tokenizer = ByteTokenizer()
    check_stop(tokenizer, tokenizer.encode("one END two"), ["END"])
    monkeypatch.setattr(StreamingDecoder, "_possible_beginning", lambda self, text: 0)
    caught(check_stop, tokenizer, tokenizer.encode("one END two"), ["END"])


def test_lt7_notices_a_quadratic_merge(monkeypatch):
    tokenizer = train_bpe(["aaaa" * 8], 262)
    check_no_cliff(tokenizer, "a" * 8_000, seconds=0.15)
    monkeypatch.setattr(fast_encode, "LONG_PIECE", 1 << 60)
    caught(check_no_cliff, tokenizer, "a" * 8_000, seconds=0.15)
