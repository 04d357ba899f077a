"""Word tables of the Storyland instructions: opposites, plurals, pasts, numbers, orders.

What for: facts that the requests ask about; generator and verifiers read the
same tables, as a pupil and a teacher share a dictionary. Leaves out: how
requests are worded (``tasks``) and judged (``verifiers``).
"""

from __future__ import annotations

from .world import ANIMALS, FOODS, ITEMS, TOOLS, word_list

_OPPOSITES = """
big small; happy sad; hot cold; old new; day night; up down; left right; fast slow; light dark;
loud quiet; long short; open closed; wet dry; hard soft; full empty; high low; early late; near far; good bad;
brave scared; clean dirty; thick thin; wide narrow; rich poor; strong weak; sweet sour; first last;
inside outside; friend enemy; give take; win lose; laugh cry; push pull; start stop; true false;
above below; always never; young grown
"""
OPPOSITES: dict[str, str] = {}
for _pair in _OPPOSITES.replace("\n", " ").split(";"):
    _one, _two = _pair.split()
    OPPOSITES[_one], OPPOSITES[_two] = _two, _one

_IRREGULAR = {
    "mouse": "mice",
    "goose": "geese",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "leaf": "leaves",
    "wolf": "wolves",
    "man": "men",
    "woman": "women",
    "sheep": "sheep",
    "fish": "fish",
    "shelf": "shelves",
}


def plural(noun: str) -> str:
    """The plural of a Storyland noun.

    >>> plural("peach"), plural("berry"), plural("mouse")
    ('peaches', 'berries', 'mice')
    """
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh", "ss")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


COUNTABLE = tuple(n for n in (*FOODS[:12], *ITEMS[:30], *ANIMALS[:10]) if n not in ("mouse", "compass"))
PLURALS = {n: plural(n) for n in (*_IRREGULAR, *COUNTABLE)}

PASTS = {
    "run": "ran",
    "sing": "sang",
    "swim": "swam",
    "go": "went",
    "give": "gave",
    "take": "took",
    "find": "found",
    "see": "saw",
    "eat": "ate",
    "drink": "drank",
    "make": "made",
    "come": "came",
    "fall": "fell",
    "fly": "flew",
    "draw": "drew",
    "write": "wrote",
    "ride": "rode",
    "sit": "sat",
    "sleep": "slept",
    "tell": "told",
    "bring": "brought",
    "buy": "bought",
    "catch": "caught",
    "think": "thought",
    "build": "built",
    "win": "won",
    "lose": "lost",
    "keep": "kept",
    "hold": "held",
    "break": "broke",
    "walk": "walked",
    "jump": "jumped",
    "climb": "climbed",
    "look": "looked",
    "play": "played",
    "help": "helped",
    "laugh": "laughed",
    "share": "shared",
    "smile": "smiled",
    "dance": "danced",
    "paint": "painted",
    "carry": "carried",
    "cry": "cried",
    "hop": "hopped",
    "stop": "stopped",
    "wave": "waved",
}
# Things that can be done in one verb, for putting events in order.
DEED_VERBS = word_list(
    "sang danced swam slept read painted baked skipped rested jumped laughed whistled cooked drew "
    "climbed played cleaned fished waved studied"
)
MOMENTS = ("in the morning", "at noon", "in the evening", "at night")
ORDINALS = ("first", "second", "third", "last")
SPELL_FIRST = word_list(
    "red blue green pink white black brown grey big old new tiny warm cold soft wet dry tall long short "
    "round sad shy kind brave calm bold quiet happy sweet fresh dark fast slow hot low"
)
SPELL_SECOND = (
    *(n for n in (*ITEMS, *FOODS, *ANIMALS, *TOOLS) if len(n) <= 5),
    *word_list("tree pond gate wall oak log rock well"),
)
FEELINGS = word_list("happy sad tired angry proud scared calm hungry excited lonely bored shy")
KEEPERS = word_list("box basket cupboard drawer bag chest jar bucket tin shed cellar attic barn kitchen")
