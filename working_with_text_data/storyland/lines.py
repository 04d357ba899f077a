"""Lines of dialogue and reasons that several plots share.

What for: asking, offering help, hunger, sorrow and comfort, each in many words.
Leaves out: the plots that use them.
"""

from __future__ import annotations

ASK_WHY = (
    '"[What is wrong|What is the matter|What happened], {A}?" asked {B}.',
    '"{A}, [what is wrong|what is the matter|what happened]?" {B} asked [softly|gently|at once|kindly].',
    '{B} asked, "[What is wrong|What happened|Why do you look so gloomy], {A}?"',
)
OFFER = (
    '"[Do not worry|Cheer up|Never mind|Dry your eyes]," said {B}. "[I will help you|We will manage '
    'together|I have an idea]."',
    '"[I will help you|Let me help|Two pairs of eyes are better than one]," {B} [said|answered|replied|'
    "offered].",
    '"[Leave it to us|Let us try together|We can do this]!" [said|cried|called] {B}.',
)


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
