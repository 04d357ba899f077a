"""Reviews of Storyland things, with a sentiment that words alone do not give away.

What for: classification with a known truth. The idea: a review has neutral
sentences and a verdict; the verdict may be plain, negated ("not bad at all"), or
a contrast, in which the clause after "but" (or the main clause after "although")
decides while the other clause says the opposite. Both labels are equally
frequent, and every aspect and every construction occurs under both. Leaves out:
mixed and neutral labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .grammar import Dice, fill
from .world import COLOURS, FOOD_LOOKS, FOODS, ITEMS, PLACES

LABELS = ("negative", "positive")
_MAX_SEED = 2**31

# aspect -> (words that praise it, words that blame it); "not" before one turns it round.
_ITEM_ASPECTS = {
    "colour": ("bright cheerful lovely", "dull faded ugly"),
    "shape": ("pretty elegant clever", "clumsy crooked silly"),
    "finish": ("smooth neat careful", "rough sloppy sticky"),
    "size": ("perfect handy right", "awkward wrong silly"),
    "box": ("sturdy pretty neat", "flimsy torn dirty"),
    "price": ("fair low friendly", "unfair high shocking"),
}
_FOOD_ASPECTS = {
    "taste": ("wonderful fresh rich", "bitter bland stale"),
    "smell": ("lovely sweet warm", "strange sour nasty"),
    "portion": ("generous big fair", "tiny mean poor"),
    "service": ("friendly quick polite", "slow rude careless"),
    "price": ("fair low friendly", "unfair high shocking"),
}
_NEUTRAL = (
    "I [bought|got|picked] it {at}[| last week| on a rainy day| one morning].",
    "It was a [present|gift] from my [aunt|uncle|mother|father|grandmother|neighbour|cousin].",
    "We [shared|tried|tested] it {at} [with friends|one afternoon|after school|before supper].",
    "My [sister|brother|cousin|teacher|friend] [told me about it|has one too|chose it|saw it first].",
    "It comes in a [red|blue|green|white|brown|grey] [bag|box|wrapper].",
)
# The last word of a review: (praise, blame); the second line of each says it by a negation.
_PRAISE = (
    "I [love|adore|enjoy|treasure] it.",
    "I would [buy|choose|pick] it again[| at once| any day].",
    "It made me [happy|smile|cheer].",
    "I do not regret it [at all|for a moment].",
    "I have no complaints.",
    "It never [failed|bored|disappointed] me.",
    "[Nobody|No one] should miss it.",
)
_BLAME = (
    "I [hate|regret|dislike] it.",
    "I want my money back.",
    "It made me [sad|frown|cross].",
    "I would not [buy|choose|pick] it again.",
    "I do not [like|enjoy|love] it [at all|one bit].",
    "It never [worked|pleased|helped] me.",
    "[Nobody|No one] should buy it.",
)


@dataclass(frozen=True)
class Review:
    """A review and its sentiment: 1 is positive, 0 is negative (``LABELS``)."""

    text: str
    label: int


def _aspect(dice: Dice, aspects: dict[str, tuple[str, str]], used: set[str], good: bool) -> str:
    """A clause such as "the taste was wonderful" or, negated, "the taste was not bitter at all"."""
    name = dice.pick([a for a in aspects if a not in used])
    used.add(name)
    if dice.chance(0.35):
        word = dice.pick(aspects[name][1 if good else 0].split())
        return f"the {name} was not {word}{' at all' if dice.chance(0.5) else ''}"
    word = dice.pick(aspects[name][0 if good else 1].split())
    return f"the {name} was {dice.pick(('', 'very ', 'really ', 'so ', 'rather '))}{word}"


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


def make_review(dice: Dice) -> Review:
    """One review."""
    good = dice.chance(0.5)
    food = dice.chance(0.45)
    noun = dice.pick(FOODS if food else ITEMS)
    look = dice.pick(FOOD_LOOKS if food else COLOURS)
    aspects = _FOOD_ASPECTS if food else _ITEM_ASPECTS
    place = dice.pick(tuple(PLACES))
    slots = {"at": f"{PLACES[place][0]} the {place}", "X": noun}
    used: set[str] = set()
    opening = fill(f"[This is about|I am writing about|Here is my view of] the {look} {{X}}.", slots, dice)
    parts = [opening]
    parts += [fill(t, slots, dice) for t in dice.sample(_NEUTRAL, dice.below(3))]
    last = fill(dice.pick(_PRAISE if good else _BLAME), slots, dice)
    form = dice.below(4)
    if form == 0:
        parts += [_sentence(_aspect(dice, aspects, used, good)), last]
    elif form == 1:
        against, for_it = (_aspect(dice, aspects, used, g) for g in (not good, good))
        parts.append(_sentence(f"{against}, but {for_it}"))
    elif form == 2:
        against, for_it = (_aspect(dice, aspects, used, g) for g in (not good, good))
        parts.append(_sentence(f"{dice.pick(('although', 'even though', 'while'))} {against}, {for_it}"))
    else:
        against = _aspect(dice, aspects, used, not good)
        parts.append(
            _sentence(f"{against}, but {last[0] if last.startswith('I ') else last[0].lower()}{last[1:-1]}")
        )
    return Review(" ".join(parts), int(good))


def reviews(seed: int = 0) -> Iterator[Review]:
    """Reviews without end; the same ones for the same seed."""
    index = 0
    while True:
        yield make_review(Dice((seed % _MAX_SEED) * 4294967296 + 1073741824 + index))
        index += 1
