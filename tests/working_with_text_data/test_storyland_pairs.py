"""Reviews and preference pairs: balanced, honest about their labels, many."""

import re
from collections import Counter
from itertools import islice

from working_with_text_data.storyland import reviews as module
from working_with_text_data.storyland.preferences import REASONS, preferences
from working_with_text_data.storyland.reviews import reviews
from working_with_text_data.storyland.tasks import KINDS
from working_with_text_data.storyland.verifiers import verify
from working_with_text_data.storyland.world import COLOURS, ITEMS, PLACES

_GOOD = frozenset(
    (
        " ".join(p for aspects in (module._ITEM_ASPECTS, module._FOOD_ASPECTS) for p, _ in aspects.values())
    ).split()
) | {"love", "adore", "enjoy", "treasure", "again", "happy", "smile", "cheer", "like"}
_BAD = frozenset(
    (
        " ".join(b for aspects in (module._ITEM_ASPECTS, module._FOOD_ASPECTS) for _, b in aspects.values())
    ).split()
) | {
    "hate",
    "regret",
    "dislike",
    "back",
    "sad",
    "frown",
    "cross",
    "complaints",
    "failed",
    "bored",
    "disappointed",
    "miss",
}


def judged(text: str) -> int:
    """A reader's rule, independent of how reviews are made: the deciding clause, its word, its negations."""
    last = re.split(r"(?<=[.!]) ", text)[-1].rstrip(".").lower()
    if last.startswith(("although", "even though", "while")):
        last = last.partition(", ")[2]
    last = last.rpartition(", but ")[2] or last
    words = last.split()
    good = any(w in _GOOD for w in words) and not any(w in _BAD for w in words)
    if "buy" in words and "again" not in words:
        good = True
    if "worked" in words or "pleased" in words or "helped" in words:
        good = True
    negated = any(w in ("not", "never", "no", "nobody") for w in words)
    return int(good != negated)


def test_labels_are_balanced_and_true():
    sample = list(islice(reviews(1), 3000))
    assert 0.46 < sum(r.label for r in sample) / len(sample) < 0.54
    for review in sample:
        assert judged(review.text) == review.label, review


def test_negation_and_contrast_occur_under_both_labels():
    seen = Counter()
    for review in islice(reviews(2), 1500):
        seen["but", review.label] += ", but " in review.text
        seen["not", review.label] += " not " in review.text
        seen["although", review.label] += bool(re.search(r"Although|Even though|While", review.text))
    assert min(seen.values()) > 100, seen


def test_there_are_at_least_a_million_reviews():
    """Thing, colour, place, two aspects with words: each choice shows in the text."""
    words = 3 * 5
    assert len(ITEMS) * len(COLOURS) * len(PLACES) * 6 * words * 5 * words >= 10**6
    assert len({r.text for r in islice(reviews(3), 5000)}) > 4990


def test_the_better_answer_is_right_and_the_worse_is_wrong():
    seen = Counter()
    for pair in islice(preferences(0), 1500):
        assert verify(pair.kind, pair.prompt, pair.chosen), pair
        assert not verify(pair.kind, pair.prompt, pair.rejected), pair
        assert pair.rejected.strip() and pair.rejected != pair.chosen
        seen[pair.reason] += 1
    assert set(seen) == set(REASONS) and max(seen.values()) - min(seen.values()) <= 1


def test_pairs_cover_every_kind_and_repeat_with_the_seed():
    pairs = list(islice(preferences(5), 800))
    assert {p.kind for p in pairs} == set(KINDS)
    assert pairs == list(islice(preferences(5), 800))
    assert pairs != list(islice(preferences(6), 800))
