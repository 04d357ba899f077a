"""The pictures of finetuning/02 draw what they are given."""

import numpy as np
import pytest

from finetuning.figures import instruction_tuning as figures


@pytest.fixture(autouse=True)
def closed():
    import matplotlib

    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_strip_has_a_box_for_each_token_and_names_the_kinds_that_are_there():
    fig = figures.draw_strips(
        {"a": [("<|user|>", "template"), ("hi there", "said")], "b": [("x" * 40, "trained")] * 3}
    )
    ax = fig.axes[0]
    assert len(ax.patches) == 5
    texts = [t.get_text() for t in ax.texts]
    assert "hi·there" in texts and "a" in texts and "b" in texts
    assert len(fig.legends[0].get_texts()) == 3
    assert ax.get_ylim()[0] == 3, "a row that is too long goes on in the next line"


def test_batches_show_their_size_and_how_full_they_are():
    fig = figures.draw_batches({"padded": np.array([[1, 1, 0, 0]]), "packed": np.array([[1, 1, 2, 2]])})
    assert [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes] == [
        "padded: 1 rows of 4 places, 50% of them tokens",
        "packed: 1 rows of 4 places, 100% of them tokens",
    ]
    shown = fig.axes[0].images[0].get_array()
    assert (shown[0, 2] == 1.0).all() and not (shown[0, 0] == 1.0).all(), "padding is white"


def test_losses_stand_beside_each_other_and_shares_have_their_interval():
    fig = figures.draw_two_losses({"before": {"a": 2.0, "b": 1.0}, "after": {"a": 1.5, "b": 0.5}}, "nats")
    assert sorted(p.get_height() for p in fig.axes[0].patches) == [0.5, 1.0, 1.5, 2.0]
    fig = figures.draw_shares({"m": {"new": (0.5, (0.4, 0.6)), "old": (0.1, (0.0, 0.2))}})
    lines = [list(line.get_xdata()) for line in fig.axes[0].lines]
    assert [0.4, 0.6] in lines and [0.5] in lines and [0.0, 0.2] in lines
