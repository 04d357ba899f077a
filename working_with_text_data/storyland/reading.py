"""Reading a text as the checker does: paragraphs, sentences, quotations, mentions.

What for: the checker must take *any* text, so reading knows nothing of how
stories are generated; it shares only the lexicon of ``world``. The
idea: quotations are lifted out of a paragraph first, what remains is cut into
sentences, and in each sentence people and things are tagged, so that rules can
be written as patterns over ``<mia> gave the [kite] to <tom> .``. Leaves out:
judging (``rules``, ``tracking``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .world import (
    ANIMAL_LOOKS,
    COLOURS,
    ELDERS,
    FOOD_LOOKS,
    GENDER,
    HELPERS,
    ITEM_LOOKS,
    TRACKED,
    word_list,
)

SPEECH_VERBS = frozenset(
    word_list(
        "said asked answered replied cried called exclaimed shouted whispered murmured explained sobbed "
        "sighed groaned "
        "added moaned offered muttered mumbled admitted cheered hissed suggested coaxed told"
    )
)
LOOKS = frozenset((*COLOURS, *ITEM_LOOKS, *FOOD_LOOKS, *ANIMAL_LOOKS))
DETERMINERS = frozenset(word_list("a an the this that his her their my your our no only one"))
QUOTE = "\ue000"
_NAMES = {name.lower(): name for name in GENDER}
_TOKEN = re.compile(r"[A-Za-z]+(?:'[a-z]+|(?<=s)')?|[.,!?;:§-]|[^\sA-Za-z]")
_QUOTED = re.compile(r'"([^"]*)"')
_SPEECH_AFTER = re.compile(
    rf"(?:{'|'.join(GENDER)}|He|She|The \w+|(?:His|Her) \w+) (?!told)(?:{'|'.join(sorted(SPEECH_VERBS))})\b(?! that)"
)


@dataclass
class Sentence:
    """One sentence: its words, its quotations lifted out, its tagged narration."""

    text: str
    narration: str  # quotations replaced by "§"
    quotes: list[str]
    paragraph: int
    words: list[str] = field(default_factory=list)  # of the narration, lower case, with punctuation
    tagged: str = ""  # people as <name>, tracked things as [noun], looks removed


@dataclass
class Reading:
    paragraphs: list[str]
    sentences: list[Sentence]
    unbalanced: list[str]  # paragraphs with an odd number of quotation marks


def tokens(text: str) -> list[str]:
    """Words (with a possessive 's) and punctuation marks, in order.

    >>> tokens("Mia's kite flew.")
    ["Mia's", 'kite', 'flew', '.']
    """
    return _TOKEN.findall(text)


def read(text: str) -> Reading:
    """Paragraphs and sentences of ``text``; never fails, whatever the text is."""
    text = text.replace(QUOTE, "¤").replace("§", "¤")  # the reader's own marks mean nothing in a text
    paragraphs = [p for p in re.split(r"\n\s*\n", text.strip()) if p.strip()]
    sentences: list[Sentence] = []
    unbalanced = []
    for number, paragraph in enumerate(paragraphs):
        if paragraph.count('"') % 2:
            unbalanced.append(paragraph)
        sentences.extend(_sentences(paragraph, number))
    return Reading(paragraphs, sentences, unbalanced)


def _sentences(paragraph: str, number: int) -> list[Sentence]:
    quotes: list[str] = []

    def lift(match: re.Match[str]) -> str:
        quotes.append(match.group(1))
        return QUOTE

    masked = _QUOTED.sub(lift, paragraph).replace('"', "")
    pieces: list[str] = []
    start = 0
    position = 0
    taken = 0
    while position < len(masked):
        char = masked[position]
        rest = masked[position + 1 :]
        end = False
        if char == QUOTE:
            content = quotes[taken]
            taken += 1
            ends_speech = content[-1:] in (".", "!", "?")
            follower = rest.lstrip()
            introduced = masked[start:position].rstrip().endswith(",") and QUOTE not in masked[start:position]
            end = ends_speech and (
                introduced
                or not follower
                or follower[0] == QUOTE
                or (follower[0].isupper() and not (content[-1] != "." and _SPEECH_AFTER.match(follower)))
            )
        elif char in ".!?" and (not rest or rest[0].isspace()):
            end = True
        if end:
            pieces.append(masked[start : position + 1].strip())
            start = position + 1
        position += 1
    if masked[start:].strip():
        pieces.append(masked[start:].strip())
    result = []
    index = 0
    for piece in pieces:
        own = quotes[index : index + piece.count(QUOTE)]
        index += len(own)
        text = piece
        for quote in own:
            text = text.replace(QUOTE, f'"{quote}"', 1)
        narration = piece.replace(QUOTE, "§")
        words = [w.lower() for w in tokens(narration)]
        result.append(Sentence(text, narration, own, number, words, tag(words)))
    return result


def tag(words: list[str]) -> str:
    """People as ``<name>``, tracked things as ``[noun]``; looks between determiner and noun are dropped.

    >>> tag(word_list("mia gave the small red kite to her aunt ."))
    '<mia> gave the [kite] to <aunt> .'
    """
    out: list[str] = []
    for word in words:
        base, _, suffix = word.partition("'")
        tail = "'s" if suffix == "s" else ""
        if base in _NAMES or base in ("he", "she", "they", "them", "him"):
            out.append(f"<{base}>{tail}")
        elif base in ELDERS and out and (out[-1] in ("his", "her") or out[-1].endswith("'s")):
            out[-1] = f"<{base}>{tail}"
        elif base in HELPERS:
            while out and out[-1] in HELPER_LOOKS:
                out.pop()
            if out and out[-1] in ("a", "an", "the"):
                out[-1] = f"<{base}>{tail}"
            else:
                out.append(word)
        elif base in TRACKED:
            while out and out[-1] in LOOKS:
                out.pop()
            out.append(f"[{base}]{tail}")
        else:
            out.append(word)
    return " ".join(out)


HELPER_LOOKS = frozenset(word_list("kind friendly cheerful old tall"))


@dataclass(frozen=True)
class Mention:
    """A tracked thing in a word list: which noun, how it is determined, which looks it has."""

    noun: str
    determiner: str  # "" when there is none
    looks: tuple[str, ...]
    index: int
    exclaimed: bool = False  # "what a lovely kite" introduces nothing


def mentions(words: list[str]) -> list[Mention]:
    """Every mention of a tracked thing in ``words``.

    >>> mentions(word_list("she saw a tiny drum"))
    [Mention(noun='drum', determiner='a', looks=('tiny',), index=4, exclaimed=False)]
    """
    found = []
    for index, word in enumerate(words):
        if word in TRACKED:
            back = index - 1
            if words[max(0, index - 3) : index - 1] in (["what", "a"], ["what", "an"]):
                found.append(Mention(word, "a", (), index, exclaimed=True))
                continue
            looks = []
            while back >= 0 and words[back] in LOOKS:
                looks.append(words[back])
                back -= 1
            before = words[back] if back >= 0 else ""
            known = before in DETERMINERS or before.endswith("'s")
            found.append(Mention(word, before if known else "", tuple(reversed(looks)), index))
    return found
