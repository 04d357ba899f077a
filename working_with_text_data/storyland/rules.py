"""The surface rules of Storyland: openings, endings, speech, repetition, length, spelling, form.

What for: the half of the checker that needs no belief about the world. Leaves
out: the causal rules (``tracking``, ``things``).
"""

from __future__ import annotations

import re

from .grammar import takes_an
from .reading import SPEECH_VERBS, Reading, Sentence
from .verdict import Violation
from .world import GENDER, HELPERS

MIN_WORDS, MAX_WORDS = 45, 220
_SPEECH = "|".join(sorted(SPEECH_VERBS))
_ANYONE = "|".join(GENDER)
_PERSON = rf"(?:{_ANYONE}|[Hh]e|[Ss]he|[Tt]he (?:{'|'.join(HELPERS)})|[Hh]is \w+|[Hh]er \w+)"
_SAID = re.compile(rf"§ (?:{_SPEECH}) (?P<who>{_PERSON})")
_SAID_AFTER = re.compile(rf"§ (?P<who>{_PERSON}) (?:{_SPEECH})\b")
_SAID_BEFORE = re.compile(
    rf"(?P<who>{_PERSON})(?: (?:smiled|nodded|was astonished) and)? (?:{_SPEECH})(?: (?:softly|gently))?, §$"
)
_TOLD = re.compile(rf"§ (?P<who>{_PERSON}) told ")
_ONLY_SAYS = re.compile(rf"(?P<who>{_PERSON}) only says, §$")
_OPENING = re.compile(
    rf"^(?:(?!{_ANYONE}|\b[Hh](?:is|er)\b).)*?(?:\b(?:girl|boy) (?:named|called) (?:{_ANYONE})\b|"
    rf"\b(?:{_ANYONE}),? (?:was )?an? \w+ (?:girl|boy)\b)"
)
ENDING_CUES = re.compile(
    r"^(?:From that day on,|That night,|On that day,|That day, \w+ learned|After that, \w+ (?:never forgot|always)|"
    r"It was the best \w+ of the whole|At supper,|At bedtime,|Over supper,|By candlelight,|That evening, \w+ told|"
    r"And that is how|What an? \w+ day it had been!|(?:When|As) [\w ]+, \w+ and \w+ went home|Ever since|Ever after,|"
    r"To this day,|And when \w+ is asked|\w+ and \w+ walked home)"
)


def check_surface(text: str, reading: Reading) -> list[Violation]:
    """Every surface rule; the violations in reading order within each rule."""
    found: list[Violation] = []
    first = reading.sentences[0].text if reading.sentences else ""
    last = reading.sentences[-1].text if reading.sentences else ""
    n_words = len(re.findall(r"[A-Za-z']+", text))
    if not MIN_WORDS <= n_words <= MAX_WORDS:
        found.append(Violation("length", last, f"{n_words} words; a story has {MIN_WORDS} to {MAX_WORDS}"))
    if not 2 <= len(reading.paragraphs) <= 4:
        found.append(Violation("length", first, f"{len(reading.paragraphs)} paragraphs; a story has 2 to 4"))
    if not _OPENING.search(first):
        found.append(
            Violation("no_opening", first, "the first sentence does not say which girl or boy it is about")
        )
    for sentence in reading.sentences[1:]:
        if re.search(
            r"^(?:Once upon a time|There was once|This is the story)|^(?:Long ago|Not so long ago), there",
            sentence.text,
        ):
            found.append(Violation("no_opening", sentence.text, "a second story begins"))
    if last.rstrip('"')[-1:] not in (".", "!"):
        found.append(Violation("no_ending", last, "the text breaks off"))
    elif not ENDING_CUES.match(last):
        found.append(Violation("no_ending", last, "the last sentence does not close the story"))
    for sentence in reading.sentences[:-1]:
        if ENDING_CUES.match(sentence.text):
            found.append(Violation("no_ending", sentence.text, "the story closes before its last sentence"))
    found.extend(_repetition(reading))
    for paragraph in reading.unbalanced:
        found.append(Violation("dialogue", paragraph, "a quotation mark is missing"))
    for sentence in reading.sentences:
        found.extend(check_form(sentence))
    return found


def _repetition(reading: Reading) -> list[Violation]:
    found = []
    seen: set[str] = set()
    for sentence in reading.sentences:
        key = sentence.text.lower()
        if key in seen:
            found.append(Violation("repetition", sentence.text, "the same sentence again"))
        seen.add(key)
    words = [w for s in reading.sentences for w in re.findall(r"[a-z']+", s.text.lower())]
    grams: set[tuple[str, ...]] = set()
    for i in range(len(words) - 7):
        gram = tuple(words[i : i + 8])
        if gram in grams:
            found.append(Violation("repetition", " ".join(gram), "the same eight words again"))
            break
        grams.add(gram)
    return found


def speaker_of(narration: str) -> str:
    """Who speaks in a sentence with quotations ("" when nobody does), as written.

    >>> speaker_of("§ said Mia .")
    'Mia'
    """
    for pattern in (_SAID, _SAID_AFTER, _TOLD, _SAID_BEFORE, _ONLY_SAYS):
        match = pattern.search(narration)
        if match:
            return match["who"]
    return ""


def check_form(sentence: Sentence) -> list[Violation]:
    """Capital, final mark, articles, doubled words, marks inside quotations."""
    text = sentence.text
    found = []

    def broken(rule: str, why: str) -> None:
        found.append(Violation(rule, text, why))

    start = text.lstrip('"')
    if not start or not start[0].isupper():
        broken("grammar", "a sentence begins with a capital")
    if text.rstrip('"')[-1:] not in (".", "!", "?"):
        broken("grammar", "a sentence ends with a mark")
    if re.search(r" [,.!?]|[,.!?]{2}|,[A-Za-z]|[.!?][A-Za-z]|  |\n", text):
        broken("grammar", "marks and spaces are misplaced")
    for match in re.finditer(r"\b(an?) (\w+)", text, re.I):
        if takes_an(match[2]) != (match[1].lower() == "an"):
            broken("grammar", f'"{match[0]}"')
    double = re.search(r"\b(\w+) \1\b", text, re.I)
    if double:
        broken("grammar", f'"{double[0]}"')
    for word in re.findall(r"(?<=[a-z,] )[A-Z]\w+", sentence.narration):
        if word not in GENDER and word not in ("May", "July", "October", "Monday", "Saturday", "Sunday"):
            broken("grammar", f'"{word}" has a capital inside a sentence')
    for quote in sentence.quotes:
        if quote[-1:] not in (",", ".", "!", "?"):
            broken("dialogue", "what is said ends with a mark inside the quotation")
        if quote != quote.strip() or not quote:
            broken("dialogue", "spaces inside the quotation marks")
    return found
