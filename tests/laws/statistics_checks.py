"""What statistics of a text must keep, as functions that raise AssertionError.

References are `collections.Counter`, numpy, scipy and `regex`; the tests call the checks on the real code, the
mutations on code with a classic mistake put back.
"""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import regex
from data_checks import documents_of
from scipy import stats
from scipy.spatial.distance import jensenshannon

from working_with_text_data import bounded_counting, scripts, text_comparison, text_statistics
from working_with_text_data.byte_tokenizer import ByteTokenizer

TEXTS = [
    "The cat sat on the mat.\nThe mat was flat.\n",
    "Don't panic — naïve café, 日本語 и мир!",
    "",
    "one\ntwo\r\nthree",
    "The cat sat on the mat.\nThe mat was flat.\n",
    "x " * 40,
]


def zipfian_words(n: int, seed: int, vocabulary: int = 5_000) -> list[str]:
    """Words whose frequencies fall as 1 / rank."""
    weights = [1 / rank for rank in range(1, vocabulary + 1)]
    return random.Random(seed).choices([f"w{number}" for number in range(vocabulary)], weights, k=n)


def check_counts_equal_plain_python() -> None:
    """Every exact number of `describe` is what counting by hand gives."""
    found = text_statistics.describe(documents_of(TEXTS), ByteTokenizer(), languages=False)
    words = Counter(w for t in TEXTS for w in regex.findall(r"\w+(?:['’]\w+)*", t.lower()))
    expected = {
        "documents": 6,
        "bytes": sum(len(t.encode()) for t in TEXTS),
        "characters": sum(map(len, TEXTS)),
        "words": words.total(),
        "lines": sum(len(t.removesuffix("\n").split("\n")) if t else 0 for t in TEXTS),
        "tokens": sum(len(t.encode()) for t in TEXTS),
        "tokens_used": len({byte for t in TEXTS for byte in t.encode()}),
        "vocabulary": len(words),
        "duplicates": 1,
        "word_counts": words,
        "undercount": 0,
    }
    for name, value in expected.items():
        assert getattr(found, name) == value, f"{name} is {getattr(found, name)}, counted by hand {value}"
    assert found.vocabulary_error == 0 and found.duplicates_exact
    assert found.once == sum(c == 1 for c in words.values()) / len(words)
    for unit, measure in (("bytes", lambda t: len(t.encode())), ("characters", len)):
        lengths = [measure(t) for t in TEXTS]
        summary = found.lengths[unit]
        assert (summary.minimum, summary.maximum, summary.total) == (min(lengths), max(lengths), sum(lengths))
        assert math.isclose(summary.mean, np.mean(lengths))


def check_percentiles_equal_numpy() -> None:
    """Percentiles are numpy's (linear), for one document, two, and many."""
    rng = random.Random(1)
    for n in (1, 2, 3, 10, 101, 500):
        lengths = [rng.randrange(1, 1_000) for _ in range(n)]
        found = text_statistics.describe(documents_of(["x" * k for k in lengths]), languages=False)
        for p, value in found.lengths["characters"].percentiles.items():
            expected = np.percentile(lengths, p)
            assert math.isclose(value, expected, rel_tol=1e-12), (
                f"p{p} of {n} lengths is {value}, numpy says {expected}: the place of p is p/100 · (n − 1), "
                "counted from 0"
            )


def check_the_zipf_line_equals_scipy() -> None:
    """The slope is scipy's over the points that are shown, and −1 for a text made to be so."""
    counts = [round(1e7 / rank) for rank in range(1, 3_001)]
    found = text_statistics.fit_zipf(counts)
    assert found.ranks[0] == 1 and found.ranks[-1] == 3_000
    assert list(found.counts) == [counts[rank - 1] for rank in found.ranks], "a count stands at a wrong rank"
    line = stats.linregress(np.log(found.ranks), np.log(found.counts))
    assert math.isclose(found.slope, line.slope, rel_tol=1e-9), f"slope {found.slope}, scipy {line.slope}"
    assert math.isclose(found.r2, line.rvalue**2, rel_tol=1e-9)
    assert abs(found.slope + 1) < 1e-3, f"counts of 1/rank have slope −1, not {found.slope:.3f}"


def check_a_full_table_stays_within_its_bounds() -> None:
    """Beyond the limit no word is counted too often, none too low by more than `undercount`, none is lost."""
    words = zipfian_words(60_000, seed=2)
    truth = Counter(words)
    table = bounded_counting.WordCounts(limit=300)
    for start in range(0, len(words), 500):
        table.update(words[start : start + 500])
    assert not table.exact and table.total == len(words) and len(table.counts) <= 2 * 300 + 500
    for word, count in truth.items():
        short = count - table.counts[word]
        assert 0 <= short <= table.undercount, (
            f"{word} came {count} times, the table says {table.counts[word]}, but no more than "
            f"{table.undercount} may be missing: add up what each clearing forgets"
        )
    assert table.undercount < 60_000 / 300, "the bound is too weak to be of use"
    assert abs(table.distinct / len(truth) - 1) < 5 * 0.01, (
        f"{table.distinct} of {len(truth)} different words"
    )


