"""LT1, LT4–LT7: text goes through the tokenizers unharmed, and control words only by name."""

import hashlib
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import (
    CORPUS,
    SPECIALS,
    check_bytes_round_trip,
    check_longest_special_first,
    check_no_cliff,
    check_no_injection,
    check_round_trip,
    check_save_load,
    check_stop,
    check_stream,
    comes_back,
    fuzz_strings,
    trained,
)

from working_with_text_data import (
    BPETokenizer,
    ByteTokenizer,
    load_tokenizer,
    tokenizer_hash,
    train_bpe,
)
from working_with_text_data.bpe import train_on_bytes
from working_with_text_data.tiktoken_ranks import ENCODINGS, load_tiktoken

AWKWARD_SPECIALS = ["<|a b|>", "line\nbreak", "(.*)+[", "\\d$", "<|x|>", "<|x|><|y|>", "東京"]


TOKENIZERS = {
    "byte": ByteTokenizer,
    "bpe-gpt2": lambda: trained("gpt2"),
    "bpe-cl100k": lambda: trained("cl100k"),
    "bpe-o200k": lambda: trained("o200k"),
    "bpe-no-merges": lambda: trained("gpt2", 256 + len(SPECIALS)),
    "bpe-own-pattern": lambda: trained(r"\p{L}+|\d+", 300),
    "bpe-bytes-only": lambda: train_on_bytes("".join(CORPUS), 300),
    "bpe-gpt2-digits": lambda: trained(split_digits=True),
    "bpe-cl100k-pairs-of-digits": lambda: trained("cl100k", split_digits=2),
    "bpe-o200k-digits-prefix": lambda: trained("o200k", split_digits=1, prefix_space=True),
    "bpe-gpt2-prefix": lambda: trained(prefix_space=True),
    "bpe-own-pattern-prefix": lambda: trained(r"\p{L}+|\d+", 300, prefix_space=True),
    "bpe-min-frequency": lambda: trained(min_frequency=3),
    "bpe-first-seen": lambda: trained(tie_break="first_seen"),
}
each_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
any_text = st.text(max_size=60) | st.text(alphabet="ab \n\r\t'🙂\u0301\x00e\ufffd", max_size=40)


# --- LT1 ------------------------------------------------------------------------------------------


@each_tokenizer
@settings(max_examples=150, deadline=None)
@given(text=any_text)
def test_every_text_comes_back_from_its_ids(name, text):
    check_round_trip(TOKENIZERS[name](), text)


@each_tokenizer
def test_awkward_text_comes_back_from_its_ids(name):
    for text in (
        "",
        "\x00",
        "\r\n",
        "a\r\nb\n\rc",
        "e\u0301",
        "\u0301",
        "\u0378",
        "\U0010ffff",
        "\ufffe",
        " ",
        "\t ",
    ):
        check_round_trip(TOKENIZERS[name](), text)
    for text in fuzz_strings(300):
        check_round_trip(TOKENIZERS[name](), text)


@each_tokenizer
@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=40))
def test_every_byte_string_comes_back_from_its_ids(name, data):
    check_bytes_round_trip(TOKENIZERS[name](), data)


@each_tokenizer
def test_a_lone_surrogate_becomes_the_replacement_character(name):
    tokenizer = TOKENIZERS[name]()
    back = tokenizer.decode(tokenizer.encode_ordinary("a\ud800b"))
    assert back == comes_back(tokenizer, "a\ufffdb")


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_published_vocabularies_bring_every_text_back_and_survive_their_file(name, shared_data, tmp_path):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    for text in fuzz_strings(500, seed=10):
        check_round_trip(tokenizer, text)
    check_bytes_round_trip(tokenizer, bytes(range(256)))
    for special in tokenizer.special_tokens:
        check_no_injection(tokenizer, "one ", special, " two")
    if name == "gpt2":  # to find the merges of the larger ones again takes long, and is the same code
        check_save_load(tokenizer, load_tokenizer, tmp_path / "t.json", fuzz_strings(100, seed=11))


# --- LT4 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "bpe-bytes-only"])  # it has none
@settings(max_examples=40, deadline=None)
@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_typed_special_tokens_are_never_special(name, before, after):
    tokenizer = TOKENIZERS[name]()
    for special in tokenizer.special_tokens:
        check_no_injection(tokenizer, before, special, after)


