"""Keep every page on this machine: no font, style sheet or script is ever fetched from elsewhere.

Chainlit's page asks two other hosts for fonts and a style sheet. On a machine without a network they fail
slowly; on one with a network they tell strangers that somebody is here. One ASGI middleware does two things:
it removes the `<link>` tags that point away, so that nothing is asked for, and it sends a
Content-Security-Policy, so that a browser refuses whatever would still ask.

Standard: Content Security Policy Level 3 (W3C). Left out: who may *reach* this server; that is `--host`.
"""

from __future__ import annotations

import re
from typing import Any

# Only this server. `unsafe-inline` and `unsafe-eval`: the page carries inline scripts and styles of its own.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws: wss:"

_FOREIGN_LINK = re.compile(rb"<link\b[^>]*\bhref=\"https?://[^>]*>")


class StayLocal:
    """ASGI middleware: foreign links out of every HTML page, a Content-Security-Policy on every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"text/html" in headers.get(b"accept", b""):
            # A page that is rewritten must arrive uncompressed; it is a few kilobytes.
            plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            scope = {**scope, "headers": plain}

        opening: dict[str, Any] = {}
        page = bytearray()

        async def rewrite(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [(n, v) for n, v in message["headers"] if n.lower() != b"content-security-policy"]
                message = {**message, "headers": [*kept, (b"content-security-policy", POLICY.encode())]}
                kind = dict(kept).get(b"content-type", b"")
                if kind.startswith(b"text/html") and b"content-encoding" not in dict(kept):
                    opening.update(message)  # held back: its length is not known yet
                    return
            elif opening and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                body = _FOREIGN_LINK.sub(b"", bytes(page))
                kept = [(n, v) for n, v in opening["headers"] if n.lower() != b"content-length"]
                opening["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
                await send(opening)
                message = {"type": "http.response.body", "body": body}
            await send(message)

        await self.app(scope, receive, rewrite)
