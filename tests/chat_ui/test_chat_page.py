"""The page without a browser: nothing in it points to another machine, and what is switched off is off."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import chat_harness  # first: it says where Chainlit may write
import pytest

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")

from chat_ui.offline import POLICY, StayLocal

ROOT = chat_harness.ROOT


@pytest.fixture(scope="module")
def client():
    from chainlit.server import app as web
    from fastapi.testclient import TestClient

    import chat_ui.app  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHAINLIT_ROOT_PATH", raising=False)  # another test may have mounted it in a server
        # Not as a context manager: Chainlit ends the process when its server goes down.
        yield TestClient(web)


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml", "*/*"])
@pytest.mark.parametrize("path", ["/", "/some/deep/link"])
def test_every_page_carries_the_policy(client, path, accept):
    answer = client.get(path, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "https:" not in POLICY and "http:" not in POLICY and "*" not in POLICY


@pytest.mark.parametrize("path", ["/", "/some/deep/link"])
def test_the_page_links_to_nothing_elsewhere(client, path):
    page = client.get(path, headers={"accept": "text/html"}).text
    assert "<title>LLM Scratchbook</title>" in page
    links = re.findall(r"<(?:link|script|img|iframe)\b[^>]*>", page)
    assert links, "the page has lost its own scripts"
    assert [tag for tag in links if "//" in tag] == []


def test_assets_still_arrive_compressed(client):
    page = client.get("/", headers={"accept": "text/html"}).text
    script = re.search(r'src="(/assets/[^"]+\.js)"', page)
    assert script is not None
    answer = client.get(script[1], headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200 and answer.headers["content-encoding"] == "gzip"


def test_a_page_in_several_parts_is_rewritten_as_a_whole():
    parts = [b'<link rel="preconn', b'ect" href="https://fonts.example.com" crossorigin />', b"<p>hi</p>"]

    async def app(scope, receive, send):
        headers = [(b"content-type", b"text/html"), (b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": part is not parts[-1]})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"accept", b"text/html")]}
    asyncio.run(StayLocal(app)(scope, None, send))
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"<p>hi</p>"
    assert dict(sent[0]["headers"])[b"content-length"] == b"9"


def test_the_policy_cannot_be_weakened_by_the_app_behind():
    async def app(scope, receive, send):
        headers = [(b"Content-Security-Policy", b"default-src *")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(StayLocal(app)({"type": "http", "headers": []}, None, send))
    assert sent[0]["headers"] == [(b"content-security-policy", POLICY.encode())]


def test_uploads_audio_and_mcp_are_off():
    from chainlit.config import config

    assert config.features.spontaneous_file_upload.enabled is False
    assert config.features.audio.enabled is False
    assert config.features.mcp.enabled is False
    assert config.features.unsafe_allow_html is False
    assert config.project.allow_origins == []


def test_chainlits_files_stay_in_the_chats_own_folder():
    from chainlit import config

    assert Path(config.APP_ROOT) == ROOT / "chat_ui"
    theme = json.loads((ROOT / "chat_ui" / "public" / "theme.json").read_text())
    assert theme["custom_fonts"] == []


def test_a_chat_that_ends_takes_no_files_of_another():
    """Chainlit deletes its folder of files when a server ends: two processes may not share one."""
    from chainlit import config

    code = "import chat_ui.window; from chainlit import config; print(config.FILES_DIRECTORY)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    other, own = Path(done.stdout.split()[-1]), config.FILES_DIRECTORY
    assert own.is_dir() and other != own and other not in own.parents
    assert not other.exists(), "its process has ended"


@pytest.mark.parametrize(
    "path", ["/public/../app.py", "/public/%2e%2e/app.py", "/assets/..%2f..%2fserver.py"]
)
def test_no_file_outside_public_is_served(client, path):
    assert "import" not in client.get(path, headers={"accept": "*/*"}).text.replace("@import", "")[:2000]
