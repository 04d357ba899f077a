"""Records of four published forms, each as a `Dialogue`; what is missing in one is said by name.

    alpaca       {"instruction", "input"?, "output"}             Taori et al. 2023; Dolly's context and response too;
                 {"instruction", "instances": [{input, output}]} Self-Instruct's seed tasks (arXiv 2212.10560)
    chat         {"messages": [{"role", "content"}, …]}          also ShareGPT's {"conversations": [{"from", "value"}]}
    prompt       {"prompt", "response"}                          also completion, output, answer; or messages
    preference   {"prompt", "chosen", "rejected"}                also instruction and input in place of prompt

`guess_form` tells the form from a record's fields. The functions here raise ValueError in words that follow a
line number; files, counts and duplicates are `conversations`. Left out: tool calls, images.
Notebook: finetuning/02.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.templates import Message
from working_with_text_data.published_forms import instruction_fields

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
ANSWERS = ("response", "completion", "output", "answer")


@dataclass(frozen=True)
class Dialogue:
    """A conversation that ends with an answer; where it is a preference, also the answer that was liked less.

    `where` is the file and the line it came from, `kind` what the record calls its category, if it does.
    """

    messages: tuple[Message, ...]
    rejected: str | None = None
    where: str = ""
    kind: str = ""

    @property
    def prompt(self) -> list[Message]:
        """Everything before the last answer."""
        return list(self.messages[:-1])

    @property
    def answer(self) -> str:
        """The last answer; of a preference, the chosen one."""
        return self.messages[-1]["content"]

    def key(self) -> str:
        """The same for equal conversations, and only for these."""
        return hashlib.sha256(json.dumps([self.messages, self.rejected]).encode()).hexdigest()

    def request_key(self) -> str:
        """The same for conversations that open with the same request, but for capitals and white space."""
        first = next((m for m in self.messages if m["role"] == "user"), self.messages[0])
        words = f"{first['content']}\n{first.get('input', '')}".casefold().split()
        return hashlib.sha256(" ".join(words).encode()).hexdigest()


def guess_form(record: Any) -> str:
    """The form of a record by its fields. Raises ValueError for one that has none of them."""
    if not isinstance(record, Mapping):
        raise ValueError(f"a {type(record).__name__} where an object is needed")
    if "chosen" in record and "rejected" in record:
        return "preference"
    if "messages" in record or "conversations" in record:
        return "chat"
    if "instances" in record or ("instruction" in record and _has_any(record, ANSWERS)):
        return "alpaca"
    if "prompt" in record and _has_any(record, ANSWERS):
        return "prompt"
    if instruction_fields(record) is not None:
        return "alpaca"
    has = ", ".join(map(repr, list(record)[:8])) or "no fields"
    raise ValueError(
        "needs `instruction` and `output`, `messages`, `prompt` and `response`, or `prompt`, `chosen` and "
        f"`rejected`; it has {has}"
    )


def parse(record: Any, form: str, where: str = "") -> list[Dialogue]:
    """The conversations of one record (more than one only in seed tasks). Raises ValueError saying what is wrong."""
    if not isinstance(record, Mapping):
        raise ValueError(f"a {type(record).__name__} where an object is needed")
    kind = next((record[name] for name in ("category", "kind") if isinstance(record.get(name), str)), "")
    found = FORMS[form](record)
    dialogues = [Dialogue(tuple(messages), rejected, where, kind) for messages, rejected in found]
    for dialogue in dialogues:
        _check(dialogue)
    return dialogues


Parsed = list[tuple[list[Message], str | None]]


def _alpaca(record: Mapping[str, Any]) -> Parsed:
    if "instances" in record:
        cases = record["instances"]
        if not isinstance(cases, list) or not cases:
            raise ValueError("`instances` must be a list that is not empty")
        rows = [
            {"instruction": record.get("instruction"), **case} for case in cases if isinstance(case, dict)
        ]
        if len(rows) < len(cases):
            raise ValueError("each of `instances` must be an object with `input` and `output`")
        return [pair for row in rows for pair in _alpaca(row)]
    _need_text(record, "instruction", ("instruction", "prompt", "question"))
    answer = _need_text(record, "output", ("output", "response", "completion", "answer"))
    for name in ("input", "context", "system"):
        if not isinstance(record.get(name), str | None):
            raise ValueError(f"`{name}` is a {type(record[name]).__name__}, not text")
    fields = instruction_fields(record)
    assert fields is not None  # both were found above
    return [([*_system(record), _request(fields["instruction"], fields["input"]), _said(answer)], None)]


def _chat(record: Mapping[str, Any]) -> Parsed:
    return [
        (
            [*_system(record), *_messages(record, "messages" if "messages" in record else "conversations")],
            None,
        )
    ]


def _prompt(record: Mapping[str, Any]) -> Parsed:
    before = _before(record)
    name = next((n for n in ANSWERS if n in record), "response")
    return [([*before, _said(_last_words(record, name))], None)]


def _preference(record: Mapping[str, Any]) -> Parsed:
    chosen, rejected = _last_words(record, "chosen"), _last_words(record, "rejected")
    if "prompt" not in record and "instruction" not in record and isinstance(record.get("chosen"), list):
        before = _messages(record, "chosen")[:-1]  # both sides are whole conversations that begin alike
        if _messages(record, "rejected")[:-1] != before:
            raise ValueError("`chosen` and `rejected` begin with different conversations")
    else:
        before = _before(record)
    if chosen == rejected:
        raise ValueError("`chosen` and `rejected` are the same answer")
    if not rejected.strip():
        raise ValueError("`rejected` is empty")
    return [([*before, _said(chosen)], rejected)]


FORMS: dict[str, Callable[[Mapping[str, Any]], Parsed]] = {
    "alpaca": _alpaca,
    "chat": _chat,
    "prompt": _prompt,
    "preference": _preference,
}


def parse_request(record: Any) -> list[Message]:
    """What a record asks, answered or not: a text, `prompt`, `instruction` and `input`, or messages up to a user's.

    Raises ValueError saying what is wrong.
    """
    if isinstance(record, str):
        record = {"prompt": record}
    if not isinstance(record, Mapping):
        raise ValueError(f"a {type(record).__name__} where a text or an object is needed")
    name = next((n for n in ("messages", "conversations") if n in record), None)
    if name is not None:
        messages = [*_system(record), *_messages(record, name)]
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
    else:
        messages = _before(record)
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("nobody asks anything: the last message must be the user's")
    _check(Dialogue((*messages, _said("an answer"))))
    return messages


def _before(record: Mapping[str, Any]) -> list[Message]:
    """What stands before the answer: `prompt` as text or messages, or `instruction` with its `input`."""
    if isinstance(record.get("prompt"), list):
        return [*_system(record), *_messages(record, "prompt")]
    request = _need_text(record, "prompt", ("prompt", "instruction", "question"))
    material = record.get("input") or ""
    if not isinstance(material, str):
        raise ValueError(f"`input` is a {type(material).__name__}, not text")
    return [*_system(record), _request(request, material)]


def _last_words(record: Mapping[str, Any], name: str) -> str:
    """An answer that is text, or the last of a list of messages."""
    if isinstance(record.get(name), list):
        last = _messages(record, name)[-1]
        if last["role"] != "assistant":
            raise ValueError(f"`{name}` ends with the {last['role']}, not with an answer")
        return last["content"]
    return _need_text(record, name, (name,))


def _messages(record: Mapping[str, Any], name: str) -> list[Message]:
    messages = record[name]
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"`{name}` must be a list that is not empty")
    found: list[Message] = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping):
            raise ValueError(f"message {number} of `{name}` is a {type(message).__name__}, not an object")
        role, words = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(role, str) or role not in SPEAKERS:
            raise ValueError(f"message {number} of `{name}` has role {role!r}: use system, user, assistant")
        if not isinstance(words, str):
            raise ValueError(
                f"message {number} of `{name}` has content of type {type(words).__name__}: use text"
            )
        found.append({"role": SPEAKERS[role], "content": words})  # type: ignore[typeddict-item]
    return found


def _system(record: Mapping[str, Any]) -> list[Message]:
    words = record.get("system")
    return [{"role": "system", "content": words}] if isinstance(words, str) and words.strip() else []


def _request(words: str, material: str) -> Message:
    request: Message = {"role": "user", "content": words}
    if material.strip():
        request["input"] = material
    return request


def _said(words: str) -> Message:
    return {"role": "assistant", "content": words}


def _need_text(record: Mapping[str, Any], field: str, names: Sequence[str]) -> str:
    name = next((n for n in names if record.get(n) is not None), None)
    if name is None:
        has = ", ".join(map(repr, list(record)[:8])) or "no fields"
        raise ValueError(f"`{field}` is missing; it has {has}")
    if not isinstance(record[name], str):
        raise ValueError(f"`{name}` is a {type(record[name]).__name__}, not text")
    return record[name]


def _has_any(record: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(name in record for name in names)


def _check(dialogue: Dialogue) -> None:
    """What every conversation must be, whatever form it came in."""
    messages = dialogue.messages
    for number, message in enumerate(messages, start=1):
        try:
            message["content"].encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character") from None
        if message["role"] == "system" and number > 1:
            raise ValueError(f"message {number} is a system message: only the first may be one")
        if message["role"] == "assistant" and not message["content"].strip():
            raise ValueError(
                "the answer is empty" if number == len(messages) else f"answer {number} is empty"
            )
        if message["role"] == "user" and not (message["content"] + message.get("input", "")).strip():
            raise ValueError("the request is empty")
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"ends with the {messages[-1]['role']}: there is no answer to learn from")
    if not any(message["role"] == "user" for message in messages):
        raise ValueError("nobody asks anything: one message of the user is needed")
