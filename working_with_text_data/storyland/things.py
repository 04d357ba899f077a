"""Following the things in a story: introduced before they are used, held before they are given.

What for: rules ``thing`` and ``possession``, and the troubles that things bring
(lost, wanted, broken, half-built, stuck). The idea: patterns over tagged
narration; each is one kind of event with a precondition on who holds what.
Leaves out: people, places and feelings (``tracking``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .reading import Mention, Sentence, mentions, tag, tokens
from .tracking import Belief, one, resolve
from .world import BUILDS, COLOURS, FOODS, MADE_GIFTS, TOOLS

_HAVE = re.compile(
    r"\b(?:had(?: (?:only|brought|bought))?|carried|owned|had given <?(?P<to>her|\w+)>?) (?:an?) \[(?P<x>\w+)\]"
)
_MADE = re.compile(rf"\b(?:{'|'.join(sorted(set(MADE_GIFTS.values())))}) an? \[(?P<x>\w+)\]")
_LOST = re.compile(r"\b(?:lost|could not find) the \[(?P<x>\w+)\]|\bthe \[(?P<y>\w+)\] was (?:gone|missing)")
_FOUND = re.compile(r"\bfound the \[(?P<x>\w+)\]")
_GAVE_TO = re.compile(r"\b(?:gave|handed) (?:the \[(?P<x>\w+)\]|(?P<it>it)) (?:back )?to <(?P<to>\w+)>")
_GAVE = re.compile(r"\b(?:gave|handed) <(?P<to>\w+)> the \[(?P<x>\w+)\]")
_TRADED = re.compile(r"\b(?:traded|swapped) the \[(?P<x>\w+)\] for the \[(?P<y>\w+)\]")
_SHARED = re.compile(
    r"\b(?:shared|broke|cut) the \[(?P<x>\w+)\] (?:with|in two and gave half to) <(?P<to>\w+)>"
)
_BROKE = re.compile(r"\[(?P<x>\w+)\](?: (?!\[)[\w,]+)*? broke\b|\b(?P<it>it) broke\b")
_MENDED = re.compile(r"\bmended the \[(?P<x>\w+)\]|\bthe \[(?P<y>\w+)\] was mended\b")
_BUILD = re.compile(r"\b(?:wanted to|let us|we should) build an? \[(?P<x>\w+)\]")
_FINISHED = re.compile(r"\bfinished the \[(?P<x>\w+)\]|\bthe \[(?P<y>\w+)\] was finished\b")
_LACKED = re.compile(r"\b(?:had no|, but no|needed a|did not have a|but no) \[(?P<x>\w+)\]")
_LENT = re.compile(r"\blent <them> an? \[(?P<x>\w+)\]")
_RETURNED = re.compile(r"<they> gave the \[(?P<x>\w+)\] back(?: to <(?P<to>\w+)>)?")
_STUCK = re.compile(r"\[(?P<x>\w+)\] (?:that )?was stuck|an? \[(?P<y>\w+)\] was stuck")
_FREED = re.compile(r"\bfreed the \[(?P<x>\w+)\]")
_WANTED = re.compile(r"\bwanted the \[(?P<x>\w+)\]|at the \[(?P<y>\w+)\] and (?:wanted|wished) to have it")
_HOLDS = re.compile(
    r"<(?P<p>\w+)> (?:now )?(?:had|held|turned over|turned|hugged|admired|tried out|played with|showed|"
    r"was about to (?:eat|keep)) the \[(?P<x>\w+)\]"
)
_SAID_LOST = re.compile(r"\bi have lost my \[(?P<x>\w+)\]|\bmy \[(?P<y>\w+)\] is (?:gone|missing)")
_GOVERNED = re.compile(r"(?:near|with|to|of|behind|beside|at|for|given|handed|gave|met|saw|lent|told) $")


@dataclass
class Thing:
    looks: set[str] = field(default_factory=set)
    holder: str | None = None
    owners: set[str] = field(default_factory=set)
    state: str = ""  # "", lost, broken, planned, built, stuck, freed, eaten, needed, lent


class Things:
    """The tracked things of one story."""

    def __init__(self, belief: Belief) -> None:
        self.belief = belief
        self.known: dict[str, Thing] = {}
        self.last: str | None = None

    def check(self, sentence: Sentence, speaker: str) -> None:
        """Read one sentence; ``speaker`` is who says its quotations ("" when unknown)."""
        self.sentence = sentence.text
        for mention in mentions(sentence.words):
            self._mention(mention)
        for quote in sentence.quotes:
            for mention in mentions([t.lower() for t in tokens(quote)]):
                self._mention(mention, speaker)
        self._events(sentence.tagged)
        said = " ".join(tag([t.lower() for t in tokens(q)]) for q in sentence.quotes)
        self._said(said)

    def _broken(self, rule: str, why: str) -> None:
        self.belief.broken(rule, self.sentence, why)

    def _mention(self, mention: Mention, speaker: str = "") -> None:
        noun, determiner = mention.noun, mention.determiner
        if not determiner:
            self._broken("grammar", f'"{noun}" needs an article')
            return
        new = noun not in self.known
        if new and determiner not in ("a", "an", "no"):
            self._broken("thing", f'"{determiner} {noun}" comes up before any {noun} was mentioned')
        elif (
            not new
            and determiner in ("a", "an")
            and not mention.exclaimed
            and noun not in TOOLS
            and self.known[noun].state != "planned"
        ):
            self._broken("thing", f'"{determiner} {noun}" comes up again as if it were new')
        thing = self.known.setdefault(noun, Thing())
        if len(self.known) > 2 and new:
            self._broken("thing", f"the {noun} is one thing too many")
        colours = {c for c in (*mention.looks, *thing.looks) if c in COLOURS}
        if len(colours) > 1 or (not new and set(mention.looks) - thing.looks and thing.looks):
            self._broken(
                "thing",
                f"the {noun} was {' '.join(sorted(thing.looks))}, now it is {' '.join(mention.looks)}",
            )
        thing.looks.update(mention.looks)
        self.last = noun
        if determiner == "my" and speaker and thing.owners and speaker not in thing.owners:
            self._broken("possession", f'{speaker} says "my {noun}", but it is not theirs')
        if determiner == "your" and speaker and thing.owners and speaker in thing.owners:
            self._broken("possession", f'{speaker} says "your {noun}" of what is their own')

    def _actors(self, tagged: str, position: int) -> frozenset[str]:
        """Who does the thing said at ``position``: the nearest person before it that heads a clause."""
        heads: list[str] = []
        for match in re.finditer(r"<(\w+)>(?!'s)", tagged[:position]):
            before = tagged[: match.start()]
            if _GOVERNED.search(before):
                continue
            if before.endswith("> and "):
                heads.append(match[1])
            else:
                heads = [match[1]]
        if not heads:
            return self.belief.focus
        return resolve(heads, self.belief)

    def _events(self, tagged: str) -> None:
        for match in _HAVE.finditer(tagged):
            who = match["to"] or one(self._actors(tagged, match.start()))
            self._own(match["x"], one(resolve([who], self.belief)))
        for match in _MADE.finditer(tagged):
            who = one(self._actors(tagged, match.start()))
            self._own(match["x"], who)
            if MADE_GIFTS.get(match["x"]) is None:
                self._broken("want", f"a {match['x']} is not a thing to make by hand")
        for match in _LOST.finditer(tagged):
            self._lose(match["x"] or match["y"], one(self._actors(tagged, match.start())))
        for match in _FOUND.finditer(tagged):
            self._find(match["x"], self._actors(tagged, match.start()))
        for match in _TRADED.finditer(tagged):
            giver = one(self._actors(tagged, match.start()))
            taker = self.belief.other(giver)
            self._hand(match["x"], giver, taker)
            self._hand(match["y"], taker, giver)
        for pattern in (_GAVE_TO, _GAVE):
            for match in pattern.finditer(tagged):
                noun = match["x"] or self.last or ""
                if self._thing(noun).state == "lent":
                    continue
                giver = one(self._actors(tagged, match.start()))
                self._hand(noun, giver, one(resolve([match["to"]], self.belief)))
        for match in _SHARED.finditer(tagged):
            self._share(match, one(self._actors(tagged, match.start())))
        self._troubles(tagged)
        for match in _HOLDS.finditer(tagged):
            who = one(resolve([match["p"]], self.belief))
            if self._thing(match["x"]).holder not in (who, None):
                self._broken("possession", f"{who} does not have the {match['x']}")

    def _troubles(self, tagged: str) -> None:
        belief = self.belief
        for match in _BROKE.finditer(tagged):
            noun = match["x"] or next((n for n, t in self.known.items() if t.state == ""), "")
            thing = self._thing(noun)
            thing.state = "broken"
            belief.start("broken", thing.holder or "", noun, self.sentence)
        for pattern, kind, before in (
            (_MENDED, "broken", "broken"),
            (_FINISHED, "build", "planned"),
            (_FREED, "stuck", "stuck"),
        ):
            for match in pattern.finditer(tagged):
                noun = next(g for g in match.groups() if g)
                if self._thing(noun).state != before:
                    self._broken("possession", f"the {noun} was never {before}")
                self._thing(noun).state = "done"
                belief.solve(kind, noun, self.sentence)
        for match in _STUCK.finditer(tagged):
            noun = match["x"] or match["y"]
            self._thing(noun).state = "stuck"
            belief.start("stuck", "", noun, self.sentence)
        for match in _WANTED.finditer(tagged):
            noun = match["x"] or match["y"]
            who = one(self._actors(tagged, match.start()))
            if self._thing(noun).holder == who:
                self._broken("want", f"{who} already has the {noun}")
            belief.start("wish", who, noun, self.sentence)
        self._plan(tagged)
        for match in _LACKED.finditer(tagged):
            self._thing(match["x"]).state = "needed"
        for match in _LENT.finditer(tagged):
            if self._thing(match["x"]).state != "needed":
                self._broken("want", f"a {match['x']} is lent that nobody needed")
            self._thing(match["x"]).state = "lent"
        for match in _RETURNED.finditer(tagged):
            noun = match["x"]
            if self._thing(noun).state != "lent":
                self._broken("possession", f"the {noun} is given back but was not lent")

    def _plan(self, text: str) -> None:
        for match in _BUILD.finditer(text):
            noun = match["x"]
            if noun not in BUILDS:
                self._broken("want", f"a {noun} cannot be built")
            self._thing(noun).state = "planned"
            self.belief.start("build", "", noun, self.sentence)

    def _said(self, said: str) -> None:
        self._plan(said)
        for match in _SAID_LOST.finditer(said):
            noun = match["x"] or match["y"]
            if self._thing(noun).state != "lost":
                self._broken("possession", f"the {noun} is not lost")
        if re.search(r"\bi have lost my\b", said) and not _SAID_LOST.search(said):
            self._broken("possession", "nobody can tell what was lost")

    # Events -----------------------------------------------------------------
    def _thing(self, noun: str) -> Thing:
        return self.known.setdefault(noun, Thing())

    def _own(self, noun: str, who: str) -> None:
        thing = self._thing(noun)
        if thing.holder not in (None, who):
            self._broken("possession", f"{who} has the {noun} that is {thing.holder}'s")
        thing.holder = who
        thing.owners.add(who)

    def _lose(self, noun: str, who: str) -> None:
        thing = self._thing(noun)
        if thing.state == "lost":
            return
        if thing.holder is None or (who and thing.holder != who):
            self._broken("possession", f"{who} loses a {noun} that is not theirs")
        owner = thing.holder or who
        thing.state, thing.holder = "lost", None
        self.belief.start("lost", owner, noun, self.sentence)

    def _find(self, noun: str, who: frozenset[str]) -> None:
        thing = self._thing(noun)
        if thing.state != "lost":
            self._broken("possession", f"the {noun} is found but was not lost")
            return
        thing.state = "found"
        thing.holder = one(who)
        if thing.holder in thing.owners:
            self.belief.solve("lost", noun, self.sentence)

    def _hand(self, noun: str, giver: str, taker: str) -> None:
        thing = self._thing(noun)
        if thing.holder != giver:
            self._broken("possession", f"{giver} gives the {noun}, which is not in {giver}'s hands")
        if giver == taker:
            self._broken("possession", f"{giver} gives the {noun} to the same person")
        thing.holder = taker
        problem = self.belief.open_problem()
        if thing.state == "found" and taker in thing.owners:
            self.belief.solve("lost", noun, self.sentence)
            thing.state = ""
        elif (problem and problem.kind == "wish" and problem.what == noun and taker == problem.who) or (
            problem and problem.kind == "gift" and giver == problem.who and taker == problem.what
        ):
            problem.solved = True
        thing.owners.add(taker)

    def _share(self, match: re.Match[str], giver: str) -> None:
        noun = match["x"]
        taker = one(resolve([match["to"]], self.belief))
        if noun not in FOODS:
            self._broken("possession", f"a {noun} cannot be eaten")
        if self._thing(noun).holder != giver:
            self._broken("possession", f"{giver} shares the {noun}, which is not {giver}'s")
        self._thing(noun).state = "eaten"
        self.belief.solve("hunger", "", self.sentence, taker)
