"""LT2: the fast trainer and encoder do what a naive one does, whatever order or size the text comes in."""

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import (
    CORPUS,
    bytes_of_printable,
    check_same_ids_as_naive,
    check_same_merges,
    fuzz_strings,
    merges_as_bytes,
    trained,
)

from working_with_text_data import (
    tokenizer_hash,
    train_bpe,
    train_bpe_readable,
)
from working_with_text_data.bpe import encode_readable
from working_with_text_data.patterns import splitter
from working_with_text_data.pretokens import count_pretokens, read_blocks

any_text = st.text(max_size=60) | st.text(alphabet="ab \n\r\t'🙂\u0301\x00e\ufffd", max_size=40)


# --- the merges -----------------------------------------------------------------------------------

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
    spelled = bytes_of_printable()
    expected = [tuple(bytes(spelled[c] for c in part) for part in line.split(" ")) for line in lines]
    tokenizer = train_bpe(text, 500, special_tokens=["<|endoftext|>"])
    assert tokenizer.vocab_size == 500 and len(expected) == 243
    assert merges_as_bytes(tokenizer) == expected
