"""Classic bugs of pages, put back on purpose: each must break its law."""

from __future__ import annotations

import inspector_checks as checks
import pytest

from chat_ui import inspector, offline
from chat_ui.inspector import parts, theme


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = tmp_path_factory.mktemp("mutated") / "runs"
    checks.fill(root)
    with checks.house(root) as house:
        yield house


def caught(says, check, *arguments, **options):
    """The law fails, and for the reason that was put back, which its message names."""
    with pytest.raises(AssertionError, match=says):
        check(*arguments, **options)


def _with_head(monkeypatch, more):
    """The head of every page, and something after it."""
    real = theme.head()
    monkeypatch.setattr("chat_ui.inspector.frame.head", lambda: real + more)


@pytest.mark.browser
def test_a_script_from_a_cdn_is_caught(monkeypatch, browser, house):
    monkeypatch.setattr(offline, "POLICY", "default-src * 'unsafe-inline' 'unsafe-eval' data: blob: ws:")
    _with_head(monkeypatch, '<script defer src="https://cdn.example/charts.js"></script>')
    caught("asked other machines", checks.check_every_page_stays_here, browser, house.url, ("surprise",))


@pytest.mark.browser
def test_a_font_that_only_the_policy_stops_is_caught(monkeypatch, browser, house):
    _with_head(monkeypatch, "<style>@import url(https://fonts.example/serif.css);</style>")
    caught("complained|asked other", checks.check_every_page_stays_here, browser, house.url, ("surprise",))


@pytest.mark.browser
def test_text_of_a_run_that_becomes_html_is_caught(monkeypatch, browser, house):
    monkeypatch.setattr(parts, "text", str)
    monkeypatch.setattr(checks, "SECONDS", 5_000)
    caught("dialog|asked other|complained", checks.check_every_page_stays_here, browser, house.url, ("run",))


@pytest.mark.browser
def test_a_stream_that_begins_again_is_caught(monkeypatch, browser, house):
    """The offset is forgotten, once for each file (always would be a flood): old records come again."""
    from chat_ui.api import runs

    real, forgotten = runs.read_lines, set()

    def forgetful(folder, name, after=0, **more):
        if after and name not in forgotten:
            forgotten.add(name)
            after = 0
        return real(folder, name, after, **more)

    monkeypatch.setattr(runs, "read_lines", forgetful)
    caught(
        "records were written", checks.check_new_records_reach_an_open_page, browser, house.url, house.root
    )


def test_pages_that_answer_programs_are_caught(monkeypatch, house):
    import httpx

    monkeypatch.setattr(inspector, "NOT_PAGES", ())
    with httpx.Client(base_url=house.url, timeout=60) as client:
        caught("answered", checks.check_wrong_addresses_of_programs_are_json, client)


@pytest.mark.browser
def test_a_slider_that_sets_what_nobody_moved_is_caught(monkeypatch, browser, house):
    """A slider that is put in its place by the page counts as moved: the address fills with settings."""
    from chat_ui.inspector.calculator import Page

    real = Page._put

    def put(self, name, value):
        real(self, name, value)
        self.moved[name] = value

    monkeypatch.setattr(Page, "_put", put)
    monkeypatch.setattr(checks, "SECONDS", 8_000)
    caught("nobody has moved", checks.check_every_page_stays_here, browser, house.url, ("calculator",))
