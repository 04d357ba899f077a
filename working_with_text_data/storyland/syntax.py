"""Can a sentence be read as English of the Storyland kind?

What for: the rules ``unknown_word`` and ``grammar`` of the checker. The idea:
every word has one or more classes; a table says which class may follow which;
a sentence is readable if some choice of classes for its words runs through the
table from start to end and has a finite verb. A finite-state grammar, far weaker
than English but strict enough to refuse scrambled words. Leaves out: agreement
and meaning, which other rules look at.
"""

from __future__ import annotations

from functools import cache

from .reading import Sentence, tokens
from .verdict import Violation
from .words import lexicon

# class -> the classes that may come next. "start" and "end" frame a sentence.
_NEXT = {
    "start": "article quantifier adjective noun plural name subject past giver base gerund modal "
    "preposition conjunction "
    "adverb to quote",
    "giver": "receiver",
    "receiver": "article quantifier",
    "relation": "article conjunction end name past giver modal comma preposition end",
    "article": "relation adjective noun plural participle gerund quantifier",
    "quantifier": "adjective noun plural comma end quantifier preposition",
    "adjective": "relation adjective noun plural comma end preposition conjunction to adverb present",
    "noun": "noun plural quantifier past giver present modal preposition particle conjunction comma end "
    "adverb to participle subject",
    "plural": "quantifier past giver base modal preposition particle conjunction comma end adverb to",
    "name": "past giver present modal preposition conjunction comma end adverb",
    "subject": "past giver present modal adverb base comma end",
    "object": "preposition particle conjunction comma end adverb to article quantifier adjective past "
    "giver base object name",
    "past": "article quantifier adjective noun plural name object preposition particle conjunction comma "
    "end adverb to "
    "gerund subject",
    "base": "article quantifier adjective noun plural name object preposition particle conjunction comma "
    "end adverb to "
    "gerund subject",
    "present": "article quantifier adjective noun plural name object preposition particle conjunction "
    "comma end adverb "
    "to gerund participle",
    "gerund": "adjective article quantifier noun plural object preposition particle conjunction comma end "
    "adverb to past giver present",
    "participle": "article quantifier adjective noun plural name object preposition particle conjunction "
    "comma end "
    "adverb to",
    "modal": "particle modal base participle gerund negation subject adverb name adjective article "
    "quantifier comma end "
    "preposition",
    "negation": "base participle gerund adverb adjective article quantifier preposition comma end past "
    "giver to",
    "particle": "article quantifier preposition comma end conjunction to adverb",
    "preposition": "article quantifier adjective noun plural name object gerund adverb to",
    "conjunction": "article quantifier adjective noun plural name subject past giver base gerund "
    "preposition conjunction "
    "adverb to comma",
    "adverb": "adverb adjective past giver base present participle article quantifier preposition "
    "conjunction comma end name "
    "subject modal to particle",
    "to": "base giver article quantifier name object noun",
    "comma": "article quantifier adjective noun plural name subject past giver base gerund participle "
    "preposition "
    "conjunction adverb quote",
    "quote": "past giver name article subject",
    "end": "",
}
_FINITE = frozenset(("past", "giver", "present", "modal", "base"))


@cache
def _follows() -> dict[str, frozenset[str]]:
    return {name: frozenset(after.split()) for name, after in _NEXT.items()}


def unreadable(words: list[str]) -> str:
    """The first word at which no reading is left, or "" for a readable sentence.

    >>> unreadable("mia gave the kite to tom .".split())
    ''
    >>> unreadable("the gave mia".split())
    'gave'
    """
    follows, classes = _follows(), lexicon()
    states = {"start"}
    for word in words:
        own = classes.get(word.removesuffix("'s").rstrip("'"), frozenset())
        if word.endswith(("'s", "'")):
            own = frozenset(("article",))
        states = {c for c in own if any(c in follows[s] for s in states)}
        if not states:
            return word
    return ""


def check_syntax(sentence: Sentence) -> list[Violation]:
    """Unknown words and unreadable word orders, in narration and in each quotation."""
    found = []
    classes = lexicon()
    spoken = [[t.lower() for t in tokens(q)] for q in sentence.quotes]
    for words in (sentence.words, *spoken):
        unknown = [w for w in words if w.removesuffix("'s").rstrip("'") not in classes and w not in ("-",)]
        for word in unknown[:3]:
            found.append(Violation("unknown_word", sentence.text, f'"{word}" is not a Storyland word'))
        if unknown:
            continue
        stop = unreadable(words)
        if stop:
            found.append(Violation("grammar", sentence.text, f'no reading is left at "{stop}"'))
    spoken_only = "§" in sentence.words
    exclaimed = sentence.text.endswith("!") and (len(sentence.words) <= 4 or sentence.words[0] == "what")
    finite = any(_FINITE & classes.get(w, frozenset()) for w in sentence.words)
    if not (finite or spoken_only or exclaimed):
        found.append(Violation("grammar", sentence.text, "there is no verb"))
    return found
