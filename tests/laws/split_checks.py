"""What a split into two or three sides must keep (LT8), as functions that raise AssertionError.

The laws call them on the real code, the mutations on code with a classic bug put back. Two sides and
the gaps of one text are in `data_checks.py`; here are the third side, the form for a stream, classes.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

from data_checks import documents_of, unique_texts

from working_with_text_data import splitting
from working_with_text_data.documents import Document

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("train", "val", "test")


def sides_of(split: splitting.Split) -> dict[str, set[str]]:
    return {side: {d.text for d in getattr(split, side)} for side in SIDES}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check_three_sides_share_nothing(
    texts: list[str], method: str, val: float = 0.2, test: float = 0.1
) -> None:
    """No text on two of three sides; together they are everything that came in, copies and all."""
    split = splitting.split_documents(
        documents_of(texts), val_fraction=val, test_fraction=test, method=method
    )
    sides = sides_of(split)
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not sides[one] & sides[two], (
            f"{len(sides[one] & sides[two])} texts stand in {one} and in {two}: decide by the hash of the "
            "text, so that copies stay together"
        )
    assert Counter(d.text for side in SIDES for d in getattr(split, side)) == Counter(texts), (
        "the three sides together are not what came in"
    )
    assert split.report.shared_hashes == 0
    counts = [getattr(split.report, f"{side}_documents") for side in SIDES]
    assert counts == [len(getattr(split, side)) for side in SIDES]
    if method == "documents" and len(set(texts)) >= 3:
        assert all(counts), f"a side is empty: {counts} of {len(set(texts))} different texts"


def check_exact_shares() -> None:
    """By count, the shares are those asked for, of distinct texts, whatever the copies."""
    texts = unique_texts(200, words=3)
    split = splitting.split_documents(
        documents_of(texts + texts[:50]), val_fraction=0.1, test_fraction=0.05, method="documents"
    )
    found = {side: len(members) for side, members in sides_of(split).items()}
    assert found == {"train": 170, "val": 20, "test": 10}, (
        f"{found} of 200 distinct texts, asked for were 0.1 and 0.05: count each text once"
    )


def check_order_does_not_matter(method: str, test_fraction: float = 0.15) -> None:
    """Reversed and shuffled, the same documents stand on the same sides."""
    texts = unique_texts(120, words=4)
    shuffled = random.Random(3).sample(texts, len(texts))
    answers = [
        sides_of(
            splitting.split_documents(
                documents_of(order), val_fraction=0.2, test_fraction=test_fraction, method=method, seed=5
            )
        )
        for order in (texts, texts[::-1], shuffled)
    ]
    assert answers[0] == answers[1] == answers[2], (
        "the split depends on the order of the files, so that a copied folder is another experiment: "
        "decide by content, not by place"
    )


def check_new_documents_move_none() -> None:
    """By threshold, a document keeps its side when the corpus grows tenfold."""
    texts = unique_texts(1_000, words=3)
    few = splitting.split_documents(
        documents_of(texts[:100]), val_fraction=0.2, test_fraction=0.1, method="threshold"
    )
    many = splitting.split_documents(
        documents_of(texts), val_fraction=0.2, test_fraction=0.1, method="threshold"
    )
    grown = sides_of(many)
    moved = sum(len(members - grown[side]) for side, members in sides_of(few).items())
    assert moved == 0, (
        f"{moved} of 100 documents changed sides when 900 were added: what a model was trained on would "
        "judge the next one; compare the hash with a fixed threshold, not with the other documents"
    )
    for text in texts[:100]:
        alone = splitting.assign(sha(text), val_fraction=0.2, test_fraction=0.1)
        assert text in grown[alone], f"assign says {alone}, the split put the same text elsewhere"


def check_a_test_set_leaves_validation_alone(method: str) -> None:
    """Asking for a test set takes documents from training only."""
    documents = documents_of(unique_texts(200, words=3))
    two = sides_of(splitting.split_documents(documents, val_fraction=0.2, method=method))
    three = sides_of(splitting.split_documents(documents, val_fraction=0.2, test_fraction=0.3, method=method))
    assert two["val"] == three["val"], "a test set changed validation: losses before and after cannot compare"
    assert three["test"] <= two["train"] and three["test"], "the test set must come out of training"


def check_shares_are_right_on_average(n: int = 20_000) -> None:
    """`assign` holds out the share asked for, within five standard deviations, and seeds are independent."""
    digests = [sha(f"text {number}") for number in range(n)]
    for val, test in ((0.05, 0.0), (0.3, 0.2), (0.01, 0.5)):
        counts = Counter(splitting.assign(d, val_fraction=val, test_fraction=test, seed=1) for d in digests)
        for side, share in (("val", val), ("test", test), ("train", 1 - val - test)):
            spread = 5 * math.sqrt(n * share * (1 - share))
            assert abs(counts[side] - n * share) <= spread, (
                f"{counts[side]} of {n} documents in {side}, {share:.0%} asked for gives {n * share:.0f} ± {spread:.0f}"
            )
    val_of = [{d for d in digests if splitting.assign(d, val_fraction=0.2, seed=s) == "val"} for s in (1, 2)]
    both = len(val_of[0] & val_of[1])
    assert abs(both - n * 0.04) < 5 * math.sqrt(n * 0.04), (
        f"{both} of {n} documents are validation under two seeds, chance gives {n * 0.04:.0f}: seeds are not "
        "independent"
    )


_ASK = """
import hashlib
from working_with_text_data import splitting
{preamble}
digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(200)]
print("".join(splitting.assign(d, val_fraction=0.3, test_fraction=0.2, seed=4)[0] for d in digests))
"""


def check_every_process_agrees(preamble: str = "") -> None:
    """Two processes with different hash seeds give the same sides. `preamble` is run first in both."""
    answers = [
        subprocess.run(
            [sys.executable, "-c", _ASK.format(preamble=preamble)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert set(answers[0].strip()) == {"t", "v"} and len(answers[0].strip()) == 200
    assert answers[0] == answers[1], (
        "two processes disagree about the sides: Python's hash() is salted anew in each process; use a hash "
        "of the bytes, such as blake2b"
    )


def check_spans_three_ways() -> None:
    """One text: the pieces of three sides join to the text again, and no two sides touch."""
    text = " ".join(f"word{number}" for number in range(30_000))
    split = splitting.split_documents([Document(text, "book", 0)], val_fraction=0.1, test_fraction=0.05)
    named = [(d.index, side, d) for side in SIDES for d in getattr(split, side)]
    pieces = sorted(named + [(d.index, "gap", d) for d in split.dropped], key=lambda piece: piece[0])
    assert "".join(d.text for *_, d in pieces) == text, "pieces are lost or doubled"
    for (_, one, left), (_, two, right) in pairwise(pieces):
        assert one == two or "gap" in (one, two), f"{one} and {two} touch ({left.source}, {right.source})"
    sizes = {side: sum(len(d.text) for d in getattr(split, side)) / len(text) for side in SIDES}
    assert 0.08 < sizes["val"] < 0.12 and 0.04 < sizes["test"] < 0.06, f"shares are {sizes}"
    for side in ("val", "test"):
        places = [int(d.source.split("[")[1].split(":")[0]) * 10 // len(text) for d in getattr(split, side)]
        assert len(places) == len(set(places)) >= 5, f"{side} must be spread over the text, is at {places}"


def check_classes_are_stratified() -> None:
    """Each class is shared out by itself: the exact share of each on each side, and the counts in the report."""
    texts = unique_texts(220, words=3)
    rare = set(texts[:20])
    split = splitting.split_documents(
        documents_of(texts),
        val_fraction=0.1,
        test_fraction=0.1,
        label=lambda d: "spam" if d.text in rare else "ham",
        stratify=True,
    )
    by_hand = {
        side: {"ham": len(members - rare), "spam": len(members & rare)}
        for side, members in sides_of(split).items()
    }
    assert split.report.labels == by_hand, "the report's classes are not those on the sides"
    assert by_hand["val"] == by_hand["test"] == {"ham": 20, "spam": 2}, (
        f"a tenth of 200 ham and 20 spam should be 20 and 2 on each side, it is {by_hand}"
    )
    assert split.report.label_gap < 1e-12


def check_leaks_into_the_test_set_are_counted() -> None:
    """Test texts that training *or validation* holds but for one word are counted as leaks."""
    texts = unique_texts(90, words=120)
    edited = {text: text.rsplit(" ", 1)[0] + " other" for text in texts}
    split = splitting.split_documents(
        documents_of(texts + list(edited.values())), val_fraction=0.2, test_fraction=0.3
    )
    side = {d.text: name for name in SIDES for d in getattr(split, name)}
    twin = edited | {copy: text for text, copy in edited.items()}
    torn = sum(side[twin[d.text]] != "test" for d in split.test)
    in_val = sum(side[twin[d.text]] == "val" for d in split.test)
    assert torn > 10 and in_val > 2, "the made-up corpus tears too few pairs apart: this would prove nothing"
    found = split.report.test_near_duplicates
    assert found.checked == len(split.test)
    assert found.count == torn, (
        f"{torn} test texts have an edited copy elsewhere ({in_val} in validation), {found.count} are counted: "
        "what a choice was made on must not be tested either"
    )
