"""The exercises of notebook 02, with their checkers: which labels, who may look at whom, what to do with a long one.

Each checker tests properties on small cases made by a fixed generator, so any right answer passes, and knows how the
step usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each
classic mistake is named. Left out: tokenizers and templates; ids here are plain numbers.
Notebook: `02_instruction_tuning.ipynb`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]
Case = tuple[list[int], list[bool]]


def _cases(count: int = 12) -> list[Case]:
    """Conversations of one to three turns as (ids, trained), all ids different."""
    rng = random.Random(7)
    cases = []
    for _ in range(count):
        trained: list[bool] = []
        for _ in range(rng.randint(1, 3)):
            trained += [False] * rng.randint(2, 6) + [True] * rng.randint(1, 5)
        cases.append((rng.sample(range(10, 900), len(trained)), trained))
    return cases


# ---------------------------------------------------------------- 1. labels


def _check_labels(answer: Answer) -> None:
    for ids, trained in _cases():
        before = list(ids), list(trained)
        found = answer(ids, trained)
        require(isinstance(found, list | tuple), f"give a list of labels, not a {type(found).__name__}")
        require((ids, trained) == before, "leave ids and trained as they are")
        require(len(found) == len(ids), f"one label for each of {len(ids)} tokens, not {len(found)}")
        for t, label in enumerate(found):
            last = t == len(ids) - 1
            expected = -100 if last or not trained[t + 1] else ids[t + 1]
            require(
                label == expected,
                f"place {t} of ids {ids} has label {label}, it should be {expected}: the label of a place is the id "
                "that comes next, where that id is trained, and -100 everywhere else",
            )


LABELS_STUB = '''
def labels(ids, trained):
    """The label of each place: the next id where that one is trained, else -100."""
    ...  # your code
'''
LABELS_SOLUTION = """
def labels(ids, trained):
    following = zip(ids[1:], trained[1:])
    return [i if yes else -100 for i, yes in following] + [-100]
"""
LABELS = Exercise(
    name="answer_labels",
    task="From ids and what is trained to labels: shifted once, -100 where nothing is asked.",
    function="labels",
    check=_check_labels,
    stub=LABELS_STUB,
    solution=LABELS_SOLUTION,
    hints=(
        "What is place t asked for: the token that stands there, or the one behind it?",
        "Whether a place has a label depends on the token that it is asked for, so ids and mask shift together.",
        "[i if yes else -100 for i, yes in zip(ids[1:], trained[1:])] + [-100]",
    ),
    mistakes={
        "no shift": Mistake(
            "\ndef labels(ids, trained):\n    return [i if yes else -100 for i, yes in zip(ids, trained)]\n",
            "you asked each place for the token that stands there: it can see it, and learns to copy; shift by one",
        ),
        "shifted twice": Mistake(
            "\ndef labels(ids, trained):\n"
            "    once = [i if yes else -100 for i, yes in zip(ids[1:], trained[1:])] + [-100]\n"
            "    return once[1:] + [-100]\n",
            "you shifted twice: each place is asked for the token after the next one",
        ),
        "mask not shifted": Mistake(
            "\ndef labels(ids, trained):\n"
            "    return [n if yes else -100 for n, yes in zip(ids[1:] + [-100], trained)]\n",
            "you shifted the ids and not the mask: the first token of an answer is not asked for, what follows it is",
        ),
        "zero for nothing": Mistake(
            LABELS_SOLUTION.replace("else -100", "else 0").replace("[-100]", "[0]"),
            "0 is a token like any other: what has no label is -100, which cross-entropy leaves out",
        ),
        "everything": Mistake(
            "\ndef labels(ids, trained):\n    return list(ids[1:]) + [-100]\n",
            "you labelled what the user said too: that is pretraining, and the model learns to ask",
        ),
    },
    probes=lambda: [(list(ids), list(trained)) for ids, trained in _cases(4)],
)


# ---------------------------------------------------------------- 2. who may look at whom


def _rows() -> list[list[int]]:
    return [[1, 1, 1, 2, 2], [1, 2, 3], [4, 4, 4, 4], [1, 1, 2, 2, 2, 3, 0, 0], [7]]


def _check_look(answer: Answer) -> None:
    for row in _rows():
        found = answer(list(row))
        size = len(row)
        require(
            len(found) == size and all(len(line) == size for line in found),
            f"give {size} lines of {size} yes or no, one line for each token that looks",
        )
        for q in range(size):
            for k in range(size):
                expected = k <= q and row[q] == row[k]
                require(
                    bool(found[q][k]) == expected,
                    f"documents {row}: token {q} {'may' if expected else 'may not'} look at token {k}: only at its own "
                    "document, and there at itself and what came before",
                )


LOOK_STUB = '''
def may_look(documents):
    """A table of True and False: line q, column k says whether token q may look at token k."""
    ...  # your code
'''
LOOK_SOLUTION = """
def may_look(documents):
    size = range(len(documents))
    return [[k <= q and documents[q] == documents[k] for k in size] for q in size]
