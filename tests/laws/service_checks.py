"""What the service must keep (LS1, LS2, LS3), as plain functions that raise AssertionError."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from chat_harness import Engine
from server_harness import MODEL, served, service_on, tiny, until, with_service

from gpt_model.prefix_cache import KEPT

PROMPTS = [list(b"hello there"), list(b"once upon"), list(b"the sea is wide and the day is long"), list(b"a")]


def settings() -> list[Any]:
    from gpt_model.sampling import Sampling

    return [
        Sampling(temperature=0.9, top_k=12, seed=11),
        Sampling(temperature=1.3, top_p=0.8, seed=5),
        Sampling(temperature=0.0),
        Sampling(presence_penalty=0.7, frequency_penalty=0.2, seed=2**63 - 1),
    ]


async def told(
    service: Any, ids: list[int], **asked: Any
) -> tuple[list[str], list[str | None], list[list[int]]]:
    """An answer read to its end: texts, reasons and tokens of its samples."""
    async with service.answer(MODEL, ids, **asked) as pieces:
        n = pieces.request.n
        texts, ends, tokens = [""] * n, [None] * n, [[] for _ in range(n)]  # type: Any
        async for piece in pieces:
            assert ends[piece.index] is None, "a piece came after the end of its sample"
            texts[piece.index] += piece.text
            ends[piece.index] = piece.finish_reason
            tokens[piece.index] += [] if piece.token is None else [piece.token]
    return texts, ends, tokens


def alone(loaded: Any, ids: list[int], sampling: Any, length: int) -> str:
    from gpt_model.generation import generate

    return loaded.tokenizer.decode(generate(loaded.model, [ids], max_new_tokens=length, sampling=sampling)[0])


def check_streamed_equals_generated(root: Path) -> None:
    """LS1: answers at once, with settings of their own; each streams exactly what `generate` gives alone."""
    loaded = tiny()
    wishes = list(zip(PROMPTS, settings(), (60, 45, 80, 30)))
    expected = [alone(loaded, *wish) for wish in wishes]
    engine = Engine(loaded, pause=0.001)

    async def all_at_once(service: Any) -> list[str]:
        async def one(number: int) -> str:
            await asyncio.sleep(0.01 * number)  # each joins while the others are being written
            ids, sampling, length = wishes[number]
            texts, ends, tokens = await told(service, ids, sampling=sampling, max_new_tokens=length)
            assert ends == ["length"] and len(tokens[0]) == length
            return texts[0]

        return await asyncio.gather(*map(one, range(len(wishes))))

    streamed = with_service(loaded, root, all_at_once)
    for number, (got, want) in enumerate(zip(streamed, expected, strict=True)):
        assert got == want, (
            f"answer {number} streamed {got!r}, alone the model writes {want!r}: does something (a random "
            "generator, a cache, a setting) belong to several answers?"
        )
    assert engine.passes < sum(length for *_, length in wishes) + 60, "the answers were not written together"
    assert engine.live_caches() == 0, "a cache outlived the service"


def check_the_loop_is_free(root: Path, patience: float = 20.0) -> None:
    """LS1: in the middle of every forward pass the event loop still answers; no clock decides."""
    loaded = tiny()
    waits: list[float] = []
    blocked: list[int] = []

    async def talk(service: Any) -> Any:
        loop = asyncio.get_running_loop()

        def ask_the_loop() -> None:
            if blocked:
                return
            answered, start = threading.Event(), time.perf_counter()
            loop.call_soon_threadsafe(answered.set)
            if answered.wait(patience):
                waits.append(time.perf_counter() - start)
            else:
                blocked.append(len(waits))

        Engine(loaded, during=ask_the_loop)
        both = [told(service, ids, max_new_tokens=20) for ids in PROMPTS[:2]]
        return await asyncio.gather(*both)

    answers = with_service(loaded, root, talk)
    assert not blocked, "a forward pass ran on the event loop: everybody else had to wait for it"
    assert [len(texts[0]) for texts, *_ in answers] == [20, 20]
    middle = sorted(waits)[len(waits) // 2]
    assert middle < 0.1, f"the event loop took {middle * 1000:.0f} ms to answer while tokens were computed"


def check_leaving_stops(root: Path) -> None:
    """LS2: who leaves an answer ends it within one token, and its memory is free at once."""
    loaded = tiny()
    engine = Engine(loaded, pause=0.01)

    async def leave(service: Any) -> None:
        async with service.answer(MODEL, PROMPTS[0], max_new_tokens=200, n=2) as pieces:
            seen = 0
            async for _ in pieces:
                seen += 1
                if seen == 6:
                    break
            before = engine.passes
        await asyncio.sleep(0.1)  # ten tokens' time for an engine that does not listen
        late = engine.passes - before
        assert late <= 1, (
            f"{late} more tokens were computed after the reader left: ending a coroutine does not end a thread, "
            "the engine must be told"
        )
        assert engine.live_caches() == 0, "the cache outlived the answer"
        assert (service.waiting, service.stats(MODEL).requests) == (0, 0), "its places were not given back"

    with_service(loaded, root, leave)


def check_stop_strings(root: Path) -> None:
    """LS2: a stop string ends its sample within a token, wherever tokens are cut, and is not shown."""
    from gpt_model.sampling import Sampling

    loaded = tiny()
    whole = [alone(loaded, PROMPTS[0], Sampling(seed=seed), 120) for seed in (3, 4)]
    stop = whole[0][17:20]  # letters are tokens here: it lies across three of them
    shown = [text.partition(stop)[0] for text in whole]
    assert shown[1] == whole[1], "the other sample must go on"
    engine = Engine(loaded)

    async def talk(service: Any) -> Any:
        first = await told(
            service, PROMPTS[0], sampling=Sampling(seed=3), max_new_tokens=120, stop=[stop, "#"]
        )
        passes = engine.passes
        both = await told(
            service, PROMPTS[0], sampling=Sampling(seed=3), max_new_tokens=120, stop=[stop, "#"], n=2
        )
        return first, passes, both

    (texts, ends, tokens), passes, both = with_service(loaded, root, talk)
    assert texts == shown[:1], f"shown {texts[0]!r}, but the answer ends before {stop!r}: {shown[0]!r}"
    assert ends == ["stop"]
    assert loaded.tokenizer.decode(tokens[0]) == shown[0], "tokens of the stop string were told"
    written = len(shown[0]) + len(stop)
    assert passes <= written + 1, (
        f"{passes} passes for {written} tokens: the stop string did not stop the engine"
    )
    assert both[0] == shown and both[1] == ["stop", "length"], (
        "one sample's stop string reached another sample"
    )


def check_cancelled_answers_leave_nothing(root: Path, answers: int = 100) -> None:
    """LS2: after many started and left answers there is as much in memory as before."""
    loaded = tiny()
    engine = Engine(loaded)

    async def one(service: Any) -> None:
        async with service.answer(MODEL, PROMPTS[2], max_new_tokens=200) as pieces:
            async for _ in pieces:
                break

    def in_memory(service: Any) -> dict[str, int]:
        gc.collect()
        things = gc.get_objects()
        return {
            "tensor bytes": sum(t.nbytes for t in things if type(t) in (torch.Tensor, torch.nn.Parameter)),
            "caches": engine.live_caches(),
            "cache bytes": service.stats(MODEL).cache_bytes,
            "tasks": len(asyncio.all_tasks()),
            "answers": sum(type(t).__name__ == "Answer" for t in things),
            "places taken": service.waiting,
            "threads": sum(t.name.startswith("scratchbook") for t in threading.enumerate()),
        }

    async def many(service: Any) -> None:
        for _ in range(3):  # threads and lazily made objects exist from now on
            await one(service)
        base = in_memory(service)
        for _ in range(answers):
            await one(service)
        left = in_memory(service)
        assert left == base, f"after {answers} left answers there is {left}, before there was {base}"

    before = set(threading.enumerate())
    with_service(loaded, root, many)
    after = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("scratchbook")]
    assert not after, f"a closed service left the threads {after}"


def check_warm_is_cold(root: Path) -> None:
    """LS3: a conversation that finds its cache warm writes what a cold run writes, and reads only what is new."""
    from gpt_model.sampling import Sampling

    loaded = tiny()
    read: list[int] = []
    loaded.model.register_forward_pre_hook(lambda model, given: read.append(given[0].size(1)))

    async def talk(service: Any) -> list[tuple[list[int], int, str]]:
        text, turns = list(b"the first question"), []
        for turn in range(5):
            got, *_ = await told(service, text, sampling=Sampling(seed=turn), max_new_tokens=20)
            turns.append((list(text), turn, got[0]))
            # The third question is another one than before: only the beginning is common.
            text = (
                text[:25] + list(b"something else") if turn == 2 else text + list((got[0] + " more").encode())
            )
        return turns

    turns = with_service(loaded, root, talk)
    warm = sum(read)
    read.clear()
    for ids, seed, got in turns:
        want = alone(loaded, ids, Sampling(seed=seed), 20)
        assert got == want, f"turn {seed}: warm {got!r}, cold {want!r}: keys of other tokens were used again"
    cold = sum(read)
    assert warm < cold - 80, f"{warm} tokens were read, {cold} without a cache: nothing was used again"


# Clients in a process of their own: they must not take the interpreter lock from the server that is measured.
CLIENTS = """
import http.client, json, sys, threading
port, chats, body = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
told = [None] * chats
def chat(number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    text = json.dumps({**body, "seed": number, "stream": True})
    connection.request("POST", "/v1/completions", text, {"content-type": "application/json"})
    lines = connection.getresponse().read().decode().split("\\n\\n")
    chunks = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]
    told[number] = ["".join(chunk["text"] for chunk in chunks), chunks[-1]["finish_reason"], lines[-2]]
