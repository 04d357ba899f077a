"""The chat window's events: Chainlit's callbacks, each a few lines that hand over to the modules beside this one.

    scratchbook serve                                     # at /chat, beside the API and the inspector
    scratchbook chat                                      # alone; checks the port and the model first
    CHAINLIT_APP_ROOT=chat_ui chainlit run chat_ui/app.py # the same app under Chainlit's own command

The event loop only ever waits: models load and compute in threads (`service`). Stop reaches the engine, and the message
is closed in `finally`, so that no answer is left blinking for ever.

Left out: accounts (one password is for all: `password`), what the pages look like (`public/`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from chat_ui.here import FOLDER, history_file

os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.server import app as web
from chainlit.utils import utc_now

from chat_ui import export, looking, room
from chat_ui.model_ids import UnknownModel
from chat_ui.offline import StayLocal
from chat_ui.panel import panel
from chat_ui.room import service
from chat_ui.settings import AS_TRAINED, Settings, from_panel
from chat_ui.window import Talk, keep, note, respond, talk, write_again
from finetuning.templates import has_roles
from utils.errors import ScratchbookError, UserError

# Requests of the kinds that the book's own model was tuned on (working_with_text_data.storyland.tasks).
STARTERS = {
    "Tell me a story": "Tell me a story.",
    "A lantern, a turtle and the harbour": "Write a story with a lantern, a turtle and the harbour.",
    "Who has it now?": "Rosa had a magnet. Rosa gave the magnet to Nora. Nora gave the magnet to Felix. "
    "Who has the magnet now?",
    "Opposites": "Give the opposites of closed and happy.",
}

if web.middleware_stack is None:  # the server is not running yet: under `--watch` this file is read again
    web.add_middleware(StayLocal)


@cl.set_starters
async def starters(user: cl.User | None = None, language: str | None = None) -> list[cl.Starter]:
    """Four things to click on before the first message."""
    return [cl.Starter(label=label, message=message) for label, message in STARTERS.items()]


@cl.on_chat_start
async def on_chat_start() -> None:
    """Choose a model, load it, show the settings; say how to make a model if there is none."""
    await open_window(talk())


async def open_window(state: Talk, values: dict | None = None) -> None:
    """Settings that fit the first model, or those of `values` where they still can be had, and the panel."""
    try:
        if values:
            with suppress(ScratchbookError):
                settings = from_panel(values)
                _, loaded = await find(settings.model)
                state.settings = settings
                await show_panel(settings, loaded)
                return
        ref, loaded = await find("")
    except ScratchbookError as error:
        await cl.ErrorMessage(content=str(error)).send()
        return
    state.settings = Settings(
        model=ref,
        mode="chat" if has_roles(loaded.tokenizer) else "continue",
        max_new_tokens=max(1, loaded.model.config.block_size // 2),
    )
    await show_panel(state.settings, loaded)


async def find(ref: str) -> tuple[str, Any]:
    """A model of the list, loaded; "" is the first. A name from a page is looked up, never opened as a path."""
    models = service().models
    if not ref:
        ref = await asyncio.to_thread(models.default)
    elif ref not in [choice.ref for choice in await asyncio.to_thread(models.choices)]:
        raise UnknownModel(f"there is no model {ref[:80]!r} here any more: choose another in the settings")
    return ref, await service().load(ref)


async def show_panel(settings: Settings, loaded: Any) -> None:
    """The panel at these settings, with the models that are there now."""
    choices = await asyncio.to_thread(service().models.choices)
    refs = {choice.label: choice.ref for choice in choices}
    await panel(settings, refs, loaded.model.config.block_size).send()


@cl.on_settings_update
async def on_settings_update(values: dict) -> None:
    """Take over the panel's values, and load the model now if it is another one."""
    state = talk()
    try:
        settings = from_panel(values)
        _, loaded = await find(settings.model)
    except ScratchbookError as error:
        await cl.ErrorMessage(content=f"{error} (the settings are as they were)").send()
        return
    needs_roles = settings.template in (AS_TRAINED, "scratchbook")
    if settings.mode == "chat" and needs_roles and not has_roles(loaded.tokenizer):
        await note("This model knows no roles, so it cannot chat. It will continue the text you type.")
        settings = replace(settings, mode="continue")
    another = settings.model != state.settings.model
    block_size = loaded.model.config.block_size
    if another and settings.max_new_tokens > block_size:
        settings = replace(settings, max_new_tokens=max(1, block_size // 2))
    state.settings = settings
    if another:
        await show_panel(settings, loaded)


@cl.on_message
async def on_message(message: cl.Message) -> None:
    """Answer one message, new or edited."""
    state = talk()
    state.hush()  # it ends the answer before it
    async with state.turn:
        state.conversation.ask(message.id, message.content)
        await respond(state, message.id)


@cl.on_stop
async def on_stop() -> None:
    """Stop was pressed: the engine is told here, also for an edited message, whose task nobody cancels."""
    talk().hush()


@cl.on_chat_end
async def on_chat_end() -> None:
    """The window was closed: nobody will read the rest."""
    talk().hush()
    if getattr(cl.context.session, "to_clear", False):  # it will not come back
        # Chainlit forgets the session itself, but keeps its messages for ever.
        chat_contexts.pop(cl.context.session.id, None)


@cl.on_app_shutdown
async def on_app_shutdown() -> None:
    """The chat runs alone and ends: so does the service that it made."""
    await room.close_own()


# What the buttons below an answer ask for (public/elements/*.jsx) ---------------------------------------


@cl.action_callback("look")
async def on_look(action: cl.Action) -> dict[str, Any]:
    """What an answer was made of: {"rows"} of its tokens, or the {"page"} of its attention or its lens."""
    return await _in_one_line(look(talk(), **_only(action.payload, "id", "view", "dark")))


async def look(state: Talk, id: str = "", view: str = "tokens", dark: bool = False) -> dict[str, Any]:
    """Raises UserError where nothing is known of the answer any more."""
    record = state.records.get(str(id))
    if record is None:
        raise UserError("nothing is known of this answer any more: write it again to look inside")
    loaded = await service().load(record.ref)
    if view == "tokens":
        return {"rows": await asyncio.to_thread(record.rows, loaded.tokenizer)}
    if view not in looking.VIEWS:
        raise UserError(
            f"there is no view {str(view)[:40]!r}: choose one of tokens, {', '.join(looking.VIEWS)}"
        )
    return {"page": await service().compute(looking.page, view, loaded, record.ids, dark=bool(dark))}


@cl.action_callback("again")
async def on_again(action: cl.Action) -> dict[str, Any]:
    """Write an answer again. It runs as the window's task, which Stop ends."""
    state, emitter = talk(), cl.context.emitter
    id = str(action.payload.get("id"))

    async def task() -> None:
        await emitter.task_start()
        try:
            await write_again(state, id)
        finally:
            await emitter.task_end()

    cl.context.session.current_task = asyncio.create_task(task())
    return {"started": True}


@cl.action_callback("keep")
async def on_keep(action: cl.Action) -> dict[str, Any]:
    """Go on from one of two answers side by side."""
    return await keep(talk(), str(action.payload.get("id")), int(action.payload.get("side") == 1))


@cl.action_callback("export")
async def on_export(action: cl.Action) -> dict[str, Any]:
    """The conversation as files to keep."""
    state = talk()
    return {"files": export.files(state.conversation, state.settings, state.records, utc_now())}


async def _in_one_line(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await work
    except ScratchbookError as error:
        return {"error": str(error)}


def _only(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: payload[name] for name in names if name in payload}


# Conversations that are kept, where somebody named a file for them ---------------------------------------


def keep_history(file: Path) -> None:
    """From now on conversations are kept in this file. Raises UserError where that cannot be."""
    from chat_ui.history import History

    history = History(file)
    # It signs who is who for the pages of this process; nobody has to know it after that.
    os.environ.setdefault("CHAINLIT_AUTH_SECRET", secrets.token_urlsafe(48))
    cl.data_layer(lambda: history)
    cl.header_auth_callback(reader)
    cl.on_chat_resume(on_chat_resume)


async def reader(headers: Any) -> cl.User:
    """Who passed the door (`password`) is the one reader of this server; a history belongs to somebody."""
    return cl.User(identifier="reader")


async def on_chat_resume(thread: Any) -> None:
    """An old conversation is opened again: the model sees it as it was, with the settings of then if they still fit."""
    from chat_ui.history import restore

    state = talk()
    await open_window(state, dict(cl.context.session.chat_settings or {}))
    restore(state.conversation, thread)


if (_file := history_file()) is not None:
    keep_history(_file)
