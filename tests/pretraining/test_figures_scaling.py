"""The pictures of notebook pretraining/05 show what they are given, and say so where nothing was measured."""

import pytest

from pretraining.figures import scaling_on_a_laptop as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_valleys_have_their_points_curves_and_bottoms():
    points = [(10.0, 3.0), (100.0, 2.0), (1000.0, 3.0)]
    groups = {"small": (points, lambda n: n), "large": (points, None)}
    ax = figures.draw_valleys(groups, "N", "loss", [(100.0, 2.0)]).axes[0]
    assert list(ax.lines[0].get_xdata()) == [10, 100, 1000] and ax.get_xscale() == "log"
    assert ax.lines[0].get_linestyle() == "None" and ax.lines[2].get_linestyle() == "-"
    assert list(ax.lines[1].get_ydata()) == list(ax.lines[1].get_xdata()), (
        "the curve is the function it was given"
    )
    assert list(ax.lines[3].get_xdata()) == [100.0]


def test_a_fan_has_its_lines_and_its_points():
    lines = [lambda x, k=k: x**k for k in (0.4, 0.5, 0.6)]
    points = [(1.0, 1.0), (4.0, 2.0)]
    ax = figures.draw_fan(points, lines, lines[1], (1.0, 100.0), "C", "N", others={"mine": lines[2]}).axes[0]
    assert len(ax.lines) == 3 + 1 + 1 + 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["the line", "mine", "measured"]


def test_rungs_mark_the_longest_and_draw_each_as_far_as_it_went():
    curves = [[(1, 3.0), (2, 2.5)], [(1, 3.1), (2, 2.4), (4, 2.0)]]
    ax = figures.draw_rungs(curves, [2], "loss").axes[0]
    assert [len(line.get_xdata()) for line in ax.lines[:4]] == [2, 1, 3, 1]
    assert ax.lines[2].get_linewidth() > ax.lines[0].get_linewidth()


def test_the_diagonal_is_behind_the_points():
    ax = figures.draw_against({"seen": [(1.0, 1.1)], "held out": [(2.0, 1.9)]}, "predicted", "measured").axes[
        0
    ]
    assert list(ax.lines[0].get_xdata()) == list(ax.lines[0].get_ydata())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["seen", "held out"]


def test_what_was_not_measured_is_said_in_words():
    empty = [
        figures.draw_valleys({"none": ([], None)}, "x", "y"),
        figures.draw_fan([], [], None, (1, 2), "x", "y"),
        figures.draw_against({"none": []}, "x", "y"),
    ]
    for figure in empty:
        assert "not measured" in figure.axes[0].texts[0].get_text()
