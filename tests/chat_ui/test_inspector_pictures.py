"""The pictures of README and notebook 02: one server with all its rooms, on the book's model and on runs trained here.

    SCRATCHBOOK_SCREENSHOTS=chat_ui/pictures python -m pytest tests/chat_ui/test_inspector_pictures.py

keeps them. Without the variable two rooms are opened, the page and the chat of one server, on shorter runs; the other
pages have their tests beside this one.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from urllib.parse import quote

import inspector_checks as checks
import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "chat_ui" / "pictures"
WHERE = os.environ.get("SCRATCHBOOK_SCREENSHOTS")
SIZES = {
    "model.n_layer": 2,
    "model.n_embd": 64,
    "model.n_head": 4,
    "model.block_size": 128,
    "vocab_size": 500,
}
ASKED = "&model=assets&text=" + quote("Once upon a time, in a quiet village, there lived a")
WIDE, PHONE = {"width": 1160, "height": 760}, {"width": 390, "height": 760}
# name -> address, what must be there, window, colours
PICTURES = {
    "home": ("/", ".runs-newest td", WIDE, "light"),
    "run": ("/run/{0}", ".chart canvas", WIDE, "light"),
    "compare": ("/compare?runs={0}&runs={1}", ".chart canvas", WIDE, "light"),
    "tokens": ("/tokens?text=" + quote("The lantern keeper's boat can't pass 2,048 turtles.") + "&tokenizer=assets"
               "&beside=byte", ".tokens i", WIDE, "light"),
    "calculator": ("/calculator?preset=gpt2&attention=mla", ".sliders", WIDE, "light"),
    "look": (f"/look?view=next&temperature=0.7&top_k=40{ASKED}", ".next button", WIDE, "light"),
    "attention": (f"/look?view=attention{ASKED}", "iframe.viewer", WIDE, "dark"),
    "lens_phone": (f"/look?view=lens{ASKED}", "iframe.viewer", PHONE, "light"),
    "surprise_phone": (f"/look?view=surprise{ASKED}", ".tokens.heat i", PHONE, "dark"),
    "data": ("/data?source=storyland", ".document", WIDE, "light"),
    "chat": ("/chat", "#chat-input", WIDE, "light"),
}  # fmt: skip


def train(root: Path, lr: float) -> str:
    """A small run of the real trainer, as its command makes it: its name."""
    from pretraining.train import main

    steps = 160 if WHERE else 4
    often = max(2, steps // 4)
    settings = {**SIZES, "steps": steps, "minutes": "null", "max_documents": 300, "lr": lr, "runs": root}
    settings |= {"eval_every": max(2, steps // 8), "sample_every": often, "save_every": often}
    before = set(root.glob("*/*"))
    assert main([*(f"{key}={value}" for key, value in settings.items()), "--quiet"]) == 0
    (run,) = set(root.glob("*/*")) - before
    return f"{run.parent.name}/{run.name}"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")
    pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
    root = tmp_path_factory.mktemp("pictures") / "runs"
    root.mkdir()
    names = [train(root, lr) for lr in (0.001, 0.0003)]
    with checks.house(root, assets=None, chat=True) as house:
        house.names = names
        yield house


@pytest.mark.browser
@pytest.mark.parametrize("name", list(PICTURES) if WHERE else ["home", "chat"])
def test_a_room_shows_itself(browser, rooms, name):
    path, ready, window, colours = PICTURES[name]
    with checks.opened(
        browser, rooms.url, path.format(*rooms.names), viewport=window, color_scheme=colours
    ) as page:
        page.locator(ready).first.wait_for()
        page.wait_for_timeout(1500 if WHERE else 100)
        if WHERE:
            Path(WHERE).mkdir(parents=True, exist_ok=True)
            (Path(WHERE) / f"{name}.png").write_bytes(smaller(page.screenshot()))


def smaller(picture: bytes) -> bytes:
    """The same picture in at most 96 colours, which is what a page of text needs."""
    from PIL import Image

    kept = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(96, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    return kept.getvalue()


def test_the_kept_pictures_are_those_that_are_shown_and_small():
    kept = {path.stem: path.stat().st_size for path in KEPT.glob("*.png")}
    assert set(kept) == set(PICTURES), "SCRATCHBOOK_SCREENSHOTS=chat_ui/pictures makes them again"
    assert sum(kept.values()) < 400_000, f"{sum(kept.values()):,} bytes of pictures: a reader loads them all"
    shown = "".join(path.read_text(encoding="utf-8") for path in
                    (ROOT / "chat_ui" / "README.md", ROOT / "chat_ui" / "02_tour_of_the_app.ipynb"))  # fmt: skip
    assert set(re.findall(r"pictures/(\w+)\.png", shown)) == set(kept), "a picture that nobody shows, or none"
