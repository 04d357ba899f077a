"""LD2 for gpt_model/01: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import pytest
import torch
import torch.nn.functional as F

from gpt_model import GPT, GPTConfig, preset
from gpt_model.exercises.blocks import BLOCK, LAYER_NORM, PREDICTIONS, SWIGLU
from gpt_model.feed_forward import GatedFeedForward
from gpt_model.norms import LayerNorm, RMSNorm
from utils.exercises import check, load_answer


def _norm_of_torch(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight.to(x), bias.to(x), eps)


def _norm_by_loop(x, weight, bias, eps=1e-5):
    out = torch.empty_like(x)
    for row in range(x.size(0)):
        for t in range(x.size(1)):
            token = x[row, t]
            out[row, t] = (token - token.mean()) / (token.var(correction=0) + eps) ** 0.5 * weight + bias
    return out


def _swiglu_by_sigmoid(x, gate, up, down):
    z = F.linear(x, gate)
    return F.linear(z * torch.sigmoid(z) * F.linear(x, up), down)


def _block_in_one(x, attention, feed_forward, norm_1, norm_2):
    first = attention(norm_1(x)) + x
    second = feed_forward(norm_2(first))
    return first + second


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (LAYER_NORM, _norm_of_torch),
        (LAYER_NORM, _norm_by_loop),
        (SWIGLU, _swiglu_by_sigmoid),
        (BLOCK, _block_in_one),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LAYER_NORM, lambda x, *_: [1], "a tensor, not list"),
        (LAYER_NORM, lambda x, *_: x[0], "keep the shape"),
        (LAYER_NORM, lambda x, w, b, eps: _norm_of_torch(x, w, b, 1e-5), "eps stands under the root"),
        (
            LAYER_NORM,
            lambda x, w, b, eps: (_norm_of_torch(x, 0 * w + 1, b, eps)) * w,
            "multiplied by its gain",
        ),
        (SWIGLU, lambda x, g, u, d: x @ u.T @ d.T, "a gate of zeros is shut"),
        (SWIGLU, lambda x, g, u, d: 3 * _swiglu_by_sigmoid(x, g, u, d), "SiLU(gate · x) times (up · x)"),
        (BLOCK, lambda x, a, f, m, n: 2 * x, "leave the stream as it was"),
        (BLOCK, lambda x, a, f, m, n: x + 2 * a(m(x)), "attention reads norm_1(x)"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_modules_do():
    x = torch.randn(2, 5, 16)
    norm = LayerNorm(16)
    torch.nn.init.normal_(norm.weight)
    ours = load_answer(LAYER_NORM.solution, LAYER_NORM.function)
    assert torch.allclose(ours(x, norm.weight, norm.bias), norm(x), atol=1e-5)
    layer = GatedFeedForward(GPTConfig(vocab_size=8, n_embd=16, n_head=2, mlp="swiglu", bias=False))
    gate, up = layer.up_proj.weight.chunk(2)
    swiglu = load_answer(SWIGLU.solution, SWIGLU.function)
    assert torch.allclose(swiglu(x, gate, up, layer.out_proj.weight), layer(x), atol=1e-6)
    block = GPT(preset("debug")).eval().blocks[0]
    by_hand = load_answer(BLOCK.solution, BLOCK.function)
    assert torch.allclose(by_hand(x, block.attn, block.mlp, block.norm_1, block.norm_2), block(x), atol=1e-6)


def test_the_predictions_are_what_the_code_gives():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    swiglu = GPTConfig(vocab_size=8, n_embd=768, n_head=12, mlp="swiglu")
    assert answers["hidden_width_of_swiglu_at_768"] == swiglu.hidden_width
    token = 1e-3 * torch.tensor([1.0, -1.0] * 8)
    size = RMSNorm(16)(token).square().mean().sqrt().item()
    assert answers["size_after_norm_of_a_thousandth"] == pytest.approx(size, rel=1e-5)
