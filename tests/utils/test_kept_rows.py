"""A long measurement goes on with the rows it has, and with no other study's."""

import json

import pytest

from utils.errors import UserError
from utils.kept_rows import kept_rows


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "study.json"
    figures = {"settings": {"steps": 3, "seeds": [0, 1]}, "models": [{"loss": 1.5}]}
    path.write_text(json.dumps({"figures": figures}))
    return path


def test_the_rows_of_the_same_settings_are_kept_and_fresh_forgets_them(results):
    # A tuple is a list in the file: the comparison is of JSON.
    assert kept_rows(results, {"steps": 3, "seeds": (0, 1)}, rows="models", study="race") == [{"loss": 1.5}]
    assert kept_rows(results, {"steps": 3}, rows="models", study="race", fresh=True) is None
    assert kept_rows(results.with_name("no"), {"steps": 3}, rows="models", study="race") is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 4, "seeds": [0, 1]}, "steps"),
        ({"steps": 3, "seeds": [0, 1], "lr": 1}, "lr"),
        ({"steps": 3}, "seeds"),
    ],
    ids=["changed", "new", "gone"],
)
def test_rows_of_other_settings_are_refused_by_name(results, settings, named):
    with pytest.raises(UserError, match=rf"holds another race \({named} differ\)"):
        kept_rows(results, settings, rows="models", study="race")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"figures": {"settings": {}}}', '{"figures": {"models": []}}']
)
def test_a_file_of_something_else_is_refused(results, text):
    results.write_text(text)
    with pytest.raises(UserError, match="no results file of the race"):
        kept_rows(results, {}, rows="models", study="race")
