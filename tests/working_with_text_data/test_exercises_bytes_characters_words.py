"""LD2 for notebook 01: other right answers pass, new wrong ones get the property that fails.

What holds for every exercise of the chapter (proof, names of mistakes) is in `test_text_exercises.py`.
"""

import math

import pytest

from utils.exercises import check, load_answer
from working_with_text_data.exercises.bytes_characters_words import (
    BITS,
    CODE_POINT,
    COUNT,
)


def _by_table(data):
    """Another way to the code point: subtract what the markers add up to."""
    value = 0
    for byte in data:
        value = value * 64 + byte
    return value - {1: 0, 2: 0x3080, 3: 0xE2080, 4: 0x3C82080}[len(data)]


def _first_bytes_by_kind(data):
    return sum(1 for byte in data if byte < 0x80 or byte >= 0xC0)


def _in_another_order(loss, tokens, text):
    per_byte = tokens / len(text.encode())
    return loss * per_byte * math.log2(math.e)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (CODE_POINT, lambda data: ord(data.decode("utf-8"))),
        (CODE_POINT, _by_table),
        (COUNT, lambda data: len(data.decode("utf-8"))),
        (COUNT, _first_bytes_by_kind),
        (BITS, _in_another_order),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (CODE_POINT, lambda data: data.decode("utf-8"), "one whole number, not str"),
        (CODE_POINT, lambda data: 0, "but you give 0x0"),
        (COUNT, lambda data: True, "one whole number, not bool"),
        (COUNT, lambda data: len(data.decode("utf-8").strip()), "code points in"),
        (BITS, lambda loss, tokens, text: 8.0, "1 bit per byte, but you give 8"),
        (
            BITS,
            lambda loss, tokens, text: loss * tokens / math.log(2) / len(text.encode("utf-16-le")),
            "1 bit",
        ),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_a_decoder_that_is_right_for_three_bytes_only_fails():
    right = load_answer(CODE_POINT.solution, "code_point_of")
    assert not check(CODE_POINT, lambda data: right(data) if len(data) < 4 else right(data) & 0xFFFF)
