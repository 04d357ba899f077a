"""The formulas of SCALE.md against measured small cases: bytes on the wire, bytes kept, plans worked out by hand."""

import pytest
import scale_checks as laws
from ranks import needs_fork

CASES = [(2, "ddp"), (4, "ddp"), (2, "fsdp"), (4, "fsdp")]


@needs_fork
@pytest.mark.parametrize(("size", "strategy"), CASES)
def test_traffic_is_the_formulas(size, strategy):
    laws.check_traffic(size, strategy)


@needs_fork
@pytest.mark.parametrize(("size", "strategy"), [(2, "ddp"), (2, "fsdp"), (4, "fsdp")])
def test_state_is_the_formulas(size, strategy):
    laws.check_state(size, strategy)


def test_plans_by_hand():
    laws.check_plans()
