"""Classic mistakes in statistics, put back one at a time: each check must see its own."""

import math
import random

import pytest
import statistics_checks as checks

from working_with_text_data import bounded_counting, scripts, text_comparison, text_statistics


def caught(match):
    return pytest.raises(AssertionError, match=match)


@pytest.mark.parametrize(
    "percentile",
    [
        lambda ordered, p: ordered[min(int(p / 100 * len(ordered)), len(ordered) - 1)],  # a rank too high
        lambda ordered, p: ordered[int(p / 100 * (len(ordered) - 1))],  # never between two ranks
        lambda ordered, p: ordered[len(ordered) - 1 - round(p / 100 * (len(ordered) - 1))],  # from the top
    ],
    ids=["off by one", "no interpolation", "upside down"],
)
def test_wrong_percentiles_are_caught(monkeypatch, percentile):
    monkeypatch.setattr(text_statistics, "percentile", percentile)
    with caught("numpy says"):
        checks.check_percentiles_equal_numpy()


def test_lengths_that_were_not_sorted_are_caught(monkeypatch):
    monkeypatch.setattr(text_statistics, "sorted", lambda x, **how: list(x), raising=False)
    with caught("numpy says"):
        checks.check_percentiles_equal_numpy()


def test_characters_in_place_of_bytes_are_caught(monkeypatch):
    real = text_statistics.describe

    def describe(documents, *arguments, **options):
        found = real(documents, *arguments, **options)
        object.__setattr__(found, "bytes", found.characters)
        return found

    monkeypatch.setattr(text_statistics, "describe", describe)
    with caught("bytes is"):
        checks.check_counts_equal_plain_python()


def test_words_cut_at_apostrophes_are_caught(monkeypatch):
    monkeypatch.setattr(text_statistics, "WORD", text_statistics.re.compile(r"\w+"))
    with caught("words is"):
        checks.check_counts_equal_plain_python()


def test_ranks_that_begin_at_zero_are_caught(monkeypatch):
    real = text_statistics.fit_zipf
    monkeypatch.setattr(text_statistics, "fit_zipf", lambda counts: real([max(counts), *counts][:-1]))
    with caught("wrong rank"):
        checks.check_the_zipf_line_equals_scipy()


def test_a_table_that_forgets_in_silence_is_caught(monkeypatch):
    real = bounded_counting.WordCounts._forget

    def silent(self):
        before = self.undercount
        real(self)
        self.undercount = before + 1

    monkeypatch.setattr(bounded_counting.WordCounts, "_forget", silent)
    with caught("add up what each clearing forgets"):
        checks.check_a_full_table_stays_within_its_bounds()


def test_a_bound_of_the_last_clearing_only_is_caught(monkeypatch):
    real = bounded_counting.WordCounts._forget

    def last_only(self):
        self.undercount = 0
        real(self)

    monkeypatch.setattr(bounded_counting.WordCounts, "_forget", last_only)
    with caught("add up what each clearing forgets"):
        checks.check_a_full_table_stays_within_its_bounds()


def test_a_vocabulary_of_what_is_left_is_caught(monkeypatch):
    monkeypatch.setattr(bounded_counting.WordCounts, "distinct", property(lambda self: len(self.counts)))
    with caught("different words"):
        checks.check_a_full_table_stays_within_its_bounds()


def test_a_sample_of_occurrences_is_caught(monkeypatch):
    real = bounded_counting.DistinctSample.update
    rng = random.Random(0)

    def by_occurrence(self, things):
        real(self, [f"{thing} {rng.random()}" for thing in things])

    monkeypatch.setattr(bounded_counting.DistinctSample, "update", by_occurrence)
    with caught("different things"):
        checks.check_a_sample_of_different_things_counts_copies()


def test_a_sample_that_is_not_scaled_up_is_caught(monkeypatch):
    monkeypatch.setattr(bounded_counting.DistinctSample, "distinct", property(lambda self: len(self.counts)))
    with caught("different things"):
        checks.check_a_sample_of_different_things_counts_copies()


@pytest.mark.parametrize("bias", ["first", "last"])
def test_a_biased_reservoir_is_caught(monkeypatch, bias):
    def add(self, item):
        self.passed += 1
        if len(self.items) < self.limit:
            self.items.append(item)
        elif bias == "last":  # every new item replaces one
            self.items[self._rng.randrange(self.limit)] = item

    monkeypatch.setattr(bounded_counting.Reservoir, "add", add)
    with caught("better chance"):
        checks.check_a_reservoir_is_uniform()


def test_digits_taken_for_letters_are_caught(monkeypatch):
    monkeypatch.setattr(scripts, "_script", lambda letter: "Latin" if letter.isascii() else "Other")
    with caught("regex"):
        checks.check_scripts_equal_regex()


def test_nats_in_place_of_bits_are_caught(monkeypatch):
    real = text_comparison._divergences
    monkeypatch.setattr(
        text_comparison, "_divergences", lambda a, b: {w: x * math.log(2) for w, x in real(a, b).items()}
    )
    with caught("logarithms to base 2"):
        checks.check_comparison_equals_scipy()


def test_a_one_sided_divergence_is_caught(monkeypatch):
    def to_the_mean(a, b):
        total_a, total_b = sum(a.values()), sum(b.values())
        shares = {w: (a[w] / total_a, b.get(w, 0) / total_b) for w in a}
        return {w: p * math.log2(2 * p / (p + q)) for w, (p, q) in shares.items()}

    monkeypatch.setattr(text_comparison, "_divergences", to_the_mean)
    with caught("half of each side"):
        checks.check_comparison_equals_scipy()
