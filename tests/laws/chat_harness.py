"""A chat window without a browser, and a tiny model for it: what the checks and tests of the chat stand on.

Chainlit's own handlers run on a real session; what they would send to the page is kept in a list. The model
is random, its words are printable letters, and it never ends by itself unless asked to, so that only Stop or
the length ends an answer. Import this before Chainlit: it says where Chainlit may write.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Before any import of Chainlit: it would put its files into the folder the tests were started in.
os.environ["CHAINLIT_APP_ROOT"] = str(ROOT / "chat_ui")

import torch  # noqa: E402
from template_checks import END, role_tokenizer  # noqa: E402

LETTERS = b"abcdefghijklmnopqrstuvwxyz    "


def tiny_model(
    *, block_size: int = 256, n_layer: int = 1, ends: bool = False, seed: int = 0
) -> SimpleNamespace:
    """A random GPT over bytes as `load_model` would give it. It writes letters and spaces only."""
    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT

    tokenizer = role_tokenizer()
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size,
        block_size=block_size,
        n_layer=n_layer,
        n_head=2,
        n_embd=16,
        tie_weights=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT(config).eval()
        model.requires_grad_(False)
        allowed = torch.zeros(config.vocab_size, dtype=torch.bool)
        allowed[list(LETTERS)] = True
        if ends:
            allowed[tokenizer.special_tokens[END]] = True
        # The bias of the last norm adds the same to every logit of a row of the head: a constant that
        # no logit of this size can make up for keeps the other ids from ever being drawn.
        model.final_norm.bias.fill_(1.0)
        model.head.weight.mul_(20)
        model.head.weight[~allowed] = -50.0
    return SimpleNamespace(model=model, tokenizer=tokenizer, path=None, config=config)


class Engine:
    """Watches a model at work: forward passes, the caches it made, a pause or a call in each pass."""

    def __init__(self, loaded: Any, *, pause: float = 0.0, during: Any = None) -> None:
        self.passes = 0
        self.caches: list[weakref.ref] = []
        self._make = loaded.model.new_cache

        def new_cache(*args: Any, **kwargs: Any) -> Any:
            cache = self._make(*args, **kwargs)
            self.caches.append(weakref.ref(cache))
            return cache

        def before(*_: Any) -> None:
            self.passes += 1
            if pause:
                time.sleep(pause)  # lets other threads run, as the matrix products of a large model do
            if during is not None:
                during()

        loaded.model.new_cache = new_cache
        loaded.model.register_forward_pre_hook(before)

    def live_caches(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self.caches)


@asynccontextmanager
async def chat_on(loaded: Any, tmp_path: Path, **options: Any):
    """The chat app on a service of its own with `loaded` as its only model; closed at the end."""
    import chat_ui.app as app
    from chat_ui import room
    from chat_ui.models import Models
    from chat_ui.service import Service

    models = Models(first="tiny", root=tmp_path, assets=tmp_path, load=lambda ref, device: loaded)
    service = Service(models, **options)
    room.use(service)
    try:
        yield app
    finally:
        room.use(None)
        await service.close()


@contextmanager
def listening() -> Iterator[list[list[int]]]:
    """The ids of every prompt that reaches the service, in order."""
    from chat_ui.service import Service

    prompts: list[list[int]] = []
    real = Service.answer

    def answer(self: Any, ref: str, ids: Any, **rest: Any) -> Any:
        prompts.append(list(ids))
        return real(self, ref, ids, **rest)

    Service.answer = answer  # type: ignore[method-assign]
    try:
        yield prompts
    finally:
        Service.answer = real  # type: ignore[method-assign]


class Window:
    """One chat window: what it sends goes through Chainlit's handlers, what it is sent is in `events`."""

    def __init__(self, user: Any = None, thread: str | None = None) -> None:
        from chainlit.session import WebsocketSession

        self.events: list[tuple[str, Any]] = []
        self.sid = uuid.uuid4().hex

        async def emit(event: str, data: Any) -> None:
            self.events.append((event, dict(data) if isinstance(data, dict) else data))
            await asyncio.sleep(0)

        self.session = WebsocketSession(
            id=str(uuid.uuid4()),
            socket_id=self.sid,
            emit=emit,  # type: ignore[arg-type]
            emit_call=emit,
            user_env={},
            client_type="webapp",
            user=user,
            thread_id=thread,
        )

    async def open(self, **settings: Any) -> Window:
        from chainlit import socket

        await socket.connection_successful(self.sid)
        if self.session.current_task is not None:  # an old conversation is opened at once
            await self.session.current_task
        if settings:
            await self.change(**settings)
        return self

    async def change(self, **settings: Any) -> None:
        from chainlit import socket

        await socket.change_settings(self.sid, {**self.session.chat_settings, **settings})

    async def send(self, text: str, id: str | None = None) -> str:
        """Send a message and return at once; `finished` waits for the answer."""
        from chainlit import socket

        id = id or str(uuid.uuid4())
        await socket.message(self.sid, {"message": _step(id, text), "fileReferences": None})
        return id

    async def edit(self, id: str, text: str) -> None:
        from chainlit import socket

        await socket.edit_message(self.sid, {"message": _step(id, text)})

    async def finished(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.session.current_task), 60)

    async def ask(self, text: str) -> str:
        """Send a message, wait for the whole answer, return its text as it was streamed."""
        seen = len(self.events)
        await self.send(text)
        await self.finished()
        return self.streamed(since=seen)

    async def act(self, name: str, **payload: Any) -> Any:
        """Press a button of the page; what it is told."""
        from chainlit.action import Action
        from chainlit.config import config
        from chainlit.context import init_ws_context

        init_ws_context(self.session)
        return await config.code.action_callbacks[name](Action(name=name, payload=payload))

    async def stop(self) -> None:
        from chainlit import socket

        await socket.stop(self.sid)

    async def close(self) -> None:
        from chainlit import socket

        self.session.to_clear = True
        await socket.disconnect(self.sid)

    def streamed(self, since: int = 0) -> str:
        """Everything the page was sent as pieces of an answer."""
        part = {"stream_start": "output", "stream_token": "token"}
        return "".join(data[part[event]] for event, data in self.events[since:] if event in part)

    def answers(self) -> list[str]:
        """The ids of the answers that were closed, in order."""
        closed = [data for event, data in self.events if event == "update_message"]
        ids = [data["id"] for data in closed if data["type"] == "assistant_message" and data["metadata"]]
        return list(dict.fromkeys(ids))

    def element(self, name: str) -> dict[str, Any]:
        """The newest state of the newest element of this name."""
        return [data for event, data in self.events if event == "element" and data["name"] == name][-1]

    def said(self, since: int = 0) -> list[str]:
        """Whole messages that appeared at once: notes, errors."""
        return [data["output"] for event, data in self.events[since:] if event == "new_message"]

    async def wait_for_pieces(self, count: int) -> None:
        async with asyncio.timeout(30):
            while sum(e in ("stream_start", "stream_token") for e, _ in self.events) < count:
                await asyncio.sleep(0.001)


def _step(id: str, text: str) -> dict[str, Any]:
    return {
        "id": id,
        "name": "User",
        "type": "user_message",
        "output": text,
        "createdAt": "2026-01-01T00:00:00Z",
    }
