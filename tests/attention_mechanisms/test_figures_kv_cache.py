"""The pictures of notebook 05 show what they are given: cells, chunks, slots, lines and histograms are counted."""

import pytest
import torch
from matplotlib.colors import to_rgb

from attention_mechanisms.figures import kv_cache as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def colours(ax):
    return [to_rgb(patch.get_facecolor()) for patch in ax.patches]


def test_key_changes_write_each_number_and_say_zero():
    fig = figures.draw_key_changes({"a": torch.tensor([[0.0, 0.0], [0.0, 1.25]])}, ["x", "y"])
    assert texts(fig.axes[0]) == ["0", "0", "0", "1.25"]


def test_work_counts_what_is_read_and_not_what_is_kept():
    fig = figures.draw_work({"without": [[1, 0], [2, 1]], "with": [[1, 0], [3, 1]]})
    assert [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes] == ["without: 3", "with: 2"]
    assert colours(fig.axes[0])[2] == to_rgb(figures.ORANGE) and colours(fig.axes[1])[2] == to_rgb(
        figures.KEPT
    )


def test_masks_mark_each_wrong_permission():
    right, wrong = [[True, True, False], [True, True, True]], [[True, False, False], [True, True, False]]
    fig = figures.draw_masks({"right": right, "wrong": wrong}, 1, right="right")
    assert texts(fig.axes[0]).count("×") == 0 and texts(fig.axes[1]).count("×") == 2


def test_cuttings_have_a_bar_for_each_chunk_and_the_right_ones_first():
    ax = figures.draw_cuttings([[2, 1], [3], [1, 1, 1]], [True, False, True]).axes[0]
    assert colours(ax).count(to_rgb(figures.BLUE)) == 1 and colours(ax).count(to_rgb(figures.ORANGE)) == 5
    assert [round(patch.get_width() + 0.1) for patch in ax.patches] == [3, 2, 1, 1, 1, 1]


def test_slots_are_filled_up_to_the_length():
    ax = figures.draw_slots({"before": ["a", "b"], "after": ["a", "b"]}, {"before": 2, "after": 1}).axes[0]
    assert colours(ax) == [to_rgb(c) for c in (figures.KEPT, figures.KEPT, figures.KEPT, figures.EMPTY)]
    assert texts(ax) == ["before", "a", "b", "after", "a", "b"]


def test_heads_have_a_line_each_to_the_head_they_read():
    ax = figures.draw_heads({"grouped": [0, 0, 1, 1]}).axes[0]
    ends = [line.get_xdata()[1] for line in ax.lines]
    assert ends[0] == ends[1] < ends[2] == ends[3] and len(ax.lines) == 4


def test_memory_is_bytes_times_tokens():
    ax = figures.draw_memory({"mha": 2**20, "mqa": 2**18}, [1024, 2048], 2**30).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[1024, 2048], [256, 512]]
    assert ax.lines[2].get_ydata()[0] == 1024 and [t.get_text() for t in ax.get_xticklabels()] == ["1k", "2k"]


def test_errors_draw_every_number_and_the_limit():
    fig = figures.draw_errors({"a": torch.linspace(0, 0.1, 50), "b": torch.zeros(7)}, limit=0.5)
    assert [sum(patch.get_height() for patch in ax.patches) for ax in fig.axes] == [50, 7]
    assert all(ax.lines[0].get_xdata()[0] == 0.5 for ax in fig.axes)
