"""Weights of llms-from-scratch become ours with the same logits; where that package is, which CI does not install.

It brings a second deep-learning framework along, so it is in no extra: `pip install --no-deps llms-from-scratch`.
"""

import pth_checks as checks
import pytest

from pretraining import import_pth

pytest.importorskip("llms_from_scratch")


@pytest.mark.parametrize("inside", [None, "model_state_dict"])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_model_of_llms_from_scratch_gives_the_same_logits(qkv_bias, inside, tmp_path):
    checks.check_llms_from_scratch(tmp_path, qkv_bias=qkv_bias, inside=inside)


def test_queries_and_keys_in_the_wrong_order_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(import_pth, "SCRATCH_PARTS", ("W_key", "W_query", "W_value"))
    with pytest.raises(AssertionError):
        checks.check_llms_from_scratch(tmp_path, qkv_bias=False)
