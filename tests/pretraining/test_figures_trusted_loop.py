"""The pictures of notebook 01 show what they are given: lines, levels, bars and arrows are counted."""

import pytest

from pretraining.figures import trusted_loop as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_curves_and_levels_are_where_they_belong():
    fig = figures.draw_curves(
        {"a": ([1, 2], [3.0, 2.0]), "b": ([1, 2], [4.0, 1.0])}, "loss", levels={"ln V": 6.2}, log=True
    )
    (ax,) = fig.axes
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[3.0, 2.0], [4.0, 1.0]]
    assert ax.lines[2].get_ydata()[0] == 6.2 and ax.texts[0].get_text() == "ln V"
    assert ax.get_yscale() == "log" and ax.get_ylabel() == "loss"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_each_labelled_token_is_a_bar_of_its_weight():
    fig = figures.draw_token_weights({"wrong": [[0.5, 0.5], [1.0]], "right": [[1 / 3] * 2, [1 / 3]]})
    wrong, right = fig.axes
    assert [bar.get_height() for bar in wrong.patches] == [0.5, 0.5, 1.0]
    assert {round(bar.get_height(), 6) for bar in right.patches} == {0.333333}
    assert len({bar.get_facecolor() for bar in right.patches}) == 2, "two micro-batches, two colours"


def test_arrows_end_where_the_gradients_do():
    fig = figures.draw_arrows({"before": (3.0, 4.0), "after": (0.6, 0.8)}, 1.0)
    (ax,) = fig.axes
    assert [text.xy for text in ax.texts] == [(3.0, 4.0), (0.6, 0.8)]
    assert ax.patches[0].get_radius() == 1.0 and ax.get_xlim()[1] > 3


def test_a_dashboard_has_a_panel_for_each_name():
    curves = {"train": ([1, 2], [3.0, 2.0]), "validation": ([2], [2.5])}
    fig = figures.draw_dashboard(
        {"loss": curves, "lr": {"lr": ([1, 2], [0.1, 0.2])}, "ratio": {"x": ([1], [1])}}, log=["ratio"]
    )
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == ["loss", "lr", "ratio"]
    assert len(shown[0].lines) == 2 and shown[2].get_yscale() == "log" and shown[1].get_legend() is None