def check_a_sample_of_different_things_counts_copies() -> None:
    """Estimates of different things and of copies are within five standard errors, whatever comes twice."""
    rng = random.Random(3)
    things = [f"thing {n}" for n in range(20_000) for _ in range(1 + (n % 4 == 0) * 3)]
    rng.shuffle(things)
    sample = bounded_counting.DistinctSample(limit=2_000)
    sample.update(things)
    assert not sample.exact and len(sample.counts) <= 2_000
    assert 1 / math.sqrt(2_000) <= sample.error <= 1 / math.sqrt(1_000) + 0.005
    assert abs(sample.distinct / 20_000 - 1) < 5 * sample.error, (
        f"{sample.distinct} of 20,000 different things"
    )
    assert abs(sample.copies / 15_000 - 1) < 0.35, (
        f"{sample.copies} copies of 15,000: decide by the hash of a thing, so that all its copies are in or out"
    )
    exact = bounded_counting.DistinctSample(limit=50_000)
    exact.update(things)
    assert (exact.distinct, exact.copies, exact.error) == (20_000, 15_000, 0.0)


def check_a_reservoir_is_uniform() -> None:
    """Each item of the stream has the same chance to be in the sample (chi-square over tenths)."""
    hits: Counter[int] = Counter()
    for seed in range(60):
        sample: bounded_counting.Reservoir[int] = bounded_counting.Reservoir(50, seed)
        for item in range(1_000):
            sample.add(item)
        assert len(set(sample.items)) == 50 and not sample.exact
        hits.update(item // 100 for item in sample.items)
    p = stats.chisquare([hits[tenth] for tenth in range(10)]).pvalue
    assert p > 1e-4, f"tenths of the stream are in the sample {dict(hits)} times: some have a better chance"


def check_scripts_equal_regex() -> None:
    """The share of each script is that of `regex`'s \\p{Script}, on letters of eight scripts."""
    text = "Hello мир κόσμος שלום سلام 你好 かな カナ 안녕 ไทย! 123"
    found = scripts.script_mix(Counter(text))
    letters = [c for c in text if c.isalpha()]
    names = {"Latin", "Cyrillic", "Greek", "Hebrew", "Arabic", "Hiragana", "Katakana", "Hangul", "Thai"}
    for name in names:
        share = sum(bool(regex.match(rf"\p{{Script={name}}}", c)) for c in letters) / len(letters)
        assert math.isclose(found.get(name, 0), share), (
            f"{name} is {found.get(name, 0):.3f}, regex {share:.3f}"
        )
    han = sum(bool(regex.match(r"\p{Script=Han}", c)) for c in letters) / len(letters)
    assert math.isclose(found["CJK"], han) and math.isclose(sum(found.values()), 1.0)


def check_comparison_equals_scipy() -> None:
    """Divergence is scipy's (in bits), the length distance is scipy's two-sample Kolmogorov–Smirnov."""
    sides = []
    for seed, vocabulary in ((1, 400), (2, 900)):
        words = zipfian_words(3_000, seed, vocabulary)
        cuts = random.Random(seed).choices(range(1, 40 * seed), k=60)
        sides.append([" ".join(words[i * 40 : i * 40 + cut]) for i, cut in enumerate(cuts)])
    a, b = (text_statistics.describe(documents_of(texts), languages=False) for texts in sides)
    found = text_comparison.compare_statistics(a, b)
    counts = [Counter(" ".join(texts).split()) for texts in sides]
    union = sorted(counts[0] | counts[1])
    p, q = ([count[word] / count.total() for word in union] for count in counts)
    expected = jensenshannon(p, q, base=2) ** 2
    assert math.isclose(found.word_divergence, expected, rel_tol=1e-9), (
        f"divergence {found.word_divergence:.6f}, scipy {expected:.6f}: logarithms to base 2, half of each side"
    )
    lengths = [[len(t) for t in texts] for texts in sides]
    distance = stats.ks_2samp(*lengths).statistic
    assert math.isclose(found.length_distance, distance), f"{found.length_distance}, scipy {distance}"
    shared = counts[0].keys() & counts[1].keys()
    assert math.isclose(found.shared_vocabulary, len(shared) / len(union))
    assert math.isclose(found.b_covered_by_a, sum(counts[1][w] for w in shared) / counts[1].total())
    assert math.isclose(found.a_covered_by_b, sum(counts[0][w] for w in shared) / counts[0].total())
