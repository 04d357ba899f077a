"""The container image as data: which packages, at which versions, and which of our files. Modal's and Docker's alike.

One list of requirements (pyproject.toml) and one list of versions that work together (constraints.txt) exist already.
An image with a third list is an image that one day differs from what the tests ran on, so this module owns no name
and no number: it reads those two files and refuses a package that has no version there. What pip brings in besides is
held by the same file, given to it as constraints.
Left out: building. Modal builds on its side, Docker on yours.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.provenance import project_root

PYTHON = "3.11"
CHAPTERS = (
    *("utils", "working_with_text_data", "attention_mechanisms", "gpt_model", "pretraining", "finetuning"),
    *("chat_ui", "deployment"),
)
ALONE = ("scratchbook.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")  # beside the chapters
TRAIN_EXTRAS = ("data", "hf", "galore", "track")
SERVE_EXTRAS = ("hf", "chat", "serve")
WORKSPACE_EXTRAS = ("notebooks", "data", "hf", "track", "chat", "serve")
PROJECT = "llm-scratchbook"
HOME = "/opt/book"  # the checkout inside the container, installed from there


def _name(requirement: str) -> str:
    """`Fast_API[all]>=0.1` -> `fast-api`: names are compared as pip compares them (PEP 503)."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def constraints(root: Path | None = None) -> dict[str, str]:
    """Package -> version, of constraints.txt."""
    text = ((root or project_root()) / "constraints.txt").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    pairs = [line.split(";")[0].split("==") for line in lines if "==" in line]
    return {_name(name): version.strip() for name, version in pairs}


def requirements(extras: Sequence[str] = (), root: Path | None = None) -> list[str]:
    """The project's requirements, with those of the extras, as pyproject.toml states them."""
    with ((root or project_root()) / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    known = project["optional-dependencies"]
    found = list(project["dependencies"])
    for extra in extras:
        if extra not in known:
            raise UserError(f"extra {extra!r} is not in pyproject.toml: choose from {', '.join(known)}")
        found += known[extra]
    return [text for text in dict.fromkeys(found) if _name(text) != PROJECT]


def pins(extras: Sequence[str] = (), root: Path | None = None) -> list[str]:
    """`name==version` for each requirement, from constraints.txt.

    Raises UserError for a requirement without a version there.
    """
    versions, made = constraints(root), []
    for text in requirements(extras, root):
        name = _name(text)
        if name not in versions:
            raise UserError(
                f"{name} has no version in constraints.txt: install it, then write the version down"
            )
        made.append(f"{name}=={versions[name]}")
    return sorted(set(made))


def left_out(path: Path) -> bool:
    """Files of a chapter that no container needs: compiled code, notebooks and their pictures, chat leavings.

    The chat's own settings lie beside its leavings: without them Chainlit has its defaults, uploads among them.
    """
    parts = set(path.parts)
    return (
        bool(parts & {"__pycache__", ".files", "exercises", "figures"})
        or {".chainlit", "translations"} <= parts
        or path.suffix in (".pyc", ".ipynb")
    )


def files(root: Path | None = None) -> list[Path]:
    """The files of this checkout that a container gets, relative to it."""
    root = root or project_root()
    found = [path for chapter in CHAPTERS for path in (root / chapter).rglob("*") if path.is_file()]
    inside = (path.relative_to(root) for path in [*found, *(root / name for name in ALONE)])
    return sorted(path for path in inside if not left_out(path))


def modal_image(extras: Sequence[str], apt: Sequence[str] = (), commands: Sequence[str] = ()) -> Any:
    """Debian, our packages at our versions, and this checkout installed without asking for anything more.

    The files come last, so that a changed line of ours builds two small layers and no package.
    """
    import modal

    root = project_root()
    image = modal.Image.debian_slim(python_version=PYTHON)
    if apt:
        image = image.apt_install(*apt)
    if commands:
        image = image.run_commands(*commands)
    held = "/tmp/constraints.txt"
    image = image.add_local_file(root / "constraints.txt", held, copy=True)
    image = image.pip_install(*pins(extras), extra_options=f"--constraint {held}")
    image = image.env({"PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "2000"})
    for chapter in CHAPTERS:
        image = image.add_local_dir(root / chapter, f"{HOME}/{chapter}", copy=True, ignore=left_out)
    for name in ALONE:
        image = image.add_local_file(root / name, f"{HOME}/{name}", copy=True)
    return image.run_commands(f"pip install --no-deps --editable {HOME}")
