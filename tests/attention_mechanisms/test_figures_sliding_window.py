"""The pictures of notebook 07 show what they are given: pairs, slots, gradients and lost keys are counted."""

import pytest
import torch
from matplotlib.colors import to_hex

from attention_mechanisms import window_mask
from attention_mechanisms.figures import sliding_window as figures
from attention_mechanisms.figures.latent import KEPT, PLAIN


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_bands_show_each_mask_and_count_its_pairs():
    axes = figures.draw_bands({"window": window_mask(4, 4, 2), "later": window_mask(2, 4, 2)}).axes
    assert axes[0].get_title(loc="left") + axes[0].get_title() == "window\n7 pairs"
    assert axes[1].images[0].get_array().tolist() == window_mask(2, 4, 2).tolist()


def test_reach_leaves_what_is_exactly_zero_white_and_marks_where_it_ends():
    ax = figures.draw_reach(
        {"1 layer": [0.0, 0.0, 1e-9, 1.0], "2 layers": torch.tensor([0.0, 0.1, 0.2, 1.0])}
    ).axes[0]
    shown = ax.images[0].get_array()
    assert shown.mask.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert [line.get_xdata()[0] for line in ax.lines] == [1.5, 0.5]


def test_a_ring_has_a_frame_for_each_step_and_the_newest_is_orange():
    frames = [("token 0", [0, None, None], [0]), ("token 3", [3, 1, 2], [0])]
    axes = figures.draw_ring(frames, columns=3).axes
    assert len(axes) == 3 and not axes[2].patches
    assert texts(axes[1]) == ["3", "0", "1", "1", "2", "2", "token 3"]
    assert [to_hex(p.get_facecolor()) for p in axes[1].patches] == [KEPT, PLAIN, PLAIN]
    assert texts(axes[0])[2] == "", "an empty slot has no number"


def test_slots_go_round_clockwise_from_the_top():
    ax = figures.draw_ring([("", [0, 1, 2, 3], [])], columns=1).axes[0]
    places = [text.get_position() for text in ax.texts[1:-1:2]]
    assert places[0][1] > 1 and places[1][0] > 1 and places[2][1] < -1 and places[3][0] < -1


def test_occupancy_has_a_row_for_each_step():
    ax = figures.draw_occupancy([[0, None], [0, 1], [2, 1]]).axes[0]
    assert texts(ax) == ["0", "", "0", "1", "2", "1"]
    newest = [to_hex(p.get_facecolor()) == KEPT for p in ax.patches]
    assert newest == [True, False, False, True, True, False]


def test_lost_keys_are_written_and_orange():
    ax = figures.draw_who_sees({6: [0, 1], 7: [1, 2]}, {6: [1], 7: [1, 2]}, n_keys=3).axes[0]
    assert texts(ax) == ["lost", "", "", "", "", ""]
    assert [to_hex(p.get_facecolor()) for p in ax.patches].count(KEPT) == 1


def test_recall_draws_a_line_and_an_edge_for_each_model_and_chance():
    ax = figures.draw_recall(
        {"1 layer": ([1, 2], [1.0, 0.1]), "2 layers": ([1, 2], [1.0, 1.0])}, [1, 2], 0.125
    ).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[0:4:2]] == [[1.0, 0.1], [1.0, 1.0]]
    assert [line.get_xdata()[0] for line in ax.lines[1:4:2]] == [1.5, 2.5] and texts(ax) == ["chance"]
