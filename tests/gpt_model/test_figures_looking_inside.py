"""The pictures of notebook gpt_model/06 show what they are given: boxes, colours, bars and words are counted."""

import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from gpt_model.figures import looking_inside as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_a_strip_is_the_redder_the_more_surprising_and_breaks_into_lines():
    rows = {"told": (["a", "bc⏎", "$d"], [0.0, 4.0, 99.0]), "lie": (["long " * 4, "word"], [1.0, 2.0])}
    ax = figures.draw_strips(rows, top=8.0, width=20, marked={"lie": [1]}).axes[0]
    assert texts(ax) == ["a", "bc¶", r"\$d", "long " * 4, "word", "told", "lie"]
    told, lie = boxes(ax)[:3], boxes(ax)[3:]
    greens = [to_rgb(box.get_facecolor())[1] for box in told]
    assert greens[0] > greens[1] > greens[2], "the more surprising, the less green is left of white"
    assert {box.get_y() for box in told} == {told[0].get_y()} and lie[0].get_y() < lie[1].get_y()
    assert lie[1].get_x() == 0, "a line that is full breaks"
    assert [box.get_linewidth() == 1.4 and box.get_edgecolor()[3] == 1 for box in told + lie] == [
        False
    ] * 4 + [True]
    assert ax.texts[2].get_color() == "white" and ax.texts[0].get_color() == "black"


def test_what_is_above_the_scale_is_as_dark_as_its_top_and_the_scale_says_its_words():
    fig = figures.draw_strips({"a": (["x", "y", "z"], [5.0, 500.0, -1.0])}, top=5.0, scale="bits")
    at_top, above, below = boxes(fig.axes[0])
    assert at_top.get_facecolor() == above.get_facecolor() != below.get_facecolor()
    assert fig.axes[1].get_ylabel() == "bits" and fig.axes[1].get_ylim() == (0.0, 5.0)


def test_guesses_are_bars_and_the_one_that_came_is_orange():
    panels = {"one": [("kite", 0.5), ("a very long word", 0.25)], "two": [("$x", 0.9)]}
    fig = figures.draw_guesses(panels, ["a very long word", "nowhere"])
    left, right = fig.axes
    assert [patch.get_width() for patch in left.patches] == [0.5, 0.25]
    assert [to_hex(patch.get_facecolor()).upper() for patch in left.patches] == [figures.BLUE, figures.ORANGE]
    assert [to_hex(patch.get_facecolor()).upper() for patch in right.patches] == [figures.BLUE]
    assert [label.get_text() for label in left.get_yticklabels()] == ["kite", "a very long w…"]
    assert [label.get_text() for label in right.get_yticklabels()] == [r"\$x"]
    assert texts(left) == ["50%", "25%"] and left.get_ylim()[0] > left.get_ylim()[1], "the likeliest on top"


def test_writes_show_each_token_their_mean_and_the_shares():
    fig = figures.draw_writes({"embed": [1.0, 3.0], "mlp": [4.0, 4.0]}, {"embed": -0.25, "mlp": 1.25})
    left, right = fig.axes
    assert [patch.get_width() for patch in left.patches] == [2.0, 4.0]
    assert [list(line.get_xdata()) for line in left.lines] == [[1.0, 3.0], [4.0, 4.0]]
    assert [patch.get_width() for patch in right.patches] == [-0.25, 1.25] and texts(right) == [
        "-25%",
        "125%",
    ]
    assert [label.get_text() for label in left.get_yticklabels()] == ["embed", "mlp"]


def test_a_spread_has_every_point_and_a_bar_at_the_median():
    groups = {"new": {"right": [1, 2, 9], "wrong": [3, 4]}, "told": {"right": [0, 0, 1], "wrong": [8, 9]}}
    fig = figures.draw_spread(groups, "nats")
    ax = fig.axes[0]
    points = [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "None"]
    medians = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "-"]
    assert points == [[1, 2, 9], [3, 4], [0, 0, 1], [8, 9]] and medians == [2, 3.5, 0, 8.5]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["right", "wrong"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "new",
        "told",
    ] and ax.get_xlabel() == "nats"
    again = figures.draw_spread(groups, "nats").axes[0]
    assert [list(a.get_ydata()) for a in ax.lines] == [list(b.get_ydata()) for b in again.lines], (
        "no chance in it"
    )


def test_signed_bars_carry_their_numbers():
    ax = figures.draw_bars({"up": 1.5, "down": -0.25}, "logits", marked=["down"]).axes[0]
    assert [patch.get_width() for patch in ax.patches] == [1.5, -0.25] and texts(ax) == ["1.50", "-0.25"]
    assert [to_hex(patch.get_facecolor()).upper() for patch in ax.patches] == [figures.BLUE, figures.ORANGE]


def test_a_sum_goes_on_where_the_last_part_ended():
    ax = figures.draw_sum({"a": 2.0, "b": -3.0, "c": 5.0}, "logits", "all").axes[0]
    ends = [(patch.get_x(), round(patch.get_x() + patch.get_width(), 9)) for patch in ax.patches]
    assert [sorted(end) for end in ends] == [[0, 2], [-1, 2], [-1, 4], [0, 4]]
    assert to_hex(ax.patches[-1].get_facecolor()).upper() == figures.ORANGE
    assert texts(ax) == ["+2.00", "-3.00", "+5.00", "+4.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c", "all"]
    assert ax.get_xlim()[0] < -1 and ax.get_xlim()[1] > 4


def test_points_are_named_where_asked_against_the_line_of_equals():
    ax = figures.draw_against(
        {"writer": (6.0, 7.0), "other": (-1.0, 4.0)}, "direct", "lost", ["writer"]
    ).axes[0]
    line, writer, other = ax.lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == [-1.0, 7.0]
    assert (writer.get_xdata()[0], writer.get_ydata()[0]) == (6.0, 7.0) and texts(ax) == ["writer"]
    assert writer.get_color() == figures.ORANGE != other.get_color()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("direct", "lost")
