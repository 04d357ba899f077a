"""Plots about kindness: sharing food, comforting a friend, freeing an animal.

What for: causal skeletons of Storyland; ``plots`` explains the form.
"""

from __future__ import annotations

from . import phrases
from .lines import ASK_WHY, COMFORTS, HUNGER, SORROWS
from .teller import Teller
from .world import ANIMAL_LOOKS, ANIMALS, FOOD_LOOKS, FOODS


def share(t: Teller) -> None:
    """B is hungry and A shares."""
    t.set_lesson(
        t.dice.pick(
            (
                "shared food tastes best",
                "half a meal with a friend is a feast",
                "sharing makes everything sweeter",
                "sharing leaves enough for everyone",
            )
        )
    )
    x = t.thing("X", t.dice.pick(FOODS), FOOD_LOOKS)
    t.opening()
    t.say(
        "{His} {elder} had given {him} {aX} for [lunch|the road|the day].",
        "{A} had {aX} [in {his} bag|for lunch|wrapped in paper|wrapped in a cloth].",
        "{A} had bought {aX} with {his} [last coins|pocket money|savings].",
    )
    t.world.own(t.a, x)
    t.arrive(together=False)
    t.scene(0.55)
    t.paragraph(0.8)
    t.say(
        "[There|Near {f1}|Beside {f1}], {A} [met|saw] {his} {rel} {B}.",
        "{His} {rel} {B} sat [beside|near|next to] {f1}.",
    )
    t.slots["hunger"] = t.line(HUNGER)
    t.say(
        "{B} was hungry {hunger}.",
        "{B} [looked pale|rubbed {bhis} belly|stared at the {X}] and was very hungry.",
    )
    t.world.happen("hungry", t.b)
    t.maybe(
        0.6,
        '"[My stomach is growling|I could eat a whole mountain|I have not eaten all day]," [said|sighed|'
        "groaned|admitted] {B}.",
        "{Bhis} stomach growled like [a bear|a lion|thunder|an angry dog].",
    )
    t.maybe(
        0.5,
        "{A} [looked|glanced] at the {X}. It [smelled|looked] [so|very] [good|delicious|tempting], and "
        "there was only one.",
        "{A} was about to [keep|eat] the {X} [alone|all by {himself}|in peace], but then stopped.",
    )
    t.paragraph(0.4)
    t.say(
        "[{A}|{Ah}] broke the {X} in two and gave half to {B}.",
        "[So|Then|Without a word], {A} shared the {dX} with {B}.",
        '"[Here, take half|Have some|There is enough for two]," said {A}, and shared the {X} with {B}.',
        "{A} cut the {X} in two and gave half to {B}.",
    )
    t.world.use_up(x, t.a, t.b)
    t.maybe(
        0.7,
        "They [sat|leaned back] near {f2} and ate [every crumb|slowly|until nothing was left|and chatted].",
        "They ate it [to the last crumb|in four bites|together|with sticky fingers].",
    )
    t.gladness(swap=True)
    t.thanks(0.5, swap=True)
    t.glad_sign(0.3, swap=True)


