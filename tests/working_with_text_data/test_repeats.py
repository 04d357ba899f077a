"""The copying warm-up: what repeats, what is left alone, and that it resumes to the token."""

import numpy as np
import pytest
import torch

from working_with_text_data.repeats import LONGEST, SHORTEST, WithRepeats
from working_with_text_data.windows import BatchLoader


def make(first=2, every=3, until=9):
    tokens = np.random.default_rng(0).integers(0, 500, 5000).astype(np.uint16)
    loader = BatchLoader(tokens, 4, 64, seed=3)
    return WithRepeats(loader, first=first, every=every, until=until, seed=5)


def test_only_the_named_batches_repeat():
    plain = BatchLoader(np.random.default_rng(0).integers(0, 500, 5000).astype(np.uint16), 4, 64, seed=3)
    ours = make()
    for number in range(1, 13):
        (x, y), (px, py) = next(ours), next(plain)
        if number in (1, 2, 3, 6, 9):
            period = ours.period(number)
            assert SHORTEST <= period <= LONGEST
            assert torch.equal(x[:, :period], px[:, :period]), (
                "the period is the beginning of the real window"
            )
            assert torch.equal(x[:, period:], x[:, :-period]), "what comes later was said one period before"
        else:
            assert torch.equal(x, px) and torch.equal(y, py), "the other batches are the loader's own"
        assert torch.equal(y[:, :-1], x[:, 1:]), "the target is the next token, repeating or not"
        assert x.shape == y.shape == (4, 64)


def test_the_last_target_goes_on_repeating():
    ours = make()
    x, y = next(ours)
    period = ours.period(1)
    assert torch.equal(y[:, -1], x[:, 64 % period])


@pytest.mark.parametrize("taken", [1, 4, 9])
def test_it_resumes_to_the_token(taken):
    ours = make()
    for _ in range(taken):
        next(ours)
    state = ours.state_dict()
    rest = [next(ours) for _ in range(5)]
    again = make()
    again.load_state_dict(state)
    for (x, y), (u, v) in zip(rest, [next(again) for _ in range(5)], strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)
