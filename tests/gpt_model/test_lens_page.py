"""The lens's page and command: what it shows, what it refuses, and what a real browser makes of it."""

from __future__ import annotations

import json
import math
import re

import pytest
from analysis_checks import NASTY
from browser_pages import contrast
from model_checks import build

from gpt_model.lens import logit_lens
from gpt_model.lens_viewer import MAX_BYTES, lens_viewer, main, show_lens
from gpt_model.loading import LoadedModel, load_model
from utils.errors import UserError

STORY = "Once upon a time there was a fox named Tim. Tim had a red lantern."
NAMES = [f"w{i}" for i in range(29)]
TEXT = [3, 1, 4, 1, 5, 9, 2, 6]


def tiny_lens():
    return logit_lens(build(n_layer=3), TEXT, top_k=4)


def page(names=NAMES, title="Inside"):
    return lens_viewer(tiny_lens(), names, title=title)


def data_of(text):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found.group(1))


def test_the_page_holds_the_lens_rounded():
    data, lens = data_of(page()), tiny_lens()
    assert data["layers"] == ["embed", "block 0", "block 1", "output"]
    assert data["tokens"] == [NAMES[i] for i in TEXT] and data["top"] == 4
    for row, shown in zip(lens.rows, data["rows"], strict=True):
        for t, score in enumerate(row.scores):
            surprise, rank, entropy, *pairs = shown[t * 11 : (t + 1) * 11]
            assert abs(surprise / 100 + score.log_probability) <= 0.0051 and rank == score.rank
            assert abs(entropy / 100 - score.entropy) <= 0.0051
            for (token, log_probability), word, share in zip(score.alternatives, pairs[::2], pairs[1::2]):
                assert data["words"][word] == NAMES[token]
                assert abs(share / 1000 - math.exp(log_probability)) <= 0.00051


def test_a_page_too_large_is_refused():
    with pytest.raises(UserError, match=r"max_bytes.*shorter text"):
        lens_viewer(tiny_lens(), NAMES, max_bytes=9000)


def test_a_long_text_of_the_storyteller_stays_far_below_300_kb():
    view = show_lens(load_model("assets"), STORY * 6)
    assert len(view.page.encode()) < MAX_BYTES / 2
    assert 'title="the logit lens"' in view._repr_html_() and "save" in repr(view)


def test_the_command_writes_the_page(tmp_path, capsys):
    out = tmp_path / "lens.html"
    assert main([STORY, "ckpt=assets", f"out={out}", "top=3", "device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed and "gpt_model.look" in printed
    data = data_of(out.read_text(encoding="utf-8"))
    assert data["top"] == 3 and data["tokens"][0] == "<|endoftext|>"
    assert "".join(data["tokens"][1:]).replace("·", " ") == STORY


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "ckpt=assets"], "empty"),
        (["word " * 400, "ckpt=assets"], "block_size"),
        ([STORY, "ckpt=assets", "max_bytes=1000"], "max_bytes"),
        ([STORY, "ckpt=assets", "top=0"], "top_k"),
    ],
)
def test_the_command_refuses_what_it_cannot_show(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        main([*words, f"out={tmp_path / 'x.html'}", "device=cpu"])
    assert not list(tmp_path.iterdir())


def test_a_model_without_tokenizer_is_refused(tmp_path):
    model = build()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        show_lens(LoadedModel(model, None, tmp_path, model.config), "text")


# --- in a browser -------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_numbers_shown_are_those_of_the_lens(open_page):
    shown, lens = open_page(page()), tiny_lens()
    for row, place in ((0, 1), (2, 5), (3, 7)):
        shown.locator(".cell").nth(row * 8 + place - 1).click()
        score = lens.rows[row].scores[place - 1]
        said = shown.locator("#numbers").inner_text()
        assert f"surprise {-round(100 * score.log_probability) / 100:.2f} nats" in said
        assert f"rank {score.rank} of 29" in said and f"entropy {score.entropy:.2f}" in said
        assert NAMES[TEXT[place]] in shown.locator("#name").inner_text()
        guesses = [line.split() for line in shown.locator("#to li").all_inner_texts()]
        assert [line[0] for line in guesses] == [NAMES[i] for i, _ in score.alternatives]
        assert shown.locator("#by li").count() == 4
    shown.locator(".token").nth(8).click()
    assert shown.locator("#name").inner_text().startswith("What comes next")


@pytest.mark.browser
def test_everything_can_be_done_by_keyboard(open_page):
    shown = open_page(page())
    focused = "document.activeElement.getAttribute('aria-label')"
    shown.locator(".token").nth(1).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"):
        shown.keyboard.press(key)
    assert shown.evaluate(focused).startswith("token 1 ")
    shown.locator(".cell").first.focus()
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowRight"):
        shown.keyboard.press(key)
    assert shown.evaluate(focused).startswith(f"block 0, for “{NAMES[TEXT[3]]}”")
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert NAMES[TEXT[3]] in shown.locator("#spoken").inner_text()
    assert shown.locator(".cell[tabindex='0']").count() == 1, "one stop for the Tab key in the table"
    assert shown.locator(".token[tabindex='0']").count() == 1


@pytest.mark.browser
def test_nasty_tokens_stay_text(open_page):
    names = [*NASTY, *NAMES][:29]
    shown = open_page(page(names, title="</title><script>document.title='broken'</script>"))
    assert shown.title() == "</title><script>document.title='broken'</script>"
    assert shown.locator("img").count() == 0 and shown.locator("script").count() == 2


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark_and_on_a_phone(open_page, scheme):
    shown = open_page(page(), color_scheme=scheme, viewport={"width": 360, "height": 700})
    for mode in ("guess", "came", "entropy"):
        shown.locator(f"#mode-{mode}").check()
        colours = shown.evaluate(
            "(() => { const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
            "const rgb = (css, under) => { pen.fillStyle = under; pen.fillRect(0, 0, 1, 1); pen.fillStyle = css;"
            "pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3) };"
            "const style = e => getComputedStyle(e), paper = style(document.body).backgroundColor;"
            "return [...document.querySelectorAll('.token:enabled, .cell')].map(e => "
            "[rgb(style(e).color, paper), rgb(style(e).backgroundColor, paper)]) })()"
        )
        assert len({tuple(ground) for _, ground in colours}) > 4, f"{mode} must show as colours"
        for ink, ground in colours:
            assert contrast(ink, ground) >= 4.5, (
                f"{scheme}, {mode}: {ink} on {ground} cannot be read (WCAG AA)"
            )
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360, "no sideways scrolling on a phone"
    shown.locator(".token").nth(7).click()
    box = shown.locator("thead th").nth(7).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360, "the chosen token's column comes into view"
