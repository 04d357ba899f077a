"""The whole server with a password and a history, in a real browser: who may enter, and what is there tomorrow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import urlparse

import chat_harness  # first: it says where Chainlit may write
import pytest

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
expect = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
).expect
pytestmark = pytest.mark.browser
PASSWORD = "a long and séparate word"  # one with a letter beyond ASCII, as people have them
PATIENCE = 30_000


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """`scratchbook serve --history talks.db` behind a password; `restart` ends the process and starts another."""
    folder = tmp_path_factory.mktemp("kept")
    loaded = chat_harness.tiny_model(block_size=128)  # its answers are over in a moment
    loaded.model.save_pretrained(folder / "tiny")
    loaded.tokenizer.save(folder / "tiny" / "tokenizer.json")
    told = (
        "CHAINLIT_APP_ROOT",
        "CHAINLIT_ROOT_PATH",
        "CHAINLIT_AUTH_SECRET",
    )  # by other tests of this process
    environment = {k: v for k, v in os.environ.items() if k not in told and not k.startswith("SCRATCHBOOK_")}
    house = SimpleNamespace(process=None, url="")

    def start(port: str = "0") -> None:
        house.process = subprocess.Popen(
            [sys.executable, "-m", "chat_ui.serve", "--port", port, "--ckpt", str(folder / "tiny"), "--runs",
             str(folder / "runs"), "--history", str(folder / "talks.db")],
            env={**environment, "SCRATCHBOOK_PASSWORD": PASSWORD}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=chat_harness.ROOT,
        )  # fmt: skip
        printed = []
        for line in house.process.stdout:
            printed.append(line)
            if line.startswith("serve:"):  # the port is bound: whoever comes now is waited for
                house.url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
                return
        raise AssertionError("".join(printed))

    def stop() -> None:
        house.process.send_signal(signal.SIGINT)
        rest = house.process.communicate(timeout=60)[0]
        assert "Traceback" not in rest, rest

    def restart() -> None:
        stop()
        start(house.url.rpartition(":")[2])

    house.restart = restart
    start()
    yield house
    stop()


@pytest.fixture
def reader(browser, house):
    """A browser whose user knows the password; at the end: no complaint, no request to another host."""
    window = browser.new_context(http_credentials={"username": "me", "password": PASSWORD})
    window.set_default_timeout(PATIENCE)
    page = window.new_page()
    complaints: list[str] = []
    hosts: set[str | None] = set()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
    page.on("websocket", lambda socket: hosts.add(urlparse(socket.url).hostname))
    yield page, complaints
    assert complaints == []
    assert hosts - {None, ""} == {"127.0.0.1"}, f"the page asked other machines: {hosts}"
    window.close()


def ask(page, text: str) -> str:
    """Say something and wait for the end of the answer; its words, without what stands below them."""
    before = page.locator(".sb-answer").count()
    page.locator("#chat-input").click()
    page.locator("#chat-input").type(text)
    page.locator("#chat-submit:enabled").click()
    # What stands below an answer comes with its end.
    expect(page.locator(".sb-answer")).to_have_count(before + 1, timeout=PATIENCE)
    return page.locator(".ai-message").last.inner_text().splitlines()[0]


def test_who_does_not_know_the_password_sees_nothing(browser, house):
    for credentials in (None, {"username": "me", "password": "a guess"}):
        window = browser.new_context(http_credentials=credentials)
        page = window.new_page()
        for path in ("/chat", "/chat/", "/chat/public/scratchbook.css", "/docs", "/v1/models"):
            answer = window.request.get(house.url + path)
            assert answer.status == 401 and "scratchbook" not in answer.text().lower(), path
        assert window.request.get(f"{house.url}/health").status == 200, "a health check knows no password"
        page.close()
        window.close()


def test_a_conversation_is_there_after_the_server_was_started_again(reader, house):
    page, complaints = reader
    page.goto(f"{house.url}/chat/")
    first = ask(page, "who had the red lantern?")
    assert complaints == []
    page.goto("about:blank")
    house.restart()
    page.goto(f"{house.url}/chat/")
    page.get_by_role("link", name="who had the red lantern?").click()
    page.wait_for_url(re.compile("/chat/thread/"))
    expect(page.locator(".ai-message")).to_have_text(first, timeout=PATIENCE)
    assert ask(page, "and then?") != first
    expect(page.locator(".ai-message").first).to_have_text(first)
