"""The pictures of notebook 04 show what they are given: bars, arrows, edges and points are counted."""

import pytest
from matplotlib.colors import to_hex

from gpt_model.figures import sampling as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_bars_have_their_heights_and_grey_is_what_a_rule_cut():
    shares = {"fox": 0.5, "owl": 0.3, "newt": 0.2}
    fig = figures.draw_bars({"all": shares, "top-k": shares}, {"top-k": ["fox"]})
    whole, cut = fig.axes
    assert [bar.get_height() for bar in cut.patches] == [0.5, 0.3, 0.2] and cut.get_title(
        loc="left"
    ) == "top-k"
    assert [to_hex(bar.get_facecolor()) for bar in cut.patches] == [
        figures.BLUE.lower(),
        figures.CUT,
        figures.CUT,
    ]
    assert {to_hex(bar.get_facecolor()) for bar in whole.patches} == {figures.BLUE.lower()}


def test_a_rule_that_keeps_nothing_leaves_only_grey_bars():
    ax = figures.draw_bars({"wrong": {"fox": 1.0}}, {"wrong": []}).axes[0]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [figures.CUT]


def test_panels_fill_rows_and_no_empty_one_is_shown():
    fig = figures.draw_bars({str(i): {"a": 1.0} for i in range(5)}, columns=3)
    assert [ax.get_visible() for ax in fig.axes] == [True] * 5 + [False]


def test_an_interval_lays_probabilities_end_to_end():
    ax = figures.draw_interval({"fox": 0.5, "owl": 0.25, "newt": 0.25}, [0.6]).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches[:3]] == [(0, 0.5), (0.5, 0.25), (0.75, 0.25)]
    assert texts(ax) == ["fox", "owl", "newt", "u = 0.6"] and ax.texts[-1].xy[0] == 0.6


def test_grids_keep_their_numbers_and_their_names():
    fig = figures.draw_grids({"one": [[0, 1], [1, 0]], "two": [[1, 1]]}, "step", "row", ["fox", "owl"])
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["one", "two"]
    assert fig.axes[0].images[0].get_array().tolist() == [[0, 1], [1, 0]]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["fox", "owl"]


def test_a_tree_has_an_edge_for_each_word_and_names_its_paths():
    second = {"a": {"x": 0.5, "y": 0.5}, "b": {"x": 0.1, "y": 0.9}}
    ax = figures.draw_tree({"a": 0.6, "b": 0.4}, second, {"greedy": ("a", "x"), "best": ("b", "y")}).axes[0]
    assert len(ax.lines) == 2 + 4
    assert texts(ax)[:2] == ["a  0.6", "x  0.5   → 0.3  greedy"] and texts(ax)[-1] == "y  0.9   → 0.36  best"
    colours = [to_hex(line.get_color()) for line in ax.lines]
    assert colours.count(figures.CUT) == 2 and len(set(colours)) == 3


def test_texts_are_points_with_errors_labels_and_a_line_where_asked():
    ax = figures.draw_texts(
        {"heat": ([1, 2], [3, 4]), "real": ([5], [6])}, "x", "y",
        errors={"heat": [0.1, 0.2]}, joined=["heat"], labels={"heat": ["cold", "hot"], "real": ["true"]}, log="y",
    ).axes[0]  # fmt: skip
    heat, real = (container.lines[0] for container in ax.containers)
    assert list(heat.get_xdata()) == [1, 2] and list(real.get_ydata()) == [6]
    assert heat.get_linestyle() == "-" and real.get_linestyle() == "None"
    assert texts(ax) == ["cold", "hot", "true"] and ax.get_yscale() == "log" and ax.get_xscale() == "linear"


def test_surprise_has_a_panel_for_each_text_and_its_mean():
    fig = figures.draw_surprise({"beam": [0.5, 1.5], "real": [2.0, 4.0, 0.0]})
    assert [ax.get_title(loc="left") for ax in fig.axes] == [
        "beam: 1.00 nats a token",
        "real: 2.00 nats a token",
    ]
    assert fig.axes[1].lines[0].get_ydata().tolist() == [2.0, 4.0, 0.0]
