"""LT1–LT7: text goes through the tokenizers unharmed, the same way as in the industry's own encoders."""

import hashlib
import json
import os
import random
import subprocess
import sys
from array import array
from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import (
    check_bytes_round_trip,
    check_equals_tiktoken,
    check_longest_special_first,
    check_no_cliff,
    check_no_injection,
    check_round_trip,
    check_same_ids_as_naive,
    check_same_merges,
    check_save_load,
    check_stop,
    check_stream,
    fuzz_strings,
    merges_as_bytes,
)

from working_with_text_data import (
    BPETokenizer,
    ByteTokenizer,
    load_tokenizer,
    tokenizer_hash,
    train_bpe,
    train_bpe_readable,
)
from working_with_text_data.bpe import encode_readable
from working_with_text_data.patterns import splitter
from working_with_text_data.pretokens import count_pretokens, read_blocks
from working_with_text_data.tiktoken_ranks import ENCODINGS, load_tiktoken, to_tiktoken

CORPUS = [
    "The cat sat on the mat. The dog sat on the log; the frog didn't.",
    "aaaa aaaaa abab ababab aabb aaabbb banana bananas\n\n  indented\tby hand\r\n1,024 2048 4096!!",
    "Ünïcödé wörds, naïve café, 東京 東京都, 😀😀 👩‍💻, привет мир, привет всем",
    "low lower lowest new newer newest wide wider widest " * 3,
]
SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")
AWKWARD_SPECIALS = ["<|a b|>", "line\nbreak", "(.*)+[", "\\d$", "<|x|>", "<|x|><|y|>", "東京"]


@lru_cache
def trained(pattern="gpt2", vocab_size=400, specials=SPECIALS):
    return train_bpe(CORPUS, vocab_size, pattern=pattern, special_tokens=specials)


TOKENIZERS = {
    "byte": ByteTokenizer,
    "bpe-gpt2": lambda: trained("gpt2"),
    "bpe-cl100k": lambda: trained("cl100k"),
    "bpe-o200k": lambda: trained("o200k"),
    "bpe-no-merges": lambda: trained("gpt2", 256 + len(SPECIALS)),
    "bpe-own-pattern": lambda: trained(r"\p{L}+|\d+", 300),
}
each_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
any_text = st.text(max_size=60) | st.text(alphabet="ab \n\r\t'🙂\u0301\x00e\ufffd", max_size=40)


# --- LT1 ----------------------------------------------------------------------------------------


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
    assert tokenizer.decode(tokenizer.encode_ordinary("a\ud800b")) == "a\ufffdb"


# --- LT2 ----------------------------------------------------------------------------------------

texts_with_overlaps = st.lists(
    st.text(alphabet="ab", max_size=30) | st.text(alphabet="aab \n", max_size=40) | st.text(max_size=20),
    max_size=4,
)


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable], ids=["fast", "readable"])
@settings(max_examples=60, deadline=None)
@given(texts=texts_with_overlaps, extra=st.integers(0, 40))
def test_the_merges_are_those_of_a_naive_trainer(train, texts, extra):
    texts = [text.replace("\ue000", "") for text in texts]
    check_same_merges(train, texts, 256 + extra)


@pytest.mark.parametrize("train", [train_bpe, train_bpe_readable], ids=["fast", "readable"])
def test_the_merges_on_real_words_are_those_of_a_naive_trainer(train):
    texts = [text + "<|endoftext|>" + text[::-1] for text in CORPUS]
    check_same_merges(train, texts, 330, special_tokens=("<|endoftext|>",))


@pytest.mark.parametrize("tie_break", ["bytes", "smallest_ids", "huggingface"])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\S+|\s+"])
def test_fast_and_readable_learn_the_same_merges(pattern, tie_break):
    texts = [*CORPUS, *fuzz_strings(60, seed=3)]
    fast = train_bpe(texts, 420, pattern=pattern, tie_break=tie_break)
    readable = train_bpe_readable(texts, 420, pattern=pattern, tie_break=tie_break)
    assert fast.merges == readable.merges
    assert tokenizer_hash(fast) == tokenizer_hash(readable)
    for text in [*CORPUS, *fuzz_strings(100, seed=4)]:
        assert fast.encode_ordinary(text) == encode_readable(text, readable), f"other ids for {text!r}"


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="ab", max_size=300) | any_text)
def test_the_ids_are_those_of_applying_the_merges_in_order(text):
    check_same_ids_as_naive(trained(), text)


def test_a_long_piece_and_a_short_one_are_merged_alike():
    rng = random.Random(1)
    tokenizer = trained()
    for length in (100, 127, 128, 129, 130, 400, 1000):
        for alphabet in ("a", "ab", "thecat", "lowernwidst"):
            check_same_ids_as_naive(tokenizer, "".join(rng.choice(alphabet) for _ in range(length)))


