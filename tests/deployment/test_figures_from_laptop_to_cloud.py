"""The pictures of notebook deployment/01 show what they are given: bars, marks and words are counted."""

import pytest
from matplotlib.colors import to_hex

from deployment.figures import from_laptop_to_cloud as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_what_was_kept_is_blue_and_what_was_lost_is_orange_and_said():
    ax = figures.draw_attempts([(0, 50, 40), (40, 100, 100)], 100).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 40), (40, 10), (40, 60), (100, 0)]
    assert to_hex(ax.patches[1].get_facecolor()).upper() == figures.PALETTE[1]
    assert [text.get_text() for text in ax.texts] == ["0 to 50, 10 for nothing", "40 to 100"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first attempt on top"


def test_the_best_interval_is_marked_and_points_are_points():
    ax = figures.draw_overhead(
        [1, 10, 100], {"a": [3, 2, 1], "b": [1, 2, 3]}, [(10, 0.4), (50, 0.2)], 10.0
    ).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[3, 2, 1], [1, 2, 3]]
    assert list(ax.lines[2].get_xdata()) == [10, 50] and ax.lines[2].get_linestyle() == "None"
    assert list(ax.lines[3].get_xdata()) == [10.0, 10.0] and ax.texts[0].get_text() == "10 s"


def test_each_renewal_gives_a_lease_and_a_death_gives_none():
    rows = {"first": [(0, "renew"), (30, "renew"), (40, "dies")], "second": [(50, "asks"), (120, "takes")]}
    ax = figures.draw_lease(rows, 90, 150).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 90), (30, 90), (120, 30)]
    assert [line.get_marker() for line in ax.lines[:5]] == ["|", "|", "X", ".", "*"]


def test_prices_are_named_points():
    ax = figures.draw_prices({"T4": (10.0, 5.0), "H100": (1.0, 4.0)}).axes[0]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(10.0, 5.0), (1.0, 4.0)]
    assert [text.get_text() for text in ax.texts] == ["T4", "H100"]


def test_what_was_not_measured_says_so():
    ax = figures.draw_phases({"cold": {"import": 2.0, "load": 1.0}, "there": None}).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches[:2]] == [(0, 2.0), (2.0, 1.0)]
    assert [text.get_text() for text in ax.texts] == [" 3 s", " not measured"]
