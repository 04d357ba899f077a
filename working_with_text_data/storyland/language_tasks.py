"""Instructions about words and lists: opposites, plurals, pasts, spelling, counting, copying.

What for: the kinds of ``tasks`` that need no passage. The idea: each
maker draws a request and its answer with a ``Dice``. Leaves out: the kinds that
ask about a passage, and judging (``verifiers``).
"""

from __future__ import annotations

from . import task_words as table
from .grammar import Dice, indefinite
from .world import ANIMALS, BOYS, COLOURS, FOODS, GIRLS, ITEMS, PLACES

NAMES = (*GIRLS, *BOYS)
PLACE_NAMES = tuple(PLACES)


def opposite(dice: Dice) -> tuple[str, str]:
    """The opposites of two words."""
    one, two = dice.sample(tuple(table.OPPOSITES), 2)
    prompt = dice.pick(
        (
            f"What is the opposite of {one}, and of {two}?",
            f"Give the opposites of {one} and {two}.",
            f"Opposites: {one}, {two}?",
        )
    )
    return prompt, f"{table.OPPOSITES[one]}, {table.OPPOSITES[two]}"


def count(dice: Dice) -> tuple[str, str]:
    """How many things a list has."""
    things = dice.sample((*ITEMS, *FOODS), 2 + dice.below(6))
    listed = ", ".join(things)
    return dice.pick(
        (
            f"How many things are here: {listed}?",
            f"Count the things: {listed}.",
            f"How many words are in this list: {listed}?",
        )
    ), str(len(things))


def spell(dice: Dice) -> tuple[str, str]:
    """Spell two words with hyphens."""
    one, two = dice.pick(table.SPELL_FIRST), dice.pick(table.SPELL_SECOND)
    prompt = dice.pick(
        (f"Spell {one} {two}.", f'How do you spell "{one} {two}"?', f"Spell with hyphens: {one} {two}.")
    )
    return prompt, f"{'-'.join(one)} {'-'.join(two)}"


def list_item(dice: Dice) -> tuple[str, str]:
    """One item of a list, by its position."""
    things = dice.sample((*ITEMS, *FOODS, *ANIMALS), 3 + dice.below(3))
    where_ = dice.pick(table.ORDINALS)
    index = -1 if where_ == "last" else table.ORDINALS.index(where_)
    listed = ", ".join(things)
    return dice.pick(
        (
            f"What is the {where_} word of this list: {listed}?",
            f"Which thing is {where_}: {listed}?",
            f"Give me the {where_} thing: {listed}.",
        )
    ), things[index]


def plural(dice: Dice) -> tuple[str, str]:
    """The plurals of two nouns."""
    one, two = dice.sample(tuple(table.PLURALS), 2)
    return dice.pick(
        (f"What is the plural of {one}, and of {two}?", f"Give the plurals of {one} and {two}.")
    ), (f"{table.PLURALS[one]}, {table.PLURALS[two]}")


def past(dice: Dice) -> tuple[str, str]:
    """The past tense of two verbs."""
    one, two = dice.sample(tuple(table.PASTS), 2)
    return dice.pick(
        (f"What is the past tense of {one}, and of {two}?", f"Give the past tense of {one} and {two}.")
    ), f"{table.PASTS[one]}, {table.PASTS[two]}"


def copy(dice: Dice) -> tuple[str, str]:
    """Say a sentence again."""
    name, x, place = dice.pick(NAMES), dice.pick(ITEMS), dice.pick(PLACE_NAMES)
    at = f"{PLACES[place][0]} the {place}"
    colour = dice.pick(COLOURS)
    said = dice.pick(
        (
            f"{name} has {indefinite(f'{colour} {x}')}.",
            f"The {colour} {x} is {at}.",
            f"{name} lost the {x} {at}.",
            f"{name} likes the {colour} {x}.",
        )
    )
    return dice.pick(
        (f"Say this again: {said}", f"Repeat after me: {said}", f"Copy this sentence: {said}")
    ), said


def backwards(dice: Dice) -> tuple[str, str]:
    """Say a list of three backwards."""
    things = dice.sample((*ITEMS, *FOODS, *ANIMALS), 3)
    listed = ", ".join(things)
    return dice.pick((f"Say this list backwards: {listed}.", f"Turn this list around: {listed}.")), ", ".join(
        things[::-1]
    )