def test_the_order_of_the_documents_does_not_matter():
    merges = train_bpe(CORPUS, 400).merges
    for seed in range(5):
        shuffled = random.Random(seed).sample(CORPUS, len(CORPUS))
        assert train_bpe(shuffled, 400).merges == merges


def test_the_hash_seed_does_not_matter():
    code = (
        "from working_with_text_data import train_bpe\n"
        "print(train_bpe(['abcd bcda cdab dabc abdc', 'one two three four five six'], 300).merges)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1, "the merges depend on the order of a set or dict"


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\S+|\s+"])
@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_the_read_chunk_size_does_not_matter(tmp_path, pattern, chunk):
    text = "\n".join([*CORPUS, *fuzz_strings(150, seed=5), "<|end|>x<|a b|>  y!\n\n z"])
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode())
    for specials in ((), ("<|end|>",), ("<|end|>", "<|a b|>")):
        counts = count_pretokens(read_blocks(path, pattern, specials, chunk), pattern, specials)
        assert counts == count_pretokens(text, pattern, specials), (
            f"{specials}: a block was cut inside a piece"
        )


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_cutting_a_text_into_blocks_never_cuts_a_piece(pattern):
    cut = splitter(pattern)
    for seed in range(40):
        text = "".join(fuzz_strings(30, seed=seed))
        for size in (1, 7, 50):
            pieces = [piece for block in cut.blocks(text, size) for piece in cut.findall(block)]
            assert pieces == cut.findall(text)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_the_quick_ascii_pattern_equals_the_exact_one(pattern):
    import regex

    cut = splitter(pattern)
    exact = regex.compile(cut.pattern).findall
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(
            rng.choice("abzAZ019 '  \n\n\r\t\x0b\x0c\x1c\x1f\x00!,./_-sStTlLrReEdDmMvV") for _ in range(12)
        )
        assert cut.findall(text) == exact(text), f"{text!r}"


def test_the_reference_training_gives_exactly_its_merges(shared_data):
    folder = shared_data / "cs336_fixtures"
    text = (folder / "corpus.en").read_bytes().decode()
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").splitlines()
    spelled = _bytes_of_printable()
    expected = [tuple(bytes(spelled[c] for c in part) for part in line.split(" ")) for line in lines]
    tokenizer = train_bpe(text, 500, special_tokens=["<|endoftext|>"])
    assert tokenizer.vocab_size == 500 and len(expected) == 243
    assert merges_as_bytes(tokenizer) == expected


def _bytes_of_printable():
    """GPT-2's spelling of bytes as printable characters (its encoder.py), written out once more."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


# --- LT3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_our_ranks_give_the_same_ids_inside_tiktoken(pattern):
    """Needs no data: a vocabulary trained here runs in tiktoken's own engine, split pattern and all."""
    tokenizer = train_bpe(
        [*CORPUS, *fuzz_strings(200, seed=6)], 900, pattern=pattern, special_tokens=SPECIALS
    )
    encoding = _tiktoken_with_published_pattern(tokenizer, pattern)
    check_equals_tiktoken(tokenizer, encoding, fuzz_strings(20_000, seed=7))
    exported = to_tiktoken(tokenizer)
    for text in CORPUS:
        assert exported.encode(text + "<|user|>", allowed_special="all") == tokenizer.encode(
            text + "<|user|>", "all"
        )


def _tiktoken_with_published_pattern(tokenizer, pattern):
    """The split pattern is taken from tiktoken itself, so that a mistake in ours cannot agree with itself."""
    import tiktoken
    from tiktoken_ext import openai_public

    if pattern == "gpt2":
        published = openai_public.r50k_pat_str
    else:
        published = _pattern_of(openai_public, f"{pattern}_base")
    return tiktoken.Encoding(
        "law", pat_str=published, mergeable_ranks=tokenizer.ranks, special_tokens=tokenizer.special_tokens
    )


def _pattern_of(openai_public, name):
    """tiktoken builds an encoding's pattern inside a function that downloads ranks; give it none."""
    from unittest.mock import patch

    with patch.object(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: {}):
        return getattr(openai_public, name)()["pat_str"]


