"""The pictures of notebook 08 show what they are given, and say so where nothing was measured."""

import math

import pytest
from matplotlib.colors import to_hex

from attention_mechanisms.figures import race_of_the_variants as figures
from utils.plotting import PALETTE


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    "draw",
    [
        lambda words: figures.draw_pairs({}, "loss", words),
        lambda words: figures.draw_intervals({}, "loss", words),
        lambda words: figures.draw_intervals({"a": ((0.1, -math.inf, math.inf), [0.1])}, "loss", words),
        lambda words: figures.draw_speedups({}, words),
        lambda words: figures.draw_bytes({}, words),
        lambda words: figures.draw_frontiers({}, {}, "loss", words),
        figures.draw_missing,
    ],
)
def test_what_was_not_measured_is_said(draw):
    assert texts(draw("not measured: run it").axes[0]) == ["not measured: run it"]


def test_parts_stand_one_behind_the_other_with_their_numbers():
    ax = figures.draw_parts({"mha": {"a": 30, "b": 70}, "gqa": {"a": 20, "b": 79.6}}, "parameters").axes[0]
    assert [(p.get_x(), p.get_width()) for p in ax.patches] == [(0, 30), (0, 20), (30, 70), (20, 79.6)]
    assert texts(ax) == ["30", "20", "70", "80"]


def test_ratios_are_coloured_by_their_logarithm_and_one_is_white():
    ax = figures.draw_ratios({"mha": {"x": 1, "y": 1}, "gqa": {"x": 2, "y": 0.5}}).axes[0]
    values = ax.images[0].get_array()
    assert values[0].tolist() == [0, 0] and values[1, 0] == -values[1, 1] > 0
    assert texts(ax) == ["1", "1", "2", "0.5"]
    low, high = ax.images[0].get_clim()
    assert low == -high, "1 is in the middle of the colours"


def test_pairs_join_what_had_the_same_seed():
    losses = {"mha": {0: 1.0, 1: 2.0}, "gqa": {0: 1.5}, "swa": {0: 1.2, 1: 2.1}}
    ax = figures.draw_pairs({"text": losses}, "loss").axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 1.5, 1.2], [2.0, 2.1]]
    assert list(ax.lines[1].get_xdata()) == [0, 2], "a model that is missing leaves a gap in its line"


def test_an_interval_without_zero_is_orange():
    rows = {"same": ((0.1, -0.2, 0.4), [0.0, 0.2]), "worse": ((0.3, 0.1, 0.5), [0.2, 0.4])}
    ax = figures.draw_intervals(rows, "loss").axes[0]
    bars = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"][:2]
    assert [list(line.get_xdata()) for line in bars] == [[-0.2, 0.4], [0.1, 0.5]]
    assert [to_hex(line.get_color()).upper() for line in bars] == list(PALETTE[:2])


def test_speedups_have_a_panel_for_each_variant_and_a_line_for_each_level():
    one = {"median": 2.0, "min": 1.5, "max": 3.0}
    levels = {
        "alone": {"gqa": {64: one, 256: one}, "swa": {64: one}},
        "model": {"gqa": {256: one}, "swa": {}},
    }
    axes = figures.draw_speedups(levels).axes
    assert [ax.get_title(loc="left") + ax.get_title() for ax in axes] == ["gqa", "swa"]
    assert [len(ax.containers) for ax in axes] == [2, 2]
    low, high = axes[0].containers[0].lines[1]
    assert list(low.get_ydata()) == [1.5, 1.5] and list(high.get_ydata()) == [3.0, 3.0]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["64", "256"]


def test_turns_draw_each_candidate_with_its_mean():
    ax = figures.draw_turns({"in turn": {"A": ((0, 2), (1.0, 3.0)), "B": ((1, 3), (2.0, 4.0))}}).axes[0]
    assert list(ax.lines[0].get_xdata()) == [0, 2] and ax.lines[1].get_ydata()[0] == 2.0
    assert ax.lines[3].get_ydata()[0] == 3.0


def test_bytes_are_weights_and_then_cache_with_a_word():
    ax = figures.draw_bytes({"1k": {"mha": (10, 4, "× 1"), "gqa": (10, 1, "× 1.3")}}).axes[0]
    assert [(p.get_x(), p.get_width()) for p in ax.patches] == [(0, 10), (0, 10), (10, 4), (10, 1)]
    assert texts(ax) == ["× 1", "× 1.3"]


def test_the_frontier_is_full_and_joined_and_the_rest_is_hollow():
    points = {"cost": {"a": (1, (3.0, 2.9, 3.2)), "b": (2, (2.0, 2.0, 2.0)), "c": (3, (2.5, 2.5, 2.6))}}
    ax = figures.draw_frontiers(points, {"cost": ["a", "b"]}, "loss").axes[0]
    assert list(ax.lines[0].get_xdata()) == [1, 2] and list(ax.lines[0].get_ydata()) == [3.0, 2.0]
    faces = [to_hex(c.lines[0].get_markerfacecolor()).upper() for c in ax.containers]
    assert faces == [PALETTE[0], PALETTE[1], "#FFFFFF"] and texts(ax) == ["a", "b", "c"]
