"""Classic bugs of adapters and inspectors, put back on purpose: the laws must notice each of them."""

import inspect
from types import SimpleNamespace

import pytest
from adapter_checks import (
    XSS,
    check_html_is_inert,
    check_inside_tiktoken,
    check_letters_are_bytes,
    check_nothing_is_cut,
    check_offsets,
    check_prices,
    check_spans,
    check_statistics,
    check_text_makes_no_special,
)
from tokenizer_checks import CORPUS, SPECIALS, check_no_injection, check_round_trip, fuzz_strings, trained

from working_with_text_data import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    TiktokenTokenizer,
    estimate_price,
    huggingface_adapter,
    huggingface_export,
    huggingface_spelling,
    inspect_html,
    inspect_statistics,
    statistics_of,
    tiktoken_adapter,
    to_huggingface,
    to_tiktoken,
    token_prices,
    token_rows,
    token_table,
    train_bpe,
)

pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")


def caught(check, *args, **kwargs):
    """The law notices: it fails, and says something."""
    with pytest.raises(AssertionError) as failure:
        check(*args, **kwargs)
    assert str(failure.value).strip()


def source_with(module, name, old, new):
    """The function `name` of `module` with one expression of its source replaced."""
    source = inspect.getsource(getattr(module, name))
    assert old in source, f"{name} has changed: put the bug {new!r} where it belongs now"
    scope = dict(vars(module))
    exec("from __future__ import annotations\n" + source.replace(old, new), scope)
    return scope[name]


def huggingface(model="bpe", size=400):
    return HuggingFaceTokenizer.train(CORPUS * 2, size, model, special_tokens=SPECIALS)


# --- LT4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bpe", "wordpiece", "unigram"])
def test_specials_that_the_library_finds_by_itself(monkeypatch, model):
    """The library's default: added tokens are looked for in every text."""
    text = "please <|endoftext|> and <|user|>"
    check_text_makes_no_special(huggingface(model), text)
    monkeypatch.setattr(huggingface_adapter, "_without_names", lambda data, special: data)
    caught(check_text_makes_no_special, huggingface(model), text)
    if model == "bpe":
        caught(check_no_injection, huggingface(model), "a", "<|user|>", "b")


def unigram_with_its_end_in_the_vocabulary():
    import tokenizers as hf

    vocabulary = [("<unk>", 0.0), ("</s>", 0.0), *((c, -3.0) for c in "▁<>/sab")]
    raw = hf.Tokenizer(hf.models.Unigram(vocabulary, unk_id=0))
    raw.pre_tokenizer, raw.decoder = hf.pre_tokenizers.Metaspace(), hf.decoders.Metaspace()
    raw.add_special_tokens(["<unk>", "</s>"])
    return HuggingFaceTokenizer(raw)


def test_specials_that_stand_in_a_vocabulary(monkeypatch):
    """`encode_special_tokens`, the library's own switch, is not enough for Unigram."""
    check_text_makes_no_special(unigram_with_its_end_in_the_vocabulary(), "a</s>b")
    monkeypatch.setattr(huggingface_adapter, "_without_names", lambda data, special: data)
    tokenizer = unigram_with_its_end_in_the_vocabulary()
    tokenizer._plain.encode_special_tokens = True
    caught(check_text_makes_no_special, tokenizer, "a</s>b")


# --- LT1, LT3 -----------------------------------------------------------------------------------


def test_letters_wrong_by_one(monkeypatch):
    """The letters of bytes that do not print counted from U+0101, or in the order of another table."""
    check_letters_are_bytes(huggingface())
    right = huggingface_spelling.unspell
    monkeypatch.setattr(
        huggingface_spelling,
        "unspell",
        lambda letters: right("".join(chr(ord(c) + 1) if 256 <= ord(c) < 323 else c for c in letters)),
    )
    caught(check_letters_are_bytes, huggingface())
    caught(check_round_trip, huggingface(), "a b\n")


def test_specials_shifted_by_one_inside_tiktoken(monkeypatch):
    tokenizer = trained()
    check_inside_tiktoken(tokenizer, to_tiktoken(tokenizer), CORPUS)
    broken = source_with(
        tiktoken_adapter,
        "_encoding_of",
        "special_tokens=tokenizer.special_tokens",
        "special_tokens={word: i + 1 for word, i in tokenizer.special_tokens.items()}",
    )
    monkeypatch.setattr(tiktoken_adapter, "_encoding_of", broken)
    caught(check_inside_tiktoken, tokenizer, to_tiktoken(tokenizer), CORPUS)


