"""Pages in a real browser, the network off: fixtures for the tests of every viewer."""

from __future__ import annotations

import math
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page from its file, the network off; at the end: no complaint, no request but the file itself."""
    pages, asked, complaints = [], [], []

    def opened(text: str, **context):
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(text, encoding="utf-8")
        page = browser.new_context(offline=True, **context).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
        pages.append(path.as_uri())
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-draw-ms]")
        return page

    yield opened
    assert asked == pages, f"the page asked for {set(asked) - set(pages)}"
    assert complaints == []


def contrast(*colours: list[int]) -> float:
    """The contrast of two colours by WCAG 2.1: from 1 to 21."""

    def luminance(colour: list[int]) -> float:
        linear = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)
        ]
        return math.fsum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)
