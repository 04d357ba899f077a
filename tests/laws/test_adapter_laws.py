"""LT1, LT3–LT6 for the adapters to tiktoken and Hugging Face, and the inspector's numbers and pages."""

import json
import time

import pytest
from adapter_checks import (
    XSS,
    check_comparison,
    check_html_is_inert,
    check_inside_tiktoken,
    check_inside_transformers,
    check_known_text_comes_back,
    check_known_words_come_back,
    check_letters_are_bytes,
    check_nothing_is_cut,
    check_offsets,
    check_prices,
    check_spans,
    check_special_by_name,
    check_statistics,
    check_text_makes_no_special,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import (
    CORPUS,
    SPECIALS,
    check_bytes_round_trip,
    check_equals_tiktoken,
    check_longest_special_first,
    check_no_cliff,
    check_no_injection,
    check_round_trip,
    check_save_load,
    check_stream,
    fuzz_strings,
    trained,
)

from working_with_text_data import (
    BPETokenizer,
    ByteTokenizer,
    HuggingFaceTokenizer,
    TiktokenTokenizer,
    estimate_price,
    export_tokenizer_json,
    load_tokenizer,
    to_tiktoken,
    token_table,
    tokenizer_hash,
    train_bpe,
)
from working_with_text_data.inspect_compare import compare_tokenizers
from working_with_text_data.inspect_html import comparison_html, html_page, token_report_html
from working_with_text_data.inspect_statistics import statistics_of

pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")

PATTERNS = ("gpt2", "cl100k", "o200k")
OPTIONS = ({}, {"split_digits": 1}, {"split_digits": 2})
NESTED = ("<|x|>", "<|x|><|y|>", "a+b", "line\nbreak")
TEXTS = [*CORPUS, *fuzz_strings(300, seed=21)]

_made = {}


def once(make):
    """Tokenizers are made on first use and shared by the tests."""

    def get(*key, specials=SPECIALS):
        key = (*key, specials)
        if (make, key) not in _made:
            _made[make, key] = make(*key[:-1], specials=specials)
        return _made[make, key]

    return get


@once
def ours(pattern="gpt2", digits=0, prefix=False, *, specials):
    return train_bpe(
        TEXTS,
        900,
        pattern=pattern,
        special_tokens=specials,
        split_digits=digits or False,
        prefix_space=prefix,
    )


@once
def huggingface(model="bpe", *, specials):
    sizes = {"bpe": 600, "wordpiece": 600, "unigram": 400}
    return HuggingFaceTokenizer.train(TEXTS * 2, sizes[model], model, special_tokens=specials)


LOSSLESS = {
    "tiktoken": lambda specials=SPECIALS: TiktokenTokenizer.from_tokenizer(ours(specials=specials)),
    "huggingface": lambda specials=SPECIALS: huggingface("bpe", specials=specials),
}
each_lossless = pytest.mark.parametrize("name", LOSSLESS)
each_lossy = pytest.mark.parametrize("model", ["wordpiece", "unigram"])


def any_adapter(name, specials=SPECIALS):
    return LOSSLESS[name](specials) if name in LOSSLESS else huggingface(name, specials=specials)


each_adapter = pytest.mark.parametrize("name", [*LOSSLESS, "wordpiece", "unigram"])


# --- LT1 ------------------------------------------------------------------------------------------


@each_lossless
@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.text(alphabet="ab \n\r\t'🙂\u0301\x00e\ufffdĠ▁", max_size=40))
def test_every_text_comes_back(name, text):
    check_round_trip(LOSSLESS[name](), text)


@each_lossless
def test_awkward_text_comes_back(name):
    for text in ("", "\x00", "a\r\nb\n\rc", "\u0301", "\U0010ffff", "\ufdd0", "Ġ▁Ċ##", *fuzz_strings(300)):
        check_round_trip(LOSSLESS[name](), text)


@each_lossless
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=40))
def test_every_byte_string_comes_back(name, data):
    check_bytes_round_trip(LOSSLESS[name](), data)


def test_the_classes_say_what_is_lossless():
    assert huggingface("bpe").lossless and huggingface("bpe").unknown_id is None
    for model in ("wordpiece", "unigram"):
        assert not huggingface(model).lossless and huggingface(model).unknown_id == 0


