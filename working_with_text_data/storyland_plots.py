"""Plots about things: lost, traded, given, mended, built.

What for: the causal skeletons of Storyland, first half. The idea: each plot is a
function from a ``Teller`` to nothing; it makes events happen in the world and
tells each one in one of several ways, so that what is told is what happened.
Leaves out: plots about deeds and feelings (``storyland_deeds``).
"""

from __future__ import annotations

from . import storyland_phrases as phrases
from .storyland_teller import Teller
from .storyland_world import BUILDS, ITEMS, MADE_GIFTS, MENDABLE, TOOLS

ASK_WHY = (
    '"[What is wrong|What is the matter|What happened], {A}?" asked {B}.',
    '"{A}, [what is wrong|what is the matter|what happened]?" {B} asked [softly|gently|at once|kindly].',
    '{B} asked, "[What is wrong|What happened|Why do you look so gloomy], {A}?"',
)
OFFER = (
    '"[Do not worry|Cheer up|Never mind|Dry your eyes]," said {B}. "[I will help you|We will manage together|I have an idea]."',
    '"[I will help you|Let me help|Two pairs of eyes are better than one]," {B} [said|answered|replied|offered].',
    '"[Leave it to us|Let us try together|We can do this]!" [said|cried|called] {B}.',
)


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
        "{A} [looked|searched|peered|peeked] behind {s1} and [under|beside|around] {f2}, but [it was not there|found nothing|all in vain].",
        "{He} [looked|searched] [high and low|up and down|left and right], but [it was not there|found nothing|all in vain].",
        "{A} [turned every corner|crawled on hands and knees|checked every pocket twice], but [it was not there|found nothing].",
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
            "[At last|Finally|All at once] {B} [bent down|stopped|pointed] and found the {dX} [behind|near] {s3}.",
            '"[Here it is|Look over here|I see it]!" [cried|shouted|called] {B}, who had found the {X} [behind|beside] {f3}.',
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
        "[More and more|With every minute|Oh, how much], {A} wanted the {dY}.",
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
        '"What a~ [lovely|fine|splendid] {Y}," said {A}. "[Would you trade it|Would you swap it|Could I have it]?"',
    )
    t.say(
        '"[Only|Yes, but only] if you give me your {X}," [said|answered|replied] {B}.',
        '{B} [thought|pondered|frowned] for a [moment|while]. "I would like your {X}," {B} [said|answered].',
        '"[Hmm|Well|Let me think]," said {B}. "I will trade it for your {X}."',
    )
    t.paragraph(0.4)
    t.maybe(
        0.4,
        "{A} [thought it over|scratched {his} head|counted to ten|took a deep breath|looked at the {X} one last time].",
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
        "{B}'s birthday was [coming|near|only a week away], but {A} had [no money|not a penny|only two pennies] for a gift.",
        "{A} wanted to give {B} a gift for {bhis} birthday, but the shops were [too dear|closed|far away].",
    )
    t.world.happen("want", t.a, "gift")
    t.maybe(
        0.5,
        "{A} was [worried|troubled|sad] and [thought hard|paced up and down|asked everyone for advice|bit {his} nails].",
    )
    t.maybe(
        0.6,
        '"[Make|Why not make] something [yourself|with your own hands]," said {his} {elder}. "[That is the best present|{B} will love it|Nothing is finer]."',
        'Then {his} {elder} said, "[You have clever hands|You have everything you need|A gift need not cost anything]."',
    )
    t.say(
        "So {A} [went|walked|hurried] to {place} and {made} {aX}[| with great care|| all by {himself}].",
        "So, [hour after hour|bit by bit|day after day], {A} sat {at} and {made} {aX}.",
        "One {time}, {A} sat near {f1} {at} and {made} {aX}.",
    )
    t.world.own(t.a, x, "make")
    t.scene(0.4)
    t.maybe(
        0.4,
        "It was [not perfect|a little lopsided|harder than it looked|finished just in time], but it was [beautiful|made with love|one of a kind].",
    )
    t.paragraph(0.7)
    t.say(
        "[On the birthday|When the day came|The next morning], {A} gave the {X} to {B}.",
        "[On the birthday|When the day came|The next morning], {A} gave {B} the {dX}.",
        '"[Happy birthday|This is for you|Many happy returns], {B}!" said {A}, and gave {B} the {X}.',
    )
    t.world.give(t.a, t.b, x)
    t.say(
        "{B} [unwrapped it slowly|opened the paper|held it up|stared at it] and [gasped|beamed|laughed out loud|could hardly speak].",
        '"[It is beautiful|I love it|It is just what I wished for]!" [cried|exclaimed|whispered] {B}.',
    )
    t.gladness(swap=True)
    t.glad_sign(0.3, swap=True)
    t.maybe(0.3, "{B} [showed] the {X} [to everyone|to the whole street].")


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
        '"[It is ruined|Now it is broken|I should have been careful|It will never be the same]," [said|sighed|groaned|sobbed] {A}.',
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
        "[Piece by piece|Slowly and carefully|With steady hands], they [set to work|put the pieces together|fitted the parts].",
        "{B} held the pieces while {A} [worked|pressed them together|counted to a hundred].",
        "It took [patience|an hour|three tries|most of the afternoon].",
    )
    t.say(
        "[At last|Finally|Soon|By evening], they mended the {X}[|, and it looked as good as new|, and only a thin line was left].",
        "[Together|With much care], {A} and {B} mended the {dX}[|, and it was stronger than before|, until it looked like new].",
        "[At last|Finally|Soon|By evening], the {X} was mended[|, and it was even prettier than before|, and nobody could see the crack].",
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
        '"[Let us|Come, let us|We should] build {aX}!" [said|cried|suggested] {A}. {B} [loved the idea|agreed at once|nodded].',
        "{A} wanted to build {aX}, and {B} [wanted to help|liked the plan|agreed].",
    )
    t.world.happen("want", t.a, "build", x)
    t.say(
        "They had {means}, but [they had no {T}|no {T}].",
        "They [found|gathered|collected|carried] {means}, but they [needed|did not have] a {T}.",
    )
    t.maybe(
        0.4,
        '"[Without a {T} it is hopeless|We are stuck without a {T}|We cannot do it without a {T}]," [sighed|said|moaned] {B}.',
    )
    t.paragraph(0.4)
    t.say(
        "[Luckily|Just then|By chance], a~ [kind|friendly|cheerful|old|tall] {helper} [came by|walked past|stopped] and lent them a {T}.",
        "So they asked a~ [kind|friendly|cheerful|old|tall] {helper}, who lent them a {T}.",
        'So they asked a~ [kind|friendly|cheerful|old|tall] {helper} for help. "[Of course|Gladly|With pleasure]," said the {helper}, and lent them a {T}.',
    )
    t.world.enter(helper)
    t.world.own(helper, tool)
    t.world.happen("lend", helper, t.a, tool)
    t.maybe(
        0.7,
        "{A} [measured|hammered|held the pieces], and {B} [tied the knots|painted the edges|swept up|counted aloud].",
        "They worked [beside|near] {f2} until [their arms ached|noon|their hands were dirty|the light faded].",
        "{B} [hummed a tune|told jokes|kept count|wiped {bhis} brow] while they worked.",
    )
    t.say(
        "[At last|Finally|By evening|In the end], the {X} was finished.",
        "[At last|Finally|By evening|In the end], {A} and {B} finished the {X}.",
        "[At last|Finally|By evening|In the end], they finished the {dX}, and it [stood|looked] [proud and straight|very fine|a bit crooked].",
    )
    t.world.happen("built", t.a, t.b, x)
    t.maybe(
        0.5, "They gave the {T} back to the {helper}.", "They gave the {T} back and thanked the {helper}."
    )
    t.gladness()
    t.glad_sign(0.3)
