"""Every link of the book that stays in the book leads somewhere."""

import json
import re
from pathlib import Path

import pytest

from utils.notebooks import all_notebooks
from utils.readme import readmes

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def words_of(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def broken_links(text: str, folder: Path) -> list[str]:
    inside = [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]
    return [target for target in inside if not (folder / target).exists()]


@pytest.mark.parametrize(
    "path", [*readmes(ROOT), *all_notebooks()], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(path):
    broken = broken_links(words_of(path), path.parent)
    assert not broken, f"{path.relative_to(ROOT)} links to what is not there: {broken}"


def test_a_link_to_nothing_is_found(tmp_path):
    (tmp_path / "here.md").write_text("")
    text = "[a](here.md) [b](here.md#part) [c](https://example.org/x) ![d](gone.svg)"
    assert broken_links(text, tmp_path) == ["gone.svg"]
