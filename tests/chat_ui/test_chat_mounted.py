"""The chat as a room of the server: the same window at /chat, on the server's models, behind the server's doors."""

from __future__ import annotations

import asyncio
import re

import chat_harness  # noqa: F401  first: it says where Chainlit may write
import pytest
from chat_client import Client
from server_harness import MODEL, listening, service_on, tiny

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install -e '.[dev]'")

import aiohttp

from chat_ui import mounting, room
from chat_ui.offline import POLICY
from chat_ui.server import Options, create_app


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Serves the whole app with some options; gives its address and its service."""
    monkeypatch.setenv(mounting.ROOT_PATH, "")  # put back at the end
    open_servers = []

    def serve(**options):
        service = service_on(tiny(), tmp_path)
        server = listening(create_app(Options(**options), service=service))
        url = server.__enter__()
        open_servers.append((server, service))
        return url, service

    yield serve
    room.use(None)
    for server, service in open_servers:
        server.__exit__(None, None, None)
        asyncio.run(service.close())


async def fetch(url: str, **more):
    async with aiohttp.ClientSession() as web, web.get(url, **more) as answer:
        return answer.status, dict(answer.headers), await answer.text()


def test_the_page_finds_its_files_under_the_path(mounted):
    url, _ = mounted()

    async def look():
        status, headers, page = await fetch(f"{url}/chat/", headers={"accept": "text/html"})
        assert status == 200 and headers["Content-Security-Policy"] == POLICY
        files = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert files and all(file.startswith("/chat/") or file.startswith("data:") for file in files), files
        for file in (*files, "/chat/public/elements/Answer.jsx", "/chat/public/scratchbook.css"):
            assert (await fetch(url + file))[0] == 200, file
        return await fetch(f"{url}/health")

    assert asyncio.run(look())[0] == 200


def test_a_conversation_is_written_by_the_servers_own_engine(mounted):
    url, service = mounted()

    async def talk():
        client = await Client(url, "/chat").open(seed="3", max_new_tokens=60.0)
        await client.say("hello")
        await client.until_pieces(1)
        seen = service.stats(MODEL).requests, service.waiting
        text = await client.until_done()
        facts = client.elements[-1]
        async with aiohttp.ClientSession() as web:
            action = {"name": "look", "payload": {"id": facts["props"]["id"], "view": "tokens"}}
            body = {"sessionId": client.session, "action": action}
            async with web.post(f"{url}/chat/project/action", json=body) as answer:
                told = await answer.json()
        await client.io.disconnect()
        return text, seen, facts, told

    text, seen, facts, told = asyncio.run(talk())
    assert len(text) == 60 and facts["name"] == "Answer"
    assert len(told["response"]["rows"]) == 60
    assert service.waiting == 0


def test_a_password_guards_the_chat_and_its_socket(mounted):
    url, _ = mounted(password="word")

    async def look():
        import socketio

        assert (await fetch(f"{url}/chat/"))[0] == 401
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Client(url, "/chat").open()
        client = await Client(url, "/chat").open({"Authorization": "Bearer word"}, max_new_tokens=3.0)
        await client.say("hello")
        text = await client.until_done()
        await client.io.disconnect()
        return text

    assert len(asyncio.run(look())) == 3


def test_without_chainlit_the_server_says_what_to_install(tmp_path, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setattr(mounting, "find_spec", lambda name: None)
    client = TestClient(create_app(service=service_on(tiny(), tmp_path)))
    answer = client.get("/chat")
    assert answer.status_code == 404 and ".[chat]" in answer.json()["detail"]


def test_a_server_can_do_without_the_chat(tmp_path):
    from fastapi.testclient import TestClient

    client = TestClient(create_app(Options(chat=False), service=service_on(tiny(), tmp_path)))
    assert client.get("/chat").status_code == 404
