"""LD2 for finetuning/01: other right answers pass, wrong ones get the property that fails, predictions are true."""

import numpy as np
import pytest
import torch

from finetuning.classification import metrics, model
from finetuning.exercises.classification import ECE, F1, LAST, PADDED, PREDICTIONS, TABLES, _forecasts
from utils.exercises import check, load_answer


def _by_numpy(rows):
    found = []
    for row in rows:
        found.append(int(np.flatnonzero(np.array(row) != -1)[-1]))
    return found


def _f1_by_counts(table):
    t = np.array(table)
    called, were, hits = t.sum(0), t.sum(1), np.diag(t)
    return [float(2 * h / (c + w)) if c + w else 0.0 for h, c, w in zip(hits, called, were, strict=True)]


def _ece_by_dict(sure, right, bins):
    groups = {}
    for s, r in zip(sure, right, strict=True):
        place = next(b for b in range(bins) if s <= (b + 1) / bins)
        groups.setdefault(place, []).append((s, r))
    return sum(abs(sum(s - r for s, r in g)) for g in groups.values()) / len(sure)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(LAST, _by_numpy), (F1, _f1_by_counts), (ECE, _ece_by_dict)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LAST, lambda rows: 3, "a list of places"),
        (LAST, lambda rows: [0], "one place for each row"),
        (LAST, lambda rows: [0 for _ in rows], "stands at 2, not at 0"),
        (F1, lambda table: 0.5, "give a list"),
        (F1, lambda table: [1.0], "there are 2 labels"),
        (F1, lambda table: [float("nan") for _ in table], "not an error"),
        (F1, lambda table: [round(x, 2) for x in _f1_by_counts(table)], "has F1"),
        (ECE, lambda sure, right, bins: 0.1, "the error is 0"),
        (ECE, lambda sure, right, bins: 0.0, "an error of 0.45"),
        (ECE, lambda sure, right, bins: _ece_by_dict(sure, right, 10), "in 5 bins"),
    ],
    ids=[f"{name}-{i}" for i, name in enumerate(["last"] * 3 + ["f1"] * 4 + ["ece"] * 3)],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_modules_do():
    last = load_answer(LAST.solution, LAST.function)(PADDED)
    real = torch.tensor([row for row in PADDED if len(row) == 5]) != -1
    stream = torch.arange(5.0).expand(len(real), 5)[..., None]
    assert model.pooled(stream, real, "last")[:, 0].tolist() == last
    f1 = load_answer(F1.solution, F1.function)
    for table in TABLES:
        assert f1(table) == pytest.approx(metrics.precision_recall_f1(np.array(table))[2].tolist())
    ece = load_answer(ECE.solution, ECE.function)
    sure, right = _forecasts(200, 9)
    probabilities = np.array([[s, 1 - s] for s in sure])
    truth = [0 if r else 1 for r in right]
    assert ece(sure, right, 10) == pytest.approx(metrics.calibration(probabilities, truth)[1])


def test_the_predictions_are_what_the_code_gives():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    assert round(100 * 4827 / 5574, 1) == answers["right_by_never_saying_spam"]
    assert round(1.96**2 * 0.9 * 0.1 / 0.01**2) == answers["texts_for_one_point"]
    assert answers["numbers_in_the_new_head"] == 2 * 128 + 2
    assert (
        sum(row[-1] == -1 for row in [[1, -1], [2, -1], [3, -1], [4, 5]])
        == answers["texts_that_read_padding"]
    )


def test_the_share_of_spam_is_that_of_the_published_set(shared_data):
    lines = (shared_data / "classify" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    ham = sum(line.startswith("ham\t") for line in lines)
    assert (ham, len(lines)) == (4827, 5574)
