"""What the checker says: a verdict, and for each broken rule the sentence and the reason."""

from __future__ import annotations

from dataclasses import dataclass

RULES = (
    "unknown_word",
    "grammar",
    "dialogue",
    "repetition",
    "length",
    "no_opening",
    "no_ending",
    "who",
    "pronoun",
    "thing",
    "possession",
    "place",
    "feeling",
    "want",
)


@dataclass(frozen=True)
class Violation:
    """One broken rule: its name (one of ``RULES``), the sentence that breaks it, and why."""

    rule: str
    sentence: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """Whether a text is a coherent Storyland story; ``violations`` is empty exactly when it is."""

    coherent: bool
    violations: tuple[Violation, ...]

    @property
    def rules(self) -> frozenset[str]:
        """The names of the rules that were broken."""
        return frozenset(v.rule for v in self.violations)
