"""The pictures of notebook finetuning/01 show what they are given: cells, words, points and bars are counted."""

import pytest
from matplotlib.colors import to_hex

from finetuning.figures import classification as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def colour_of(patch):
    return to_hex(patch.get_facecolor()).upper()


def test_words_are_sorted_by_their_vote_and_coloured_by_its_side():
    ax = figures.draw_words({"good": 1.0, "bad": -2.0, "so": 0.5}).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bad", "so", "good"]
    assert [bar.get_width() for bar in ax.patches] == [-2.0, 0.5, 1.0]
    assert [colour_of(bar) for bar in ax.patches] == [figures.PALETTE[i] for i in (1, 0, 0)]


def test_the_last_real_token_is_blue_and_the_end_of_each_row_has_a_cross():
    ax = figures.draw_rows([["a", "b"], ["c", "d", "e"]], [1, 2]).axes[0]
    colours = [colour_of(patch) for patch in ax.patches]
    blue = figures.PALETTE[0]
    assert [i for i, colour in enumerate(colours) if colour == blue] == [1, 5]
    assert colours[2] == "#BBBBBB", "padding is grey"
    assert [t.get_text() for t in ax.texts] == ["a", "b", "", "c", "d", "e"]
    assert [line.get_marker() for line in ax.lines] == ["x", "x"]


def test_each_cloud_has_its_points_by_label():
    fig = figures.draw_clouds({"one": ([(0, 1), (2, 3), (4, 5)], [0, 1, 1])}, ["neg", "pos"])
    assert [list(line.get_xdata()) for line in fig.axes[0].lines] == [[0], [2, 4]]
    assert [t.get_text() for t in fig.axes[0].get_legend().get_texts()] == ["neg", "pos"]


def test_curves_and_shares_stand_where_they_are():
    ax = figures.draw_curves({"a": ([1, 2], [3, 4])}, "loss", "step").axes[0]
    assert list(ax.lines[0].get_ydata()) == [3, 4] and ax.get_xlabel() == "step"
    ax = figures.draw_share({"head": (0.001, 0.6, 0.5, 0.7)}, {"bag": 0.8}).axes[0]
    assert ax.get_xscale() == "log"
    assert list(ax.containers[0].lines[0].get_ydata()) == [60.0] and "head" in {
        t.get_text() for t in ax.texts
    }
    assert any(list(line.get_ydata()) == [80.0, 80.0] for line in ax.lines)


def test_the_confusion_table_shows_its_counts_and_shares():
    fig = figures.draw_confusion({"x": [[3, 1], [0, 4]], "y": [[4, 0], [2, 2]]}, ["neg", "pos"])
    first = fig.axes[0]
    assert [t.get_text() for t in first.texts] == ["3", "1", "0", "4"]
    assert first.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert [t.get_text() for t in first.get_xticklabels()] == ["neg", "pos"]


def test_a_bin_is_a_dot_as_large_as_its_count():
    ax = figures.draw_calibration({"m": [(0.6, 0.5, 10), (0.9, 0.95, 200)]}).axes[0]
    dots = ax.collections[0]
    assert dots.get_offsets().tolist() == [[0.6, 0.5], [0.9, 0.95]]
    small, large = dots.get_sizes()
    assert large > 5 * small


def test_an_interval_is_a_bar_with_its_value():
    ax = figures.draw_intervals({"a": (0.1, 0.05, 0.2)}, "points", at=0.0).axes[0]
    assert list(ax.lines[0].get_xdata()) == [5.0, 20.0] and list(ax.lines[1].get_xdata()) == [10.0]
    assert list(ax.lines[2].get_xdata()) == [0.0, 0.0]
