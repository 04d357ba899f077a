"""One answer: settings and conversation in, a prompt and a stream of text out.

This is all of the chat that knows the engine, and nothing in it knows Chainlit: the same call serves the
window, a test and, later, an API. Each answer has its own random generator, seeded from its own settings,
so nobody's luck depends on who else is talking.

Left out: sampling itself (`gpt_model.generation`), threads (`streaming`), the window (`app`).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chat_ui.conversation import Conversation, Fitted, fit
from chat_ui.settings import MAX_SEED, Settings
from finetuning.templates import Message, has_roles, stop_ids
from gpt_model import generation
from utils.errors import UserError


@dataclass(frozen=True)
class Prompt:
    """What the model will read for this answer, and in which agreement (`scratchbook` or `plain`)."""

    fitted: Fitted
    template: str


def prepare(conversation: Conversation, settings: Settings, loaded: Any) -> Prompt:
    """The prompt for the next answer: the whole conversation in chat mode, the last text otherwise.

    Raises UserError for an empty message, one that is too long, or chat mode with a model whose tokenizer
    has no role markers.
    """
    if not conversation.turns or not conversation.turns[-1].message["content"].strip():
        raise UserError("the message is empty: write a few words for the model to go on from")
    if settings.mode == "chat" and not has_roles(loaded.tokenizer):
        raise UserError(
            "this model knows no roles, so it cannot chat: set the mode to 'continue' in the settings"
        )
    messages: list[Message]
    if settings.mode == "chat":
        template, messages = "scratchbook", conversation.messages(settings.system)
    else:
        template, messages = "plain", [conversation.turns[-1].message]
    fitted = fit(
        messages,
        loaded.tokenizer,
        block_size=loaded.model.config.block_size,
        max_new_tokens=settings.max_new_tokens,
        template=template,
    )
    return Prompt(fitted, template)


def write(prompt: Prompt, settings: Settings, loaded: Any, stop: threading.Event) -> Iterator[str]:
    """The answer, piece by piece; ends at an end token, at the limit of length, or when `stop` is set."""
    seed = settings.seed if settings.seed is not None else secrets.randbelow(MAX_SEED)
    sampling = generation.Sampling(
        temperature=settings.temperature,
        top_k=settings.top_k or None,
        top_p=settings.top_p if settings.top_p < 1 else None,
        seed=seed,
    )
    return generation.stream_text(
        loaded.model,
        loaded.tokenizer,
        prompt.fitted.ids,
        max_new_tokens=prompt.fitted.room,
        sampling=sampling,
        stop_ids=stop_ids(loaded.tokenizer, prompt.template),
        stop_event=stop,
    )
