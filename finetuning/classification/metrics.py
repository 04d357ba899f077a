"""How good a classifier is, in more than one number: what it confuses, how sure it is, how sure *we* are.

Accuracy hides a rare class: with thirteen spam in a hundred messages, "never spam" is right 87 times. So there is
precision (of what was called spam, how much was), recall (of the spam, how much was called so), their harmonic mean F1,
and the macro average, in which a rare class counts as much as a frequent one. A quotient 0/0 is 0, as in scikit-learn.

Calibration asks whether "90 % sure" is right nine times in ten: predictions are put into bins of equal width by their
confidence, and ECE is the mean gap between confidence and accuracy, weighted by the bins' sizes (Guo et al. 2017,
arXiv 1706.04599, equations 2 and 3). The interval is a bootstrap: test texts and seeds are drawn again with
replacement (Efron 1979), and two classifiers are compared on the *same* draws, because a difference on the same texts
is known much better than either value. Left out: curves over thresholds, ROC, tests of significance.
Notebook: 01 of this chapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.errors import UserError

Measure = Callable[[NDArray[np.int64]], float]  # of a confusion matrix


@dataclass(frozen=True)
class ClassScore:
    """One label: of what was called so how much was (precision), of what was so how much was called so (recall)."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Predictions of a confidence in (low, high]: how many, how sure they were, how many of them were right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """All figures of one classifier on one test set. `confusion[i][j]`: of label i, called j. `nll` is nats a text."""

    n: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    nll: float
    ece: float
    confusion: list[list[int]]
    classes: list[ClassScore]
    bins: list[Bin]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def confusion(truth: ArrayLike, predicted: ArrayLike, labels: int) -> NDArray[np.int64]:
    """Counts (labels, labels): row by truth, column by prediction.

    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    return np.bincount(t * labels + p, minlength=labels * labels).reshape(labels, labels)


def _ratio(over: NDArray[Any], under: NDArray[Any]) -> NDArray[np.float64]:
    """over / under, and 0 where both are 0."""
    return np.divide(over, under, out=np.zeros(len(over), dtype=np.float64), where=under != 0)


def precision_recall_f1(table: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of each label, from a confusion matrix."""
    hits = np.diag(table).astype(np.float64)
    precision, recall = _ratio(hits, table.sum(axis=0)), _ratio(hits, table.sum(axis=1))
    return precision, recall, _ratio(2 * hits, table.sum(axis=0) + table.sum(axis=1))


def accuracy_of(table: NDArray[np.int64]) -> float:
    """The share that is right."""
    return float(np.trace(table) / table.sum())


def macro_f1_of(table: NDArray[np.int64]) -> float:
    """The mean of the labels' F1."""
    return float(precision_recall_f1(table)[2].mean())


def f1_of(label: int) -> Measure:
    """A measure: F1 of one label, such as spam."""
    return lambda table: float(precision_recall_f1(table)[2][label])


def calibration(probabilities: ArrayLike, truth: ArrayLike, bins: int = 10) -> tuple[list[Bin], float]:
    """The bins of a reliability diagram, empty ones left out, and the expected calibration error."""
    p = np.asarray(probabilities, dtype=np.float64)  # (n, labels)
    sure, right = p.max(axis=1), p.argmax(axis=1) == np.asarray(truth)
    number = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)  # a bin owns its upper edge
    found, error = [], 0.0
    for b in range(bins):
        inside = number == b
        if inside.any():
            confidence, accuracy = float(sure[inside].mean()), float(right[inside].mean())
            found.append(Bin(b / bins, (b + 1) / bins, int(inside.sum()), confidence, accuracy))
            error += float(inside.mean()) * abs(confidence - accuracy)
    return found, error


def score(probabilities: ArrayLike, truth: Sequence[int], labels: Sequence[str]) -> Scores:
    """Everything about the predictions (n, labels) for texts whose labels are `truth`. Raises UserError for none."""
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (len(truth), len(labels)) or not len(truth):
        raise UserError(
            f"probabilities have shape {p.shape}, but there are {len(truth)} texts and {len(labels)} labels: "
            "give one row a text, and at least one text"
        )
    t = np.asarray(truth, dtype=np.int64)
    table = confusion(t, p.argmax(axis=1), len(labels))
    precision, recall, f1 = precision_recall_f1(table)
    bins, error = calibration(p, t)
    nll = -np.log(np.maximum(p[np.arange(len(t)), t], 1e-12)).mean()  # a baseline may be sure and wrong
    classes = [
        ClassScore(name, float(precision[i]), float(recall[i]), float(f1[i]), int(table[i].sum()))
        for i, name in enumerate(labels)
    ]
    return Scores(
        n=len(t),
        accuracy=accuracy_of(table),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        nll=float(nll),
        ece=error,
        confusion=table.tolist(),
        classes=classes,
        bins=bins,
    )


def bootstrap(
    truth: ArrayLike,
    predicted: ArrayLike,
    labels: int,
    measure: Measure = accuracy_of,
    *,
    against: ArrayLike | None = None,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(value, low, high): the mean over seeds of a measure, and the interval of it.

    predicted: (seeds, n) or (n,), the label that each run gave each text. Texts are drawn with replacement, and the
    seeds too, so the interval covers both another test set and another run. With `against` (of the same texts) it is
    the difference, predicted minus against, on the same texts in each draw.
    """
    t = np.asarray(truth, dtype=np.int64)
    rows = [np.atleast_2d(np.asarray(p, dtype=np.int64)) for p in (predicted, against) if p is not None]
    if any(r.shape[1] != len(t) for r in rows) or not len(t):
        raise UserError(
            f"{len(t)} true labels, but {[r.shape[1] for r in rows]} predictions: one for each text"
        )
    if rounds < 1 or not 0 < level < 1:
        raise UserError(
            f"rounds is {rounds} and level {level}: at least 1 round, and a level between 0 and 1"
        )

    def value(texts: NDArray[Any], runs: list[NDArray[Any]]) -> float:
        own = [
            float(np.mean([measure(confusion(t[texts], r[i][texts], labels)) for i in chosen]))
            for r, chosen in zip(rows, runs, strict=True)
        ]
        return own[0] - (own[1] if len(own) == 2 else 0.0)

    chance = np.random.default_rng(seed)
    everything = value(np.arange(len(t)), [np.arange(len(r)) for r in rows])
    drawn = [
        value(chance.integers(len(t), size=len(t)), [chance.integers(len(r), size=len(r)) for r in rows])
        for _ in range(rounds)
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return everything, float(low), float(high)
