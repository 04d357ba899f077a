"""The pictures of notebook 02 show what they are given: boxes, trees, curves and ties are counted."""

import pytest
from matplotlib.colors import to_rgb

from working_with_text_data import train_bpe_readable
from working_with_text_data.figures import bpe_by_hand as figures
from working_with_text_data.figures.tour import ASKED


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_stages_have_a_box_for_each_token_and_mark_what_is_new():
    ax = figures.draw_stages([[b"a", b"a", b"b"], [b"aa", b"b"]], ["bytes", "merged"]).axes[0]
    assert texts(ax) == ["bytes", "a", "a", "b", "3 tokens", "merged", "aa", "b", "2 tokens"]
    assert [patch.get_width() for patch in ax.patches] == [1, 1, 1, 2, 1]
    new = [to_rgb(patch.get_facecolor()) == to_rgb(ASKED) for patch in ax.patches]
    assert new == [False, False, False, True, False]


def test_a_tree_has_a_node_for_each_merge_and_a_leaf_for_each_byte():
    tokenizer = train_bpe_readable("aaabdaaabac", 259)
    ids = tokenizer.encode("aaabd")  # one token of four bytes, one of one
    ax = figures.draw_merge_tree(ids, dict(enumerate(tokenizer.merges, 256)), tokenizer.token_bytes).axes[0]
    shown = texts(ax)[::2]
    assert sorted(shown) == ["a", "a", "a", "aa", "aaa", "aaab", "b", "d"]
    leaves = [t.get_position() for t in ax.texts[::2] if t.get_position()[1] == 0]
    assert [x for x, _ in leaves] == [0, 1, 2, 3, 4], "the leaves stand in the order of the text"
    assert len(ax.lines) == 6, "each of the three merges has two lines down"
    assert texts(ax)[1::2].count("97") == 3


def test_compression_draws_each_curve_and_writes_the_marks():
    ax = figures.draw_compression({"own": [(0, 1.0), (300, 2.2)], "other": [(0, 1.0)]}, {300: 2.2}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [1.0, 2.2] and texts(ax) == ["2.20"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["own", "other"]


def test_merge_counts_tell_ties_apart():
    ax = figures.draw_merge_counts([9, 4, 4], [False, True, True]).axes[0]
    alone, tied = ax.collections
    assert alone.get_offsets().tolist() == [[1, 9]] and tied.get_offsets().tolist() == [[2, 4], [3, 4]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["alone at the top (1)", "tied (2)"]


def test_merge_counts_without_a_tie_draw_only_what_there_is():
    ax = figures.draw_merge_counts([9, 4], [False, False]).axes[0]
    assert len(ax.collections) == 1


def test_shares_are_stacked():
    ax = figures.draw_shares({"x": {"used": 3, "not": 1}, "y": {"used": 5, "not": 0}}, "pieces").axes[0]
    assert [(p.get_x(), p.get_width()) for p in ax.patches] == [(0, 3), (0, 5), (3, 1), (5, 0)]
    assert texts(ax) == ["3", "5", "1", ""]
