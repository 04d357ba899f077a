"""The pictures of notebook finetuning/05 show what they are given, and say so where nothing was measured."""

import pytest

from finetuning.figures import did_it_get_better as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_forest_has_a_point_and_an_interval_for_each_arm_and_name():
    arms = {"base": {"copy": (0.1, 0.0, 0.3)}, "tuned": {"copy": (0.8, 0.7, 0.9), "sum": (0.5, 0.2, 0.8)}}
    ax = figures.draw_forest(arms, "exact, %", at=0.5).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["copy", "sum"]
    assert len(ax.lines) == 2 * 3 + 1
    assert list(ax.lines[0].get_xdata()) == [0.0, 30.0] and list(ax.lines[1].get_xdata()) == [10.0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["base", "tuned"]


def test_pairs_are_areas_in_proportion():
    ax = figures.draw_pairs(40, 10, 30, 20, ("A", "B")).axes[0]
    areas = {round(p.get_width() * p.get_height(), 6) for p in ax.patches}
    assert areas == {0.4, 0.1, 0.3, 0.2}
    assert {"40", "10", "30", "20"} <= {t.get_text() for t in ax.texts}
    assert len(figures.draw_pairs(5, 5, 0, 0, ("A", "B")).axes[0].patches) == 2, "an empty column is none"


def test_draws_share_their_bins_and_marks_are_named():
    ax = figures.draw_draws({"a": [0, 1, 1], "b": [2, 3]}, "x", {"truth": 1.5}, bins=10).axes[0]
    assert len(ax.patches) == 20
    assert "truth" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_sides_have_a_bar_for_each_measure():
    ax = figures.draw_sides({"copy": {"a": 1.0, "b": 2.0}, "sum": {"a": 3.0, "b": 0.0}}, "%").axes[0]
    assert sorted(p.get_width() for p in ax.patches) == [0.0, 1.0, 2.0, 3.0]


def test_what_was_not_measured_is_said_in_words():
    for empty in (
        figures.draw_forest({}, "x"),
        figures.draw_forest({"sft": {}}, "x"),
        figures.draw_sides({}, "x"),
    ):
        assert "not measured" in empty.axes[0].texts[0].get_text()
