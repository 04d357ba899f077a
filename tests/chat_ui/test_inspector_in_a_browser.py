"""The inspector in a real browser: light and dark, a phone, the keyboard, addresses that are sent."""

from __future__ import annotations

import shutil

import inspector_checks as checks
import pytest
from browser_pages import contrast

pytestmark = pytest.mark.browser
VIEWS = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
}
LOOKED_AT = [name for name in checks.PAGES if name != "docs"]
READY = {
    "attention": "iframe.viewer",
    "lens": "iframe.viewer",
    "look": ".next button",
    "run": ".chart[data-points='4']",
    "compare": ".chart canvas",
    "data": ".chart canvas",
    "surprise": ".tokens.heat i",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser") / "runs"
    checks.fill(root)
    with checks.house(root) as house:
        yield house


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_fits_its_window_and_can_be_read(browser, house, name):
    """In light, in dark and on a phone, one after the other in one window, as a person turns and dims it."""
    with checks.opened(browser, house.url, checks.PAGES[name][0]) as page:
        page.locator(READY.get(name, "h1")).first.wait_for()
        for view, (mode, width) in VIEWS.items():
            page.emulate_media(color_scheme=mode)
            page.set_viewport_size({"width": width, "height": 860})
            page.wait_for_timeout(120)
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{name} is {wide} pixels wider than a window of {width}"
            colours = page.evaluate(COLOURS)
            for what, (ink, paper) in colours.items():
                assert contrast(ink, paper) >= 4.5, f"{what} on {name} in {view}: {ink} on {paper}"
            dark = sum(colours["text"][1]) < 3 * 128
            assert dark == (view == "dark"), "light and dark follow the system"


COLOURS = """() => {
  const probe = (element, property) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = getComputedStyle(element)[property]; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const paper = probe(document.body, "backgroundColor"), found = { text: [probe(document.body, "color"), paper] };
  for (const [name, selector] of [["quiet text", ".about"], ["a link", "#main a"]]) {
    const element = document.querySelector(selector);
    if (element) found[name] = [probe(element, "color"), paper];
  }
  return found;
}"""


def test_the_colours_are_chosen_once_for_pages_and_chat(browser, house):
    with checks.opened(browser, house.url, "/runs") as page:
        button = page.get_by_role("button", name="Colours")
        button.click()
        button.click()  # system, light, dark
        assert page.evaluate("localStorage.getItem('vite-ui-theme')") == "dark"
        assert page.evaluate("document.body.classList.contains('body--dark')")
        page.goto(house.url + f"/look?view=lens{checks._TEXT}")
        page.frame_locator("iframe.viewer").locator("html[data-draw-ms]").wait_for()
        assert page.evaluate("document.documentElement.classList.contains('dark')")
        page.wait_for_function(VIEWER_IS, arg=True)
        button.click()
        button.click()  # system, light
        page.wait_for_function(VIEWER_IS, arg=False)


VIEWER_IS = """dark => {
  const page = document.querySelector("iframe.viewer").contentDocument;
  if (!page?.documentElement?.dataset.drawMs) return false;
  const [red, green, blue] = getComputedStyle(page.body).backgroundColor.match(/\\d+/g).map(Number);
  return (red + green + blue < 3 * 128) === dark;
}"""


def test_by_keyboard_alone(browser, house):
    with checks.opened(browser, house.url, f"/look?view=next{checks._TEXT}") as page:
        page.locator(".next button").first.wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
        before = page.get_by_label("Text").input_value()
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("!!document.activeElement.closest('.next')"):
                break
        page.keyboard.press("Enter")
        page.wait_for_function("was => document.querySelector('textarea').value !== was", arg=before)


def test_an_address_shows_the_same_again(browser, house):
    with checks.opened(browser, house.url, "/tokens?tokenizer=byte") as page:
        page.get_by_label("Text").fill("sent to somebody")
        page.wait_for_url("**text=sent+to+somebody**")
        sent = page.url
    with checks.opened(browser, "", sent) as page:
        page.locator(".tokens i").first.wait_for()
        assert page.get_by_label("Text").input_value() == "sent to somebody"
        assert page.locator(".tokens i").count() == len("sent to somebody")


def test_a_mistake_is_a_line_on_the_page(browser, house):
    with checks.opened(browser, house.url, "/look?model=nobody&text=x") as page:
        page.get_by_role("alert").get_by_text("there is no model 'nobody'").wait_for()
    with checks.opened(browser, house.url, "/calculator?preset=gpt2&n_head=7") as page:
        page.get_by_role("alert").get_by_text("n_head").wait_for()
    with checks.opened(browser, house.url, "/data?source=nothing") as page:
        page.get_by_role("alert").get_by_text("no data named").first.wait_for()
    with checks.opened(browser, house.url, f"/look?view=next&text={'a' * 300}") as page:
        page.get_by_role("alert").get_by_text("shorten it").wait_for()


def test_two_windows_do_not_touch_each_other(browser, house):
    with checks.opened(browser, house.url, "/calculator?preset=gpt2") as one:
        with checks.opened(browser, house.url, "/calculator?preset=llama-tiny") as two:
            checks._nudge(one, "Layers", "ArrowRight")
            one.wait_for_url("**n_layer=13**")
            assert "n_layer" not in two.url
            two.get_by_text("5,401,856").first.wait_for()


def test_a_run_that_is_deleted_while_somebody_looks_is_a_line(browser, house):
    from utils.runs import Run

    run = Run.create("pretrain", {"steps": 9}, root=house.root, run_id="going")
    run.metric(step=0, split="train", loss=3.0)
    with checks.opened(browser, house.url, "/run/pretrain/going") as page:
        page.locator(".chart[data-points='1']").first.wait_for()
        shutil.rmtree(run.path)
        page.get_by_role("alert").get_by_text("going").first.wait_for()
        assert page.locator(".chart[data-points='1']").count() == 1, "what was drawn stays to be read"
    with checks.opened(browser, house.url, "/runs") as page:
        page.locator(".runs tbody tr").first.wait_for()
        assert page.get_by_role("link", name="pretrain/going").count() == 0


def test_a_checkpoint_that_is_being_written_is_said_and_not_offered(browser, house):
    from utils.files import atomic_dir
    from utils.runs import Run

    run = Run.create("pretrain", {"steps": 9}, root=house.root, run_id="writing")
    try:
        with atomic_dir(run.path / "checkpoints" / "step_000005") as half:
            (half / "config.json").write_text("{")
            with checks.opened(browser, house.url, "/run/pretrain/writing") as page:
                page.get_by_text("one more is being written").wait_for()
            with checks.opened(browser, house.url, "/look?model=pretrain/writing&text=x") as page:
                page.get_by_role("alert").get_by_text("there is no model").wait_for()
    finally:
        shutil.rmtree(run.path)
