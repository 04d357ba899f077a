"""The exercises of notebook 05, with their checkers: padding on the left, a full batch, whole characters.

Three small functions that every server of language models contains. Each checker tests properties, so any right
answer passes, and knows how the step usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution
passes, the stub fails and each classic mistake is named. Left out: the cache (notebook 05 of the attention chapter).
Notebook: `05_generation_engine.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. prompts of different lengths


def _rows(value: Any, what: str) -> list[list[int]]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    ok = isinstance(listed, list | tuple) and all(isinstance(row, list | tuple) for row in listed)
    require(ok, f"{what} must be a table, (prompts, places), not {type(value).__name__}")
    return [[int(cell) for cell in row] for row in listed]


def _three(value: Any) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    ok = isinstance(value, list | tuple) and len(value) == 3
    require(ok, f"give three tables: ids, mask, positions; not {type(value).__name__}")
    ids, mask, positions = (
        _rows(part, name) for part, name in zip(value, ("ids", "mask", "positions"), strict=True)
    )
    return ids, mask, positions


def _check_pad(answer: Answer) -> None:
    for prompts in ([[7]], [[5, 6, 7], [8, 9]], [[4], [1, 2, 3, 4, 5], [6, 7, 8]], [[3, 1], [2, 2]]):
        width = max(map(len, prompts))
        ids, mask, positions = _three(answer([list(prompt) for prompt in prompts]))
        for what, table in (("ids", ids), ("mask", mask), ("positions", positions)):
            require(
                [len(row) for row in table] == [width] * len(prompts),
                f"{what}: {len(prompts)} prompts, the longest of {width} tokens, give rows of {width} places",
            )
        for prompt, row, real, places in zip(prompts, ids, mask, positions, strict=True):
            n, missing = len(prompt), width - len(prompt)
            require(
                row[missing:] == prompt,
                "prompts end together: the last place of each row is its newest token",
            )
            require(real == [0] * missing + [1] * n, "the mask is 1 for a real token and 0 for padding")
            require(
                places[missing:] == list(range(n)), "a row's first real token has position 0, padded or not"
            )
            require(
                min(places) >= 0,
                "no position is below 0, not even that of padding: there is no such embedding",
            )


def _same_padding(a: Any, b: Any) -> bool:
    (ids, mask, places), (ids2, mask2, places2) = _three(a), _three(b)
    seen = [[p for p, m in zip(row, own, strict=True) if m] for row, own in zip(places, mask, strict=True)]
    seen2 = [[p for p, m in zip(row, own, strict=True) if m] for row, own in zip(places2, mask2, strict=True)]
    return ids == ids2 and mask == mask2 and seen == seen2


PAD_STUB = '''
def pad_left(prompts):
    """Lists of ids of different lengths -> ids, mask (1 real, 0 padding) and positions, all (prompts, places)."""
    ...  # your code; tensors or nested lists
'''
PAD_SOLUTION = """
def pad_left(prompts):
    width = max(len(prompt) for prompt in prompts)
    missing = [width - len(prompt) for prompt in prompts]
    ids = [[0] * n + list(prompt) for n, prompt in zip(missing, prompts)]
    mask = [[0] * n + [1] * (width - n) for n in missing]
    positions = [[0] * n + list(range(width - n)) for n in missing]
    return ids, mask, positions
