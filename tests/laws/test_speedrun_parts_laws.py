"""QK-norm, capped logits, maps that begin at 0, n-grams: exact in training, caches, decode steps, exports."""

from __future__ import annotations

import cache_checks
import decode_step_checks
import model_checks
import pytest
import speedrun_parts_checks as checks
import torch
from model_checks import build

from gpt_model import GPT, GPTConfig, generate
from gpt_model.config import PRESETS
from gpt_model.decode_step import why_not
from gpt_model.export_huggingface import family_of
from gpt_model.export_int8 import read_int8, write_int8
from gpt_model.export_step import write_step
from gpt_model.sampling import Sampling
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


NGRAM_SHAPES = [*SHAPES, {"attention": "mla"}, {"attention": "swa", "window": 3, "global_every": 2}]
shapes = pytest.mark.parametrize("shape", NGRAM_SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))


@pytest.mark.parametrize("position", ["rope", "learned"])
def test_an_ngram_is_looked_up_by_its_number(position):
    checks.check_ngrams_by_hand(position=position)
    checks.check_ngrams_have_rows_of_their_own()


def test_an_ngram_holds_the_tokens_before_and_no_later_one():
    checks.check_ngrams_count()
    model_checks.check_model_is_causal(checks.ngram_model())
    checks.check_ngrams_learn()


def test_ngrams_are_left_out_one_by_one_in_training():
    checks.check_ngram_dropout()


@shapes
def test_ngrams_reach_into_the_cache_however_it_is_fed(shape):
    model = checks.ngram_model(position="rope", **shape)
    ids = model_checks.some_ids(2, 6)
    for cut in model_checks.ways_to_cut(6):
        got = model_checks.feed(model, ids, cut, model.new_cache(2, 8))
        model_checks.assert_close(
            got, model(ids).logits, 1e-5, f"chunks {cut}: earlier tokens are in the cache"
        )


@shapes
def test_ngrams_of_padded_rows_are_those_of_the_row_alone(shape):
    cache_checks.check_padding_through_a_cache(checks.ngram_model(position="rope", **shape))


@shapes
def test_ngrams_follow_a_branch_and_a_crop(shape):
    model = checks.ngram_model(position="rope", **shape)
    cache_checks.check_rows_of_a_branch(model)
    ids = model_checks.some_ids(1, 9)
    cache = model.new_cache(1, 12)
    model_checks.feed(model, ids, (8,), cache)
    cache.crop(7)
    got = model_checks.feed(model, ids[:, 7:], (1, 1), cache)
    model_checks.assert_close(got, model(ids).logits[:, 7:], 1e-5, "a cropped cache forgets ids, too")


@pytest.mark.filterwarnings("ignore:the decode step runs eagerly")
def test_a_decode_step_falls_back_and_generation_agrees_with_itself():
    model = checks.ngram_model(position="rope")
    for static in (False, True):
        decode_step_checks.check_step(model, rows=(7, 3, 5), static=static)
    assert "n-gram" in str(why_not(model))
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8]]
    together = generate(model, prompts, max_new_tokens=9, sampling=Sampling(temperature=0.0))
    alone = [generate(model, [p], max_new_tokens=9, sampling=Sampling(temperature=0.0))[0] for p in prompts]
    assert together == alone


def test_ngram_models_are_saved_loaded_and_kept_in_int8(tmp_path):
    model = checks.ngram_model()
    again = GPT.load(model.save_pretrained(tmp_path / "own"))
    ids = model_checks.some_ids(1, 8)
    assert torch.equal(again(ids).logits, model(ids).logits) and again.config == model.config
    write_int8(model, tmp_path / "int8")
    assert read_int8(tmp_path / "int8")(ids).logits.sub(model(ids).logits).abs().max() < 0.5
    with pytest.raises(UserError, match=r"ngram_rows is \(31, 101, 7\): transformers' layout"):
        family_of(checks.ngram_model(**LLAMA))
    with pytest.raises(UserError, match=r"ngram_rows is \[31, 101, 7\]: an exported step"):
        write_step(model, tmp_path / "step")


def test_a_cache_that_was_filled_without_ids_is_refused():
    plain, model = build(n_head=4), checks.ngram_model()
    cache = plain.new_cache(1, 9)
    plain(model_checks.some_ids(1, 3), cache=cache)
    with pytest.raises(UserError, match="holds 3 tokens without their ids"):
        model(model_checks.some_ids(1, 1), cache=cache)


def test_wrong_tables_are_named():
    with pytest.raises(
        UserError, match=r"ngram_rows has 60, which shares a divisor with vocab_size \+ 1 = 30"
    ):
        checks.ngram_model(ngram_rows=[60])
    with pytest.raises(UserError, match="ngram_rows is 5: give a list"):
        checks.ngram_model(ngram_rows=5)
    with pytest.raises(UserError, match=r"ngram_dropout is 1.0: it must be at least 0.0 and below 1.0"):
        checks.ngram_model(ngram_dropout=1.0)
    with pytest.raises(UserError, match="ngram_rows is 0: it must be a whole number"):
        checks.ngram_model(ngram_rows=[0])


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
    new = {"qk_norm", "logit_softcap", "zero_init_out", "ngram_rows"}
    assert not [name for name, values in PRESETS.items() if new & values.keys()]
    assert (GPTConfig(8).qk_norm, GPTConfig(8).logit_softcap, GPTConfig(8).zero_init_out) == (
        False,
        None,
        False,
    )