threads = [threading.Thread(target=chat, args=(number,)) for number in range(chats)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(told))
"""


def check_sixteen_chats(loaded: Any, root: Path, *, words: str, length: int, chats: int = 16) -> list[float]:
    """Load: chats at once all finish, /health answers throughout, and all memory comes back. Seconds of /health."""
    import http.client

    service = service_on(loaded, root)
    waits, most = [], 0
    with served(service) as url:
        port = int(url.rpartition(":")[2])
        body = json.dumps({"model": MODEL, "prompt": words, "max_tokens": length})
        command = [sys.executable, "-c", CLIENTS, str(port), str(chats), body]
        clients = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        until(lambda: service.waiting > 0 or clients.poll() is not None, "a chat has begun")
        health = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while clients.poll() is None:
            busy = service.waiting > 0
            start = time.perf_counter()
            health.request("GET", "/health")
            answer = json.loads(health.getresponse().read())
            if busy:
                waits.append(time.perf_counter() - start)
            most = max(most, answer["answers"])
            time.sleep(0.01)
        assert clients.stdout is not None
        told = json.loads(clients.stdout.read())
        assert len(told) == chats and all(told), f"{told.count(None)} of {chats} chats did not finish"
        assert {(reason, last) for _, reason, last in told} <= {
            ("length", "data: [DONE]"),
            ("stop", "data: [DONE]"),
        }
        assert most > 1, "the chats were not served together"
        assert (service.waiting, service.stats(MODEL).requests) == (0, 0)
        kept = service.stats(MODEL).cache_bytes
        one = loaded.model.new_cache(1, loaded.config.block_size).nbytes
        assert kept <= KEPT * one, (
            f"{kept} bytes of caches are left, more than of the {KEPT} texts that are kept"
        )
    assert service.stats(MODEL).cache_bytes == 0, "memory did not come back"
    middle = sorted(waits)[len(waits) // 2]
    assert middle < 0.1, f"/health took {middle * 1000:.0f} ms while {chats} chats were written"
    return waits
