"""What the chat must keep (LS1, LS2, LT4), as plain functions that raise AssertionError."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import torch
from chat_harness import Engine, Window, chat_on, listening, tiny_model
from template_checks import END, MARKERS


def spelled(tokenizer: Any, *parts: str) -> list[int]:
    """Ids written out by hand: a part that is exactly a special token is its id, anything else its bytes."""
    ids: list[int] = []
    for part in parts:
        ids += [tokenizer.special_tokens[part]] if part in (END, *MARKERS) else list(part.encode())
    return ids


def exact_model(**shape: Any) -> Any:
    """The tiny model in float64: answers that are written together add in another order, which must not matter."""
    loaded = tiny_model(**shape)
    loaded.model.double()
    return loaded


def alone(loaded: Any, prompt: list[int], sampling: Any, length: int) -> str:
    """What the engine writes to this prompt when nobody else is there."""
    from gpt_model.generation import generate

    ids = generate(loaded.model, [prompt], max_new_tokens=length, sampling=sampling)[0]
    return loaded.tokenizer.decode(ids)


def check_streamed_equals_generated(tmp_path: Path) -> None:
    """LS1: two windows at once, with different settings; each streams exactly what `generate` gives alone."""
    from gpt_model.sampling import Sampling

    loaded = exact_model()
    tokenizer = loaded.tokenizer
    wishes = [
        (
            "hello there",
            {"seed": "11", "temperature": 0.9, "top_k": 12.0, "top_p": 1.0, "max_new_tokens": 60.0},
        ),
        ("once upon", {"seed": "5", "temperature": 1.3, "top_k": 0.0, "top_p": 0.8, "max_new_tokens": 45.0}),
    ]
    expected = []
    for text, knobs in wishes:
        prompt = spelled(tokenizer, "<|user|>", text, END, "<|assistant|>")
        sampling = Sampling(
            temperature=float(knobs["temperature"]),
            top_k=int(knobs["top_k"]) or None,
            top_p=float(knobs["top_p"]),
            seed=int(knobs["seed"]),
        )
        length = int(knobs["max_new_tokens"])
        expected.append(alone(loaded, prompt, sampling, length))
        assert len(expected[-1]) == length, "the tiny model must not end by itself here"
    engine = Engine(loaded, pause=0.005)

    async def both() -> list[str]:
        async with chat_on(loaded, tmp_path):
            windows = [await Window().open(**knobs) for _, knobs in wishes]
            for window, (text, _) in zip(windows, wishes, strict=True):
                await window.send(text)
            for window in windows:
                await window.wait_for_pieces(2)
            assert not any(w.session.current_task.done() for w in windows), "the two answers must overlap"
            for window in windows:
                await window.finished()
            for window in windows:
                await window.close()
            return [window.streamed() for window in windows]

    streamed = asyncio.run(both())
    for number, (got, want) in enumerate(zip(streamed, expected, strict=True)):
        assert got == want, (
            f"window {number} streamed {got!r}, alone the engine gives {want!r}: does something "
            "(a random generator, a cache, a setting) belong to both windows?"
        )
    assert engine.live_caches() == 0, "a cache outlived the service"


def check_the_loop_is_free_while_a_token_is_computed(tmp_path: Path, patience: float = 20.0) -> None:
    """LS1: in the middle of every forward pass the event loop still answers.

    No clock decides: each pass asks the loop to call back and waits for it. If the model computed on the
    loop itself, the call could never come while it computes. The time each call took is returned as well.
    """
    loaded = tiny_model()
    waits: list[float] = []
    blocked: list[int] = []

    async def talk() -> list[str]:
        loop = asyncio.get_running_loop()

        def ask_the_loop() -> None:
            if blocked:
                return
            answered = threading.Event()
            start = time.perf_counter()
            loop.call_soon_threadsafe(answered.set)
            if answered.wait(patience):
                waits.append(time.perf_counter() - start)
            else:
                blocked.append(len(waits))

        Engine(loaded, during=ask_the_loop)
        async with chat_on(loaded, tmp_path):
            windows = [await Window().open(max_new_tokens=20, seed=str(n)) for n in (1, 2)]
            for window in windows:
                await window.send("hello")
            for window in windows:
                await window.finished()
                await window.close()
            return [window.streamed() for window in windows]

    answers = asyncio.run(talk())
    assert not blocked, "a forward pass ran on the event loop: everybody else had to wait for it"
    assert [len(answer) for answer in answers] == [20, 20]
    assert 20 <= len(waits) <= 42, (
        "two answers of 20 tokens: at least 20 passes if they share them, 40 if not"
    )
    middle = sorted(waits)[len(waits) // 2]
    assert middle < 0.1, f"the event loop took {middle * 1000:.0f} ms to answer while tokens were computed"


def check_stop_stops(tmp_path: Path) -> None:
    """LS2: after Stop at most the token that is being computed is finished, and the message is closed."""
    loaded = tiny_model()
    engine = Engine(loaded, pause=0.01)

    async def talk() -> None:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=120)
            await window.send("tell me everything")
            await window.wait_for_pieces(3)
            before = engine.passes
            await window.stop()
            await window.finished()
            await asyncio.sleep(0.1)  # ten tokens' time for an engine that does not listen
            after = engine.passes
            assert after - before <= 1, (
                f"{after - before} more tokens were computed after Stop: cancelling a task does not end "
                "a thread, the engine must be told"
            )
            assert engine.live_caches() == 0, "the cache outlived the answer"
            shown = window.streamed()
            closed = [data for event, data in window.events if event == "update_message"]
            answer = [data for data in closed if data["type"] == "assistant_message"]
            assert answer and answer[-1]["output"] == shown and not answer[-1]["streaming"], (
                "the message was left open: close it in finally, Stop arrives as CancelledError"
            )
            assert window.events[-1][0] == "task_end"
            # The window lives on, and remembers what was shown.
            rest = await window.ask("go on")
            assert rest
            await window.close()

    asyncio.run(talk())


def check_stopping_an_edited_answer(tmp_path: Path) -> None:
    """LS2: an edited message is answered outside the task that Chainlit cancels; Stop must reach it too."""
    loaded = tiny_model()
    engine = Engine(loaded, pause=0.01)

    async def talk() -> None:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=2)
            id = await window.send("first")
            await window.finished()
            await window.change(max_new_tokens=150)
            edited = asyncio.create_task(window.edit(id, "second"))
            await window.wait_for_pieces(6)
            before = engine.passes
            await window.stop()
            await asyncio.wait_for(edited, 20)
            assert engine.passes - before <= 1, "Stop did not reach the answer to an edited message"
            await window.close()

    asyncio.run(talk())


def check_cancelled_chats_leave_nothing(tmp_path: Path, chats: int = 100) -> None:
    """LS2: after many started and stopped chats there is as much in memory as before."""
    loaded = tiny_model()
    engine = Engine(loaded, pause=0.001)

    async def one() -> None:
        window = await Window().open(max_new_tokens=240)
        await window.send("a story please")
        await window.wait_for_pieces(1)
        await window.stop()
        await window.finished()
        await window.close()

    async def all_of_them() -> None:
        async with chat_on(loaded, tmp_path) as app:
            for _ in range(3):  # threads and lazily made objects exist from now on
                await one()
            base = _in_memory(app, engine)
            for _ in range(chats):
                await one()
            left = _in_memory(app, engine)
            assert left == base, f"after {chats} stopped chats there is {left}, before there was {base}"

    asyncio.run(all_of_them())


def _in_memory(app: Any, engine: Engine) -> dict[str, int]:
    from chainlit.chat_context import chat_contexts
    from chainlit.session import ws_sessions_id
    from chainlit.user_session import user_sessions

    from chat_ui.room import service

    gc.collect()
    things = gc.get_objects()
    return {
        # Exactly these types: what torch.compile leaves behind are subclasses that hold no memory.
        "tensor bytes": sum(t.nbytes for t in things if type(t) in (torch.Tensor, torch.nn.Parameter)),
        "caches": engine.live_caches(),
        "talks": sum(type(t) is app.Talk for t in things),
        "tasks": len(asyncio.all_tasks()),
        "answers of the service": service().waiting,
        "engine threads": sum(t.name.startswith("scratchbook-engine") for t in threading.enumerate()),
        "Chainlit's sessions": len(ws_sessions_id) + len(user_sessions) + len(chat_contexts),
    }


def check_typed_markers_stay_words_in_the_chat(text: str, tmp_path: Path) -> None:
    """LT4 through the handler: what reaches the engine has exactly the markers of the template."""
    loaded = tiny_model()

    async def talk() -> str:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=3, system=text, seed="1")
            answer = await window.ask(text)
            await window.ask("and now?")
            await window.change(mode="continue")
            await window.ask(text)
            await window.close()
            return answer

    with listening() as prompts:
        answer = asyncio.run(talk())
    special = {i: name for name, i in loaded.tokenizer.special_tokens.items()}
    words = list(text.encode())
    user, assistant, system, end = (
        loaded.tokenizer.special_tokens[t] for t in ("<|user|>", "<|assistant|>", "<|system|>", END)
    )
    first = [system, *words, end, user, *words, end, assistant]
    second = [*first, *answer.encode(), end, user, *b"and now?", end, assistant]
    assert prompts == [first, second, [end, *words]], (
        f"typing {text!r} changed the roles of the prompt: "
        f"{[[special.get(i, chr(i)) for i in prompt] for prompt in prompts]}"
    )
