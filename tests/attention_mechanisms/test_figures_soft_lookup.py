"""The pictures of notebook 01 show what they are given: bars, cells, strips and curves are counted."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from attention_mechanisms.figures import soft_lookup as figures

COLOURS = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_the_wheel_has_an_arrow_for_each_key_and_a_bar_for_each_score():
    keys = {"red": torch.tensor([1.0, 0.0]), "blue": torch.tensor([-1.0, 0.0])}
    fig = figures.draw_wheel(keys, COLOURS, torch.tensor([0.0, 1.0]), "up", torch.tensor([0.25, -0.5]))
    arrows, bars = fig.axes
    assert [t.get_text() for t in arrows.texts if t.get_text()] == ["red", "blue", "up"]
    assert [bar.get_width() for bar in bars.patches] == [0.25, -0.5]
    assert [t.get_text() for t in bars.texts] == ["+0.25", "-0.50"]


def test_a_lookup_shows_its_shares_and_the_colour_it_found():
    fig = figures.draw_lookups(
        {"half": (torch.tensor([0.5, 0.5]), (0.5, 0.0, 0.5))}, ["red", "blue"], COLOURS
    )
    bars, patch = fig.axes
    assert [bar.get_height() for bar in bars.patches] == [0.5, 0.5]
    assert [to_rgb(bar.get_facecolor()) for bar in bars.patches] == COLOURS
    assert np.asarray(patch.images[0].get_array())[0, 0].tolist() == [0.5, 0.0, 0.5]


def test_a_heat_map_writes_shares_and_row_sums():
    table = torch.tensor([[0.25, 0.75], [0.0, 0.5]])
    ax = figures.draw_heat_maps({"map": table}, ["a", "b"], ["x", "y"], sums=True).axes[0]
    assert np.asarray(ax.images[0].get_array()).tolist() == table.tolist()
    assert [t.get_text() for t in ax.texts] == ["0.25", "0.75", "0.50", "Σ 1.00", "Σ 0.50"], "0 is left empty"


def test_heat_maps_stand_side_by_side_on_one_scale():
    axes = figures.draw_heat_maps({"one": torch.eye(2), "two": torch.eye(2)}, "ab", "xy", numbers=False).axes
    assert [ax.get_title() for ax in axes] == ["one", "two"] and not axes[0].texts
    assert all(ax.images[0].get_clim() == (0, 1) for ax in axes)


def test_strips_cut_what_is_too_bright():
    axes = figures.draw_strips({"a": torch.tensor([[2.0, 0.5, -1.0]])}, ["first"]).axes
    assert np.asarray(axes[0].images[0].get_array())[0, 0].tolist() == [1.0, 0.5, 0.0]


def test_spread_draws_each_width_on_the_same_bins():
    ax = figures.draw_spread({"d = 1": torch.tensor([-1.0, 1.0]), "d = 4": torch.tensor([-2.0, 2.0])}).axes[0]
    narrow, wide = (patch.get_data() for patch in ax.patches)
    assert narrow.edges.tolist() == wide.edges.tolist() and wide.edges[-1] == 2
    assert (narrow.values > 0).sum() == (wide.values > 0).sum() == 2


def test_against_width_has_a_panel_a_quantity_and_a_curve_a_way():
    panels = {"entropy": {"scaled": [3.0, 3.0], "raw": [3.0, 1.0]}, "slope": {"scaled": [1.0, 1.0]}}
    first, second = figures.draw_against_width(panels, [4, 64], log=["slope"]).axes
    assert [list(line.get_ydata()) for line in first.lines] == [[3.0, 3.0], [3.0, 1.0]]
    assert first.get_yscale() == "linear" and second.get_yscale() == "log"
    assert [t.get_text() for t in first.get_legend().get_texts()] == ["scaled", "raw"]
