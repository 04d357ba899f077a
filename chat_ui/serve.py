"""`scratchbook serve`: the chat's models, the API and the inspector on one port, on this machine alone.

    scratchbook serve [--ckpt REF] [--host 127.0.0.1] [--port 8000] [--password WORD] [--expose]
                      [--history FILE]

Each option can also stand in the environment, or in a file `.env` where the command is typed (SCRATCHBOOK_HOST, _PORT,
_PASSWORD, _CORS, _LOG_LEVEL, _CKPT, _RUNS, _CHAT_HISTORY; HF_TOKEN is read where something is fetched from Hugging
Face), which is how a container and `uvicorn chat_ui.server:app` are told. The command line wins, then the environment.

The port is bound before anything slow is loaded. Another host than this machine's own is refused without a password,
unless `--expose` says that this is meant: whoever reaches the port can use the models and read every run.

Left out: TLS, which is a proxy's work; what is behind the port (`server`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat_ui.here import read_env_file
from chat_ui.launch import LOOPBACK, listen
from utils.errors import UserError

if TYPE_CHECKING:
    from chat_ui.server import Options

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
HERE_ALONE = ("127.0.0.1", "localhost", "[::1]")  # names by which a browser on this machine calls it


@dataclass(frozen=True)
class ServeConfig:
    """Where the server listens and what it offers; see `from_environment` and the command's --help."""

    host: str = "127.0.0.1"
    port: int = 8000
    password: str | None = None
    cors: tuple[str, ...] = ()
    log_level: str = "warning"
    ckpt: str | None = None
    runs: Path | None = None
    expose: bool = False
    history: Path | None = None

    def __post_init__(self) -> None:
        if self.log_level not in LOG_LEVELS:
            raise UserError(f"log level is {self.log_level!r}: choose one of {', '.join(LOG_LEVELS)}")
        if self.password is not None and not self.password.strip():
            raise UserError("the password is empty: give one of at least one letter, or none at all")
        for origin in self.cors:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise UserError(f"CORS origin {origin!r} has no scheme: write it like https://example.org")
        if not self.local and self.password is None and not self.expose:
            raise UserError(
                f"host {self.host} can be reached from other machines and there is no password: set one with "
                "--password (or SCRATCHBOOK_PASSWORD), or say --expose if everybody may use it"
            )

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK

    def options(self) -> Options:
        """What the app has to know of this."""
        from chat_ui.server import Options

        hosts = HERE_ALONE if self.local and not self.cors else ()
        return Options(
            self.ckpt, self.runs, password=self.password, hosts=hosts, cors=self.cors, history=self.history
        )


def from_environment(environ: Mapping[str, str] = os.environ, **options: Any) -> ServeConfig:
    """The settings in SCRATCHBOOK_… variables; `options` that are not None win. Raises UserError."""

    def said(name: str) -> str | None:
        return environ.get(f"SCRATCHBOOK_{name}") or None

    port, runs, history = said("PORT"), said("RUNS"), said("CHAT_HISTORY")
    if port is not None and not port.isdecimal():
        raise UserError(f"SCRATCHBOOK_PORT is {port!r}: give a number from 0 to 65535")
    cors = tuple(origin.strip() for origin in (said("CORS") or "").split(",") if origin.strip())
    values: dict[str, Any] = {
        "host": said("HOST"),
        "port": None if port is None else int(port),
        "password": environ.get("SCRATCHBOOK_PASSWORD") or None,
        "cors": cors or None,
        "log_level": (said("LOG_LEVEL") or "").lower() or None,
        "ckpt": said("CKPT"),
        "runs": None if runs is None else Path(runs),
        "history": None if history is None else Path(history).expanduser(),
    }
    values |= {name: value for name, value in options.items() if value is not None}
    return ServeConfig(**{name: value for name, value in values.items() if value is not None})


def main(argv: list[str] | None = None) -> int:
    """Serve until Ctrl-C. Raises UserError for a taken port, a wrong setting or a damaged model."""
    options = vars(_parser().parse_args(argv))
    options["cors"] = tuple(options["cors"]) if options["cors"] else None
    read_env_file()
    config = from_environment(**options)
    listener = listen(config.host, config.port)
    try:
        _serve(config, listener)
    finally:
        listener.close()
    return 0


def _serve(config: ServeConfig, listener: Any) -> None:
    import asyncio

    import uvicorn

    from chat_ui.server import create_app

    app = create_app(config.options())
    models = app.state.service.models
    if models.choices():
        ref = models.default()
        models.get(ref)  # a damaged checkpoint is one line here
        print(f"model: {ref}", flush=True)
    else:
        from chat_ui.models import NO_MODEL

        print(f"note:  {NO_MODEL}", flush=True)
    port = listener.getsockname()[1]
    shown = f"[{config.host}]" if ":" in config.host else config.host
    print(f"chat:  http://{shown}:{port}/chat", flush=True)
    print(f"serve: http://{shown}:{port}  (for programs: /v1 and /docs; Ctrl-C stops it)", flush=True)
    if not config.local and config.password is None:
        print("note:  anyone who can reach this machine can use this server; it has no password", flush=True)
    settings = uvicorn.Config(app, log_level=config.log_level, timeout_graceful_shutdown=3)
    asyncio.run(uvicorn.Server(settings).serve(sockets=[listener]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scratchbook serve",
        description="Serve the models: an OpenAI-compatible API, REST, and its pages.",
    )
    parser.add_argument("--host", help="default 127.0.0.1, which only this machine reaches")
    parser.add_argument("--port", type=int, help="default 8000; 0 takes any free one")
    parser.add_argument("--password", help="asked for by every page (better: SCRATCHBOOK_PASSWORD)")
    parser.add_argument("--ckpt", metavar="REF", help="the default model: a run, a folder, or a name")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="the folder of runs (default: runs)")
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="keep the chat's conversations in this SQLite file"
    )
    parser.add_argument(
        "--cors", nargs="*", metavar="ORIGIN", help="origins whose pages may call this server"
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="default warning; info shows each request")
    parser.add_argument(
        "--expose", action="store_true", default=None, help="another host without a password, on purpose"
    )
    return parser


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