@pytest.mark.parametrize("order", [1, -1])
def test_specials_with_spaces_newlines_and_regex_signs(order):
    specials = AWKWARD_SPECIALS[::order]
    for tokenizer in (
        ByteTokenizer(specials),
        train_bpe(CORPUS, 320, special_tokens=specials),
        train_bpe(CORPUS, 320, special_tokens=specials, prefix_space=True, split_digits=True),
    ):
        for special in specials:
            if special != "<|x|><|y|>":  # it holds another one, so allowing it alone is refused
                check_no_injection(tokenizer, "one ", special, " two\n")
        check_longest_special_first(tokenizer, "<|x|>", "<|x|><|y|>")


def test_every_special_must_be_allowed_by_its_own_name():
    tokenizer = trained()
    text = "<|user|>hi<|assistant|>"
    with pytest.raises(ValueError, match="assistant"):
        tokenizer.encode(text, allowed_special={"<|user|>"})
    ids = tokenizer.encode(text, allowed_special={"<|user|>", "<|assistant|>"})
    assert [ids[0], ids[-1]] == [
        tokenizer.special_tokens["<|user|>"],
        tokenizer.special_tokens["<|assistant|>"],
    ]
    assert tokenizer.encode(text, allowed_special="all") == ids


def test_specials_in_the_corpus_are_not_learned_from():
    plain = train_bpe(["banana band", "bandana"], 262, special_tokens=["<|endoftext|>"])
    marked = train_bpe(
        ["banana band<|endoftext|>", "<|endoftext|>bandana"], 262, special_tokens=["<|endoftext|>"]
    )
    assert plain.merges == marked.merges


# --- LT5 ------------------------------------------------------------------------------------------


@each_tokenizer
def test_a_loaded_tokenizer_gives_the_same_ids(name, tmp_path):
    tokenizer = TOKENIZERS[name]()
    texts = list(fuzz_strings(200, seed=9))
    check_save_load(tokenizer, load_tokenizer, tmp_path / "tokenizer.json", texts)
    check_save_load(tokenizer, type(tokenizer).load, tmp_path / "tokenizer.json", texts)
    assert load_tokenizer(tmp_path).vocab_size == tokenizer.vocab_size, (
        "a folder with tokenizer.json is enough"
    )


def test_the_hash_tells_tokenizers_apart_and_is_stable():
    hashes = {name: tokenizer_hash(make()) for name, make in TOKENIZERS.items()}
    assert len(set(hashes.values())) == len(hashes), "two tokenizers of different merges or options, one hash"
    assert hashes["byte"] == tokenizer_hash(ByteTokenizer())
    # Worked out once by hand from the documented canonical JSON: a changed format must be a new version.
    words = '{"<|bos|>":257,"<|eos|>":258,"<|pad|>":256,"<|sep|>":259}'
    canonical = f'{{"special_tokens":{words},"type":"byte","version":1}}'
    assert hashes["byte"] == hashlib.sha256(canonical.encode()).hexdigest()


@each_tokenizer
def test_a_truncated_tokenizer_file_is_a_clear_error(name, tmp_path):
    path = tmp_path / "tokenizer.json"
    TOKENIZERS[name]().save(path)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            load_tokenizer(path)


