"""The exercises of notebook chat_ui/01: other right answers pass, new kinds of wrong ones are caught."""

from itertools import chain

import pytest

from chat_ui.conversation import fit
from chat_ui.exercises.from_generate_to_conversation import FIRST, PROMPT, SPECIAL, STREAM, TALKS, words
from utils.exercises import check, load_answer


def test_a_prompt_in_one_expression_passes():
    def prompt_of(messages, encode, special):
        end = special["<|endoftext|>"]
        turns = ([special["<|" + role + "|>"], *encode(text), end] for role, text in messages)
        return [*chain.from_iterable(turns), special["<|assistant|>"]]

    assert check(PROMPT, prompt_of)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda messages, encode, special: [],
        lambda messages, encode, special: "hello",
        lambda messages, encode, special: [special["<|user|>"]] * 3 + [special["<|assistant|>"]],
    ],
    ids=["nothing", "text", "only users"],
)
def test_other_wrong_prompts_are_caught(wrong):
    assert not check(PROMPT, wrong)


def test_the_prompt_of_the_exercise_is_the_templates():
    from template_checks import role_tokenizer

    from finetuning.templates import render

    tokenizer = role_tokenizer()
    for talk in TALKS:
        messages = [{"role": role, "content": text} for role, text in talk]
        ours = load_answer(PROMPT.solution, PROMPT.function)(talk, words, tokenizer.special_tokens)
        assert ours == render(messages, tokenizer, add_generation_prompt=True).ids
    assert set(SPECIAL) <= set(tokenizer.special_tokens)


def test_going_from_the_end_passes():
    def first_kept(lengths, opening, context, promised):
        first, used = len(lengths) - 1, opening + promised + lengths[-1]
        while first >= 2 and used + lengths[first - 1] + lengths[first - 2] <= context:
            used += lengths[first - 1] + lengths[first - 2]
            first -= 2
        return first

    assert check(FIRST, first_kept)


@pytest.mark.parametrize(
    "wrong", [lambda *given: 0, lambda *given: None, lambda *given: True], ids=["0", "None", "True"]
)
def test_other_wrong_cuts_are_caught(wrong):
    assert not check(FIRST, wrong)


def test_the_cut_of_the_exercise_is_the_chats():
    from template_checks import conversation, role_tokenizer

    tokenizer = role_tokenizer()
    said = [
        ("user", "q" * 20),
        ("assistant", "a" * 30),
        ("user", "r" * 10),
        ("assistant", "b" * 15),
        ("user", "s" * 8),
    ]
    for context in (200, 120, 90, 70):
        fitted = fit(conversation(("system", "be"), *said), tokenizer, block_size=context, max_new_tokens=20)
        lengths = [len(text) + 2 for _, text in said]
        # The marker that invites the answer takes a place as well.
        assert load_answer(FIRST.solution, FIRST.function)(lengths, 4 + 1, context, 20) == fitted.left_out


def test_letter_by_letter_passes():
    def until(pieces, stop):
        held = ""
        for piece in pieces:
            for letter in piece:
                held += letter
                if held.endswith(stop):
                    if len(held) > len(stop):
                        yield held[: -len(stop)]
                    return
            cut = max((n for n in range(len(stop)) if held.endswith(stop[:n])), default=0)
            if len(held) > cut:
                yield held[: len(held) - cut]
                held = held[len(held) - cut :]
        yield held

    assert check(STREAM, until)


@pytest.mark.parametrize(
    "wrong",
    [lambda pieces, stop: iter(()), lambda pieces, stop: iter([1, 2]), lambda pieces, stop: iter(pieces)],
    ids=["nothing", "numbers", "everything"],
)
def test_other_wrong_streams_are_caught(wrong):
    assert not check(STREAM, wrong)