def test_unigram_gives_back_what_it_knows():
    tokenizer = huggingface("unigram")
    known = sum(check_known_text_comes_back(tokenizer, text) for text in [*TEXTS, "the  cat\nsat ", " low"])
    assert known > 100
    assert tokenizer.unknown_id in tokenizer.encode_ordinary("\U0001f9ff"), (
        "a character never seen is unknown"
    )


def test_wordpiece_gives_back_the_words_it_knows():
    tokenizer = huggingface("wordpiece")
    known = sum(check_known_words_come_back(tokenizer, text) for text in TEXTS if text.isascii())
    assert known > 20
    lower = HuggingFaceTokenizer.train("The Cat café", 80, "wordpiece", lowercase=True)
    assert lower.decode(lower.encode("THE CAFÉ")) == " the cafe"


@each_adapter
def test_a_lone_surrogate_is_no_error(name):
    tokenizer = any_adapter(name)
    assert tokenizer.encode_ordinary("a\ud800b") == tokenizer.encode_ordinary("a\ufffdb")


# --- LT3 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("digits", [0, 1, 2])
def test_our_merges_run_inside_tiktoken(pattern, digits):
    tokenizer = ours(pattern, digits)
    check_inside_tiktoken(tokenizer, to_tiktoken(tokenizer), fuzz_strings(3000, seed=22))


