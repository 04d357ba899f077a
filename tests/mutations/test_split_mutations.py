"""Classic bugs of splitting, put back one at a time: each law must see its own."""

import random

import pytest
from data_checks import unique_texts
from split_checks import (
    check_a_test_set_leaves_validation_alone,
    check_classes_are_stratified,
    check_every_process_agrees,
    check_exact_shares,
    check_leaks_into_the_test_set_are_counted,
    check_new_documents_move_none,
    check_order_does_not_matter,
    check_shares_are_right_on_average,
    check_spans_three_ways,
    check_three_sides_share_nothing,
)

from working_with_text_data import splitting
from working_with_text_data.documents import Document


def caught(match):
    return pytest.raises(AssertionError, match=match)


def test_windows_cut_before_the_split_are_caught(monkeypatch):
    real = splitting.split_documents

    def cut_first(documents, **options):
        pieces = [d.text[i : i + 8] for d in documents for i in range(0, max(1, len(d.text) - 7), 4)]
        return real([Document(text, "windows", i) for i, text in enumerate(pieces)], **options)

    monkeypatch.setattr(splitting, "split_documents", cut_first)
    with caught("not what came in"):
        check_three_sides_share_nothing(unique_texts(30, words=6), "documents")


def test_sides_by_place_are_caught_with_copies(monkeypatch):
    numbers = iter(range(10**6))
    monkeypatch.setattr(splitting, "document_hash", lambda text: f"{next(numbers):064x}")
    with caught("stand in train and in val"):
        check_three_sides_share_nothing(unique_texts(30, words=4) * 4, "documents")


def test_a_shuffle_in_the_order_of_arrival_is_caught(monkeypatch):
    arrival = []
    monkeypatch.setattr(
        splitting,
        "_by_count",
        lambda distinct, val, test, seed: {
            d: random.Random(1000 * seed + place).choice(["train", "val", "test"])
            for place, d in enumerate(arrival)
        },
    )
    real = splitting.document_hash

    def remember(text):
        digest = real(text)
        if digest not in arrival:
            arrival.append(digest)
        return digest

    def forget(*options):
        arrival.clear()
        return check_fractions(*options)

    check_fractions = splitting.check_fractions
    monkeypatch.setattr(splitting, "document_hash", remember)
    monkeypatch.setattr(splitting, "check_fractions", forget)
    with caught("order of the files"):
        check_order_does_not_matter("documents")


def test_copies_that_count_twice_are_caught(monkeypatch):
    real = splitting._by_count
    monkeypatch.setattr(
        splitting,
        "_by_count",
        lambda distinct, val, test, seed: real(distinct, 1.25 * val, 1.25 * test, seed),
    )
    with caught("count each text once"):
        check_exact_shares()


def test_a_threshold_that_looks_at_the_other_documents_is_caught(monkeypatch):
    real = splitting.split_documents

    def by_count(documents, **options):
        return real(documents, **{**options, "method": "documents"})

    monkeypatch.setattr(splitting, "split_documents", by_count)
    with caught("changed sides when 900 were added"):
        check_new_documents_move_none()


def test_a_test_set_taken_from_validation_is_caught(monkeypatch):
    def val_behind_test(text_hash, *, val_fraction=0.05, test_fraction=0.0, seed=0):
        place = splitting._key(text_hash, seed) / 2**64
        if place < test_fraction:
            return "test"
        return "val" if place < test_fraction + val_fraction else "train"

    monkeypatch.setattr(splitting, "assign", val_behind_test)
    with caught("changed validation"):
        check_a_test_set_leaves_validation_alone("threshold")


def test_a_threshold_of_the_wrong_scale_is_caught(monkeypatch):
    real = splitting.assign
    monkeypatch.setattr(
        splitting, "assign", lambda h, *, val_fraction, **rest: real(h, val_fraction=val_fraction / 2, **rest)
    )
    with caught("documents in val"):
        check_shares_are_right_on_average(4_000)


def test_a_seed_that_only_shifts_is_caught(monkeypatch):
    monkeypatch.setattr(splitting, "_key", lambda digest, seed: (int(digest[:16], 16) + seed * 2**55) % 2**64)
    with caught("seeds are not independent"):
        check_shares_are_right_on_average(4_000)


def test_pythons_salted_hash_is_caught():
    with caught("salted anew in each process"):
        check_every_process_agrees("splitting._key = lambda digest, seed: hash((digest, seed)) % 2**64")


def test_spans_without_gaps_are_caught(monkeypatch):
    monkeypatch.setattr(splitting, "MAX_GAP_CHARS", 0)
    with caught("touch"):
        check_spans_three_ways()


def test_a_tail_for_the_test_set_is_caught(monkeypatch):
    def tail(text, val_fraction, key, test_fraction=0.0):
        n = len(text)
        return [(n * 8 // 10, "train"), (n * 9 // 10, "val"), (n * 9 // 10 + 300, "gap"), (n, "test")]

    monkeypatch.setattr(splitting, "span_cuts", tail)
    with caught("touch|spread"):
        check_spans_three_ways()


def test_strata_that_are_ignored_are_caught(monkeypatch):
    monkeypatch.setattr(splitting, "_classes", lambda documents, hashes, name_of: [set(hashes)])
    with caught("should be 20 and 2"):
        check_classes_are_stratified()


def test_a_test_set_compared_with_training_alone_is_caught(monkeypatch):
    real = splitting.count_near_duplicates

    def training_only(train, held, **options):
        return real(train[: len(train) * 5 // 7], held, **options)  # training is 0.5, validation 0.2 of all

    monkeypatch.setattr(splitting, "count_near_duplicates", training_only)
    with caught("in validation"):
        check_leaks_into_the_test_set_are_counted()
