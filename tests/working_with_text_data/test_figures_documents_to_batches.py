"""The pictures of notebook 05 show the numbers they are given: bars, points, cells and labels are counted."""

import numpy as np
import pytest

from working_with_text_data.figures import documents_to_batches as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_account_has_a_bar_for_each_reason_that_occurred():
    ax = figures.draw_account({"near_duplicate": 3, "empty": 0}, kept=7).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [7, 3]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["kept", "near duplicate"]
    assert "10 documents" in (ax.get_title() + ax.get_title(loc="left"))


def test_estimates_are_dots_against_the_truth():
    fig = figures.draw_estimates({"k = 2": [(0.5, 0.4)], "k = 9": [(0.5, 0.5), (1, 1)]})
    assert [list(ax.lines[1].get_xydata()[0]) for ax in fig.axes] == [[0.5, 0.4], [0.5, 0.5]]
    assert len(fig.axes[1].lines[1].get_xydata()) == 2


def test_the_map_of_sides_names_only_what_is_there():
    fig = figures.draw_sides({"a": [[1, 1, 2]], "b": [[1, 3, 0]]})
    assert np.array_equal(fig.axes[0].images[0].get_array(), [[1, 1, 2]])
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(figures.SIDE_NAMES)
    only = figures.draw_sides({"a": [[1, 2]]})
    assert [t.get_text() for t in only.legends[0].get_texts()] == ["training", "validation"]


def test_the_line_of_leaks_is_the_formula():
    ax = figures.draw_leaks({0.5: [(1, 0.0), (4, 0.9)]}).axes[0]
    ks, leaks = ax.lines[0].get_xdata(), ax.lines[0].get_ydata()
    assert np.allclose(leaks, 1 - 0.5 ** (ks - 1)) and leaks[0] == 0 and np.isclose(leaks[-1], 0.875)
    assert ax.lines[1].get_xydata().tolist() == [[1, 0], [4, 0.9]]


def test_the_coverage_map_counts_how_often_each_token_is_asked_for():
    fig = figures.draw_coverage({"stride 2": [0, 2], "stride 3": [0, 3]}, length=2, n_tokens=6)
    assert texts(fig.axes[0]) == ["0", "1", "1", "1", "1", "0"]
    assert texts(fig.axes[1]) == ["0", "1", "1", "0", "1", "1"]
    assert len(fig.axes[0].patches) == 4, "a window is its input and its last target"


def test_times_asked_are_shares_with_the_chance_beside_them():
    ax = figures.draw_times_asked({"x": [0, 0, 1, 9]}, [0.4, 0.4]).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.25, 0, 0, 0, 0.25]
    assert list(ax.lines[0].get_ydata()) == [0.4, 0.4]


def test_rows_have_a_box_for_each_document_and_say_how_full_they_are():
    fig = figures.draw_rows({"in order": [[4, 4], [2]]}, block_size=10)
    assert [(b.get_x(), b.get_width()) for b in fig.axes[0].patches] == [(0, 4), (4, 4), (0, 2)]
    title = fig.axes[0].get_title() + fig.axes[0].get_title(loc="left")
    assert title == "in order: 2 rows, 50% full"


def test_a_mask_is_drawn_as_it_is():
    mask = np.tril(np.ones((3, 3), dtype=bool))
    ax = figures.draw_mask({"causal": mask}, ["a", "b", "c"]).axes[0]
    assert np.array_equal(ax.images[0].get_array(), mask)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
