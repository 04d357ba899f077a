"""Lessons: a few things that are taught first, one after the other, before everything at once.

Some requests ask what belongs to a thing said before ("Ruby has a red kite, and Dan has a blue drum. What colour is the
kite?"). A model soon answers with *a* colour of the text, and then stands still at guessing between the two: to be
right, one head must find the kite again and another must have brought its colour there, and neither pays without the
other. Taught everything at once, a small model never leaves that plateau (`finetuning/LOG.md`).

There is a short way in. In *recall* a run of random pairs "v k" is followed by each key and its value, shuffled:

    moon cup  tree hat  bell fox .  hat tree  fox bell  cup moon

Every second token of the answer is a label, and copying what stood before the same token earlier is one step from the
copying that stories teach. Once it is there, requests that need it are learned in a hundred steps, and others through
those. Lessons from easy to hard are curriculum learning (Bengio et al. 2009, doi 10.1145/1553374.1553380); recall as
a test of attention is from Arora et al. (arXiv 2312.04927). Left out: a rule for when a lesson is over; steps decide.
Notebook: finetuning/02.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.instruction.data import Example, make_examples, storyland_conversations
from utils.errors import UserError
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.storyland.tasks import KINDS
from working_with_text_data.tokenizer import Tokenizer

RECALL, ALL = "recall", "all"
PAIRS = (2, 8)  # fewest and most pairs of one recall
WORDS = 400  # different tokens that recall draws from
A_FEW = 200  # examples from which the mean length is taken


@dataclass(frozen=True)
class Lesson:
    """What is taught for so many optimizer steps: `recall`, or kinds of requests, each as often as it is named."""

    kinds: tuple[str, ...]
    steps: int


def parse_lesson(text: str) -> Lesson:
    """`recall:350`, or kinds of requests with how often: `colour,gave*3:900`; `all` is each kind once.

    Raises UserError that says what is wrong with `text`.
    """
    names, colon, steps = text.partition(":")
    if not colon or not steps.strip().isdecimal() or int(steps) < 1:
        raise UserError(f"the lesson {text!r} does not say how many steps: write it as colour,feeling:300")
    kinds: list[str] = []
    for each in names.split(","):
        kind, star, times = (part.strip() for part in each.partition("*"))
        if kind not in (*KINDS, ALL) and names.strip() != RECALL:
            raise UserError(
                f"the lesson {text!r} names {kind!r}: choose {RECALL}, or {ALL} or some of {', '.join(KINDS)}"
            )
        if star and (not times.isdecimal() or int(times) < 1):
            raise UserError(f"the lesson {text!r} has {times!r} after *: write how often, gave*3")
        kinds += list(KINDS if kind == ALL else [kind]) * int(times or 1)
    return Lesson(tuple(kinds), int(steps))


def lesson_examples(
    lesson: Lesson, tokenizer: Tokenizer, tokens: int, *, seed: int, **settings: Any
) -> list[Example]:
    """About `tokens` tokens of examples, none of them held out; `settings` are those of `make_examples`."""

    def make(count: int) -> list[Example]:
        if lesson.kinds == (RECALL,):
            return recall_examples(tokenizer, count, seed=seed)
        talks = storyland_conversations(count, seed=seed, kinds=lesson.kinds)
        return make_examples(talks, tokenizer, **settings)[0]

    few = make(A_FEW)
    return make(math.ceil(tokens * A_FEW / max(1, sum(len(ids) for ids, _ in few))))


def recall_examples(tokenizer: Tokenizer, count: int, *, seed: int) -> list[Example]:
    """`count` runs of pairs "value key", a full stop, then each key and its value, of which the values are trained.

    The tokens of one run are all different, and few enough in all that each is soon known. Raises UserError for a
    vocabulary that has no `2 * PAIRS[1]` tokens besides bytes and special tokens, nor as many bytes.
    """
    rng = random.Random(seed)
    special = set(tokenizer.special_tokens.values())
    (stop,) = tokenizer.encode_ordinary(".")[-1:]
    known = [i for i in range(tokenizer.vocab_size) if i not in special and i != stop]
    merged = [i for i in known if len(tokenizer.token_bytes(i)) > 1]
    choice = merged if len(merged) >= 2 * PAIRS[1] else known
    if len(choice) < 2 * PAIRS[1]:
        raise UserError(
            f"{RECALL} needs {2 * PAIRS[1]} ordinary tokens, but the vocabulary has {len(choice)}"
        )
    words = rng.sample(choice, min(WORDS, len(choice)))
    return [_recall(rng, words, stop) for _ in range(count)]


def _recall(rng: random.Random, words: Sequence[int], stop: int) -> Example:
    n = rng.randint(*PAIRS)
    drawn = rng.sample(words, 2 * n)
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))  # (value, key)
    ids = [*drawn, stop]
    trained = [False] * len(ids)
    for value, key in rng.sample(pairs, n):
        ids += [key, value]
        trained += [False, True]
    return ids, trained


class LessonBatches:
    """The batches of lessons, each for its time, then those of `last` without end: a loader like any other.

    Args:
        lessons: (loader, how many batches of it), in order.
        last: what the run is about; sizes and epochs are its own.
    """

    def __init__(self, lessons: Sequence[tuple[ExampleBatches, int]], last: ExampleBatches) -> None:
        self.lessons, self.last = list(lessons), last
        self.given = 0  # batches, of all lessons

    def __iter__(self) -> LessonBatches:
        return self

    def __next__(self) -> Any:
        """The next batch of whichever loader has its turn."""
        batches = self._now()
        self.given += 1
        return next(batches)

    def _now(self) -> ExampleBatches:
        until = 0
        for batches, count in self.lessons:
            until += count
            if self.given < until:
                return batches
        return self.last

    @property
    def lesson_batches(self) -> int:
        """Batches that all lessons take together."""
        return sum(count for _, count in self.lessons)

    @property
    def block_size(self) -> int:
        """The longest row."""
        return self.last.block_size

    @property
    def tokens_per_epoch(self) -> int:
        """Of `last`."""
        return self.last.tokens_per_epoch

    @property
    def rows_per_epoch(self) -> int:
        """Of `last`."""
        return self.last.rows_per_epoch

    @property
    def epoch(self) -> int:
        """Of `last`."""
        return self.last.epoch

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: how many batches were given, and each loader's place."""
        inner = [batches.state_dict() for batches, _ in self.lessons]
        return {"given": self.given, "lessons": inner, "last": self.last.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken. Raises UserError for other lessons."""
        inner = state.get("lessons")
        if not isinstance(inner, list) or len(inner) != len(self.lessons):
            raise UserError("the saved position has other lessons: resume with the same, or start a new run")
        for (batches, _), own in zip(self.lessons, inner, strict=True):
            batches.load_state_dict(own)
        self.last.load_state_dict(state["last"])
        self.given = int(state["given"])
