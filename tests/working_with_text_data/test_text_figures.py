"""The notebooks' pictures show the numbers they are given: bars, boxes and labels are counted."""

import numpy as np
import pytest

from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.figures import tour as figures

VOCAB = ByteTokenizer().vocab_size


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def spread(peak):
    p = np.full(VOCAB, 0.1 / VOCAB)
    p[ord(peak)] += 0.9
    return p


def test_stations_stand_in_order_with_the_arrow_back():
    ax = figures.draw_stations({"text": "a", "model": "b", "loss": "c"}, ("loss", "model", "learn")).axes[0]
    assert [t for t in texts(ax) if t] == ["text", "a", "model", "b", "loss", "c", "learn"]


def test_a_strip_has_a_box_for_each_token_as_wide_as_its_bytes():
    ax = figures.draw_token_strips("a é", {"bytes": ByteTokenizer()}).axes[0]
    assert texts(ax) == ["a", "·", "‹c3›", "‹a9›"]
    assert "bytes: 4 tokens" in (ax.get_title(), ax.get_title(loc="left"))
    assert [patch.get_width() for patch in ax.patches] == [1, 1, 1, 1]


def test_a_ladder_asks_one_question_less_than_it_has_tokens():
    ax = figures.draw_ladder(["a", "b", "c"]).axes[0]
    assert texts(ax) == ["a", "b", "a", "b", "c"]
    asked = [t.get_text() for t in ax.texts if t.get_bbox_patch().get_facecolor()[2] < 0.8]
    assert asked == ["b", "c"]


def test_counts_leave_out_nothing_but_zeros():
    ax = figures.draw_counts({"x": 1000, "none": 0, "y": 5}, "parts").axes[0]
    assert [p.get_width() for p in ax.patches] == [1000, 5] and texts(ax) == [" 1,000", " 5"]


def test_what_moves_before_the_changed_place_is_drawn_as_a_leak():
    ax = figures.draw_changes({"leaky": [0.5, 0.25, 1.0]}, place=1).axes[0]
    assert [p.get_height() for p in ax.patches] == [0.5, 0.25, 1.0]
    first, second, third = (p.get_facecolor() for p in ax.patches)
    assert first != second and second == third


def test_next_tokens_come_with_the_likeliest_first_and_the_line_of_no_opinion():
    fig = figures.draw_next_tokens({"before": spread("x"), "after": spread("y")}, ByteTokenizer(), n=3)
    before, after = fig.axes
    assert before.get_yticklabels()[0].get_text() == "x" and after.get_yticklabels()[0].get_text() == "y"
    assert after.patches[0].get_width() > 0.9
    assert before.lines[0].get_xdata()[0] == pytest.approx(1 / VOCAB)


def test_temperatures_share_their_tokens():
    ax = figures.draw_temperatures({"T = 1": spread("x"), "T = 2": spread("y")}, ByteTokenizer(), n=4).axes[0]
    assert ax.get_xticklabels()[0].get_text() == "y" and len(ax.patches) == 8


def test_loss_curves_show_both_splits_and_the_levels():
    metrics = [
        {"split": "train", "step": 1, "loss": 5.0},
        {"split": "val", "step": 1, "loss": 4.5},
        {"split": "train", "step": 2, "loss": 4.0},
    ]
    ax = figures.draw_loss_curves(metrics, {"nothing": 7.0}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [5.0, 4.0] and list(ax.lines[1].get_ydata()) == [4.5]
    assert texts(ax) == ["nothing"]


def test_attention_maps_are_drawn_as_they_are():
    heads = np.stack([np.eye(3), np.full((3, 3), 1 / 3)])
    fig = figures.draw_attention(heads, ["a", "b", "c"])
    assert len(fig.axes) == 2 and np.array_equal(fig.axes[1].images[0].get_array(), heads[1])
