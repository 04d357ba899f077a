"""The chapter's README: every Python block runs, the map names what is there. Commands: tests/docs."""

import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch

import pytest


@pytest.fixture(scope="module")
def chapter(project_root):
    return project_root / "working_with_text_data"


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_python_block_runs_after_the_command_that_it_needs(chapter, tmp_path, project_root):
    text = (chapter / "README.md").read_text()
    commands = [line for block in blocks(text, "sh") for line in block.splitlines() if "out=shards" in line]
    assert len(commands) == 1, "one command makes the shards that the Python blocks open"
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    jobs = [(command, shlex.split(command)[1:]) for command in commands]
    jobs += [(block, ["-c", block]) for block in blocks(text, "python")]
    assert len(jobs) >= 3
    for what, arguments in jobs:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{what}\n{done.stderr[-2000:]}"


def test_the_map_names_every_module_and_nothing_else(chapter):
    table = (chapter / "README.md").read_text().split("## The way")[1].split("## Commands")[0]
    named = re.findall(r"`([a-z_0-9*]+)`", table.replace("`import working_with_text_data`", ""))
    present = {path.stem for path in chapter.glob("*.py")} - {"__init__"}
    present |= {path.parent.name for path in chapter.glob("*/__init__.py")}
    missing = [name for name in present if not any(fnmatch(name, pattern) for pattern in named)]
    assert not missing, f"modules that the README's map does not name: {sorted(missing)}"
    gone = [pattern for pattern in named if not any(fnmatch(name, pattern) for name in present)]
    assert not gone, f"the README's map names modules that do not exist: {gone}"


def test_every_notebook_has_its_row(chapter):
    text = (chapter / "README.md").read_text()
    for notebook in chapter.glob("[0-9]*.ipynb"):
        assert f"({notebook.name})" in text, f"{notebook.name} has no row in the chapter's README"
