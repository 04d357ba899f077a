"""The pictures of notebook 06 show what they are given: bars, lines, boxes and rectangles are counted."""

import pytest
from matplotlib.colors import to_hex, to_rgb

from attention_mechanisms.figures import latent as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_counts_write_their_numbers_and_mark_what_is_asked():
    ax = figures.draw_counts({"mha": 1536, "mla": 288, "ratio": 0.5}, "numbers", marked=["mla"]).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [1536, 288, 0.5]
    assert texts(ax) == ["1,536", "288", "0.5"]
    orange = [to_rgb(bar.get_facecolor()) == to_rgb(figures.ORANGE) for bar in ax.patches]
    assert orange == [False, True, False]


def test_lines_have_their_points_their_scales_and_their_marks():
    ax = figures.draw_lines(
        {"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}, "x", "y", log="xy", marks={"edge": 2}
    ).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[3, 4], [5, 6]]
    assert ax.get_xscale() == ax.get_yscale() == "log" and texts(ax) == ["edge"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_single_line_needs_no_legend_and_points_can_be_left_out():
    ax = figures.draw_lines({"": ([1, 2], [3, 4])}, "x", "y", points=False).axes[0]
    assert ax.get_legend() is None and ax.get_xscale() == "linear"
    assert ax.lines[0].get_marker() in ("None", "", None) and ax.lines[0].get_linestyle() == "-"


def test_a_flow_has_a_box_for_each_step_and_an_arrow_between_two():
    rows = {"naive": [("latents", "10 × 4"), ("keys", "10 × 8")], "absorbed": [("query", "1 × 4")]}
    ax = figures.draw_flow(rows, kept=["latents"]).axes[0]
    shown = [text for text in texts(ax) if text]
    assert shown == ["naive", "latents", "10 × 4", "keys", "10 × 8", "absorbed", "query", "1 × 4"]
    boxes = {t.get_text(): t.get_bbox_patch() for t in ax.texts if t.get_bbox_patch() is not None}
    assert to_hex(boxes["latents"].get_facecolor()) == figures.KEPT
    assert to_hex(boxes["keys"].get_facecolor()) == figures.PLAIN


def test_matrices_are_drawn_to_scale():
    ax = figures.draw_matrices(
        [[("x", 10, 30, "data")], [("c", 10, 4, "kept"), ("w", 30, 4, "weight")]]
    ).axes[0]
    assert [(p.get_height(), p.get_width()) for p in ax.patches] == [(10, 30), (10, 4), (30, 4)]
    assert [to_hex(p.get_facecolor()) for p in ax.patches] == [figures.PLAIN, figures.KEPT, figures.WEIGHT]
    assert texts(ax) == ["x\n10 × 30", "c\n10 × 4", "w\n30 × 4"] and ax.get_aspect() == 1


def test_shares_stand_side_by_side():
    ax = figures.draw_shares({"right": [0.25, 0.75], "wrong": [0.5, 0.5]}).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.25, 0.75, 0.5, 0.5]
    assert ax.patches[0].get_x() < ax.patches[2].get_x() < ax.patches[1].get_x()
