"""Instructions: many, balanced, verified from the prompt alone; wrong answers are refused."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from working_with_text_data.storyland.grammar import Dice
from working_with_text_data.storyland.mini import check_mini_story
from working_with_text_data.storyland.tasks import KINDS, held_out, instructions, make_instruction, verify
from working_with_text_data.storyland.verifiers import expected, normalise


def drawn(kind: str, n: int) -> list:
    dice = Dice(77)
    return [make_instruction(kind, dice) for _ in range(n)]


def test_there_are_at_least_twelve_kinds_and_all_come_up():
    kinds = Counter(i.kind for i in islice(instructions(0), 3000))
    assert len(KINDS) >= 12 and set(kinds) == set(KINDS)
    assert min(kinds.values()) > 100


@pytest.mark.parametrize("kind", KINDS)
def test_right_answers_are_accepted_and_prompts_stay_short(kind):
    for task in drawn(kind, 400):
        assert verify(kind, task.prompt, task.answer), task
        assert verify(kind, task.prompt, f"  {task.answer} "), "spaces must not matter"
        assert len(task.prompt.split()) <= 60 and len(task.answer.split()) <= 60


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_and_empty_answers_are_refused(kind):
    tasks = drawn(kind, 200)
    for task, other in pairwise(tasks):
        for empty in ("", "  ", ".", "\n"):
            assert not verify(kind, task.prompt, empty)
        if normalise(other.answer) != normalise(task.answer):
            assert not verify(kind, task.prompt, other.answer), (task, other.answer)
        assert not verify(kind, task.prompt, task.answer + " kite")
        assert not verify(kind, "Please help.", task.answer), (
            "a prompt that cannot be read has no right answer"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_answer_to_another_kind_is_refused(kind):
    answers = {k: drawn(k, 1)[0].answer for k in KINDS if k != kind}
    for task in drawn(kind, 30):
        for other in answers.values():
            assert not verify(kind, task.prompt, other) or other == task.answer


@pytest.mark.parametrize("kind", KINDS)
def test_no_constant_answer_gets_half(kind):
    answers = Counter(t.answer for t in drawn(kind, 1500))
    assert answers.most_common(1)[0][1] / 1500 < 0.4, answers.most_common(3)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_thousands_of_prompts(kind):
    assert len({t.prompt for t in drawn(kind, 5000)}) >= 2000


def test_one_prompt_in_twenty_is_held_out_whatever_its_spelling():
    prompts = [i.prompt for i in islice(instructions(3), 4000)]
    share = sum(map(held_out, prompts)) / len(prompts)
    assert 0.035 < share < 0.065
    assert all(held_out(p) == held_out(f" {p.upper()} ") for p in prompts[:200])


@pytest.mark.parametrize(
    ("kind", "prompt", "answer"),
    [
        ("gave", "Mia gave the kite to Tom. Zoe handed the key to Ben. Who got the key?", "Ben"),
        (
            "where",
            "Mia put the key in the box. Tom put the map in the bag. Then Tom moved the key to the chest. "
            "Where is the key now?",
            "in the chest",
        ),
        (
            "order",
            "Last, Mia sang. First, Mia swam. Then Mia read. Put the events in order.",
            "swam, read, sang",
        ),
        ("opposite", "Give the opposites of big and happy.", "small, sad"),
        ("count", "Count the things: kite, map, key.", "3"),
        ("spell", "Spell red kite.", "r-e-d k-i-t-e"),
        ("sum", "Mia has 3 pears. Tom gives her 4 more. How many pears does Mia have now?", "7"),
        (
            "yes_no",
            "Mia has a kite, and Tom has a map. Does Tom have the kite? Does Mia have the kite?",
            "no, yes",
        ),
        ("has_now", "Mia had a kite. Mia gave the kite to Tom. Who has the kite now?", "Tom"),
        ("feeling", "Mia was sad, but Tom was happy. How was Mia?", "sad"),
        ("list_item", "Which thing is second: kite, map, key?", "map"),
        ("plural", "Give the plurals of mouse and peach.", "mice, peaches"),
        ("past", "Give the past tense of run and stop.", "ran, stopped"),
        ("copy", "Say this again: Mia likes the red kite.", "Mia likes the red kite."),
        ("backwards", "Say this list backwards: kite, map, key.", "key, map, kite"),
        ("colour", "Mia has a red kite, and Tom has a blue map. What colour is the map?", "blue"),
    ],
)
def test_verifiers_agree_with_answers_worked_out_by_hand(kind, prompt, answer):
    assert expected(kind, prompt) == answer


PROMPT = "Write a story with a kite, a kitten and the park."


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (
            "Mia took a kite to the park. There she met a kitten. They played all day, and Mia was happy.",
            True,
        ),
        (
            "Mia took a kite to the park. There he met a kitten. They played all day, and Mia was happy.",
            False,
        ),
        ("Mia took a kite to the park. They played all day, and Mia was happy.", False),
        (
            "Mia took a kite to the lake. There she met a kitten. They played in the park, and Mia was happy.",
            False,
        ),
        (
            "There she met a kitten. Mia took a kite to the park. They played all day, and Mia was happy.",
            False,
        ),
        (
            "Mia took the kite to the park. There she met a kitten. They played all day, and Mia was happy.",
            False,
        ),
        ("Mia took a kite to the park. There she met a kitten.", False),
        ("Mia took a kite to the park. There she met a kitten. Tom was happy.", False),
        (
            "Mia took a kite to the park. Mia took a kite to the park. A kitten was there, and Mia was happy.",
            False,
        ),
        ("kite kitten park happy", False),
        ("Mia took a kite to the park. There she met a kitten. They xqzt all day, and Mia was happy", False),
    ],
)
def test_mini_stories_are_judged_strictly(answer, good):
    assert check_mini_story(PROMPT, answer) is good