@pytest.mark.parametrize("prefix", [False, True])
def test_tiktokens_engine_gives_our_ids(prefix):
    tokenizer = ours("gpt2", 0, prefix)
    swapped = TiktokenTokenizer.from_tokenizer(tokenizer)
    for text in fuzz_strings(3000, seed=23):
        assert swapped.encode_ordinary(text) == tokenizer.encode_ordinary(text), repr(text)
        marked = text + "<|user|>" + text
        assert swapped.encode(marked, "all") == tokenizer.encode(marked, "all")
    assert tokenizer_hash(swapped) == tokenizer_hash(tokenizer), "shards of one are read with the other"


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("options", [(0, False), (1, False), (2, False), (0, True), (1, True)])
def test_our_merges_run_inside_transformers(pattern, options, tmp_path):
    """All three split patterns, digits and prefix space, Unicode and special tokens."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    tokenizer = ours(pattern, *options)
    path = export_tokenizer_json(tokenizer, tmp_path / "exported.json")
    loaded = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    check_inside_transformers(tokenizer, loaded, fuzz_strings(2000, seed=24))


def test_transformers_opens_the_exported_folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    tokenizer = ours(specials=("<|endoftext|>", *NESTED))
    assert export_tokenizer_json(tokenizer, tmp_path / "folder") == tmp_path / "folder" / "tokenizer.json"
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "folder"))
    check_inside_transformers(tokenizer, loaded, fuzz_strings(300, seed=25))
    assert loaded.eos_token == "<|endoftext|>"
    again = load_tokenizer(tmp_path / "folder")
    assert isinstance(again, HuggingFaceTokenizer) and again.lossless
    for text in TEXTS:
        assert again.encode_ordinary(text) == tokenizer.encode_ordinary(text)
        assert again.encode(text + "<|x|><|y|>", "all") == tokenizer.encode(text + "<|x|><|y|>", "all")


def test_a_home_made_pattern_is_exported_or_refused():
    for pattern in (r"\p{L}+|\d+", r" ?\p{L}+| ?\p{N}{1,2}+|\s+$|[^\p{L}\p{N}]"):
        tokenizer = train_bpe(TEXTS, 400, pattern=pattern)
        exported = HuggingFaceTokenizer(__import__("tokenizers").Tokenizer.from_str(_exported(tokenizer)))
        for text in fuzz_strings(1000, seed=26):
            assert exported.encode_ordinary(text) == tokenizer.encode_ordinary(text), repr(text)
    # Set difference is no syntax of Oniguruma's, and its \w takes other marks and numbers than that of `regex`.
    for pattern in (r"(?V1)[\p{L}--[a-f]]+|.", r"\w+|\s+|[^\w\s]+"):
        with pytest.raises(ValueError, match="split pattern"):
            _exported(train_bpe(TEXTS, 400, pattern=pattern))


def _exported(tokenizer):
    from working_with_text_data.huggingface_export import to_huggingface

    return to_huggingface(tokenizer).to_str()


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_the_published_vocabularies_in_every_engine(name, shared_data):
    """Ours, tiktoken's and Hugging Face's engines give the same ids from the same ranks."""
    tokenizer = load_tokenizer_from(shared_data, name)
    fast = TiktokenTokenizer.from_tokenizer(tokenizer)
    check_equals_tiktoken(tokenizer, fast.encoding, fuzz_strings(2000, seed=27))
    text = "a<|endoftext|> b"
    assert fast.encode(text, "all") == tokenizer.encode(text, "all")
    if name != "o200k_base":  # which is the same again and takes the longest
        exported = HuggingFaceTokenizer(__import__("tokenizers").Tokenizer.from_str(_exported(tokenizer)))
        for text in fuzz_strings(2000, seed=28):
            assert exported.encode_ordinary(text) == tokenizer.encode_ordinary(text), repr(text)


def load_tokenizer_from(shared_data, name):
    from working_with_text_data.tiktoken_ranks import load_tiktoken

    return load_tiktoken(name, shared_data / "tokenizers")


# --- LT4 ------------------------------------------------------------------------------------------


@each_lossless
@settings(max_examples=50, deadline=None)
@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_typed_special_tokens_are_never_special(name, before, after):
    tokenizer = LOSSLESS[name]()
    for special in tokenizer.special_tokens:
        check_no_injection(tokenizer, before, special, after)


@each_adapter
def test_no_text_makes_a_control_token(name):
    for specials in (SPECIALS, NESTED):
        tokenizer = any_adapter(name, specials)
        for word in specials:
            for text in (word, f"a {word} b", word * 3, f"a{word}", " " + word, word.upper()):
                check_text_makes_no_special(tokenizer, text)
            check_special_by_name(tokenizer, word)
        for text in TEXTS[:100]:
            check_text_makes_no_special(tokenizer, text)


@each_adapter
def test_the_longest_special_wins(name):
    check_longest_special_first(any_adapter(name, NESTED), "<|x|>", "<|x|><|y|>")


def test_special_tokens_of_a_unigram_vocabulary_are_out_of_reach():
    """T5 and its kin keep "</s>" in the vocabulary itself, where the library finds it in any text."""
    hf = pytest.importorskip("tokenizers")
    vocabulary = [("<unk>", 0.0), ("</s>", 0.0), *((c, -3.0) for c in "▁<>/sab")]
    raw = hf.Tokenizer(hf.models.Unigram(vocabulary, unk_id=0))
    raw.pre_tokenizer, raw.decoder = hf.pre_tokenizers.Metaspace(), hf.decoders.Metaspace()
    raw.add_special_tokens(["<unk>", "</s>"])
    tokenizer = HuggingFaceTokenizer(raw)
    for text in ("</s>", "a</s>b", "a </s>", "</s></s>"):
        check_text_makes_no_special(tokenizer, text)
    assert tokenizer.encode("a</s>", "all")[-1] == 1


def test_added_tokens_that_a_file_does_not_call_special():
    hf = pytest.importorskip("tokenizers")
    raw = hf.Tokenizer.from_str(json.dumps(huggingface("bpe").to_dict()))
    raw.add_tokens(["<tool_call>"])
    tool = raw.token_to_id("<tool_call>")
    assert tool in HuggingFaceTokenizer(raw).encode_ordinary("x<tool_call>"), "as transformers reads it"
    guarded = HuggingFaceTokenizer(raw, more_special=["<tool_call>"])
    check_no_injection(guarded, "x", "<tool_call>", "y")
    with pytest.raises(ValueError, match="nothing"):
        HuggingFaceTokenizer(raw, more_special=["<nothing>"])


def test_a_normaliser_cannot_make_a_control_token():
    """A special token that is matched after lower-casing must not come from a text in capitals."""
    hf = pytest.importorskip("tokenizers")
    raw = hf.Tokenizer.from_str(json.dumps(huggingface("bpe").to_dict()))
    raw.normalizer = hf.normalizers.Lowercase()
    raw.add_special_tokens([hf.AddedToken("<end>", normalized=True, special=True)])
    tokenizer = HuggingFaceTokenizer(raw)
    end = tokenizer.special_tokens["<end>"]
    assert end not in tokenizer.encode("a<END>b") and end not in tokenizer.encode_ordinary("a<END>b<end>")
    with pytest.raises(ValueError, match="<end>"):
        tokenizer.encode("a<END>b<|user|>", allowed_special={"<|user|>"})


# --- LT5 ------------------------------------------------------------------------------------------


@each_adapter
def test_a_loaded_tokenizer_gives_the_same_ids(name, tmp_path):
    tokenizer = any_adapter(name)
    texts = list(fuzz_strings(200, seed=29))
    check_save_load(tokenizer, load_tokenizer, tmp_path / "tokenizer.json", texts)
    check_save_load(tokenizer, type(tokenizer).load, tmp_path / "tokenizer.json", texts)
    assert load_tokenizer(tmp_path).special_tokens == tokenizer.special_tokens
    first = (tmp_path / "tokenizer.json").read_bytes()
    load_tokenizer(tmp_path).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == first, "the file is not stable"


@each_adapter
def test_another_process_gets_the_same_tokenizer(name):
    import pickle

    tokenizer = any_adapter(name)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert [again.encode_ordinary(text) for text in TEXTS] == [tokenizer.encode_ordinary(t) for t in TEXTS]


def test_a_file_of_tiktokens_engine_opens_in_ours(tmp_path):
    swapped = LOSSLESS["tiktoken"]()
    swapped.save(tmp_path / "tokenizer.json")
    plain = BPETokenizer.load(tmp_path / "tokenizer.json")
    assert type(plain) is BPETokenizer and tokenizer_hash(plain) == tokenizer_hash(swapped)
    plain.save(tmp_path / "plain.json")
    assert type(load_tokenizer(tmp_path / "plain.json")) is BPETokenizer
    assert type(load_tokenizer(f"tiktoken:{tmp_path / 'plain.json'}")) is TiktokenTokenizer


@each_adapter
def test_many_texts_at_once_are_the_same_as_one_by_one(name):
    tokenizer = any_adapter(name)
    marked = [text + "<|user|>" for text in TEXTS]
    for workers in (0, 3):
        assert tokenizer.encode_batch(TEXTS, workers=workers) == [tokenizer.encode(t) for t in TEXTS]
        allowed = tokenizer.encode_batch(marked, {"<|user|>"}, workers=workers)
        assert allowed == [tokenizer.encode(text, {"<|user|>"}) for text in marked]
        with pytest.raises(ValueError, match="user"):
            tokenizer.encode_batch(marked, workers=workers)


# --- LT6 ------------------------------------------------------------------------------------------


@each_adapter
def test_streamed_text_is_the_decoded_text(name):
    tokenizer = any_adapter(name)
    for text in TEXTS:
        check_stream(tokenizer, tokenizer.encode_ordinary(text))
    check_stream(tokenizer, tokenizer.encode("<|user|> hi<|assistant|>", "all"))


# --- LT7 ------------------------------------------------------------------------------------------


@each_adapter
@pytest.mark.parametrize("character", ["a", " ", "\n", "é", "0", "!"])
def test_a_hundred_thousand_equal_characters_take_under_a_second(name, character):
    tokenizer = any_adapter(name)
    text = character * 100_000
    if getattr(tokenizer, "lossless", True):
        check_no_cliff(tokenizer, text)
    else:
        begin = time.process_time()
        tokenizer.encode_ordinary(text)
        assert time.process_time() - begin < 1.0


# --- the library's files ----------------------------------------------------------------------------


def test_letters_are_bytes():
    check_letters_are_bytes(huggingface("bpe"))


@each_adapter
def test_spans_are_bytes_of_the_text(name):
    tokenizer = any_adapter(name)
    if isinstance(tokenizer, HuggingFaceTokenizer) and not tokenizer.lossless:
        for text in TEXTS:
            check_spans(tokenizer, text)


def test_truncation_and_padding_of_a_file_are_switched_off():
    hf = pytest.importorskip("tokenizers")
    raw = hf.Tokenizer.from_str(json.dumps(huggingface("bpe").to_dict()))
    raw.enable_truncation(8)
    raw.enable_padding(length=16)
    check_nothing_is_cut(HuggingFaceTokenizer(raw), "the cat sat")


def test_a_model_of_transformers_is_opened_without_a_network(shared_data):
    """Llama's kind: "▁" for a space, bytes as <0x41>, a template that adds a token in front."""
    folder = shared_data / "weights" / "tinystories-656k"
    tokenizer = load_tokenizer(folder)
    golden = json.loads((folder / "GOLDEN.json").read_text(encoding="utf-8"))
    assert not tokenizer.lossless and tokenizer.vocab_size == 2048
    for case in golden:
        begin, *ids = case["prompt_ids"]
        assert begin == tokenizer.special_tokens["<|start_story|>"], "added by the template, not by us"
        assert tokenizer.encode(case["prompt"]) == ids
        assert tokenizer.decode(case["greedy60_ids"]).startswith(case["text"][: len(case["prompt"])])
        check_stream(tokenizer, case["greedy60_ids"])
    for text in ("Once upon a time", "a </s> <|end_story|>", "<unk> <0x41>"):
        check_text_makes_no_special(tokenizer, text)