"""

PAD = Exercise(
    name="pad_left",
    task="Give all prompts one length, say which places are real, and count positions from each row's own beginning.",
    function="pad_left",
    check=_check_pad,
    stub=PAD_STUB,
    solution=PAD_SOLUTION,
    hints=(
        "The next token is appended to all rows at once, at one place. So where must all rows end?",
        "missing = width - len(prompt) zeros in front; mask and positions begin after them.",
        "ids: [0] * n + prompt; mask: [0] * n + [1] * (width - n); positions: [0] * n + list(range(width - n)).",
    ),
    mistakes={
        "on the right": Mistake(
            PAD_SOLUTION.replace("[0] * n + list(prompt)", "list(prompt) + [0] * n")
            .replace("[0] * n + [1] * (width - n)", "[1] * (width - n) + [0] * n")
            .replace("[0] * n + list(range(width - n))", "list(range(width - n)) + [0] * n"),
            "you padded on the right: that is for training. Here the last place would be padding, and the next token "
            "would be asked of it",
        ),
        "positions of places": Mistake(
            PAD_SOLUTION.replace("[0] * n + list(range(width - n))", "list(range(width))"),
            "you counted positions from the edge of the table: a padded row would then begin in the middle of a text. "
            "Count real tokens only",
        ),
        "mask of ones": Mistake(
            PAD_SOLUTION.replace("[0] * n + [1] * (width - n)", "[1] * width"),
            "you called everything real: every token of the short rows would look at padding",
        ),
        "mask turned round": Mistake(
            PAD_SOLUTION.replace("[0] * n + [1] * (width - n)", "[1] * n + [0] * (width - n)"),
            "you marked the padding: 1 is for real tokens, what may be looked at",
        ),
        "cut": Mistake(
            PAD_SOLUTION.replace("max(", "min(").replace("list(prompt)", "list(prompt)[:width]"),
            "you cut all prompts to the shortest: nothing of a prompt may be lost",
        ),
    },
    probes=lambda: [([[5, 6, 7], [8, 9]],), ([[4], [1, 2, 3, 4, 5], [6, 7, 8]],)],
    same=_same_padding,
)


# ---------------------------------------------------------------- 2. a batch that stays full


def _served(answers: list[int], places: int) -> list[int]:
    """By counting: request i begins at the earliest moment at which a place is free, in order of arrival."""
    free_at, written = [0] * places, [0] * sum(answers)
    for length in answers:
        place = free_at.index(min(free_at))
        for step in range(free_at[place], free_at[place] + length):
            written[step] += 1
        free_at[place] += length
    return [count for count in written if count]


def _check_occupancy(answer: Answer) -> None:
    cases: list[tuple[list[int], int, str]] = [
        ([3], 1, "one request of three tokens is three steps of one row"),
        ([2, 2], 2, "two requests, two places: side by side"),
        ([1, 3, 2], 2, "the first leaves after one step, and the third takes its place in the very next one"),
        ([4, 1, 1, 1], 2, "three short answers pass through one place while a long one uses the other"),
        ([2, 5, 1, 3, 1, 4], 3, "first come, first served"),
        ([1, 2], 5, "more places than requests: nobody waits"),
    ]
    for answers, places, lesson in cases:
        found = answer(list(answers), places)
        found = found.tolist() if hasattr(found, "tolist") else found
        require(
            isinstance(found, list | tuple), f"give a list, one number a step, not {type(found).__name__}"
        )
        wanted = _served(answers, places)
        require(
            list(found) == wanted,
            f"{lesson}: answers of {answers} tokens in {places} place{'s' * (places > 1)} give {wanted}, but yours is "
            f"{list(found)}",
        )


OCCUPANCY_STUB = '''
def occupancy(answers, places):
    """Answers of so many tokens wait in order. How many rows write at each step, with continuous batching?"""
    ...  # your code; a list with one number for each step
'''
OCCUPANCY_SOLUTION = """
def occupancy(answers, places):
    waiting, writing, busy = list(answers), [], []
    while waiting or writing:
        while waiting and len(writing) < places:
            writing.append(waiting.pop(0))
        busy.append(len(writing))
        writing = [left - 1 for left in writing if left > 1]
    return busy
