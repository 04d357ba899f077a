"""The pictures of notebook pretraining/06 show what they are given: cells, words and marks are counted."""

import pytest
from matplotlib.colors import to_hex

from pretraining.figures import checkpoints_and_resume as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_each_moment_is_a_cell_in_the_colour_of_what_is_found():
    rows = {"in place": ["old", "torn", "new"], "remove first": ["old", "nothing", "torn", "new"]}
    fig = figures.draw_outcomes(rows)
    ax = fig.axes[0]
    assert [text.get_text() for text in ax.texts] == [*rows["in place"], *rows["remove first"]]
    colours = [to_hex(patch.get_facecolor()).lower() for patch in ax.patches]
    assert colours == [figures.COLOURS[what].lower() for found in rows.values() for what in found]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["old", "new", "torn", "nothing"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row on top"


def test_what_is_on_the_disk_is_filled_and_the_best_has_a_star():
    losses = {1: 3.0, 2: 1.0, 3: 2.0}
    fig = figures.draw_kept(losses, {1: {1}, 2: {2}, 3: {2, 3}}, {1: 1, 2: 2, 3: 2})
    top, ax = fig.axes
    assert list(top.lines[0].get_ydata()) == [3.0, 1.0, 2.0]
    filled = [
        line
        for line in ax.lines
        if line.get_marker() == "o" and line.get_markersize() == 9 and len(line.get_xdata())
    ]
    assert [list(line.get_xdata()) for line in filled] == [[1], [2], [2, 3]]
    hollow = [line for line in ax.lines if line.get_markersize() == 7 and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in hollow] == [[1], [1]]
    stars = [line for line in ax.lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in stars] == [[1], [2], [2]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "time runs down"


def test_lanes_show_steps_in_blue_and_what_has_a_name_in_orange():
    fig = figures.draw_lanes({"loop": [(0.0, 2.0, ""), (2.0, 5.0, "save")], "thread": [(5.0, 9.0, "write")]})
    ax = fig.axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 2), (2, 3), (5, 4)]
    colours = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [figures.PALETTE[5], figures.PALETTE[1], figures.PALETTE[1]]
    assert [text.get_text() for text in ax.texts] == ["save", "write"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["loop", "thread"]
