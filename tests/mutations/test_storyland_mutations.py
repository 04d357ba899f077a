"""Broken stories are caught, and a checker with a rule taken out is caught too."""

import pytest
import storyland_checks as checks

from working_with_text_data.storyland import checker, rules, things, tracking
from working_with_text_data.storyland.world import GENDER


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return checks.sample_texts(220)


@pytest.mark.parametrize("name", checks.MUTATIONS)
def test_this_kind_of_broken_story_is_caught(name, texts):
    check_on = checks.sample_texts(900) if name == "changed colour" else texts
    checks.check_caught(name, check_on)


def test_halves_of_two_stories_are_caught(texts):
    checks.check_glue_is_caught(texts)


def _nothing(*_args, **_kwargs):
    return []


def _no_problems(monkeypatch):
    monkeypatch.setattr(checker, "check_settled", _nothing)
    monkeypatch.setattr(checker, "check_wants", _nothing)
    monkeypatch.setattr(tracking.Belief, "solve", _nothing)
    monkeypatch.setattr(tracking.Belief, "start", _nothing)


def _believe_every_name(sentence, belief):
    """Take everybody for introduced."""
    for word in sentence.words:
        name = word.capitalize()
        if name in GENDER:
            belief.people[word] = GENDER[name]


BLUNT = {
    # what is taken out of the checker -> the law that must notice
    "people": (lambda m: m.setattr(checker, "check_people", _believe_every_name), "foreign name"),
    "pronouns": (lambda m: m.setattr(tracking, "_check_pronouns", _nothing), "wrong pronoun"),
    "places": (lambda m: m.setattr(checker, "check_place", _nothing), "swapped place"),
    "things": (lambda m: m.setattr(things.Things, "check", _nothing), "changed colour"),
    "wants": (_no_problems, "no solution"),
    "feelings": (lambda m: m.setattr(tracking, "_check_feelings", _nothing), "glad too soon"),
    "syntax": (lambda m: m.setattr(checker, "check_syntax", _nothing), "misspelt"),
    "word order": (
        lambda m: m.setattr("working_with_text_data.storyland.syntax.unreadable", lambda w: ""),
        "scrambled words",
    ),
    "form": (lambda m: m.setattr(rules, "check_form", _nothing), "wrong article"),
    "repetition": (lambda m: m.setattr(rules, "_repetition", _nothing), "repeated sentence"),
    "surface": (lambda m: m.setattr(checker, "check_surface", lambda *_: []), "no last sentence"),
    "dialogue": (lambda m: m.setattr(checker, "check_surface", lambda *_: []), "lost quotation mark"),
}


@pytest.mark.parametrize("part", BLUNT)
def test_a_checker_without_this_part_fails_its_law(part, texts, monkeypatch):
    take_out, law = BLUNT[part]
    sample = checks.sample_texts(900) if law == "changed colour" else texts
    take_out(monkeypatch)
    with pytest.raises(AssertionError):
        checks.check_caught(law, sample)


def test_a_checker_that_accepts_everything_fails_every_law(texts, monkeypatch):
    monkeypatch.setattr(checks, "check_story", lambda text: checker.Verdict(True, ()))
    monkeypatch.setattr(checks.catch_rate, "__defaults__", (0, checks.check_story))
    monkeypatch.setattr(checks.glue_rate, "__defaults__", (checks.check_story,))
    for name in checks.MUTATIONS:
        if name != "changed colour":
            with pytest.raises(AssertionError):
                checks.check_caught(name, texts)
    with pytest.raises(AssertionError):
        checks.check_glue_is_caught(texts)


def test_a_checker_that_refuses_everything_fails_its_law(texts, monkeypatch):
    refuse = checker.Verdict(False, (checker.Violation("grammar", "", "always"),))
    monkeypatch.setattr(checks, "check_story", lambda text: refuse)
    with pytest.raises(AssertionError, match="generated story was refused"):
        checks.check_stories_are_coherent(texts)
