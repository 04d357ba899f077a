"""From a conversation to token ids: the one place where a prompt is made.

A model sees no roles, only ids. A *template* is the agreement about which ids say who speaks and when a
turn is over. The trainer, the evaluation, the chat and the API must keep the same agreement to the byte,
otherwise the model is asked in a language it was never taught; so all of them call `render` here.

- `scratchbook`: a turn is one role marker, the words, one end token. Markers are single ids from the
  tokenizer's special tokens, and words go through `encode_ordinary`, which cannot produce a special id.
  A user who types `<|assistant|>` therefore types thirteen ordinary characters, not a marker.
- `plain`: no roles; the text of a document, opened by the end token as the documents of pretraining are.
- `alpaca`, `triplet`, `chatml`, `llama2`: what others have published (`text_templates`); one's own by
  `@register("name")` (`template_registry`).

Idea: one string of roles and turns as in "ChatML" (OpenAI, 2023); training only on the answers as in
InstructGPT (arXiv 2203.02155, §3.5). Left out: tool calls, images. Notebook: finetuning/02.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetuning import text_templates as text_templates  # their names are in the registry
from finetuning.template_registry import (
    END,
    MARKS,
    TEMPLATES,
    Marks,
    Message,
    Pen,
    Piece,
    Template,
    TextTokenizer,
    register,
    words_of,
)
from utils.errors import UserError

__all__ = [
    "END",
    "MARKS",
    "ROLE_MARKERS",
    "TEMPLATES",
    "TEMPLATE_FILE",
    "Marks",
    "Message",
    "Pen",
    "Piece",
    "Rendered",
    "Template",
    "TextTokenizer",
    "has_roles",
    "register",
    "render",
    "stop_ids",
    "stop_texts",
    "template_of",
    "words_of",
]

TEMPLATE_FILE = "template.json"
ROLE_MARKERS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids, and which of them the model is trained to produce.

    `ids[i]` is the i-th token. `trained[i]` is True exactly where `ids[i]` is part of an assistant's words
    or the end token that closes them; a trainer puts -100 where it is False.
    """

    ids: list[int]
    trained: list[bool]


def render(
    messages: Sequence[Message],
    tokenizer: TextTokenizer,
    *,
    add_generation_prompt: bool = False,
    template: str = "scratchbook",
) -> Rendered:
    """Turn a conversation into ids.

    With `add_generation_prompt` the result ends where the assistant's next words begin, and what `render`
    gives for the conversation with that answer in it starts with exactly these ids.

    Raises UserError for an unknown template, an empty conversation, an unknown role, a system message
    that is not the first, or a tokenizer that lacks the template's markers.
    """
    make = _find(template)
    _check(messages)
    ids: list[int] = []
    trained: list[bool] = []
    for piece, is_trained in make(messages, tokenizer, add_generation_prompt):
        ids.extend(piece)
        trained.extend([is_trained] * len(piece))
    return Rendered(ids, trained)


def stop_ids(tokenizer: TextTokenizer, template: str = "scratchbook") -> tuple[int, ...]:
    """Ids at which an answer is over: an end token, and any marker (someone else's turn begins).

    Empty when the tokenizer has none of them: such a model stops only at `stop_texts` or a limit of length.
    """
    _find(template)
    marks, special = MARKS.get(template, Marks()), tokenizer.special_tokens
    names = dict.fromkeys((END, *ROLE_MARKERS.values(), *marks.ends, *marks.markers))
    return tuple(special[name] for name in names if name in special)


def stop_texts(tokenizer: TextTokenizer, template: str = "scratchbook") -> tuple[str, ...]:
    """Texts at which an answer is over: the markers that the tokenizer does not own and the template spells."""
    _find(template)
    return tuple(Pen(tokenizer, MARKS.get(template, Marks())).spelled)


def template_of(checkpoint: Path | str) -> str:
    """The template that a checkpoint, or the run around it, was trained with; the book's own where nothing is said."""
    place = Path(checkpoint).absolute()
    own = place / TEMPLATE_FILE  # what is no checkpoint of a run says it itself
    runs = (folder / "run.json" for folder in place.parents)
    file = own if own.is_file() else next((run for run in runs if run.is_file()), None)
    if file is None:
        return "scratchbook"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        said = str((known if file is own else known["config"])["template"])
    except (ValueError, KeyError, TypeError):
        return "scratchbook"
    return said if said in TEMPLATES else "scratchbook"


def has_roles(tokenizer: TextTokenizer) -> bool:
    """Whether the tokenizer has every marker of the `scratchbook` template."""
    return not _missing(tokenizer)


@register("scratchbook")
def scratchbook(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """`<|user|>words<|endoftext|><|assistant|>words<|endoftext|>…`, each marker a single id."""
    if missing := _missing(tokenizer):
        raise UserError(
            f"the tokenizer has no {', '.join(missing)}: the chat template needs them; train the tokenizer "
            'with these special tokens, or use template="plain"'
        )
    special = tokenizer.special_tokens
    for message in messages:
        answer = message["role"] == "assistant"
        # The marker is given, never predicted: at inference `add_generation_prompt` writes it.
        yield [special[ROLE_MARKERS[message["role"]]]], False
        yield tokenizer.encode_ordinary(words_of(message)), answer
        # The end token is trained: a model that never learned to stop talks until it is cut off.
        yield [special[END]], answer
    if add_generation_prompt:
        yield [special[ROLE_MARKERS["assistant"]]], False


@register("plain")
def plain(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """The words alone, one after the other; an assistant's words end with the end token where there is one.

    `add_generation_prompt` changes nothing: the text simply goes on.
    """
    end = [tokenizer.special_tokens[END]] if END in tokenizer.special_tokens else []
    yield end, False
    for message in messages:
        answer = message["role"] == "assistant"
        yield tokenizer.encode_ordinary(words_of(message)), answer
        if answer:
            yield end, True


def _find(template: str) -> Template:
    if template not in TEMPLATES:
        raise UserError(f"no template named {template!r}: choose one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[template]


def _missing(tokenizer: TextTokenizer) -> list[str]:
    return [name for name in (*ROLE_MARKERS.values(), END) if name not in tokenizer.special_tokens]


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise UserError("the conversation is empty: give at least one message")
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLE_MARKERS:
            raise UserError(f"message {index} has role {role!r}: use one of {', '.join(ROLE_MARKERS)}")
        if not isinstance(content, str):
            raise UserError(f"message {index} has content of type {type(content).__name__}: use text")
        if not isinstance(message.get("input", ""), str):
            raise UserError(
                f"message {index} has an input of type {type(message['input']).__name__}: use text"
            )
        if role == "system" and index > 0:
            raise UserError(f"message {index} is a system message: only the first message may be one")
