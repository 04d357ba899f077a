"""Following who is in a story, where it happens and what the people feel and want.

What for: the causal half of the checker. The idea: sentences are read in order
and each one changes a small belief about the world; a sentence that contradicts
the belief is a violation. Problems (a loss, a want, hunger, a promise …) are
opened and must be solved, by the right person and with the right thing, before
anyone is glad and before the story may end. Leaves out: who holds what
(``things``), spelling and sentence form (``rules``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .reading import Reading, Sentence
from .verdict import Violation
from .world import CHORES, DEEDS, GENDER, GLAD, HELPERS, RELATIONS, SAD, word_list

_NAME = "|".join(GENDER)
_RELATION = "|".join(RELATIONS)
_INTRODUCED = (
    re.compile(rf"\b(?P<sort>girl|boy) (?:named|called) (?P<name>{_NAME})\b"),
    re.compile(rf"\b(?P<name>{_NAME}),? (?:was )?an? \w+ (?P<sort>girl|boy)\b"),
    re.compile(rf"\b(?P<sort>{_RELATION}) (?:(?:named|called) )?(?P<name>{_NAME})\b"),
    re.compile(rf"\b(?P<name>{_NAME}), (?:his|her) (?:\w+ )?(?P<sort>{_RELATION})\b"),
)
# "Mia and Mia", "Mia hugged Mia", "Mia was glad, and so did Mia", "Mia ran, and Mia sang".
_SAME_TWICE = re.compile(
    rf"\b({_NAME}) (?:and|hugged|thanked|told|gave|handed|met|saw) \1\b"
    rf"|^(?:(?!{_NAME})\w+,? )*?(?P<n>{_NAME}) (?:(?!{_NAME}).)*, (?:and|while) (?:so did )?(?P=n)\b"
)
_SORT_GENDER = {"girl": "f", "boy": "m", **{r: g for r, g in RELATIONS.items() if g}}
_HE = {"he": "m", "him": "m", "his": "m", "himself": "m", "she": "f", "her": "f", "herself": "f"}
_BODY = frozenset(
    word_list(
        "cheek nose chin lip voice head stomach eyes hair sleeves collar coat feet toes shoes heels hands "
        "arms heart "
        "knees legs mouth fists might sides belly brow jacket sweater breath nails pocket bag face"
    )
)
_GLAD = re.compile(rf"\b({'|'.join(GLAD)})\b")
_SAD = re.compile(
    rf"<(\w+)>(?: and <(\w+)>)? (?:was|felt|were|looked) (?:so |very |rather )?({'|'.join(SAD)})\b"
)
_CHEERED = re.compile(r"\b(?:began to (?:smile|laugh)|started to giggle|laughed|smiled|giggled)\b")
_DEED_WANT = "|".join(sorted({d[0] for d in DEEDS.values()}, key=len, reverse=True))
_DEED_DONE = "|".join(sorted({d[1] for d in DEEDS.values()}, key=len, reverse=True))
_WANT_DEED = re.compile(rf"\b(?:wanted|want) to ({_DEED_WANT}) the (\w+)")
_DID_DEED = re.compile(rf"\b({_DEED_DONE}) the (\w+)")
_PROMISE = re.compile(
    rf"promised?(?: <?\w+>?)? to ({'|'.join(CHORES)})\b|will you ({'|'.join(CHORES)}) today"
)
_KEPT = re.compile(rf"\b({'|'.join(CHORES.values())})\b")
_DONE_CHORE = {v: k for k, v in CHORES.items()}


@dataclass
class Problem:
    """Something that must be put right: its kind, whose it is, what it is about."""

    kind: str
    who: str
    what: str
    sentence: str
    solved: bool = False


@dataclass
class Belief:
    """What the checker believes after the sentences read so far."""

    people: dict[str, str] = field(default_factory=dict)  # name (lower case) -> gender
    helpers: set[str] = field(default_factory=set)
    place: str | None = None
    problems: list[Problem] = field(default_factory=list)
    recent: list[set[str]] = field(default_factory=list)  # who was mentioned, sentence by sentence
    focus: frozenset[str] = frozenset()  # the subjects of the last sentence that had any
    glad_after: bool = False
    violations: list[Violation] = field(default_factory=list)

    def broken(self, rule: str, sentence: str, why: str) -> None:
        self.violations.append(Violation(rule, sentence, why))

    def open_problem(self) -> Problem | None:
        return next((p for p in self.problems if not p.solved), None)

    def start(self, kind: str, who: str, what: str, sentence: str) -> None:
        """A problem begins; a story has exactly one."""
        if self.problems:
            first = self.problems[0]
            if (first.kind, first.what) == (kind, what) and not first.solved:
                return
            self.broken(
                "want", sentence, f"a second trouble ({kind} {what}) after {first.kind} {first.what}".strip()
            )
            return
        self.problems.append(Problem(kind, who, what, sentence))

    def solve(self, kind: str, what: str, sentence: str, who: str | None = None) -> None:
        problem = self.open_problem()
        if problem is None or problem.kind != kind or problem.what != what:
            self.broken(
                "want", sentence, f"{kind} {what} is settled, but it never was a trouble".replace("  ", " ")
            )
        elif who is not None and problem.who and problem.who != who:
            self.broken("want", sentence, f"{who} settles what was {problem.who}'s to do")
        else:
            problem.solved = True

    def other(self, name: str) -> str:
        return next((p for p in self.people if p != name), "")


_NOT_SUBJECT = frozenset(
    word_list("near with to of behind beside at hugged thanked gave handed told met saw found asked")
)


def one(names: frozenset[str]) -> str:
    """The person, or of several the first by name (so that no verdict depends on hashing); "" for nobody."""
    return min(names, default="")


def subjects(tagged: str, belief: Belief) -> frozenset[str]:
    """The people who head the sentence: tags before the first verb that no preposition governs."""
    words = tagged.split()
    found: list[str] = []
    for index, word in enumerate(words):
        if word.startswith("<") and word.endswith(">"):
            name = word[1:-1]
            before = words[index - 1] if index else ""
            if (before in ("and",) and found and words[index - 2] == f"<{found[-1]}>") or (
                before not in _NOT_SUBJECT and not found
            ):
                found.append(name)
    return resolve(found, belief)


def resolve(names: list[str], belief: Belief) -> frozenset[str]:
    """Names for tags: "he" is the male person who was mentioned last, "they" is both."""
    out: set[str] = set()
    for name in names:
        if name in ("he", "him", "she", "her"):
            gender = "f" if name in ("she", "her") else "m"
            candidates = [p for p, g in belief.people.items() if g == gender]
            in_focus = [p for p in candidates if p in belief.focus]
            out.update((in_focus or candidates)[:1])
        elif name in ("they", "them"):
            out.update(belief.people)
        else:
            out.add(name)
    return frozenset(out)


def check_people(sentence: Sentence, belief: Belief) -> None:
    """Rules ``who`` and ``pronoun``."""
    text = sentence.narration
    introductions: dict[str, int] = {}
    for pattern in _INTRODUCED:
        for match in pattern.finditer(text):
            name, sort = match["name"], match["sort"]
            gender = _SORT_GENDER.get(sort, "")
            if gender and gender != GENDER[name]:
                belief.broken("pronoun", sentence.text, f"{name} is called a {sort}")
            introductions.setdefault(name.lower(), match.start("name"))
    for match in re.finditer(rf"\b({_NAME})\b", text):
        name = match[1].lower()
        if name not in belief.people:
            if introductions.get(name) != match.start(1):
                belief.broken("who", sentence.text, f"{match[1]} was never introduced")
            elif len(belief.people) >= 2:
                belief.broken("who", sentence.text, f"{match[1]} is one person too many")
            belief.people[name] = GENDER[match[1]]
        elif introductions.get(name) == match.start(1) and _introduced_again(text, match[1]):
            belief.broken("who", sentence.text, f"{match[1]} is introduced twice")
    for quote in sentence.quotes:
        for match in re.finditer(rf"\b({_NAME})\b", quote):
            if match[1].lower() not in belief.people:
                belief.broken("who", sentence.text, f"{match[1]} is spoken of but was never introduced")
    for match in re.finditer(
        r"\b(the|an?) (?:(?:kind|friendly|cheerful|old|tall) )?<(\w+)>", _with_helpers(sentence)
    ):
        helper = match[2]
        if match[1] != "the":
            belief.helpers.add(helper)
        elif helper not in belief.helpers:
            belief.broken("who", sentence.text, f"the {helper} was never introduced")
    if twice := _SAME_TWICE.search(text):
        belief.broken("who", sentence.text, f"{twice[1] or twice[2]} is counted as two people")
    _check_pronouns(sentence, belief)


def _introduced_again(text: str, name: str) -> bool:
    return bool(re.search(rf"(?:girl|boy) (?:named|called) {name}\b|\b{name} was an? \w+ (?:girl|boy)", text))


def _with_helpers(sentence: Sentence) -> str:
    return re.sub(rf"\b({'|'.join(HELPERS)})\b", r"<\1>", " ".join(sentence.words))


def _check_pronouns(sentence: Sentence, belief: Belief) -> None:
    named: set[str] = set()
    sentence_names: set[str] = set()
    recent = set().union(*belief.recent[-4:]) if belief.recent else set()
    focus = set(belief.focus)
    words = sentence.words
    for index, word in enumerate(words):
        base = word.removesuffix("'s")
        if base in belief.people:
            named.add(base)
            sentence_names.add(base)
            if index > 1 and words[index - 1] == "and" and words[index - 2] in belief.people:
                focus.add(base)
            elif base == word and (index == 0 or words[index - 1] not in _NOT_SUBJECT):
                focus = {base}
        elif word in ("they", "them", "their"):
            if len(belief.people) < 2:
                belief.broken("pronoun", sentence.text, f'"{word}" before there are two people')
            named.update(belief.people)
            focus = set(belief.people)
        elif word in _HE:
            gender = _HE[word]
            near = {p for p in named | recent if belief.people.get(p) == gender}
            if not near:
                belief.broken("pronoun", sentence.text, f'"{word}" fits nobody just mentioned')
                continue
            if len(near) == 1:
                named |= near
            if (
                word in ("he", "she")
                and sentence_names
                and not any(belief.people[p] == gender for p in sentence_names)
            ):
                belief.broken("pronoun", sentence.text, f'"{word}" does not fit {_and(sentence_names)}')
            if word in ("he", "she"):
                inside = {p for p in focus | named if belief.people.get(p) == gender}
                focus = inside if inside else near
            elif word != "him" and index + 1 < len(words):
                owned = words[index + 1]
                wrong = focus and all(belief.people.get(p) != gender for p in focus)
                if wrong and (owned in _BODY or word in ("himself", "herself")):
                    belief.broken("pronoun", sentence.text, f'"{word} {owned}" does not fit {_and(focus)}')
        elif word in ("i", "me", "my", "we", "us", "you", "your"):
            belief.broken("pronoun", sentence.text, f'"{word}" outside quotation marks')
    heads = subjects(sentence.tagged, belief) & set(belief.people)
    if heads:
        belief.focus = frozenset(heads)
    belief.recent.append(named)


def _and(names: set[str]) -> str:
    return " and ".join(sorted(n.capitalize() for n in names))


def check_wants(sentence: Sentence, belief: Belief) -> None:
    """Rule ``want`` for deeds, promises, hunger and gifts; rule ``feeling``."""
    tagged = sentence.tagged
    said = " ".join(sentence.quotes).lower()
    heads = subjects(tagged, belief)
    actor = one(heads)
    for source in (tagged, said):
        for match in _WANT_DEED.finditer(source):
            if source == said:
                actor = one(belief.focus)
            belief.start("deed", actor, f"{match[1]} the {match[2]}", sentence.text)
        for match in _PROMISE.finditer(source):
            main = next(iter(belief.people), "")
            belief.start("promise", main, match[1] or match[2], sentence.text)
    for match in _DID_DEED.finditer(tagged):
        wish = next((w for w, d in DEEDS.values() if d == match[1]), "")
        if DEEDS.get(match[2], ("", ""))[1] == match[1]:
            who = actor if actor in belief.people else None
            belief.solve("deed", f"{wish} the {match[2]}", sentence.text, who)
        else:
            belief.broken("want", sentence.text, f"nobody can say they {match[1]} the {match[2]}")
    for match in _KEPT.finditer(tagged):
        belief.solve(
            "promise", _DONE_CHORE[match[1]], sentence.text, actor if actor in belief.people else None
        )
    if re.search(r"\bwas (?:very )?hungry\b", tagged):
        belief.start("hunger", actor, "", sentence.text)
    if re.search(r"\b(?:for a gift|nothing to give|wanted to give <\w+> a gift)\b", tagged):
        _start_gift(tagged, sentence, belief)
    if re.search(r"\bkept the promise\b", tagged) and not any(
        p.kind == "promise" and p.solved for p in belief.problems
    ):
        belief.broken("want", sentence.text, "a promise is kept that was not made or not yet kept")
    _check_feelings(sentence, belief, actor)


def _start_gift(tagged: str, sentence: Sentence, belief: Belief) -> None:
    giver = re.search(r"<(\w+)> had (?:nothing|no|not|only)|<(\w+)> wanted to give", tagged)
    who = next((g for g in giver.groups() if g), "") if giver else ""
    belief.start("gift", who, belief.other(who), sentence.text)
    for match in re.finditer(r"<(\w+)>'s birthday", tagged):
        if match[1] == who:
            belief.broken("want", sentence.text, "nobody needs a gift for their own birthday")


def _check_feelings(sentence: Sentence, belief: Belief, actor: str) -> None:
    tagged = sentence.tagged
    problem = belief.open_problem()
    for match in _SAD.finditer(tagged):
        who = resolve([match[1]], belief)
        sad = one(who)
        if not belief.problems:
            belief.start("sorrow", sad, "", sentence.text)
        elif problem is None:
            belief.broken(
                "feeling", sentence.text, f"{sad.capitalize()} is {match[3]} after everything came right"
            )
        elif problem.who and sad != problem.who:
            belief.broken(
                "feeling", sentence.text, f"{sad.capitalize()} is {match[3]} about what is {problem.who}'s"
            )
        problem = belief.open_problem()
    if problem and problem.kind == "sorrow" and _CHEERED.search(tagged) and actor == problem.who:
        problem.solved = True
        problem = None
    words = _GLAD.findall(tagged) + [w for q in sentence.quotes for w in _GLAD.findall(q.lower())]
    if words:
        if problem is not None or not belief.problems:
            belief.broken("feeling", sentence.text, f'"{words[0]}" while nothing has come right yet')
        belief.glad_after = True


def check_settled(reading: Reading, belief: Belief) -> None:
    """At the end: something happened, it was settled, somebody was glad."""
    last = reading.sentences[-1].text if reading.sentences else ""
    if not belief.problems:
        belief.broken("want", last, "nobody wants, loses or promises anything")
    for problem in belief.problems:
        if not problem.solved:
            belief.broken(
                "want", problem.sentence, f"{problem.kind} {problem.what} is never settled".replace("  ", " ")
            )
    if not belief.glad_after:
        belief.broken("no_ending", last, "nobody is glad in the end")
    if len(belief.people) < 2:
        belief.broken("who", last, "a story needs two people")
