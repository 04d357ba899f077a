"""`python -m pretraining.scaling_study`: done in pieces, nothing twice, one file a study; what is shipped is whole."""

import json

import pytest

from pretraining import scaling_lines, scaling_study
from utils.errors import UserError

SMALL = [
    *("widths=[8,16,24]", "layers=[1,1,1]", "budgets=[2e7]", "rate_widths=[8]", "rates=[1e-3,1e-2,1e-1]"),
    *("rate_steps=2", "noise_seeds=[1]", "val_bytes=500", "block_size=16", "batch_size=2"),
]  # fmt: skip


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "\n\n".join(f"The {i}th fox met a crow by the river on day {i * 7 % 31}." for i in range(200))
    )
    return path


def test_a_study_goes_on_and_trains_nothing_twice(text, tmp_path, capsys):
    out = tmp_path / "study.json"
    words = [f"data={text}", f"out={out}", *SMALL]
    assert scaling_study.main([*words, "at_most=3"]) == 0
    first = json.loads(out.read_text())
    assert len(first["figures"]["runs"]) == 3 and not first["figures"]["complete"]
    assert "the same command goes on" in capsys.readouterr().out
    assert scaling_study.main(words) == 0
    second = json.loads(out.read_text())
    figures = second["figures"]
    assert figures["complete"] and figures["runs"][:3] == first["figures"]["runs"]
    assert [row["part"] for row in figures["runs"]] == ["rates"] * 3 + ["budgets"] * 3 + ["noise"]
    assert (
        second["command"].startswith("python -m pretraining.scaling_study")
        and "budgets=[20000000.0]" in second["command"]
    )
    assert scaling_study.main(words) == 0
    assert json.loads(out.read_text())["figures"]["runs"] == figures["runs"]
    with pytest.raises(UserError, match="another scaling study"):
        scaling_study.main([*words, "block_size=8"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["widths=[8,16]"], "at least three of each"),
        (["widths=[8,12,16,24,40]"], "multiple of 8"),
        (["budgets=[0]"], "all positive"),
        (["budgets=[]"], "all positive"),
        (["lr=-1"], "all positive"),
    ],
)
def test_a_study_that_cannot_be_is_refused(words, says, tmp_path):
    with pytest.raises(UserError, match=says):
        scaling_study.main([*words, f"out={tmp_path / 'x.json'}"])


def test_a_foreign_file_is_refused_and_a_missing_one_is_not_measured(tmp_path):
    (tmp_path / "other.json").write_text('{"figures": {"race": 1}}')
    with pytest.raises(UserError, match="no scaling study"):
        scaling_lines.read_study(tmp_path / "other.json")
    nothing = scaling_lines.read_study(tmp_path / "none.json")
    assert nothing["runs"] == [] and not nothing["complete"]
    assert scaling_lines.describe_exponent(nothing, "size_law") == "not measured"


def test_the_shipped_results_are_whole_and_their_lines_are_those_of_their_runs():
    study = scaling_lines.read_study()
    assert study["complete"], "the committed study must be finished"
    again = scaling_lines.analyse(study["runs"])
    assert [v["best"] for v in again["valleys"]] == pytest.approx([v["best"] for v in study["valleys"]])
    for name in ("size_law", "loss_law", "rate_law"):
        assert again[name]["exponent"] == pytest.approx(study[name]["exponent"]), name
        assert list(again[name]["interval"]) == pytest.approx(study[name]["interval"], rel=1e-3), name
    wanted = scaling_study.wanted_runs(scaling_study.StudyConfig())
    same = ("part", "layers", "width", "lr", "seed", "budget", "steps", "n", "flops_per_token")
    found = [{key: row[key] for key in same} for row in study["runs"]]
    assert found == [{key: row[key] for key in same} for row in wanted], (
        "other runs than the command would make"
    )
