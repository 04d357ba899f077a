"""The README's example is a command that runs, and its table names what there is."""

import importlib
import re
import subprocess
import sys

from utils import find_run


def readme(project_root):
    return (project_root / "utils" / "README.md").read_text(encoding="utf-8")


def test_the_example_command_runs(project_root, tmp_path):
    body = re.search(r"```python\n(.*?)```", readme(project_root), re.DOTALL).group(1)
    imports = (
        "from dataclasses import dataclass, field\nfrom pathlib import Path\n"
        "from utils import Run, parse_args, run_main, to_dict\n"
    )
    (tmp_path / "count.py").write_text(imports + body)
    (tmp_path / "book.txt").write_text("a\n")
    command = [sys.executable, "count.py"]
    done = subprocess.run(
        [*command, "--text", "book.txt", "lines=3"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = find_run("last", root=tmp_path / "runs")
    assert run.status == "complete" and run.meta["config"] == {"text": "book.txt", "lines": 3}
    wrong = subprocess.run([*command, "--text", "none.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: text is none.txt but there is no such file or folder\n"


def test_every_module_is_in_the_table_and_every_name_exists(project_root):
    text = readme(project_root)
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
    listed = {module for left, _ in rows for module in re.findall(r"`(\w+)`", left)}
    there = {p.stem for p in (project_root / "utils").glob("*.py")} - {"__init__"}
    assert listed == there
    for left, right in rows:
        modules = [importlib.import_module(f"utils.{m}") for m in re.findall(r"`(\w+)`", left)]
        for name in re.findall(r"`([A-Za-z_]+)(?:\(.*?\))?`", right):
            assert any(hasattr(module, name) for module in modules), f"{name} is not in {left}"


def test_the_package_exports_resolve():
    import utils

    for name in utils.__all__:
        assert getattr(utils, name) is not None
    assert set(utils.__all__) == set(dir(utils))
