"""Following where a story happens.

What for: the rule ``place`` of the checker. The idea: the first place that is
named is where the story is; a place goes with its own preposition ("on the
farm"), and a fixture may only be pointed at where it stands. Leaves out: people
and things.
"""

from __future__ import annotations

import re

from .reading import Sentence
from .tracking import Belief
from .world import FIXTURES, PLACES


def check_place(sentence: Sentence, belief: Belief) -> None:
    """Rule ``place``: one place at a time, with the right preposition and its own fixtures."""
    if belief.place is None:
        first = re.search(rf"\bthe ({'|'.join(PLACES)})\b", " ".join(sentence.words))
        belief.place = first[1] if first else None
    everything = [
        sentence.words,
        *([w.lower() for w in re.findall(r"[A-Za-z']+", q)] for q in sentence.quotes),
    ]
    for words in everything:
        for index, word in enumerate(words):
            before = words[index - 1] if index else ""
            if word in PLACES and before == "the":
                preposition = words[index - 2] if index > 1 else ""
                if preposition in ("at", "in", "on") and preposition != PLACES[word][0]:
                    belief.broken(
                        "place", sentence.text, f'"{preposition} the {word}" should be "{PLACES[word][0]}"'
                    )
                if belief.place is None:
                    belief.place = word
                elif belief.place != word:
                    belief.broken(
                        "place", sentence.text, f"the {word} comes up, but the story is at the {belief.place}"
                    )
            elif word in FIXTURES and _definite(words, index):
                if belief.place is None:
                    belief.broken("place", sentence.text, f"the {word} comes before any place")
                elif word not in PLACES[belief.place][2]:
                    belief.broken(
                        "place",
                        sentence.text,
                        f"there is no {word} {PLACES[belief.place][0]} the {belief.place}",
                    )


def _definite(words: list[str], index: int) -> bool:
    looks = FIXTURES[words[index]]
    before = words[index - 1] if index else ""
    if before == "the":
        return True
    return (
        index > 1
        and words[index - 2] == "the"
        and (before in looks or any(before in v for v in FIXTURES.values()))
    )