FOREIGN = {
    "a list": [],
    "another program's": {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}},
    "a newer version": {"type": "byte", "version": 99, "special_tokens": {}},
    "a version that is no number": {"type": "byte", "version": "1", "special_tokens": {}},
    "a BPE of a newer version": {
        "type": "bpe", "version": 3, "pattern": "gpt2", "special_tokens": {}, "merges": [],
    },
    "digits that are none": {
        "type": "bpe", "version": 2, "pattern": "gpt2", "split_digits": "two", "special_tokens": {},
        "merges": [],
    },
    "a prefix space that is neither yes nor no": {
        "type": "bpe", "version": 2, "pattern": "gpt2", "prefix_space": "no", "special_tokens": {},
        "merges": [],
    },
    "no merges": {"type": "bpe", "version": 1, "pattern": "gpt2", "special_tokens": {}},
    "a merge of what does not exist": {
        "type": "bpe", "version": 1, "pattern": "gpt2", "special_tokens": {}, "merges": [[97, 300]],
    },
    "a merge that makes an old token": {
        "type": "bpe", "version": 1, "pattern": "gpt2", "special_tokens": {}, "merges": [[97, 98], [97, 98]],
    },
    "a special on a taken id": {
        "type": "bpe", "version": 1, "pattern": "gpt2", "special_tokens": {"<|x|>": 97}, "merges": [],
    },
    "a pattern that is none": {
        "type": "bpe", "version": 1, "pattern": "(", "special_tokens": {}, "merges": [],
    },
    "merges that are text": {
        "type": "bpe", "version": 1, "pattern": "gpt2", "special_tokens": {}, "merges": ["a b"],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_tokenizer_file_is_a_clear_error(kind, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(FOREIGN[kind]))
    with pytest.raises(ValueError, match=r"foreign\.json") as error:
        load_tokenizer(path)
    assert "\n" not in str(error.value)


# --- LT6 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["byte", "bpe-gpt2"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=30))
def test_streamed_text_is_the_decoded_text(name, text):
    tokenizer = TOKENIZERS[name]()
    check_stream(tokenizer, tokenizer.encode_ordinary(text))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=24))
def test_streamed_bytes_that_are_no_text_are_the_decoded_ones(data):
    check_stream(ByteTokenizer(), list(data), valid=False)


def test_every_split_of_the_bytes_streams_the_same_text():
    """Tokens of one, two and three bytes: all ways of cutting an emoji, a CJK sign and an accent."""
    text = "é東😀\u0301"
    data = text.encode()
    for cuts in range(2 ** (len(data) - 1)):
        edges = [0, *(i + 1 for i in range(len(data) - 1) if cuts >> i & 1), len(data)]
        pieces = [data[a:b] for a, b in pairwise(edges)]
        check_stream(_Pieces(pieces), list(range(len(pieces))))


class _Pieces:
    """A vocabulary made of given byte strings, to cut characters wherever a test likes."""

    def __init__(self, pieces):
        self.pieces = pieces

    def token_bytes(self, token_id):
        return self.pieces[token_id]

    def decode(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", errors="replace")


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(alphabet="abé😀", max_size=14),
    stop=st.lists(st.text(alphabet="abé😀", min_size=1, max_size=4), min_size=1, max_size=3),
    data=st.data(),
)
def test_stop_strings_end_the_text_wherever_the_tokens_are_cut(text, stop, data):
    raw = text.encode()
    cuts = data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)))) if len(raw) > 1 else set()
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(edges)]
    check_stop(_Pieces(pieces), list(range(len(pieces))), stop)


# --- LT7 ------------------------------------------------------------------------------------------


@each_tokenizer
@pytest.mark.parametrize("character", ["a", " ", "\n", "é", "😀", "0", "!", "\r\n", "\u3000", "'", "A"])
def test_a_hundred_thousand_equal_characters_take_under_a_second(name, character):
    tokenizer = TOKENIZERS[name]()
    check_no_cliff(tokenizer, character * 100_000)


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name.startswith("bpe")])
def test_long_runs_before_a_word_take_under_a_second(name):
    for text in (" " * 100_000 + "a", "\n" * 100_000 + "a", "ab" * 50_000, " a" * 50_000, "a'" * 50_000):
        check_no_cliff(TOKENIZERS[name](), text)


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_published_vocabularies_have_no_cliff_either(name, shared_data):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    for text in ("a" * 100_000, " " * 100_000, "\n" * 100_000, "^" * 100_000, "0" * 100_000, "的" * 33_000):
        check_no_cliff(tokenizer, text)


# --- what the laws rest on ------------------------------------------------------------------------


def test_ids_are_bytes_then_merges_then_specials():
    tokenizer = trained()
    assert [tokenizer.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert tokenizer.vocab_size == 400 and len(tokenizer.merges) == 400 - 256 - len(SPECIALS)
    assert list(tokenizer.special_tokens.values()) == list(range(396, 400))
    assert isinstance(tokenizer, BPETokenizer)
