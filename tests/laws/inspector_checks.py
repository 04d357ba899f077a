"""What the inspector's pages must keep (LS6 and what belongs to it), as plain functions that raise AssertionError."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlparse

from rest_harness import RUN_ID, make_run, tiny
from server_harness import listening

MODEL = f"pretrain/{RUN_ID}"
OTHER = "pretrain/hostile"
# What a run may hold that somebody else has made: none of it may become part of a page.
HOSTILE = (
    '<img src="https://evil.example/x.png" onerror="alert(1)"><script>alert(2)</script>${x}{{ 7*7 }}`</pre>'
)
FOREIGN = re.compile(r"^https?://(?!127\.0\.0\.1[:/])")
NOWHERE = Path("no assets")
SECONDS = 60_000  # of Playwright's patience, in milliseconds: the machine may be busy


def fill(root: Path) -> None:
    """Two runs: one with a model, one whose every text is hostile."""
    from utils.runs import Run

    make_run(root, loaded=tiny(), rows=5)
    run = Run.create("pretrain", {"note": HOSTILE, "steps": 7}, root=root, run_id="hostile")
    for step in range(4):
        run.metric(
            step=step, split="train", loss=2.5 - step / 2, lr=0.01, grad_norm=1.0, tokens_per_second=90.5
        )
    run.sample(step=3, prompt=HOSTILE, text=HOSTILE)
    run.log(HOSTILE)
    run.finish("failed", error=HOSTILE)


@contextmanager
def house(root: Path, assets: Path | None = NOWHERE, **options: Any) -> Iterator[SimpleNamespace]:
    """The server on a folder of runs, on a free port: its `url`, `app` and `root`. `assets` None: the book's own."""
    from chat_ui.models import Models
    from chat_ui.server import Options, create_app
    from chat_ui.service import Service

    service = Service(Models(root=root, **({} if assets is None else {"assets": assets})), threads=1)
    app = create_app(Options(**{"chat": False, **options}), service=service)
    with listening(app) as url:
        yield SimpleNamespace(url=url, app=app, root=root)
    # In a thread: Playwright's loop may be running in this one.
    closing = threading.Thread(target=lambda: asyncio.run(service.close()))
    closing.start()
    closing.join(60)


@contextmanager
def opened(browser: Any, url: str, path: str, **context: Any) -> Iterator[Any]:
    """A page in a window of its own. At the end: nothing was asked of another machine, nothing went wrong."""
    window = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    window.set_default_timeout(SECONDS)
    window.route(FOREIGN, lambda route: route.abort())  # seen below, and never really sent
    page = window.new_page()
    asked: set[str] = set()
    complaints: list[str] = []
    page.on("request", lambda request: asked.add(request.url))
    page.on("websocket", lambda socket: asked.add(socket.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    failed: Exception | None = None
    try:
        try:
            page.goto(url + path)
            page.wait_for_function("document.querySelector('#main, .swagger-ui .info, #chat-input')")
            yield page
            page.wait_for_timeout(100)
        except Exception as error:  # first what the browser says: it is often the reason
            failed = error
        hosts = {urlparse(address).hostname for address in asked} - {None, "", "127.0.0.1"}
        assert not hosts, (
            f"{path} asked other machines: {sorted(map(str, hosts))}; every file must come from this server"
        )
        assert not complaints, f"{path} complained in the browser's console: {complaints[:3]}"
        if failed is not None:
            raise failed
    finally:
        window.close()


def check_every_page_stays_here(browser: Any, url: str, names: tuple[str, ...] = (), **context: Any) -> None:
    """LS6: each page opens and does its main action; no request leaves the machine, no error is in the console."""
    for name, (path, act) in PAGES.items():
        if not names or name in names:
            with opened(browser, url, path, **context) as page:
                act(page)


def check_wrong_addresses_of_programs_are_json(client: Any) -> None:
    """The pages stand behind every route and take nothing from them: a program's mistake is answered in JSON."""
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/v1/models", 405),
        ("DELETE", "/api/v1/runs", 405),
    ):
        answer = client.request(method, path)
        kind = answer.headers["content-type"]
        assert answer.status_code == status, (
            f"{method} {path} was answered with {answer.status_code}, not {status}"
        )
        assert kind.startswith("application/json"), f"{method} {path} was answered by a page ({kind})"
    page = client.get("/no/such/page")
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html"), (
        "a wrong page is a page"
    )


def check_new_records_reach_an_open_page(browser: Any, url: str, root: Path) -> None:
    """C13: what a run writes while its page is open is in the curves and the log at once, every record one time."""
    from utils.runs import Run

    run = Run.create("pretrain", {"steps": 9}, root=root, run_id="growing")
    try:
        for step in range(3):
            run.metric(step=step, split="train", loss=3.0 - step)
        with opened(browser, url, "/run/pretrain/growing") as page:
            page.wait_for_function(POINTS, arg=3)
            assert page.locator(".badge.running").count() == 1, "a run that goes on must say so"
            for step in range(3, 8):
                run.metric(step=step, split="train", loss=3.0 / step)
            run.log("a new line")
            page.wait_for_function(POINTS, arg=8)
            page.wait_for_timeout(600)  # time for what must not come: a second time the same
            points = page.evaluate("Number(document.querySelector('.chart').dataset.points)")
            assert points == 8, f"8 records were written, and the page has drawn {points} of them"
            page.locator(".log").get_by_text("a new line").wait_for()
            run.finish("complete")
            page.locator(".badge.complete").wait_for()
    finally:
        if run.status == "running":
            run.finish("stopped")


