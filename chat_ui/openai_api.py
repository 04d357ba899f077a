"""/v1: the routes that any OpenAI client can talk to, over the same engine as the chat.

    client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
    client.chat.completions.create(model="assets", messages=[{"role": "user", "content": "Tell me a story."}])

The idea: what a request asks for is checked (`openai_schema`), turned into token ids (`openai_prompts`), handed to
the `Service`, and its pieces are told in OpenAI's form (`openai_stream`). Everything that can be wrong is found
before the first byte of an answer, so it is a 4xx with a reason. A limit of length above what is left of the context
is what is left. A client that goes away ends its answer within one token.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from chat_ui import openai_answers as shape
from chat_ui.embeddings import mean_hidden_states
from chat_ui.model_ids import UnknownModel
from chat_ui.openai_answer_schema import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    Completion,
    CompletionChoice,
    Embedding,
    Embeddings,
    ErrorAnswer,
    ModelCard,
    ModelList,
    Usage,
)
from chat_ui.openai_prompts import Echo, answer_of, chat_prompt, echo_of, text_prompt
from chat_ui.openai_schema import ChatRequest, CompletionRequest, EmbeddingRequest
from chat_ui.openai_stream import chat_events, completion_choice_logprobs, completion_events, read
from chat_ui.service import Answer, Service
from utils.errors import ScratchbookError, UserError, one_line

T = TypeVar("T")

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "A field is wrong or does not fit the model"},
    401: {"model": ErrorAnswer, "description": "The password is missing or wrong"},
    404: {"model": ErrorAnswer, "description": "No such model"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    422: {"model": ErrorAnswer, "description": "Not used: what is wrong with a request is a 400"},
    429: {"model": ErrorAnswer, "description": "Too many requests wait already"},
    500: {"model": ErrorAnswer, "description": "The engine failed"},
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream: true` as server-sent events that end with `data: [DONE]`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)


# Routes -----------------------------------------------------------------------------------------------


@router.get("/models", response_model=ModelList)
async def models(request: Request) -> ModelList:
    """The models that can be asked, the default first: the book's own, every run with a checkpoint, GPT-2."""
    known = await _service(request).ids()
    return ModelList(data=await asyncio.to_thread(lambda: [_card(*each) for each in known.items()]))


@router.get("/models/{model:path}", response_model=ModelCard)
async def model(model: str, request: Request) -> ModelCard:
    """One model by its id."""
    if not model:
        raise UnknownModel("there is no model '': /v1/models lists them")
    ref = await _service(request).ref_of(model)
    return await asyncio.to_thread(_card, model, ref)


@router.post("/chat/completions", response_model=ChatCompletion, responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request) -> Any:
    """An answer to a conversation."""
    service, ref, loaded = await _model_of(request, body.model)
    prompt = await asyncio.to_thread(chat_prompt, body, loaded)
    alternatives = (body.top_logprobs or 0) if body.logprobs else None
    answer = answer_of(service, ref, loaded, body, prompt, body.new_tokens, alternatives)
    head, tokenizer = shape.made("chatcmpl", body.model), loaded.tokenizer
    if body.stream:
        return await _stream([answer], lambda: chat_events(answer, head, tokenizer, body))

    async def whole() -> ChatCompletion:
        texts, told, ends = await read(answer)
        choices = [
            ChatChoice(
                index=i,
                message=AnswerMessage(content=texts[i]),
                logprobs=shape.chat_logprobs(told[i], tokenizer) if body.logprobs else None,
                finish_reason=ends[i],
            )
            for i in range(body.n)
        ]
        return ChatCompletion(**head, choices=choices, usage=shape.usage([answer]))

    return await until_gone(request, whole())


