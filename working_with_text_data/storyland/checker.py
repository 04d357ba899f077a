"""Is this text a coherent Storyland story, and if not, which rule does it break?

What for: to *measure* what a small model has learned; any text may be given. The
idea: the text is read sentence by sentence with nothing but the lexicon of the
world in hand; surface rules look at form, causal rules keep a belief about who
is where, holds what, wants what and feels how, and compare each sentence with
it. Written and mutation-tested before any model was tuned, then frozen. It shares
no code with the generator; the verbs that move things and the ways to open and
close a story are listed again here, so a true story told in unforeseen words is
refused: it errs on the strict side. Leaves out: style; a story may be dull.
"""

from __future__ import annotations

import re

from .reading import read
from .rules import check_surface, speaker_of
from .setting import check_place
from .syntax import check_syntax
from .things import Things
from .tracking import Belief, check_people, check_settled, check_wants
from .verdict import RULES, Verdict, Violation
from .world import GENDER

__all__ = ["RULES", "Verdict", "Violation", "check_story"]


def check_story(text: str) -> Verdict:
    """The verdict on ``text``: coherent, or a list of violations naming rule, sentence and reason.

    >>> check_story("Once upon a time.").coherent
    False
    """
    reading = read(text)
    violations = check_surface(text, reading)
    belief = Belief(violations=violations)
    things = Things(belief)
    last_speaker, last_paragraph = "", -1
    for sentence in reading.sentences:
        violations.extend(check_syntax(sentence))
        check_people(sentence, belief)
        check_place(sentence, belief)
        speaker = ""
        if sentence.quotes:
            who = speaker_of(sentence.narration)
            if not who and sentence.narration == "§" and sentence.paragraph == last_paragraph:
                who = last_speaker
            if not who:
                belief.broken("dialogue", sentence.text, "nobody says this")
            speaker = who.lower() if who in GENDER else ""
            _check_address(sentence.quotes, speaker, sentence.text, belief)
            last_speaker = who
        elif not sentence.quotes:
            last_speaker = ""
        last_paragraph = sentence.paragraph
        things.check(sentence, speaker)
        check_wants(sentence, belief)
    check_settled(reading, belief)
    return Verdict(not violations, tuple(violations))


def _check_address(quotes: list[str], speaker: str, text: str, belief: Belief) -> None:
    for quote in quotes:
        for match in re.finditer(r"(?:, |^)([A-Z][a-z]+)(?=[,.!?])", quote):
            if speaker and match[1].lower() == speaker:
                belief.broken("dialogue", text, f"{match[1]} speaks to {match[1]}")
