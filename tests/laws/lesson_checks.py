"""What lessons before instruction tuning must keep (LF2, LT10), as functions that raise AssertionError with a sentence.

References are scans of the examples themselves and loaders whose every token says which of them it came from.
"""

from __future__ import annotations

import json
from typing import Any

from template_checks import END, MARKERS, conversation

from finetuning.instruction import lessons
from finetuning.templates import render
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.example_batches import ExampleBatches
from working_with_text_data.storyland.tasks import held_out

ORDER = [
    3,
    3,
    5,
    7,
    7,
    7,
]  # which loader each of the first batches comes from: 2 of a lesson, 1 of the next, the rest


def tokenizer() -> ByteTokenizer:
    return ByteTokenizer((END, *MARKERS))


def loaders() -> Any:
    """Two lessons of 2 and 1 batches, then a loader of its own; loader i speaks of i in its first tokens."""

    def own(mark: int) -> ExampleBatches:
        examples = [([mark, 10 + n, 20 + n], [False, True, True]) for n in range(5)]
        return ExampleBatches(examples, 2, 8, seed=1)

    return lessons.LessonBatches([(own(3), 2), (own(5), 1)], own(7))


def check_each_lesson_has_its_time() -> None:
    """Batches come from the lessons in order, as many as asked, and then from the last loader without end."""
    batches = loaders()
    found = [int(next(batches)[0][0, 0]) for _ in ORDER]
    assert found == ORDER, (
        f"batches came from {found}, but lessons come in order, each for its steps: {ORDER}"
    )


def check_resume_at(place: int) -> None:
    """LT10: from the saved state after `place` batches a new loader gives the same remaining batches."""
    first, again = loaders(), loaders()
    for _ in range(place):
        next(first)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for number in range(6):
        here, there = next(first), next(again)
        same = all(a.equal(b) for a, b in zip(here, there, strict=True))
        assert same, (
            f"stopped after {place} batches, batch {place + number + 1} is another one after resuming"
        )


def check_recall_asks_for_the_other_of_a_pair(template: str = "scratchbook") -> None:
    """LF2: only answers are trained, each is what stood in a pair with the token asked, and each pair is asked once."""
    own = tokenizer()
    stop, comma = own.encode_ordinary(".,")
    filling = {own.encode_ordinary(word)[-1] for word in lessons.SMALL_WORDS}
    filling |= {stop, comma, *own.special_tokens.values()}
    before = render(conversation(("user", "?"), ("assistant", "")), own, template=template)
    filling |= set(before.ids[: before.trained.index(True)][-lessons.DELAY :])
    directions = set()
    for ids, trained in lessons.recall_examples(own, 300, seed=4, template=template):
        end = len(ids) - ids[::-1].index(stop)
        passage = [i for i in ids[:end] if i not in filling]
        asked = [(i, yes) for i, yes in zip(ids[end:], trained[end:], strict=True) if i not in filling]
        assert len(set(passage)) == len(passage), (
            "a token stands twice in one passage: its partner is not clear"
        )
        assert not any(trained[:end]), "the passage is random: nothing of it can be learned"
        pairs = list(zip(passage[::2], passage[1::2], strict=True))
        other = dict(pairs) | {b: a for a, b in pairs}
        keys, answers = asked[::2], asked[1::2]
        assert sum(trained) == len(answers) == len(pairs), "each pair is asked exactly once"
        assert {frozenset((k, other[k])) for k, _ in keys} == {frozenset(p) for p in pairs}, (
            "each pair is asked"
        )
        for (key, of_key), (answer, of_answer) in zip(keys, answers, strict=True):
            assert of_answer and not of_key, "answers are trained, and what is asked, drawn at random, is not"
            assert answer == other[key], "the answer is the other of the pair"
            directions.add((key, answer) in pairs)
    assert directions == {True, False}, "either token of a pair is asked"


def check_nothing_held_out_is_taught() -> None:
    """No prompt of a lesson falls into the held-out twentieth, and each is of a kind that the lesson names."""
    own = tokenizer()
    lesson = lessons.parse_lesson("colour,feeling*2:5")
    prompts = []
    for ids, _ in lessons.lesson_examples(lesson, own, 40_000, seed=2, block_size=512):
        text = own.decode(ids)
        prompts.append(text[len("<|user|>") : text.index(END)].strip())
    assert len(prompts) > 300
    assert not any(held_out(p) for p in prompts), "a held-out request is taught in a lesson"
    feelings = sum("How" in p for p in prompts)
    assert all("olour" in p or "How" in p for p in prompts), "a lesson teaches the kinds that it names"
    assert 0.58 < feelings / len(prompts) < 0.75, "feeling*2 beside colour is two of three requests"
