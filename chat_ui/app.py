"""The chat window: Chainlit's callbacks, each a few lines that hand over to the modules beside this one.

    scratchbook chat                                      # checks the port and the model first
    CHAINLIT_APP_ROOT=chat_ui chainlit run chat_ui/app.py # the same app under Chainlit's own command

The event loop only ever waits: models load and compute in threads (`streaming`). Stop reaches the thread
through an event, and the message is closed in `finally`, so that no answer is left blinking for ever.

Left out: accounts, stored history, the inspector.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Chainlit reads its settings and writes its files where this points, and it looks only once.
os.environ.setdefault("CHAINLIT_APP_ROOT", str(Path(__file__).resolve().parent))

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.input_widget import Select, Slider, TextInput
from chainlit.server import app as web

from chat_ui.answering import prepare, write
from chat_ui.conversation import Conversation
from chat_ui.models import shelf
from chat_ui.offline import StayLocal
from chat_ui.settings import MODES, Settings, from_panel
from chat_ui.streaming import background
from finetuning.templates import has_roles
from utils.errors import ScratchbookError

log = logging.getLogger(__name__)

# Requests of the kinds that the book's own model was tuned on (working_with_text_data.storyland.tasks).
STARTERS = {
    "Tell me a story": "Tell me a story.",
    "A lantern, a turtle and the harbour": "Write a story with a lantern, a turtle and the harbour.",
    "Who has it now?": "Rosa had a magnet. Rosa gave the magnet to Nora. Nora gave the magnet to Felix. "
    "Who has the magnet now?",
    "Opposites": "Give the opposites of closed and happy.",
}

# Seconds between two pieces of an answer. A page can hardly redraw more often, and an eye cannot read faster.
REDRAW = 0.04

if web.middleware_stack is None:  # the server is not running yet: under `--watch` this file is read again
    web.add_middleware(StayLocal)


@dataclass
class Talk:
    """What one chat window owns: what was said, the checked settings, and the answer being written."""

    conversation: Conversation = field(default_factory=Conversation)
    settings: Settings = field(default_factory=Settings)
    writing: threading.Event | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one answer at a time

    def hush(self) -> None:
        """Stop the answer that is being written, if there is one."""
        if self.writing is not None:
            self.writing.set()


def talk() -> Talk:
    """The state of the chat window that this call belongs to."""
    state = cl.user_session.get("talk")
    if state is None:
        state = Talk()
        cl.user_session.set("talk", state)
    return state


async def load(ref: str) -> Any:
    """The model `ref`, or the first choice for "". A thread reads the disk, the event loop waits for it."""
    return await asyncio.to_thread(lambda: shelf().get(ref or shelf().default()))


@cl.set_starters
async def starters(user: cl.User | None = None, language: str | None = None) -> list[cl.Starter]:
    """Four things to click on before the first message."""
    return [cl.Starter(label=label, message=message) for label, message in STARTERS.items()]


@cl.on_chat_start
async def on_chat_start() -> None:
    """Choose a model, load it, show the settings; say how to make a model if there is none."""
    state = talk()
    try:
        choices = await asyncio.to_thread(shelf().choices)
        ref = await asyncio.to_thread(shelf().default)
        loaded = await load(ref)
    except ScratchbookError as error:
        await cl.ErrorMessage(content=str(error)).send()
        return
    block_size = loaded.model.config.block_size
    state.settings = Settings(
        model=ref,
        mode="chat" if has_roles(loaded.tokenizer) else "continue",
        max_new_tokens=max(1, block_size // 2),
    )
    await panel(state.settings, {choice.label: choice.ref for choice in choices}, block_size).send()


def panel(start: Settings, refs: dict[str, str], block_size: int) -> cl.ChatSettings:
    """The settings panel, opened at `start`; `refs` maps what a person reads to a model."""
    return cl.ChatSettings(
        [
            Select(id="model", label="Model", items=refs, initial_value=start.model),
            Select(
                id="mode",
                label="Mode",
                items={sentence: mode for mode, sentence in MODES.items()},
                initial_value=start.mode,
            ),
            Slider(
                id="temperature",
                label="Temperature",
                initial=start.temperature,
                min=0,
                max=2,
                step=0.05,
                tooltip="0 always takes the likeliest token; higher is more surprising",
            ),
            Slider(
                id="top_k",
                label="Top-k",
                initial=start.top_k,
                min=0,
                max=200,
                step=1,
                tooltip="Choose among the k likeliest tokens; 0 is off",
            ),
            Slider(
                id="top_p",
                label="Top-p",
                initial=start.top_p,
                min=0.05,
                max=1,
                step=0.05,
                tooltip="Choose among the likeliest tokens that together have this probability; 1 is off",
            ),
            Slider(
                id="max_new_tokens",
                label="Length",
                initial=start.max_new_tokens,
                min=1,
                max=block_size,
                step=1,
                tooltip=f"At most so many tokens; question and answer have {block_size} together",
            ),
            TextInput(
                id="seed",
                label="Seed",
                initial="",
                placeholder="empty: a new one for each answer",
                tooltip="The same seed, settings and conversation give the same answer",
            ),
            TextInput(
                id="system",
                label="System line",
                initial=start.system,
                multiline=True,
                placeholder="Who the model should be; read before the conversation",
            ),
        ]
    )


@cl.on_settings_update
async def on_settings_update(values: dict) -> None:
    """Take over the panel's values, and load the model now if it is another one."""
    state = talk()
    try:
        settings = from_panel(values)
        loaded = await load(settings.model)
    except ScratchbookError as error:
        await cl.ErrorMessage(content=f"{error} (the settings are as they were)").send()
        return
    if settings.mode == "chat" and not has_roles(loaded.tokenizer):
        await note("This model knows no roles, so it cannot chat. It will continue the text you type.")
        settings = replace(settings, mode="continue")
    state.settings = settings


