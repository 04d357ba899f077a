"""The pictures of notebook 03 show what they are given: boxes, heights, colours, bars and words are counted."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gpt_model.figures import real_weights as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def title(ax):  # on the left in the book's style, else in the middle
    return ax.get_title(loc="left") or ax.get_title()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_renaming_has_both_names_and_marks_what_is_turned():
    rows = [
        ("wte", "(9, 4)", "table", "(9, 4)", "copied"),
        ("c_fc", "(4, 8)", "up", "(8, 4)", "turned"),
        ("c_proj", "(4, 4)", "out", "(4, 4)", "turned, and square"),
    ]
    ax = figures.draw_renaming(rows).axes[0]
    boxes = {t.get_text(): t.get_bbox_patch() for t in ax.texts if t.get_bbox_patch() is not None}
    assert list(boxes) == [
        *("wte  (9, 4)", "table  (9, 4)", "c_fc  (4, 8)", "up  (8, 4)", "c_proj  (4, 4)", "out  (4, 4)")
    ]
    assert to_hex(boxes["wte  (9, 4)"].get_facecolor()) == figures.COPIED
    assert to_hex(boxes["up  (8, 4)"].get_facecolor()) == figures.TURNED
    assert to_hex(boxes["c_proj  (4, 4)"].get_facecolor()) == figures.SQUARE
    assert texts(ax).count("T") == 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(figures.KINDS)


def test_a_legend_names_only_the_kinds_that_occur():
    ax = figures.draw_renaming([("a", "(1,)", "b", "(1,)", "copied")]).axes[0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["copied"]


def test_stacks_lie_one_below_the_other_to_scale():
    fig = figures.draw_stacks({"qkv": [("q", 8), ("k", 4), ("v", 4)], "up": [("gate", 10), ("up", 10)]}, 8)
    left, right = fig.axes
    assert [(p.get_y(), p.get_height(), p.get_width()) for p in left.patches] == [
        (0, 8, 8),
        (8, 4, 8),
        (12, 4, 8),
    ]
    assert [p.get_y() for p in right.patches] == [0, 10]
    assert "16 × 8" in title(left) and texts(left)[1] == "k\n4 × 8"
    assert left.get_ylim() == right.get_ylim() == (20, 0), "one scale, rows downwards"


def test_profiles_stand_at_their_heights_and_equal_stands_at_the_floor():
    ax = figures.draw_profiles({"right": {"a": 0.0, "b": 1e-7}, "wrong": {"a": 0.1, "b": 1.0}}, 1e-5).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[figures.FLOOR, 1e-7], [0.1, 1.0]]
    assert ax.get_yscale() == "log" and list(ax.lines[2].get_ydata()) == [1e-5, 1e-5]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["right", "wrong"]
    ax.figure.canvas.draw()
    assert ax.get_yticklabels()[0].get_text() == "equal"


def test_a_lone_profile_needs_no_legend():
    assert figures.draw_profiles({"one": {"a": 1e-6}}, 1e-5).axes[0].get_legend() is None


def test_fingerprints_share_one_scale_and_leave_what_is_equal_white():
    panels = {name: np.array([[0.0, 0.0], [0.0, 0.5]]) for name in "abcd"}
    fig = figures.draw_fingerprints(panels, ["embedding", "logits"])
    maps = [ax for ax in fig.axes if ax.images]
    assert [title(ax) for ax in maps] == list("abcd")
    image = maps[0].images[0]
    assert image.get_array().mask.tolist() == [[True, True], [True, False]]
    assert to_hex(image.cmap(np.ma.masked)) == "#ffffff"
    assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in maps}) == 1
    assert [t.get_text() for t in maps[0].get_yticklabels()] == ["embedding", "logits"]


def test_verdicts_write_their_numbers_beside_the_limit():
    ax = figures.draw_verdicts(
        {"x": {"loud": 0.1, "quiet": 0.0}, "y": {"loud": 1.0, "quiet": 1e-6}}, 1e-5
    ).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.1, 1.0, figures.FLOOR, 1e-6]
    assert [text for text in texts(ax) if "limit" not in text] == ["1e-01", "1e+00", "equal", "1e-06"]
    assert ax.get_xscale() == "log" and list(ax.lines[0].get_xdata()) == [1e-5, 1e-5]


def test_a_lens_has_a_word_in_each_cell_and_bold_where_it_is_right():
    words = [[" a", "\n"], ["$", "<|endoftext|>"]]
    ax = figures.draw_lens(
        words,
        [[0.1, 0.9], [0.5, 1.0]],
        ["embedding", "block 0"],
        [" In", " "],
        [[False, True], [False, False]],
    ).axes[0]
    assert texts(ax) == ["a", "⏎", r"\$", "<|endoft…"]
    assert [text.get_fontweight() for text in ax.texts] == ["normal", "bold", "normal", "normal"]
    assert [text.get_color() for text in ax.texts] == ["black", "white", "black", "white"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["In", "␣"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["embedding", "block 0"]


def test_a_lens_without_marks_has_nothing_in_bold():
    ax = figures.draw_lens([["a"]], [[0.5]], ["embedding"], ["In"]).axes[0]
    assert ax.texts[0].get_fontweight() == "normal"
