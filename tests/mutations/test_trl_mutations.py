"""What would make other numbers than TRL does, put back on purpose."""

import pytest
from trl_checks import KINDS, check_the_loss_is_trls

from finetuning.preference import losses


def caught():
    return pytest.raises(AssertionError, match="TRL makes")


@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_that_is_left_out_is_caught(monkeypatch, kind):
    honest = losses.dpo_loss
    monkeypatch.setattr(
        losses, "dpo_loss", lambda a, b, c, d, **settings: honest(a, b, 0 * c, 0 * d, **settings)
    )
    with caught():
        check_the_loss_is_trls(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_beta_is_caught(monkeypatch, kind):
    honest = losses.dpo_loss
    monkeypatch.setattr(
        losses, "dpo_loss", lambda *a, beta, **settings: honest(*a, beta=2 * beta, **settings)
    )
    with caught():
        check_the_loss_is_trls(kind)


def test_smoothing_that_is_forgotten_is_caught(monkeypatch):
    honest = losses.dpo_loss
    monkeypatch.setattr(
        losses, "dpo_loss", lambda *a, label_smoothing=0.0, **settings: honest(*a, **settings)
    )
    with caught():
        check_the_loss_is_trls("smoothed")


@pytest.mark.parametrize("kind", KINDS)
def test_sums_for_means_and_means_for_sums_are_caught(monkeypatch, kind):
    honest = losses.answer_log_probs
    monkeypatch.setattr(
        losses, "answer_log_probs", lambda *a, per_token=False: honest(*a, per_token=not per_token)
    )
    with caught():
        check_the_loss_is_trls(kind)