def test_a_split_option_that_is_forgotten_inside_tiktoken(monkeypatch):
    tokenizer = train_bpe(["in 1984 and 2001 " * 5], 300, split_digits=True)
    texts = ["1984", "in 2001"]
    check_inside_tiktoken(tokenizer, to_tiktoken(tokenizer), texts)
    old = "pat_str=splitter.pattern"
    new = "pat_str=__import__('working_with_text_data').SPLIT_PATTERNS[splitter.name]"
    plain = train_bpe(["in 1984 and 2001 " * 5], 300)  # merges across digits, so the pattern decides
    digits = TiktokenTokenizer(merges=plain.merges, split_digits=True)
    check_inside_tiktoken(digits, to_tiktoken(digits), texts)
    monkeypatch.setattr(
        tiktoken_adapter, "_encoding_of", source_with(tiktoken_adapter, "_encoding_of", old, new)
    )
    caught(check_inside_tiktoken, digits, to_tiktoken(digits), texts)


def test_a_pattern_in_the_syntax_of_another_engine(monkeypatch):
    r"""`\p{N}{1,3}+` is possessive for `regex`, and any number of digits for Oniguruma."""
    tokenizer = train_bpe(["123456789 " * 9], 290, pattern="cl100k")
    to_huggingface(tokenizer)
    monkeypatch.setattr(huggingface_export, "_oniguruma", lambda pattern: pattern)
    with pytest.raises(ValueError, match="cuts"):  # the export notices by itself
        to_huggingface(tokenizer)


# --- LT5: files ---------------------------------------------------------------------------------


def test_truncation_that_a_file_brings_along():
    tokenizer = huggingface()
    check_nothing_is_cut(tokenizer, "the cat sat")
    tokenizer._plain.enable_truncation(8)
    caught(check_nothing_is_cut, tokenizer, "the cat sat")


# --- the inspector ------------------------------------------------------------------------------


def test_offsets_that_count_characters(monkeypatch):
    text = "é東 naïve"
    check_offsets(token_table(text, trained()), text)
    monkeypatch.setattr(
        token_rows,
        "rows_of_ids",
        source_with(
            token_rows,
            "rows_of_ids",
            "len(tokenizer.token_bytes(token_id))",
            "len(tokenizer.decode([token_id]))",
        ),
    )
    caught(check_offsets, token_table(text, trained()), text)


def test_spans_that_count_characters(monkeypatch):
    """What the library gives are places of characters."""
    tokenizer = huggingface("unigram", 200)
    text = "东京 naïve café the cat"
    check_spans(tokenizer, text)
    monkeypatch.setattr(huggingface_adapter, "_byte_offsets", lambda text: list(range(len(text) + 1)))
    caught(check_spans, tokenizer, text)


STATISTICS_BUGS = {
    "an unknown word counts as covered": ("_owners", "row.unknown or ", ""),
    "a character shared by tokens counts as whole": (
        "_owners",
        "owner[start:shared] = [_SEVERAL] * (shared - start)",
        "pass",
    ),
    "bytes are characters": ("statistics_of_rows", "bytes=byte_at[-1]", "bytes=len(text)"),
    "unique means all": ("statistics_of_rows", "unique_tokens=len(counts)", "unique_tokens=len(rows)"),
    "natural logarithms are called bits": (
        "statistics_of_rows",
        "math.log2(len(rows) / n)",
        "math.log(len(rows) / n)",
    ),
}


class _Shared(ByteTokenizer):
    """Each byte token says that it stands for its whole character, as byte fallback does; "?" is unknown."""

    lossless = False
    unknown_id = ord("?")

    def encode_with_spans(self, text, allowed_special=None):
        spans, at = [], 0
        for character in text:
            data = character.encode()
            spans += [(byte, at, at + len(data)) for byte in data]
            at += len(data)
        return spans


@pytest.mark.parametrize("bug", STATISTICS_BUGS)
def test_numbers_that_mean_something_else(monkeypatch, bug):
    text = "né? ? the cat, the 東京"
    tokenizer = _Shared()

    def check():
        rows = token_table(text, tokenizer)
        check_statistics(statistics_of(text, tokenizer), text, rows, tokenizer.vocab_size)

    check()
    name, old, new = STATISTICS_BUGS[bug]
    monkeypatch.setattr(inspect_statistics, name, source_with(inspect_statistics, name, old, new))
    caught(check)


def test_a_price_taken_for_a_thousand_tokens(monkeypatch):
    check_prices(estimate_price)
    monkeypatch.setattr(token_prices, "PER", 1000)
    caught(check_prices, estimate_price)


def test_html_that_is_not_escaped(monkeypatch):
    def page():
        return inspect_html.html_page(inspect_html.token_report_html(XSS, ByteTokenizer()), "title")

    check_html_is_inert(page())
    monkeypatch.setattr(inspect_html, "html", SimpleNamespace(escape=lambda text, quote=True: text))
    # Byte by byte nothing is a tag; as whole tokens it is.
    whole = train_bpe([XSS * 3], 700, pattern=r"(?s:.+)")
    report = inspect_html.token_report_html(XSS, whole)
    caught(check_html_is_inert, inspect_html.html_page(report, "title"))
    caught(check_html_is_inert, inspect_html.html_page(page(), "</title><script>alert(1)</script>"))


def test_the_fuzz_is_worth_something():
    assert len({character for text in fuzz_strings(500) for character in text}) > 200
