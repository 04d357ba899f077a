"""LF8: the losses of preference tuning are TRL's."""

import pytest
from trl_checks import KINDS, check_the_loss_is_trls


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_trls(kind):
    check_the_loss_is_trls(kind)
