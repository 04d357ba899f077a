"""Checks of the Storyland checker: broken stories of every kind, made from generated ones.

Each mutation takes a story's text and a ``random.Random`` and returns a broken
text, or ``None`` where that breakage does not apply to the story.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from working_with_text_data.storyland import stories
from working_with_text_data.storyland.checker import Verdict, check_story
from working_with_text_data.storyland.reading import read
from working_with_text_data.storyland.world import COLOURS, GENDER, PLACES, TRACKED

Mutation = Callable[[str, random.Random], str | None]
_NAME = re.compile(rf"\b({'|'.join(GENDER)})\b")
_THING = re.compile(rf"\b({'|'.join(sorted(TRACKED))})\b")


def sample_texts(n: int, seed: int = 101) -> list[str]:
    stream = stories(seed)
    return [next(stream).text for _ in range(n)]


def _sentences(text: str) -> list[list[str]]:
    reading = read(text)
    grouped: list[list[str]] = [[] for _ in reading.paragraphs]
    for sentence in reading.sentences:
        grouped[sentence.paragraph].append(sentence.text)
    return grouped


def _join(paragraphs: list[list[str]]) -> str:
    return "\n\n".join(" ".join(p) for p in paragraphs if p)


def _replace_one(text: str, pattern: re.Pattern[str], new: str, rng: random.Random) -> str | None:
    found = list(pattern.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    return text[: match.start()] + new + text[match.end() :]


def foreign_name(text: str, rng: random.Random) -> str | None:
    """One occurrence of a name becomes a name that is not in the story."""
    present = set(_NAME.findall(text))
    return _replace_one(text, _NAME, rng.choice([n for n in GENDER if n not in present]), rng)


def other_name(text: str, rng: random.Random) -> str | None:
    """One occurrence of a name becomes the story's other name (many such stories stay true)."""
    present = sorted(set(_NAME.findall(text)))
    match = rng.choice(list(_NAME.finditer(text)))
    other = present[1 - present.index(match[1])] if len(present) == 2 else None
    return text[: match.start()] + other + text[match.end() :] if other else None


def one_person_twice(text: str, rng: random.Random) -> str | None:
    """ "Mia and Tom" becomes "Mia and Mia"."""
    match = re.search(rf"\b({'|'.join(GENDER)}) and (?!\1)({'|'.join(GENDER)})\b", text)
    return text[: match.start(2)] + match[1] + text[match.end(2) :] if match else None


