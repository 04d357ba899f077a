"""LD2 for finetuning/02: other right answers pass, new kinds of wrong ones get the property that fails."""

import pytest

from finetuning.exercises.instruction_tuning import CUT, LABELS, LOOK
from finetuning.instruction.data import make_examples
from utils.exercises import check
from working_with_text_data.example_batches import shift_labels
from working_with_text_data.packing import document_mask


def _by_index(ids, trained):
    return [ids[t + 1] if t + 1 < len(ids) and trained[t + 1] else -100 for t in range(len(ids))]


def _of_the_module(documents):
    import torch

    return document_mask(torch.tensor([[d + 1 for d in documents]]))[0, 0].tolist()


def _step_by_step(ids, trained, block):
    while len(ids) > block:
        ids, trained = ids[:-1], trained[:-1]
    return (ids, trained) if True in trained[1:] else None


def _all_trained(ids, trained, block):
    if len(ids) <= block:
        return ids, trained
    return (ids[:block], [True] * block) if any(trained[1:block]) else None


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (LABELS, _by_index),
        (LABELS, lambda ids, trained: shift_labels(ids, trained).tolist()),
        (LOOK, _of_the_module),
        (CUT, _step_by_step),
    ],
    ids=["labels-by-index", "labels-of-the-module", "look-of-the-module", "cut-step-by-step"],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LABELS, lambda ids, trained: "ids", "not a str"),
        (LABELS, lambda ids, trained: 3, "give a list of labels"),
        (LABELS, lambda ids, trained: _by_index(ids, trained)[:-1], "one label for each"),
        (LABELS, lambda ids, trained: [-100] * len(ids), "it should be"),
        (LOOK, lambda documents: [[True]], "lines of"),
        (LOOK, lambda documents: [[False for _ in documents] for _ in documents], "may look at token"),
        (CUT, _all_trained, "what is trained does not change"),
        (CUT, lambda ids, trained, block: (ids, trained), "give None and count it"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "name", ""),
)
def test_a_new_wrong_answer_hears_which_property_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_exercises_cut_is_the_modules(chat_tokenizer):
    from finetuning.exercises.instruction_tuning import CUT_SOLUTION
    from finetuning.instruction.data import conversation
    from utils.exercises import load_answer

    fit = load_answer(CUT_SOLUTION, "fit")
    talk = conversation("Where is the cup?", "in the big red box near the door")
    ((ids, trained),), _ = make_examples([talk], chat_tokenizer)
    for block in range(2, len(ids)):
        kept, _ = make_examples([talk], chat_tokenizer, block)
        assert (kept[0] if kept else None) == fit(ids, trained, block)
