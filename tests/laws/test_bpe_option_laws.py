"""LT2, LT5 for every option: digits, prefix space, least frequency, tie-breaks, workers, batches, found specials."""

import itertools
import json
import random

import pytest
from bpe_option_checks import (
    NUMBERS,
    check_batch,
    check_counting,
    check_digits_stand_alone,
    check_found_specials,
    check_ids,
    check_rustbpe,
    check_same_hash_means_same_ids,
    check_training,
    texts_full_of_ties,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_checks import CORPUS, PUBLISHED, SPECIALS, check_round_trip, fuzz_strings, trained

from utils.errors import UserError
from working_with_text_data import pretokens, train_bpe, train_bpe_readable, worker_pool
from working_with_text_data.bpe import encode_readable, train_on_bytes, train_on_words
from working_with_text_data.patterns import WHOLE_TEXT, splitter
from working_with_text_data.pretokens import count_pretokens, read_blocks
from working_with_text_data.special_tokens import find_special_tokens

both = pytest.mark.parametrize("train", [train_bpe, train_bpe_readable], ids=["fast", "readable"])
CUTS = [{"split_digits": d, "prefix_space": p} for d in (False, 1, 2, 3) for p in (False, True)]
each_cut = pytest.mark.parametrize(
    "cut", CUTS, ids=lambda c: f"digits-{int(c['split_digits'])}-{c['prefix_space']}"
)
TEXTS = [*CORPUS, NUMBERS * 2, "no space", " a space", "\nnewline", "", "x<|user|>12<|user|> 3<|a.b*|>y"]
NAMED = ("<|user|>", "<|a.b*|>")
messy = st.lists(
    st.text(alphabet="ab1 \n", max_size=25)
    | st.text(alphabet="aab12½٣ <|>", max_size=25)
    | st.text(max_size=15),
    max_size=4,
)


# --- training ---------------------------------------------------------------------------------------


@both
@each_cut
@pytest.mark.parametrize("tie_break", ["bytes", "first_seen", "smallest_ids"])
def test_every_option_learns_what_a_naive_trainer_learns(train, cut, tie_break):
    tokenizer = check_training(train, TEXTS, 320, NAMED, tie_break, min_frequency=2, **cut)
    for text in [*TEXTS, *fuzz_strings(40, seed=11)]:
        check_ids(tokenizer, text, **cut)


@both
@settings(max_examples=60, deadline=None)
@given(
    texts=messy,
    extra=st.integers(0, 40),
    tie_break=st.sampled_from(["bytes", "first_seen", "smallest_ids"]),
    min_frequency=st.integers(1, 4),
    split_digits=st.integers(0, 3),
    prefix_space=st.booleans(),
)
def test_random_texts_under_random_options(
    train, texts, extra, tie_break, min_frequency, split_digits, prefix_space
):
    cut = {"split_digits": split_digits or False, "prefix_space": prefix_space}
    tokenizer = check_training(train, texts, 256 + extra, (), tie_break, min_frequency, **cut)
    for text in texts:
        check_ids(tokenizer, text, **cut)
        assert encode_readable(text, tokenizer) == tokenizer.encode_ordinary(text)


@both
@pytest.mark.parametrize("seed", range(6))
def test_first_seen_is_the_order_of_the_text_among_many_ties(train, seed):
    check_training(train, texts_full_of_ties(seed), 420, (), "first_seen")
    rng = random.Random(seed)  # words of two letters overlap with themselves: aaaa, abab
    text = " ".join("".join(rng.choice("ab") for _ in range(rng.randrange(1, 12))) for _ in range(120))
    check_training(train, [text], 380, (), "first_seen")


@both
@pytest.mark.parametrize("least", [1, 2, 3, 5, 1000])
def test_a_pair_seen_exactly_min_frequency_times_is_merged(train, least):
    check_training(train, ["ab " * 5, "cd " * 3, "ef " * 2, "gh"], 300, min_frequency=least)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
@each_cut
@pytest.mark.parametrize("tie_break", ["bytes", "first_seen"])
def test_fast_and_readable_agree_for_every_pattern_and_option(pattern, cut, tie_break):
    texts = [*TEXTS, *fuzz_strings(30, seed=3)]
    arguments = (340, pattern, NAMED, tie_break)
    fast = train_bpe(texts, *arguments, min_frequency=2, **cut)
    readable = train_bpe_readable(texts, *arguments, min_frequency=2, **cut)
    assert fast.merges == readable.merges
    assert fast.training["stopped"] == readable.training["stopped"]
    for text in [*TEXTS, *fuzz_strings(40, seed=4)]:
        assert fast.encode_ordinary(text) == encode_readable(text, readable), f"other ids for {text!r}"


def test_the_three_rungs_are_one_ladder():
    text = "".join(CORPUS)
    first = train_on_bytes(text, 300)
    assert first.merges == train_bpe(text, 300, pattern=WHOLE_TEXT).merges
    assert any(b" " in first.token_bytes(i)[1:] for i in range(256, 300)), "bytes alone merge across words"
    assert train_on_words(text, 300).merges == train_bpe(text, 300).merges
    check_round_trip(first, "a new text\n\n with 東京")


# --- cutting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_no_token_holds_a_digit_beside_anything_else(pattern, most):
    tokenizer = train_bpe([NUMBERS * 5, *CORPUS], 500, pattern=pattern, split_digits=most)
    for text in [NUMBERS, *fuzz_strings(300, seed=5)]:
        check_digits_stand_alone(tokenizer, text, most)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_quick_ascii_pattern_equals_the_exact_one_with_digits_too(pattern, most):
    import regex

    cut = splitter(pattern, digits=most)
    exact = regex.compile(cut.pattern).findall
    rng = random.Random(most)
    for _ in range(1500):
        text = "".join(rng.choice("abZ0123456789 '  \n\r\t\x1c!,./sStTlL") for _ in range(14))
        assert cut.findall(text) == exact(text), f"{text!r}"


@pytest.mark.parametrize("most", [1, 3])
def test_split_digits_is_one_expression_that_tiktoken_reads_alike(most):
    """The published GPT-2 pattern with its numbers rewritten by hand, inside another engine."""
    import tiktoken

    tokenizer = train_bpe([NUMBERS * 5, *CORPUS], 420, split_digits=most)
    by_hand = PUBLISHED["gpt2"].replace(r"| ?[\p{N}]+|", rf"|\p{{N}}{{1,{most}}}|")
    assert by_hand != PUBLISHED["gpt2"]
    peer = tiktoken.Encoding("law", pat_str=by_hand, mergeable_ranks=tokenizer.ranks, special_tokens={})
    for text in [NUMBERS, *fuzz_strings(2000, seed=6)]:
        assert tokenizer.encode_ordinary(text) == peer.encode_ordinary(text), f"{text!r}"


def test_prefix_space_is_that_of_hugging_faces_byte_level():
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `hf` is not installed")
    peer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    cut = splitter("gpt2", prefix_space=True)
    for text in [*CORPUS, "", " ", "  a", "\na", "a", *fuzz_strings(500, seed=12)]:
        if text:
            pieces = [piece for piece, _ in peer.pre_tokenize_str(text)]
            lengths = [len(piece.encode()) for piece in cut.findall(cut.prefixed(text))]
            assert lengths == [len(piece) for piece in pieces], f"{text!r}: {pieces}"  # a sign for each byte


def test_a_first_word_with_prefix_space_is_the_word_in_a_sentence():
    tokenizer = trained(prefix_space=True)
    assert tokenizer.encode("the cat") == tokenizer.encode(" the cat")
    assert tokenizer.decode(tokenizer.encode("the cat")) == " the cat"
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    marked = tokenizer.encode("<|user|>the<|user|>\nthe", allowed_special="all")
    assert tokenizer.decode(marked) == "<|user|> the<|user|> \nthe", "each piece between specials is a text"


# --- counting ---------------------------------------------------------------------------------------


@each_cut
@pytest.mark.parametrize("seed", range(3))
def test_words_are_counted_in_the_order_in_which_the_text_shows_them(cut, seed):
    """Tidy and untidy blocks in turn: they are counted by different means."""
    rng = random.Random(seed)
    parts = [
        "one two three 12\n",
        "a  b\t\tc 99",
        "\n\n\nz  y ",
        *CORPUS,
        *fuzz_strings(30, seed=seed),
        *TEXTS,
    ]
    texts = [rng.choice(parts) * rng.choice([1, 1, 3000]) for _ in range(30)]
    check_counting(count_pretokens, texts, NAMED, **cut)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_worker_processes_change_nothing(monkeypatch, pattern):
    monkeypatch.setattr(pretokens, "BATCH_CHARS", 300)  # many small shares of the work
    texts = [*TEXTS, *fuzz_strings(100, seed=13), "word other " * 200]
    options = {"split_digits": 2, "prefix_space": True}
    alone = count_pretokens(texts, pattern, NAMED, **options)
    shared = count_pretokens(texts, pattern, NAMED, workers=2, **options)
    assert list(shared.items()) == list(alone.items()), "counts, and the order of first appearance"
    arguments = (330, pattern, NAMED, "first_seen")
    assert (
        train_bpe(texts, *arguments, workers=2, **options).to_dict()
        == train_bpe(texts, *arguments, **options).to_dict()
    )


@each_cut
@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_the_read_chunk_size_does_not_matter_under_options(tmp_path, cut, chunk):
    text = "\n".join([*TEXTS, *fuzz_strings(60, seed=5), "<|user|>x  y!\n\n z\nnew line\n\nand one"])
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode())
    blocks = read_blocks(path, "gpt2", NAMED, chunk, prefix_space=cut["prefix_space"])
    counted = count_pretokens(blocks, special_tokens=NAMED, **cut)
    assert counted == count_pretokens(text, special_tokens=NAMED, **cut), "a block was taken for a text"


