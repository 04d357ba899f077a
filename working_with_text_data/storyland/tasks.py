"""Instructions from Storyland, each with an answer that can be verified.

What for: teaching a small model to follow requests, and measuring it honestly.
The idea: a request of one of ``KINDS`` is drawn with its answer; ``verify``
(``verifiers``) judges any answer from the words of the prompt alone.
``held_out`` splits prompts by their content, so that no request that is measured
was ever trained on. Leaves out: chat templates and special tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import language_tasks as language
from . import task_words as table
from .grammar import Dice, fill, indefinite
from .verifiers import normalise, verify
from .world import ANIMALS, BOYS, COLOURS, FOODS, GENDER, GIRLS, GLAD, ITEMS, PLACES

__all__ = ["KINDS", "Instruction", "held_out", "instructions", "make_instruction", "verify"]

NAMES = (*GIRLS, *BOYS)
PLACE_NAMES = tuple(PLACES)
_MAX_SEED = 2**31


@dataclass(frozen=True)
class Instruction:
    """A request and a right answer; ``kind`` is one of ``KINDS``."""

    kind: str
    prompt: str
    answer: str


def _pair(dice: Dice, template: str, slots: dict[str, str]) -> str:
    return fill(template, slots, dice)


def story(dice: Dice) -> tuple[str, str]:
    """Write a very short story that has three given things."""
    item, food_or_animal = dice.pick(ITEMS), dice.pick((*ANIMALS, *FOODS))
    place = dice.pick(PLACE_NAMES)
    name = dice.pick(NAMES)
    she = GENDER[name] == "f"
    slots = {
        "X": item,
        "Y": food_or_animal,
        "place": place,
        "at": f"{PLACES[place][0]} the {place}",
        "A": name,
        "he": "she" if she else "he",
        "He": "She" if she else "He",
        "his": "her" if she else "his",
        "glad": dice.pick(GLAD),
    }
    prompt = fill(
        "[Write|Tell me|Tell] a [short |little |]story [with|about] a~ {X}, a~ {Y} and the {place}.",
        slots,
        dice,
    )
    if food_or_animal in ANIMALS:
        middle = dice.pick(
            (
                "There {he} met a~ {Y}.",
                "There {he} saw a~ {Y}.",
                "A~ {Y} was there too.",
                "Soon a~ {Y} came along.",
            )
        )
        last = dice.pick(
            (
                "{A} played with the {Y} and was {glad}.",
                "The {Y} liked the {X}, and {A} was {glad}.",
                "They played all day, and {A} was {glad}.",
            )
        )
    else:
        middle = dice.pick(
            ("There {he} found a~ {Y}.", "{He} ate a~ {Y} there.", "{He} had a~ {Y} for lunch.")
        )
        last = dice.pick(
            (
                "It was a good day, and {A} was {glad}.",
                "Then {he} played with the {X} and was {glad}.",
                "{A} was {glad} and went home with the {X}.",
            )
        )
    first = dice.pick(
        (
            "{A} took a~ {X} to the {place}.",
            "{A} had a~ {X} and went to the {place}.",
            "One day, {A} was {at} with a~ {X}.",
        )
    )
    return prompt, " ".join(fill(t, slots, dice) for t in (first, middle, last))


def gave(dice: Dice) -> tuple[str, str]:
    """Who gave what to whom, after two gifts."""
    a, b, c, d = dice.sample(NAMES, 4)
    x, y = dice.sample(ITEMS, 2)
    verbs = ("gave", "handed", "passed")
    passage = f"{a} {dice.pick(verbs)} the {x} to {b}. {c} {dice.pick(verbs)} the {y} to {d}."
    giver, thing, taker = dice.pick(((a, x, b), (c, y, d)))
    return dice.pick(
        (
            (f"{passage} Who gave the {thing}?", giver),
            (f"{passage} Who got the {thing}?", taker),
            (f"{passage} What did {giver} give?", f"the {thing}"),
            (f"{passage} What did {taker} get?", f"the {thing}"),
        )
    )


def where(dice: Dice) -> tuple[str, str]:
    """Where a thing is after it was moved."""
    a, b = dice.sample(NAMES, 2)
    x, y = dice.sample(ITEMS, 2)
    p, q, r = dice.sample(table.KEEPERS, 3)
    lines = [f"{a} put the {x} in the {p}.", f"{b} put the {y} in the {q}."]
    if dice.chance(0.5):
        lines.reverse()
    places = {x: p, y: q}
    if dice.chance(0.6):
        mover, moved = dice.pick((a, b)), dice.pick((x, y))
        lines.append(f"Then {mover} moved the {moved} to the {r}.")
        places[moved] = r
    asked = dice.pick((x, y))
    question = dice.pick((f"Where is the {asked} now?", f"Where is the {asked}?"))
    return f"{' '.join(lines)} {question}", f"in the {places[asked]}"


def order(dice: Dice) -> tuple[str, str]:
    """Put three events in order; the passage tells them in another order."""
    name = dice.pick(NAMES)
    deeds = dice.sample(table.DEED_VERBS, 3)
    if dice.chance(0.5):
        told = [f"First, {name} {deeds[0]}.", f"Then {name} {deeds[1]}.", f"Last, {name} {deeds[2]}."]
    else:
        moments = sorted(dice.sample(range(len(table.MOMENTS)), 3))
        told = [f"{name} {deed} {table.MOMENTS[m]}." for deed, m in zip(deeds, moments, strict=True)]
    request = dice.pick(
        (f"Put what {name} did in order.", "Put the events in order.", f"In which order did {name} act?")
    )
    return f"{' '.join(dice.sample(told, 3))} {request}", ", ".join(deeds)


def total(dice: Dice) -> tuple[str, str]:
    """A sum of two small numbers in a story."""
    a, b = dice.sample(NAMES, 2)
    things = table.PLURALS[dice.pick(table.COUNTABLE)]
    total_ = 4 + dice.below(17)
    n = 2 + dice.below(total_ - 3)
    m = total_ - n
    return dice.pick(
        (
            (
                f"{a} has {n} {things}. {b} gives {a} {m} more. How many {things} does {a} have now?",
                str(total_),
            ),
            (
                f"{a} has {n} {things} and {b} has {m} {things}. How many {things} do they have together?",
                str(total_),
            ),
            (
                f"There are {n} {things} in the box. {a} puts in {m} more. How many {things} are in the box now?",
                str(total_),
            ),
        )
    )


def yes_no(dice: Dice) -> tuple[str, str]:
    """Two yes-or-no questions about who has what; all four answers are equally likely."""
    a, b = dice.sample(NAMES, 2)
    x, y = dice.sample(ITEMS, 2)
    first, second = dice.pick(("yes", "no")), dice.pick(("yes", "no"))
    asked = [(a, x if first == "yes" else y), (b, y if second == "yes" else x)]
    answers = [first, second]
    if dice.chance(0.5):
        asked.reverse()
        answers.reverse()
    questions = " ".join(f"Does {who} have the {thing}?" for who, thing in asked)
    return f"{a} has {indefinite(x)}, and {b} has {indefinite(y)}. {questions}", ", ".join(answers)


def has_now(dice: Dice) -> tuple[str, str]:
    """Who has a thing after it went from hand to hand."""
    people = dice.sample(NAMES, 3)
    x, y = dice.sample(ITEMS, 2)
    steps = 1 + dice.below(2)
    lines = [f"{people[0]} had {indefinite(x)}."]
    lines += [f"{people[i]} gave the {x} to {people[i + 1]}." for i in range(steps)]
    if steps == 1 and dice.chance(0.5):
        lines.insert(dice.below(2) + 1, f"{people[2]} had {indefinite(y)}.")
        if dice.chance(0.5):
            return f"{' '.join(lines)} Who has the {y} now?", people[2]
    return f"{' '.join(lines)} Who has the {x} now?", people[steps]


def feeling(dice: Dice) -> tuple[str, str]:
    """How one of two people feels."""
    a, b = dice.sample(NAMES, 2)
    one, two = dice.sample(table.FEELINGS, 2)
    x, y = dice.sample(PLACE_NAMES, 2)
    passage = dice.pick(
        (
            f"{a} was {one} at the {x}. {b} was {two}.",
            f"{a} was {one}, but {b} was {two}.",
            f"{a} came from the {x} and was {one}. {b} came from the {y} and was {two}.",
        )
    ).replace(f"at the {x}", f"{PLACES[x][0]} the {x}")
    who, answer = dice.pick(((a, one), (b, two)))
    return f"{passage} {dice.pick((f'How did {who} feel?', f'How was {who}?'))}", answer


def colour(dice: Dice) -> tuple[str, str]:
    """The colour of one of two things."""
    a, b = dice.sample(NAMES, 2)
    x, y = dice.sample(ITEMS, 2)
    one, two = dice.sample(COLOURS, 2)
    verb = dice.pick(("has", "found", "bought"))
    passage = f"{a} {verb} {indefinite(f'{one} {x}')}, and {b} {verb} {indefinite(f'{two} {y}')}."
    thing, answer = dice.pick(((x, one), (y, two)))
    return (
        f"{passage} {dice.pick((f'What colour is the {thing}?', f'Which colour does the {thing} have?'))}",
        answer,
    )


_MAKERS: dict[str, Callable[[Dice], tuple[str, str]]] = {
    "story": story,
    "gave": gave,
    "where": where,
    "order": order,
    "opposite": language.opposite,
    "count": language.count,
    "spell": language.spell,
    "sum": total,
    "yes_no": yes_no,
    "has_now": has_now,
    "feeling": feeling,
    "list_item": language.list_item,
    "plural": language.plural,
    "past": language.past,
    "copy": language.copy,
    "backwards": language.backwards,
    "colour": colour,
}
KINDS = tuple(_MAKERS)


def make_instruction(kind: str, dice: Dice) -> Instruction:
    """One instruction of ``kind``."""
    return Instruction(kind, *_MAKERS[kind](dice))


def instructions(seed: int = 0, kinds: Sequence[str] = KINDS) -> Iterator[Instruction]:
    """Instructions without end, each of `kinds` as often as it is named; the same ones for the same seed.

    Held-out prompts are among them: leave out ``held_out(i.prompt)`` when training.
    """
    index = 0
    while True:
        dice = Dice((seed % _MAX_SEED) * 4294967296 + 2147483648 + index)
        yield make_instruction(dice.pick(kinds), dice)
        index += 1


def held_out(prompt: str) -> bool:
    """Whether ``prompt`` belongs to the one in twenty that are kept for measuring."""
    digest = hashlib.sha256(normalise(prompt).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 20 == 0
