"""The pictures of notebook 04 show what they are given: pieces, owners, bars on a timeline, pairs are counted."""

import pytest

from pretraining.figures import many_processes as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_ring_has_a_panel_a_moment_and_a_number_a_piece():
    fig = figures.draw_ring([[[1, 1], [1, 1]], [[1, 2], [2, 1]]], ["start", "add 1"])
    assert [ax.get_title() for ax in fig.axes] == ["start", "add 1"]
    assert [text.get_text() for text in fig.axes[1].texts] == ["1", "2", "2", "1"]
    assert [text.get_fontweight() for text in fig.axes[1].texts] == ["normal", "bold", "bold", "normal"]


def test_owners_are_written_into_their_rows():
    fig = figures.draw_owners({"two": [[0, 1], [1, -1]]})
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.texts] == ["0", "1", "1", "–"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["step 1", "step 2"]


def test_a_timeline_has_a_lane_a_name_and_hatched_messages():
    fig = figures.draw_timeline({"backward": [(0, 4, "a"), (4, 8, "b")], "messages": [(4, 10, "a")]})
    (ax,) = fig.axes
    assert [bar.get_width() for bar in ax.patches] == [4, 4, 6]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, True]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["backward", "messages"]


def test_pairs_stand_side_by_side():
    fig = figures.draw_pairs({"x": (1.0, 2.0), "y": (300.0, 400.0)}, ("formula", "measured"), "MB")
    (ax,) = fig.axes
    assert [bar.get_height() for bar in ax.patches] == [1.0, 300.0, 2.0, 400.0]
    assert {"300", "400", "1", "2"} <= {text.get_text() for text in ax.texts}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["formula", "measured"]
