"""The pictures of notebook finetuning/04 show what they are given, and say so where nothing was measured."""

import pytest

from finetuning.figures import preferences_dpo as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_each_panel_has_its_lines_and_the_first_the_named_height():
    panels = {"one": {"a": ([0, 1], [1, 2]), "b": ([0, 1], [2, 1])}, "two": {"c": ([0], [0])}}
    fig = figures.draw_curves(panels, "step", ["nats", "%"], at={"aim": 1.5})
    first, second = fig.axes
    assert [t.get_text() for t in first.get_legend().get_texts()] == ["a", "b"]
    assert len(first.lines) == 3 and len(second.lines) == 1 and second.get_ylabel() == "%"
    assert "aim" in [t.get_text() for t in first.texts]


def test_a_strip_has_a_box_for_each_token_and_grey_where_nothing_is_judged():
    rows = {"chosen": (["say", " it"], [None, -2.0]), "rejected": ([" no"], [0.5])}
    ax = figures.draw_strip(rows, "nats").axes[0]
    assert [t.get_text() for t in ax.texts] == ["say", "·it", "·no"]
    colours = [p.get_facecolor() for p in ax.patches]
    assert len(colours) == 3 and len({c for c in colours[0][:3]}) == 1, "grey has no hue"
    assert colours[1] != colours[2]


def test_bars_stand_beside_each_other_for_every_name():
    ax = figures.draw_bars({"before": [0.1, 0.2], "after": [0.3, 0.4]}, ["a", "b"], "share").axes[0]
    assert sorted(p.get_height() for p in ax.patches) == [0.1, 0.2, 0.3, 0.4]
    places = [p.get_x() for p in ax.patches]
    assert len(set(places)) == 4


def test_tuning_shows_log_probabilities_as_changes_and_shares_in_percent():
    fig = figures.draw_tuning([0, 8], [0.0, 1.0], [0.0, 0.9], [-5.0, -6.0], [-7.0, -12.0])
    assert list(fig.axes[1].lines[0].get_ydata()) == [0.0, 90.0]
    changes = [list(line.get_ydata()) for line in fig.axes[2].lines[:2]]
    assert changes == [[0.0, -1.0], [0.0, -5.0]]


def test_distances_name_their_points_and_say_when_there_are_none():
    ax = figures.draw_distances({"β = 1": (0.5, 2.0), "β = 3": (0.1, 1.0)}, "KL", "margin").axes[0]
    assert [t.get_text() for t in ax.texts] == ["β = 1", "β = 3"]
    alone = figures.draw_distances({"a": (0.5, 2.0), "b": (0.1, 1.0)}, "KL", "margin", joined=False).axes[0]
    assert len(alone.lines) == len(ax.lines) - 1 == 2, "two dots, and no line where there is no order"
    assert "not measured" in figures.draw_distances({}, "KL", "margin").axes[0].texts[0].get_text()