# --- the inspector ----------------------------------------------------------------------------------


def inspected():
    return {
        "byte": ByteTokenizer(),
        "bpe": trained(),
        "digits": ours("cl100k", 1),
        "tiktoken": LOSSLESS["tiktoken"](),
        "hf-bpe": huggingface("bpe"),
        "wordpiece": huggingface("wordpiece"),
        "unigram": huggingface("unigram"),
    }


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_offsets_are_bytes(text):
    for name in ("byte", "bpe", "digits", "tiktoken", "hf-bpe"):
        check_offsets(token_table(text, inspected()[name]), text)


def test_the_space_that_prefix_space_adds_is_no_part_of_the_text():
    tokenizer = ours("gpt2", 0, True)
    for text in ("the cat", " the", "", "x<|user|>the<|user|> y", "東京"):
        rows = token_table(text, tokenizer, "all")
        data = text.encode()
        assert not rows or (rows[0].start == 0 and rows[-1].end == len(data))
        assert all(data[row.start : row.end] in (row.bytes, row.bytes[1:]) for row in rows)


@pytest.mark.parametrize("name", ["byte", "bpe", "hf-bpe", "wordpiece", "unigram"])
def test_statistics_are_what_they_are_defined_to_be(name):
    tokenizer = inspected()[name]
    for text in [*CORPUS, *fuzz_strings(60, seed=30), ""]:
        rows = token_table(text, tokenizer)
        check_statistics(statistics_of(text, tokenizer), text, rows, tokenizer.vocab_size)


