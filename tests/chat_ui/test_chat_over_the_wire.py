"""The running server, spoken to as a browser does: socket.io for the chat, HTTP for the page."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import pytest

socketio = pytest.importorskip("socketio", reason="python-socketio is not installed: pip install -e '.[dev]'")
aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install -e '.[dev]'")


class Client:
    """One chat window over the wire."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.io = socketio.AsyncClient()
        self.pieces: list[str] = []
        self.closed: list[dict] = []
        self.settings: list = []
        self.ended = asyncio.Event()
        self.ends = 0
        self.io.on("stream_start", lambda step: self.pieces.append(step["output"]))
        self.io.on("stream_token", lambda data: self.pieces.append(data["token"]))
        self.io.on("update_message", self._update)
        self.io.on("chat_settings", self.settings.append)
        self.io.on("task_end", self._task_end)

    def _update(self, step: dict) -> None:
        if step["type"] == "assistant_message":  # the other kind is Chainlit's own record of the call
            self.closed.append(step)

    def _task_end(self, *_) -> None:
        self.ends += 1
        self.ended.set()

    async def open(self, **knobs) -> Client:
        auth = {
            "sessionId": str(uuid.uuid4()),
            "clientType": "webapp",
            "userEnv": None,
            "chatProfile": None,
            "threadId": None,
        }
        await self.io.connect(self.url, socketio_path="/ws/socket.io", auth=auth, transports=["websocket"])
        await self.io.emit("connection_successful")
        async with asyncio.timeout(20):
            while not self.settings or self.ends < 2:  # one for connecting, one for the start of the chat
                await asyncio.sleep(0.01)
        if knobs:
            defaults = {field["id"]: field["initial"] for field in self.settings[-1]}
            await self.io.call("chat_settings_change", {**defaults, **knobs})
        return self

    async def say(self, text: str) -> None:
        self.ended.clear()
        step = {
            "id": str(uuid.uuid4()),
            "name": "User",
            "type": "user_message",
            "output": text,
            "createdAt": "2026-01-01T00:00:00Z",
        }
        await self.io.emit("client_message", {"message": step, "fileReferences": None})

    async def until_done(self) -> str:
        await asyncio.wait_for(self.ended.wait(), 40)
        return "".join(self.pieces)

    async def until_pieces(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.pieces) < count:
                await asyncio.sleep(0.001)


def test_two_people_at_once_each_get_their_own_seeded_answer(server):
    """The same seed gives the same text, alone or beside somebody else with another."""

    async def talk():
        first = await Client(server.url).open(seed="1", max_new_tokens=80.0)
        second = await Client(server.url).open(seed="2", max_new_tokens=80.0)
        for client in (first, second):
            await client.say("hello")
        together = [await client.until_done() for client in (first, second)]
        alone = []
        for seed in ("1", "2"):
            client = await Client(server.url).open(seed=seed, max_new_tokens=80.0)
            await client.say("hello")
            alone.append(await client.until_done())
            await client.io.disconnect()
        for client in (first, second):
            await client.io.disconnect()
        return together, alone

    together, alone = asyncio.run(talk())
    assert together == alone
    assert [len(text) for text in together] == [80, 80]
    assert together[0] != together[1]


def test_stop_ends_the_answer_and_closes_the_message(server):
    async def talk():
        client = await Client(server.url).open(max_new_tokens=2000)
        await client.say("tell me everything you know")
        await client.until_pieces(5)
        await client.io.emit("stop")
        shown = await client.until_done()
        await asyncio.sleep(0.2)
        assert "".join(client.pieces) == shown, "pieces came after the end"
        assert len(shown) < 1500, "the whole answer was written although Stop was pressed"
        assert client.closed[-1]["output"] == shown and not client.closed[-1]["streaming"]
        await client.say("and again")
        more = await client.until_done()
        assert len(more) > len(shown)
        await client.io.disconnect()

    asyncio.run(talk())


def test_the_server_answers_others_while_it_writes(server):
    """LS1: the page's own address answers while two answers are computed."""

    async def talk():
        clients = [await Client(server.url).open(max_new_tokens=1500) for _ in range(2)]
        for client in clients:
            await client.say("hello")
        for client in clients:
            await client.until_pieces(2)
        times = []
        async with aiohttp.ClientSession() as web:
            for _ in range(10):
                start = time.perf_counter()
                async with web.get(f"{server.url}/auth/config") as answer:
                    assert answer.status == 200
                    await answer.read()
                times.append(time.perf_counter() - start)
        assert not any(client.ended.is_set() for client in clients), "they must still be writing"
        for client in clients:
            await client.io.emit("stop")
            await client.until_done()
            await client.io.disconnect()
        return sorted(times)

    times = asyncio.run(talk())
    assert times[len(times) // 2] < 0.1, f"the server took {times} s to answer while it wrote"


def test_closing_the_window_stops_the_answer(server):
    """Somebody leaves in the middle; the next person gets the threads at once."""

    async def talk():
        for _ in range(6):  # more than there are threads
            client = await Client(server.url).open(max_new_tokens=2000)
            await client.say("hello")
            await client.until_pieces(1)
            await client.io.disconnect()
        client = await Client(server.url).open(max_new_tokens=3)
        await client.say("hello")
        assert len(await client.until_done()) == 3
        await client.io.disconnect()

    asyncio.run(talk())


def test_the_panel_shows_the_model_and_the_limits_of_this_model(server, tiny_checkpoint):
    async def talk():
        client = await Client(server.url).open()
        await client.io.disconnect()
        return {field["id"]: field for field in client.settings[-1]}

    fields = asyncio.run(talk())
    assert list(fields) == [
        "model",
        "mode",
        "temperature",
        "top_k",
        "top_p",
        "max_new_tokens",
        "seed",
        "system",
    ]
    assert fields["model"]["initial"] == str(tiny_checkpoint)
    assert fields["mode"]["initial"] == "chat"
    assert fields["max_new_tokens"]["max"] == 8192


def test_nothing_is_written_where_the_command_was_typed(server):
    assert list(Path(server.cwd).iterdir()) == []
