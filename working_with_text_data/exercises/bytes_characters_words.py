"""The exercises of notebook 01, with their checkers: read UTF-8 by its bits, count characters, bits per byte.

Each is a few lines about something that goes wrong often: which bits of a byte carry the character and which
are a marker, how many characters a row of bytes holds, and how losses of models with different tokenizers are
compared. A checker tests properties, so any right answer passes. The tests prove (`utils.exercises.prove`)
that the solution passes, the stub fails and each classic mistake is named.
Left out: invalid UTF-8, which Python's own decoder judges. Notebook: `01_bytes_characters_words.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _integer(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole, f"give one whole number, not {type(value).__name__}")
    return int(value)


# ---------------------------------------------------------------- 1. from bytes to a code point


def _check_code_point(answer: Answer) -> None:
    # The first and last character of each length, and some in between.
    for character in ("a", "\x00", "\x7f", "\x80", "é", "\u07ff", "\u0800", "€", "語", "\U00010000", "🙂"):
        data = character.encode("utf-8")
        found = _integer(answer(data))
        bits = " ".join(f"{byte:08b}" for byte in data)
        require(
            found == ord(character),
            f"the bytes {bits} are U+{ord(character):04X}, but you give {found:#x}",
        )


CODE_POINT_STUB = '''
def code_point_of(data):
    """The number of the one character whose UTF-8 bytes are `data` (1 to 4 bytes)."""
    ...  # your code
'''
CODE_POINT_SOLUTION = """
def code_point_of(data):
    point = data[0] if len(data) == 1 else data[0] & (0b0111_1111 >> len(data))
    for byte in data[1:]:
        point = (point << 6) | (byte & 0b0011_1111)
    return point
"""

CODE_POINT = Exercise(
    name="code_point_of",
    task="Take the bytes of one character apart and put its code point together, without bytes.decode.",
    function="code_point_of",
    check=_check_code_point,
    stub=CODE_POINT_STUB,
    solution=CODE_POINT_SOLUTION,
    hints=(
        "In the figure, which bits are blue? Only these belong to the number; read them from left to right.",
        "A following byte gives 6 bits: byte & 0b0011_1111. The first of n bytes gives 7 - n, but of 1 byte 7.",
        "Begin with the first byte's own bits; for each byte after it: point = (point << 6) | (byte & 0b0011_1111).",
    ),
    mistakes={
        "marker of the first byte": Mistake(
            CODE_POINT_SOLUTION.replace(" & (0b0111_1111 >> len(data))", ""),
            "you kept the marker of the first byte (110, 1110 or 11110): it only says how many bytes there are",
        ),
        "marker of the others": Mistake(
            CODE_POINT_SOLUTION.replace("byte & 0b0011_1111", "byte"),
            "you kept the marker 10 of the following bytes: mask it away, only 6 bits of them count",
        ),
        "eight bits": Mistake(
            CODE_POINT_SOLUTION.replace("<< 6", "<< 8"),
            "you moved by 8 bits: a following byte carries only 6 bits, so make room for 6",
        ),
        "backwards": Mistake(
            CODE_POINT_SOLUTION.replace("in data[1:]", "in reversed(data[1:])"),
            "you read the following bytes from the back: in UTF-8 the highest bits come first",
        ),
        "ascii cut": Mistake(
            CODE_POINT_SOLUTION.replace("data[0] if len(data) == 1 else data[0]", "data[0]"),
            "a single byte has a marker of one bit (0) and keeps 7; your mask leaves 6, and letters are lost",
        ),
        "first only": Mistake(
            """
def code_point_of(data):
    return data[0]
""",
            "you looked at the first byte only: that is right for ASCII and for nothing else",
        ),
    },
    probes=lambda: [(character.encode("utf-8"),) for character in "zé€語🙂"],
)


# ---------------------------------------------------------------- 2. characters without decoding


def _check_count(answer: Answer) -> None:
    for text in ("", "plain", "é", "naïve café", "Дети читают", "本を読む", "🙂🙃", "e\u0301", "a本é🙂\n"):
        found = _integer(answer(text.encode("utf-8")))
        require(
            found == len(text),
            f"{text!r} has {len(text)} code points in {len(text.encode('utf-8'))} bytes, but you count {found}",
        )


COUNT_STUB = '''
def count_characters(data):
    """How many code points the UTF-8 bytes `data` hold, by looking at single bytes."""
    ...  # your code
'''
COUNT_SOLUTION = """
def count_characters(data):
    return sum(byte & 0b1100_0000 != 0b1000_0000 for byte in data)
"""

COUNT = Exercise(
    name="count_characters",
    task="Count the characters in a row of UTF-8 bytes without decoding them.",
    function="count_characters",
    check=_check_count,
    stub=COUNT_STUB,
    solution=COUNT_SOLUTION,
    hints=(
        "Each character has exactly one first byte. How does one see that a byte is not a first byte?",
        "Following bytes, and only they, begin with the bits 10. Count all the others.",
        "A byte follows when byte & 0b1100_0000 == 0b1000_0000; sum up the opposite.",
    ),
    mistakes={
        "bytes": Mistake(
            COUNT_SOLUTION.replace("sum(byte & 0b1100_0000 != 0b1000_0000 for byte in data)", "len(data)"),
            "you counted bytes: é has two of them, and is one character",
        ),
        "ascii only": Mistake(
            COUNT_SOLUTION.replace("byte & 0b1100_0000 != 0b1000_0000", "byte < 0b1000_0000"),
            "you counted ASCII only: a first byte of a longer character begins with 11, and counts as well",
        ),
        "long only": Mistake(
            COUNT_SOLUTION.replace("byte & 0b1100_0000 != 0b1000_0000", "byte >= 0b1100_0000"),
            "you counted only bytes that begin with 11: an ASCII character is a first byte too",
        ),
        "followers": Mistake(
            COUNT_SOLUTION.replace("!=", "=="),
            "you counted the following bytes: these are the ones to leave out",
        ),
    },
    probes=lambda: [("naïve 本🙂".encode(),), (b"a",), ("é".encode(),)],
)


# ---------------------------------------------------------------- 3. bits per byte


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def _check_bits(answer: Answer) -> None:
    def value(loss: float, tokens: int, text: str) -> float:
        return _number(answer(loss, tokens, text))

    plain = value(math.log(2), 12, "twelve bytes")
    require(_close(plain, 1.0), f"ln 2 nats for each byte are 1 bit per byte, but you give {plain:.4g}")
    text = "naïve café"  # 10 characters, 12 bytes
    even = value(math.log(256), 12, text)
    require(
        _close(even, 8.0),
        f"a model of single bytes that knows nothing needs 8 bits per byte for {text!r}, but you give {even:.4g}",
    )
    fewer = value(2 * math.log(2), 3, text)
    require(
        _close(fewer, 0.5),
        f"3 tokens of 2 bits each, for 12 bytes, are 0.5 bits per byte, but you give {fewer:.4g}",
    )
    one, two = value(1.5, 40, "ж" * 50), value(3.0, 20, "ж" * 50)
    require(
        _close(one, two),
        f"half the tokens at twice the loss is the same surprise, but you give {one:.4g} and {two:.4g}",
    )


BITS_STUB = '''
def bits_per_byte(nats_per_token, n_tokens, text):
    """What a loss means per byte of `text`, which its tokenizer cut into `n_tokens` tokens."""
    ...  # your code
'''
BITS_SOLUTION = """
import math

def bits_per_byte(nats_per_token, n_tokens, text):
    nats = nats_per_token * n_tokens
    return nats / math.log(2) / len(text.encode("utf-8"))
"""

BITS = Exercise(
    name="bits_per_byte",
    task="Turn a loss in nats per token into bits per byte, which models with different tokenizers share.",
    function="bits_per_byte",
    check=_check_bits,
    stub=BITS_STUB,
    solution=BITS_SOLUTION,
    hints=(
        "How surprised is the model by the whole text, in nats? That does not depend on how it was cut.",
        "One bit is ln 2 = 0.693 nats. Is the number of bits larger or smaller than the number of nats?",
        "nats_per_token * n_tokens, divided by math.log(2), divided by len(text.encode('utf-8')).",
    ),
    mistakes={
        "nats": Mistake(
            BITS_SOLUTION.replace(" / math.log(2)", ""),
            "you gave nats per byte: divide by ln 2, because one bit is 0.693 nats",
        ),
        "times ln 2": Mistake(
            BITS_SOLUTION.replace("/ math.log(2)", "* math.log(2)"),
            "you multiplied by ln 2: a bit is smaller than a nat, so there are more bits; divide",
        ),
        "characters": Mistake(
            BITS_SOLUTION.replace('len(text.encode("utf-8"))', "len(text)"),
            "you divided by characters: encode the text and count its bytes, or Russian looks twice as hard",
        ),
        "per token": Mistake(
            """
import math

def bits_per_byte(nats_per_token, n_tokens, text):
    return nats_per_token / math.log(2)
""",
            "you gave bits per token: multiply by the tokens and divide by the bytes, or long tokens look bad",
        ),
        "upside down": Mistake(
            """
import math

def bits_per_byte(nats_per_token, n_tokens, text):
    return nats_per_token / math.log(2) * len(text.encode("utf-8")) / n_tokens
""",
            "you have tokens and bytes upside down: the loss is per token, so multiply by the tokens first",
        ),
        "forgot the tokens": Mistake(
            BITS_SOLUTION.replace("nats_per_token * n_tokens", "nats_per_token"),
            "you divided the loss of one token by the bytes of the whole text: multiply by n_tokens first",
        ),
    },
    probes=lambda: [(1.7, 95, "Jack was a tidy boy. " * 18), (4.0, 7, "наïve 本")],
    same=lambda a, b: _close(_number(a), _number(b)),
)

EXERCISES = [CODE_POINT, COUNT, BITS]

PREDICTIONS = [
    Prediction(
        "bytes_of_a_family",
        25,
        "bytes",
        "Four people of 4 bytes each, glued by three joiners of 3 bytes each: 7 code points for one picture.",
    ),
    Prediction(
        "bytes_that_never_occur",
        13,
        "bytes",
        "C0 and C1 would write ASCII in two bytes, which is forbidden; F5 to FF would go beyond U+10FFFF.",
    ),
    Prediction(
        "bits_per_byte_of_no_opinion",
        8,
        "bits per byte",
        "A byte has 8 bits, and one who knows nothing needs them all: log2(256).",
    ),
]
