"""One answer: settings and conversation in, a prompt and a request to the service out.

This is all of the chat that knows prompts and the engine, and nothing in it knows Chainlit. Each answer has its own
random generator, seeded from its own settings, so nobody's luck depends on who else is talking; and it is written
together with everybody else's answers, by the one engine of its model (`service`).

Left out: sampling itself (`gpt_model.sampling`), the window (`window`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chat_ui import limits
from chat_ui.conversation import Conversation, Fitted, fit
from chat_ui.service import Answer, Service
from chat_ui.settings import AS_TRAINED, Settings
from finetuning.templates import Message, has_roles, stop_ids, stop_texts, template_of
from utils.errors import UserError

NEW_SEEDS = 1_000_000_000
ALTERNATIVES = 5  # other tokens that are remembered with each one


@dataclass(frozen=True)
class Prompt:
    """What the model will read for this answer, in which agreement, and where the answer is over."""

    fitted: Fitted
    template: str
    stop_ids: Sequence[int] = ()
    stop_texts: Sequence[str] = ()


def prepare(conversation: Conversation, settings: Settings, loaded: Any) -> Prompt:
    """The prompt for the next answer: the whole conversation in chat mode, the last text otherwise.

    Raises UserError for an empty message, one that is too long, or chat mode with a model whose tokenizer
    has no role markers in a template that needs them.
    """
    if not conversation.turns or not conversation.turns[-1].message["content"].strip():
        raise UserError("the message is empty: write a few words for the model to go on from")
    template = template_for(settings, loaded)
    last = conversation.turns[-1].message
    messages: list[Message] = conversation.messages(settings.system) if settings.mode == "chat" else [last]
    for what, text in (("message", last["content"]), ("system line", settings.system)):
        if len(text) > limits.PROMPT_CHARACTERS:  # before any of it is made into tokens
            most = f"{limits.PROMPT_CHARACTERS:,}"
            raise UserError(
                f"the {what} has {len(text):,} characters, and at most {most} are read: shorten it"
            )
    fitted = fit(
        messages,
        loaded.tokenizer,
        block_size=loaded.model.config.block_size,
        max_new_tokens=settings.max_new_tokens,
        template=template,
    )
    return Prompt(
        fitted, template, stop_ids(loaded.tokenizer, template), stop_texts(loaded.tokenizer, template)
    )


def template_for(settings: Settings, loaded: Any) -> str:
    """The agreement of this answer. Raises UserError where the model cannot keep it."""
    if settings.mode != "chat":
        return "plain"
    named = settings.template
    if named == AS_TRAINED:
        named = template_of(loaded.path) if loaded.path else "scratchbook"
    if named == "scratchbook" and not has_roles(loaded.tokenizer):
        raise UserError(
            "this model knows no roles, so it cannot chat: set the mode to 'continue' in the settings"
        )
    return named


def with_seed(settings: Settings) -> Settings:
    """The settings with a seed: their own, or a new one, short enough to be read and typed."""
    return settings if settings.seed is not None else replace(settings, seed=secrets.randbelow(NEW_SEEDS))


def ask(service: Service, ref: str, prompt: Prompt, settings: Settings) -> Answer:
    """The answer as a request that is on its way once it is entered; `settings` have a seed (`with_seed`)."""
    assert settings.seed is not None
    return service.answer(
        ref,
        prompt.fitted.ids,
        sampling=settings.sampling(settings.seed),
        max_new_tokens=prompt.fitted.room,
        stop=prompt.stop_texts,
        stop_ids=prompt.stop_ids,
        logprobs=ALTERNATIVES,
    )
