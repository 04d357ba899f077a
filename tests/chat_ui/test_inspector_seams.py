"""The pages and the rooms around them: a password before everything, the chat beside them, no model at all."""

from __future__ import annotations

import inspector_checks as checks
import pytest

pytestmark = pytest.mark.browser
PASSWORD = "a séparate word"  # not ASCII: browsers and servers must agree on UTF-8


def test_pages_work_behind_a_password_beside_the_chat(browser, tmp_path):
    root = tmp_path / "runs"
    checks.fill(root)
    with checks.house(root, password=PASSWORD, chat=True) as house:
        known = {"http_credentials": {"username": "me", "password": PASSWORD}}
        checks.check_every_page_stays_here(browser, house.url, ("home", "run", "look", "docs"), **known)
        stranger = browser.new_context()
        socket = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
        for path in ("/", "/runs", socket, "/_inspector/inspector.css", "/chat"):
            assert stranger.request.get(house.url + path).status == 401, path
        stranger.close()


def test_without_a_model_a_browser_shows_how_to_make_one(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("chat_ui.models.gpt2_here", lambda: [])
    root = tmp_path / "runs"
    root.mkdir()
    with checks.house(root) as house:
        for path in ("/", "/look"):
            with checks.opened(browser, house.url, path) as page:
                page.get_by_text("scratchbook demo").first.wait_for(timeout=8000)
