"""What lessons before instruction tuning must keep (LF2, LT10), as functions that raise AssertionError with a sentence.

References are scans of the examples themselves and loaders whose every token says which of them it came from.
"""

from __future__ import annotations

import json
from typing import Any

from template_checks import END, MARKERS

from finetuning.instruction import lessons
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


def check_recall_asks_for_what_stood_before_the_key() -> None:
    """LF2: only values are trained, each is the token before its key in the passage, and each key is asked once."""
    own = tokenizer()
    stop = own.encode_ordinary(".")[-1]
    for ids, trained in lessons.recall_examples(own, 200, seed=4):
        end = ids.index(stop)
        passage, asked = ids[:end], ids[end + 1 :]
        assert len(set(passage)) == len(passage), (
            "a token stands twice in one passage: its partner is not clear"
        )
        assert not any(trained[: end + 1]), "the passage is random: nothing of it can be learned"
        keys = sorted(passage[1::2])
        assert sorted(asked[::2]) == keys, "each key of the passage is asked exactly once"
        for key, value, of_key, of_value in zip(
            asked[::2], asked[1::2], trained[end + 1 :: 2], trained[end + 2 :: 2], strict=True
        ):
            assert of_value and not of_key, "values are trained, and keys, which are drawn at random, are not"
            assert value == passage[passage.index(key) - 1], "the answer is what stood before the key"


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
