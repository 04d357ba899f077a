"""One server for everything: the API, the REST routes, their documentation, and a health check.

    app = create_app(Options(ckpt="assets"))

| path | room |
|---|---|
| `/v1` | the OpenAI-compatible API (`openai_api`) |
| `/api/v1/tokenization`, `/api/v1/transformer`, `/api/v1/runs` | `api/` |
| `/chat` | the chat window (`mounting`, `app`) |
| `/health` | answers at once, whatever is computed |
| `/docs` | the routes to try out, from files on this machine |
| everything else | pages to look at it all (`inspector`) |

One process and one `Service`, which starts and stops with the app. Every answer passes the same doors: no page may
ask another host for anything (`offline`), a password where one is set, a limit of size (`password`).

Left out: sockets and options of the command line (`serve`); TLS.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from chat_ui import api, inspector, limits, openai_api
from chat_ui.model_ids import UnknownModel
from chat_ui.mounting import mount_chat
from chat_ui.offline import StayLocal
from chat_ui.password import BodyLimit, Password
from chat_ui.service import Busy, Service
from utils.errors import ScratchbookError, UserError, one_line

ROUTERS = ("chat_ui.openai_api", "chat_ui.api.tokenization", "chat_ui.api.transformer", "chat_ui.api.runs")


HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What a server is started with.

    ckpt: the default model (None: the newest demo's, else the book's own). runs: the folder of runs. password: asked
    for by every page but /health. hosts: names under which it may be addressed (none: any name), which keeps a
    strange web page from reaching a server on loopback under a name of its own. cors: origins whose pages may call it.
    chat: whether the chat window is at /chat. history: the file in which its conversations are kept.
    """

    ckpt: str | None = None
    runs: Path | None = None
    device: str = "cpu"
    password: str | None = None
    hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    chat: bool = True
    history: Path | None = None


class Health(BaseModel):
    """That the server is there, and how much it has to do."""

    status: str = Field(examples=["ok"])
    version: str = Field(examples=["0.1.0"])
    answers: int = Field(description="samples that are being written or wait", examples=[2])
    limit: int = Field(description="at most so many; further requests get a 429", examples=[64])


def create_app(options: Options | None = None, *, service: Service | None = None) -> FastAPI:
    """The server as an ASGI app. A `service` that is given is used as it is and not closed at the end."""
    options = options or Options()
    if service is None:
        from chat_ui.models import Models

        own = Service(Models(first=options.ckpt, root=options.runs, device=options.device))
    serving = service or own

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serving.ids()  # what this imports would make the first request wait
        try:
            yield
        finally:
            if service is None:
                await serving.close()

    app = _docs()(
        title="LLM Scratchbook",
        version=version("llm-scratchbook"),
        description="Talk to the models of this book, look inside them, and read their runs.",
        lifespan=lifespan,
    )
    app.state.service, app.state.options = serving, options
    for router in [openai_api.router, *api.routers()]:
        app.include_router(router)

    @app.get("/health", response_model=Health, tags=["server"])
    async def health() -> Health:
        """Answers at once, whatever the models compute."""
        return Health(status="ok", version=app.version, answers=serving.waiting, limit=serving.max_answers)

    for kind in (ScratchbookError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refuse)
    if options.chat:
        mount_chat(app, serving, options.history)
    inspector.attach(app)
    _doors(app, options)
    return app


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """One line that says what was wrong: under /v1 in OpenAI's form, elsewhere as `detail`."""
    status, code, param, text = describe(error)
    headers = {"retry-after": "1"} if status == 429 else dict(getattr(error, "headers", None) or {})
    if request.url.path.startswith("/v1/"):
        return JSONResponse(openai_api.problem(status, code, param, text), status, headers)
    return JSONResponse({"detail": text}, status, headers)


def describe(error: Exception) -> tuple[int, str | None, str | None, str]:
    """HTTP status, code, the field that is wrong, and one line."""
    if isinstance(error, RequestValidationError):
        return 400, "invalid_value", *_first_problem(error)
    if isinstance(error, HTTPException):
        return error.status_code, None, None, _line(error.detail)
    if isinstance(error, UnknownModel):
        return 404, "model_not_found", "model", _line(error)
    if isinstance(error, Busy):
        return 429, "too_many_requests", None, _line(error)
    if isinstance(error, UserError):
        return 400, getattr(error, "code", "invalid_value"), getattr(error, "param", None), _line(error)
    if isinstance(error, ScratchbookError):
        return 500, "internal_error", None, _line(error)
    return 500, "internal_error", None, f"the server failed ({type(error).__name__}): its log says where"


def _first_problem(error: RequestValidationError) -> tuple[str | None, str]:
    """The first field that is wrong and what is wrong with it, in one line.

    Where a field may be this or that, each of them says why it is not; who looked deepest knows best.
    """
    problems = error.errors()
    first = [each for each in problems if each["loc"][:2] == problems[0]["loc"][:2]]
    problem = max(first, key=lambda each: len(each["loc"]))
    place = [str(part)[:80] for part in problem["loc"] if part != "body" and not _is_a_kind(part)]
    field = ".".join(place)[:200] or None
    said = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return field, f"{field} is not supported here: leave it out"
    return field, _line(f"{field or 'the body'}: {said}")


def _is_a_kind(part: Any) -> bool:
    """Whether a part of a place is Pydantic's name of a type rather than a field or a number."""
    return isinstance(part, str) and bool(
        re.match(r"(list|dict|constrained|function|tagged)\W|(str|int)$", part)
    )


def _line(text: object) -> str:
    """A text as it may stand in an answer."""
    return one_line(text)[:500]


def _docs() -> Callable[..., FastAPI]:
    """Makes a FastAPI whose documentation comes from files on this machine."""
    try:
        from fastapi_offline import FastAPIOffline
    except ImportError:
        raise UserError(
            "the server needs fastapi-offline: pip install -c constraints.txt -e '.[serve]'"
        ) from None
    return FastAPIOffline


def _doors(app: FastAPI, options: Options) -> None:
    """What every request passes, the last one added first."""
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    doors: list[tuple[Any, dict[str, Any]]] = [(BodyLimit, {"limit": limits.BODY_BYTES})]
    if options.password:
        doors.append((Password, {"password": options.password}))
    if options.cors:
        allowed = {"allow_methods": ["*"], "allow_headers": ["*"]}
        doors.append((CORSMiddleware, {"allow_origins": list(options.cors), **allowed}))
    if options.hosts:
        doors.append((TrustedHostMiddleware, {"allowed_hosts": list(options.hosts), "www_redirect": False}))
    for door, settings in [*doors, (StayLocal, {})]:
        app.add_middleware(door, **settings)


def __getattr__(name: str) -> Any:
    """`app`, for `uvicorn chat_ui.server:app`: made when it is asked for, as the environment says."""
    if name != "app":
        raise AttributeError(name)
    from chat_ui.here import read_env_file
    from chat_ui.serve import from_environment

    read_env_file()
    return create_app(from_environment().options())