@cl.on_message
async def on_message(message: cl.Message) -> None:
    """Answer one message; whatever is wrong with it is said in one line."""
    state = talk()
    state.hush()  # a new or edited message ends the answer before it
    async with state.turn:
        state.conversation.ask(message.id, message.content)
        try:
            await answer(state)
        except ScratchbookError as error:
            await cl.ErrorMessage(content=str(error)).send()
        except Exception as error:
            log.exception("the answer failed")
            await cl.ErrorMessage(content=f"The answer failed: {error or type(error).__name__}").send()
        finally:
            state.conversation.take_back(message.id)  # unless it was answered


async def answer(state: Talk) -> None:
    """Write the next answer into the window, until its end, its limit, or Stop."""
    stop = state.writing = threading.Event()
    settings = state.settings
    loaded = await load(settings.model)
    # Encoding a very long message takes a while, too.
    prompt = await asyncio.to_thread(prepare, state.conversation, settings, loaded)
    if prompt.fitted.left_out:
        await note(
            f"The conversation is longer than the {loaded.model.config.block_size} tokens that this model "
            f"reads at once: it no longer sees the first {prompt.fitted.left_out} messages."
        )
    reply = cl.Message(content="")
    try:
        text = background(lambda stop: write(prompt, settings, loaded, stop), stop=stop, every=REDRAW)
        async with text as pieces:
            async for piece in pieces:
                await reply.stream_token(piece)
    finally:
        state.writing = None
        if reply.content:
            state.conversation.answer(reply.id, reply.content)
            await reply.update()
    if not reply.content and not stop.is_set():
        state.conversation.answer(reply.id, "")
        await note("The model ended its turn without a word. Ask again, or raise the temperature.")


async def note(text: str) -> None:
    """Something the program, not the model, has to say."""
    await cl.Message(content=text, type="system_message").send()


@cl.on_stop
async def on_stop() -> None:
    """Stop was pressed: the thread is told here, also for an edited message, whose task nobody cancels."""
    talk().hush()


@cl.on_chat_end
async def on_chat_end() -> None:
    """The window was closed: nobody will read the rest."""
    talk().hush()
    if getattr(cl.context.session, "to_clear", False):  # it will not come back
        # Chainlit forgets the session itself, but keeps its messages for ever.
        chat_contexts.pop(cl.context.session.id, None)
