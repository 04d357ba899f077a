"""QK-norm, capped logits, output maps that begin at 0: exact in training, caches, decode steps and exports."""

from __future__ import annotations

import pytest
import speedrun_parts_checks as checks
from model_checks import build

from gpt_model import GPTConfig
from gpt_model.config import PRESETS
from gpt_model.export_huggingface import family_of
from utils.errors import UserError

SHAPES = [
    {"attention": "mha"},
    {"attention": "gqa", "n_kv_head": 2},
    {"attention": "swa", "window": 3, "n_kv_head": 2},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["attention"])
@pytest.mark.parametrize("position", ["rope", "learned"])
def test_qk_norm_is_its_formula(position, shape):
    checks.check_qk_norm_by_hand(position=position, n_head=4, **shape)


@pytest.mark.parametrize("attention", ["mha", "gqa", "swa"])
def test_a_normalised_score_is_bounded(attention):
    checks.check_qk_norm_bounds_scores(attention)


@pytest.mark.filterwarnings("ignore:the decode step runs eagerly")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["attention"])
@pytest.mark.parametrize("position", ["rope", "alibi", "learned"])
def test_the_parts_go_through_a_cache_and_a_decode_step(position, shape):
    checks.check_parts_through_a_cache(position=position, **shape)


def test_the_cap_is_on_every_path():
    checks.check_softcap()


@pytest.mark.parametrize("mlp", ["gelu_tanh", "swiglu"])
@pytest.mark.parametrize("attention", ["mha", "mla"])
def test_blocks_that_begin_as_the_identity_learn(attention, mlp):
    checks.check_zero_init(attention=attention, mlp=mlp, bias=mlp != "swiglu")


def test_the_parts_train_under_autocast():
    checks.check_parts_train_in_bf16()


LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}


def test_exports_refuse_what_their_layouts_cannot_say():
    for field, value in checks.PARTS.items():
        with pytest.raises(UserError, match=f"{field} is {value}: transformers' layout"):
            family_of(build(**LLAMA, **{field: value}))
    assert family_of(build(**LLAMA, zero_init_out=True)).model_type == "llama"  # of initialisation only


def test_wrong_values_are_named():
    with pytest.raises(UserError, match="qk_norm is True but attention mla normalises its latents already"):
        GPTConfig(vocab_size=8, attention="mla", qk_norm=True)
    for value in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"logit_softcap is .*: it must be a positive number, or null"):
            GPTConfig(vocab_size=8, logit_softcap=value)
    with pytest.raises(UserError, match="qk_norm is 'yes': choose true or false"):
        GPTConfig(vocab_size=8, qk_norm="yes")


def test_presets_are_as_they_were():
    new = {"qk_norm", "logit_softcap", "zero_init_out"}
    assert not [name for name, values in PRESETS.items() if new & values.keys()]
    assert (GPTConfig(8).qk_norm, GPTConfig(8).logit_softcap, GPTConfig(8).zero_init_out) == (
        False,
        None,
        False,
    )
