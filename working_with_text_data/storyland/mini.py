"""Judging the very short stories that answer "write a story with a kite, a kitten and the park".

What for: the one open kind of instruction. The idea: a mini story has two to
five sentences about one introduced person, all three things, articles and
pronouns in order, and a glad end; anything else is refused. Leaves out: full
stories (``checker``).
"""

from __future__ import annotations

import re

from .reading import mentions, read, tokens
from .rules import check_form
from .syntax import check_syntax
from .world import GENDER, GLAD, PLACES, TRACKED, word_list

MAX_WORDS = 60
_ASKED = re.compile(r"\ban? (\w+), an? (\w+) and the (\w+)\.$")
_VERB = re.compile(
    r"\b(?:was|were|had|took|went|met|saw|found|ate|played|liked|came|gave|brought|carried|made|lost|ran|walked|got|"
    r"loved|smiled|laughed|hid|wanted|looked|sat|put|left|shared|helped|told|said|showed)\b"
)
_WRONG_GENDER = {
    "f": frozenset(word_list("he him his himself")),
    "m": frozenset(word_list("she her hers herself")),
}


def asked_things(prompt: str) -> tuple[str, str, str] | None:
    """The three things a prompt asks for: thing, thing, place."""
    match = _ASKED.search(prompt)
    return (match[1], match[2], match[3]) if match else None


def check_mini_story(prompt: str, answer: str) -> bool:
    """Whether ``answer`` is a coherent mini story that has what ``prompt`` asks for."""
    asked = asked_things(prompt)
    reading = read(answer)
    if asked is None or len(reading.paragraphs) != 1 or not 2 <= len(reading.sentences) <= 5:
        return False
    words = [t.lower() for t in tokens(answer)]
    if len([w for w in words if w.isalpha()]) > MAX_WORDS or any(a not in words for a in asked):
        return False
    names = {n for n in GENDER if re.search(rf"\b{n}\b", answer)}
    if len(names) != 1 or not any(n in reading.sentences[0].text for n in names):
        return False
    gender = GENDER[next(iter(names))]
    if _WRONG_GENDER[gender] & set(words) or len({s.text.lower() for s in reading.sentences}) < len(
        reading.sentences
    ):
        return False
    if any(check_form(s) or check_syntax(s) for s in reading.sentences) or not all(
        _VERB.search(s.text) for s in reading.sentences
    ):
        return False
    return _things_in_order(words, asked) and any(w in GLAD for w in reading.sentences[-1].words)


def _things_in_order(words: list[str], asked: tuple[str, str, str]) -> bool:
    known: set[str] = set()
    for mention in mentions(words):
        if mention.noun not in asked or (mention.noun not in known and mention.determiner not in ("a", "an")):
            return False
        if mention.noun in known and mention.determiner not in ("the", "his", "her", "this", "that"):
            return False
        known.add(mention.noun)
    places = {w for i, w in enumerate(words) if w in PLACES and i and words[i - 1] == "the"}
    return places == {asked[2]} and all(a in known for a in asked if a in TRACKED)
