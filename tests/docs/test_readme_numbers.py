"""LD3: every measured number in a README comes from a results file."""

import json
import re

import pytest

from utils.readme import BLOCK, fill, readmes

# A number with a unit of measurement is a claim. Settings and exact facts carry none of these.
MEASURED = re.compile(
    r"\d[\d,.]*\s?(?:nats|tokens/s|tok/s|bits per byte|ms\b|GiB|MiB|GB/s|×|times (?:as|faster)|% of)",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", readmes(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_blocks_show_what_their_results_files_say(path):
    text = path.read_text(encoding="utf-8")
    assert fill(text) == text, (
        f"{path} shows other numbers than its results: run python -m utils.readme --write"
    )


@pytest.mark.parametrize("path", [p for p in readmes() if p.name == "README.md"], ids=lambda p: p.parent.name)
def test_no_measured_number_is_typed_by_hand(path):
    prose = BLOCK.sub("", path.read_text(encoding="utf-8"))
    typed = [m.group(0) for m in MEASURED.finditer(prose)]
    assert not typed, f"{path}: {typed} stand outside a numbers block: measure them into results/*.json"


def test_a_changed_result_makes_a_block_stale(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"figures": {"speed": [{"median": 2.0}]}}))
    block = "<!-- numbers r.json\n{figures.speed.0.median:.1f} times\n-->\n2.0 times\n<!-- /numbers -->"
    assert fill(block, tmp_path) == block
    (tmp_path / "r.json").write_text(json.dumps({"figures": {"speed": [{"median": 3.0}]}}))
    assert "3.0 times" in fill(block, tmp_path)


def test_a_missing_result_is_not_measured_and_a_missing_key_is_an_error(tmp_path):
    block = "<!-- numbers r.json\n{figures.speed:.1f}\n-->\nold\n<!-- /numbers -->"
    assert "not measured" in fill(block, tmp_path)
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(KeyError, match="figures"):
        fill(block, tmp_path)
