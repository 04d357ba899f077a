"""LD2 for notebook 03: other right answers pass, new wrong ones get the property that fails, stated facts hold.

What holds for every exercise of the chapter (proof, names of mistakes) is in `test_text_exercises.py`.
"""

import json
import random
import re
from collections import Counter

import pytest

from utils.exercises import check, load_answer
from working_with_text_data import BPETokenizer
from working_with_text_data.exercises.gpt2_and_gpt4_tokenizers import (
    GROUPS,
    LETTERS,
    PREDICTIONS,
    PUBLISHED_IDS,
    PUBLISHED_SHAPES,
    SPECIALS,
)
from working_with_text_data.patterns import splitter
from working_with_text_data.tie_breaks import gpt2_byte_order
from working_with_text_data.tiktoken_ranks import load_tiktoken

ENCODINGS = ("gpt2", "cl100k_base", "o200k_base")


def _letters_as_gpt2_wrote_them():
    """The way of the file `encoder.py` that came with GPT-2: two lists that grow side by side."""
    order = list(gpt2_byte_order())
    return dict(zip(order, map(chr, [*order[:188], *range(256, 256 + 68)]), strict=True))


def _groups_by_pattern(digits):
    return re.findall("[0-9]{1,3}", digits)


def _groups_recursively(digits):
    return [digits[:3], *_groups_recursively(digits[3:])] if digits else []


def _specials_by_the_module(text, special_tokens, allowed):
    return BPETokenizer([], special_tokens=special_tokens).encode(text, allowed)


def _specials_letter_by_letter(text, special_tokens, allowed):
    if any(word in text for word in set(special_tokens) - allowed):
        raise ValueError("not allowed")
    ids, at = [], 0
    while at < len(text):
        fits = [word for word in allowed if text.startswith(word, at)]
        word = max(fits, key=len, default=text[at])
        ids += [special_tokens[word]] if fits else word.encode()
        at += len(word)
    return ids


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (LETTERS, _letters_as_gpt2_wrote_them),
        (GROUPS, _groups_by_pattern),
        (GROUPS, _groups_recursively),
        (SPECIALS, _specials_by_the_module),
        (SPECIALS, _specials_letter_by_letter),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


def _without(byte):
    return {b: letter for b, letter in _letters_as_gpt2_wrote_them().items() if b != byte}


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LETTERS, lambda: list("abc"), "a dict from byte to letter, not list"),
        (LETTERS, lambda: _without(7), "you give 255"),
        (LETTERS, lambda: _without(7) | {7: "a"}, "share the letter"),
        (LETTERS, lambda: _without(7) | {7: "xy"}, "one letter for a byte"),
        (LETTERS, lambda: _without(7) | {7: "\u2003"}, "no visible letter"),
        (LETTERS, lambda: _without(7) | {7: "東"}, "GPT-2's letter for byte 7"),
        (GROUPS, lambda digits: digits, "a list of strings, not str"),
        (GROUPS, lambda digits: [digits], "full groups"),
        (GROUPS, lambda digits: [digits[i : i + 3] for i in range(0, 15, 3) if digits[i:]], "give it back"),
        (SPECIALS, lambda text, special, allowed: text, "a list of ids, not str"),
        (SPECIALS, lambda text, special, allowed: list(text.encode()), "one id"),
        (SPECIALS, lambda text, special, allowed: [0], "no text has no ids"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_only_a_value_error_is_a_refusal():
    def crashes(text, special_tokens, allowed):
        if any(word in text for word in set(special_tokens) - allowed):
            raise KeyError("something else")
        return _specials_letter_by_letter(text, special_tokens, allowed)

    result = check(SPECIALS, crashes)
    assert not result.passed and "KeyError" in result.message


def test_the_groups_are_those_of_the_patterns():
    """The solution of the exercise is what cl100k and o200k do with a row of digits."""
    group = load_answer(GROUPS.solution, "group_digits")
    for length in range(1, 40):
        digits = "".join(random.Random(length).choices("0123456789", k=length))
        assert group(digits) == splitter("cl100k").findall(digits) == splitter("o200k").findall(digits)


def test_predictions_are_true():
    told = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    assert told["pieces_of_its_2048_tokens"] == len(splitter("gpt2").findall("It's 2,048 tokens."))
    letters = _letters_as_gpt2_wrote_them()
    assert told["bytes_that_get_a_new_letter"] == sum(ord(letter) != byte for byte, letter in letters.items())


def test_stated_ids_can_be_the_ids_of_their_text():
    """Without a rank file: not less tokens than pieces, ids in range, bytes by GPT-2's own order."""
    sizes = {"gpt2": 50_257, "cl100k_base": 100_277, "o200k_base": 200_019}
    for text, ids_of in PUBLISHED_IDS.items():
        assert tuple(ids_of) == ENCODINGS
        for name, ids in ids_of.items():
            assert len(splitter(name).findall(text)) <= len(ids) <= len(text.encode())
            assert all(0 <= i < sizes[name] for i in ids)
    assert all(sum(shapes.values()) == 9000 for shapes in PUBLISHED_SHAPES.values())
    order = gpt2_byte_order()
    assert PUBLISHED_IDS["\r\n\r\n"]["gpt2"] == [order.index(byte) for byte in b"\r\n\r\n"]


@pytest.mark.parametrize("name", ENCODINGS)
def test_stated_facts_are_those_of_the_rank_files(name, shared_data):
    tokenizer = load_tiktoken(name, shared_data / "tokenizers")
    for text, ids_of in PUBLISHED_IDS.items():
        assert tokenizer.encode_ordinary(text) == ids_of[name], f"{name} encodes {text!r} otherwise"
    if name in PUBLISHED_SHAPES:
        shapes = Counter(
            "+".join(str(n) for i in tokenizer.encode(f" {number}") if (n := len(tokenizer.token_bytes(i).strip())))
            for number in range(1000, 10_000)
        )  # fmt: skip
        assert shapes == PUBLISHED_SHAPES[name]


def test_stated_ids_are_those_that_tiktoken_gave(shared_data):
    golden = json.loads((shared_data / "tokenizers" / "golden_tokens.json").read_text(encoding="utf-8"))
    assert "tiktoken 0.14.0" in golden["note"]
    of_text = {case["text"]: case for case in golden["edge"]}
    shared = [text for text in PUBLISHED_IDS if text in of_text]
    assert len(shared) >= 3
    for text in shared:
        assert {name: of_text[text][name] for name in ENCODINGS} == PUBLISHED_IDS[text]
