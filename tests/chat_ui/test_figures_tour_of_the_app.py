"""The pictures of notebook chat_ui/02 show what they are given: lines, boxes and bars are counted."""

import pytest

from chat_ui.figures import tour_of_the_app as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_curve_is_a_line_through_its_points():
    ax = figures.draw_curves({"train": [(0, 3.0), (4, 2.0)], "val": [(4, 2.5)]}, "loss").axes[0]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines] == [
        ([0, 4], [3.0, 2.0]),
        ([4], [2.5]),
    ]
    assert ax.get_ylabel() == "loss" and [text.get_text() for text in ax.get_legend().get_texts()] == [
        "train",
        "val",
    ]


def test_a_strip_is_a_box_a_token_as_wide_as_its_text():
    ax = figures.draw_strips({"one": ["ab", "c"], "two": ["abc"]}).axes[0]
    assert [text.get_text() for text in ax.texts] == ["ab", "c", "abc"]
    assert [(bar.get_x(), round(bar.get_width())) for bar in ax.patches] == [(0, 2), (2, 1), (0, 3)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]


def test_a_candidate_has_both_probabilities():
    ax = figures.draw_candidates(["a", "b"], [0.5, 0.2], [0.9, 0.1]).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.9, 0.1, 0.5, 0.2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"] and ax.yaxis_inverted()


def test_sizes_are_bars_with_their_numbers():
    ax = figures.draw_sizes({"mha": 36.0, "mla": 6.0}, "KiB").axes[0]
    assert [bar.get_width() for bar in ax.patches] == [36.0, 6.0]
    assert [text.get_text().strip() for text in ax.texts] == ["36", "mha", "6", "mla"]
    assert ax.get_xlabel() == "KiB"
