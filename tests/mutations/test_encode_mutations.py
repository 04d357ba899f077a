"""Classic bugs of a caching encoder, put back on purpose: the laws of `test_encode_laws` must notice each."""

import inspect
import textwrap

import pytest
from encode_checks import (
    check_a_piece_alone_is_one_piece,
    check_caches_are_bounded,
    check_cold_is_warm,
    check_words_are_runs_of_pieces,
    hard_texts,
)
from tokenizer_checks import CORPUS, check_equals_tiktoken, check_same_merges, trained

from working_with_text_data import coarse_words as coarse_module
from working_with_text_data import fast_bpe, fast_encode
from working_with_text_data.fast_encode import BlockCache, FastEncoder
from working_with_text_data.patterns import splitter
from working_with_text_data.tiktoken_adapter import to_tiktoken

TEXTS = hard_texts(1_500, seed=31)


def with_source(module, function, old, new):
    """`function` with one expression of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__name__} has changed: put the bug {new!r} where it belongs now"
    scope = dict(vars(module))
    exec("from __future__ import annotations\n" + source.replace(old, new), scope)
    return scope[function.__name__]


def caught(check, *args):
    with pytest.raises(AssertionError) as failure:
        check(*args)
    assert str(failure.value).strip()


def all_words(name):
    for text in TEXTS:
        check_words_are_runs_of_pieces(name, text)


COARSE_BUGS = {
    "a cut inside white space": ("gpt2", "marked.replace(space + mark, space)", "marked"),
    "a cut inside white space of GPT-4": ("cl100k", "marked.replace(space + mark, space)", "marked"),
    "a mark that the text may hold": ("gpt2", "if mark not in block", "if True"),
    "GPT-4 cut before line ends like GPT-2": (
        "cl100k",
        'if name == "gpt2" else SPACES',
        "if True else SPACES",
    ),
}


@pytest.mark.parametrize("bug", COARSE_BUGS)
def test_lt3_notices_words_that_end_inside_a_piece(monkeypatch, bug):
    name, old, new = COARSE_BUGS[bug]
    all_words(name)
    broken = with_source(coarse_module, coarse_module.coarse_words, old, new)
    monkeypatch.setattr(coarse_module, "coarse_words", broken)
    caught(all_words, name)


LINE_BUGS = {
    "a cut between two line ends": ("o200k", "marked.replace(mark + end, end)", "marked"),
    "the slash behind a line end": ("o200k", '.replace(mark + "/", "/")', ""),
    "the spaces behind a line end": ("cl100k", '.replace(mark + mark, "")', ".replace(mark + mark, mark)"),
}


@pytest.mark.parametrize("bug", LINE_BUGS)
def test_lt3_notices_line_ends_cut_in_the_wrong_place(monkeypatch, bug):
    name, old, new = LINE_BUGS[bug]
    broken = with_source(coarse_module, coarse_module._cut_behind_lines, old, new)
    monkeypatch.setattr(coarse_module, "_cut_behind_lines", broken)
    caught(all_words, name)


def test_lt3_notices_white_space_as_python_sees_it_in_words(monkeypatch):
    monkeypatch.setattr(coarse_module, "SPACES", coarse_module.SPACES + "\x1c\x1d\x1e\x1f")
    caught(all_words, "gpt2")


def test_lt2_notices_pieces_that_fall_apart_alone():
    def findall(text):  # looks behind: what follows a letter is one piece, alone it is two
        return text.split("|") if text.startswith("x") else list(text)

    caught(check_a_piece_alone_is_one_piece, findall, "xab|cd")


CACHE_BUGS = {
    "long pieces get the ids of nothing": ("(ids,) = self._work_out([piece])", 'ids = b""'),
    "ids of other words": ("zip(new, self._work_out(new))", "zip(new[::-1], self._work_out(new))"),
}


@pytest.mark.parametrize("bug", CACHE_BUGS)
def test_lt2_notices_a_cache_that_answers_wrongly(monkeypatch, bug):
    def all_texts():
        for text in [*CORPUS, "x" * 200, "the cat sat on the mat"]:
            check_cold_is_warm(trained(), text)

    all_texts()
    monkeypatch.setattr(
        BlockCache, "__missing__", with_source(fast_encode, BlockCache.__missing__, *CACHE_BUGS[bug])
    )
    caught(all_texts)
    trained().clear_cache()


BOUND_BUGS = {
    "it is never emptied": ("if len(self) + len(new) > self.limit:", "if False:"),
    "a block larger than the cache": ("new = new[: self.limit]", "pass"),
}


@pytest.mark.parametrize("bug", BOUND_BUGS)
def test_notices_a_cache_that_grows_without_end(monkeypatch, bug):
    arguments = (trained().ranks, splitter("gpt2"), [*CORPUS, *TEXTS[:50]], 7)
    check_caches_are_bounded(*arguments)
    monkeypatch.setattr(
        BlockCache, "__missing__", with_source(fast_encode, BlockCache.__missing__, *BOUND_BUGS[bug])
    )
    caught(check_caches_are_bounded, *arguments)


def test_lt3_notices_words_taken_for_pieces(monkeypatch):
    """A word is a run of pieces: merged as one, "cat." would be glued to its full stop."""
    tokenizer = trained("gpt2", 500)
    encoding = to_tiktoken(tokenizer)
    monkeypatch.setattr(FastEncoder, "_encode_words", FastEncoder._encode_pieces)
    tokenizer._encoder = FastEncoder(tokenizer.ranks, splitter("gpt2"))
    try:
        caught(check_equals_tiktoken, tokenizer, encoding, [*CORPUS, *TEXTS])
    finally:
        monkeypatch.undo()
        tokenizer._encoder = FastEncoder(tokenizer.ranks, splitter("gpt2"))


FORGOTTEN = {
    "few places": ("where[y].append(i)", "where[y]", 1000),
    "many places": ("where[new + x] += places", "where[new + x]", 0),
}


@pytest.mark.parametrize("bug", FORGOTTEN)
def test_lt2_notices_words_that_are_forgotten_after_a_merge(monkeypatch, bug):
    """The merges differ, or the trainer falls over a pair that it never counted."""
    old, new, few = FORGOTTEN[bug]
    monkeypatch.setattr(fast_bpe, "FEW_PLACES", few)
    check_same_merges(fast_bpe.train_bpe, CORPUS, 330)
    broken = with_source(fast_bpe, fast_bpe._merge_everywhere, old, new)
    monkeypatch.setattr(fast_bpe, "_merge_everywhere", broken)
    with pytest.raises((AssertionError, KeyError)):
        check_same_merges(fast_bpe.train_bpe, CORPUS, 330)
