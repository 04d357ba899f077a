"""Surface realisation: turning choices into correct English, quickly.

What for: a story is told by templates with inner alternatives, such as
``[Then|Soon] {A} [looked|searched] {hide1}.`` The idea: a template is parsed
once into nested choices, then expanded with a stable random stream; ``a~``
becomes "a" or "an" from the sound of the next word, and sentences get their
capitals here. ``count`` gives the number of ways through a template, from which
the size of Storyland is bounded. Leaves out: any knowledge of the world.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar, Union

T = TypeVar("T")
Part = Union[str, "Slot", "Choice"]

_ARTICLE = re.compile(r"\b([Aa])~ (\w+)")
_CONSONANT_SOUND = ("uni", "use", "one", "eu")
_VOWEL_SOUND = ("hour", "honest", "heir")


class Slot(str):
    """The name of a value to be filled in."""


class Choice(tuple):  # type: ignore[type-arg]
    """Alternatives; each one is a sequence of parts."""


class Dice:
    """A random stream whose choices are the same on every Python version.

    ``random.Random.random`` is documented to be stable for a given seed; the
    methods built on it here use nothing else.
    """

    __slots__ = ("random",)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def below(self, n: int) -> int:
        return int(self.random() * n)

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """``k`` different items in random order (a partial Fisher-Yates shuffle)."""
        pool = list(items)
        for i in range(k):
            j = i + int(self.random() * (len(pool) - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]


@cache
def parse(template: str) -> tuple[Part, ...]:
    """Nested parts of ``template``.

    >>> parse("[Hi|Hey], {A}!")
    ((('Hi',), ('Hey',)), ', ', 'A', '!')
    """
    position = 0

    def sequence() -> tuple[Part, ...]:
        nonlocal position
        parts: list[Part] = []
        start = position
        while position < len(template) and template[position] not in "|]":
            char = template[position]
            if char not in "[{":
                position += 1
                continue
            if position > start:
                parts.append(template[start:position])
            if char == "{":
                end = template.index("}", position)
                parts.append(Slot(template[position + 1 : end]))
                position = end + 1
            else:
                alternatives = []
                while template[position] != "]":
                    position += 1
                    alternatives.append(sequence())
                position += 1
                parts.append(Choice(alternatives))
            start = position
        if position > start:
            parts.append(template[start:position])
        return tuple(parts)

    parsed = sequence()
    if position != len(template):
        raise ValueError(f"unbalanced brackets in template {template!r}")
    return parsed


def _expand(parts: tuple[Part, ...], slots: Mapping[str, str], dice: Dice, out: list[str]) -> None:
    for part in parts:
        kind = type(part)
        if kind is str:
            out.append(part)  # type: ignore[arg-type]
        elif kind is Slot:
            out.append(slots[part])  # type: ignore[index]
        else:
            _expand(part[int(dice.random() * len(part))], slots, dice, out)  # type: ignore[arg-type]


def fill(template: str, slots: Mapping[str, str], dice: Dice) -> str:
    """One expansion of ``template``: articles chosen, first letter capital."""
    out: list[str] = []
    _expand(parse(template), slots, dice, out)
    text = "".join(out)
    if "~" in text:
        text = _ARTICLE.sub(_article, text)
    return text[0].upper() + text[1:] if text[0].islower() else text


def takes_an(word: str) -> bool:
    """Whether the indefinite article before ``word`` is "an"."""
    word = word.lower()
    if word.startswith(_CONSONANT_SOUND):
        return False
    return word[0] in "aeiou" or word.startswith(_VOWEL_SOUND)


def _article(match: re.Match[str]) -> str:
    article, word = match.groups()
    return f"{article}{'n' if takes_an(word) else ''} {word}"


def indefinite(noun_phrase: str) -> str:
    """``a`` or ``an`` and the noun phrase.

    >>> indefinite("old umbrella")
    'an old umbrella'
    """
    return f"{'an' if takes_an(noun_phrase) else 'a'} {noun_phrase}"


def count(template: str) -> int:
    """How many ways there are through the alternatives of ``template`` (slots count once)."""

    def ways(parts: tuple[Part, ...]) -> int:
        total = 1
        for part in parts:
            if type(part) is Choice:
                total *= sum(ways(alternative) for alternative in part)
        return total

    return ways(parse(template))
