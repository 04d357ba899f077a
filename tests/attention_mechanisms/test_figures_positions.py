"""The pictures of notebook 04 show what they are given: bars, curves, arrows and maps are counted."""

import pytest
import torch

from attention_mechanisms.figures import positions as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_change_of_zero_says_so():
    ax = figures.draw_changes({"a": 0.5, "b": 0.0, "c": 1e-16}).axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.5", "exactly 0", "1e-16"]
    assert [patch.get_width() for patch in ax.patches] == [0.5, 0.0, 1e-16]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]


def test_waves_have_a_curve_for_each_place_drawn_against_the_distance():
    table = torch.randn(8, 4)
    fig = figures.draw_waves(table.numpy(), (table @ table.T).numpy(), places=(2, 5))
    left, right = fig.axes[:2]
    assert left.images[0].get_array().shape == (8, 4)
    assert [line.get_xdata()[0] for line in right.lines] == [-2, -5]
    assert list(right.lines[1].get_ydata()) == pytest.approx((table @ table.T)[5].tolist())


def test_a_rotation_has_a_numbered_arrow_for_each_position():
    fig = figures.draw_rotation({"a": [(1, 0), (0, 1)], "b": [(1, 0), (-1, 0)]}, labels=(0, 7))
    assert len(fig.axes) == 2
    names = [text.get_text() for text in fig.axes[1].texts if text.get_text()]
    assert names == ["0", "7"]
    assert [text.xy for text in fig.axes[1].texts if not text.get_text()] == [(1, 0), (-1, 0)]


def test_numbers_that_would_cover_each_other_are_left_out():
    ax = figures.draw_rotation({"slow": [(1, 0), (1, 0.01), (0.9, 0.4)]}, labels=(0, 1, 2)).axes[0]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["0", "2"]


def test_matrices_share_one_scale():
    axes = figures.draw_matrices({"a": [[1, 0], [0, 1]], "b": [[0, -0.5], [0.5, 0]]}).axes[:2]
    assert axes[1].images[0].get_array().tolist() == [[0, -0.5], [0.5, 0]]
    assert {ax.images[0].get_clim() for ax in axes} == {(-1, 1)}


def test_scores_and_decay_draw_each_curve_they_are_given():
    ax = figures.draw_scores({"x": {40: {0: 1.0, 3: 2.0}, 90: {0: 1.0, 3: 2.5}}}).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 2.0], [1.0, 2.5]]
    assert list(ax.lines[0].get_xdata()) == [0, 3]
    left, right = figures.draw_decay({"one": {"a": [1, 0.5]}, "two": {"b": [1, 0.1], "c": [1, 0.2]}}).axes
    assert len(left.lines) == 1 and [list(line.get_ydata()) for line in right.lines] == [[1, 0.1], [1, 0.2]]


def test_a_bias_hides_the_future_and_keeps_one_scale():
    where = torch.arange(3)
    tables = {"a": -0.5 * (where[:, None] - where), "b": -0.25 * (where[:, None] - where)}
    axes = figures.draw_bias(tables).axes[:2]
    shown = axes[0].images[0].get_array()
    assert shown.mask.tolist() == [[False, True, True], [False, False, True], [False, False, False]]
    assert {image.get_clim() for ax in axes for image in ax.images} == {(-1.0, 0.0)}


def test_losses_have_a_line_where_training_ended():
    ax = figures.draw_loss_by_position({"rope": ([1, 3], [2.0, 3.0])}, 2, top=4.0).axes[0]
    assert list(ax.lines[0].get_ydata()) == [2.0, 3.0] and list(ax.lines[1].get_xdata()) == [2, 2]
    assert ax.get_ylim()[1] == 4.0


def test_speeds_draw_a_share_for_each_pair():
    ax = figures.draw_speeds({"linear": [0.25, 0.25], "ntk": [1, 0.25]}).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.25, 0.25], [1, 0.25]]
