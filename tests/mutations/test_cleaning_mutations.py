"""Classic bugs of cleaning, put back one at a time: each law must see its own."""

import hashlib
import re
from concurrent.futures import as_completed

import pytest
from cleaning_checks import (
    BOOK,
    check_every_document_is_accounted_for,
    check_lines_are_kept,
    check_mojibake_is_undone,
    check_nothing_depends_on_the_workers,
    check_pre_filter_changes_nothing,
    check_quality_rules,
    check_talk_of_gutenberg_is_no_frame,
    check_the_book_comes_out_of_its_frame,
    check_whitespace_table,
)
from duplicate_checks import (
    check_estimates,
    check_exact_copies_are_found,
    check_planted_near_copies,
    check_s_curve,
)
from pii_checks import (
    check_personal_data_table,
)

from working_with_text_data import (
    boilerplate,
    cleaning,
    exact_duplicates,
    minhash,
    mojibake,
    near_duplicate_filter,
    pii,
    quality,
    tidy_text,
)


def caught(match: str | None = None):
    return pytest.raises(AssertionError, match=match)


# --- the account --------------------------------------------------------------------------------------


def test_a_stage_that_drops_without_a_reason_is_caught(monkeypatch):
    real = cleaning.Counters.drop

    def forgets_near_copies(self, before, reason):
        if reason != "near_duplicate":
            real(self, before, reason)

    monkeypatch.setattr(cleaning.Counters, "drop", forgets_near_copies)
    with caught("without a reason"):
        check_every_document_is_accounted_for()


def test_a_drop_that_counts_for_another_reason_is_caught(monkeypatch):
    real = cleaning.Counters.drop
    monkeypatch.setattr(
        cleaning.Counters, "drop", lambda self, before, reason: real(self, before, reason.split("_")[0])
    )
    with caught("were planted"):
        check_every_document_is_accounted_for()


def test_documents_counted_when_read_and_not_when_judged_are_caught(monkeypatch):
    real = cleaning.Counters.keep

    def ahead(self, before, after, outcome):
        real(self, before, after, outcome)
        self.processed += 1 if self.kept == 1 else 0

    monkeypatch.setattr(cleaning.Counters, "keep", ahead)
    with caught("in the middle of the stream"):
        check_every_document_is_accounted_for()


def test_results_taken_as_they_come_are_caught(monkeypatch):
    def whoever_is_first(function, items, workers, *, setup, setup_args):
        from concurrent.futures import ThreadPoolExecutor

        setup(*setup_args)
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(function, item) for item in items]
            for future in reversed(list(as_completed(futures))):
                yield future.result()

    monkeypatch.setattr(cleaning, "map_in_order", whoever_is_first)
    # The outcomes of one chunk meet the documents of another: texts and places no longer fit.
    with pytest.raises((AssertionError, ValueError)):
        check_nothing_depends_on_the_workers(2, 3)


def test_a_chunk_that_is_lost_at_the_end_is_caught(monkeypatch):
    real = cleaning._chunks

    def without_the_rest(documents):
        yield from (chunk for chunk in real(documents) if len(chunk) == cleaning._CHUNK_DOCUMENTS)

    monkeypatch.setattr(cleaning, "_chunks", without_the_rest)
    with caught("workers other documents"):
        check_nothing_depends_on_the_workers(1, 64)


# --- text ---------------------------------------------------------------------------------------------


def test_white_space_that_eats_newlines_is_caught(monkeypatch):
    monkeypatch.setattr(tidy_text, "tidy_whitespace", lambda text: re.sub(r"\s+", " ", text))
    with caught("a poem is its lines"):
        check_lines_are_kept("roses are red\nviolets are blue")


def test_blank_lines_made_one_are_caught(monkeypatch):
    real = tidy_text.tidy_whitespace
    monkeypatch.setattr(tidy_text, "tidy_whitespace", lambda text: re.sub(r"\n{3,}", "\n\n", real(text)))
    with caught("a poem is its lines"):
        check_lines_are_kept("one\n\n\n\ntwo")


