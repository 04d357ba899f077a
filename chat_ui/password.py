"""Who may reach this server: a password, a limit of size, both before anything is read or computed.

The idea: one ASGI middleware in front of every room, so that no page can be forgotten. A program sends the password
as OpenAI's clients send a key (`Authorization: Bearer …`), a browser asks its user for it (HTTP Basic, RFC 7617; any
user name). A browser then gets a cookie, because not all of them send Basic along with a web socket. The cookie is
no password: it is a signature under a key that ends with this process.

Left out: users, and TLS, without which a password can be read on the way: put a proxy in front for that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any

COOKIE = "scratchbook"
PATIENCE = 16  # a body of so many times its limit is still read to its end, to be answered
OPEN = ("/health",)  # what a health check may ask without a password


class Password:
    """ASGI middleware: 401 without the password; web sockets are refused with 403."""

    def __init__(self, app: Any, password: str) -> None:
        self.app = app
        key = secrets.token_bytes(32)
        self._digest = lambda text: hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        self._right = self._digest(password)
        self._ticket = self._digest("ticket:" + password)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if hmac.compare_digest(_cookie(headers.get(b"cookie", b"")).encode(), self._ticket.encode()):
            await self.app(scope, receive, send)
        elif hmac.compare_digest(self._digest(_password(headers.get(b"authorization", b""))), self._right):
            await self.app(scope, receive, self._with_ticket(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: a 403
        else:
            await _refuse(scope, send, 401, "the password is missing or wrong", "invalid_api_key",
                          [(b"www-authenticate", b'Basic realm="scratchbook", charset="UTF-8"')])  # fmt: skip

    def _with_ticket(self, send: Any) -> Any:
        cookie = f"{COOKIE}={self._ticket}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie)]}
            await send(message)

        return sending


class BodyLimit:
    """ASGI middleware: a body of more bytes than `limit` is answered with 413, and never kept."""

    def __init__(self, app: Any, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said[:19]) > self.limit:
            await self._too_large(scope, receive, send)
            return
        size, started, more = 0, False, True

        async def counting() -> Any:
            nonlocal size, more
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > self.limit:  # no length was said (chunked): found while it is read
                raise _TooLarge
            return message

        async def watching(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counting, watching)
        except _TooLarge:
            if started:
                raise
            await self._too_large(scope, receive, send, more)

    async def _too_large(self, scope: Any, receive: Any, send: Any, more: bool = True) -> None:
        # A client that is still sending would never read the answer: what it sends is thrown away, up to a limit.
        # Behind the last part (`more` is false) there is nothing to wait for.
        thrown = 0
        while more and thrown < PATIENCE * self.limit:
            message = await receive()
            thrown += len(message.get("body", b""))
            more = message.get("more_body", False)
        text = f"the body has more than {self.limit} bytes: send less"
        await _refuse(scope, send, 413, text, "body_too_large", [(b"connection", b"close")])


class _TooLarge(BaseException):
    """Passes every `except Exception` on its way out."""


def _password(authorization: bytes) -> str:
    kind, _, rest = authorization.decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return rest.strip().encode("latin-1").decode("utf-8", "replace")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            pass  # not base64: then no password was said
    return ""


def _cookie(header: bytes) -> str:
    try:
        found = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


async def _refuse(scope: Any, send: Any, status: int, text: str, code: str, headers: list[Any]) -> None:
    error = {"message": text, "type": "invalid_request_error", "param": None, "code": code}
    body = json.dumps({"error": error} if scope["path"].startswith("/v1") else {"detail": text}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
