"""Servers with pages, one after the other in one process: no model at all, a password, and the next one.

NiceGUI is one for a process, so these have a file of their own: two such servers never run at once.
"""

from __future__ import annotations

import inspector_checks as checks
import pytest

pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")

import httpx


def test_with_no_model_the_pages_say_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr("chat_ui.model_ids._gpt2_here", lambda: [])
    with checks.house(tmp_path) as house, httpx.Client(base_url=house.url, timeout=60) as client:
        for path in ("/", "/look", "/runs"):
            assert "scratchbook demo" in client.get(path).text, path


def test_a_password_is_asked_for_by_pages_and_their_files(tmp_path):
    with (
        checks.house(tmp_path, password="word") as house,
        httpx.Client(base_url=house.url, timeout=60) as client,
    ):
        for path in (
            "/",
            "/runs",
            "/_inspector/inspector.js",
            "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
        ):
            assert client.get(path).status_code == 401, path
        assert client.get("/", auth=("anyone", "word")).status_code == 200
        assert client.get("/_inspector/inspector.js").status_code == 200, "the browser's cookie is enough"


def test_one_server_after_another_has_pages(tmp_path):
    for _ in range(3):
        with checks.house(tmp_path) as house, httpx.Client(base_url=house.url, timeout=60) as client:
            assert client.get("/runs").status_code == 200
            assert client.get("/nothing").status_code == 404


def test_a_server_whose_pages_nobody_opens_starts_no_nicegui(tmp_path):
    from nicegui import core

    with checks.house(tmp_path) as house, httpx.Client(base_url=house.url, timeout=60) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/nothing").status_code == 404
        assert not core.app.is_started
        assert client.get("/runs").status_code == 200
        assert core.app.is_started
    assert not core.app.is_started
