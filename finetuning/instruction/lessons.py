"""Lessons: what is taught first, one thing after the other, before everything at once.

Some requests ask what belongs to a thing said before ("Ruby has a red kite, and Dan has a blue drum. What colour is the
kite?"). A model soon answers with *a* colour of the text, and then stands still at guessing between the two: to be
right, one head must find the kite again, another must have brought its colour there, and the answer must know what was
asked some words ago. None pays without the others. Taught everything at once, a small model never leaves that plateau.

There is a way in. In *recall* a passage of random pairs is followed by many short questions: one of a pair, a few
tokens of waiting, then the other, which is trained:

    moon was cup . tree was hat . bell was fox .   hat ? tree   bell and the fox   cup moon

Some of it is one step from the copying that stories teach, the rest a step from that; every fourth token is a label.
Once it is there, requests that need it are learned in a few hundred steps (`finetuning/LOG.md`, which also says what
did not work). Lessons from easy to hard are curriculum learning (Bengio et al. 2009, doi 10.1145/1553374.1553380);
recall as a test of attention is from Arora et al. (arXiv 2312.04927). Left out: a rule for when a lesson is over.
Notebook: finetuning/02.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.instruction.data import Example, conversation, make_examples, storyland_conversations
from finetuning.templates import render
from utils.errors import UserError
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.storyland.tasks import KINDS
from working_with_text_data.tokenizer import Tokenizer

RECALL, ALL = "recall", "all"
PAIRS = (2, 6)  # fewest and most pairs of one recall
BETWEEN = (0, 0, 1, 2)  # small words between the two of a pair, each as likely
DELAY = 3  # most tokens between a question and its answer
WORDS = 400  # different tokens that recall draws from
SMALL_WORDS = (" was", " and", " the", " a", " to", " in", " has", " had", " is", " gave", " but", " of")
SEEDS_APART = 1_000_003  # between the lessons of a run, so that those of near seeds differ
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


def lesson_seed(data_seed: int, number: int) -> int:
    """The seed of the requests of lesson `number`, counted from 0."""
    return data_seed + SEEDS_APART * (number + 1)


def lesson_examples(
    lesson: Lesson, tokenizer: Tokenizer, tokens: int, *, seed: int, **settings: Any
) -> list[Example]:
    """About `tokens` tokens of examples, none of them held out; `settings` are those of `make_examples`."""

    template = {k: settings[k] for k in ("template",) if k in settings}

    def make(count: int) -> list[Example]:
        if lesson.kinds == (RECALL,):
            return recall_examples(tokenizer, count, seed=seed, **template)
        talks = storyland_conversations(count, seed=seed, kinds=lesson.kinds)
        return make_examples(talks, tokenizer, **settings)[0]

    few = make(A_FEW)
    return make(math.ceil(tokens * A_FEW / max(1, sum(len(ids) for ids, _ in few))))


def recall_examples(
    tokenizer: Tokenizer, count: int, *, seed: int, template: str = "scratchbook"
) -> list[Example]:
    """`count` passages of pairs, each followed by questions: one of a pair, up to three tokens more, then the other.

    The pairs of one passage have the same words between them and the same sign behind them, or none; either token may
    be asked. The tokens in between are small words, or what `template` puts between a question and its answer. Only
    answers are trained. Raises UserError for a vocabulary without enough ordinary tokens.
    """
    rng = random.Random(seed)
    asked = render(conversation("?", "x"), tokenizer, template=template)
    tail = asked.ids[: asked.trained.index(True)][-DELAY:]
    special = set(tokenizer.special_tokens.values())
    small = {i: None for text in SMALL_WORDS for i in tokenizer.encode_ordinary(text)[-1:]}
    stop, comma = (tokenizer.encode_ordinary(text)[-1] for text in ".,")
    used = special | small.keys() | {stop, comma, *tail}
    known = [i for i in range(tokenizer.vocab_size) if i not in used]
    merged = [i for i in known if len(tokenizer.token_bytes(i)) > 1]
    choice = merged if len(merged) >= 2 * PAIRS[1] else known
    if len(choice) < 2 * PAIRS[1]:
        raise UserError(
            f"{RECALL} needs {2 * PAIRS[1]} ordinary tokens, but the vocabulary has {len(choice)}"
        )
    words = rng.sample(choice, min(WORDS, len(choice)))
    return [_recall(rng, words, list(small), ([], [stop], [comma]), tail) for _ in range(count)]


def _recall(
    rng: random.Random, words: list[int], small: list[int], ends: Sequence[list[int]], tail: list[int]
) -> Example:
    n = rng.randint(*PAIRS)
    drawn = rng.sample(words, 2 * n)
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    between, end = rng.sample(small, rng.choice(BETWEEN)), rng.choice(ends)
    ids = [i for one, other in pairs for i in (one, *between, other, *end)] + ends[1]
    trained = [False] * len(ids)
    for pair in rng.sample(pairs, n):
        key, value = pair if rng.random() < 0.5 else pair[::-1]
        delay = rng.randint(0, DELAY)
        waiting = tail[:delay] if rng.random() < 0.5 else rng.sample(small, delay)
        ids += [key, *waiting, value]
        trained += [False] * (1 + len(waiting)) + [True]
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
