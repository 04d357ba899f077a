"""The pictures of notebook 04 show what they are given, and say "not measured" where there is nothing."""

import json
import math

import pytest
from matplotlib.colors import to_rgb

from utils.errors import UserError
from working_with_text_data.figures import fast_bpe as figures
from working_with_text_data.figures.tour import ORANGE


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_exponent_is_that_of_a_power_whatever_its_factor():
    for power in (0.5, 1, 2):
        assert figures.exponent([(n, 7 * n**power) for n in (3, 10, 50, 1000)]) == pytest.approx(power)


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, 1), (2, 0)], [(0, 1), (2, 3)]])
def test_an_exponent_of_nothing_is_a_clear_error(points):
    with pytest.raises(UserError, match="two or more points above 0"):
        figures.exponent(points)


def test_work_has_a_line_for_each_series_and_no_point_for_a_zero():
    ax = figures.draw_work({"counted": [9, 8], "merged": [3, 0]}, "for each merge").axes[0]
    assert list(ax.lines[0].get_ydata()) == [9, 8] and list(ax.lines[0].get_xdata()) == [1, 2]
    assert math.isnan(ax.lines[1].get_ydata()[1]) and ax.get_yscale() == "log"
    assert legend(ax) == ["counted", "merged"]


def test_growth_draws_the_line_on_which_all_are_different():
    ax = figures.draw_growth({"a": [(10, 8), (100, 30)]}, "words", "different").axes[0]
    assert list(ax.lines[0].get_ydata()) == [8, 30]
    assert list(ax.lines[1].get_xdata()) == list(ax.lines[1].get_ydata()) == [10, 100]


def test_changed_counts_stand_first_and_their_names_are_orange():
    ax = figures.draw_changed_counts({"er": 5, "lo": 7}, {"lo": 7, "wN": 5}).axes[0]
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["er", "wN", "lo"]
    orange = [to_rgb(label.get_color()) == to_rgb(ORANGE) for label in ax.get_xticklabels()]
    assert orange == [True, True, False]
    assert [bar.get_height() for bar in ax.patches] == [5, 0, 7, 0, 5, 7]


def test_times_say_how_many_times_the_last():
    ax = figures.draw_times({"slow": 2.0, "fast": 0.5}, "a race").axes[0]
    assert [bar.get_width() for bar in ax.patches] == [2.0, 0.5]
    assert texts(ax) == [" 2 s, 4 ×", " 0.5 s, 1 ×"]


def test_scaling_writes_each_exponent():
    square = [(n, n * n) for n in (1000, 2000, 4000)]
    first, second = figures.draw_scaling(
        {"x": {"square": square}, "y": {"line": [(1, 2), (1000, 2000)]}}
    ).axes
    assert legend(first) == ["square: 2.00"] and legend(second) == ["line: 1.00"]
    assert [t.get_text() for t in first.get_xticklabels()] == ["1,000", "2,000"]
    assert [t.get_text() for t in second.get_xticklabels()] == ["1", "10", "100", "1,000"]


def test_hit_rates_are_shares():
    ax = figures.draw_hit_rates({"words": [(100, 0.5), (1000, 0.9)]}, "read").axes[0]
    assert list(ax.lines[0].get_ydata()) == [0.5, 0.9] and ax.get_ylim()[0] == 0


# --- results files ------------------------------------------------------------------------------------


def row(seconds):
    return {"median_s": seconds, "seconds": [seconds]}


FIGURES = {
    "corpora": {
        "pydoc 2.1 MB": {
            "bytes": 2_100_000,
            "training": {
                "1000": {"candidates": {"ours": row(0.3), "tokenizers, file, threads": row(0.4)}},
                "5000": {
                    "candidates": {
                        "ours": row(0.5),
                        "tokenizers, file, threads": row(0.8),
                        "tokenizers, lines, threads": row(1.0),
                    }
                },
            },
            "encoding": {
                "gpt2": {"candidates": {"ours, cold": row(0.2), "ours, warm": row(0.1)}},
                "o200k_base": {"candidates": {"ours, cold": row(0.3), "ours, warm": row(0.2)}},
            },
        },
        "told 1.0 MB": {"training": {"1000": {"candidates": {"ours": row(0.1)}}}},
    },
    "readable": {
        "corpus": "pydoc 400 kB",
        "reached": 5000,
        "readable_s": 120.0,
        "ours": row(0.1),
        "times_faster": 1200.0,
    },
}


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "bpe.json"
    path.write_text(json.dumps({"name": "bpe", "figures": FIGURES}))
    return path


def test_a_race_is_the_largest_vocabulary_with_each_library_at_its_fastest(results):
    assert figures.races(results, "training") == {"pydoc 2.1 MB, 5,000 ids": {"ours": 0.5, "tokenizers": 0.8}}
    cold_and_warm = {"ours, cold": 0.2, "ours, warm": 0.1}
    assert figures.races(results, "encoding") == {"pydoc 2.1 MB, gpt2": cold_and_warm}


def test_the_readable_trainer_is_a_sentence(results):
    assert "120 s and 0.10 s, 1,200 times as fast" in figures.against_the_readable(results)


def test_what_is_absent_is_not_measured(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"figures": {"training": {"1000": {"candidates": {"ours": row(1)}}}}}))
    for missing in (path, tmp_path / "none.json"):
        assert figures.races(missing, "training") == {}
        assert figures.against_the_readable(missing).endswith("not measured")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "bpe"}'])
def test_a_foreign_file_is_a_clear_error(tmp_path, text):
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a results file"):
        figures.races(path, "training")


def test_races_are_drawn_against_ours_and_a_missing_kind_says_so(results):
    training, encoding = figures.draw_races(
        {"training": figures.races(results, "training"), "encoding": {}}
    ).axes
    assert [bar.get_width() for bar in training.patches] == [1.0, 0.5 / 0.8]
    labels = [label.get_text() for label in training.get_yticklabels()]
    assert labels == ["pydoc 2.1 MB, 5,000 ids: ours", "pydoc 2.1 MB, 5,000 ids: tokenizers"]
    assert texts(encoding) == ["not measured"]


def test_the_committed_results_can_be_read(project_root):
    path = project_root / "working_with_text_data" / "results" / "bpe.json"
    for kind in ("training", "encoding"):
        assert all(seconds > 0 for race in figures.races(path, kind).values() for seconds in race.values())
    assert figures.against_the_readable(path).startswith("against the readable trainer")
