"""The chat as a room of the server: at /chat, with the server's own models and engines.

Chainlit is an app of its own. Mounted in another one its start-up hooks never run, so nothing here depends on them: the
service is the server's, which starts and ends it. Its page finds its files under the path it is told in
CHAINLIT_ROOT_PATH, which it reads for each page; it belongs to the process, as Chainlit itself does.

Where Chainlit is not installed the server does without, and /chat says what to install.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException

from chat_ui import room
from chat_ui.here import FOLDER

if TYPE_CHECKING:
    from chat_ui.service import Service

PATH = "/chat"
ROOT_PATH = "CHAINLIT_ROOT_PATH"
MISSING = "the chat needs Chainlit: pip install -c constraints.txt -e '.[chat]'"


def mount_chat(app: FastAPI, service: Service, history: Path | None = None, path: str = PATH) -> None:
    """Serve the chat under `path`, on `service`; its conversations are kept in the file `history`, if there is one."""
    if find_spec("chainlit") is None:

        @app.get(path, include_in_schema=False)
        async def missing() -> None:
            raise HTTPException(404, MISSING)

        return
    os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))
    os.environ[ROOT_PATH] = path
    from chainlit.server import app as web

    window = import_module("chat_ui.app")  # its decorators register the callbacks
    if history is not None:
        window.keep_history(history)
    room.use(service)
    app.mount(path, web)
