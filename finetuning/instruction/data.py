"""Conversations as training examples: rendered, masked, cut where they are too long, and counted.

An example is a conversation through `render()`: ids, and which of them are trained. `loss_on="answers"` trains what
the assistant says and the ends of its turns, as in InstructGPT (arXiv 2203.02155, §3.5); `everything` is the plain
next-token setting, in which the model also learns to ask. A conversation longer than the model's context is cut on the
right, as long as part of an answer stays; one whose question alone fills the context has nothing to teach and is
dropped. Both are counted.

Storyland's requests come from here too. Those whose prompt falls into the held-out twentieth (by the hash of its text)
are never trained on, whatever the seed; the evaluation asks only those. Conversations of one's own: `conversations`.
Notebook: finetuning/02.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetuning.templates import Message, render
from utils.errors import UserError
from working_with_text_data.storyland.tasks import KINDS, Instruction, held_out, instructions
from working_with_text_data.tokenizer import Tokenizer

Example = tuple[list[int], list[bool]]

LOSS_ON = ("answers", "everything")
TOO_LONG = ("cut", "drop")

# A chat is often opened with a plain wish for a story. The answer is a whole story of Storyland.
STORY_WISHES = (
    "Tell me a story.",
    "Please tell me a story.",
    "Write a story.",
    "Can you tell me a story?",
    "I would like to hear a story.",
)


@dataclass
class ExampleReport:
    """How many conversations stayed whole, were cut, or were dropped; and what they hold."""

    whole: int = 0
    cut: int = 0
    dropped: int = 0  # too long, and nothing of an answer would be left (or too_long="drop")
    tokens: int = 0
    trained: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain values for run.json."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.whole + self.cut:,} examples ({self.cut:,} cut to the context, {self.dropped:,} dropped), "
            f"{self.tokens:,} tokens, {self.trained:,} of them trained"
        )


def conversation(prompt: str, answer: str) -> list[Message]:
    """One request and its answer as messages."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def make_examples(
    conversations: Iterable[Sequence[Message]],
    tokenizer: Tokenizer,
    block_size: int | None = None,
    *,
    template: str = "scratchbook",
    loss_on: str = "answers",
    too_long: str = "cut",
) -> tuple[list[Example], ExampleReport]:
    """Each conversation as (ids, trained), none longer than `block_size`, and what became of them.

    Raises UserError for an unknown choice and for what `render` refuses.
    """
    for name, value, known in (("loss_on", loss_on, LOSS_ON), ("too_long", too_long, TOO_LONG)):
        if value not in known:
            raise UserError(f"{name} is {value!r}: choose {' or '.join(known)}")
    examples: list[Example] = []
    report = ExampleReport()
    for messages in conversations:
        rendered = render(messages, tokenizer, template=template)
        whole = rendered.ids, [True] * len(rendered.ids) if loss_on == "everything" else rendered.trained
        fits = block_size is None or len(whole[0]) <= block_size
        example = whole if fits else _cut(*whole, block_size or 0, answers=rendered.trained)
        if example is None or not (fits or too_long == "cut"):
            report.dropped += 1
            continue
        report.whole, report.cut = report.whole + fits, report.cut + (not fits)
        report.tokens += len(example[0])
        report.trained += sum(example[1][1:])  # nothing stands before the first token to predict it from
        examples.append(example)
    return examples, report


def _cut(ids: list[int], trained: list[bool], block_size: int, answers: list[bool]) -> Example | None:
    """The first `block_size` tokens, if some of them belong to an answer; else None.

    The end of the cut answer is gone with the rest of it: a made-up one would teach to stop in mid-sentence.
    """
    return (ids[:block_size], trained[:block_size]) if any(answers[1:block_size]) else None


def training_examples(
    tokenizer: Tokenizer,
    count: int,
    *,
    seed: int,
    stories: Sequence[str] = (),
    template: str = "scratchbook",
) -> list[Example]:
    """`count` rendered requests of Storyland that are not held out, and one wish for each of `stories`."""
    return make_examples(
        storyland_conversations(count, seed=seed, stories=stories), tokenizer, template=template
    )[0]


def storyland_conversations(
    count: int, *, seed: int, stories: Sequence[str] = (), kinds: Sequence[str] = KINDS
) -> Iterator[list[Message]]:
    """`count` requests of `kinds` that are not held out, and one wish for each of `stories`."""
    requests = _requests(seed, wanted_held_out=False, kinds=kinds)
    for _ in range(count):
        request = next(requests)
        yield conversation(request.prompt, request.answer)
    for index, story in enumerate(stories):
        yield conversation(STORY_WISHES[index % len(STORY_WISHES)], story)


def held_out_requests(count: int, *, seed: int) -> list[Instruction]:
    """`count` different requests that no training set holds, balanced over the kinds."""
    share = -(-count // len(KINDS))
    taken: dict[str, list[Instruction]] = {kind: [] for kind in KINDS}
    seen: set[str] = set()
    for request in _requests(seed, wanted_held_out=True):
        group = taken[request.kind]
        if len(group) < share and request.prompt not in seen:
            seen.add(request.prompt)
            group.append(request)
        if all(len(each) == share for each in taken.values()):
            break
    rows = [group[i] for i in range(share) for group in taken.values()]
    return rows[:count]


def _requests(seed: int, *, wanted_held_out: bool, kinds: Sequence[str] = KINDS) -> Iterator[Instruction]:
    return (r for r in instructions(seed, kinds) if held_out(r.prompt) is wanted_held_out)


def fingerprint(examples: Sequence[Example]) -> str:
    """The same for equal examples in equal order: what a resumed run asks of its data."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256()
    for ids, trained in examples:
        digest.update(np.asarray(ids, dtype="<i4").tobytes() + np.asarray(trained, dtype=np.bool_).tobytes())
    return digest.hexdigest()


def describe(examples: Sequence[Example]) -> dict[str, Any]:
    """Lengths of the examples, in tokens: mean, median, longest, and the share that is trained."""
    import numpy as np

    lengths = np.array([len(ids) for ids, _ in examples])
    trained = sum(sum(mask) for _, mask in examples)
    return {
        "examples": len(examples),
        "mean": float(lengths.mean()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "trained_share": trained / int(lengths.sum()),
    }
