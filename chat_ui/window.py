"""One chat window: what it remembers, and how an answer is written into it.

A window owns its conversation, its settings and the records of its answers; nothing of it is shared with another. The
text of an answer comes from the service (`answering.ask`), which computes in a thread of its own, so that everything
here only waits. Stop is a request to the engine, not the end of a task: the last piece arrives, the message is closed,
and the window is ready for the next one. A task that is ended all the same (Chainlit does that as well) leaves the
`async with`, which ends the request too.

Left out: which event leads to what (`app`).
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_ui.here import FOLDER

os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))

import chainlit as cl
from chainlit import config as chainlit_config
from chainlit.chat_context import chat_context
from chainlit.utils import utc_now

from chat_ui.answering import Prompt, ask, prepare, with_seed
from chat_ui.conversation import Conversation
from chat_ui.decoding import describe, with_strategy
from chat_ui.model_ids import id_of
from chat_ui.records import Record
from chat_ui.room import service
from chat_ui.service import Answer
from chat_ui.settings import NOTHING, Settings
from chat_ui.streaming import paced
from utils.errors import ScratchbookError

log = logging.getLogger(__name__)

# Chainlit keeps what stands below answers in one folder a checkout, and a server that ends deletes it, also from under
# another that still runs. So each process has its own.
chainlit_config.FILES_DIRECTORY = Path(tempfile.mkdtemp(prefix="scratchbook-chat-"))
atexit.register(shutil.rmtree, chainlit_config.FILES_DIRECTORY, ignore_errors=True)

# Seconds between two pieces of an answer. A page can hardly redraw more often, and an eye cannot read faster.
REDRAW = 0.04
COLUMNS = 0.15  # two columns are drawn anew as a whole
RECORDS = 64  # answers of one window that can still be looked into


class Writing:
    """The answers to one message that are being written: one, or two side by side."""

    def __init__(self) -> None:
        self.stopped = False
        self._answers: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Another answer has begun; where Stop came first, it ends at once."""
        self._answers.append(answer)
        if self.stopped:
            answer.stop()

    def stop(self) -> None:
        """End them within one token."""
        self.stopped = True
        for answer in self._answers:
            answer.stop()


@dataclass
class Talk:
    """What one chat window owns: what was said, the checked settings, and what is known of its answers."""

    conversation: Conversation = field(default_factory=Conversation)
    settings: Settings = field(default_factory=Settings)
    records: OrderedDict[str, Record] = field(default_factory=OrderedDict)
    pairs: dict[str, tuple[cl.Message, list[Record]]] = field(default_factory=dict)  # answers side by side
    writing: Writing | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one message is answered at a time

    def hush(self) -> None:
        """Stop the answer that is being written, if there is one."""
        if self.writing is not None:
            self.writing.stop()

    def remember(self, id: str, record: Record) -> None:
        """Keep what is known of an answer, and let go of the oldest."""
        self.records[id] = record
        self.records.move_to_end(id)
        while len(self.records) > RECORDS:
            old, _ = self.records.popitem(last=False)
            self.pairs.pop(old, None)


def talk() -> Talk:
    """The state of the chat window that this call belongs to."""
    state = cl.user_session.get("talk")
    if not isinstance(state, Talk):  # nothing yet, or what is left of one in a history
        state = Talk()
        cl.user_session.set("talk", state)
    return state


async def respond(state: Talk, question: str) -> None:
    """Answer the last message, whose id is `question`; whatever is wrong with it is said in one line."""
    try:
        await answer(state)
    except ScratchbookError as error:
        await cl.ErrorMessage(content=str(error)).send()
    except Exception as error:
        log.exception("the answer failed")
        await cl.ErrorMessage(content=f"The answer failed: {error or type(error).__name__}").send()
    finally:
        state.conversation.take_back(question)  # unless it was answered


async def answer(state: Talk) -> None:
    """Write the next answer into the window, until its end, its limit, or Stop."""
    writing = state.writing = Writing()
    try:
        settings = with_seed(state.settings)
        ref = settings.model or await asyncio.to_thread(service().models.default)
        loaded = await service().load(ref)
        # Encoding a very long message takes a while, too.
        prompt = await asyncio.to_thread(prepare, state.conversation, settings, loaded)
        if prompt.fitted.left_out:
            await note(
                f"The conversation is longer than the {loaded.model.config.block_size} tokens that this model "
                f"reads at once: it no longer sees the first {prompt.fitted.left_out} messages."
            )
        write = _one if settings.beside == NOTHING else _two
        reply, record = await write(state, writing, ref, loaded, prompt, settings)
    finally:
        state.writing = None
    if not record.text and not writing.stopped:
        state.conversation.answer(reply.id, "")
        await note("The model ended its turn without a word. Ask again, or raise the temperature.")


