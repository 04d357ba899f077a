"""The pictures of notebook gpt_model/02 show what they are given: areas, layers and bars are counted."""

import pytest

from gpt_model.figures import gpt2_and_its_size as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("sizes", [[1], [3, 1], [6, 6, 4, 3, 2, 2, 1], [7] * 13, [1000, 1, 1], [5, 0.01]])
def test_a_treemap_fills_its_rectangle_with_areas_in_proportion_and_nothing_twice(sizes):
    placed = figures.squarify(sizes, 1, 2, 6, 4)
    areas = [w * h for _, _, w, h in placed]
    assert areas == pytest.approx([24 * size / sum(sizes) for size in sizes])
    for x, y, w, h in placed:
        assert x >= 1 - 1e-9 and x + w <= 7 + 1e-9 and y >= 2 - 1e-9 and y + h <= 6 + 1e-9
    for i, (x, y, w, h) in enumerate(placed):
        for a, b, c, d in placed[:i]:
            across, up = min(x + w, a + c) - max(x, a), min(y + h, b + d) - max(y, b)
            assert across < 1e-9 or up < 1e-9, "two rectangles share an area"


def test_the_example_of_the_paper_and_squares_rather_than_strips():
    placed = figures.squarify([6, 6, 4, 3, 2, 2, 1], 0, 0, 6, 4)  # Bruls et al., figure 5
    assert [(round(w, 3), round(h, 3)) for _, _, w, h in placed[:4]] == [
        (3, 2),
        (3, 2),
        (1.714, 2.333),
        (1.286, 2.333),
    ]
    stretched = [max(w / h, h / w) for _, _, w, h in figures.squarify([1] * 12, 0, 0, 4, 3)]
    assert max(stretched) < 1.5


def test_a_treemap_frames_its_groups_and_names_the_large_ones():
    groups = {"table": {"token table": 60}, "block": {"up": 20, "norms": 1}, "small": {"norms": 0.5}}
    ax = figures.draw_treemap(groups).axes[0]
    frames = [patch for patch in ax.patches if not patch.get_fill()]
    assert len(frames) == 3 and len(ax.patches) == 7
    assert [text.get_text() for text in ax.texts] == ["table\n60", "block\n21"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["token table", "up", "norms"]
    assert "82" in (ax.get_title("left") or ax.get_title())
    norms = [p for p in ax.patches if p.get_fill()]
    assert norms[2].get_facecolor() == norms[3].get_facecolor(), "one colour for a kind, in every group"


def test_layers_lie_on_top_of_each_other():
    parts = {"head": [1, 1], "tables": [2, 8]}
    ax = figures.draw_layers([64, 128], parts, "context", "FLOPs", marks={"here": 100}).axes[0]
    tops = [max(y for _, y in layer.get_paths()[0].vertices) for layer in ax.collections]
    assert tops == [1, 9] and ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["tables", "head"]
    assert ax.texts[0].get_text() == "here" and list(ax.lines[0].get_xdata()) == [100, 100]


def test_bars_are_divided_and_their_sums_written():
    rows = {"small": {"weights": 1.0, "cache": 0.5}, "large": {"weights": 4.0, "cache": 1.0}}
    ax = figures.draw_bars(rows, "GiB").axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 1), (0, 4), (1, 0.5), (4, 1)]
    assert [text.get_text() for text in ax.texts] == ["1.5", "5"]
    assert not figures.draw_bars(rows, "GiB", sums=False).axes[0].texts
