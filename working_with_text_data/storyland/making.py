"""Plots about work on things: mending what broke, building what is wished for.

What for: causal skeletons of Storyland; ``plots`` explains the form.
"""

from __future__ import annotations

from .lines import OFFER
from .teller import Teller
from .world import BUILDS, MENDABLE, TOOLS


def mend(t: Teller) -> None:
    """A thing breaks and is mended with help."""
    t.set_lesson(
        t.dice.pick(
            (
                "broken things can be made whole again",
                "patience mends almost everything",
                "every scar tells a story",
                "it is better to mend than to throw away",
            )
        )
    )
    noun = t.dice.pick(tuple(MENDABLE))
    x = t.thing("X", noun)
    t.slots["means"] = MENDABLE[noun]
    t.opening()
    t.arrive(together=True)
    t.say(
        "{A} had {aX} [with {him}|that had belonged to {his} {elder}|that was older than {himself}].",
        "{A} had brought {aX} to [play with|show {B}|show around].",
        "{A} carried {aX} [under one arm|in both hands|very carefully].",
    )
    t.world.own(t.a, x)
    t.scene(0.45)
    t.paragraph(0.8)
    t.say(
        "[But|Then|Suddenly] {A} [stumbled|tripped|slipped] near {f1}, and the {X} broke.",
        "[Crack!|Snap!|Crash!] The {X} [fell|dropped] [to the ground|beside {s1}] and broke.",
        "[Then|But] a gust of wind threw the {X} against {f1}, and it broke.",
        "[But|Then] the {X} [hit|bumped against|struck] {f1} and broke.",
    )
    t.world.happen("break", t.a, x)
    t.sadness()
    t.maybe(
        0.5,
        '"[It is ruined|Now it is broken|I should have been careful|It will never be the same]," [said|'
        "sighed|groaned|sobbed] {A}.",
    )
    t.paragraph(0.4)
    t.say(*OFFER)
    t.say(
        "{B} [ran off and came back with|went to get|fetched|brought] {means}.",
        "{B} always carried {means}.",
        "{B} [borrowed|begged|got] {means} from {bhis} {elder}.",
    )
    t.maybe(
        0.5,
        "[Piece by piece|Slowly and carefully|With steady hands], they [set to work|fitted the parts "
        "together|tried their best].",
        "{B} held the pieces while {A} [worked|pressed them together|counted to a hundred].",
        "It took [patience|an hour|three tries|most of the afternoon].",
    )
    t.say(
        "[At last|Finally|Soon|By evening], they mended the {X}[|, and it looked as good as new|, and "
        "only a thin line was left].",
        "[Together|With much care], {A} and {B} mended the {dX}[|, and it was stronger than before|, "
        "until it looked like new].",
        "[At last|Finally|Soon|By evening], the {X} was mended[|, and it was even prettier than before|, "
        "and nobody could see the crack].",
    )
    t.world.happen("mend", t.a, t.b, x)
    t.gladness()
    t.glad_sign()
    t.thanks(0.45)


def build(t: Teller) -> None:
    """Two friends want to build something and borrow the tool they lack."""
    t.set_lesson(
        t.dice.pick(
            (
                "many hands make light work",
                "big things are made of small steps",
                "it is wise to ask for help",
                "good work takes time",
            )
        )
    )
    noun = t.dice.pick(tuple(BUILDS))
    x = t.thing("X", noun)
    tool = t.thing("T", t.dice.pick(TOOLS))
    t.slots["means"] = BUILDS[noun]
    helper = t.slots["helper"]
    t.opening()
    t.arrive(together=True)
    t.scene(0.5)
    t.paragraph(0.7)
    t.say(
        "{A} and {B} wanted to build {aX}.",
        '"[Let us|Come, let us|We should] build {aX}!" [said|cried|suggested] {A}. {B} [loved the idea|'
        "agreed at once|nodded].",
        "{A} wanted to build {aX}, and {B} [wanted to help|liked the plan|agreed].",
    )
    t.world.happen("want", t.a, "build", x)
    t.say(
        "They had {means}, but [they had no {T}|no {T}].",
        "They [found|gathered|collected|carried] {means}, but they [needed|did not have] a {T}.",
    )
    t.maybe(
        0.4,
        '"[Without a {T} it is hopeless|We are stuck without a {T}|We cannot do it without a {T}]," '
        "[sighed|said|moaned] {B}.",
    )
    t.paragraph(0.4)
    t.say(
        "[Luckily|Just then|By chance], a~ [kind|friendly|cheerful|old|tall] {helper} [came by|walked "
        "past|stopped] and lent them a {T}.",
        "So they asked a~ [kind|friendly|cheerful|old|tall] {helper}, who lent them a {T}.",
        'So they asked a~ [kind|friendly|cheerful|old|tall] {helper} for help. "[Of course|Gladly|With '
        'pleasure]," said the {helper}, and lent them a {T}.',
    )
    t.world.enter(helper)
    t.world.own(helper, tool)
    t.world.happen("lend", helper, t.a, tool)
    t.maybe(
        0.7,
        "{A} [measured|hammered|held the pieces], and {B} [tied the knots|painted the edges|swept up|"
        "counted aloud].",
        "They worked [beside|near] {f2} until [their arms ached|noon|their hands were dirty|the light "
        "faded].",
        "{B} [hummed a tune|told jokes|kept count|wiped {bhis} brow] while they worked.",
    )
    t.say(
        "[At last|Finally|By evening|In the end], the {X} was finished.",
        "[At last|Finally|By evening|In the end], {A} and {B} finished the {X}.",
        "[At last|Finally|By evening|In the end], they finished the {dX}, and it [stood|looked] [proud "
        "and straight|very fine|a bit crooked].",
    )
    t.world.happen("built", t.a, t.b, x)
    t.maybe(
        0.5, "They gave the {T} back to the {helper}.", "They gave the {T} back and thanked the {helper}."
    )
    t.gladness()
    t.glad_sign(0.3)
