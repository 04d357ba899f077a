"""The viewer's page: its size, its bad inputs, and what a real browser makes of it by mouse, keyboard and theme."""

from __future__ import annotations

import html
import re
from pathlib import Path

import analysis_checks as laws
import pytest
import torch
from browser_pages import contrast

from attention_mechanisms.viewer import MAX_BYTES, AttentionView, attention_viewer, render_ms, show_attention
from utils.errors import UserError

WORDS = [f" w{i}" for i in range(12)]


def test_four_layers_of_four_heads_and_64_tokens_stay_far_below_300_kb():
    maps = laws.random_maps((4, 4, 64))
    view = show_attention(maps, [f" token{i}" for i in range(64)], kv_groups=2)
    assert len(view.page.encode()) < MAX_BYTES / 4
    assert len(view._repr_html_().encode()) < MAX_BYTES / 4, "a notebook holds several of these in 600 kB"


def test_a_page_too_large_is_refused_and_says_what_to_leave_out():
    maps = laws.random_maps((1, 2, 40))
    with pytest.raises(UserError, match=r"max_bytes.*fewer layers"):
        attention_viewer(maps, ["x"] * 40, max_bytes=20_000)


def test_a_notebook_gets_a_frame_that_cannot_reach_it(tmp_path):
    view = show_attention(laws.random_maps((1, 1, 3)), ["a", '"', "</iframe>"], height=400)
    shown = view._repr_html_()
    assert shown.count("<") == 2 and 'sandbox="allow-scripts"' in shown and "height:400px" in shown
    inner = re.search(r'srcdoc="([^"]*)"', shown)
    assert inner and html.unescape(inner.group(1)) == view.page
    assert view.save(tmp_path / "maps.html").read_text(encoding="utf-8") == view.page
    assert "save" in repr(view)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"window": 3}, "outside the window"),
        ({"window": [None]}, "2 layers"),
        ({"window": 0}, "at least 1"),
        ({"kv_groups": 2}, "key heads"),
        ({"layer_numbers": [1]}, "layer_numbers"),
        ({"tokens": ["a"]}, "1 tokens came with maps of 9"),
        ({"maps": torch.eye(9)}, r"maps\[None, None\]"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(fields, word):
    given = {"maps": laws.random_maps(), "tokens": laws.WORDS, **fields}
    with pytest.raises(UserError, match=word) as caught:
        attention_viewer(given.pop("maps"), given.pop("tokens"), **given)
    assert "\n" not in str(caught.value)


def test_windows_and_layer_names_are_said_in_the_page():
    maps = torch.cat((laws.random_maps((1, 2, 9), window=3), laws.random_maps((1, 2, 9), seed=1)))
    data, _ = laws.read_page(
        attention_viewer(maps, laws.WORDS, window=[3, None], layer_numbers=[0, 5], kv_groups=1)
    )
    assert (data["windows"], data["numbers"], data["kv"]) == ([3, None], [0, 5], 1)


def test_the_time_to_make_a_page_is_measured():
    assert 0 < render_ms(laws.random_maps((1, 1, 8)), list("abcdefgh"), rounds=3) < 60_000


# --- in a browser -------------------------------------------------------------------------------------


def maps_for_browser() -> torch.Tensor:
    maps = laws.random_maps((3, 4, 12), seed=5)
    maps[0] = laws.random_maps((1, 4, 12), seed=6, window=4)[0]
    return maps


def viewer_page(words=WORDS, title="Maps") -> str:
    return attention_viewer(maps_for_browser(), words, title=title, window=[4, None, None], kv_groups=2)


def shown_list(page, which: str) -> list[tuple[int, int]]:
    """(token, percent) as they stand in a list; "<1 %" is 0."""
    rows = page.locator(f"#{which} li[data-token]").all()
    texts = [(int(row.get_attribute("data-token")), row.locator("b").inner_text()) for row in rows]
    return [(token, 0 if text == "<1 %" else int(text.removesuffix(" %"))) for token, text in texts]


@pytest.mark.browser
def test_the_numbers_shown_are_those_of_the_maps(open_page):
    page, maps = open_page(viewer_page()), maps_for_browser()
    for layer, head, token in ((0, 0, 11), (1, 2, 7), (2, 3, 3)):
        page.locator(".head").nth(layer * 4 + head).click()
        page.locator(".token").nth(token).focus()
        assert page.locator("#name").inner_text() == f"Layer {layer} · head {head}"
        looks = maps[layer, head, token, : token + 1]
        looked = maps[layer, head, token + 1 :, token]
        for which, shares, first in (("to", looks, 0), ("by", looked, token + 1)):
            rows = shown_list(page, which)
            assert len(rows) == min(5, int((shares >= 0.5 / 255).sum()))
            for (at, percent), best in zip(rows, shares.sort(descending=True).values.tolist(), strict=False):
                share = float(shares[at - first])
                assert abs(percent - 100 * share) <= 0.5 + 100 / 510, (
                    f"{which} {at}: {percent} % for {share:.3f}"
                )
                assert abs(share - best) <= 1 / 255, "the lists begin with the largest shares"
        page.keyboard.press("Escape")


@pytest.mark.browser
def test_pointing_at_a_cell_says_what_it_holds(open_page):
    page, maps = open_page(viewer_page()), maps_for_browser()
    page.locator(".head").first.click()
    box = page.locator("#map").bounding_box()
    edge = min(86, box["width"] * 0.2)
    side = (box["width"] - edge - 1) / 12

    def point(query: int, key: int) -> str:
        page.mouse.move(box["x"] + edge + (key + 0.5) * side, box["y"] + edge + (query + 0.5) * side)
        return page.locator("#cell").inner_text()

    said = point(8, 6)
    assert "token 8 “·w8” → token 6 “·w6”" in said
    percent = re.search(r"(\d+) %", said)
    assert percent and abs(int(percent.group(1)) - 100 * float(maps[0, 0, 8, 6])) <= 0.5 + 100 / 510 + 0.5
    assert "outside the window of 4" in point(8, 2)
    assert "causal mask" in point(2, 8)


@pytest.mark.browser
def test_everything_can_be_done_by_keyboard(open_page):
    page = open_page(viewer_page())
    focused = "document.activeElement.getAttribute('aria-label')"
    page.locator(".head").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)  # at an edge nothing moves
    assert page.evaluate(focused).startswith("layer 2, head 1:")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid", "who steers by keyboard must see where they are"
    page.keyboard.press("Enter")
    assert page.locator("#name").inner_text() == "Layer 2 · head 1"
    assert page.evaluate(focused).startswith("token 11 ")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused).startswith("token 1 ") and page.evaluate(outline) == "solid"
    assert "token 1 “·w1” looks at" in page.locator("#spoken").inner_text()
    page.keyboard.press("ArrowUp")
    assert page.locator("#name").inner_text() == "Layer 1 · head 1"
    page.keyboard.press("PageDown")
    assert page.locator("#name").inner_text() == "Layer 1 · head 2"
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible() and page.evaluate(focused).startswith("layer 1, head 2:")
    assert page.locator(".head[tabindex='0']").count() == 1, "one stop for the Tab key in the grid"


