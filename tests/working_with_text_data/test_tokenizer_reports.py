"""What a tokenizer's report says, by hand; special tokens by their form; worker processes that die."""

import json
import os
import pickle

import pytest

from utils.errors import RunFailure, UserError
from working_with_text_data import BPETokenizer, ByteTokenizer, train_bpe
from working_with_text_data.special_tokens import find_special_tokens
from working_with_text_data.tokenizer_report import NEVER_IN_UTF8, report, report_lines, write_report
from working_with_text_data.worker_pool import map_in_order


def one_line(error):
    message = str(error.value)
    assert message and "\n" not in message
    return message


# --- the report -------------------------------------------------------------------------------------


def test_the_figures_are_those_counted_by_hand():
    # ids: 256 "ab", 257 " ab", 258 "xy" (in no text here), then <|x|> 259
    tokenizer = BPETokenizer([tuple(b"ab"), (32, 256), tuple(b"xy")], special_tokens=["<|x|>"])
    figures = report(tokenizer, ["ab ab ab", "é<|x|>"])  # ab, " ab", " ab" and two bytes, one special
    text = figures["text"]
    assert (text["documents"], text["characters"], text["bytes"], text["tokens"]) == (2, 14, 15, 6)
    assert text["bytes_per_token"] == 15 / 6 and text["characters_per_token"] == 14 / 6
    assert figures["coverage"]["part_of_a_character"] == 2 / 6
    assert figures["coverage"]["unknown_rate"] == 0
    assert figures["coverage"]["vocabulary_used"] == 4 / 259  # ab, " ab" and the two bytes of é
    assert figures["coverage"]["words_of_one_token"] == 3 / 5  # the words: ab ab ab é x
    assert figures["top"][0] == {"id": 257, "shown": "·ab", "count": 2, "share": 2 / 6}
    assert figures["unused"]["count"] == 259 - 4
    assert [row["id"] for row in figures["longest"][:3]] == [257, 256, 258]
    assert [row["id"] for row in figures["longest_used"][:2]] == [257, 256]
    assert figures["unreachable"]["count"] == len(NEVER_IN_UTF8) == 13


def test_tokens_that_no_text_reaches_are_found():
    """ " 19" was learned with whole numbers; with digits split no text gives it, or the "19" in it."""
    merges = [tuple(b"19"), (32, 256), tuple(b"th")]
    whole, split = (BPETokenizer(merges, split_digits=option) for option in (False, True))
    assert report(whole, "x")["unreachable"]["examples"] == []
    assert [row["id"] for row in report(split, "x")["unreachable"]["examples"]] == [256, 257]


def test_a_trained_tokenizer_reaches_all_its_tokens_under_every_option():
    text = "the cat sat in 1984, naïve 東京 12 345 don't  stop\n\n" * 3
    for pattern in ("gpt2", "cl100k", "o200k"):
        for options in ({}, {"split_digits": 2}, {"prefix_space": True}):
            tokenizer = train_bpe(text, 320, pattern=pattern, **options)
            assert report(tokenizer, "x")["unreachable"]["examples"] == [], (pattern, options)


def test_other_tokenizers_and_gaps_in_the_ids_are_reported_too(tmp_path):
    figures = report(ByteTokenizer(), ["aé"])
    assert figures["text"]["bytes_per_token"] == 1 and figures["tokenizer"]["options"] == {}
    assert report(BPETokenizer([], special_tokens={"<|far|>": 1000}), "a")["unused"]["count"] == 255
    assert all(line and "\n" not in line for line in report_lines(figures))
    assert json.loads(write_report(tmp_path / "r.json", figures).read_text()) == figures
    assert figures["version"] == 1


@pytest.mark.parametrize("nothing", ["", [], ["", ""]])
def test_a_report_on_no_text_is_refused(nothing):
    with pytest.raises(UserError) as error:
        report(ByteTokenizer(), nothing)
    assert "no text" in one_line(error)


# --- special tokens by their form -----------------------------------------------------------------------

PLAIN = "and plain words " * 20


@pytest.mark.parametrize(
    ("regex", "text", "named"),
    [
        ("(", PLAIN, "not a regular expression"),
        ("<*", PLAIN, "empty string"),
        ("(?=a)", PLAIN, "empty string"),
        (r"\w+", PLAIN, "ordinary"),
        (r"\s", PLAIN, "ordinary"),
        ("<.*>", "<a>" + PLAIN + "<b>", "narrower"),
        (r"<\d+>", " ".join(f"<{i}>" for i in range(300)), "more than 256"),
        (r"\[[a-z]\]", "[a][b]" * 50 + "x", "%"),
        (r"(<|<<|<a?)+\$", "<" * 200, "nested repeats"),
    ],
)
def test_a_careless_expression_is_refused_with_the_reason(regex, text, named):
    with pytest.raises(UserError) as error:
        find_special_tokens([text], regex, timeout=0.5)
    assert named in one_line(error)


def test_nothing_found_is_an_empty_list():
    assert find_special_tokens([PLAIN], r"<\|x\|>") == [] == find_special_tokens([], r"<\|x\|>")


# --- processes ------------------------------------------------------------------------------------------


def test_a_tokenizer_travels_whole():
    tokenizer = train_bpe("the cat 12" * 9, 270, special_tokens=["<|x|>"], split_digits=1, prefix_space=True)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.to_dict() == tokenizer.to_dict()
    text = "the cat 1984 東<|x|>"
    assert again.encode(text, "all") == tokenizer.encode(text, "all")


def test_results_come_in_the_order_of_the_work_and_an_error_comes_through():
    assert list(map_in_order(abs, range(-20, 0), 2)) == list(range(20, 0, -1))
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_order(int, ["1", "one"], 2))


def test_a_worker_that_dies_is_a_failure_of_one_line():
    with pytest.raises(RunFailure) as error:
        list(map_in_order(os._exit, [3], 1))
    assert "workers=0" in one_line(error)


def test_at_most_a_few_items_are_taken_ahead():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield 1

    results = map_in_order(abs, endless(), 1)
    assert [next(results) for _ in range(5)] == [1] * 5
    results.close()
    assert len(taken) <= 5 + 3
