"""The pictures of notebook pretraining/03 show what they are given; results that are missing are said to be missing."""

import json

import pytest
import torch

from pretraining import optimizer_results as results
from pretraining.figures import optimizers as figures
from utils.errors import UserError


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_a_walk_counts_its_steps_and_ends_in_a_square():
    fig = figures.draw_valley({"a": [(1, 1), (0.5, 0.5), (0, 0)], "b": [(1, 1), (0.9, 0)]}, (1.0, 100.0))
    assert [ax.get_title("left") for ax in fig.axes] == ["a: 2 steps", "b: 1 steps"]
    path, end, _ = fig.axes[0].lines
    assert list(path.get_xdata()) == [1, 0.5, 0] and (end.get_xdata()[0], end.get_ydata()[0]) == (0, 0)


def test_bars_stand_in_groups_with_their_signs():
    ax = figures.draw_steps({"one": [1.0, -2.0], "two": [0.0, 3.0]}, ["x", "y"], "step").axes[0]
    assert [bar.get_height() for bar in ax.patches] == [1.0, -2.0, 0.0, 3.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]
    assert ax.patches[0].get_x() < ax.patches[2].get_x() < ax.patches[1].get_x(), "groups stand together"


def test_a_map_is_centred_on_zero():
    fig = figures.draw_maps({"m": torch.tensor([[1.0, -4.0]]), "zero": torch.zeros(2, 2)}, {"m": "1 × 2"})
    image = fig.axes[0].images[0]
    assert image.get_clim() == (-4, 4) and fig.axes[0].get_xlabel() == "1 × 2"
    assert fig.axes[1].images[0].get_clim() == (-1, 1)


def test_stacked_bars_carry_their_sum():
    ax = figures.draw_stacked({"a": {"p": 10.0, "q": 20.0}, "b": {"p": 1.5}}, "MB").axes[0]
    assert [text.get_text() for text in ax.texts] == ["30", "1.5"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p", "q"]


def test_what_was_not_measured_is_said_with_its_command(tmp_path):
    nothing = tmp_path / "none.json"
    for words in (results.table(nothing), results.muon_steps(nothing), results.where_measured(nothing)):
        assert words == "not measured: run `python -m pretraining.benchmark_optimizers`"
    assert results.losses_by_share(nothing) == {}
    nothing.write_text("[]")
    with pytest.raises(UserError, match="no results file"):
        results.table(nothing)


def test_a_measured_study_is_set_in_tables(tmp_path):
    def row(loss, gap, share, **changes):
        spread = {"mean": loss, "sd": 0.01, "n": 3}
        key = next(iter(changes))
        return {"val_loss": spread, "gap_to_adamw": {"mean": gap}, "share_of_adamw_state": share,
                "changes": changes, "tried": {"key": key}}  # fmt: skip

    figures_ = {
        "complete": True,
        "settings": {"n_layer": 2, "n_embd": 8, "steps": 40},
        "optimizers": {"adamw": row(2.0, 0.0, 1.0, lr=0.004), "muon": row(1.9, -0.1, 0.5, muon_lr=0.02)},
        "muon_steps": {
            "losses": {"0.5": [2.1, 2.3], "1.0": [1.9, 1.9]}, "smallest_share": 0.5,
            "to": {"adamw": {"shares": [0.75, None, 0.5], "mean": None, "goal": 0.65, "goal_reached": False}},
        },
    }  # fmt: skip
    for row_ in figures_["optimizers"].values():
        row_ |= {"state_bytes": 8, "state_bytes_formula": 8, "seconds": 1.0}
    path = tmp_path / "r.json"
    whole = {"figures": figures_, "command": "c", "hardware": {"cpu": "X"}, "date": "2026-11-20T00:00"}
    path.write_text(json.dumps(whole))
    assert "| muon | muon_lr=0.02 | 1.900 ± 0.010 | -0.100 | 0.50 |" in results.table(path)
    assert "its steps: 0.75, never, at most 0.50, by seed (goal ≤ 0.65: not reached)" in results.muon_steps(
        path
    )
    assert "muon          1.9000 ± 0.0100" in results.as_text(path)
    assert results.as_text(tmp_path / "no.json") == results.NOT_MEASURED
    assert results.where_measured(path) == "`c`: 2 layers × 8, 40 steps, 3 seeds, X, 2026-11-20"
    lines = results.losses_by_share(path)
    assert lines["Muon, a whole schedule each"] == ([0.5, 1.0], [2.2, 1.9])
    path.write_text(json.dumps({**whole, "figures": {**figures_, "complete": False}}))
    assert results.table(path) == results.NOT_MEASURED, "half a study is none"