def swapped_thing(text: str, rng: random.Random) -> str | None:
    """One occurrence of a thing becomes another thing."""
    found = list(_THING.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    new = rng.choice([t for t in sorted(TRACKED) if t not in text and t[0] not in "aeiou"])
    return text[: match.start()] + new + text[match.end() :]


def swapped_place(text: str, rng: random.Random) -> str | None:
    """One of at least two mentions of the place becomes another place."""
    pattern = re.compile(rf"(?<=the )({'|'.join(PLACES)})\b")
    found = list(pattern.finditer(text))
    if len(found) < 2:
        return None
    match = rng.choice(found)
    new = rng.choice([p for p in PLACES if p != match[1]])
    return text[: match.start()] + new + text[match.end() :]


def changed_colour(text: str, rng: random.Random) -> str | None:
    """A thing that was said to be red is later said to be blue."""
    for match in re.finditer(rf"\bthe ({'|'.join(COLOURS)}) ({'|'.join(TRACKED)})\b", text):
        new = rng.choice([c for c in COLOURS if c != match[1]])
        return text[: match.start(1)] + new + text[match.end(1) :]
    return None


def no_first_sentence(text: str, rng: random.Random) -> str | None:
    paragraphs = _sentences(text)
    paragraphs[0] = paragraphs[0][1:]
    return _join(paragraphs)


def no_last_sentence(text: str, rng: random.Random) -> str | None:
    paragraphs = _sentences(text)
    paragraphs[-1] = paragraphs[-1][:-1]
    return _join(paragraphs)


def truncated(text: str, rng: random.Random) -> str | None:
    """Cut in the middle of a word or sentence."""
    return text[: rng.randrange(len(text) // 3, len(text) - 3)].rstrip('.!?" \n')


def wrong_pronoun(text: str, rng: random.Random) -> str | None:
    """Every pronoun of a gender that nobody in the story has."""
    genders = {GENDER[n] for n in _NAME.findall(text)}
    if len(genders) != 1:
        return None
    pairs = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
    if genders == {"f"}:
        pairs = {"she": "he", "her": "his", "herself": "himself"}
    pattern = re.compile(rf"\b({'|'.join(pairs)})\b", re.I)
    match = pattern.search(text)
    if not match:
        return None
    new = pairs[match[1].lower()]
    return text[: match.start()] + (new.capitalize() if match[1][0].isupper() else new) + text[match.end() :]


def repeated_sentence(text: str, rng: random.Random) -> str | None:
    paragraphs = _sentences(text)
    paragraph = rng.choice(paragraphs)
    index = rng.randrange(len(paragraph))
    paragraph.insert(index, paragraph[index])
    return _join(paragraphs)


def no_solution(text: str, rng: random.Random) -> str | None:
    """The sentence that settles the trouble is left out."""
    settles = re.compile(
        r"\b(?:found the|gave the \w+ (?:\w+ )?(?:back )?to|gave \w+ the|handed|traded the|swapped the|"
        r"mended the|was mended|"
        r"freed the|finished the|was finished|shared the|gave half)\b"
    )
    paragraphs = _sentences(text)
    kept = [[s for s in p if not settles.search(s)] for p in paragraphs]
    return _join(kept) if kept != paragraphs else None


def scrambled_words(text: str, rng: random.Random) -> str | None:
    """The words of one sentence in random order."""
    paragraphs = _sentences(text)
    spots = [
        (i, j)
        for i, p in enumerate(paragraphs)
        for j, s in enumerate(p)
        if len(s.split()) > 6 and '"' not in s
    ]
    if not spots:
        return None
    i, j = rng.choice(spots)
    words = paragraphs[i][j].rstrip(".!").split()
    mixed = words[:]
    while mixed == words:
        rng.shuffle(mixed)
    sentence = " ".join(mixed).replace(",", "").lower()
    for name in GENDER:
        sentence = re.sub(rf"\b{name.lower()}\b", name, sentence)
    paragraphs[i][j] = sentence[0].upper() + sentence[1:] + "."
    return _join(paragraphs)


def shuffled_sentences(text: str, rng: random.Random) -> str | None:
    flat = [s for p in _sentences(text) for s in p]
    mixed = flat[:]
    while mixed == flat:
        rng.shuffle(mixed)
    half = len(mixed) // 2
    return _join([mixed[:half], mixed[half:]])


def word_salad(text: str, rng: random.Random) -> str | None:
    """Only Storyland words, in sentences of random words."""
    words = re.findall(r"[A-Za-z]+", text.lower())
    rng.shuffle(words)
    sentences = [" ".join(words[i : i + 8]).capitalize() + "." for i in range(0, len(words), 8)]
    half = len(sentences) // 2
    return _join([sentences[:half], sentences[half:]])


def misspelt(text: str, rng: random.Random) -> str | None:
    """Two letters of a long word change places."""
    found = [m for m in re.finditer(r"\b[a-z]{6,}\b", text) if m[0][2] != m[0][3]]
    match = rng.choice(found)
    word = match[0]
    return text[: match.start()] + word[:2] + word[3] + word[2] + word[4:] + text[match.end() :]


def lost_quotation_mark(text: str, rng: random.Random) -> str | None:
    return _replace_one(text, re.compile('"'), "", rng)


def wrong_article(text: str, rng: random.Random) -> str | None:
    match = rng.choice(list(re.finditer(r"\b(an?) (?=\w)", text)))
    return text[: match.start(1)] + ("a" if match[1] == "an" else "an") + text[match.end(1) :]


def doubled_word(text: str, rng: random.Random) -> str | None:
    match = rng.choice(list(re.finditer(r"\b[a-z]{2,}\b", text)))
    return text[: match.end()] + " " + match[0] + text[match.end() :]


def no_capital(text: str, rng: random.Random) -> str | None:
    return _replace_one(text, re.compile(r"(?<=[.] )(?:The|He|She|It|So|Then|Together|At|In)\b"), "then", rng)


def glad_too_soon(text: str, rng: random.Random) -> str | None:
    """Someone is said to be sad, and glad in the same breath."""
    match = re.search(
        r"\b(?:was|felt) (?:so |very |rather )?(?:sad|upset|worried|unhappy|gloomy|miserable|troubled)\b",
        text,
    )
    return text[: match.start()] + "was happy" + text[match.end() :] if match else None


MUTATIONS: dict[str, tuple[Mutation, str | None]] = {
    # name -> (mutation, the rule that must be named; None where several rules may speak)
    "foreign name": (foreign_name, "who"),
    "one person twice": (one_person_twice, "who"),
    "swapped thing": (swapped_thing, None),
    "swapped place": (swapped_place, "place"),
    "changed colour": (changed_colour, "thing"),
    "no first sentence": (no_first_sentence, "no_opening"),
    "no last sentence": (no_last_sentence, "no_ending"),
    "truncated": (truncated, "no_ending"),
    "wrong pronoun": (wrong_pronoun, "pronoun"),
    "repeated sentence": (repeated_sentence, "repetition"),
    "no solution": (no_solution, "want"),
    "scrambled words": (scrambled_words, None),
    "shuffled sentences": (shuffled_sentences, None),
    "word salad": (word_salad, "grammar"),
    "misspelt": (misspelt, "unknown_word"),
    "lost quotation mark": (lost_quotation_mark, "dialogue"),
    "wrong article": (wrong_article, "grammar"),
    "doubled word": (doubled_word, "grammar"),
    "no capital": (no_capital, "grammar"),
    "glad too soon": (glad_too_soon, "feeling"),
}


def catch_rate(
    name: str, texts: list[str], seed: int = 0, check: Callable[[str], Verdict] = check_story
) -> tuple[float, float, int]:
    """(share caught at all, share caught with the named rule, how many applied) of one mutation."""
    mutate, rule = MUTATIONS[name]
    rng = random.Random(seed)
    caught = named = applied = 0
    for text in texts:
        broken = mutate(text, rng)
        if broken is None or broken == text:
            continue
        applied += 1
        verdict = check(broken)
        caught += not verdict.coherent
        named += rule is None or rule in verdict.rules
    return caught / max(applied, 1), named / max(applied, 1), applied


def glue(first: str, second: str) -> str:
    """The first half of one story and the second half of another."""
    one = [(i, s) for i, p in enumerate(_sentences(first)) for s in p]
    two = [(i, s) for i, p in enumerate(_sentences(second)) for s in p]
    head, tail = one[: len(one) // 2], two[len(two) // 2 :]
    return " ".join(s for _, s in head) + "\n\n" + " ".join(s for _, s in tail)


def glue_rate(texts: list[str], check: Callable[[str], Verdict] = check_story) -> float:
    pairs = list(pairwise(texts))
    return sum(not check(glue(a, b)).coherent for a, b in pairs) / len(pairs)


def rules_seen(texts: list[str], check: Callable[[str], Verdict] = check_story) -> Counter[str]:
    return Counter(rule for text in texts for rule in check(text).rules)


# The laws ---------------------------------------------------------------------
# What each breakage must reach at least; measured rates are higher or equal (see test_storyland_mutations).
FLOORS = {name: 0.95 for name in MUTATIONS} | {"shuffled sentences": 0.95, "word salad": 1.0, "misspelt": 1.0}


def check_stories_are_coherent(texts: list[str]) -> None:
    """Every generated story passes the checker."""
    for text in texts:
        verdict = check_story(text)
        assert verdict.coherent, f"a generated story was refused: {verdict.violations[:3]}\n{text}"


def check_caught(name: str, texts: list[str]) -> None:
    """The checker catches this kind of broken story, and says why."""
    caught, named, applied = catch_rate(name, texts)
    assert applied >= 5, f"{name}: only {applied} stories could be broken this way"
    rule = MUTATIONS[name][1]
    assert caught >= FLOORS[name], f"{name}: only {caught:.1%} of {applied} broken stories were refused"
    assert named >= FLOORS[name], f"{name}: only {named:.1%} were refused for {rule}"


def check_glue_is_caught(texts: list[str]) -> None:
    """The halves of two stories do not make a story."""
    rate = glue_rate(texts)
    assert rate >= 0.98, f"only {rate:.1%} of glued halves were refused"


def check_outside_text_is_refused(texts: list[str]) -> None:
    """Other people's prose is not Storyland."""
    for text in texts:
        assert not check_story(text).coherent, f"outside text was taken for a Storyland story:\n{text}"