@pytest.mark.browser
def test_overlays_change_the_picture_and_no_number(open_page):
    page = open_page(viewer_page())
    pixels = (
        "[...document.querySelectorAll('.head canvas')].map(c => "
        "[...c.getContext('2d').getImageData(0, 0, 12, 12).data].join())"
    )
    page.locator(".head").first.click()
    for name in ("future", "window"):
        before, numbers = page.evaluate(pixels), page.locator("#lists").inner_text()
        page.locator(f"#show-{name}").uncheck()
        after = page.evaluate(pixels)
        changed = [a != b for a, b in zip(before, after, strict=True)]
        assert changed == [name == "future" or i < 4 for i in range(12)], "only layer 0 has a window"
        assert page.locator("#lists").inner_text() == numbers
    page.locator("#back").click()
    assert page.get_by_text("key head 1").is_visible()
    page.locator("#show-groups").uncheck()
    assert not page.get_by_text("key head 1").is_visible()


@pytest.mark.browser
def test_nasty_tokens_stay_text(open_page):
    words = [*laws.NASTY, *WORDS][:12]
    page = open_page(viewer_page(words, title="</title><script>document.title='broken'</script>"))
    page.locator(".head").first.click()
    assert page.title() == "</title><script>document.title='broken'</script>"
    assert page.locator(".token").first.inner_text() == laws.NASTY[0]
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark_and_on_a_phone(open_page, scheme):
    page = open_page(viewer_page(), color_scheme=scheme, viewport={"width": 360, "height": 700})
    page.locator(".head").nth(5).click()
    page.locator(".token").nth(6).focus()
    colours = page.evaluate(
        "(() => { const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
        "const rgb = (css, under) => { pen.fillStyle = under; pen.fillRect(0, 0, 1, 1); pen.fillStyle = css;"
        "pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3) };"
        "const style = e => getComputedStyle(e), panel = style(document.getElementById('strip')).backgroundColor;"
        "return [...document.querySelectorAll('.token')].map(e => "
        "[rgb(style(e).color, panel), rgb(style(e).backgroundColor, panel)]) })()"
    )
    assert len({tuple(paper) for _, paper in colours}) > 4, "shares must show as colours"
    for ink, paper in colours:
        assert contrast(ink, paper) >= 4.5, f"{scheme}: {ink} on {paper} cannot be read (WCAG AA)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "no sideways scrolling on a phone"
    assert float(page.evaluate("document.documentElement.dataset.drawMs")) > 0


@pytest.mark.browser
def test_it_works_inside_a_notebooks_frame(open_page):
    view = AttentionView(viewer_page())
    page_text = f"<!doctype html><html data-draw-ms='0'><body>{view._repr_html_()}</body></html>"
    # The frame's document is not a request; about:srcdoc has no address of its own.
    page = open_page(page_text)
    frame = page.frame_locator("iframe")
    frame.locator(".head").nth(2).click()
    assert frame.locator("#name").inner_text() == "Layer 0 · head 2"
    assert frame.locator("#to li").count() >= 1


def test_the_page_is_made_of_the_files_beside_the_module():
    folder = Path(__import__("attention_mechanisms.viewer", fromlist=["viewer"]).__file__).parent
    page = viewer_page()
    for name in ("page.js", "page.css", "viewer.js", "viewer.css"):
        assert (folder / name).read_text(encoding="utf-8") in page
