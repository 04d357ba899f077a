"""`chainlit run chat_ui/app.py`: the same window under Chainlit's own command, typed in an empty folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import chat_harness  # first: it says where Chainlit may write
import pytest
from chat_client import Client

from chat_ui.offline import POLICY

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
pytest.importorskip("socketio", reason="python-socketio is not installed: pip install -e '.[dev]'")

APP = chat_harness.ROOT / "chat_ui" / "app.py"


def free_port() -> int:
    """A port that was free a moment ago: Chainlit's command takes a number and no socket."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def alone(tiny_checkpoint, tmp_path_factory):
    """The command as the README has it, on the tiny model; gives its address and the folder it was typed in."""
    cwd, port = tmp_path_factory.mktemp("alone"), free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if k != "CHAINLIT_ROOT_PATH"},  # set where it is mounted
        "CHAINLIT_APP_ROOT": str(APP.parent),
        "SCRATCHBOOK_CHAT_CKPT": str(tiny_checkpoint),
    }
    log = tmp_path_factory.mktemp("log") / "chainlit.txt"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "chainlit", "run", str(APP), "--headless", "--port", str(port)],
            cwd=cwd, env=environment, stdout=told, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"{url}/project/translations?language=en-US", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield url, cwd
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "Traceback" not in log.read_text(), log.read_text()


def test_the_page_is_the_books_own_and_stays_here(alone):
    asked = urllib.request.Request(alone[0], headers={"accept": "text/html"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["content-security-policy"] == POLICY
        page = answer.read().decode()
    assert "<title>LLM Scratchbook</title>" in page


def test_it_answers_with_the_model_that_was_named(alone, tiny_checkpoint):
    async def talk():
        client = await Client(alone[0]).open(seed="1", max_new_tokens=12.0)
        await client.say("hello")
        text = await client.until_done()
        await client.io.disconnect()
        return text, {field["id"]: field["initial"] for field in client.settings[-1]}["model"]

    text, model = asyncio.run(talk())
    assert len(text) == 12 and model == str(tiny_checkpoint)


def test_it_leaves_nothing_where_it_was_typed(alone):
    assert list(Path(alone[1]).iterdir()) == []
