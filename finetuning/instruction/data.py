"""Storyland's instructions as training examples, with the held-out requests left out.

An example is a conversation through `render()`: ids, and which of them are trained. Requests whose
prompt falls into the held-out twentieth (by the hash of its text) are never trained on, whatever
the seed; the evaluation asks only those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetuning.templates import Message, render
from working_with_text_data.storyland.tasks import Instruction, held_out, instructions
from working_with_text_data.tokenizer import Tokenizer

Example = tuple[list[int], list[bool]]

# A chat is often opened with a plain wish for a story. The answer is a whole story of Storyland.
STORY_WISHES = (
    "Tell me a story.",
    "Please tell me a story.",
    "Write a story.",
    "Can you tell me a story?",
    "I would like to hear a story.",
)


def conversation(prompt: str, answer: str) -> list[Message]:
    """One request and its answer as messages."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def training_examples(
    tokenizer: Tokenizer, count: int, *, seed: int, stories: Sequence[str] = ()
) -> list[Example]:
    """`count` rendered requests that are not held out, and one wish for each of `stories`.

    Returns (ids, trained) pairs; `trained` is True on the answer and its end token.
    """
    examples: list[Example] = []
    for request in _requests(seed, wanted_held_out=False):
        if len(examples) == count:
            break
        examples.append(_example(tokenizer, request.prompt, request.answer))
    for index, story in enumerate(stories):
        examples.append(_example(tokenizer, STORY_WISHES[index % len(STORY_WISHES)], story))
    return examples


def held_out_requests(count: int, *, seed: int) -> list[Instruction]:
    """`count` different requests that no training set holds, balanced over the kinds."""
    from working_with_text_data.storyland.tasks import KINDS

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


def _requests(seed: int, *, wanted_held_out: bool) -> Iterator[Instruction]:
    return (r for r in instructions(seed) if held_out(r.prompt) is wanted_held_out)


def _example(tokenizer: Tokenizer, prompt: str, answer: str) -> Example:
    rendered = render(conversation(prompt, answer), tokenizer)
    return rendered.ids, rendered.trained
