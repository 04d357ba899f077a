"""Plots about deeds and feelings: sharing, comforting, daring, promising, rescuing.

What for: the causal skeletons of Storyland, second half; see ``storyland_plots``
for the form. Leaves out: plots about things.
"""

from __future__ import annotations

from . import storyland_phrases as phrases
from . import storyland_plots as plots
from .storyland_teller import Teller
from .storyland_world import AFRAID, ANIMAL_LOOKS, ANIMALS, CHORES, DEEDS, FOOD_LOOKS, FOODS, PLACES

HUNGER = (
    "because {bhe} had forgotten {bhis} lunch",
    "because {bhe} had missed breakfast",
    "after the long walk",
    "and had nothing to eat",
    "because the lunch box was empty",
    "after a hard morning of work",
)
SORROWS = (
    "because rain had spoiled the picnic",
    "because nobody wanted to play",
    "because the parade had been called off",
    "because {bhis} tooth hurt",
    "because {bhis} best drawing was torn",
    "because {bhis} cousins had moved away",
    "because the others had laughed at {bhis} shoes",
    "because the choir had no room left",
    "because {bhis} pet snail had crawled off",
    "because the holidays were over",
    "because {bhe} had come last in the race",
    "because {bhis} house of cards had fallen",
    "because {bhis} knee was scraped",
    "because the circus had left town",
    "because a bad dream would not go away",
)
COMFORTS = (
    "sang a silly song",
    "told a funny joke",
    "drew a picture of a dancing cow",
    "juggled three pine cones",
    "pulled a funny face",
    "danced like a chicken",
    "walked like a penguin",
    "told a story about a clumsy wizard",
    "made shadow animals with both hands",
    "played a tune on a blade of grass",
    "did seven cartwheels",
    "balanced an acorn on one finger",
    "talked like a sleepy walrus",
    "taught {B} a secret handshake",
    "listened to every word",
    "picked a bunch of daisies for {B}",
    "sat down close to {B} and hummed",
)


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
    t.slots["hunger"] = phrases_of(t, HUNGER)
    t.say(
        "{B} was hungry {hunger}.",
        "{B} [looked pale|rubbed {bhis} belly|stared at the {X}] and was very hungry.",
    )
    t.world.happen("hungry", t.b)
    t.maybe(
        0.6,
        '"[My stomach is growling|I could eat a whole mountain|I have not eaten all day]," [said|sighed|groaned|admitted] {B}.',
        "{Bhis} stomach growled like [a bear|a lion|thunder|an angry dog].",
    )
    t.maybe(
        0.5,
        "{A} [looked|glanced] at the {X}. It [smelled|looked] [so|very] [good|delicious|tempting], and there was only one.",
        "{A} was about to [keep|eat] the {X} [alone|all by {himself}|in peace], but then stopped.",
    )
    t.paragraph(0.4)
    t.say(
        "{A} broke the {X} in two and gave half to {B}.",
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
    t.slots["sorrow"] = phrases_of(t, SORROWS)
    t.say("{B} was {sad} {sorrow}.", "{B} [was|felt] [so|very] {sad} {sorrow}.")
    t.world.feel(t.b, t.slots["sad"])
    t.maybe(0.5, *phrases.SAD_SIGNS, swap=True)
    t.maybe(0.6, *plots.ASK_WHY, swap=True)
    t.maybe(
        0.4,
        '"[Nothing is right today|Everything goes wrong|Leave me alone|It is a terrible day]," [said|muttered|sobbed|mumbled] {B}.',
    )
    t.paragraph(0.4)
    first, second = t.dice.sample(COMFORTS, 2)
    t.slots["c1"], t.slots["c2"] = (phrases_of(t, (c,)) for c in (first, second))
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
        "[At last|Soon|Suddenly], {B} [laughed|smiled|giggled] [and could not stop|until {bhis} sides hurt|for the first time that day].",
    )
    t.world.happen("cheer", t.a, t.b)
    t.gladness(swap=True)
    t.thanks(0.45, swap=True)


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
        "[More than anything|For weeks|All {season} long], {A} had wanted to {deed} {goal}. [But|Yet] {he} was {afraid}.",
        '"I want to {deed} {goal}," said {A}, "but I am {afraid}."',
    )
    t.world.happen("want", t.a, "deed", fixture)
    t.maybe(
        0.6,
        "{His} [knees wobbled|hands shook|heart pounded|legs felt like jelly|mouth was dry|stomach turned].",
        "It looked [so dangerous|much too hard|scarier than a nightmare|bigger than ever].",
    )
    t.maybe(0.35, "{A} tried once, but [turned back|lost heart|stopped at once].")
    t.paragraph(0.4)
    t.say(
        '"[You can do it|One step at a time|Do not look back|Take a deep breath|I will be right here|I believe in you]," [said|called|whispered] {B}.',
        '{B} [smiled|nodded] and said, "[You can do it|One step at a time|I will count to three|Take a deep breath|I am here with you]."',
        '{B} [squeezed|took|held] {A}\'s hand. "[I was scared too, the first time|You are stronger than you think|We will go together]," {B} said.',
    )
    t.maybe(
        0.4,
        "{A} [closed {his} eyes|counted to three|took a deep breath|clenched {his} fists|thought of {his} {elder}].",
    )
    t.say(
        "[Then|Slowly|Step by step|And then|In one go], {A} {done} {goal}.",
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
        '{His} {rel} {B} was on the way to {place}. "[Come and play|Come with me|Let us play], {A}!" [called|cried|shouted] {B}.',
        "[But then|Soon|On the way], {he} met {his} {rel} {B}, who was going to {place} to play.",
    )
    t.maybe(
        0.6,
        '"[We can swing and shout|Everyone is there|It will be such fun|The others are waiting]," [said|added|coaxed] {B}.',
    )
    t.say(
        "{A} [wanted|longed] to go, but [then {he} thought of the promise|{he} remembered the promise|a promise was a promise].",
        '"[I would love to|It sounds like fun|Maybe later]," said {A}, "but I [made a promise|gave my word|have a promise to keep]."',
        "For a moment, {A} [was tempted|hesitated|did not know what to do]. Then {he} [remembered|thought of] the promise.",
    )
    t.maybe(
        0.5,
        '"[Then I will help you|All right, I will wait|That is only fair|Let us do it together]," said {B}.',
    )
    t.paragraph(0.3)
    t.say(
        "So [first|before anything else], {A} {did}.",
        "{A} [rolled up {his} sleeves|put on an apron|turned around|got to work] and {did}.",
        "So {A} {did}, [quickly but well|without a break|from start to finish].",
    )
    t.world.happen("kept", t.a, chore)
    t.maybe(
        0.5,
        '{His} {elder} [smiled|nodded|was astonished] and said, "[You kept your word|I knew I could trust you|Well done, {A}]!"',
        "It was [hard|dull|dirty|tiring] work, but {he} kept the promise.",
    )
    t.paragraph(0.3)
    t.say(
        "[After that|Afterwards|Then at last], {A} and {B} [went|ran|raced] to {place} [to play|and played until dusk|and laughed all the way]."
    )
    t.scene(0.6)
    t.gladness()


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
        "[Suddenly|All at once|Then] they heard [a cry|a faint noise|a rustle|a squeak|whimpering]. {AX} was stuck [behind|beside|near] {f1}.",
        "[Suddenly|All at once|Then] {A} saw {aX} that was stuck [behind|beside|near] {f1}.",
        '"[Listen|Look|Quiet]!" [said|whispered|hissed] {B}. [Behind|Beside|Near] {f1}, {aX} was stuck.',
    )
    t.world.place_thing(x)
    t.world.happen("stuck", x)
    t.maybe(
        0.6,
        "The {X} [shivered|trembled|whimpered|wriggled] and could not [get out|move|get free].",
        "[Poor thing!|Poor little one!] The {X} [shivered|trembled|was cold and scared|looked at them with big eyes].",
    )
    t.maybe(
        0.5, '"[We must help it|Poor thing|We have to do something|Do not be afraid, little one]," said {A}.'
    )
    t.paragraph(0.3)
    t.say(
        "{B} [held back the thorns|lifted a heavy plank|moved the stones|pushed with all {bhis} might|kept very still], and {A} freed the {X}.",
        "[Together|Slowly|Gently], {A} and {B} freed the {X}.",
        "{A} [stretched out both arms|lay down flat|reached in|spoke softly] and [gently|slowly|carefully] freed the {dX}.",
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


def phrases_of(t: Teller, options: tuple[str, ...]) -> str:
    """One option with its slots filled, left uncapitalised, to be used inside another template."""
    return t.dice.pick(options).format_map(t.slots)
