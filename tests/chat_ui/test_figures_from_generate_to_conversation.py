"""The pictures of notebook chat_ui/01 show what they are given: boxes, bars, lines and marks are counted."""

import pytest
from matplotlib.colors import to_hex

from chat_ui.figures import from_generate_to_conversation as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_prompt_is_a_box_a_token_in_reading_order():
    kinds = ["marker", "words", "words", "end"]
    ax = figures.draw_prompt(list(zip("abcd", kinds, strict=True)), per_row=3).axes[0]
    assert [text.get_text() for text in ax.texts] == list("abcd")
    assert [round(bar.get_x()) for bar in ax.patches] == [0, 1, 2, 0], "the fourth begins a row"
    colours = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [figures.PALETTE[figures.KINDS.index(kind)].upper() for kind in kinds]


def test_a_budget_shows_what_is_forgotten_left_of_zero_and_the_context_as_a_line():
    ax = figures.draw_budget([(0, 10, 5), (20, 30, 6)], 64).axes[0]
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 0), (0, 10), (10, 5), (-20, 20), (0, 30), (30, 6)]
    assert list(ax.lines[0].get_xdata()) == [64, 64]
    assert len(ax.get_legend().get_texts()) == 3


def test_work_is_a_line_a_way_from_turn_one():
    ax = figures.draw_work({"cold": [1, 2, 3], "warm": [1, 1, 1]}, "places").axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 2, 3], [1, 1, 1]]
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3] and ax.get_ylim()[0] == 0
    assert ax.get_ylabel() == "places"


def test_arrivals_are_a_row_of_marks_an_answer():
    ax = figures.draw_arrivals({"Ann": [1, 2, 4], "Ben": [3]}).axes[0]
    assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2, 4], [3]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Ann", "Ben"]