# --- ties as rustbpe breaks them ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_smallest_ids_learns_the_merges_of_rustbpe(seed):
    check_rustbpe(train_bpe, texts_full_of_ties(seed, 60), 600, PUBLISHED["gpt2"])
    check_rustbpe(train_bpe, [*CORPUS, *fuzz_strings(80, seed=seed)], 500, PUBLISHED["gpt2"])


@both
def test_both_trainers_learn_the_merges_of_rustbpe(train):
    check_rustbpe(train, texts_full_of_ties(1), 380, PUBLISHED["gpt2"])


def test_smallest_ids_learns_the_merges_of_rustbpe_on_storyland():
    from working_with_text_data import load_documents

    texts = [document.text for document in load_documents("storyland", n_bytes=300_000)]
    check_rustbpe(train_bpe, texts, 2500, PUBLISHED["gpt2"])


def test_smallest_ids_learns_the_merges_of_rustbpe_on_a_real_book(shared_data):
    text = (shared_data / "text" / "the-verdict.txt").read_text(encoding="utf-8")
    check_rustbpe(train_bpe, [text], 2000, PUBLISHED["gpt2"])
    text = (shared_data / "cs336_fixtures" / "corpus.en").read_bytes().decode()
    check_rustbpe(train_bpe, [text], 3000, PUBLISHED["gpt2"])


