"""Pairs of answers, the better and the worse, with the reason.

What for: preference tuning with a known truth. The idea: an instruction's right
answer is the better one; the worse one has one stated defect, and both claims
are checked by the instruction's own verifier before the pair is yielded. The
reasons come in turn, so they are balanced. Leaves out: degrees of preference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from . import task_words as table
from .grammar import Dice
from .tasks import KINDS, Instruction, make_instruction
from .verifiers import verify
from .world import ANIMALS, COLOURS, FOODS, GENDER, ITEMS, PLACES

REASONS = ("wrong_fact", "off_topic", "incoherent", "rude", "unfinished")
_MAX_SEED = 2**31
_GROUPS = tuple(map(frozenset, (GENDER, (*ITEMS, *FOODS, *ANIMALS), COLOURS, table.KEEPERS, table.FEELINGS)))
_CLOSED = tuple(k for k in KINDS if k != "story")
_RUDE = (
    "Find out yourself.",
    "What a silly question.",
    "I do not care.",
    "Go away.",
    "You should know that.",
    "Ask somebody else.",
    "That is boring.",
    "I have better things to do.",
    "Do your own work.",
    "Stop asking me.",
)
_RUDE_TAIL = ("Even a goat knows that.", "Now leave me alone.", "Do not ask again.", "You never listen.")


@dataclass(frozen=True)
class Preference:
    """A prompt with a better and a worse answer; ``reason`` (one of ``REASONS``) says what is wrong with the worse."""

    prompt: str
    chosen: str
    rejected: str
    reason: str
    kind: str = ""


def _wrong_fact(task: Instruction, dice: Dice) -> str:
    """An answer of the right form that is not true here; if it can be, another word of the prompt."""
    *start, right = task.answer.split()
    for group in _GROUPS:
        if right in group:
            near = sorted({w for w in re.findall(r"\w+", task.prompt) if w in group and w != right})
            if near:
                return " ".join((*start, dice.pick(near)))
    return make_instruction(task.kind, dice).answer


def _off_topic(task: Instruction, dice: Dice) -> str:
    other = make_instruction(dice.pick([k for k in KINDS if k != task.kind]), dice)
    return other.answer


def _incoherent(task: Instruction, dice: Dice) -> str:
    """A story whose sentences contradict each other or stand in a senseless order."""
    sentences = task.answer.split(". ")
    how = dice.below(3)
    if how == 0:
        return ". ".join(s.rstrip(".") for s in reversed(sentences)) + "."
    if how == 1:
        place = next(p for p in PLACES if f"the {p}" in task.prompt)
        return task.answer.replace(f"the {place}", f"the {dice.pick([p for p in PLACES if p != place])}")
    item = next(i for i in ITEMS if f" {i}" in task.prompt)
    return task.answer.replace(item, dice.pick([i for i in ITEMS if i != item]))


def _rude(task: Instruction, dice: Dice) -> str:
    if dice.chance(0.5):
        return dice.pick(_RUDE)
    return f"{task.answer.rstrip('.')}. {dice.pick(_RUDE_TAIL)}"


def _unfinished(task: Instruction, dice: Dice) -> str:
    """The right answer, broken off."""
    words = task.answer.split()
    kept = max(1, len(words) // 2 + dice.below(max(1, len(words) // 2 - 1)))
    return " ".join(words[: min(kept, len(words) - 1)]).rstrip(".")


_WORSE = {
    "wrong_fact": (_wrong_fact, _CLOSED),
    "off_topic": (_off_topic, KINDS),
    "incoherent": (_incoherent, ("story",)),
    "rude": (_rude, KINDS),
    "unfinished": (
        _unfinished,
        ("story", "order", "opposite", "spell", "yes_no", "plural", "past", "copy", "backwards"),
    ),
}


def make_preference(reason: str, dice: Dice) -> Preference:
    """One pair whose worse answer fails for ``reason``."""
    worse, kinds = _WORSE[reason]
    while True:
        task = make_instruction(dice.pick(kinds), dice)
        rejected = worse(task, dice)
        if verify(task.kind, task.prompt, task.answer) and not verify(task.kind, task.prompt, rejected):
            return Preference(task.prompt, task.answer, rejected, reason, task.kind)


def preferences(seed: int = 0) -> Iterator[Preference]:
    """Pairs without end, the reasons in turn; the same ones for the same seed."""
    index = 0
    while True:
        dice = Dice((seed % _MAX_SEED) * 4294967296 + 3221225472 + index)
        yield make_preference(REASONS[index % len(REASONS)], dice)
        index += 1
