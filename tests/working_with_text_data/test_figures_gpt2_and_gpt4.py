"""The pictures of notebook 03 show what they are given: boxes, bars, groups and letters are counted."""

from collections import Counter

import pytest
from matplotlib.colors import to_rgb

from working_with_text_data import BPETokenizer
from working_with_text_data.byte_letters import LETTER_OF_BYTE
from working_with_text_data.figures import gpt2_and_gpt4_tokenizers as figures
from working_with_text_data.figures.tour import ASKED, KNOWN
from working_with_text_data.inspect_tokens import rows_of_ids


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def colours(ax):
    return [to_rgb(patch.get_facecolor()) for patch in ax.patches]


def test_alternatives_have_a_colour_each_and_a_legend():
    ax = figures.draw_alternatives([("It", 1), ("'s", 0), (" a", 1)], ["contraction", "letters"]).axes[0]
    assert texts(ax) == ["It", "'s", "·a"]
    assert [patch.get_width() for patch in ax.patches] == [2, 2, 2]
    assert colours(ax)[0] == colours(ax)[2] != colours(ax)[1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["contraction", "letters"]


def test_piece_strips_have_a_panel_for_each_text_and_count_the_pieces():
    strips = {"words": {"x": ["a", " b"], "y": ["a b"]}, "one": {"x": ["\n"]}}
    first, second = figures.draw_piece_strips(strips).axes
    assert texts(first) == ["a", "·b", "x", "2", "a·b", "y", "1"]
    assert first.get_title() + first.get_title(loc="left") == "words"
    assert [patch.get_width() for patch in first.patches] == [1, 2, 3]
    assert texts(second) == ["⏎", "x", "1"]


def test_bars_are_grouped_and_carry_their_numbers():
    ax = figures.draw_bars({"row": {"a": 1.5, "b": 2}, "other": {"a": 3, "b": 4}}, "title", "{:.1f}").axes[0]
    assert [[bar.get_width() for bar in series] for series in ax.containers] == [[1.5, 3], [2, 4]]
    assert texts(ax) == ["1.5", "3.0", "2.0", "4.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["row", "other"]


def test_piece_lengths_are_shares_and_long_pieces_are_in_the_last_step():
    counts = {"x": Counter({1: 5, 2: 3, 9: 1, 40: 1})}
    ax = figures.draw_piece_lengths(counts, longest=4).axes[0]
    assert list(ax.lines[0].get_ydata()) == pytest.approx([50, 30, 0, 20])
    assert ax.get_legend().get_texts()[0].get_text() == "x: 10 pieces"
    assert ax.get_xticklabels()[-1].get_text() == "4+"


def test_digit_groups_stand_ones_below_ones_and_show_where_a_comma_would_be():
    left, right = figures.draw_digit_groups(
        ["12", "1234"], {"left": [["12"], ["123", "4"]], "right": [["12"], ["1", "234"]]}
    ).axes
    ends = [patch.get_x() + patch.get_width() for patch in left.patches]
    assert ends == [4, 3, 4] and texts(left) == ["12", "123", "4"]
    assert colours(left) == [to_rgb(KNOWN), to_rgb(ASKED), to_rgb(KNOWN)]
    assert colours(right) == [to_rgb(KNOWN)] * 3, "groups from the right all end where a comma would be"


def test_shapes_fill_each_row_to_a_hundred():
    ax = figures.draw_shapes({"x": {"2+2": 30, "4": 10}, "y": {"4": 8}}).axes[0]
    of_row = Counter()
    for patch in ax.patches:
        of_row[round(patch.get_y() + patch.get_height() / 2)] += patch.get_width()
    assert of_row == {0: pytest.approx(100), 1: pytest.approx(100)}
    assert texts(ax) == ["75", "25", "100"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["2+2", "4"], "the most frequent first"


def test_the_byte_map_has_256_letters_and_marks_the_68_that_moved():
    ax = figures.draw_byte_map(LETTER_OF_BYTE).axes[0]
    assert texts(ax) == [LETTER_OF_BYTE[byte] for byte in range(256)]
    assert colours(ax).count(to_rgb(ASKED)) == 68
    assert colours(ax)[32] == to_rgb(ASKED) and colours(ax)[33] == to_rgb(KNOWN)


def test_control_words_are_bold_and_orange_and_lines_are_wrapped():
    tokenizer = BPETokenizer([], special_tokens=["<|end|>"])
    rows = rows_of_ids(tokenizer.encode("abc<|end|>d", "all"), tokenizer)
    ax = figures.draw_control_words({"x": rows}, per_line=10).axes[0]
    assert texts(ax) == ["a", "b", "c", "<|end|>", "d"]
    assert [text.get_weight() for text in ax.texts] == ["normal"] * 3 + ["bold", "normal"]
    assert [colour == to_rgb(ASKED) for colour in colours(ax)] == [False] * 3 + [True, False]
    assert ax.texts[3].get_position()[1] == 0 and ax.texts[4].get_position()[1] == -1, (
        "eleven signs, ten a line"
    )
    assert ax.get_title(loc="left") + ax.get_title() == "x: 5 ids, 1 special"


def test_equality_writes_each_share():
    ax = figures.draw_equality({"a": {"a": 1.0, "b": 0.705}, "b": {"a": 0.9, "b": 1.0}}).axes[0]
    assert texts(ax) == ["100.0 %", "70.5 %", "90.0 %", "100.0 %"]
    assert ax.images[0].get_array().tolist() == [[1.0, 0.705], [0.9, 1.0]]
