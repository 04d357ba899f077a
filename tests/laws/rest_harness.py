"""A small app with the REST routes on a folder of tiny runs, and ways to ask it that no client would let through."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from template_checks import role_tokenizer

RUN_ID = "20261120-114530-k3f9"
SHAPE = {"block_size": 48, "n_layer": 2, "n_head": 4, "n_embd": 16}


def tiny(attention: str = "mha", **shape: Any) -> SimpleNamespace:
    """A random GPT over bytes, with its tokenizer."""
    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT

    tokenizer = role_tokenizer()
    config = GPTConfig(**{"vocab_size": tokenizer.vocab_size, **SHAPE, "attention": attention, **shape})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = GPT(config).eval()
    for parameter in model.parameters():  # far enough from even that every share and rank means something
        parameter.data.mul_(4.0)
    return SimpleNamespace(model=model, tokenizer=tokenizer, config=config)


def save(loaded: SimpleNamespace, folder: Path) -> Path:
    """A checkpoint folder."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save(folder / "tokenizer.json")
    return folder


def make_run(
    root: Path, stage: str = "pretrain", run_id: str = RUN_ID, *, loaded: Any = None, rows: int = 3
) -> Any:
    """A finished run with some records, and a checkpoint where a model is given."""
    from utils.runs import Run

    run = Run.create(stage, {"steps": rows}, root=root, run_id=run_id)
    for step in range(rows):
        run.metric(step=step, split="train", loss=3.0 - step)
        run.log(f"step {step}")
    run.sample(step=rows, text="Once")
    if loaded is not None:
        save(loaded, run.path / "checkpoints" / "step_000002")
        (run.path / "checkpoints" / "last").write_text("step_000002\n")
    run.finish("complete")
    return run


@contextmanager
def app_on(root: Path) -> Any:
    """The routes on the runs below `root`, behind the server's limit of size."""
    from fastapi import FastAPI

    from chat_ui import limits
    from chat_ui.api import routers
    from chat_ui.models import Models
    from chat_ui.password import BodyLimit
    from chat_ui.service import Service

    app = FastAPI()
    app.state.service = Service(Models(root=root, assets=root / "no assets"), threads=1)
    for router in routers():
        app.include_router(router)
    app.add_middleware(BodyLimit, limit=limits.BODY_BYTES)
    try:
        yield app
    finally:
        asyncio.run(app.state.service.close())


class Reply(SimpleNamespace):
    """What came back: `status`, `headers`, `body`."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any, path: str, *, query: str = "", method: str = "GET", body: bytes = b"", headers: Any = ()
) -> Reply:
    """One request exactly as written: no client that tidies `..` away stands between."""
    return asyncio.run(ask_async(app, path, query=query, method=method, body=body, headers=headers))


def post(app: Any, path: str, value: Any) -> Reply:
    """One question as JSON."""
    return ask(
        app,
        path,
        method="POST",
        body=json.dumps(value).encode(),
        headers=[(b"content-type", b"application/json")],
    )


async def ask_async(
    app: Any,
    path: str,
    *,
    query: str = "",
    method: str = "GET",
    body: bytes = b"",
    headers: Any = (),
    events: int | None = None,
    into: Reply | None = None,
) -> Reply:
    """The same within a loop. After `events` server-sent events the reader goes away. `into` is filled meanwhile."""
    reply = Reply(status=0, headers={}, body=b"") if into is None else into
    gone = asyncio.Event()
    sent = False

    async def receive() -> Any:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            reply.body += message.get("body", b"")
            if events is not None and len(messages_of(reply.body)) >= events:
                gone.set()
                await asyncio.sleep(3600)  # a reader that has gone takes nothing more

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }
    task = asyncio.ensure_future(app(scope, receive, send))
    waiting = asyncio.ensure_future(gone.wait())
    await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    done, pending = await asyncio.wait({task}, timeout=5 if gone.is_set() else 60)
    if pending:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif not gone.is_set():
        await task
    return reply


def messages_of(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream as a browser reads them: whole ones only; comments and `retry` are no events."""
    found = []
    *whole, _ = stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n")
    for block in whole:
        fields: dict[str, str] = {}
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif name:
                fields[name] = value.removeprefix(" ")
        if data:
            found.append(
                {"event": fields.get("event", "message"), "id": fields.get("id"), "data": "\n".join(data)}
            )
    return found


# ---- what is opened

_watched: list[str] | None = None


def _hook(event: str, arguments: Any) -> None:
    if _watched is None or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str):
        folder, name = os.path.split(path)
        # An open that refuses links ends at the name itself, wherever that would lead.
        refuses_links = event == "open" and bool(arguments[2] & os.O_NOFOLLOW)
        _watched.append(
            os.path.join(os.path.realpath(folder), name) if refuses_links else os.path.realpath(path)
        )


_installed = False


@contextmanager
def opened() -> Any:
    """Where everything lies that this process opens or lists meanwhile, by any way at all (an audit hook of Python)."""
    global _watched, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _watched = []
    try:
        yield _watched
    finally:
        _watched = None


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }
