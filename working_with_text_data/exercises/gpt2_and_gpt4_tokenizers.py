"""The exercises of notebook 03, with their checkers: the byte map, digits in threes, control words.

They are the three parts of a tokenizer that are not merges, and each is wrong in ways that no look at an English
text shows. The checkers test properties on inputs of their own and know how the step usually goes wrong; the
tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each mistake is named.

`PUBLISHED_IDS` and `PUBLISHED_SHAPES` are facts about vocabularies whose rank files are not part of the book:
what tiktoken 0.14.0 gives. The tests compare them with the files themselves, where those are at hand.

Left out: the split patterns' other rules (`patterns`). Notebook: `03_gpt2_and_gpt4_tokenizers.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require
from working_with_text_data.byte_letters import LETTER_OF_BYTE

Answer = Callable[..., Any]

SOURCE = "tiktoken 0.14.0"
# text → encoding → ids. Short texts, each with something that the three cut in different ways.
PUBLISHED_IDS: dict[str, dict[str, list[int]]] = {
    "hello world": {"gpt2": [31373, 995], "cl100k_base": [15339, 1917], "o200k_base": [24912, 2375]},
    "Hello, world!": {
        "gpt2": [15496, 11, 995, 0],
        "cl100k_base": [9906, 11, 1917, 0],
        "o200k_base": [13225, 11, 2375, 0],
    },
    "\r\n\r\n": {"gpt2": [201, 198, 201, 198], "cl100k_base": [881], "o200k_base": [1414]},
    "        return x\n": {
        "gpt2": [220, 220, 220, 220, 220, 220, 220, 1441, 2124, 198],
        "cl100k_base": [286, 471, 865, 198],
        "o200k_base": [309, 622, 1215, 198],
    },
    "हिन्दी": {
        "gpt2": [11976, 117, 11976, 123, 11976, 101, 24231, 235, 11976, 99, 24231, 222],
        "cl100k_base": [95048, 43411, 101, 31584, 99, 44747],
        "o200k_base": [1554, 71602, 840],
    },
    "<|endoftext|>": {
        "gpt2": [27, 91, 437, 1659, 5239, 91, 29],
        "cl100k_base": [27, 91, 8862, 728, 428, 91, 29],
        "o200k_base": [27, 91, 419, 1440, 919, 91, 29],
    },
}
# How " 1000" … " 9999" are cut: digits in each token → how many of the 9,000 numbers. The space has no digit.
PUBLISHED_SHAPES: dict[str, dict[str, int]] = {
    "gpt2": {"2+2": 4680, "1+3": 3417, "3+1": 513, "1+2+1": 214, "4": 176},
    "cl100k_base": {"3+1": 9000},
}


# ---------------------------------------------------------------- 1. the byte map


def _letters(value: Any) -> dict[int, str]:
    require(isinstance(value, Mapping), f"give a dict from byte to letter, not {type(value).__name__}")
    return {int(byte): letter for byte, letter in value.items()}


def _same_letters(a: Any, b: Any) -> bool:
    return _letters(a) == _letters(b)


def _check_letters(answer: Answer) -> None:
    found = _letters(answer())
    require(set(found) == set(range(256)), f"each of the 256 bytes needs a letter, but you give {len(found)}")
    twice = [letter for letter in found.values() if list(found.values()).count(letter) > 1]
    require(not twice, f"two bytes share the letter {twice[:1]}: then nobody can read the file back")
    require(all(len(letter) == 1 for letter in found.values()), "one letter for a byte, no more")
    blank = [byte for byte, letter in found.items() if letter.isspace() or not letter.isprintable()]
    require(not blank, f"byte {blank[:1]} has no visible letter, and would cut a line of the file in two")
    for byte, letter in LETTER_OF_BYTE.items():
        require(
            found[byte] == letter,
            f"GPT-2's letter for byte {byte} is {letter!r} (U+{ord(letter):04X}), but you give {found[byte]!r}",
        )


LETTERS_STUB = '''
def byte_letters():
    """A dict: each of the 256 bytes -> GPT-2's visible letter for it."""
    ...  # your code
'''
LETTERS_SOLUTION = """
def byte_letters():
    letters, moved = {}, 0
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + moved)
            moved += 1
    return letters
"""
_VISIBLE = "33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255"

LETTERS = Exercise(
    name="byte_letters",
    task="Give each of the 256 bytes the visible letter that GPT-2's files write for it.",
    function="byte_letters",
    check=_check_letters,
    stub=LETTERS_STUB,
    solution=LETTERS_SOLUTION,
    hints=(
        "Two kinds of bytes: 188 keep their sign, 68 get a new one. Where does each new sign come from?",
        "Walk over the bytes in order and number those that move: 0, 1, 2, … The letter is that number plus 256.",
        f"if {_VISIBLE}: chr(byte); else chr(256 + moved), and then moved += 1.",
    ),
    mistakes={
        "byte plus 256": Mistake(
            LETTERS_SOLUTION.replace("chr(256 + moved)", "chr(256 + byte)"),
            "you add 256 to the byte itself: that is right up to the space and wrong from 127 on, because the moved "
            "bytes are numbered among themselves",
        ),
        "isprintable": Mistake(
            LETTERS_SOLUTION.replace(_VISIBLE, "chr(byte).isprintable()"),
            "you asked str.isprintable, and Python calls the space printable: the space is the very byte that has "
            "to become visible",
        ),
        "all moved": Mistake(
            LETTERS_SOLUTION.replace(_VISIBLE, "False"),
            "you moved all 256 bytes: those that print as themselves keep their sign, so that `the` reads `the`",
        ),
        "latin-1": Mistake(
            LETTERS_SOLUTION.replace(_VISIBLE, "True"),
            "you decoded as Latin-1: every byte has a character there, but 68 of them cannot be seen",
        ),
        "soft hyphen": Mistake(
            LETTERS_SOLUTION.replace("161 <= byte <= 172 or 174 <= byte <= 255", "161 <= byte <= 255"),
            "you kept byte 173, the soft hyphen: it is in the middle of visible signs and cannot be seen itself",
        ),
        "ASCII only": Mistake(
            LETTERS_SOLUTION.replace(_VISIBLE, "33 <= byte <= 126"),
            "you kept the visible ASCII signs only: those of Latin-1, ¡ to ÿ, keep their sign as well",
        ),
        "range ends": Mistake(
            LETTERS_SOLUTION.replace(_VISIBLE, "33 <= byte < 126 or 161 <= byte < 172 or 174 <= byte < 255"),
            "you left out the last of each run, ~, ¬ and ÿ: range and < do not include their end",
        ),
    },
    probes=lambda: [()],
    same=_same_letters,
)


# ---------------------------------------------------------------- 2. digits in threes


def _groups(value: Any) -> list[Any]:
    require(isinstance(value, list | tuple), f"give a list of strings, not {type(value).__name__}")
    return list(value)


def _same_groups(a: Any, b: Any) -> bool:
    return _groups(a) == _groups(b)


def _check_groups(answer: Answer) -> None:
    cases = [
        ("123", ["123"], "three digits are one group"),
        ("7", ["7"], "a single digit is a group of its own"),
        ("123456", ["123", "456"], "six digits are two full groups"),
        ("1234", ["123", "4"], "groups are counted from the left, and what is left over stands last"),
        ("20480", ["204", "80"], "five digits are three and two"),
        ("0048", ["004", "8"], "groups are text: a zero in front is a digit like any other"),
        ("", [], "no digit, no group"),
    ]
    for digits, wanted, lesson in cases:
        found = _groups(answer(digits))
        require(found == wanted, f"{lesson}: {digits!r} becomes {wanted}, but you give {found}")
    for length in range(1, 30):
        digits = "31415926535897932384626433832"[:length]
        found = _groups(answer(digits))
        require("".join(map(str, found)) == digits, f"the groups of {digits!r} must give it back when joined")


GROUPS_STUB = '''
def group_digits(digits):
    """The groups in which cl100k cuts a row of digits: "1234567" -> three strings."""
    ...  # your code
