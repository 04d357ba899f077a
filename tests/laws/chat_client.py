"""One chat window over the wire, as a browser has it: socket.io, without a page."""

from __future__ import annotations

import asyncio
import uuid


class Client:
    """One chat window over the wire."""

    def __init__(self, url: str, path: str = "") -> None:
        import socketio

        self.url, self.path = url, path
        self.io = socketio.AsyncClient()
        self.pieces: list[str] = []
        self.closed: list[dict] = []
        self.settings: list = []
        self.ended = asyncio.Event()
        self.ends = 0
        self.io.on("stream_start", lambda step: self.pieces.append(step["output"]))
        self.io.on("stream_token", lambda data: self.pieces.append(data["token"]))
        self.elements: list[dict] = []
        self.io.on("element", self.elements.append)
        self.io.on("update_message", self._update)
        self.io.on("chat_settings", self.settings.append)
        self.io.on("task_end", self._task_end)

    def _update(self, step: dict) -> None:
        if step["type"] == "assistant_message":  # the other kind is Chainlit's own record of the call
            self.closed.append(step)

    def _task_end(self, *_) -> None:
        self.ends += 1
        self.ended.set()

    async def open(self, headers: dict | None = None, **knobs) -> Client:
        self.session = str(uuid.uuid4())
        auth = {
            "sessionId": self.session,
            "clientType": "webapp",
            "userEnv": None,
            "chatProfile": None,
            "threadId": None,
        }
        await self.io.connect(
            self.url,
            headers or {},
            socketio_path=f"{self.path}/ws/socket.io",
            auth=auth,
            transports=["websocket"],
        )
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
