"""Plots about things that change hands: lost, traded, given.

What for: causal skeletons of Storyland. The idea: each plot is a function from a
``Teller`` to nothing; it makes events happen in the world and tells each one in
one of several ways, so that what is told is what happened. More plots:
``making``, ``kindness``, ``deeds``.
"""

from __future__ import annotations

from . import phrases
from .lines import ASK_WHY, OFFER
from .teller import Teller
from .world import ITEMS, MADE_GIFTS


def lost(t: Teller) -> None:
    """A thing is lost, searched for with a friend, found and given back."""
    t.set_lesson(
        t.dice.pick(
            (
                *phrases.FRIEND_LESSONS,
                "lost things wait for patient eyes",
                "it is easier to look with four eyes than with two",
            )
        )
    )
    x = t.thing("X", t.dice.pick(ITEMS))
    t.opening()
    t.say(
        "{He} had {aX}, [a present from|a gift from] {his} {elder}.",
        "{A} had {aX} and [took it everywhere|carried it everywhere|never went anywhere without it].",
        "{A} had {aX}, and {he} [loved it dearly|was fond of it|kept it close|looked after it well].",
        "{His} {elder} had given {him} {aX}.",
    )
    t.world.own(t.a, x)
    t.arrive(together=False)
    t.scene()
    t.paragraph(0.85)
    t.say(
        "[But then|Suddenly|After a while|At noon], {A} could not find the {X} [anywhere|any more].",
        "[But|Then] {A} [reached|felt] into {his} [pocket|bag], [and|only to see that] the {X} was gone.",
        "[But on the way|Somewhere] near {f1}, {A} lost the {dX}.",
        "[Suddenly|Then] {A} noticed that the {X} was [missing|gone].",
    )
    t.world.lose(t.a, x)
    t.sadness()
    t.maybe(
        0.6,
        "[{A}|{Ah}] [looked|searched|peered|peeked] behind {s1} and [under|beside|around] {f2}, but [it "
        "was not there|found nothing|all in vain].",
        "{He} [looked|searched] [high and low|up and down|left and right], but [it was not there|found "
        "nothing|all in vain].",
        "[{A}|{Ah}] [turned every corner|crawled on hands and knees|checked every pocket twice], but [it "
        "was not there|found nothing].",
    )
    t.paragraph(0.5)
    t.say(*phrases.B_COMES)
    t.maybe(0.75, *ASK_WHY)
    t.say(
        '"I have lost my {X}," [said|answered|explained|sobbed|whispered] {A}.',
        '"My {dX} is [gone|missing]," {A} [said|answered|explained|whispered].',
        "{A} [told {B} about the {X}|explained that the {X} was gone].",
    )
    t.maybe(0.7, *OFFER)
    t.maybe(
        0.6,
        "[Together|Side by side], they [searched|looked|hunted] [near|behind|around] {f1}.",
        "They [looked|searched] near {s1}, then [behind|beside|around] {f3}.",
    )
    t.paragraph(0.3)
    if t.dice.chance(0.6):
        t.say(
            "[At last|Finally|Then|In the end], {B} found the {X} [behind|beside|near|next to] {f3}.",
            "[At last|Finally|All at once] {B} [bent down|stopped|pointed] and found the {dX} [behind|"
            "near] {s3}.",
            '"[Here it is|Look over here|I see it]!" [cried|shouted|called] {B}, who had found the {X} '
            "[behind|beside] {f3}.",
        )
        t.world.find(t.b, x)
        t.say(
            "{B} gave the {X} back to {A}.",
            "{B} [wiped it clean|dusted it off|held it up] and gave it back to {A}.",
            "[Gently|Proudly|With a smile], {B} handed the {X} to {A}.",
        )
        t.world.give(t.b, t.a, x)
    else:
        t.say(
            "[At last|Finally|Then|In the end], {A} found the {X} [behind|beside|near|next to] {f3}.",
            "{B} pointed at {f3}, and [there|behind it] {A} found the {dX}.",
            '"[Look|Try] behind {s3}," said {B}, and there {A} found the {X}.',
        )
        t.world.find(t.a, x)
    t.gladness()
    t.glad_sign()
    t.thanks()