"""
LOOK = Exercise(
    name="packed_look",
    task="Who may look at whom in a row of several conversations; documents[t] is the number of token t's.",
    function="may_look",
    check=_check_look,
    stub=LOOK_STUB,
    solution=LOOK_SOLUTION,
    hints=(
        "Two rules, and both must hold: one about order, one about documents.",
        "k <= q is the order (a token sees itself); documents[q] == documents[k] is the other.",
        "[[k <= q and documents[q] == documents[k] for k in size] for q in size]",
    ),
    mistakes={
        "order alone": Mistake(
            LOOK_SOLUTION.replace(" and documents[q] == documents[k]", ""),
            "every conversation sees the ones before it in its row: you left out the rule about documents",
        ),
        "documents alone": Mistake(
            LOOK_SOLUTION.replace("k <= q and ", ""),
            "a token sees what comes after it, the answer included: you left out the order",
        ),
        "not itself": Mistake(
            LOOK_SOLUTION.replace("k <= q", "k < q"),
            "a token must see itself: the first one of each document would look at nobody",
        ),
        "lines for columns": Mistake(
            LOOK_SOLUTION.replace("k <= q", "q <= k"),
            "lines and columns are exchanged: each line is a token that looks, each column one that is looked at",
        ),
    },
    probes=lambda: [(list(row),) for row in _rows()],
)


# ---------------------------------------------------------------- 3. too long


def _check_cut(answer: Answer) -> None:
    for ids, trained in _cases():
        for block in range(2, len(ids) + 3):
            found = answer(list(ids), list(trained), block)
            if len(ids) <= block:
                require(found is not None, f"an example of {len(ids)} tokens fits into {block}: keep it")
                require((list(found[0]), list(found[1])) == (ids, trained), "what fits stays as it is, whole")
                continue
            left = any(trained[1:block])
            require(
                (found is not None) == left,
                f"{trained} in a context of {block}: "
                + (
                    "a part of an answer fits, so keep that part"
                    if left
                    else "no token of an answer is left to learn from, so give None and count it"
                ),
            )
            if found is None:
                continue
            kept, mask = list(found[0]), list(found[1])
            require(len(kept) <= block, f"{len(kept)} tokens do not fit into a context of {block}")
            require(len(kept) == len(mask), "ids and trained are cut alike")
            require(
                kept == ids[:block],
                f"a context of {block} keeps the first {block} tokens: an answer without its beginning, or with an "
                "end that it did not have, is another answer",
            )
            require(mask == trained[:block], "what is trained does not change by cutting")


CUT_STUB = '''
def fit(ids, trained, block):
    """(ids, trained), cut to `block` tokens; None where no token of an answer would be left to learn from."""
    ...  # your code
'''
CUT_SOLUTION = """
def fit(ids, trained, block):
    kept = ids[:block], trained[:block]
    return kept if any(kept[1][1:]) else None
"""
CUT = Exercise(
    name="fit_example",
    task="An example in a context of `block` tokens: whole, cut so that a part of an answer stays, or None.",
    function="fit",
    check=_check_cut,
    stub=CUT_STUB,
    solution=CUT_SOLUTION,
    hints=(
        "Which end of a conversation can be cut so that what is left is still something that was said?",
        "Cut on the right. Then ask whether a trained token is left that has something before it.",
        "kept = ids[:block], trained[:block]; return kept if any(kept[1][1:]) else None",
    ),
    mistakes={
        "from the left": Mistake(
            CUT_SOLUTION.replace("ids[:block], trained[:block]", "ids[-block:], trained[-block:]"),
            "you kept the end and cut the question: the model learns to answer what it cannot read",
        ),
        "question alone": Mistake(
            "\ndef fit(ids, trained, block):\n    return ids[:block], trained[:block]\n",
            "an example without a trained token teaches nothing and takes a row: give None, so that it is counted",
        ),
        "drop all that is long": Mistake(
            "\ndef fit(ids, trained, block):\n    return (ids, trained) if len(ids) <= block else None\n",
            "you dropped every long example: a long answer to a short question can be learned in part",
        ),
        "made-up end": Mistake(
            "\ndef fit(ids, trained, block):\n"
            "    if len(ids) <= block:\n        return ids, trained\n"
            "    kept = ids[: block - 1] + ids[-1:], trained[: block - 1] + [True]\n"
            "    return kept if any(trained[1:block]) else None\n",
            "you put an end behind the cut answer: the model learns to stop in mid-sentence",
        ),
    },
    probes=lambda: [(list(ids), list(trained), b) for ids, trained in _cases(3) for b in (3, 6, 40)],
)

# ---------------------------------------------------------------- predictions


def _trained_share() -> float:
    """Of 500 requests of Storyland in the book's own template: trained tokens over all."""
    from finetuning.instruction.data import describe, training_examples

    return describe(training_examples(_tokenizer(), 500, seed=1))["trained_share"]


def _padding_share() -> float:
    """Of eight batches of 16 requests with a story in ten, each as wide as its longest."""
    from finetuning.instruction.data import training_examples
    from working_with_text_data import story_corpus
    from working_with_text_data.example_batches import ExampleBatches

    stories = story_corpus(n_stories=30, seed=3)
    examples = training_examples(_tokenizer(), 270, seed=1, stories=stories)
    loader = ExampleBatches(examples, 16, 256, seed=1, pad_id=-1)
    tables = [next(loader)[0] for _ in range(8)]
    return sum(int((x < 0).sum()) for x in tables) / sum(x.numel() for x in tables)


def _tokenizer() -> Any:
    from gpt_model.loading import find_checkpoint
    from working_with_text_data import load_tokenizer

    return load_tokenizer(find_checkpoint("assets") / "tokenizer.json")


EXERCISES = (LABELS, LOOK, CUT)
PREDICTIONS = (
    Prediction(
        "trained_share_of_a_request",
        answer=_trained_share,
        because="The model reads all of it and is asked for the answer and its end alone.",
    ),
    Prediction(
        "padding_share_of_a_batch",
        answer=_padding_share,
        because="One long conversation makes its whole batch wide; the longer the tail, the more holes.",
    ),
    Prediction(
        "greetings_right_before_tuning",
        answer=0,
        unit="of 50",
        because="The model knows every word of the request and of the answer, and was never asked so.",
    ),
)