"""

OCCUPANCY = Exercise(
    name="occupancy",
    task="Say how many rows write at each step when a place that becomes free is taken at once by the next in line.",
    function="occupancy",
    check=_check_occupancy,
    stub=OCCUPANCY_STUB,
    solution=OCCUPANCY_SOLUTION,
    hints=(
        "Keep two lists: who waits, and for each row that writes, how many tokens it still owes.",
        "A step is: fill the free places from the front of the queue, count the rows, take one token off each.",
        "while waiting or writing: fill; busy.append(len(writing)); "
        "writing = [left - 1 for left in writing if left > 1].",
    ),
    mistakes={
        "whole groups": Mistake(
            OCCUPANCY_SOLUTION.replace(
                "while waiting and len(writing) < places:",
                "for _ in range(0 if writing else min(places, len(waiting))):",
            ),
            "you let a new group in only when the last of the old one has ended: static batching, the thing "
            "to be replaced",
        ),
        "shortest first": Mistake(
            OCCUPANCY_SOLUTION.replace("list(answers)", "sorted(answers)"),
            "you served the shortest first: nobody knows beforehand how long an answer will be, and long ones would "
            "wait for ever",
        ),
        "longest first": Mistake(
            OCCUPANCY_SOLUTION.replace("list(answers)", "sorted(answers, reverse=True)"),
            "you served the longest first: it packs best, but nobody knows beforehand how long an answer will be",
        ),
        "last come": Mistake(
            OCCUPANCY_SOLUTION.replace("pop(0)", "pop()"),
            "you took the next from the end of the queue: who came first would be served last",
        ),
        "everybody at once": Mistake(
            OCCUPANCY_SOLUTION.replace(" and len(writing) < places", ""),
            "you let everybody in: the cache has only so many places",
        ),
        "a step lost": Mistake(
            OCCUPANCY_SOLUTION.replace(
                "left - 1 for left in writing if left > 1", "left - 1 for left in writing if left > 0"
            ),
            "a row that has ended keeps its place for one step more: it must leave with its last token",
        ),
    },
    probes=lambda: [([1, 3, 2], 2), ([4, 1, 1, 1], 2), ([2, 5, 1, 3, 1, 4], 3)],
    same=lambda a, b: list(a) == list(b),
)


# ---------------------------------------------------------------- 3. no half characters

_TEXT = "Zoë 🦊!"


def _cut(text: str, sizes: tuple[int, ...]) -> list[bytes]:
    """The text's bytes, cut into pieces of these sizes in turn."""
    data, pieces, i = text.encode(), [], 0
    while data:
        size = sizes[i % len(sizes)]
        pieces.append(data[:size])
        data, i = data[size:], i + 1
    return pieces


def _certain(data: bytes) -> str:
    """All whole characters at the beginning of some bytes; at most three bytes are left over."""
    for left in range(4):
        try:
            return data[: len(data) - left].decode()
        except UnicodeDecodeError:
            continue
    raise AssertionError("the cases are cuts of real texts")


def _check_stream(answer: Answer) -> None:
    cases = [_cut(_TEXT, sizes) for sizes in ((99,), (1,), (2,), (3, 1), (5, 2))]
    cases += [_cut(_TEXT, (1,))[:-2], [], [b"a", b"", b"b"]]
    for pieces in cases:
        found = answer(list(pieces))
        ok = isinstance(found, list | tuple) and all(isinstance(text, str) for text in found)
        require(ok, "give a list of texts (str)")
        require(
            len(found) == len(pieces) + 1,
            f"{len(pieces)} pieces give {len(pieces)} texts and one more for what is left at the end, not {len(found)}",
        )
        for i in range(len(pieces)):
            sure, shown = _certain(b"".join(pieces[: i + 1])), "".join(found[: i + 1])
            require(
                shown == sure,
                f"after {pieces[: i + 1]} exactly {sure!r} is certain, but you have shown {shown!r}",
            )
        whole = b"".join(pieces).decode("utf-8", "replace")
        require(
            "".join(found) == whole,
            f"the end: bytes of a character that never became whole are shown as one U+FFFD, {whole!r}, but your texts "
            f"make {''.join(found)!r}",
        )


STREAM_STUB = '''
def whole_characters(pieces):
    """Pieces of UTF-8 (bytes) as they come -> for each the text that is certain now, and last what is left over."""
    ...  # your code; a list of len(pieces) + 1 texts
'''
STREAM_SOLUTION = """
import codecs

def whole_characters(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [decoder.decode(piece) for piece in pieces] + [decoder.decode(b"", final=True)]
"""