'''
GROUPS_SOLUTION = """
def group_digits(digits):
    return [digits[i : i + 3] for i in range(0, len(digits), 3)]
"""

GROUPS = Exercise(
    name="group_digits",
    task="Cut a row of digits into groups of at most three, from the left.",
    function="group_digits",
    check=_check_groups,
    stub=GROUPS_STUB,
    solution=GROUPS_SOLUTION,
    hints=(
        "A regular expression reads from left to right and takes as much as it may. Where does group two begin?",
        "Groups begin at 0, 3, 6, …: that is range(0, len(digits), 3).",
        "A slice digits[i : i + 3] for each of these i; the last one is shorter by itself.",
    ),
    mistakes={
        "from the right": Mistake(
            """
def group_digits(digits):
    first = len(digits) % 3
    head = [digits[:first]] if first else []
    return head + [digits[i : i + 3] for i in range(first, len(digits), 3)]
""",
            "you group from the right, as people write thousands. It may well be the better idea, but a regular "
            "expression reads from the left",
        ),
        "rest lost": Mistake(
            GROUPS_SOLUTION.replace("range(0, len(digits), 3)", "range(0, len(digits) - 2, 3)"),
            "you lose the digits that do not fill a group: the last group may have one or two",
        ),
        "numbers": Mistake(
            GROUPS_SOLUTION.replace("[digits[i : i + 3]", "[int(digits[i : i + 3])"),
            "you made numbers of the groups: 048 and 48 are different texts, keep the strings",
        ),
        "zeros filled in": Mistake(
            GROUPS_SOLUTION.replace("digits[i : i + 3]", "digits[i : i + 3].zfill(3)"),
            "you fill the last group with zeros: a tokenizer must never add a character",
        ),
        "every place": Mistake(
            GROUPS_SOLUTION.replace("range(0, len(digits), 3)", "range(len(digits))"),
            "your groups overlap: the next one begins where the last one ended, three places on",
        ),
        "three groups": Mistake(
            """
def group_digits(digits):
    size = -(-len(digits) // 3) or 1
    return [digits[i : i + size] for i in range(0, len(digits), size)]
""",
            "you cut into three groups: it is three digits a group, and as many groups as it takes",
        ),
    },
    probes=lambda: [("1234567",), ("0048",), ("12345",), ("123456789012",), ("",)],
    same=_same_groups,
)


# ---------------------------------------------------------------- 3. control words

_WORDS = {"<|end|>": 256, "<|end|><|end|>": 257, "[+]": 258}


def _ids(value: Any) -> list[int]:
    require(isinstance(value, list | tuple), f"give a list of ids, not {type(value).__name__}")
    return [int(i) for i in value]


def _same_ids(a: Any, b: Any) -> bool:
    return _ids(a) == _ids(b)


def _check_specials(answer: Answer) -> None:
    every = set(_WORDS)
    two = {"<|end|>", "<|end|><|end|>"}
    plain = {text: list(text.encode()) for text in ("a", "<|end", "é[", "b<|endof|>")}
    cases: list[tuple[str, set[str], list[int], str]] = [
        ("", every, [], "no text has no ids"),
        *((text, every, ids, "text without a special is its bytes") for text, ids in plain.items()),
        ("<|end|>", every, [256], "a special that is allowed is one id"),
        ("a<|end|>b", every, [97, 256, 98], "text before and after a special stays text"),
        ("a<|end|>b<|end|>c", {"<|end|>", "<|end|><|end|>"}, [97, 256, 98, 256, 99], "every place counts"),
        ("[+]a+", every, [258, 97, 43], "the signs of a special stand for themselves"),
        (
            "<|end|><|end|>x",
            every,
            [257, 120],
            "of two specials that begin at the same place the longest wins",
        ),
        ("<|end|><|end|><|end|>", two, [257, 256], "the longest first, and then what is left"),
        ("++]", set(), [43, 43, 93], "nothing allowed and nothing there: plain text"),
    ]
    for text, allowed, wanted, lesson in cases:
        found = _ids(answer(text, dict(_WORDS), set(allowed)))
        require(found == wanted, f"{lesson}: {text!r} becomes {wanted}, but you give {found}")
    for text, allowed in (("a<|end|>", set()), ("[+]", {"<|end|>"}), ("<|end|>[+]", {"<|end|>"})):
        try:
            found = answer(text, dict(_WORDS), set(allowed))
        except ValueError:
            continue
        require(
            False, f"{text!r} holds a special that is not allowed: raise ValueError, but you give {found}"
        )


SPECIALS_STUB = '''
def encode_with_specials(text, special_tokens, allowed):
    """Ids of `text`: its bytes, but a special in the set `allowed` becomes its id.

    `special_tokens` maps each special to its id. ValueError if one stands in `text` and is not allowed.
    """
    ...  # your code