def trade(t: Teller) -> None:
    """A wants what B has; the two trade."""
    t.set_lesson(
        t.dice.pick(
            (
                "a fair trade is a joy for two",
                "it never hurts to ask politely",
                "sharing a wish is the first step to it",
                "fair is fair",
            )
        )
    )
    first, second = t.dice.sample(ITEMS, 2)
    t.thing("X", first)
    t.thing("Y", second)
    t.opening()
    t.arrive(together=True)
    t.scene()
    t.say(
        "{A} had {aX}, and {B} had {aY}.",
        "{B} had {aY}, while {A} had only {aX}.",
        "{A} had brought {aX}, and {B} had brought {aY}.",
    )
    t.world.own(t.a, first)
    t.world.own(t.b, second)
    t.paragraph(0.85)
    t.say(
        "{A} [looked|gazed|stared] at the {Y} and [wanted|wished] to have it.",
        "[More and more|With every minute], {A} wanted the {dY}.",
        "{A} wanted the {Y} [more than anything|so much that it hurt|very much].",
    )
    t.world.happen("want", t.a, second)
    t.maybe(
        0.3,
        "[But|Still,] {he} was too [polite|proud|timid] to [beg|grab|shout].",
        "[But|Still,] asking [is|was] not easy.",
    )
    t.say(
        '"[May I have|Could I have|Will you give me] your {Y}, {B}?" asked {A}.',
        '[{A}|{He}] asked, "{B}, [would you trade|would you swap|would you part with] your {Y}?"',
        '"What a~ [lovely|fine|splendid] {Y}," said {A}. "[Would you trade it|Would you swap it|Could I '
        'have it]?"',
    )
    t.say(
        '"[Only|Yes, but only] if you give me your {X}," [said|answered|replied] {B}.',
        '{B} [thought|pondered|frowned] for a [moment|while]. "I would like your {X}," {B} [said|answered].',
        '"[Hmm|Well|Let me think]," said {B}. "I will trade it for your {X}."',
    )
    t.paragraph(0.4)
    t.maybe(
        0.4,
        "[{A}|{Ah}] [thought it over|scratched {his} head|counted to ten|took a deep breath|looked at the "
        "{X} one last time].",
    )
    t.say(
        "[So|And so|Then] {A} traded the {X} for the {Y}.",
        "{A} gave the {X} to {B}, and {B} gave the {Y} to {A}.",
        "{A} handed {B} the {X}, and {B} handed {A} the {Y}.",
        "[After they shook hands|Without another word|With a nod], {A} swapped the {X} for the {dY}.",
    )
    t.world.give(t.a, t.b, first)
    t.world.give(t.b, t.a, second)
    t.gladness()
    t.maybe(
        0.5,
        "Now {A} had the {Y}, and {B} had the {X}.",
        "{B} [played with|admired|tried out] the {X} [at once|right away|all afternoon].",
        "{A} [held the {Y} up to the light|turned the {Y} over and over|hugged the {Y} tightly].",
    )
    t.glad_sign(0.25)


def gift(t: Teller) -> None:
    """A makes a gift for B's birthday."""
    t.set_lesson(
        t.dice.pick(
            (
                "the best gifts come from the heart",
                "giving is as sweet as getting",
                "a gift made by hand is worth more than gold",
                "time is a present too",
            )
        )
    )
    noun = t.dice.pick(tuple(MADE_GIFTS))
    x = t.thing("X", noun)
    t.slots["made"] = MADE_GIFTS[noun]
    t.opening()
    t.say(
        "{A} had a~ {btrait} {rel} named {B}[, and the two were never bored|||, who lived next door].",
        "{His} {rel} {B} was a~ {btrait} {bkid} with a~ [big|quick|shy|gentle|crooked] [grin|smile].",
    )
    t.paragraph(0.6)
    t.say(
        "[The next day was|Soon it would be|It was almost] {B}'s birthday, but {A} had nothing to give.",
        "{B}'s birthday was [coming|near|only a week away], but {A} had [no money|not a penny|only two "
        "pennies] for a gift.",
        "{A} wanted to give {B} a gift for {bhis} birthday, but the shops were [too dear|closed|far away].",
    )
    t.world.happen("want", t.a, "gift")
    t.maybe(
        0.5,
        "{A} was [worried|troubled|sad] and [thought hard|paced up and down|asked everyone for advice|bit "
        "{his} nails].",
    )
    t.maybe(
        0.6,
        '"[Make|Why not make] something [yourself|with your own hands]," said {his} {elder}. "[That is '
        'the best present|{B} will love it|Nothing is finer]."',
        'Then {his} {elder} said, "[You have clever hands|You have everything you need|A gift need not '
        'cost anything]."',
    )
    t.say(
        "So [{A}|{Ah}] [went|walked|hurried] to {place} and {made} {aX}[| with great care|| all by "
        "{himself}].",
        "So, [hour after hour|bit by bit|day after day], [{A}|{Ah}] sat {at} and {made} {aX}.",
        "One {time}, {A} sat near {f1} {at} and {made} {aX}.",
    )
    t.world.own(t.a, x, "make")
    t.scene(0.4)
    t.maybe(
        0.4,
        "It was [not perfect|a little lopsided|harder than it looked|not very big], but it was [beautiful|"
        "made with love|one of a kind].",
    )
    t.paragraph(0.7)
    t.say(
        "[On the birthday|When the day came|The next morning], {A} gave the {X} to {B}.",
        "[On the birthday|When the day came|The next morning], [{A}|{Ah}] gave {B} the {dX}.",
        '"[Happy birthday|This is for you|Many happy returns], {B}!" said {A}, and gave {B} the {X}.',
    )
    t.world.give(t.a, t.b, x)
    t.say(
        "{B} [unwrapped it slowly|opened the paper|held it up|stared at it] and [gasped|beamed|laughed "
        "out loud|could hardly speak].",
        '"[It is beautiful|I love it|It is just what I wished for]!" [cried|exclaimed|whispered] {B}.',
    )
    t.gladness(swap=True)
    t.glad_sign(0.3, swap=True)
    t.maybe(0.3, "{B} [showed] the {X} [to everyone|to the whole street].")
