"""Plots about courage and keeping one's word.

What for: causal skeletons of Storyland; ``plots`` explains the form.
"""

from __future__ import annotations

from .teller import Teller
from .world import AFRAID, CHORES, DEEDS, PLACES


def dare(t: Teller) -> None:
    """A is afraid of a deed and does it with encouragement."""
    t.set_lesson(
        t.dice.pick(
            (
                "courage grows with every step",
                "being brave means trying anyway",
                "fear gets smaller when someone is near",
                "nobody knows what they can do until they try",
            )
        )
    )
    possible = [f for f in PLACES[t.place][2] if f in DEEDS]
    fixture = t.dice.pick(possible)
    t.slots["deed"], t.slots["done"] = DEEDS[fixture]
    t.slots["goal"] = f"the {fixture}"
    t.slots["afraid"] = t.dice.pick(AFRAID)
    t.opening()
    t.arrive(together=True)
    t.scene(0.7)
    t.paragraph(0.8)
    t.say(
        "{A} wanted to {deed} {goal}, but {he} was {afraid}.",
        "[More than anything|For weeks|All {season} long], {A} had wanted to {deed} {goal}. [But|Yet] "
        "{he} was {afraid}.",
        '"I want to {deed} {goal}," said {A}, "but I am {afraid}."',
    )
    t.world.happen("want", t.a, "deed", fixture)
    t.maybe(
        0.6,
        "{His} [knees wobbled|hands shook|heart pounded|legs felt like jelly|mouth was dry|stomach turned].",
        "It looked [so dangerous|much too hard|scarier than a nightmare|bigger than ever].",
    )
    t.maybe(0.35, "[{A}|{Ah}] tried once, but [turned back|lost heart|stopped at once].")
    t.paragraph(0.4)
    t.say(
        '"[You can do it|One step at a time|Do not look back|Take a deep breath|I will be right here|I '
        'believe in you]," [said|called|whispered] {B}.',
        '{B} [smiled|nodded] and said, "[You can do it|One step at a time|I will count to three|Take a '
        'deep breath|I am here with you]."',
        "{B} [squeezed|took|held] {A}'s hand. \"[I was scared too, the first time|You are stronger than "
        'you think|We will go together]," {B} said.',
    )
    t.maybe(
        0.4,
        "[{A}|{Ah}] [closed {his} eyes|counted to three|took a deep breath|clenched {his} fists|thought "
        "of {his} {elder}].",
    )
    t.say(
        "[Then|Slowly|Step by step|And then|In one go], [{A}|{Ah}] {done} {goal}.",
        "[With a pounding heart|With shaking legs|Bit by bit|In the end], {A} {done} {goal}.",
    )
    t.world.happen("did", t.a, fixture)
    t.maybe(
        0.5,
        '"[I did it|That was wonderful|Again]!" [cried|shouted|cheered|called] {A}.',
        "{B} [clapped|cheered|whistled|waved] [loudly|wildly|with both arms].",
    )
    t.gladness()
    t.glad_sign(0.3)


def promise(t: Teller) -> None:
    """A promises a chore, is tempted away, and keeps the promise."""
    t.set_lesson(
        t.dice.pick(
            (
                "a promise is a promise",
                "play tastes sweeter after work",
                "trust is built one promise at a time",
                "a kept word is worth more than gold",
            )
        )
    )
    chore = t.dice.pick(tuple(CHORES))
    t.slots["chore"], t.slots["did"] = chore, CHORES[chore]
    t.opening()
    t.say(
        "One {time}, {A} promised {his} {elder} to {chore}.",
        '"I promise to {chore}," {A} told {his} {elder} one {time}.',
        "{His} {elder} was [tired|busy|ill|away], so {A} promised to {chore} [before dark|by noon|that day].",
        '"Will you {chore} today?" asked {his} {elder}. "I promise," said {A}.',
    )
    t.world.happen("promise", t.a, chore)
    t.paragraph(0.8)
    t.say(
        "[But then|Soon|On the way], {his} {rel} {B} [came by|knocked|ran up] and asked {him} to play {at}.",
        '{His} {rel} {B} was on the way to {place}. "[Come and play|Come with me|Let us play], {A}!" '
        "[called|cried|shouted] {B}.",
        "[But then|Soon|On the way], {he} met {his} {rel} {B}, who was going to {place} to play.",
    )
    t.maybe(
        0.6,
        '"[We can swing and shout|Everyone is there|It will be such fun|The others are waiting]," [said|'
        "added|coaxed] {B}.",
    )
    t.say(
        "{A} [wanted|longed] to go, but [then {he} thought of the promise|{he} remembered the promise|a "
        "promise was a promise].",
        '"[I would love to|It sounds like fun|Maybe later]," said {A}, "but I [made a promise|gave my '
        'word|have a promise to keep]."',
        "For a moment, [{A}|{Ah}] [was tempted|hesitated|did not know what to do]. Then {he} [remembered|"
        "thought of] the promise.",
    )
    t.maybe(
        0.5,
        '"[Then I will help you|All right, I will wait|I can wait for you|Let us do it together]," said {B}.',
    )
    t.paragraph(0.3)
    t.say(
        "So [first|before anything else], [{A}|{Ah}] {did}.",
        "{A} [rolled up {his} sleeves|put on an apron|turned around|got to work] and {did}.",
        "So {A} {did}, [quickly but well|without a break|from start to finish].",
    )
    t.world.happen("kept", t.a, chore)
    t.maybe(
        0.5,
        '{His} {elder} [smiled|nodded|was astonished] and said, "[You kept your word|I knew I could trust '
        'you|Well done, {A}]!"',
        "It was [hard|dull|dirty|tiring] work, but {he} kept the promise.",
    )
    t.paragraph(0.3)
    t.say(
        "[After that|Afterwards|Then at last], {A} and {B} [went|ran|raced] to {place} [to play|and "
        "played until dusk|and laughed all the way]."
    )
    t.scene(0.6)
    t.gladness()
