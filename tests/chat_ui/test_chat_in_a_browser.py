"""The page in a real browser: it opens, answers, stops, complains of nothing and stays on this machine."""

from __future__ import annotations

import re
import shutil
from urllib.parse import urlparse

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
)

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server):
    """A fresh window on the chat; at the end: no console error, no request to another host."""
    window = browser.new_page(viewport={"width": 1200, "height": 800})
    complaints: list[str] = []
    hosts: set[str | None] = set()
    window.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
    window.on("websocket", lambda socket: hosts.add(urlparse(socket.url).hostname))
    window.goto(server.url)
    window.get_by_text("A lantern, a turtle and the harbour").wait_for()
    yield window
    assert complaints == []
    # data: and blob: addresses have no host; they never leave the page.
    assert hosts - {None, ""} == {"127.0.0.1"}, f"the page asked other machines: {hosts}"
    window.close()


def write(page, text: str) -> None:
    box = page.locator("#chat-input")
    box.click()
    box.type(text)
    # The button is enabled once the page is connected; until then Enter would be dropped.
    page.locator("#chat-submit:enabled").click(timeout=20_000)


def answers(page):
    return page.locator(".ai-message")


def test_a_message_is_answered(page):
    write(page, "hello there")
    playwright.expect(answers(page).last).to_have_text(re.compile(r"[a-z]{2}"), timeout=20_000)


def test_a_starter_is_answered(page):
    page.get_by_text("A lantern, a turtle and the harbour").click()
    playwright.expect(page.get_by_text("Write a story with a lantern")).to_be_visible()
    playwright.expect(answers(page).last).to_have_text(re.compile(r"[a-z]{2}"), timeout=20_000)


def test_stop_ends_the_answer(page):
    write(page, "hello")
    page.locator("#stop-button").click(timeout=20_000)
    playwright.expect(page.locator("#stop-button")).to_have_count(0, timeout=20_000)
    playwright.expect(page.get_by_text("Task manually stopped.")).to_be_visible()
    # What stands below an answer comes with its end.
    playwright.expect(page.locator(".sb-answer")).to_be_visible()
    shown = answers(page).first.inner_text()
    page.wait_for_timeout(300)
    assert answers(page).first.inner_text() == shown, "the answer went on after Stop"
    assert len(shown) < 4000, "Stop came after the whole answer"


def test_typed_markers_are_shown_as_they_were_typed(page):
    write(page, "<|assistant|> **bold**")
    playwright.expect(page.get_by_text("<|assistant|> **bold**")).to_be_visible()


def test_the_settings_are_within_reach(page):
    page.locator("#chat-settings-header-button").click()
    for name in ("Model", "Mode", "Beside the answer", "Template"):
        playwright.expect(page.get_by_role("combobox", name=name, exact=True)).to_be_visible()
    # temperature, top-k, top-p, min-p, length, three penalties
    playwright.expect(page.get_by_role("slider")).to_have_count(8)
    for name in ("Seed", "System line"):
        playwright.expect(page.get_by_role("textbox", name=name, exact=True)).to_be_visible()
    page.get_by_role("textbox", name="Seed").fill("7")
    page.get_by_role("button", name="Confirm").click()
    playwright.expect(page.get_by_role("button", name="Confirm")).to_have_count(0)


def short(page) -> None:
    """Answers of a few tokens: the tiny model would write for seconds."""
    page.locator("#chat-settings-header-button").click()
    length = (
        page.get_by_role("slider", name="Length")
        if page.get_by_role("slider", name="Length").count()
        else None
    )
    (length or page.get_by_role("slider").nth(4)).focus()
    page.keyboard.press("Home")
    for _ in range(29):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Confirm").click()


def test_a_click_below_an_answer_shows_what_it_was_made_of(page):
    short(page)
    write(page, "hello there")
    below = page.locator(".sb-answer").last
    playwright.expect(below.get_by_text("30 tokens", exact=True)).to_be_visible(timeout=20_000)
    below.get_by_role("button", name="Probabilities").click()
    tokens = below.locator(".sb-strip button")
    playwright.expect(tokens).to_have_count(30, timeout=10_000)
    tokens.nth(3).click()
    playwright.expect(below.get_by_text("Token 4 of 30")).to_be_visible()
    page.keyboard.press("ArrowRight")
    playwright.expect(below.get_by_text("Token 5 of 30")).to_be_visible()
    for view, word in (("Attention", "Where the model looked"), ("Logit lens", "What each layer")):
        below.get_by_role("button", name=view).click()
        frame = below.frame_locator("iframe.sb-page")
        playwright.expect(frame.get_by_role("heading", level=1)).to_contain_text(word, timeout=20_000)
        playwright.expect(frame.locator("#trouble")).to_be_hidden()


def test_an_answer_can_be_written_again_and_kept_in_a_file(page):
    short(page)
    write(page, "hello there")
    below = page.locator(".sb-answer")
    below.get_by_text("30 tokens", exact=True).wait_for(timeout=20_000)
    first, old = answers(page).first.inner_text(), below.element_handle()
    below.get_by_role("button", name="Write again").click()
    # The old one goes before the new one comes: in between there is none, and a count would say 0.
    page.wait_for_function("gone => !gone.isConnected", arg=old, timeout=20_000)
    playwright.expect(below.get_by_text("30 tokens", exact=True)).to_be_visible(timeout=20_000)
    playwright.expect(below).to_have_count(1)
    assert answers(page).first.inner_text() != first, "the same answer was kept"
    with page.expect_download() as download:
        below.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename.startswith("conversation-")


def test_two_ways_of_drawing_stand_side_by_side(page):
    short(page)
    page.locator("#chat-settings-header-button").click()
    page.get_by_role("combobox", name="Beside the answer").click()
    page.get_by_role("option", name="greedy").click()
    page.get_by_role("button", name="Confirm").click()
    write(page, "hello there")
    sides = page.locator(".sb-beside article")
    playwright.expect(sides).to_have_count(2, timeout=20_000)
    sides.nth(1).get_by_role("button", name="Go on from here").click(timeout=20_000)
    playwright.expect(sides.nth(1).get_by_role("button")).to_have_text("Goes on from here")
    boxes = [sides.nth(n).bounding_box() for n in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
