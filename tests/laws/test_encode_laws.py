"""LT2, LT3 inside the fast encoder and trainer: words end where patterns cut, no cache or short cut changes an id."""

import pytest
from encode_checks import (
    NAMES,
    check_a_piece_alone_is_one_piece,
    check_caches_are_bounded,
    check_cold_is_warm,
    check_words_are_runs_of_pieces,
    hard_texts,
    published,
    white_strings,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import CORPUS, check_equals_tiktoken, check_same_merges, trained

from working_with_text_data import coarse_words as coarse_module
from working_with_text_data import fast_bpe, train_bpe_readable
from working_with_text_data.fast_encode import FastEncoder
from working_with_text_data.patterns import splitter
from working_with_text_data.tiktoken_adapter import to_tiktoken

every_pattern = pytest.mark.parametrize("name", NAMES)
white_text = st.text(alphabet="ab1!/'\u00e9 \n\r\t\u00a0\u3000\x1c\x00", max_size=30)


@every_pattern
def test_coarse_words_end_only_where_the_published_pattern_cuts(name):
    for text in hard_texts(8_000, seed=21):
        check_words_are_runs_of_pieces(name, text)


@every_pattern
@settings(max_examples=300, deadline=None)
@given(text=white_text)
def test_coarse_words_end_only_where_the_pattern_cuts_whatever_the_white_space(name, text):
    check_words_are_runs_of_pieces(name, text)


@every_pattern
@pytest.mark.parametrize("digits", [None, 1, 2])
def test_a_piece_alone_is_one_piece(name, digits):
    for text in hard_texts(2_000, seed=23):
        check_a_piece_alone_is_one_piece(splitter(name, digits=digits).findall, text)
        if digits is None:
            check_a_piece_alone_is_one_piece(published(name), text)


@pytest.mark.parametrize("pattern", [*NAMES, r"\S+|\s+"])
def test_the_first_sight_of_a_text_gives_the_ids_of_the_second(pattern):
    for text in [*CORPUS, *hard_texts(300, seed=25)]:
        check_cold_is_warm(trained(pattern), text)


@every_pattern
def test_hard_white_space_gives_the_ids_of_tiktoken(name):
    tokenizer = trained(name, 500)
    check_equals_tiktoken(tokenizer, to_tiktoken(tokenizer), white_strings(20_000, seed=27))


@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize("pattern", [*NAMES, r"\S+|\s+"])
def test_caches_hold_no_more_than_they_may(pattern, limit):
    texts = [*CORPUS, *hard_texts(150, seed=29)]
    check_caches_are_bounded(trained(pattern).ranks, splitter(pattern), texts, limit)


@pytest.mark.parametrize("few", [0, 1, 3, 10**9])
def test_pairs_with_few_places_are_merged_like_those_with_many(monkeypatch, few):
    monkeypatch.setattr(fast_bpe, "FEW_PLACES", few)
    texts = [*CORPUS, *hard_texts(60, seed=33)]
    for tie_break in ("bytes", "smallest_ids", "first_seen"):
        fast = fast_bpe.train_bpe(texts, 450, tie_break=tie_break)
        assert fast.merges == train_bpe_readable(texts, 450, tie_break=tie_break).merges
    check_same_merges(fast_bpe.train_bpe, CORPUS * 2, 330)


def test_every_white_space_of_unicode_is_known():
    import regex

    found = set(regex.findall(r"\s", "".join(map(chr, range(0x3100)))))
    assert found == set(coarse_module.SPACES + coarse_module.LINE_ENDS)
    assert not found & set(coarse_module.MARKS)


def test_a_script_without_spaces_is_cut_into_pieces_at_once():
    text = "東京都は日本の首都であり、" * 2_000
    assert coarse_module.coarse_words(text, "gpt2") is None
    check_cold_is_warm(trained(), text)
    encoder = FastEncoder(trained().ranks, splitter("gpt2"))
    encoder.encode(text)
    assert not encoder._words, "sentences that never come again fill the cache of words"


def test_a_block_that_holds_every_mark_is_encoded_all_the_same():
    check_cold_is_warm(trained(), "".join(coarse_module.MARKS) + " the cat")


def test_packed_ids_are_the_ids():
    from array import array

    encoder = FastEncoder(trained().ranks, splitter("gpt2"))
    for text in ("", *CORPUS):
        assert array("I", encoder.encode_packed(text)).tolist() == encoder.encode(text)
