"""A server on a tiny model, in this process: with its own port and thread, so that real clients can talk to it.

The model writes letters only and never ends by itself (`chat_harness.tiny_model`). It computes in float64, where
the order of sums, which other rows of a batch change, cannot change a drawn id.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chat_harness  # first: it says where Chainlit may write

MODEL = "tiny"


def tiny(**shape: Any) -> SimpleNamespace:
    """The tiny model in float64, with an attention so strong that a wrong key changes what is written."""
    import torch

    loaded = chat_harness.tiny_model(**shape)
    loaded.model.double()
    with torch.no_grad():
        for block in loaded.model.blocks:
            block.attn.qkv_proj.weight.mul_(20)
            block.attn.out_proj.weight.mul_(20)
    return loaded


def service_on(loaded: Any, root: Path, **options: Any) -> Any:
    """A service whose only model is `loaded`, under the id `tiny`."""
    from chat_ui.models import Models
    from chat_ui.service import Service

    models = Models(first=MODEL, root=root, assets=root, load=lambda ref, device: loaded)
    return Service(models, **options)


def with_service(loaded: Any, root: Path, use: Callable[[Any], Any], **options: Any) -> Any:
    """`await use(service)` in an event loop of its own, the service closed at the end."""

    async def everything() -> Any:
        service = service_on(loaded, root, **options)
        try:
            return await asyncio.wait_for(use(service), 120)
        finally:
            await service.close()

    return asyncio.run(everything())


@contextmanager
def served(service: Any, **options: Any) -> Iterator[str]:
    """The whole app on a free port; gives its address. The service is closed at the end."""
    from chat_ui.server import Options, create_app

    app = create_app(Options(**options), service=service)
    with listening(app) as url:
        yield url
    asyncio.run(service.close())


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Any ASGI app on a free port, in a thread."""
    import uvicorn

    # The protocol by name: asyncio turns Nagle's waiting off only where it knows that this is TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=3))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


def client_of(url: str, **more: Any) -> Any:
    """OpenAI's own client."""
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60, **more)
