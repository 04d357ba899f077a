"""Wrong formulas of cost, put in on purpose: the laws against measured cases must notice each."""

import pytest
import ranks
import scale_checks as laws

from pretraining import scale_plan


def must_fail(check, *arguments):
    """The law's check must raise AssertionError."""
    with pytest.raises(AssertionError):
        check(*arguments)


@ranks.needs_fork
def test_an_all_reduce_that_costs_one_way_only_is_caught(monkeypatch):
    monkeypatch.setattr(scale_plan, "ring_bytes", scale_plan.gather_bytes)
    must_fail(laws.check_traffic, 2, "ddp")
    must_fail(laws.check_plans)


@ranks.needs_fork
def test_an_all_reduce_that_costs_the_payload_for_any_number_is_caught(monkeypatch):
    monkeypatch.setattr(scale_plan, "ring_bytes", lambda payload, ranks: payload)
    must_fail(laws.check_traffic, 4, "ddp")


@ranks.needs_fork
def test_weights_gathered_once_are_caught(monkeypatch):
    honest = scale_plan.step_bytes

    def once(parameters, size, strategy, **kinds):
        return honest(parameters, size, strategy, **{**kinds, "outside": parameters})

    monkeypatch.setattr(scale_plan, "step_bytes", once)
    must_fail(laws.check_traffic, 2, "fsdp")


@ranks.needs_fork
def test_one_moment_instead_of_two_is_caught(monkeypatch):
    monkeypatch.setattr(scale_plan, "STATE", 12)
    must_fail(laws.check_state, 2, "ddp")
    must_fail(laws.check_state, 2, "fsdp")
    must_fail(laws.check_plans)


def test_a_batch_that_grows_with_the_gpus_is_caught(monkeypatch):
    honest = scale_plan.exposed_seconds
    monkeypatch.setattr(
        scale_plan, "exposed_seconds", lambda compute, *others: honest(compute * others[2], *others)
    )
    must_fail(laws.check_plans)
