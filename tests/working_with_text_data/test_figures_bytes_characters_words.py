"""The pictures of notebook 01 show the numbers they are given: bits, roles, bars and curves are counted."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from working_with_text_data.figures import bytes_characters_words as figures
from working_with_text_data.figures.tour import ASKED


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_marker_of_every_first_byte_says_how_many_bytes_follow():
    for character in "Aé€🙂":
        first, *others = character.encode()
        assert figures.marker_bits(first) == (1 if not others else len(others) + 2)
        assert all(figures.marker_bits(byte) == 2 for byte in others)


def test_bits_are_drawn_in_order_and_only_markers_are_orange():
    ax = figures.draw_bits({"euro": "€".encode()}).axes[0]
    bits = [t for t in ax.texts if t.get_text() in ("0", "1")]
    assert "".join(t.get_text() for t in bits) == "111000101000001010101100"
    orange = [to_rgb(t.get_bbox_patch().get_facecolor()) == to_rgb(ASKED) for t in bits]
    blue_bits = "".join(t.get_text() for t, marker in zip(bits, orange, strict=True) if not marker)
    assert int(blue_bits, 2) == ord("€"), "the blue bits are the code point"
    assert [t for t in texts(ax) if t in ("E2", "82", "AC")] == ["E2", "82", "AC"]


def test_the_map_of_bytes_has_each_byte_in_the_colour_of_its_role():
    roles = ["low"] * 200 + ["high"] * 56
    ax = figures.draw_byte_roles(roles, ["low", "high"]).axes[0]
    grid = np.array(ax.images[0].get_array()).ravel()
    assert list(grid) == [0] * 200 + [1] * 56
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["low (200)", "high (56)"]


def test_signs_have_a_bar_for_each_unit():
    counts = {"a": {"code points": 1, "bytes": 2}, "b": {"code points": 3, "bytes": 4}}
    ax = figures.draw_signs(counts).axes[0]
    assert [p.get_width() for p in ax.patches] == [1, 3, 2, 4] and texts(ax) == ["1", "3", "2", "4"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_scripts_show_bytes_left_and_the_cost_right():
    cost = {"bytes": {"x": 1.0, "y": 2.0}, "tokens": {"x": 1.0, "y": 5.0}}
    left, right = figures.draw_scripts({"x": 1.0, "y": 3.0}, cost).axes
    assert [p.get_width() for p in left.patches] == [1, 3] and texts(left) == ["1.00", "3.00"]
    assert [p.get_width() for p in right.patches] == [1, 2, 1, 5]
    assert [t.get_text() for t in right.get_legend().get_texts()] == ["bytes", "tokens"]


def test_zipf_sorts_the_counts_and_adds_the_law():
    ax = figures.draw_zipf({"text": [1, 8, 2]}).axes[0]
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3] and list(ax.lines[0].get_ydata()) == [8, 2, 1]
    assert list(ax.lines[1].get_ydata()) == [8, pytest.approx(8 / 3)]
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_the_trade_shows_both_sides_and_the_named_level():
    pieces, unknown = {"text": [(256, 5.0), (512, 3.0)]}, {"text": [(100, 30.0), (1000, 7.0)]}
    left, right = figures.draw_trade(pieces, unknown, {"one per word": 1}).axes
    assert list(left.lines[0].get_ydata()) == [5, 3] and list(right.lines[0].get_ydata()) == [30, 7]
    assert texts(left) == ["one per word"] and list(left.lines[1].get_ydata()) == [1, 1]


def test_two_losses_write_their_numbers():
    left, right = figures.draw_two_losses([(256, 3.1), (512, 5.25)], [(256, 4.5), (512, 3.5)]).axes
    assert texts(left) == ["3.10", "5.25"] and texts(right) == ["4.50", "3.50"]
    assert list(right.lines[0].get_xdata()) == [256, 512]
    assert [t.get_text() for t in left.get_xticklabels()] == ["256", "512"]
