"""The pictures of notebook 02 show what they are given: permissions, leaks, layouts and heads are counted."""

import numpy as np
import pytest
import torch

from attention_mechanisms import causal_mask
from attention_mechanisms.figures import causal_multi_head as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


def names(ticks):
    return [t.get_text() for t in ticks]


def test_masks_are_drawn_as_they_are_and_rows_are_named_after_the_newest_tokens():
    fig = figures.draw_masks({"warm": causal_mask(2, 4), "square": causal_mask(4, 4)}, "abcd")
    warm, square = fig.axes
    assert drawn(warm).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert names(warm.get_yticklabels()) == ["c", "d"] and names(warm.get_xticklabels()) == list("abcd")
    assert names(square.get_yticklabels()) == list("abcd")


def test_masks_wrap_and_leave_no_empty_frame():
    fig = figures.draw_masks(dict.fromkeys("abc", causal_mask(2, 2)), columns=2)
    assert [ax.axison for ax in fig.axes] == [True, True, True, False]


def test_influence_tells_the_past_from_a_leak_and_nothing_from_a_little():
    table = torch.tensor([[1.0, 1e-12], [0.5, 1.0]])
    ax = figures.draw_influence({"layer": table}).axes[0]
    assert drawn(ax).tolist() == [[1, 2], [1, 1]] and ax.get_title() == "layer: 1 leak"
    clean = figures.draw_influence({"layer": table.tril()}).axes[0]
    assert drawn(clean).tolist() == [[1, 0], [1, 1]] and clean.get_title() == "layer: no leak"


def test_a_layout_has_a_box_for_each_number_with_its_token():
    ax = figures.draw_layout({"right": torch.tensor([[[0, 0], [1, 1]], [[0, 0], [1, 1]]])}, 2).axes[0]
    assert [t.get_text() for t in ax.texts] == ["0", "0", "1", "1"] * 2 and len(ax.patches) == 8
    assert names(ax.get_xticklabels()) == ["head 0", "head 1"]


def test_blocks_are_to_scale_and_counted():
    ax = figures.draw_blocks({"a": (4, 4), "b": (4, 2)}, "sizes").axes[0]
    assert [(p.get_height(), p.get_width()) for p in ax.patches] == [(4, 4), (4, 2)]
    assert "4 × 2\n8" in [t.get_text() for t in ax.texts]


def test_the_grid_has_every_head_in_its_place_with_its_name():
    maps = torch.rand(2, 3, 4, 4)
    axes = figures.draw_head_grid(maps, {(1, 2): "local"}).axes
    assert len(axes) == 6 and axes[5].get_title() == "1.2 local" and axes[0].get_title() == "0.0"
    assert np.allclose(drawn(axes[4]) ** 2, maps[1, 1].numpy(), atol=1e-6)


def test_maps_name_tokens_on_both_sides():
    first, second = figures.draw_maps({"a": torch.eye(2), "b": torch.ones(2, 2) / 2}, ["x", "y"]).axes
    assert names(first.get_xticklabels()) == names(first.get_yticklabels()) == ["x", "y"]
    assert drawn(second).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_points_show_values_and_heads():
    ax = figures.draw_points(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), {"head": torch.tensor([0.5, 0.5])}).axes[
        0
    ]
    values, head = ax.collections
    assert values.get_offsets().tolist() == [[0, 0], [1, 1]] and head.get_offsets().tolist() == [[0.5, 0.5]]
    assert names(ax.texts) == ["value 0", "value 1", "head"]


def test_losses_draw_curves_and_levels():
    ax = figures.draw_losses({"a": [3.0, 1.0]}, {"dice": 2.77}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [3.0, 1.0] and list(ax.lines[1].get_ydata()) == [2.77, 2.77]
    assert names(ax.texts) == ["dice"] and names(ax.get_legend().get_texts()) == ["a"]
