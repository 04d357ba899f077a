"""A conversation as a file to keep: Markdown to read, JSON to go on with.

The JSON is what /v1/chat/completions takes (`messages`), with what is needed to get the same answers again beside it:
model, settings and the seed of each answer. Words are taken as they are; in Markdown each turn stands in a fence,
so that nothing somebody typed can look like a heading of the file.

Left out: reading such a file back into a window; the history does that (`history`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from chat_ui.conversation import Conversation
from chat_ui.records import Record
from chat_ui.settings import Settings

FORMAT = 1
NAMES = {"system": "System", "user": "You", "assistant": "Model"}


def as_json(
    conversation: Conversation, settings: Settings, records: Mapping[str, Record], when: str
) -> dict[str, Any]:
    """The conversation as a value of JSON: what was said, and how each answer came about."""
    answers = []
    for turn in conversation.turns:
        record = records.get(turn.id)
        if record is not None:
            answers.append(
                {
                    "message": len(conversation.messages(settings.system)) - _from_end(conversation, turn.id),
                    "model": record.name,
                    "template": record.template,
                    "settings": {k: v for k, v in asdict(record.settings).items() if k != "model"},
                    "tokens": len(record.tokens),
                    "finish_reason": record.finish_reason,
                }
            )
    return {
        "format": FORMAT,
        "exported": when,
        "messages": [dict(message) for message in conversation.messages(settings.system)],
        "answers": answers,
    }


def as_markdown(
    conversation: Conversation, settings: Settings, records: Mapping[str, Record], when: str
) -> str:
    """The conversation to read."""
    lines = ["# A conversation", "", f"Exported from LLM Scratchbook, {when}.", ""]
    for message in conversation.messages(settings.system)[: 1 if settings.system.strip() else 0]:
        lines += ["**System**", "", *_quoted(message["content"]), ""]
    for turn in conversation.turns:
        record = records.get(turn.id)
        about = f" ({record.name}, seed {record.settings.seed})" if record else ""
        lines += [f"**{NAMES[turn.message['role']]}**{about}", "", *_quoted(turn.message["content"]), ""]
    return "\n".join(lines)


def files(
    conversation: Conversation, settings: Settings, records: Mapping[str, Record], when: str
) -> list[dict[str, str]]:
    """Both files, as a page can offer them: name, kind and text."""
    stem = "conversation-" + "".join(sign for sign in when if sign.isalnum())[:15]
    value = as_json(conversation, settings, records, when)
    return [
        {
            "name": f"{stem}.md",
            "kind": "text/markdown",
            "text": as_markdown(conversation, settings, records, when),
        },
        {
            "name": f"{stem}.json",
            "kind": "application/json",
            "text": json.dumps(value, ensure_ascii=False, indent=2),
        },
    ]


def _from_end(conversation: Conversation, id: str) -> int:
    """How far from the end a turn stands; the last is 1."""
    ids = [turn.id for turn in conversation.turns]
    return len(ids) - ids.index(id)


def _quoted(text: str) -> list[str]:
    """The words inside a fence that is longer than any in them, which nothing in them can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