@router.post("/completions", response_model=Completion, responses=STREAMED)
async def completions(body: CompletionRequest, request: Request) -> Any:
    """Continuations of one text or of several."""
    service, ref, loaded = await _model_of(request, body.model)
    if (total := len(body.prompts) * body.n) > service.max_answers:
        raise UserError(
            f"{len(body.prompts)} prompts with n {body.n} are {total} answers: at most {service.max_answers}"
        )
    prompts = await asyncio.to_thread(lambda: [text_prompt(each, loaded) for each in body.prompts])
    answers = [
        answer_of(service, ref, loaded, body, each, body.max_tokens, body.logprobs) for each in prompts
    ]
    head, tokenizer = shape.made("cmpl", body.model), loaded.tokenizer
    echoes = [Echo("", None) for _ in prompts]
    if body.echo:
        echoes = [
            await echo_of(service, loaded, body, given, prompt)
            for given, prompt in zip(body.prompts, prompts)
        ]
    if body.stream:
        return await _stream(answers, lambda: completion_events(answers, echoes, head, tokenizer, body))

    async def whole() -> Completion:
        choices = []
        async with AsyncExitStack() as stack:
            for answer in answers:
                await stack.enter_async_context(answer)
            for number, (answer, echo) in enumerate(zip(answers, echoes)):
                texts, told, ends = await read(answer, entered=True)
                choices += [
                    CompletionChoice(
                        index=number * body.n + i,
                        text=echo.text + texts[i],
                        logprobs=completion_choice_logprobs(echo, told[i], tokenizer, body, begins=True),
                        finish_reason=ends[i],
                    )
                    for i in range(body.n)
                ]
        return Completion(**head, choices=choices, usage=shape.usage(answers))

    return await until_gone(request, whole())


@router.post("/embeddings", response_model=Embeddings)
async def embeddings(body: EmbeddingRequest, request: Request) -> Embeddings:
    """The mean hidden state of each text's tokens."""
    service, _, loaded = await _model_of(request, body.model)

    def work() -> tuple[list[list[int]], Any]:
        own = loaded.tokenizer
        texts = [own.encode_ordinary(each) if isinstance(each, str) else each for each in body.inputs]
        return texts, mean_hidden_states(loaded.model, texts)

    texts, vectors = await service.compute(work)
    as_text = body.encoding_format == "base64"
    data = [
        Embedding(
            index=i, embedding=base64.b64encode(row.numpy().tobytes()).decode() if as_text else row.tolist()
        )
        for i, row in enumerate(vectors)
    ]
    total = sum(map(len, texts))
    return Embeddings(data=data, model=body.model, usage=Usage(prompt_tokens=total, total_tokens=total))


# HTTP -------------------------------------------------------------------------------------------------


class _Stream(StreamingResponse):
    """Server-sent events; whatever ends them, the answers are left."""

    def __init__(self, events: AsyncIterator[str], leave: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers["cache-control"], self.headers["x-accel-buffering"] = "no-cache", "no"
        self.leave = leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.leave:
            await super().__call__(scope, receive, send)


async def _stream(answers: Sequence[Answer], events: Callable[[], AsyncIterator[str]]) -> _Stream:
    """Enter the answers, so that what is wrong with them is still a 4xx, and begin to tell them."""
    async with AsyncExitStack() as stack:
        for answer in answers:
            await stack.enter_async_context(answer)
        return _Stream(_told(events()), stack.pop_all())
    raise AssertionError("unreachable: an exit stack of answers swallows nothing")


async def _told(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events and their end; a failure in the middle is an event, too, for the status was sent long ago."""
    try:
        async for event in events:
            yield event
    except ScratchbookError as error:
        yield f"data: {ErrorAnswer(**problem(500, 'internal_error', None, one_line(error))).model_dump_json()}\n\n"
        return
    yield shape.DONE


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | Response:
    """The result of `work`, which is cancelled when the client goes away before."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return Response(status_code=499)  # nobody reads it
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def problem(status: int, code: str | None, param: str | None, text: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


def _service(request: Request) -> Service:
    return request.app.state.service


async def _model_of(request: Request, id: str) -> tuple[Service, str, Any]:
    service = _service(request)
    ref = await service.ref_of(id)
    return service, ref, await service.load(ref)


def _card(id: str, ref: str) -> ModelCard:
    path = Path(ref)
    try:
        created = int((path / "run.json" if path.is_dir() else path).stat().st_mtime)
    except OSError:  # a name, not a folder
        created = 0
    return ModelCard(id=id, created=created)
