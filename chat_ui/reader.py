"""The one reader of a server that keeps conversations: whoever passed the door (`password`).

Chainlit gives a history only to a user it knows, and its page asks who that is before it has said anything: the first
question of every new browser, and of every open one after the server was started again, would be refused and stand in
the browser's console. So each page brings the cookie that names its reader with it. The cookie keeps other web pages
out as it did before: browsers do not send it along from there (SameSite).

Left out: several readers with a history each.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from chat_ui.here import FOLDER

os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))

from chainlit.auth import create_jwt, set_auth_cookie
from chainlit.user import User
from starlette.requests import Request
from starlette.responses import Response

NAME = "reader"


def prepare() -> None:
    """A key for this process to sign with; nobody has to know it after that."""
    os.environ.setdefault("CHAINLIT_AUTH_SECRET", secrets.token_urlsafe(48))


async def reader(headers: Any) -> User:
    """Chainlit's question who somebody is."""
    return User(identifier=NAME)


class Introduced:
    """ASGI middleware: every page comes with the cookie that names its reader."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def naming(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = list(message["headers"])
                if dict(headers).get(b"content-type", b"").startswith(b"text/html"):
                    named = Response()
                    set_auth_cookie(Request(scope), named, create_jwt(User(identifier=NAME)))
                    headers += [each for each in named.raw_headers if each[0] == b"set-cookie"]
                    message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, naming if scope["type"] == "http" else send)