def test_comparisons_add_up():
    for names in (("byte", "bpe"), ("bpe", "digits", "tiktoken"), ("bpe", "unigram")):
        tokenizers = {name: inspected()[name] for name in names}
        for text in CORPUS:
            check_comparison(compare_tokenizers(text, tokenizers), text)
    same = compare_tokenizers(CORPUS[0], {"a": trained(), "b": trained()})
    assert same.agreement == 1.0 and all(stretch.alike for stretch in same.stretches)


def test_a_price_is_of_a_million_tokens():
    check_prices(estimate_price)


@pytest.mark.parametrize("name", ["byte", "bpe", "wordpiece", "unigram"])
def test_text_that_holds_html_stays_text(name):
    tokenizer = inspected()[name]
    prices = estimate_price(5, {XSS: 1.0, "currency": XSS})
    shown = XSS.replace(" ", "·").split("\n")
    shown = [line + "⏎" if line != shown[-1] else line for line in shown] if name in ("byte", "bpe") else []
    check_html_is_inert(html_page(token_report_html(XSS, tokenizer, name=XSS, prices=prices), XSS), *shown)
    comparison = compare_tokenizers(XSS, {XSS: tokenizer, "byte": ByteTokenizer()})
    check_html_is_inert(html_page(comparison_html(comparison, {XSS: prices}), XSS), *shown)