@pytest.fixture(scope="session")
def real_encodings(shared_data, tmp_path_factory):
    """tiktoken's own encodings, offline: its cache is a folder of files named sha1(URL)."""
    import tiktoken

    cache = tmp_path_factory.mktemp("tiktoken")
    base = "https://openaipublic.blob.core.windows.net/"
    folder = shared_data / "tokenizers"
    for url, file in {
        f"{base}gpt-2/encodings/main/vocab.bpe": folder / "gpt2" / "vocab.bpe",
        f"{base}gpt-2/encodings/main/encoder.json": folder / "gpt2" / "encoder.json",
        f"{base}encodings/cl100k_base.tiktoken": folder / "cl100k_base.tiktoken",
        f"{base}encodings/o200k_base.tiktoken": folder / "o200k_base.tiktoken",
    }.items():
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return {name: tiktoken.get_encoding(name) for name in ENCODINGS}


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_equal_the_real_tiktoken(name, shared_data, real_encodings):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    check_equals_tiktoken(tokenizer, real_encodings[name], fuzz_strings(20_000, seed=8))
    assert tokenizer.special_tokens.keys() == real_encodings[name].special_tokens_set
    assert tokenizer.vocab_size == real_encodings[name].n_vocab
    text = "a<|endoftext|> b"
    assert tokenizer.encode(text, "all") == real_encodings[name].encode(text, allowed_special="all")


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_equal_the_golden_file(name, shared_data):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    golden = json.loads((shared_data / "tokenizers" / "golden_tokens.json").read_text(encoding="utf-8"))
    for case in golden["edge"] + golden["udhr"]:
        ordinary = tokenizer.encode_ordinary(case["text"])
        special = tokenizer.encode(case["text"], allowed_special="all")
        assert case[name] in (ordinary, special), f"{case['text']!r}"
    for case in golden["files"]:
        text = (shared_data / case["file"]).read_bytes().decode()
        ids = tokenizer.encode_ordinary(text)
        assert len(ids) == case[name]["n_tokens"] and ids[:20] == case[name]["first20"], case["file"]
        digest = hashlib.sha256(array("I", ids).tobytes()).hexdigest()
        assert digest == case[name]["sha256_u32le"], f"{case['file']}: some id differs"


def test_hugging_face_learns_the_same_merges_under_its_tie_break():
    """Its rule: smallest ids first, with the bytes numbered in GPT-2's order."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    from tokenizers import models, pre_tokenizers, trainers

    texts = [*CORPUS, "".join(f"{n} times {n + 1} is {n * (n + 1)}. " for n in range(200))]
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    spelled = _bytes_of_printable()
    expected = [
        tuple(
            bytes(spelled[c] for c in part) for part in (pair if isinstance(pair, list) else pair.split(" "))
        )
        for pair in json.loads(peer.to_str())["model"]["merges"]
    ]
    ours = train_bpe(texts, 600, tie_break="huggingface")
    assert merges_as_bytes(ours) == expected


# --- LT4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["byte", "bpe-gpt2", "bpe-cl100k", "bpe-o200k"])
@settings(max_examples=50, deadline=None)
@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_typed_special_tokens_are_never_special(name, before, after):
    tokenizer = TOKENIZERS[name]()
    for special in tokenizer.special_tokens:
        check_no_injection(tokenizer, before, special, after)


@pytest.mark.parametrize("order", [1, -1])
def test_specials_with_spaces_newlines_and_regex_signs(order):
    specials = AWKWARD_SPECIALS[::order]
    for tokenizer in (ByteTokenizer(specials), train_bpe(CORPUS, 320, special_tokens=specials)):
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


# --- LT5 ----------------------------------------------------------------------------------------


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
    assert len(set(hashes.values())) == len(hashes)
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


# --- LT6 ----------------------------------------------------------------------------------------


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


# --- LT7 ----------------------------------------------------------------------------------------


@each_tokenizer
@pytest.mark.parametrize("character", ["a", " ", "\n", "é", "😀", "0", "!", "\r\n", "\u3000", "'", "A"])
def test_a_hundred_thousand_equal_characters_take_under_a_second(name, character):
    tokenizer = TOKENIZERS[name]()
    check_no_cliff(tokenizer, character * 100_000)


@pytest.mark.parametrize("name", ["bpe-gpt2", "bpe-cl100k", "bpe-o200k"])
def test_long_runs_before_a_word_take_under_a_second(name):
    for text in (" " * 100_000 + "a", "\n" * 100_000 + "a", "ab" * 50_000, " a" * 50_000, "a'" * 50_000):
        check_no_cliff(TOKENIZERS[name](), text)


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_published_vocabularies_have_no_cliff_either(name, shared_data):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    for text in ("a" * 100_000, " " * 100_000, "\n" * 100_000, "^" * 100_000, "0" * 100_000, "的" * 33_000):
        check_no_cliff(tokenizer, text)


# --- what the laws rest on --------------------------------------------------------------------------


def test_ids_are_bytes_then_merges_then_specials():
    tokenizer = trained()
    assert [tokenizer.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert tokenizer.vocab_size == 400 and len(tokenizer.merges) == 400 - 256 - len(SPECIALS)
    assert list(tokenizer.special_tokens.values()) == list(range(396, 400))
    assert isinstance(tokenizer, BPETokenizer)
