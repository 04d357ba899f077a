"""The service: text from models for many at once, out of one engine a model, without ever holding up the event loop.

    service = Service()
    async with service.answer("assets", ids, sampling=Sampling(seed=1), max_new_tokens=60, stop=["\\n"]) as events:
        async for event in events:
            print(event.text, end="")
    await service.close()

The idea: an engine steps in a thread of its own (`engine_thread`); each answer is a queue that the thread fills and
a coroutine empties. Text is made from ids in that thread, so that a stop string ends a sample before its next token.
Leaving the block, for whatever reason, cancels the rest within one token and frees its rows.

The chat, /v1 and the notebooks all read from here. Nothing of one answer reaches another: settings, seed and random
state belong to the request. Left out: prompts (`finetuning.templates`), HTTP (`openai_api`).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from chat_ui import limits
from chat_ui.engine_thread import EngineStats, EngineThread
from chat_ui.model_ids import ModelIds
from chat_ui.models import Models, shelf
from chat_ui.pieces import Piece, SampleText
from gpt_model.engine import Engine
from gpt_model.request import DEFAULT, Event, Request
from gpt_model.sampling import Sampling, process
from utils.errors import RunFailure, UserError

T = TypeVar("T")


class Busy(RunFailure):
    """Too many are being served already: come back later."""


class Service:
    """Answers from the models of a `models.Models`, each through one engine in one thread.

    max_answers: samples that are written or wait, of all models together; then `Busy` is raised. max_rows: samples
    that one engine decodes together. threads: cores of one engine; by default the cores shared by all models that
    may be loaded at once. Use it from one event loop or several; `close` it once.
    """

    def __init__(
        self,
        models: Models | None = None,
        *,
        max_rows: int = limits.ROWS,
        max_answers: int = limits.ANSWERS,
        prefill_chunk: int = 256,
        threads: int | None = None,
    ) -> None:
        self.models = models if models is not None else shelf()
        self.names = ModelIds(self.models)
        self.max_rows, self.max_answers, self.prefill_chunk = max_rows, max_answers, prefill_chunk
        self.threads = threads or max(1, (os.cpu_count() or 1) // self.models.capacity)
        self._engines: dict[
            str, tuple[Any, EngineThread]
        ] = {}  # ref -> loaded model and its engine, newest last
        self._samples = self._tasks = 0
        self._closed = False
        self._lock = threading.Lock()
        # One thread for the disk and one for everything else that computes, so that neither holds up the other.
        self._loading = ThreadPoolExecutor(1, "scratchbook-load")
        self._computing = ThreadPoolExecutor(1, "scratchbook-compute", initializer=self._one_share)

    # What others call ---------------------------------------------------------------------------------

    def answer(
        self,
        ref: str,
        ids: Sequence[int],
        *,
        sampling: Sampling = DEFAULT,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        stop_ids: Sequence[int] = (),
        logprobs: int | None = None,
        n: int = 1,
        on_overflow: str = "error",
    ) -> Answer:
        """An answer to the prompt `ids` by the model `ref`, to be entered with `async with`.

        Entering raises UserError for a prompt or settings that cannot be served and `Busy` when too many wait;
        reading raises RunFailure when the engine fails. The other arguments: `gpt_model.request.Request`.
        """
        request = Request(ids, max_new_tokens, sampling, tuple(stop_ids), n, logprobs, on_overflow)
        return Answer(self, ref, request, stop)

    async def load(self, ref: str) -> Any:
        """The loaded model for a reference (model, tokenizer, path, config), read in a thread where needed."""
        ready = self.models.ready(ref)  # while another model is read, this one goes on
        if ready is not None:
            return ready
        return await asyncio.get_running_loop().run_in_executor(self._loading, self.models.get, ref)

    async def ids(self) -> dict[str, str]:
        """The public id of every model, with its reference, the default model first."""
        return await asyncio.to_thread(self.names.all)

    async def ref_of(self, id: str) -> str:
        """The reference of a public id ("" is the default). Raises `model_ids.UnknownModel`."""
        return await asyncio.to_thread(self.names.ref_of, id)

    async def compute(self, work: Callable[..., T], *given: Any, **named: Any) -> T:
        """Run other work that computes, in a thread beside the engines', one after the other.

        Raises `Busy` when `limits.TASKS` wait already.
        """
        with self._lock:
            self._refuse_when_closed()
            if self._tasks >= limits.TASKS:
                raise Busy(
                    f"{self._tasks} requests wait already (limit {limits.TASKS}): ask again in a moment"
                )
            self._tasks += 1

        def done() -> T:
            try:
                return work(*given, **named)
            finally:  # also when nobody waits for it any more
                with self._lock:
                    self._tasks -= 1

        future = self._computing.submit(done)
        future.add_done_callback(self._never_ran)
        return await asyncio.wrap_future(future)

    def stats(self, ref: str) -> EngineStats:
        """What the engine of a model held after its newest step; zeros for one that is not loaded."""
        entry = self._engines.get(ref)
        return EngineStats(0, 0) if entry is None else entry[1].stats

    @property
    def waiting(self) -> int:
        """Samples that are being written or wait, of all models."""
        return self._samples

    async def close(self) -> None:
        """End every answer and every thread, and free all caches. A second call does nothing."""
        with self._lock:
            self._closed = True
            engines, self._engines = list(self._engines.values()), {}

        def end() -> None:
            for _, engine in engines:
                engine.close()
            self._computing.shutdown(cancel_futures=True)
            self._loading.shutdown(cancel_futures=True)

        await asyncio.to_thread(end)

    # For answers --------------------------------------------------------------------------------------

    def _take_places(self, samples: int) -> None:
        """Places among the answers; `_give_back` frees them."""
        with self._lock:
            self._refuse_when_closed()
            if self._samples + samples > self.max_answers:
                raise Busy(
                    f"{self._samples} answers are being written or wait and {samples} more are asked for "
                    f"(limit {self.max_answers}): ask again in a moment"
                )
            self._samples += samples

    def _give_back(self, samples: int) -> None:
        with self._lock:
            self._samples -= samples

    def _submit(self, ref: str, loaded: Any, request: Request, listener: Answer) -> tuple[EngineThread, int]:
        """Hand a request to the engine of a loaded model: the engine and the request's number.

        A run that has saved again is another model, with another engine; those that are no longer on the shelf
        finish what they have begun.
        """
        put_away = []
        with self._lock:
            self._refuse_when_closed()
            known, engine = self._engines.pop(ref, (None, None))
            if engine is None or known is not loaded:
                put_away += [engine] if engine else []
                make = partial(Engine, loaded.model, max_rows=self.max_rows, prefill_chunk=self.prefill_chunk)
                engine = EngineThread(make, threads=self.threads)
            self._engines[ref] = (loaded, engine)
            while len(self._engines) > self.models.capacity:
                put_away.append(self._engines.pop(next(iter(self._engines)))[1])
            try:
                return engine, engine.submit(request, listener)
            finally:
                for each in put_away:
                    each.close(when_idle=True)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RunFailure("the server is stopping")

    def _never_ran(self, future: Any) -> None:
        if future.cancelled():
            with self._lock:
                self._tasks -= 1

    def _one_share(self) -> None:
        import torch

        torch.set_num_threads(self.threads)


def check_rules(sampling: Sampling, ids: Sequence[int], vocab_size: int) -> None:
    """Try the rules that name ids once, before they meet the rows of others. Raises UserError."""
    if not sampling.logit_bias and not sampling.bad_words:
        return
    import torch

    try:
        process(torch.zeros(1, vocab_size), sampling, [list(ids)], prompt_lengths=[len(ids)])
    except RunFailure as error:
        raise UserError(str(error)) from None


class Answer:
    """One request on its way: enter it, read its pieces, leave it whenever you like.

    prompt_tokens, completion_tokens: how many were read and drawn so far (an end token is not counted). asked_at,
    first_at, last_at: when it was asked and when the engine had its first and its newest event, in seconds of
    `time.perf_counter`.
    """

    def __init__(self, service: Service, ref: str, request: Request, stop: Sequence[str]) -> None:
        self.service, self.ref, self.request = service, ref, request
        self.prompt_tokens = len(request.ids)
        self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
        self._samples: list[SampleText] = []
        self._queue: asyncio.Queue[list[Piece] | RunFailure] = asyncio.Queue()
        self._ready: list[Piece] = []  # taken from the queue, not yet read
        self._over = asyncio.Event()  # the engine has let go of every row
        self._told = 0  # samples whose end was read
        self._going = 0  # samples that the engine has not ended
        self.asked_at = self.first_at = self.last_at = 0.0

    @property
    def completion_tokens(self) -> int:
        """Tokens of all samples so far."""
        return sum(sample.tokens for sample in self._samples)

    async def __aenter__(self) -> Answer:
        self._loop = asyncio.get_running_loop()
        self.asked_at = time.perf_counter()
        request, service = self.request, self.service
        if not 1 <= request.n <= service.max_rows:
            raise UserError(f"n is {request.n}: ask for 1 to {service.max_rows} samples")
        service._take_places(request.n)
        try:
            loaded = await service.load(self.ref)
            own, model = loaded.tokenizer.vocab_size, loaded.model.config.vocab_size
            if (
                own < model and request.sampling.vocab_limit is None
            ):  # rows that no token uses are never drawn
                request = replace(request, sampling=replace(request.sampling, vocab_limit=own))
            check_rules(request.sampling, request.ids, model)
            self._samples = [SampleText(i, loaded.tokenizer, self._stop) for i in range(request.n)]
            self._going = request.n
            self._engine, self._number = service._submit(self.ref, loaded, request, self)
        except BaseException:
            service._give_back(request.n)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._over.is_set():
                self._engine.cancel(self._number, self)
                await self._over.wait()  # the engine's next step ends it; a cancelled task does not wait
        finally:
            self.service._give_back(self.request.n)

    def stop(self) -> None:
        """End it within one token, from any task: whoever reads it gets what is there, then its end ("cancelled")."""
        if not self._over.is_set():
            self._engine.cancel(self._number, self)

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        while not self._ready:
            if self._told == self.request.n:
                raise StopAsyncIteration
            got = await self._queue.get()
            if isinstance(got, RunFailure):
                self._told = self.request.n
                raise got
            self._ready = got[::-1]
        piece = self._ready.pop()
        self._told += piece.finish_reason is not None
        return piece

    async def batches(self) -> AsyncIterator[list[Piece]]:
        """All pieces that are there, each time: one to read at leisure, many when the reader is slow.

        A reader of single pieces that is slower than the engine never waits, so the event loop would serve nobody
        else. Here others have their turn after each batch, and a batch costs little more than a piece.
        """
        async for piece in self:
            pieces, failure = [piece], None
            while (
                failure is None and self._told < self.request.n and (self._ready or not self._queue.empty())
            ):
                try:
                    pieces.append(await self.__anext__())
                except RunFailure as error:
                    failure = error
            yield pieces
            if failure is not None:
                raise failure
            await asyncio.sleep(0)

    # Called in the engine's thread --------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Take one event of the engine: make text of it, and end the sample at a stop string."""
        self.last_at = time.perf_counter()
        self.first_at = self.first_at or self.last_at
        sample = self._samples[event.sample]
        self._going -= event.finish_reason is not None
        if event.error is not None and not sample.ended:
            self._put(event.error)
        elif not sample.ended:
            pieces = sample.take(event)
            if pieces:
                self._put(pieces)
            if sample.ended and event.finish_reason is None:
                self._engine.cancel(event.request, self, event.sample)
        if not self._going:
            self._loop.call_soon_threadsafe(self._over.set)

    def fail(self, error: RunFailure) -> None:
        """The engine has ended without an answer."""
        self._put(error)
        self._loop.call_soon_threadsafe(self._over.set)

    def _put(self, item: list[Piece] | RunFailure) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
