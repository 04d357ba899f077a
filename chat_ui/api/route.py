"""What all routes under /api/v1 have in common: strict requests, and errors of one line.

The idea: a route is a function of checked values, so everything that can be wrong with a request is dealt with
once, before it. A value that does not fit (422), an input the chapters refuse (400), a thing that is not there (404)
or not whole (409), too much at once (429): each is answered with {"detail": one line that names the value, the limit
and the fix}. FastAPI's own answer to a wrong value would send the value back, all megabytes of it, and cannot be
written at all when it holds NaN.

Left out: who may ask, and how much in one body (`password`); the OpenAI form of errors (`openai_api`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from chat_ui.model_ids import UnknownModel
from chat_ui.service import Busy
from utils.errors import RunFailure, UserError, one_line
from working_with_text_data.tokenizer import valid_unicode

SAID = 500  # characters of an error


class NotHere(UserError):
    """What was asked for by name is not in the list (404)."""


class NotWhole(UserError):
    """It is there, but cannot be read now: being written, damaged, or gone while it was read (409)."""


class Problem(BaseModel):
    """Why there is no answer, in one line that says what to change."""

    detail: str = Field(examples=["no model 'gtp2': /api/v1/tokenization/tokenizers lists them"])


class Strict(BaseModel):
    """A request: unknown keys are errors, "3" is no number, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """An answer. Field names such as model_ids are ours to use."""

    model_config = ConfigDict(protected_namespaces=())


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": why}
    for code, why in {
        400: "an input that cannot be used",
        404: "no such thing in the list",
        409: "there, but not whole: being written, damaged, or just deleted",
        413: "a request of too many bytes",
        422: "a value of the wrong type or outside its limits",
        429: "too much at once: ask again in a moment",
    }.items()
}
STATUS = {UnknownModel: 404, NotHere: 404, NotWhole: 409, Busy: 429, RunFailure: 409, UserError: 400}


def problem(status: int, text: str) -> JSONResponse:
    """The answer for what went wrong; `text` is cut to a line that can be read."""
    line = valid_unicode(one_line(text))
    line = line if len(line) <= SAID else line[: SAID - 2] + " …"
    return JSONResponse({"detail": line}, status, headers={"retry-after": "1"} if status == 429 else None)


def describe(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, and how many more there are.

    >>> describe(RequestValidationError([{"type": "x", "loc": ("body", "ids", 3), "msg": "must be whole"}]))
    'body.ids.3: must be whole'
    """
    first, *others = error.errors()
    place = ".".join(str(part)[:80] for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {first['msg']}{more}"


class LineRoute(APIRoute):
    """A route whose errors are lines."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestValidationError as error:
                return problem(422, describe(error))
            except (UserError, RunFailure) as error:
                return problem(
                    next(code for kind, code in STATUS.items() if isinstance(error, kind)), str(error)
                )
            except OSError as error:  # a file that was deleted between two looks, a disk that fails
                return problem(409, f"a file cannot be read now ({error.strerror or error}): ask again")

        return handle


def plain(value: Any) -> Any:
    """JSON values of a file as they can be sent: no NaN, no infinity, no half of a surrogate pair.

    >>> plain({"loss": float("nan"), "text": "a\\ud800"})
    {'loss': None, 'text': 'a\ufffd'}
    """
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {valid_unicode(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def shortened(name: str) -> str:
    """A name from outside as it may stand in a message.

    >>> shortened("x" * 100)[-3:]
    "x…'"
    """
    return repr(valid_unicode(name[:60]) + ("…" if len(name) > 60 else ""))
