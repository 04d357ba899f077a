"""The checker: accepts every generated story, refuses everything else, never fails."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storyland_checks import check_outside_text_is_refused, check_stories_are_coherent, sample_texts

from working_with_text_data.storyland.checker import RULES, check_story
from working_with_text_data.storyland.reading import read
from working_with_text_data.storyland.rules import speaker_of

HAND_MADE = (
    "Mia was a kind girl who liked to read about pirates. One sunny morning, Mia was at the lake with her friend Tom. "
    "Mia had a red kite, and Tom had a small drum.\n\n"
    'Mia wanted the drum very much. "May I have your drum, Tom?" asked Mia. Tom frowned for a moment. '
    '"I would like your kite," Tom said. So Mia traded the kite for the drum. Both Mia and Tom were happy.\n\n'
    "Mia and Tom walked home side by side as the stars came out."
)
OUTSIDE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Once upon a time there was a girl named Lucy. She had a ball.\n\nShe lost the ball. She was sad. The end.",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "def add(a, b):\n    return a + b",
    "Mia. " * 80,
)


def test_every_generated_story_is_coherent():
    check_stories_are_coherent(sample_texts(2500, seed=2024))


def test_a_story_written_by_hand_is_coherent():
    assert check_story(HAND_MADE).violations == ()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("traded the kite for the drum", "traded the drum for the kite", "possession"),
        ('your drum, Tom?" asked Mia', 'your kite, Tom?" asked Mia', "possession"),
        ('your drum, Tom?" asked Mia', 'your drum, Mia?" asked Mia', "dialogue"),
        ("asked Mia", "asked Zoe", "who"),
        ("at the lake", "in the lake", "place"),
        ("her friend Tom", "his friend Tom", "pronoun"),
        ("Both Mia and Tom were happy.", "Both Mia and Tom were sad.", "feeling"),
        ("Mia wanted the drum very much.", "Mia was happy. Mia wanted the drum very much.", "feeling"),
        ("Mia wanted the drum very much. ", "", "want"),
        ("So Mia traded the kite for the drum. ", "", "want"),
        ("Tom frowned for a moment.", "Tom looked behind the barrel.", "place"),
        ("Tom frowned for a moment.", "Tom frowned at the lantern.", "thing"),
        ("Tom frowned for a moment.", "Tom gave the kite to Mia.", "possession"),
        ("Tom frowned for a moment.", "Tom frowned for a moment. Tom frowned for a moment.", "repetition"),
        ("Tom frowned for a moment.", "Tom frowned for moment a the.", "grammar"),
        ("Tom frowned for a moment.", "Tom frowmed for a moment.", "unknown_word"),
        ("Tom frowned for a moment.", "I frowned for a moment.", "pronoun"),
        ('"I would like your kite," Tom said.', '"I would like your kite."', "dialogue"),
        ("Mia had a red kite", "Mia had an red kite", "grammar"),
        ("Mia and Tom walked home side by side as the stars came out.", "The stars came out.", "no_ending"),
        ("Mia was a kind girl who liked to read about pirates. ", "", "no_opening"),
    ],
)
def test_one_change_breaks_one_named_rule(old, new, rule):
    assert old in HAND_MADE
    verdict = check_story(HAND_MADE.replace(old, new))
    assert rule in verdict.rules, verdict.violations
    assert all(v.rule in RULES and v.why for v in verdict.violations)


def test_outside_text_is_not_storyland():
    check_outside_text_is_refused([*OUTSIDE, "", "\n\n", '"', "§ \ue000", "A" * 5000])


def test_tinystories_are_not_storyland(shared_data):
    text = (shared_data / "text" / "tinystories" / "tinystories_val_3117.txt").read_text(encoding="utf-8")
    pieces = [p.strip() for p in re.split(r"<\|endoftext\|>", text) if p.strip()]
    if len(pieces) < 50:
        pieces = [text[i : i + 700] for i in range(0, 200_000, 700)]
    check_outside_text_is_refused(pieces[:300])


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("Mia Tom gave the kite to \"?!.,\n'sI\ue000§<>[]"), max_size=300))
def test_the_checker_never_fails(text):
    assert not check_story(text).coherent


def test_reading_keeps_every_sentence():
    text = '"Hello, Tom!" said Mia. "I am here." Tom waved. Mia asked, "Why?" Tom ran.'
    assert [s.text for s in read(text).sentences] == [
        '"Hello, Tom!" said Mia.',
        '"I am here."',
        "Tom waved.",
        'Mia asked, "Why?"',
        "Tom ran.",
    ]
    assert speaker_of("§ said Mia.") == "Mia"


def test_verdicts_do_not_depend_on_the_hash_seed_of_the_interpreter():
    code = (
        "import random, storyland_checks as c; r = random.Random(1); "
        "print([sorted(c.check_story(c.other_name(t, r) or t).rules) for t in c.sample_texts(60)])"
    )
    laws = str(Path(__file__).resolve().parents[1] / "laws")
    root = str(Path(__file__).resolve().parents[2])
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{laws}:{root}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_a_length_violation_is_named():
    assert "length" in check_story(" ".join(["Mia ran."] * 300)).rules
