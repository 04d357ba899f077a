"""The pictures of notebook 03 show what they are given: shares, rows, stripes, curves and worths are counted."""

import numpy as np
import pytest
import torch

from attention_mechanisms.figures import reading_attention as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


def words(texts):
    return [t.get_text() for t in texts]


def test_shares_are_bars_of_their_height_and_leave_no_empty_frame():
    fig = figures.draw_shares(dict.fromkeys("abc", torch.tensor([0.25, 0.75])), columns=2)
    assert [p.get_height() for p in fig.axes[0].patches] == [0.25, 0.75]
    assert [ax.axison for ax in fig.axes] == [True, True, True, False]
    assert fig.axes[1].get_title() == "b"


def test_rows_name_every_token_and_colour_what_is_known():
    rows, known = torch.tensor([[9, 1, 2, 1]]), torch.tensor([[False, False, False, True]])
    ax = figures.draw_rows(rows, known, opening=9).axes[0]
    assert words(ax.texts) == ["·", "1", "2", "1"] and drawn(ax).tolist() == [[0, 0, 0, 1]]


def test_marks_stand_beside_the_keys_that_are_wanted():
    keys = torch.zeros(4, 4, dtype=torch.bool)
    keys[3, 1] = True
    fig = figures.draw_stripe({"a": torch.eye(4), "b": torch.ones(4, 4) / 4}, keys)
    for ax, name in zip(fig.axes, "ab", strict=True):
        assert ax.get_title() == name and ax.collections[0].get_offsets().tolist() == [[2, 3]]
    assert drawn(fig.axes[0]).tolist() == np.eye(4).tolist()
    assert fig.axes[0].get_ylim() == (3.5, -0.5), "query 0 stands at the top"


def test_losses_stand_above_scores_over_the_same_steps():
    fig = figures.draw_phase([0, 5], {"new": [4.0, 4.1]}, {"score": [0.0, 1.0]}, {"dice": 4.16})
    above, below = fig.axes
    assert list(above.lines[0].get_xdata()) == [0, 5] and list(above.lines[0].get_ydata()) == [4.0, 4.1]
    assert words(above.texts) == ["dice"] and list(above.lines[1].get_ydata()) == [4.16, 4.16]
    assert list(below.lines[0].get_ydata()) == [0.0, 1.0] and below.get_ylim() == (0, 1.02)
    assert above.get_ylim()[1] > 4.16


def test_worth_is_written_where_the_head_is_and_scales_may_be_shared():
    tables = {"a": torch.tensor([[0.0, 1.0], [0.25, 0.5]]), "b": torch.zeros(2, 2)}
    first, second = figures.draw_worth(tables).axes
    assert words(first.texts) == ["0.00", "1.00", "0.25", "0.50"] and words(second.texts) == ["0.00"] * 4
    at = {t.get_text(): t.get_position() for t in first.texts}
    assert at["1.00"] == (1, 0) and at["0.25"] == (0, 1), "heads across, layers down"
    assert first.images[0].get_clim() != second.images[0].get_clim()
    first, second = figures.draw_worth(tables, top=1.0).axes
    assert first.images[0].get_clim() == second.images[0].get_clim()


def test_every_head_is_a_named_point():
    models = {"tiny": {"0.0": (0.5, 2.0), "1.0": (1.0, 0.0)}, "other": {"0.0": (0.1, 0.2)}}
    tiny, other = figures.draw_looks_and_worth(models, "score").axes
    assert [c.get_offsets().tolist() for c in tiny.collections] == [[[0.5, 2.0]], [[1.0, 0.0]]]
    assert words(tiny.texts) == ["0.0", "1.0"] and other.get_title() == "other"
    assert tiny.get_xlabel() == "score"


def test_levels_are_bars_from_top_to_bottom_with_their_numbers():
    ax = figures.draw_levels({"a": 1.0, "b": 2.5}, "loss", {"dice": 4.0}).axes[0]
    assert [p.get_width() for p in ax.patches] == [1.0, 2.5] and words(ax.get_yticklabels()) == ["a", "b"]
    assert words(ax.texts) == ["1.00", "2.50", "dice"] and ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_xlim()[1] > 4.0, "the line is inside"