async def _one(
    state: Talk, writing: Writing, ref: str, loaded: Any, prompt: Prompt, settings: Settings
) -> tuple[cl.Message, Record]:
    """One answer, streamed into a message."""
    reply = cl.Message(content="", created_at=utc_now())
    record = _record(ref, prompt, settings)
    try:
        async with ask(service(), ref, prompt, settings) as answer:
            writing.add(answer)
            try:
                async for pieces in paced(answer.batches(), REDRAW):
                    await reply.stream_token(record.take(pieces))
            finally:
                await asyncio.to_thread(record.close, answer, loaded)
    finally:
        if record.text:
            await _close(state, reply, record, [])
    return reply, record


async def _two(
    state: Talk, writing: Writing, ref: str, loaded: Any, prompt: Prompt, settings: Settings
) -> tuple[cl.Message, Record]:
    """Two answers to the same prompt with the same seed, drawn in two ways, written at the same time."""
    both = [settings, with_strategy(settings, settings.beside)]
    records = [_record(ref, prompt, each) for each in both]
    reply = cl.Message(content=f"**{describe(both[0])}** beside **{settings.beside}**", created_at=utc_now())
    columns = cl.CustomElement(name="Beside", props=_columns(reply.id, records), display="inline")
    await reply.send()
    await columns.send(for_id=reply.id)

    async def draw() -> None:
        columns.props = _columns(reply.id, records)
        await cl.context.emitter.send_element(columns.to_dict())

    async def write(record: Record) -> None:
        async with ask(service(), ref, prompt, record.settings) as answer:
            writing.add(answer)
            try:
                async for pieces in paced(answer.batches(), COLUMNS):
                    record.take(pieces)
                    await draw()
            finally:
                await asyncio.to_thread(record.close, answer, loaded)

    try:
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(write(record))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        state.pairs[reply.id] = reply, records
        columns.props = _columns(reply.id, records, done=True)
        await _close(state, reply, records[0], [columns])
    return reply, records[0]


async def _close(state: Talk, reply: cl.Message, record: Record, elements: list[Any]) -> None:
    """The message is complete, and what it says belongs to the conversation."""
    state.conversation.answer(reply.id, record.text)
    await _tell(state, reply, record, elements)


async def _tell(state: Talk, reply: cl.Message, record: Record, elements: list[Any]) -> None:
    """What is known of an answer goes with its message, below it, and into a history if one is kept."""
    state.remember(reply.id, record)
    reply.metadata = {"answer": record.text, "model": record.name, "seed": str(record.settings.seed)}
    reply.elements = [*elements, below(reply.id, record)]
    await reply.update()


async def keep(state: Talk, id: str, side: int) -> dict[str, Any]:
    """Go on from the other of two answers. A line under "error" where the conversation has gone on already."""
    if id not in state.pairs or side not in (0, 1):
        return {"error": "these two answers are not kept any more"}
    reply, records = state.pairs[id]
    if not state.conversation.replace(id, records[side].text):
        return {"error": "the conversation has gone on: edit your message to go back to it"}
    await _tell(state, reply, records[side], [])
    return {"kept": side}


async def write_again(state: Talk, id: str) -> None:
    """Another answer to the same question, in place of the answer `id` and of all that came after it."""
    state.hush()
    async with state.turn:
        question = state.conversation.again(id)
        if question is None:
            await note("This answer is no longer part of the conversation.")
            return
        shown = chat_context.get()
        first = next((index for index, message in enumerate(shown) if message.id == id), len(shown))
        for message in shown[first:]:
            await message.remove()
        await respond(state, question)


async def note(text: str) -> None:
    """Something the program, not the model, has to say."""
    await cl.Message(content=text, type="system_message").send()


def below(id: str, record: Record) -> Any:
    """What stands below an answer: facts, and buttons to look inside."""
    props = {"id": id, "facts": record.facts()}
    # One for each message, so that it can be replaced.
    return cl.CustomElement(id=f"{id}-below", name="Answer", props=props, display="inline")


def _record(ref: str, prompt: Prompt, settings: Settings) -> Record:
    name = id_of(ref, ref == service().models.first)
    return Record(ref, name, settings, prompt.template, list(prompt.fitted.ids))


def _columns(id: str, records: list[Record], *, done: bool = False) -> dict[str, Any]:
    """What `public/elements/Beside.jsx` draws."""
    sides = [
        {
            "title": describe(record.settings),
            "text": record.text,
            "facts": record.facts()[:2] if done else [],
        }
        for record in records
    ]
    return {"id": id, "sides": sides, "done": done}
