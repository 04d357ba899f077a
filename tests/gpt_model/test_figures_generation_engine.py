"""The pictures of notebook gpt_model/05 show what they are given: places, steps, bytes and points are counted."""

import pytest
from matplotlib.colors import to_rgb

from gpt_model.figures import generation_engine as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def colours(ax):
    return [to_rgb(patch.get_facecolor()) for patch in ax.patches]


def test_padding_is_grey_and_the_last_place_is_framed():
    words, mask = [["·", "a"], ["b", "c"]], [[0, 1], [1, 1]]
    fig = figures.draw_padding({"left": (words, mask), "other": (words, mask)})
    ax = fig.axes[0]
    assert len(fig.axes) == 2 and texts(ax) == ["·", "a", "b", "c"]
    assert colours(ax)[:4] == [to_rgb(c) for c in (figures.EMPTY, figures.REAL, figures.REAL, figures.REAL)]
    frame = ax.patches[4]
    assert frame.get_x() < 1 < frame.get_x() + frame.get_width(), "the frame is around the last place"


def test_a_schedule_counts_steps_and_the_share_of_places_that_are_used():
    grid = [[2, 3, 3, 0], [1, 1, 2, 3]]
    ax = figures.draw_schedule({"plan": grid}, places=2).axes[0]
    assert (ax.get_title("left") or ax.get_title()) == "plan: 4 steps, 62% of the places"
    drawn = colours(ax)
    assert len(drawn) == 7, "a step in which nothing happens is left white"
    assert drawn.count(to_rgb(figures.READS)) == 2 and drawn.count(to_rgb(figures.WRITES)) == 3
    assert drawn.count(to_rgb(figures.WAITS)) == 2


def test_a_legend_names_only_what_is_there():
    fig = figures.draw_schedule({"a": [[1, 3]], "b": [[3, 3]]}, places=1)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["waits", "a token is written"]


def test_a_stream_shows_bytes_alone_and_together():
    ax = figures.draw_stream([("c3", "?", ""), ("a9", "?", "é")]).axes[0]
    assert texts(ax) == ["c3", "?", "", "a9", "?", "é"]
    shown = colours(ax)
    assert shown[2] == to_rgb(figures.EMPTY) and shown[5] == to_rgb(figures.REAL)


def test_the_roof_bends_where_bandwidth_meets_the_peak():
    ax = figures.draw_roofline(10.0, 1000.0, {"step": (1.0, 5.0), "prompt": (400.0, 900.0)}).axes[0]
    xs, ys = ax.lines[0].get_xdata(), ax.lines[0].get_ydata()
    assert (xs[1], ys[1]) == (100.0, 1000.0) and ys[0] == xs[0] * 10 and ys[2] == 1000
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines[1:]] == [(1, 5), (400, 900)]
    assert texts(ax) == ["ridge: 100 FLOPs a byte"]


def test_a_trade_has_a_named_point_for_each():
    ax = figures.draw_trade({"int8": (2.0, 2.1), "int4": (1.0, 2.3)}, "MiB", "perplexity").axes[0]
    assert texts(ax) == ["int8", "int4"] and [line.get_ydata()[0] for line in ax.lines] == [2.1, 2.3]


def test_speedups_have_their_range_and_are_grey_when_it_holds_one():
    rows = {"faster": (2.0, 1.5, 2.5), "unsure": (1.1, 0.9, 1.3), "slower": (0.5, 0.4, 0.6)}
    ax = figures.draw_speedups(rows).axes[0]
    assert texts(ax) == ["2.00 ×", "1.10 ×", "0.50 ×"]
    assert [line.get_color() for line in ax.lines[0:6:2]] == [figures.BLUE, figures.QUIET, figures.ORANGE]
    assert list(ax.lines[0].get_xdata()) == [1.5, 2.5]


def test_speedups_that_nobody_measured_are_words():
    assert texts(figures.draw_speedups({}, "decode: not measured").axes[0]) == ["decode: not measured"]
