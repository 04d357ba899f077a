"""The running server, spoken to as a browser does: socket.io for the chat, HTTP for the page."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from chat_client import Client

socketio = pytest.importorskip("socketio", reason="python-socketio is not installed: pip install -e '.[dev]'")
aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install -e '.[dev]'")


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
        "min_p",
        "max_new_tokens",
        "seed",
        "system",
        "beside",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "template",
    ]
    assert fields["model"]["initial"] == str(tiny_checkpoint)
    assert fields["mode"]["initial"] == "chat"
    assert fields["max_new_tokens"]["max"] == 8192


def test_nothing_is_written_where_the_command_was_typed(server):
    assert list(Path(server.cwd).iterdir()) == []


def test_sixteen_people_at_once_all_get_their_answers(server):
    """They are written together: nobody waits for the others to end, and the server answers meanwhile."""

    async def talk():
        clients = [await Client(server.url).open(seed=str(n), max_new_tokens=40.0) for n in range(16)]
        for client in clients:
            await client.say("hello")
        texts = [await client.until_done() for client in clients]
        for client in clients:
            await client.io.disconnect()
        return texts

    texts = asyncio.run(talk())
    assert [len(text) for text in texts] == [40] * 16
    assert len(set(texts)) == 16, "two of them drew with the same luck"