POINTS = "count => Number(document.querySelector('.chart')?.dataset.points) >= count"


def _nudge(page: Any, slider: str, key: str) -> None:
    """A key on a slider: what takes the focus is a part of it."""
    page.get_by_role("slider", name=slider).locator("[tabindex]").press(key)


# ---- the main action of each page


def _home(page: Any) -> None:
    page.get_by_role("link", name=MODEL, exact=True).wait_for()
    page.get_by_role("navigation").get_by_role("link", name="Tokens").click()
    page.wait_for_url("**/tokens*")
    page.locator(".tokens i").first.wait_for()


def _runs(page: Any) -> None:
    page.locator(".runs tbody tr").nth(1).wait_for()
    page.get_by_role("checkbox", name=f"choose {MODEL}").check()
    page.get_by_label("Find").fill("hostile")
    page.wait_for_function("document.querySelectorAll('.runs tbody tr').length === 1")
    page.wait_for_url("**text=hostile**")
    page.get_by_role("checkbox", name=f"choose {OTHER}").check()
    page.get_by_role("button", name="Compare the chosen runs").click()
    page.wait_for_url("**/compare?runs=**")
    page.locator(".chart canvas").first.wait_for()


def _run(page: Any) -> None:
    page.wait_for_function(POINTS, arg=4)
    page.locator(".samples").get_by_text("<img src=").first.wait_for()
    page.locator(".log").get_by_text("<img src=").wait_for()
    page.get_by_role("button", name="Check the files now").click()
    page.get_by_text("commit", exact=True).wait_for()


def _compare(page: Any) -> None:
    page.locator(".chart canvas").first.wait_for()
    page.get_by_text("steps", exact=True).wait_for()  # a setting that differs
    page.get_by_role("switch", name="Logarithmic").click()
    page.wait_for_url("**log=1**")


def _tokens(page: Any) -> None:
    page.locator(".tokens i").first.wait_for()
    page.get_by_label("Text").fill('<script>alert(3)</script>\n"quoted" <|endoftext|>')
    page.wait_for_function("document.querySelector('.tokens').innerText.includes('<script>')")
    assert page.locator(".tokens i.special").count() == 0, "typed control words are plain text"
    page.get_by_label("Input price, per million").fill("2.5")
    page.get_by_role("columnheader", name="total").wait_for()


def _calculator(page: Any) -> None:
    before = page.locator(".figures b").first.inner_text()
    _nudge(page, "Layers", "ArrowRight")
    page.wait_for_function("was => document.querySelector('.figures b').innerText !== was", arg=before)
    page.wait_for_url("**n_layer=13**")
    assert not page.get_by_role("slider", name="Latent per token").is_visible(), "gpt2 has no latent"
    page.get_by_label("Attention").click()
    page.get_by_role("option", name="mla").click()
    page.wait_for_url("**attention=mla**")
    slider = page.get_by_role("slider", name="Latent per token")
    slider.wait_for()
    assert "kv_latent_dim" not in page.url, "what nobody has moved is the model's own"
    _nudge(page, "Latent per token", "ArrowRight")
    page.wait_for_url("**kv_latent_dim=272**")


def _look(page: Any) -> None:
    before = page.get_by_label("Text").input_value()
    page.locator(".next button:not([disabled])").first.click()
    page.wait_for_function("was => document.querySelector('textarea').value.length > was.length", arg=before)
    _nudge(page, "Temperature", "ArrowLeft")
    page.wait_for_url("**temperature=0.95**")


def _viewer(page: Any) -> None:
    page.frame_locator("iframe.viewer").locator("html[data-draw-ms]").wait_for()


def _surprise(page: Any) -> None:
    page.locator(".tokens.heat i").nth(3).wait_for()


def _data(page: Any) -> None:
    page.get_by_text("document 0 ").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("document 5 ").wait_for()
    page.get_by_role("columnheader", name="word").wait_for()


def _docs(page: Any) -> None:
    page.locator(".opblock").first.wait_for()


_TEXT = f"&model={quote(MODEL, safe='')}&text=Once%20upon"
PAGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "home": ("/", _home),
    "runs": ("/runs", _runs),
    "run": (f"/run/{OTHER}", _run),
    "compare": (f"/compare?runs={MODEL}&runs={OTHER}", _compare),
    "tokens": (f"/tokens?tokenizer={quote(MODEL, safe='')}&beside=byte", _tokens),
    "calculator": ("/calculator?preset=gpt2", _calculator),
    "look": (f"/look?view=next{_TEXT}", _look),
    "attention": (f"/look?view=attention{_TEXT}", _viewer),
    "lens": (f"/look?view=lens{_TEXT}", _viewer),
    "surprise": (f"/look?view=surprise{_TEXT}", _surprise),
    "data": ("/data?source=storyland", _data),
    "docs": ("/docs", _docs),
}