# --- identity, batches, found specials ----------------------------------------------------------------


def test_every_option_is_part_of_the_hash():
    tokenizers = {
        f"{pattern} {cut}": train_bpe(["a"], 256, pattern=pattern, **cut)  # no merges: only the cut differs
        for pattern, cut in itertools.product(["gpt2", "cl100k"], CUTS)
    }
    tokenizers |= {f"merged {cut}": trained(**cut) for cut in CUTS}
    check_same_hash_means_same_ids(tokenizers, [NUMBERS, "the cat 1984", " the", "the"])


def test_a_file_bears_the_lowest_version_that_can_read_it(tmp_path):
    from working_with_text_data import BPETokenizer

    assert trained().to_dict()["version"] == 1, "a plain tokenizer keeps its file and its hash"
    for cut in CUTS[1:]:
        assert trained(**cut).to_dict()["version"] == 2, "an older program must refuse what it would overlook"
    old = {
        "type": "bpe",
        "version": 1,
        "pattern": "gpt2",
        "special_tokens": {"<|x|>": 257},
        "merges": [[97, 98]],
    }
    (tmp_path / "old.json").write_text(json.dumps(old))
    tokenizer = BPETokenizer.load(tmp_path / "old.json")
    assert tokenizer.encode("abc<|x|>", "all") == [256, 99, 257] and tokenizer.splitter.options == {}


@pytest.mark.parametrize("options", [{}, {"split_digits": 1, "prefix_space": True}], ids=["plain", "options"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_its_texts_one_by_one(monkeypatch, options, workers):
    monkeypatch.setattr(worker_pool, "BATCH_CHARS", 50)  # many small shares of the work
    tokenizer = trained(**options)
    texts = [*CORPUS, "", "<|user|>hi<|assistant|>", *fuzz_strings(60, seed=14), "long " * 300]
    check_batch(tokenizer, texts, workers)
    assert tokenizer.encode_batch(iter(texts), "all", workers=workers) == tokenizer.encode_batch(texts, "all")
    with pytest.raises(UserError, match="user"):
        tokenizer.encode_batch(["fine", "<|user|>"], workers=workers)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="<|ab>[.*] ", max_size=60), max_size=4))
def test_specials_are_found_as_re_finds_them(texts):
    texts.append("plain text " * 60)
    for form in (r"<\|[ab]+\|>", r"\[[ab.*]+\]"):
        check_found_specials(find_special_tokens, texts, form)


def test_found_specials_are_matched_letter_by_letter_whatever_signs_they_hold():
    texts = [("[A+] some words (.*)+ more [A+] aaa" + " and on" * 20)] * 3
    found = find_special_tokens(texts, r"\[[A-Z]\+\]|\(\.\*\)\+")
    assert found == ["[A+]", "(.*)+"]
    for train in (train_bpe, train_bpe_readable):
        tokenizer = check_training(train, texts, 290, found)
        assert tokenizer.encode("[A+](.*)+", "all") == list(tokenizer.special_tokens.values())
    assert set(SPECIALS).isdisjoint(found)