def test_lost_indentation_is_caught(monkeypatch):
    real = tidy_text.tidy_whitespace
    monkeypatch.setattr(
        tidy_text, "tidy_whitespace", lambda t: "\n".join(line.lstrip() for line in real(t).split("\n"))
    )
    with caught("tidying"):
        check_whitespace_table()


def test_ftfy_with_its_defaults_is_caught(monkeypatch):
    import ftfy

    monkeypatch.setattr(mojibake, "mojibake_fixer", lambda: lambda text: ftfy.fix_text(text))
    with caught("undo damage and nothing else"):
        check_mojibake_is_undone()


def test_a_quick_look_that_trusts_all_of_latin_1_is_caught(monkeypatch):
    monkeypatch.setattr(mojibake, "_SUSPICIOUS", re.compile("[^\t\n\f\r -~\u00a0-\u00ff‘’“”–—…]"))
    with caught("the quick way"):
        check_pre_filter_changes_nothing(["plain\ncafÃ©\n"])


def test_a_quick_look_that_forgets_control_characters_is_caught(monkeypatch):
    monkeypatch.setattr(mojibake, "_SUSPICIOUS", re.compile("[^\x00-~‘’“”–—…]"))
    with caught("the quick way"):
        check_pre_filter_changes_nothing(["bell\x07"])


def test_one_spelling_of_the_frame_only_is_caught(monkeypatch):
    start = re.compile(r"^\*\*\* START OF THE PROJECT GUTENBERG EBOOK.*\*\*\*$", re.MULTILINE)
    monkeypatch.setattr(boilerplate, "_START", start)
    with caught("every edition marks the frame"):
        check_the_book_comes_out_of_its_frame([BOOK])


def test_a_frame_found_in_the_middle_of_a_line_is_caught(monkeypatch):
    pattern = boilerplate._START.pattern.replace("^[ \\t]*", "")
    loose = re.compile(r"(?i)project gutenberg[^\n]*" + "|" + pattern, re.IGNORECASE | re.MULTILINE)
    monkeypatch.setattr(boilerplate, "_START", loose)
    with caught("talks of Project Gutenberg"):
        check_talk_of_gutenberg_is_no_frame()


# --- personal data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PHONE", "SSN", "CARD", "IP"])
def test_datafogs_finds_taken_unchecked_are_caught(monkeypatch, name):
    monkeypatch.setitem(pii._RULES, name, lambda text, first, last: True)
    with caught("should become"):
        check_personal_data_table()


def test_numbers_inside_words_are_caught(monkeypatch):
    monkeypatch.setattr(pii, "_stands_alone", lambda text, first, last, also="": True)
    with caught("should become"):
        check_personal_data_table()


def test_numbers_inside_urls_are_caught(monkeypatch):
    monkeypatch.setattr(pii, "_IN_URL", re.compile(r"(?!)"))
    with caught("should become"):
        check_personal_data_table()


def test_a_run_that_crosses_lines_is_caught(monkeypatch):
    monkeypatch.setattr(pii, "_RUN", re.compile(r"[+(]{0,2}\d[\d\s().+-]{5,}"))
    with caught():
        check_personal_data_table()
        check_lines_are_kept("4111 1111\n1111 1111")


def test_a_checksum_from_the_wrong_end_is_caught(monkeypatch):
    def from_the_left(digits):
        doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(digits)]
        return sum(v - 9 if v > 9 else v for v in doubled) % 10 == 0

    monkeypatch.setattr(pii, "luhn", from_the_left)
    with caught("should become"):
        check_personal_data_table()


def test_overlapping_finds_replaced_one_by_one_are_caught(monkeypatch):
    monkeypatch.setattr(pii, "_merged", lambda finds: finds)
    with caught("should become"):
        check_personal_data_table()


# --- quality ------------------------------------------------------------------------------------------


