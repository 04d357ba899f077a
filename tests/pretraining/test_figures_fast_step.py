"""The pictures of notebook pretraining/02 show what they are given; results that are missing are said to be missing."""

import json

import pytest

from pretraining import step_results as results
from pretraining.figures import fast_step as figures
from utils.errors import UserError


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_shares_are_of_the_first_bar():
    ax = figures.draw_shares({"before": {"a": 3.0, "b": 1.0}, "after": {"a": 1.0, "b": 1.0}}).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.75, 0.25, 0.25, 0.25]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_the_blocks_under_the_diagonal_add_up():
    ax = figures.draw_blocks(8, 2).axes[0]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["needed: 56%", "computed, then masked: 6%", "never computed: 38%"]


def test_walks_end_in_their_sum():
    ax = figures.draw_table_walks({"one": [("read", 4.0), ("write", 2.0)], "two": [("all", 2.0)]}).axes[0]
    assert [t.get_text() for t in ax.texts if t.get_text().strip().isdigit()] == ["  6", "  2"]


def test_a_ladder_has_goals_a_ceiling_and_numbers():
    rungs = {"plain": (1.0, 1.0, 1.0), "ours": (2.0, 1.8, 2.2)}
    ax = figures.draw_ladder(rungs, {"ours": 3.0}, ceiling=2.9).axes[0]
    assert [t.get_text() for t in ax.texts] == ["1.00", "2.00", "products alone"]
    assert [3.0, 3.0] in [list(line.get_xdata()) for line in ax.lines]
    assert figures.draw_ladder({}).axes[0].texts[0].get_text() == "not measured"


def test_operations_are_grouped_by_the_first_word_that_fits():
    found = figures.group_operations(
        {"aten::mm": 2.0, "aten::bmm": 1.0, "x": 4.0}, {"attention": ["bmm"], "p": ["mm"]}
    )
    assert found == {"attention": 1.0, "p": 2.0, "the rest": 4.0}


def test_what_was_not_measured_is_said_with_its_command(tmp_path):
    nothing = tmp_path / "none.json"
    for words in (
        results.table("medium", nothing),
        results.where_measured("gpt2", nothing),
        results.ceiling("small", nothing),
    ):
        assert words == "not measured: run `python -m pretraining.benchmark`"
    assert results.ladder("medium", nothing) == {} and results.overheads(nothing) == results.NO_OVERHEADS
    nothing.write_text("[]")
    with pytest.raises(UserError, match="no results file"):
        results.table("medium", nothing)


def test_measured_shapes_are_set_in_tables(tmp_path):
    one = {
        "tokens_per_second": 1000.0,
        "mfu": 0.5,
        "speedup": 1.0,
        "speedup_min": 1.0,
        "speedup_max": 1.0,
        "goal": None,
    }
    two = {
        **one,
        "tokens_per_second": 2345.6,
        "mfu": None,
        "speedup": 2.3,
        "speedup_min": 2.1,
        "speedup_max": 2.5,
        "goal": 3.4,
    }
    row = {
        **{
            "candidates": {"plain": one, "ours": two},
            "not_measured": {"compiled": "not measured: no compiler"},
        },
        **{
            "parameters": 12_500_000,
            "batch_size": 16,
            "model": {"block_size": 256},
            "threads": 2,
            "date": "2026-11-20T1",
        },
        **{
            "command": "python -m x",
            "gemm_peak_gflops": {"fp32": 200.0, "bf16": 400.0},
            "ceiling": {"fp32": 1.5, "bf16": 3.0},
        },
    }
    path = tmp_path / "fast_step.json"
    path.write_text(json.dumps({"figures": {"shapes": {"medium": row}}, "hardware": {"cpu": "Some CPU"}}))
    table = results.table("medium", path)
    assert "| ours | 2,346 | peak unknown | 2.30 (2.10 to 2.50) | 3.4 |" in table and "no compiler" in table
    assert results.ladder("medium", path)["ours"] == (2.3, 2.1, 2.5)
    assert "12.5 M parameters, batch 16 × 256, 2 threads of Some CPU, 2026-11-20" in results.where_measured(
        "medium", path
    )
    assert "1.50 and 3.00 times" in results.ceiling("medium", path)
    assert results.table("gpt2", path) == results.NOT_MEASURED


def test_overheads_stand_beside_their_goals(tmp_path):
    path = tmp_path / "overheads.json"
    goals = {"around_share": 0.05, "save_block_s": 0.05, "loader_share": 0.01}
    path.write_text(
        json.dumps(
            {
                "figures": {
                    "around_share": 0.021,
                    "save_block_s": 0.0123,
                    "loader_share": 0.0004,
                    "goals": goals,
                }
            }
        )
    )
    assert "| a save blocks the loop | 12 ms | under 50 ms |" in results.overheads(path)