STREAM = Exercise(
    name="whole_characters",
    task="Show each character as soon as its last byte is there, and never half of one.",
    function="whole_characters",
    check=_check_stream,
    stub=STREAM_STUB,
    solution=STREAM_SOLUTION,
    hints=(
        "A character has up to four bytes, and a piece may end between them. What must be carried to the next piece?",
        "Python has a decoder that remembers unfinished bytes: codecs.getincrementaldecoder.",
        'decoder = codecs.getincrementaldecoder("utf-8")(errors="replace"); decoder.decode(piece) for each; at the end '
        'decoder.decode(b"", final=True).',
    ),
    mistakes={
        "each alone": Mistake(
            "def whole_characters(pieces):\n"
            '    return [piece.decode("utf-8", "replace") for piece in pieces] + [""]\n',
            "you decoded each piece alone: a character that is cut in two becomes two question marks and never a fox",
        ),
        "left out": Mistake(
            "def whole_characters(pieces):\n"
            '    return [piece.decode("utf-8", "ignore") for piece in pieces] + [""]\n',
            "you threw unfinished bytes away: the character that they begin is lost for good",
        ),
        "latin-1": Mistake(
            'def whole_characters(pieces):\n    return [piece.decode("latin-1") for piece in pieces] + [""]\n',
            "you took each byte for a character: that is latin-1, where ë becomes Ã«",
        ),
        "all at the end": Mistake(
            "def whole_characters(pieces):\n"
            '    return [""] * len(pieces) + [b"".join(pieces).decode("utf-8", "replace")]\n',
            "you kept everything to the end: right, but no stream any more",
        ),
        "no end": Mistake(
            STREAM_SOLUTION.replace('[decoder.decode(b"", final=True)]', '[""]'),
            "you never asked for what is left: bytes of an unfinished character vanish without a sign",
        ),
        "from the beginning": Mistake(
            "def whole_characters(pieces):\n"
            '    so_far = [b"".join(pieces[: i + 1]).decode("utf-8", "replace") for i in range(len(pieces))]\n'
            '    return so_far + [""]\n',
            "you showed the whole text again with every piece: give only what is new",
        ),
    },
    probes=lambda: [(_cut(_TEXT, (2,)),), (_cut(_TEXT, (1,))[:-2],)],
    same=lambda a, b: list(a) == list(b),
)

EXERCISES = [PAD, OCCUPANCY, STREAM]

ANSWERS = [30, 8, 6, 24, 5, 10, 7, 12]  # tokens of the eight answers that the notebook serves, four at a time


def _static_steps() -> int:
    return sum(max(ANSWERS[i : i + 4]) for i in range(0, len(ANSWERS), 4))


def _gpt2_bytes_saved() -> float:
    weights, cache = 124_439_808 * 2, 36_864 * 512
    return (weights + cache) / (weights / 16 + cache)


PREDICTIONS = [
    Prediction(
        "tokens_copied_by_cat",
        sum(range(256)),
        "tokens",
        "0 + 1 + … + 255: each step copies all that was there. Into a place that is kept free, none.",
    ),
    Prediction(
        "static_steps",
        _static_steps,
        "steps",
        "Each group of four waits for its longest answer.",
    ),
    Prediction(
        "fewer_bytes_a_token",
        _gpt2_bytes_saved,
        "times",
        "(249 + 19) MB alone; 249 / 16 + 19 MB in company: weights are shared, keys and values are not.",
    ),
    Prediction(
        "int4_bits",
        4 + 2 * 32 / 64,
        "bits",
        "Four for the code; a step and a middle in float32, shared by 64.",
    ),
    Prediction(
        "gpt2_on_h200",
        4.8e12 / (124_439_808 * 2),
        "tokens a second",
        "4.8 TB/s over 249 MB, an empty cache, one row; nothing else counted.",
    ),
]
