"""The pictures of notebook gpt_model/01 show what they are given: maps, curves and boxes are counted."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gpt_model.figures import blocks as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_maps_stand_side_by_side_on_one_scale():
    fig = figures.draw_maps({"a": [[1, -2]], "b": [[0.5, 0]]}, "feature", "token", scale="value")
    panels = [ax for ax in fig.axes if ax.images]
    assert [ax.get_title("left") or ax.get_title() for ax in panels] == ["a", "b"]
    assert np.array_equal(panels[0].images[0].get_array(), [[1, -2]])
    assert {ax.images[0].get_clim() for ax in panels} == {(-2.0, 2.0)}, "colours mean the same in every panel"
    assert panels[0].get_ylabel() == "token" and fig.axes[-1].get_ylabel() == "value"


def test_maps_of_zeros_and_maps_with_a_limit_and_axes_of_their_own():
    assert figures.draw_maps({"a": [[0.0]]}, "x", "y").axes[0].images[0].get_clim() == (-1.0, 1.0)
    image = figures.draw_maps({"a": [[9.0]]}, "x", "y", limit=3, extent=(-4, 4, -2, 2)).axes[0].images[0]
    assert image.get_clim() == (-3, 3) and tuple(image.get_extent()) == (-4, 4, -2, 2)


def test_curves_keep_their_colour_from_panel_to_panel():
    fig = figures.draw_curves([0, 1], {"value": {"f": [1, 2], "g": [3, 4]}, "slope": {"g": [5, 6]}}, "z")
    left, right = fig.axes
    assert [list(line.get_ydata()) for line in left.lines] == [[1, 2], [3, 4]]
    assert [list(line.get_ydata()) for line in right.lines] == [[5, 6]]
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    assert left.get_xlabel() == right.get_xlabel() == "z"


def test_a_block_has_a_box_for_each_step_and_a_branch_for_each_plus():
    steps = [("norm", True), ("attention", True), ("+", False), ("feed-forward", True), ("+", False)]
    ax = figures.draw_block({"pre": steps, "none": [("norm", False)]}).axes[0]
    boxes = {(t.get_text(), *t.get_position()) for t in ax.texts if t.get_bbox_patch() is not None}
    assert {(words, y) for words, _, y in boxes} == {
        *{("norm", 0.8), ("attention", 0.8), ("+", 0), ("feed-forward", 0.8), ("norm", -2.2)},
    }, "steps on the branch stand above the stream, others on it"
    branches = [list(line.get_xdata()) for line in ax.lines]
    assert branches == [[-0.6, -0.6, 2], [2.4, 2.4, 4]], (
        "each leaves before its first step and ends at its plus"
    )
    colours = {
        t.get_text(): to_hex(t.get_bbox_patch().get_facecolor()) for t in ax.texts if t.get_bbox_patch()
    }
    assert colours["norm"] == figures.BOXES["norm"] != colours["attention"]
