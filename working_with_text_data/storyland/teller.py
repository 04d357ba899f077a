"""The teller: one story's cast, place, words and sentences while it is being told.

What for: plots say *what* happens; the teller owns the cast (two characters,
sometimes an elder or a helper), the place with three of its fixtures, the slots
that templates are filled from, and the paragraphs. The idea: slots are computed
once per story, the same ones with the two characters exchanged when the second
character takes the lead. Leaves out: the plots themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import phrases
from .grammar import Dice, fill
from .state import World
from .world import (
    BOYS,
    COLOURS,
    ELDERS,
    FIXTURES,
    GIRLS,
    GLAD,
    HELPERS,
    ITEM_LOOKS,
    PLACES,
    RELATIONS,
    SAD,
    TRAITS,
)

_PRONOUNS = {"f": ("she", "her", "her", "herself", "girl"), "m": ("he", "him", "his", "himself", "boy")}
_PLACE_NAMES = tuple(PLACES)
_RELATION_WEIGHTS = ("friend", "friend", "friend", "neighbour", "cousin", "classmate", "brother")
_ELDER_NAMES = tuple(ELDERS)
_SAD_ABOUT_THINGS = tuple(word for word in SAD if word not in ("lonely", "sorry"))
# Rooms inside a house: nobody lives "near the attic".
_ROOMS = frozenset(("attic", "kitchen", "workshop", "studio", "cabin", "courtyard"))


class Teller:
    """Tells one story of a given kind; ``text()`` joins what was said."""

    def __init__(self, kind: str, dice: Dice, place: str | None = None) -> None:
        self.dice = dice
        pick = dice.pick
        gender = pick("fm")
        other = gender if dice.chance(0.25) else ("m" if gender == "f" else "f")
        a = pick(GIRLS if gender == "f" else BOYS)
        b = pick(GIRLS if other == "f" else BOYS)
        while b == a:
            b = pick(GIRLS if other == "f" else BOYS)
        self.a, self.b = a, b
        self.place = place or pick(_PLACE_NAMES)
        self.world = World(kind, self.place, [a, b])
        relation = pick(_RELATION_WEIGHTS)
        if relation == "brother" and other == "f":
            relation = "sister"
        assert RELATIONS[relation] in ("", other)
        trait, second_trait = dice.sample(TRAITS, 2)
        glad, glad2 = dice.sample(GLAD, 2)
        elder = pick(_ELDER_NAMES)
        season = pick(phrases.SEASONS)
        near = pick(phrases.SURROUNDINGS) if self.place in _ROOMS else self.place
        self.slots = {
            "place": f"the {self.place}",
            "rel": relation,
            "elder": elder,
            "helper": pick(HELPERS),
            "sad": pick(_SAD_ABOUT_THINGS),
            "glad": glad,
            "glad2": glad2,
            "season": season,
            "at": f"{PLACES[self.place][0]} the {self.place}",
            "hobby": pick(phrases.HOBBIES),
            "town": pick(phrases.TOWNS),
            "house": pick(phrases.HOUSES),
            "feature": pick(phrases.FEATURES),
            "time": pick(phrases.TIMES[season]),
            "dream": pick(phrases.DREAMS),
            "nearplace": f"{'close to' if dice.chance(0.3) else 'near'} the {near}",
        }
        fixtures = PLACES[self.place][2]
        for i, noun in enumerate(dice.sample(fixtures, 3), 1):
            self.slots[f"s{i}"] = f"the {noun}"
            self.slots[f"f{i}"] = f"the {pick(FIXTURES[noun])} {noun}" if dice.chance(0.55) else f"the {noun}"
        self.set_lesson(pick(phrases.FRIEND_LESSONS))
        self._cast(self.slots, "", a, gender, trait)
        self._cast(self.slots, "b", b, other, second_trait)
        self.same_gender = gender == other
        self.slots["Ah"] = a
        self.swapped: dict[str, str] | None = None
        self.outdoors = PLACES[self.place][1]
        self.paragraphs: list[list[str]] = [[]]
        self._scenes_used: set[str] = set()

    @staticmethod
    def _cast(slots: dict[str, str], prefix: str, name: str, gender: str, trait: str) -> None:
        he, him, his, himself, kid = _PRONOUNS[gender]
        slots["A" if not prefix else "B"] = name
        for key, value in (
            ("he", he),
            ("him", him),
            ("his", his),
            ("himself", himself),
            ("kid", kid),
            ("trait", trait),
        ):
            slots[prefix + key] = value
        slots["He" if not prefix else "Bhe"] = he.capitalize()
        slots["His" if not prefix else "Bhis"] = his.capitalize()

    def set_lesson(self, lesson: str) -> None:
        self.slots["lesson"] = lesson
        self.slots["Lesson"] = lesson[0].upper() + lesson[1:]

    def thing(self, slot: str, noun: str, looks: Sequence[str] | None = None) -> str:
        """Fill ``{X}``, ``{aX}`` and ``{dX}`` (slot X): the noun, "a~ red kite", and "kite" or "red kite"."""
        dice = self.dice
        look = (
            dice.pick(looks) if looks else (dice.pick(COLOURS) if dice.chance(0.6) else dice.pick(ITEM_LOOKS))
        )
        self.slots[slot] = noun
        self.slots["a" + slot] = f"a~ {look} {noun}"
        self.slots["A" + slot] = f"A~ {look} {noun}"
        self.slots["d" + slot] = f"{look} {noun}" if dice.chance(0.3) else noun
        return noun

    # What is said ------------------------------------------------------------
    def say(self, *alternatives: str, swap: bool = False) -> None:
        """One of the templates becomes the next sentence (or sentences)."""
        template = alternatives[0] if len(alternatives) == 1 else self.dice.pick(alternatives)
        slots = self._exchanged() if swap else self.slots
        slots["Ah"] = slots["he"] if self._clear_who(slots["A"]) else slots["A"]
        self.paragraphs[-1].append(fill(template, slots, self.dice))

    def _clear_who(self, name: str) -> bool:
        """Whether "he" or "she" can only mean ``name``: just named, and the other one is not like them."""
        said = self.paragraphs[-1]
        return bool(said) and not self.same_gender and name in said[-1]

    def maybe(self, probability: float, *alternatives: str, swap: bool = False) -> None:
        if self.dice.chance(probability):
            self.say(*alternatives, swap=swap)

    def paragraph(self, probability: float = 1.0) -> None:
        if self.paragraphs[-1] and len(self.paragraphs) < 4 and self.dice.chance(probability):
            self.paragraphs.append([])

    def opening(self) -> None:
        self.say(*phrases.OPENINGS)

    def arrive(self, together: bool) -> None:
        self.say(*(phrases.ARRIVALS_TOGETHER if together else phrases.ARRIVALS_ALONE))

    def scene(self, probability: float = 0.6) -> None:
        """A sentence of weather, light, smell or sound, never the same one twice."""
        if self.dice.chance(probability):
            scene = self.dice.pick(phrases.OUTDOOR_SCENES if self.outdoors else phrases.INDOOR_SCENES)
            if scene not in self._scenes_used:
                self._scenes_used.add(scene)
                self.say(scene)

    def sadness(self, swap: bool = False) -> None:
        self.say(
            "{A} [was|felt] [so|very|rather] {sad}.",
            "{A} [was|felt] {sad} [and did not know what to do|"
            "and could not think of anything else|and wanted to cry].",
            swap=swap,
        )
        self.maybe(0.4, *phrases.SAD_SIGNS, swap=swap)
        self.world.feel(self.b if swap else self.a, self.slots["sad"])

    def gladness(self, swap: bool = False) -> None:
        self.say(*phrases.GLAD, swap=swap)
        for name in (self.a, self.b):
            self.world.feel(name, self.slots["glad"])

    def thanks(self, probability: float = 0.5, swap: bool = False) -> None:
        self.maybe(probability, *phrases.THANKS, swap=swap)

    def glad_sign(self, probability: float = 0.35, swap: bool = False) -> None:
        self.maybe(probability, *phrases.GLAD_SIGNS, swap=swap)

    def line(self, options: Sequence[str]) -> str:
        """One of ``options`` with its slots filled, left uncapitalised, for use inside a template."""
        return self.dice.pick(options).format_map(self.slots)

    def ending(self) -> None:
        self.paragraph(0.5 if len(self.paragraphs) > 1 else 1.0)
        self.say(*phrases.ENDINGS)

    def text(self) -> str:
        return "\n\n".join(" ".join(sentences) for sentences in self.paragraphs if sentences)

    def _exchanged(self) -> dict[str, str]:
        if self.swapped is None or self.swapped["_of"] != str(len(self.slots)):
            s, t = self.slots, dict(self.slots)
            t["A"], t["B"] = s["B"], s["A"]
            for key in ("he", "him", "his", "himself", "kid", "trait"):
                t[key], t["b" + key] = s["b" + key], s[key]
            t["He"], t["Bhe"], t["His"], t["Bhis"] = s["Bhe"], s["He"], s["Bhis"], s["His"]
            t["_of"] = str(len(self.slots))
            self.swapped = t
        return self.swapped
