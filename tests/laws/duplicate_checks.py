"""LT11, copies: exact ones found whatever their white space, near ones within the estimator's error.

The reference for likeness is the exact one, by sets of word tuples; for candidates it is a simulation.
"""

from __future__ import annotations

import math
import random
import unicodedata

from working_with_text_data import exact_duplicates, minhash, near_duplicate_filter

# --- copies ------------------------------------------------------------------------------------------


def check_exact_copies_are_found() -> None:
    """A copy with other white space or Unicode spelling is a copy; one other letter is not."""
    base = "Caf\u00e9 and\nthe  rest of it"
    same = [base + "\n", "  " + base, base.replace("\n", " "), unicodedata.normalize("NFD", base)]
    other = [base + ".", base.replace("rest", "Rest"), base[:-1], "the rest of it Caf\u00e9 and"]
    digest = exact_duplicates.content_digest
    assert len(digest(base)) == 16
    for text in same:
        assert digest(text) == digest(base), (
            f"{text!r} reads like {base!r} but has another digest: white space and spelling must not count"
        )
    for text in other:
        assert digest(text) != digest(base), f"{text!r} has the digest of {base!r}"
    assert digest("\ud800 lone") != digest("\ud801 lone"), "a lone surrogate must be hashed, not refused"
    seen = exact_duplicates.SeenBefore(remember=2)
    assert [seen.add(bytes([b])) for b in (1, 2, 1, 3, 1)] == [True, True, False, True, True], (
        "remember=2 keeps the last two new ones"
    )


def pair_with_likeness(seed: int, words: int, changed: int) -> tuple[str, str]:
    """Two texts, the second with `changed` words replaced at random places."""
    rng = random.Random(seed)
    first = [f"w{rng.randrange(10**9)}" for _ in range(words)]
    second = list(first)
    for place in rng.sample(range(words), changed):
        second[place] = f"v{rng.randrange(10**9)}"
    return " ".join(first), " ".join(second)


def plain_shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def exact_likeness(left: str, right: str) -> float:
    a, b = plain_shingles(left), plain_shingles(right)
    return len(a & b) / len(a | b)


def check_estimates(engine: str, pairs: int = 120, k: int = 128) -> None:
    """Against the exact likeness by sets: unbiased, and each error as large as √(J(1−J)/k) says."""
    signer = near_duplicate_filter.Signer(engine, k=k, seed=3)
    errors, variance, squares = [], 0.0, 0.0
    for number in range(pairs):
        left, right = pair_with_likeness(number, 60, 1 + number % 8)
        truth = exact_likeness(left, right)
        estimated = signer.likeness(signer(left), signer(right))
        deviation = math.sqrt(truth * (1 - truth) / k)
        error = estimated - truth
        assert abs(error) <= 5 * deviation, (
            f"{engine}: likeness {truth:.3f} estimated as {estimated:.3f}, {abs(error) / deviation:.1f} standard "
            f"errors off with k={k}: are the k permutations really different ones?"
        )
        errors.append(error)
        variance += deviation**2
        squares += error**2
    bias, allowed = sum(errors) / pairs, 4 * math.sqrt(variance) / pairs
    assert abs(bias) <= allowed, f"{engine}: on average {bias:+.4f} off, more than {allowed:.4f}: biased"
    # A mean of squares in units of the variance: 1 for a right estimator, spread √(2/pairs) around it.
    ratio = squares / variance
    assert ratio <= 1 + 5 * math.sqrt(2 / pairs), (
        f"{engine}: errors are {ratio:.2f} times as large (squared) as k={k} independent permutations give"
    )


def check_identical_and_disjoint(engine: str) -> None:
    signer = near_duplicate_filter.Signer(engine)
    one, other = pair_with_likeness(1, 80, 80)
    assert signer.likeness(signer(one), signer(one + "\n")) == 1.0
    assert signer.likeness(signer(one), signer(other)) <= 0.05
    assert signer(" \n") is None, "a text without words is like nothing"
    words = one.split()
    assert signer.likeness(signer(one), signer(" ".join(words + words))) > 0.85, "sets, not counts"


def check_s_curve(k: int = 64, threshold: float = 0.7, trials: int = 300) -> None:
    """The share of random signature pairs that meet in a band is 1 − (1 − Jʳ)ᵇ, counted by simulation."""
    bands, rows = minhash.choose_bands(threshold, k)
    assert bands * rows == k
    rng = random.Random(5)
    for likeness in (0.4, 0.6, 0.7, 0.85):
        met = 0
        for _ in range(trials):
            left = [rng.randrange(10**9) for _ in range(k)]
            right = [x if rng.random() < likeness else rng.randrange(10**9) for x in left]
            index = minhash.BandIndex(threshold, k)
            index.threshold = 0.0  # every candidate counts
            index.add(0, tuple(left))
            met += bool(index.alike(tuple(right)))
        # The expectation, said again: all r places of a band agree in at least one of b bands.
        expected = 1 - (1 - likeness**rows) ** bands
        deviation = math.sqrt(expected * (1 - expected) / trials) + 1 / trials
        assert abs(met / trials - expected) <= 4 * deviation, (
            f"pairs of likeness {likeness} meet with frequency {met / trials:.3f}, but {bands} bands of {rows} rows "
            f"say {expected:.3f}: are bands and rows exchanged?"
        )
        curve = minhash.s_curve(likeness, bands, rows)
        assert abs(curve - expected) < 1e-12, (
            f"s_curve({likeness}, {bands}, {rows}) is {curve}, not {expected}"
        )


def check_planted_near_copies(engine: str, groups: int = 40) -> None:
    """Near copies are dropped and the first of each group kept; texts with little in common are kept."""
    sieve = near_duplicate_filter.NearDuplicateFilter(0.7, engine=engine, seed=1)
    kept_wrong, lost, key = 0, [], 0
    for number in range(groups):
        first, copy = pair_with_likeness(number, 120, 1)  # J about 0.92
        _, cousin = pair_with_likeness(number, 120, 30)  # J about 0.1
        assert exact_likeness(first, copy) > 0.9 and exact_likeness(first, cousin) < 0.4
        answers = [sieve.add(key + i, sieve.signer(text)) for i, text in enumerate((first, copy, cousin))]
        key += 3
        if not answers[0] or not answers[2]:
            lost.append(number)
        kept_wrong += answers[1]
    assert not lost, f"{engine}: in groups {lost} a text that is like no other was dropped"
    bands, rows = minhash.choose_bands(0.7, 128)
    missed = 1 - (1 - (1 - 0.9**rows) ** bands)  # at most, by the S-curve at J = 0.9
    most = groups * missed + 4 * math.sqrt(groups * missed) + 1
    assert kept_wrong <= most, (
        f"{engine}: {kept_wrong} of {groups} near copies were kept, {most:.1f} at most may"
    )
