"""LD2 for notebook 04: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
from ranks import needs_fork, run_ranks

from pretraining.exercises.many_processes import BUCKETS, RING, WEIGHT
from pretraining.scale_plan import ring_bytes
from utils.exercises import check, load_answer


def _weight_by_fractions(mine, total, ranks):
    return mine / (total / ranks) if total else 0


def _buckets_by_running_total(sizes, limit):
    found, held = [[]], 0
    for i, size in reversed(list(enumerate(sizes))):
        if held >= limit:
            found, held = [*found, []], 0
        found[-1].append(i)
        held += size
    return [tuple(bucket) for bucket in found]


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(RING, ring_bytes), (WEIGHT, _weight_by_fractions), (BUCKETS, _buckets_by_running_total)],
    ids=lambda part: getattr(part, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (RING, lambda payload, ranks: "much", "give a number"),
        (RING, lambda payload, ranks: payload, "nobody to hear from"),
        (RING, lambda payload, ranks: payload * (ranks - 1) ** 2, "more than twice"),
        (RING, lambda payload, ranks: payload if ranks > 1 else 0, "a piece of 1/3"),
        (WEIGHT, lambda mine, total, ranks: mine / total if total else 0.5, "averaged gradient is 0.5 times"),
        (WEIGHT, lambda mine, total, ranks: 1.0 if total else 0.0, "counts 15 times as much"),
        (BUCKETS, lambda sizes, limit: len(sizes), "give a list of buckets"),
        (BUCKETS, lambda sizes, limit: [[0]], "each travels exactly once"),
        (BUCKETS, lambda sizes, limit: [[], list(range(len(sizes)))[::-1]], "nothing in it"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def _buckets_of(world, limit):
    """How our forty lines bucket a small model, as places in its list of parameters."""
    from training_checks import tiny_model

    from pretraining.own_ddp import OwnDDP

    own = OwnDDP(tiny_model(), limit)
    places = {p: i for i, p in enumerate(own.module.parameters())}
    return [p.nbytes for p in places], [[places[p] for p in bucket] for bucket in own.buckets]


@needs_fork
def test_the_solution_of_buckets_is_the_modules():
    answer = load_answer(BUCKETS.solution, BUCKETS.function)
    for limit in (1, 4000, 1 << 20):
        ((sizes, buckets),) = run_ranks(1, _buckets_of, limit)
        assert answer(sizes, limit) == buckets
