"""From a request of /v1 to what the model reads: ids by the right template, settings of drawing, a limit of length.

The idea: words from outside are words; a role marker that someone types is spelled out (`finetuning.templates`). A
conversation takes the template the model was trained with; a text begins a document, as in the chat's "continue", so
the end token stands before it; ids are taken as they are. What does not fit is refused, never cut in silence.

Left out: the fields (`openai_schema`), the routes (`openai_api`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chat_ui import openai_answers as shape
from chat_ui.openai_answer_schema import CompletionLogprobs
from chat_ui.openai_schema import ChatRequest, CompletionRequest, Sampled
from chat_ui.service import Answer, Service
from finetuning.templates import Message, has_roles, render, stop_ids, stop_texts, template_of
from gpt_model.sampling import Sampling
from gpt_model.token_scores import score_tokens
from utils.errors import UserError


class TooLong(UserError):
    """The prompt does not fit into the model's context."""

    code = "context_length_exceeded"


@dataclass(frozen=True)
class Prompt:
    """What the model will read, and where its answer is over."""

    ids: list[int]
    stop_ids: Sequence[int] = ()
    stop_texts: Sequence[str] = ()


def chat_prompt(body: ChatRequest, loaded: Any) -> Prompt:
    """A conversation as ids, in the template that was asked for or that the model was trained with."""
    template = body.template or (template_of(loaded.path) if loaded.path else "scratchbook")
    tokenizer = loaded.tokenizer
    if template == "scratchbook" and not has_roles(tokenizer):
        raise UserError(
            "this model knows no roles, so it cannot chat: use /v1/completions, or name a template"
        )
    messages: list[Message] = [
        {"role": "system" if each.role == "developer" else each.role, "content": each.text}
        for each in body.messages
    ]
    ids = render(messages, tokenizer, add_generation_prompt=True, template=template).ids
    return Prompt(ids, stop_ids(tokenizer, template), stop_texts(tokenizer, template))


def text_prompt(given: str | list[int], loaded: Any) -> Prompt:
    """A text as the beginning of a document; ids as they are."""
    ends = stop_ids(loaded.tokenizer, "plain")
    if not isinstance(given, str):
        return Prompt(list(given), ends)
    ids = render([{"role": "user", "content": given}], loaded.tokenizer, template="plain").ids
    return Prompt(ids, ends)


def answer_of(
    service: Service,
    ref: str,
    loaded: Any,
    body: Sampled,
    prompt: Prompt,
    wanted: int | None,
    logprobs: int | None,
) -> Answer:
    """The request for the engine; UserErrors about it are raised here and when it is entered."""
    block = loaded.model.config.block_size
    room = block - len(prompt.ids) + 1  # the last new token is never read back
    if room < 1:
        raise TooLong(
            f"the prompt has {len(prompt.ids)} tokens but the model reads {block} at once: shorten it"
        )
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p if body.top_p < 1 else None,
        top_k=body.top_k,
        min_p=body.min_p,
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=body.repetition_penalty,
        logit_bias={int(token): amount for token, amount in body.logit_bias.items()},
    )
    return service.answer(
        ref,
        prompt.ids,
        sampling=sampling,
        max_new_tokens=room if wanted is None else min(wanted, room),
        stop=[*body.stops, *prompt.stop_texts],
        stop_ids=prompt.stop_ids,
        logprobs=logprobs,
        n=body.n,
    )


class Echo(NamedTuple):
    """A prompt that stands before its answers."""

    text: str
    logprobs: CompletionLogprobs | None


async def echo_of(
    service: Service, loaded: Any, body: CompletionRequest, given: str | list[int], prompt: Prompt
) -> Echo:
    tokenizer = loaded.tokenizer
    if not isinstance(given, str) and max(given) >= tokenizer.vocab_size:
        raise UserError(
            f"the prompt holds id {max(given)} but the model knows 0 to {tokenizer.vocab_size - 1}"
        )
    text = given if isinstance(given, str) else tokenizer.decode(given)
    if body.logprobs is None or not prompt.ids:
        return Echo(text, None)
    top = body.logprobs
    ids = prompt.ids
    scores = await service.compute(score_tokens, loaded.model, ids[:1], ids[1:], alternatives=top)
    # The end token that opens a document was not typed: it is read, but not told.
    begin = 1 if isinstance(given, str) and len(ids) > len(tokenizer.encode_ordinary(given)) else 0
    told = shape.echoed_logprobs(ids[begin:], scores[begin:], tokenizer)
    if begin and ids[begin:]:  # what stands before it is known, so the first typed token has a probability
        first = shape.echoed_logprobs(ids[:2], scores[:1], tokenizer)
        told.token_logprobs[0], told.top_logprobs[0] = first.token_logprobs[1], first.top_logprobs[1]
    return Echo(text, told)
