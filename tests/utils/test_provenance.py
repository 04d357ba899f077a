"""Whose code made a number: the commit, and whether the code was what that commit holds."""

from __future__ import annotations

import subprocess

import pytest

from utils import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "-q")
    git("config", "user.email", "a@b.c")
    git("config", "user.name", "a")
    for name in ("chapter/code.py", "chapter/results/speed.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", "-A")
    git("commit", "-qm", "one")
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path.resolve())
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [(None, False), ("chapter/results/speed.json", False), ("chapter/code.py", True), ("new.py", False)],
)
def test_only_changed_code_makes_a_checkout_dirty(checkout, changed, dirty):
    if changed is not None:
        (checkout / changed).write_text("2")
    found = provenance.git_state()
    assert found["git_dirty"] is dirty and len(str(found["git_sha"])) == 40


def test_elsewhere_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path.resolve())
    assert provenance.git_state() == {"git_sha": None, "git_dirty": None}
