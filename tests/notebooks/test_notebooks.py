"""LD2: every notebook runs offline from top to bottom, in time, and its committed outputs are of its own code."""

from pathlib import Path

import nbformat
import pytest

from utils.notebooks import HASH_KEY, SIZE_LIMIT, TIME_LIMIT, all_notebooks, execute, source_hash

NOTEBOOKS = all_notebooks()


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_is_a_book():
    assert NOTEBOOKS, "no notebook was found: the chapters' notebooks start with a number"


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_it_runs_from_top_to_bottom_without_a_network(path):
    executed, seconds = execute(path)
    assert seconds < TIME_LIMIT, f"{path.name} took {seconds:.0f} s: show the point with a smaller setting"
    errors = [o for c in executed.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert not errors


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_committed_outputs_were_made_by_the_committed_code(path):
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    assert notebook.metadata.get(HASH_KEY) == source_hash(notebook), (
        f"{path.name} was edited after its outputs were made: run `make notebooks`"
    )
    assert any(c.outputs for c in code)
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), (
        "not one clean run from the top"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_it_has_the_form_of_the_book(path):
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert 25 <= len(notebook.cells) <= 60, f"{len(notebook.cells)} cells; a notebook has 25 to 60"
    long = [c.source.splitlines()[0] for c in code if len(c.source.strip().splitlines()) > 15]
    assert not long, f"code cells over 15 lines: {long}"
    asserts = sum(line.lstrip().startswith("assert ") for c in code for line in c.source.splitlines())
    assert asserts >= 3, f"{asserts} asserts; a reader needs at least three checks that explain themselves"
    since = 0
    for cell in code:
        drawn = any(
            "image/png" in o.get("data", {}) or "image/svg+xml" in o.get("data", {}) for o in cell.outputs
        )
        since = 0 if drawn else since + 1
        assert since <= 8, f"more than eight code cells without a figure, up to: {cell.source[:60]!r}"
    assert path.stat().st_size <= SIZE_LIMIT, f"{path.stat().st_size:,} bytes; the limit is {SIZE_LIMIT:,}"
    text = "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert "](http" not in text.replace("](https://arxiv", "") or "![" not in text, "no remote image"


def nesting(source: str) -> list[str]:
    """What GitHub would show as raw text in a Markdown cell: a fold within a fold, a fence or a fold within a fence.

    A fence is closed by a line of backticks alone; inside of it one with a language is a second one.
    """
    found, folds, fenced = [], 0, False
    for line in source.splitlines():
        opened, closed = line.count("<details"), line.count("</details>")
        if line.startswith("```"):
            if fenced and line.strip("` "):
                found.append(f"a fence within a fence: {line}")
            else:
                fenced = not fenced
        elif fenced and opened + closed:
            found.append(f"a fold within a fence: {line}")
        elif not fenced:
            folds += opened - closed
            if folds > 1:
                found.append(f"a fold within a fold: {line}")
    return found + ["a fence that is not closed"] * fenced + ["a fold that is not closed"] * (folds != 0)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_folds_and_fences_do_not_nest(path):
    cells = nbformat.read(path, as_version=4).cells
    markdown = [(at, cell.source) for at, cell in enumerate(cells) if cell.cell_type == "markdown"]
    wrong = [f"cell {at}: {what}" for at, source in markdown for what in nesting(source)]
    assert not wrong, f"{path.name}: {wrong}; what `solution` gives is folded and fenced already"


def test_a_solution_wrapped_twice_is_noticed():
    own = "<details><summary>Solution: f</summary>\n\n```python\ndef f(): ...\n```\n\n</details>"
    assert not nesting(f"{own}\n\nAnd so on.\n\n```sh\nls\n```")
    assert any("fence within a fence" in what for what in nesting("```python\n```python\n1\n```\n```"))
    assert any("fold within a fence" in what for what in nesting(f"```python\n{own}\n```"))
    assert any("fold within a fold" in what for what in nesting(f"<details>\n\n{own}\n\n</details>"))
    assert any("not closed" in what for what in nesting("```python\n1"))


def test_a_stale_notebook_is_noticed(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    notebook.metadata[HASH_KEY] = source_hash(notebook)
    notebook.cells[0].source = "1 + 2"
    assert notebook.metadata[HASH_KEY] != source_hash(notebook)


@pytest.mark.notebooks
def test_a_notebook_that_asks_for_the_network_fails(tmp_path):
    from nbclient.exceptions import CellExecutionError

    code = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=2)"
    path = tmp_path / "asks.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    with pytest.raises(CellExecutionError, match="without a network"):
        execute(path)
