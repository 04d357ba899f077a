"""The small simulated world behind each story.

What for: a story is consistent because its events happened: nobody can give
what they do not hold, or act where they are not. The idea: the plots call these
methods while they tell, and an impossible event raises ``ImpossibleEvent``
before a word of it is written. The record of events is the story's ground truth
(``Story.facts``). Leaves out: words.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class ImpossibleEvent(ValueError):
    """A plot asked for something that cannot happen in the present state."""


@dataclass(frozen=True)
class Facts:
    """What is true at the end of a story, and what happened, in order."""

    kind: str
    characters: tuple[str, ...]
    place: str
    holders: dict[str, str | None]
    feelings: dict[str, str]
    events: tuple[tuple[str, ...], ...]


@dataclass
class World:
    """Who is here, who holds what, who feels how."""

    kind: str
    place: str
    characters: list[str] = field(default_factory=list)
    holders: dict[str, str | None] = field(default_factory=dict)
    feelings: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, ...]] = field(default_factory=list)

    def _present(self, *who: str) -> None:
        for name in who:
            if name not in self.characters:
                raise ImpossibleEvent(f"{name} is not in this story")

    def enter(self, name: str) -> None:
        if name in self.characters:
            raise ImpossibleEvent(f"{name} is already in this story")
        self.characters.append(name)
        self.events.append(("enter", name, self.place))

    def go(self, place: str) -> None:
        self.place = place
        self.events.append(("go", place))

    def own(self, name: str, thing: str, how: str = "has") -> None:
        """``thing`` comes into the story in the hands of ``name``."""
        self._present(name)
        if thing in self.holders:
            raise ImpossibleEvent(f"there is already a {thing}")
        self.holders[thing] = name
        self.events.append((how, name, thing))

    def place_thing(self, thing: str) -> None:
        """``thing`` is here but nobody's (an animal, a find)."""
        if thing in self.holders:
            raise ImpossibleEvent(f"there is already a {thing}")
        self.holders[thing] = None

    def lose(self, name: str, thing: str) -> None:
        self._holds(name, thing)
        self.holders[thing] = None
        self.events.append(("lose", name, thing))

    def find(self, name: str, thing: str) -> None:
        self._present(name)
        if thing not in self.holders or self.holders[thing] is not None:
            raise ImpossibleEvent(f"the {thing} is not lying about to be found")
        self.holders[thing] = name
        self.events.append(("find", name, thing))

    def give(self, giver: str, receiver: str, thing: str) -> None:
        self._present(giver, receiver)
        self._holds(giver, thing)
        self.holders[thing] = receiver
        self.events.append(("give", giver, receiver, thing))

    def use_up(self, thing: str, *who: str) -> None:
        """Food is eaten by ``who``."""
        self._present(*who)
        if self.holders.pop(thing, None) not in who:
            raise ImpossibleEvent(f"none of {who} holds the {thing}")
        self.events.append(("eat", *who, thing))

    def happen(self, *event: str) -> None:
        self.events.append(event)

    def feel(self, name: str, feeling: str) -> None:
        self._present(name)
        self.feelings[name] = feeling

    def _holds(self, name: str, thing: str) -> None:
        if self.holders.get(thing) != name:
            raise ImpossibleEvent(f"{name} does not have the {thing}")

    def facts(self) -> Facts:
        return Facts(
            self.kind,
            tuple(self.characters),
            self.place,
            dict(self.holders),
            dict(self.feelings),
            tuple(self.events),
        )
