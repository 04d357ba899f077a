"""The pictures of notebook finetuning/03 show what they are given; results that are missing are said to be missing."""

import json

import pytest

from finetuning import adapter_results as results
from finetuning.figures import lora_and_qlora as figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_codes_stand_as_lines_over_the_numbers():
    fig = figures.draw_codes([0.0, 0.1, -0.9], {"even": [-1.0, 0.0, 1.0], "own": [0.5]}, "weight")
    assert [ax.get_title("left") for ax in fig.axes] == ["even: 3 values", "own: 1 values"]
    lines = fig.axes[0].collections[0].get_segments()
    assert [float(line[0][0]) for line in lines] == [-1.0, 0.0, 1.0]
    assert sum(bar.get_height() for bar in fig.axes[1].patches) == 3


def test_usage_has_a_bar_for_each_code_and_the_line_of_equal_use():
    ax = figures.draw_usage({"a": [0.5, 0.5, 0.0, 0.0], "b": [0.25] * 4}, "share").axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.5, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25]
    assert set(ax.lines[0].get_ydata()) == {0.25}


def test_what_was_not_measured_is_said_with_its_command(tmp_path):
    nothing = tmp_path / "none.json"
    for words in (results.cost_table(nothing), results.quality_table(nothing), results.nf4_table(nothing)):
        assert "not measured yet" in words and "python -m finetuning.benchmark_" in words
    assert results.memory_parts(nothing) == {}


def test_tables_hold_what_the_files_hold(tmp_path):
    row = {"trainable": 10, "share": 0.1, "total_bytes": 2e6, "memory_ratio": 4.0, "seconds_per_step": 0.5}
    row |= {"speedup": 1.5, "weight_bytes": 1e6, "optimizer_bytes": 3e5, "step_bytes": 7e5}
    exact = {"value": 0.9, "low": 0.8, "high": 0.95}
    figures = {
        "cost": {"shape": {"preset": "tiny"}, "device": "cpu", "ways": {"lora": row}},
        "quality": {
            "full": {"exact": {**exact, "low": None}},
            "lora": {"exact": exact, "over_full": {"value": -0.01}},
        },
        "rows": [{"seed": 1}, {"seed": 2}],
        "study": {"steps": 400, "words": ["template=alpaca"]},
    }
    (tmp_path / "lora.json").write_text(json.dumps({"figures": figures}))
    assert "| lora | 10 (10.00%) | 2 | 1/4.00 | 0.50 | 1.50 × |" in results.cost_table(tmp_path / "lora.json")
    quality = results.quality_table(tmp_path / "lora.json")
    assert "| full | 90.0% |  |" in quality and "| lora | 90.0% (80.0% to 95.0%) | -1.0% |" in quality
    assert "2 seeds" in quality and "400 steps of `template=alpaca`" in quality
    assert results.memory_parts(tmp_path / "lora.json")["lora"]["weights"] == 1.0
    bell = {"nf4": 0.0919, "even": 0.0925}
    mode = {"bits": 4.5, "perplexity": 2.5, "growth": 0.02}
    nf4 = {
        "bell_curve": bell,
        "matrices": {"mean": {"nf4": 0.09, "nf4_double": 0.09}},
        "modes": {"nf4": mode},
    }
    (tmp_path / "nf4.json").write_text(json.dumps({"figures": nf4}))
    table = results.nf4_table(tmp_path / "nf4.json")
    assert "| nf4 | 4.500 | 0.0900 | 2.5000 | +2.00% |" in table and "0.0925 σ" in table
