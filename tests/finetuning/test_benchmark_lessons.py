"""The benchmark of lessons: it goes on where it stopped, compares within a seed, and refuses what it cannot do."""

import json
from pathlib import Path

import pytest

from finetuning.instruction import benchmark_lessons as lessons
from utils.errors import UserError


def test_the_benchmark_goes_on_where_it_stopped(tmp_path, capsys):
    out = tmp_path / "lessons.json"
    words = ["ckpt=assets", "recall=1", "steps=2", "every=1", "asked=2", "threads=1", f"out={out}"]
    assert lessons.main([*words, "seeds=[4]"]) == 0
    first = lessons.measured(out)["rows"]
    assert [row["way"] for row in first] == list(lessons.WAYS)
    assert all(row["steps"] == [1, 2] and len(row["right"]) == 2 for row in first)
    capsys.readouterr()
    assert lessons.main([*words, "seeds=[4]"]) == 0
    assert "seed 4" not in capsys.readouterr().out, "made twice"
    assert json.loads(out.read_text())["figures"]["rows"] == first
    with pytest.raises(UserError, match="steps differ"):
        lessons.main([*words, "steps=3"])


def test_the_summary_compares_within_a_seed():
    reached = {"at once": {1: 0.5, 2: 0.4, 3: 0.0}, "after recall": {1: 0.9, 2: 1.0}}
    rows = [
        {"way": way, "seed": seed, "right": [0.0, right]}
        for way, seeds in reached.items()
        for seed, right in seeds.items()
    ]
    found = lessons.summary(rows)
    assert found["difference"]["value"] == pytest.approx(0.5) and found["difference"]["count"] == 2
    assert found["at_once"]["value"] == pytest.approx(0.3)
    assert lessons.measured(Path("nowhere.json")) is None


@pytest.mark.parametrize("settings", [{"kind": "color"}, {"recall": 1500}, {"asked": 0}, {"seeds": ()}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(UserError):
        lessons.LessonsBenchmark(**settings)
