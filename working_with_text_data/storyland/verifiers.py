"""Judging an answer from the words of the prompt alone.

What for: exact, honest scores for instruction tuning and verifiable rewards. The
idea: each kind has a small parser of its own that reads the passage and the
question, works out what a right answer is, and compares after forgiving case,
spaces and a final mark; the open request for a story is judged by properties.
A prompt that cannot be read, or an empty answer, is never right. Leaves out: how
prompts are made; nothing of the generator is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from . import task_words as table
from .mini import check_mini_story
from .world import GENDER

_ANYONE = "|".join(GENDER)
_N = rf"({_ANYONE})"


def normalise(text: str) -> str:
    """Lower case, single spaces, no mark at the end.

    >>> normalise("  In the  Box. ")
    'in the box'
    """
    return re.sub(r"[\s.!?]+$", "", " ".join(text.casefold().split()))


def _listed(prompt: str) -> list[str]:
    tail = prompt.rpartition(":")[2]
    return [w.strip() for w in re.sub(r"[.?]\s*$", "", tail).split(",") if w.strip()]


def _gave(prompt: str) -> str | None:
    given = re.findall(rf"{_N} (?:gave|handed|passed) the (\w+) to {_N}\.", prompt)
    for giver, thing, taker in given:
        if f"Who gave the {thing}?" in prompt:
            return giver
        if f"Who got the {thing}?" in prompt:
            return taker
        if f"What did {giver} give?" in prompt or f"What did {taker} get?" in prompt:
            return f"the {thing}"
    return None


def _where(prompt: str) -> str | None:
    place = {}
    for thing, keeper in re.findall(r"(?:put|moved) the (\w+) (?:in|to) the (\w+)\.", prompt):
        place[thing] = keeper
    asked = re.search(r"Where is the (\w+)", prompt)
    return f"in the {place[asked[1]]}" if asked and asked[1] in place else None


def _order(prompt: str) -> str | None:
    ranked: list[tuple[int, str]] = []
    for cue, deed in re.findall(rf"(First,|Then|Last,) (?:{_ANYONE}) (\w+)\.", prompt):
        ranked.append((("First,", "Then", "Last,").index(cue), deed))
    for deed, moment in re.findall(rf"(?:{_ANYONE}) (\w+) ({'|'.join(table.MOMENTS)})\.", prompt):
        ranked.append((table.MOMENTS.index(moment), deed))
    return ", ".join(deed for _, deed in sorted(ranked)) if len(ranked) == 3 else None


def _two_words(prompt: str) -> tuple[str, str] | None:
    match = re.search(r"(?:of |: )(\w+)(?:, and of |, | and )(\w+)[.?]$", prompt)
    return (match[1], match[2]) if match else None


def _looked_up(words: dict[str, str]) -> Callable[[str], str | None]:
    def answer(prompt: str) -> str | None:
        pair = _two_words(prompt)
        return (
            f"{words[pair[0]]}, {words[pair[1]]}" if pair and pair[0] in words and pair[1] in words else None
        )

    return answer


def _count(prompt: str) -> str | None:
    things = _listed(prompt)
    return str(len(things)) if ":" in prompt and things else None


def _spell(prompt: str) -> str | None:
    match = re.search(r'(?:Spell |spell "|: )(\w+) (\w+)(?:"\?|\.)$', prompt)
    return f"{'-'.join(match[1])} {'-'.join(match[2])}" if match else None


def _sum(prompt: str) -> str | None:
    numbers = [int(n) for n in re.findall(r"\b\d+\b", prompt)]
    return str(sum(numbers)) if len(numbers) == 2 else None


def _yes_no(prompt: str) -> str | None:
    has = set(re.findall(rf"{_N} has an? (\w+)", prompt))
    asked = re.findall(rf"Does {_N} have the (\w+)\?", prompt)
    return ", ".join("yes" if pair in has else "no" for pair in asked) if has and asked else None


def _has_now(prompt: str) -> str | None:
    holder = {}
    for line in prompt.split(". "):
        if match := re.match(rf"{_N} had an? (\w+)$", line):
            holder[match[2]] = match[1]
        elif match := re.match(rf"{_N} gave the (\w+) to {_N}$", line):
            if holder.get(match[2]) != match[1]:
                return None
            holder[match[2]] = match[3]
    asked = re.search(r"Who has the (\w+) now\?", prompt)
    return holder.get(asked[1]) if asked else None


def _feeling(prompt: str) -> str | None:
    asked = re.search(rf"How (?:did|was) {_N}", prompt)
    if not asked:
        return None
    found = re.search(rf"\b{asked[1]} (?:came from the \w+ and )?was (\w+)", prompt)
    return found[1] if found else None


def _list_item(prompt: str) -> str | None:
    asked = re.search(rf"\b({'|'.join(table.ORDINALS)})\b", prompt.partition(":")[0])
    things = _listed(prompt)
    if not asked or not things:
        return None
    index = len(things) - 1 if asked[1] == "last" else table.ORDINALS.index(asked[1])
    return things[index] if index < len(things) else None


def _copy(prompt: str) -> str | None:
    return prompt.partition(": ")[2] or None


def _backwards(prompt: str) -> str | None:
    things = _listed(prompt)
    return ", ".join(reversed(things)) if len(things) > 1 else None


def _colour(prompt: str) -> str | None:
    asked = re.search(r"(?:is|does) the (\w+)", prompt)
    found = re.search(rf"an? (\w+) {asked[1]}\b", prompt) if asked else None
    return found[1] if found else None


_ANSWERS: dict[str, Callable[[str], str | None]] = {
    "gave": _gave,
    "where": _where,
    "order": _order,
    "opposite": _looked_up(table.OPPOSITES),
    "count": _count,
    "spell": _spell,
    "sum": _sum,
    "yes_no": _yes_no,
    "has_now": _has_now,
    "feeling": _feeling,
    "list_item": _list_item,
    "plural": _looked_up(table.PLURALS),
    "past": _looked_up(table.PASTS),
    "copy": _copy,
    "backwards": _backwards,
    "colour": _colour,
}


def expected(kind: str, prompt: str) -> str | None:
    """The right answer that follows from the prompt, or ``None`` (open kind, or a prompt that cannot be read)."""
    return _ANSWERS[kind](prompt) if kind in _ANSWERS else None


def verify(kind: str, prompt: str, answer: str) -> bool:
    """Whether ``answer`` is right for ``prompt``; case, spaces and a final mark are forgiven.

    >>> verify("count", "Count the things: kite, drum.", " 2. ")
    True
    """
    if not answer.strip():
        return False
    if kind == "story":
        return check_mini_story(prompt, answer)
    right = expected(kind, prompt)
    return right is not None and normalise(answer) == normalise(right)