'''
SPECIALS_SOLUTION = """
import re

def encode_with_specials(text, special_tokens, allowed):
    for word in special_tokens:
        if word in text and word not in allowed:
            raise ValueError(f"{word} is not allowed here")
    if not allowed:
        return list(text.encode())
    longest_first = sorted(allowed, key=len, reverse=True)
    ids = []
    for part in re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text):
        ids += [special_tokens[part]] if part in allowed else part.encode()
    return ids
"""
_REFUSAL = """    for word in special_tokens:
        if word in text and word not in allowed:
            raise ValueError(f"{word} is not allowed here")
"""

SPECIALS = Exercise(
    name="encode_with_specials",
    task="Encode text as bytes, and the special tokens that are allowed as one id each, the longest first.",
    function="encode_with_specials",
    check=_check_specials,
    stub=SPECIALS_STUB,
    solution=SPECIALS_SOLUTION,
    hints=(
        "Three steps: refuse what is not allowed; cut the text at the allowed specials; encode what lies between.",
        "re.split with a group in brackets keeps what it cuts at. An alternative that is listed first wins, so list "
        "the longest first, each through re.escape.",
        'for part in re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text): one id if the part is in '
        "allowed, else its bytes. With nothing allowed there is nothing to cut at.",
    ),
    mistakes={
        "everything is allowed": Mistake(
            SPECIALS_SOLUTION.replace(_REFUSAL, "    allowed = set(special_tokens)\n"),
            "you make every special special, whoever wrote it: this is the injection. Only those in `allowed` count",
        ),
        "not refused": Mistake(
            SPECIALS_SOLUTION.replace(_REFUSAL, ""),
            "you encode a special that is not allowed as plain text without a word: raise ValueError, so that somebody "
            "decides",
        ),
        "shortest first": Mistake(
            SPECIALS_SOLUTION.replace(", reverse=True", ""),
            "you try the shortest special first: of two that begin alike, the longer one is never found",
        ),
        "not escaped": Mistake(
            SPECIALS_SOLUTION.replace("map(re.escape, longest_first)", "longest_first"),
            "you put the specials into a regular expression as they are: | and + mean something there, use re.escape",
        ),
        "marks lost": Mistake(
            SPECIALS_SOLUTION.replace('"(" + "|".join', '"|".join').replace(' + ")", text', ", text"),
            "your split throws the specials away: with round brackets around the pattern re.split keeps them",
        ),
        "stripped": Mistake(
            SPECIALS_SOLUTION.replace("if part in allowed else part.encode()", "if part in allowed else []"),
            "you keep the specials and lose the text between them",
        ),
    },
    probes=lambda: [
        ("a<|end|>b", dict(_WORDS), {"<|end|>", "<|end|><|end|>"}),
        ("<|end|><|end|>x", dict(_WORDS), set(_WORDS)),
        ("[+]a+", dict(_WORDS), set(_WORDS)),
        ("a<|end|>", dict(_WORDS), set()),
        ("ab", dict(_WORDS), set()),
        ("ab", dict(_WORDS), {"[+]"}),
        ("[+]<|end|>", dict(_WORDS), {"<|end|>"}),
    ],
    same=_same_ids,
)

EXERCISES = [LETTERS, GROUPS, SPECIALS]

PREDICTIONS = [
    Prediction(
        "pieces_of_its_2048_tokens",
        7,
        "pieces",
        "It, 's, ·2, the comma, 048, ·tokens, and the full stop.",
    ),
    Prediction(
        "bytes_that_get_a_new_letter",
        68,
        "bytes",
        "33 up to and with the space, 34 from 127 on to the non-breaking space, and the soft hyphen.",
    ),
]