def comfort(t: Teller) -> None:
    """B is sad, and A cheers B up."""
    t.set_lesson(
        t.dice.pick(
            (
                "laughter is good medicine",
                "a kind word can chase clouds away",
                "sorrow grows small when it is shared",
                "a good listener is a treasure",
            )
        )
    )
    t.opening()
    t.arrive(together=False)
    t.scene(0.8)
    t.paragraph(0.85)
    t.say(
        "[There|Beside {f1}|Near {f1}], {he} [met|saw|found] {his} {rel} {B}.",
        "{His} {rel} {B} [sat|stood|crouched] [beside|near] {f1}.",
    )
    t.slots["sorrow"] = t.line(SORROWS)
    t.say("{B} was {sad} {sorrow}.", "{B} [was|felt] [so|very] {sad} {sorrow}.")
    t.world.feel(t.b, t.slots["sad"])
    t.maybe(0.5, *phrases.SAD_SIGNS, swap=True)
    if t.dice.chance(0.6):
        t.say(*ASK_WHY, swap=True)
        t.say(
            '"[Nothing is right today|Everything goes wrong|It is a terrible day|I feel like crying]," '
            "[said|muttered|sobbed|mumbled] {B}.",
            "{B} [told {A} about it|shrugged and said nothing|only shook {bhis} head].",
        )
    t.paragraph(0.4)
    first, second = t.dice.sample(COMFORTS, 2)
    t.slots["c1"], t.slots["c2"] = (t.line((c,)) for c in (first, second))
    t.say(
        "{A} did not [go away|give up|say much]. [Instead|Then], {he} {c1}.",
        "{A} had an idea and {c1}.",
        "So {A} {c1}.",
    )
    t.maybe(
        0.6,
        "[At first|For a moment], {B} only [blinked|shrugged|stared|sniffed].",
        "{B} [tried not to smile|looked up|raised one eyebrow].",
    )
    t.maybe(0.6, "[Then|After that|Next], {A} {c2}.")
    t.say(
        "[Slowly|Little by little|At last|Soon], {B} [began to smile|began to laugh|started to giggle].",
        "[At last|Soon|Suddenly], {B} [laughed|smiled|giggled] [and could not stop|until {bhis} sides "
        "hurt|for the first time that day].",
    )
    t.world.happen("cheer", t.a, t.b)
    t.gladness(swap=True)
    t.thanks(0.45, swap=True)


def rescue(t: Teller) -> None:
    """An animal is stuck; the two free it."""
    t.set_lesson(
        t.dice.pick(
            (
                "even the smallest creature deserves help",
                "gentle hands can do great things",
                "kindness needs no words",
                "open eyes see more than hurried feet",
            )
        )
    )
    x = t.thing(
        "X",
        t.dice.pick(ANIMALS),
        ANIMAL_LOOKS,
    )
    t.opening()
    t.arrive(together=True)
    t.scene()
    t.paragraph(0.8)
    t.say(
        "[Suddenly|All at once|Then] they heard [a cry|a faint noise|a rustle|a squeak|whimpering]. {AX} "
        "was stuck [behind|beside|near] {f1}.",
        "[Suddenly|All at once|Then] {A} saw {aX} that was stuck [behind|beside|near] {f1}.",
        '"[Listen|Look|Quiet]!" [said|whispered|hissed] {B}. [Behind|Beside|Near] {f1}, {aX} was stuck.',
    )
    t.world.place_thing(x)
    t.world.happen("stuck", x)
    t.maybe(
        0.6,
        "The {X} [shivered|trembled|whimpered|wriggled] and could not [get out|move|get free].",
        "[Poor thing!|Poor little one!] The {X} [shivered|trembled|was cold and scared|looked at them "
        "with big eyes].",
    )
    t.maybe(
        0.5, '"[We must help it|Poor thing|We have to do something|Do not be afraid, little one]," said {A}.'
    )
    t.paragraph(0.3)
    t.say(
        "{B} [held back the thorns|lifted a heavy plank|moved the stones|pushed with all {bhis} might|"
        "kept very still], and {A} freed the {X}.",
        "[Together|Slowly|Gently], {A} and {B} freed the {X}.",
        "{A} [stretched out both arms|lay down flat|reached in|spoke softly] and [gently|slowly|"
        "carefully] freed the {dX}.",
    )
    t.world.happen("free", t.a, t.b, x)
    t.maybe(
        0.6,
        "The {X} [licked|nuzzled|sniffed] {A}'s hand[| and closed its eyes||, as if to say thanks].",
        "They brought [some water|a drink|crumbs|a handful of hay] for the {X}.",
        "{B} wrapped the {X} in {bhis} [coat|sweater|jacket] [until it was warm|and rocked it].",
    )
    t.gladness()
    t.maybe(0.4, "The {X} went [back to its family|home to its mother].")
    t.glad_sign(0.25)