def test_a_limit_that_leaves_its_own_value_out_is_caught(monkeypatch):
    monkeypatch.setattr(quality, "_GOPHER", quality.QualityRules(min_words=51))
    with caught("plain statement"):
        check_quality_rules([" ".join(["the", "and"] * 25)])


def test_letters_that_mean_only_letters_are_caught(monkeypatch):
    monkeypatch.setattr(quality, "_enough_letters", lambda words, pure, wanted: pure >= wanted)
    with caught("plain statement"):
        check_quality_rules([" ".join(["the", "it's", "and,"] * 20)])


def test_stop_words_counted_twice_are_caught(monkeypatch):
    monkeypatch.setattr(
        quality, "_enough_stop_words", lambda words, stop, wanted: sum(w in stop for w in words) >= wanted
    )
    with caught("plain statement"):
        check_quality_rules([" ".join(["the", "wordy"] * 30)])


# --- copies -------------------------------------------------------------------------------------------


def test_a_digest_of_the_text_as_it_is_is_caught(monkeypatch):
    monkeypatch.setattr(
        exact_duplicates,
        "content_digest",
        lambda text: hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(),
    )
    with caught("white space and spelling must not count"):
        check_exact_copies_are_found()


def test_a_digest_of_sorted_words_is_caught(monkeypatch):
    monkeypatch.setattr(
        exact_duplicates,
        "content_digest",
        lambda text: hashlib.blake2b(
            " ".join(sorted(exact_duplicates.unicodedata.normalize("NFC", text).split())).encode(),
            digest_size=16,
        ).digest(),
    )
    with caught("has the digest of"):
        check_exact_copies_are_found()


def test_one_permutation_used_k_times_is_caught(monkeypatch):
    real = minhash.permutations
    monkeypatch.setattr(minhash, "permutations", lambda k, seed=0: real(1, seed) * k)
    with caught("different ones"):
        check_estimates("readable")


def test_a_handful_of_permutations_repeated_is_caught(monkeypatch):
    real = minhash.permutations
    monkeypatch.setattr(minhash, "permutations", lambda k, seed=0: real(16, seed) * (k // 16))
    with caught():
        check_estimates("readable")


def test_the_share_of_the_smaller_set_is_caught(monkeypatch):
    """Containment instead of likeness: agreement is counted among the union, not one side."""
    real = near_duplicate_filter.Signer.likeness
    monkeypatch.setattr(
        near_duplicate_filter.Signer,
        "likeness",
        lambda self, a, b: 2 * real(self, a, b) / (1 + real(self, a, b)),
    )
    with caught():
        check_estimates("rensa")


def test_bands_and_rows_exchanged_are_caught(monkeypatch):
    def exchanged(self, one):
        bands, rows = self.rows, self.bands
        parts = [one[band * rows : (band + 1) * rows] for band in range(bands)]
        return parts + [(-1 - place, id(one)) for place in range(self.bands - bands)]

    monkeypatch.setattr(minhash.BandIndex, "_parts", exchanged)
    with caught("exchanged"):
        check_s_curve()


def test_an_s_curve_with_exchanged_exponents_is_caught(monkeypatch):
    monkeypatch.setattr(minhash, "s_curve", lambda s, bands, rows: 1 - (1 - s**bands) ** rows)
    with caught():
        check_s_curve()


def test_copies_that_replace_the_first_are_caught(monkeypatch):
    monkeypatch.setattr(minhash.BandIndex, "add", lambda self, key, one: True)
    with caught("near copies were kept"):
        check_planted_near_copies("readable")


def test_candidates_taken_for_copies_are_caught(monkeypatch):
    """Without the second look at the estimate, and with short bands, cousins are dropped too."""
    real = minhash.BandIndex.__init__

    def careless(self, threshold, k):
        real(self, threshold, k)
        self.threshold, self.bands, self.rows = 0.0, k // 2, 2
        self._tables = [{} for _ in range(self.bands)]

    monkeypatch.setattr(minhash.BandIndex, "__init__", careless)
    with caught("like no other was dropped"):
        check_planted_near_copies("readable")
