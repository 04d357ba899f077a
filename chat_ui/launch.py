"""`scratchbook chat`: check that there is a port and a model, then open the chat.

    scratchbook chat [--ckpt RUN_OR_FOLDER] [--port 8000] [--host 127.0.0.1] [--headless]
                     [--history FILE] [--password WORD] [--expose]

The port is bound before anything slow is loaded, and the same socket is handed to the server, so that
nobody can take it in between. Chainlit is imported only after CHAINLIT_APP_ROOT points here: it looks once,
and would otherwise put its files into whatever folder the command was typed in.

The default host is reachable from this machine only; another one is refused without a password, unless `--expose` says
that it is meant. `scratchbook serve` has the same window at /chat, with the API beside it. Left out: TLS and proxies.
"""

from __future__ import annotations

import argparse
import errno
import os
import socket
from importlib import import_module
from pathlib import Path

from chat_ui.here import FOLDER as HERE
from chat_ui.here import HISTORY_VARIABLE
from utils.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: list[str] | None = None) -> int:
    """Serve the chat until Ctrl-C. Raises UserError for a taken port, no model, or a damaged one."""
    options = _parser().parse_args(argv)
    password = options.password or os.environ.get("SCRATCHBOOK_PASSWORD") or None
    from chat_ui.serve import ServeConfig

    ServeConfig(host=options.host, password=password, expose=options.expose)  # refuses what is too open
    os.environ["CHAINLIT_APP_ROOT"] = str(HERE)
    os.environ.pop("CHAINLIT_ROOT_PATH", None)  # it is not mounted in another server
    if options.history is not None:
        os.environ[HISTORY_VARIABLE] = str(options.history)
    listener = listen(options.host, options.port)
    try:
        models, ref = _model(options.ckpt)
        print(f"model: {ref}", flush=True)
        models.get(ref)  # a damaged checkpoint is one line here, not an error in the window
        _serve(listener, options, password)
    finally:
        listener.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scratchbook chat", description="Talk to a model in the browser.")
    parser.add_argument(
        "--ckpt",
        metavar="REF",
        help='"assets", "last", "best", a run id or path, or a checkpoint folder (default: the newest demo, '
        "else the book's own model)",
    )
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes any free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="default 127.0.0.1, which only this machine reaches"
    )
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.add_argument("--history", type=Path, metavar="FILE", help="keep conversations in this SQLite file")
    parser.add_argument("--password", help="asked for by every page (better: SCRATCHBOOK_PASSWORD)")
    parser.add_argument("--expose", action="store_true", help="another host without a password, on purpose")
    return parser


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host:port`. Raises UserError when the port is taken or the host is not ours."""
    if not 0 <= port <= 65535:
        raise UserError(f"port is {port} but must be from 0 to 65535: choose another with --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"host {host!r} is not known ({error.strerror}): use --host 127.0.0.1") from None
    listener = socket.socket(family, kind, protocol)
    # Without this a port stays taken for a minute after a server ended; a listening one is still refused.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} on {host} is already taken: stop the other server or choose one with --port"
            ) from None
        raise UserError(
            f"cannot listen on {host}:{port} ({error.strerror}): use other --host or --port"
        ) from None
    return listener


def _model(ckpt: str | None):  # type: ignore[no-untyped-def]
    """The models of this server, as the app will see them, and the one that a new chat starts with."""
    from chat_ui.models import CKPT_VARIABLE, shelf

    if ckpt:
        os.environ[CKPT_VARIABLE] = ckpt
    else:
        os.environ.pop(CKPT_VARIABLE, None)
    shelf.cache_clear()
    return shelf(), shelf().default()


def _serve(listener: socket.socket, options: argparse.Namespace, password: str | None) -> None:
    import asyncio

    import uvicorn
    from chainlit.config import config
    from chainlit.server import app as web

    host, port = listener.getsockname()[:2]
    config.run.host, config.run.port, config.run.headless = host, port, options.headless
    import_module("chat_ui.app")  # its decorators register the callbacks
    if password:
        from chat_ui.password import Password

        web.add_middleware(Password, password=password)

    print(f"chat:  http://{options.host}:{port}  (Ctrl-C stops it)", flush=True)
    if options.host not in LOOPBACK and not password:
        print("note:  anyone who can reach this machine can use this chat; it has no password", flush=True)
    settings = uvicorn.Config(web, loop="asyncio", log_level="error", timeout_graceful_shutdown=3)
    asyncio.run(uvicorn.Server(settings).serve(sockets=[listener]))


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
