"""Classic bugs of BPE's options, put back on purpose: the laws of `test_bpe_option_laws` must notice each."""

import inspect
import textwrap

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
from tokenizer_checks import CORPUS, PUBLISHED, check_round_trip, check_save_load, fuzz_strings

from working_with_text_data import (
    BPETokenizer,
    bpe,
    bpe_tokenizer,
    fast_bpe,
    load_tokenizer,
    patterns,
    pretokens,
    special_tokens,
    tie_breaks,
    train_bpe,
    train_bpe_readable,
    worker_pool,
)
from working_with_text_data import tokenizer as tokenizer_module
from working_with_text_data.fast_encode import FastEncoder
from working_with_text_data.pretokens import count_pretokens, read_blocks
from working_with_text_data.special_tokens import find_special_tokens

both = pytest.mark.parametrize("train", [train_bpe, train_bpe_readable], ids=["fast", "readable"])
RARE = ["ab " * 5, "cd " * 3, "ef " * 2, "gh"]


def caught(check, *args, **kwargs):
    """The law notices: it fails, and says something."""
    with pytest.raises(AssertionError) as failure:
        check(*args, **kwargs)
    assert str(failure.value).strip()


def with_source(module, function, old, new):
    """`function` of `module` with one expression of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__name__} has changed: put the bug {new!r} where it belongs now"
    scope = dict(vars(module))
    exec("from __future__ import annotations\n" + source.replace(old, new), scope)
    return scope[function.__name__]


# --- min_frequency ------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", ["<= min_frequency", "< min_frequency - 1"])
def test_lt2_notices_min_frequency_off_by_one(monkeypatch, new):
    for train, module, function in (
        (train_bpe, fast_bpe, fast_bpe.learn_merges),
        (train_bpe_readable, bpe, bpe.merge_words),
    ):
        check_training(train, RARE, 300, min_frequency=3)
        broken = with_source(module, function, "< min_frequency", new)
        monkeypatch.setattr(module, function.__name__, broken)
        caught(check_training, train, RARE, 300, min_frequency=3)


def test_lt2_notices_a_wrong_reason_for_stopping(monkeypatch):
    monkeypatch.setattr(fast_bpe, "why_stopped", lambda tokenizer, words: "no_pairs")
    caught(check_training, train_bpe, RARE, 300, min_frequency=3)


# --- digits and prefix --------------------------------------------------------------------------------


@both
def test_lt2_notices_digits_that_the_trainer_ignores(monkeypatch, train):
    texts = [NUMBERS * 3, *CORPUS]
    check_training(train, texts, 320, split_digits=1)
    for module in (pretokens, bpe):
        monkeypatch.setattr(
            module,
            "splitter",
            lambda name, *, digits=None, prefix_space=False: patterns.splitter(
                name, prefix_space=prefix_space
            ),
        )
    caught(check_training, train, texts, 320, split_digits=1)


def test_lt2_notices_digits_that_the_encoder_ignores(monkeypatch):
    train = {"texts": [NUMBERS * 3, "1984 1984 1984"], "vocab_size": 300}
    merges = train_bpe(**train).merges  # learned with whole numbers, so that a whole number is a token
    tokenizer = BPETokenizer(merges, split_digits=1)
    check_ids(tokenizer, NUMBERS, split_digits=1)
    check_digits_stand_alone(tokenizer, NUMBERS, 1)
    monkeypatch.setattr(
        bpe_tokenizer, "FastEncoder", lambda ranks, cut: FastEncoder(ranks, patterns.splitter(cut.name))
    )
    tokenizer = BPETokenizer(merges, split_digits=1)
    caught(check_ids, tokenizer, NUMBERS, split_digits=1)
    caught(check_digits_stand_alone, tokenizer, NUMBERS, 1)


def test_lt2_notices_digits_that_only_ascii_text_splits(monkeypatch):
    numbers = dict(patterns._NUMBERS)
    numbers["gpt2"] = ("not there", numbers["gpt2"][1])
    monkeypatch.setattr(patterns, "_NUMBERS", numbers)
    cut = patterns.Splitter("gpt2", digits=1)
    monkeypatch.setattr(pretokens, "splitter", lambda *args, **kwargs: cut)
    caught(check_counting, count_pretokens, ["in 1984 – and ٣٤"], split_digits=1)


def test_lt1_notices_a_prefix_that_encoding_forgets(monkeypatch):
    tokenizer = train_bpe(CORPUS, 300, prefix_space=True)
    check_round_trip(tokenizer, "the cat")
    check_ids(tokenizer, "the cat", prefix_space=True)
    monkeypatch.setattr(patterns.Splitter, "prefixed", lambda self, text: text)
    caught(check_round_trip, tokenizer, "the cat")
    caught(check_ids, tokenizer, "the cat", prefix_space=True)


def test_lt1_notices_a_second_prefix_before_a_space(monkeypatch):
    tokenizer = train_bpe(CORPUS, 300, prefix_space=True)
    check_round_trip(tokenizer, " the cat")
    monkeypatch.setattr(patterns.Splitter, "prefixed", lambda self, text: " " + text if text else text)
    caught(check_round_trip, tokenizer, " the cat")


@pytest.mark.parametrize("lost", ["prefix_space", "split_digits"])
def test_lt5_notices_an_option_lost_on_saving(monkeypatch, tmp_path, lost):
    tokenizer = train_bpe([NUMBERS, *CORPUS], 300, split_digits=1, prefix_space=True)
    check_save_load(tokenizer, load_tokenizer, tmp_path / "t.json", ["the 1984"])
    merges = [tuple(b"19"), tuple(b" t")]
    pair = {"plain": BPETokenizer(merges), lost: BPETokenizer(merges, **{lost: True})}
    check_same_hash_means_same_ids(pair, ["1984", "the"])
    options = patterns.Splitter.options.fget
    monkeypatch.setattr(
        patterns.Splitter, "options", property(lambda s: {k: v for k, v in options(s).items() if k != lost})
    )
    caught(check_save_load, tokenizer, load_tokenizer, tmp_path / "t.json", ["the 1984"])
    caught(check_same_hash_means_same_ids, pair, ["1984", "the"])


def test_lt2_notices_a_block_that_is_taken_for_a_text(monkeypatch, tmp_path):
    text = "one\ntwo\nthree four\n" * 5
    (tmp_path / "t.txt").write_text(text)

    def count(texts, special_tokens=(), **cut):
        blocks = read_blocks(tmp_path / "t.txt", "gpt2", (), 5, prefix_space=cut["prefix_space"])
        return count_pretokens(blocks, **cut)

    check_counting(count, [text], prefix_space=True)
    broken = with_source(patterns, patterns.Splitter.safe_cut, "if not self.prefix_space:", "if True:")
    monkeypatch.setattr(patterns.Splitter, "safe_cut", broken)
    caught(check_counting, count, [text], prefix_space=True)


# --- order and ties -----------------------------------------------------------------------------------


def test_lt2_notices_counts_added_up_as_the_workers_finish(monkeypatch):
    texts = texts_full_of_ties(3)

    def count(texts, special_tokens=(), **cut):
        return count_pretokens(texts, special_tokens=special_tokens, workers=2, **cut)

    def train(texts, vocab_size, **options):
        return train_bpe(texts, vocab_size, workers=2, **options)

    monkeypatch.setattr(pretokens, "BATCH_CHARS", 100)
    monkeypatch.setattr(pretokens, "map_in_order", lambda f, items, workers: map(f, items))
    check_counting(count, texts)
    check_training(train, texts, 400, (), "first_seen")
    monkeypatch.setattr(pretokens, "map_in_order", lambda f, items, workers: reversed(list(map(f, items))))
    caught(check_counting, count, texts)
    caught(check_training, train, texts, 400, (), "first_seen")


def test_lt2_notices_words_that_are_not_counted_in_the_order_of_the_text(monkeypatch):
    texts = ["tidy words first\n", "then  untidy\tones", " and tidy again"]
    check_counting(count_pretokens, texts)
    broken = with_source(pretokens, pretokens._count, "words.items()", "sorted(words.items())")
    monkeypatch.setattr(pretokens, "_count", broken)
    caught(check_counting, count_pretokens, texts)


FIRST_SEEN_BUGS = {
    "the last word that holds the pair": ("min(i for i", "max(i for i"),
    "words that held it once": ("if pair in words[i]", "if True"),
    "the place is forgotten": ("return first, sum(", "return first, -sum("),
    "no order at all among words": ("return first,", "return 0,"),
}


@pytest.mark.parametrize("bug", FIRST_SEEN_BUGS)
def test_lt2_notices_a_wrong_first_seen(monkeypatch, bug):
    def all_seeds():
        for seed in range(6):
            check_training(train_bpe, texts_full_of_ties(seed), 420, (), "first_seen")

    all_seeds()
    broken = with_source(tie_breaks, tie_breaks.first_seen_key, *FIRST_SEEN_BUGS[bug])
    monkeypatch.setattr(fast_bpe, "first_seen_key", broken)
    with pytest.raises((AssertionError, ValueError)):  # a word that no longer holds the pair has no place
        all_seeds()


def test_lt2_notices_first_seen_by_id_instead_of_text(monkeypatch):
    """A trainer that goes through the pairs sorted gives the smallest ids, not those seen first."""
    texts = texts_full_of_ties(2)
    monkeypatch.setattr(bpe, "sort_key", lambda name, tokens: lambda a, b: (a, b))
    caught(check_training, train_bpe_readable, texts, 400, (), "first_seen")


RUSTBPE_BUGS = {
    "the largest ids first": lambda a, b: (-a, -b),
    "the right id before the left": lambda a, b: (b, a),
    "only the left id": lambda a, b: (a, -b),
}


@pytest.mark.parametrize("bug", RUSTBPE_BUGS)
@both
def test_lt3_notices_ties_that_are_not_those_of_rustbpe(monkeypatch, bug, train):
    texts = texts_full_of_ties(1)
    check_rustbpe(train, texts, 380, PUBLISHED["gpt2"])
    wrong = RUSTBPE_BUGS[bug]
    monkeypatch.setattr(bpe, "sort_key", lambda name, tokens: wrong)
    monkeypatch.setattr(fast_bpe, "sort_text", lambda name, tokens: lambda pair: in_order(*map(ord, pair)))

    def in_order(a, b):
        return "".join(chr(100_000 + number) for number in wrong(a, b))

    caught(check_rustbpe, train, texts, 380, PUBLISHED["gpt2"])


# --- batches and found specials -----------------------------------------------------------------------


def test_lt2_notices_a_batch_out_of_order(monkeypatch):
    tokenizer = train_bpe(CORPUS, 300)
    texts = [*CORPUS, *fuzz_strings(20)]
    monkeypatch.setattr(worker_pool, "BATCH_CHARS", 50)

    def here(f, items, workers, *, setup, setup_args):
        setup(*setup_args)
        return reversed(list(map(f, items)))

    monkeypatch.setattr(worker_pool, "map_in_order", here)
    caught(check_batch, tokenizer, texts, 2)


def test_lt4_notices_found_specials_read_as_regular_expressions(monkeypatch):
    texts = ["a+b aab aab ab <|x|> aab"] * 3
    for train in (train_bpe, train_bpe_readable):
        check_training(train, texts, 280, ("a+b", "<|x|>"))
    split = tokenizer_module.SpecialTokens.split
    broken = with_source(tokenizer_module, split, "map(re.escape, longest_first)", "longest_first")
    monkeypatch.setattr(tokenizer_module.SpecialTokens, "split", broken)
    for train in (train_bpe, train_bpe_readable):
        with pytest.raises((AssertionError, KeyError)):  # "aab" looks like a+b and is no special token
            check_training(train, texts, 280, ("a+b", "<|x|>"))


def test_found_specials_in_the_order_of_the_text_are_noticed(monkeypatch):
    texts = ["[B] [A] [B] [C] [C] " + "plain words " * 9]
    check_found_specials(find_special_tokens, texts, r"\[[A-Z]\]")
    broken = with_source(
        special_tokens,
        find_special_tokens,
        "sorted(found, key=lambda word: (-found[word], word))",
        "list(found)",
    )
    caught(check_found_specials, broken, texts, r"\[[A-Z]\]")
