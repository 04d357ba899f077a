"""LD2 for gpt_model/02: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import math

import pytest
import torch

from gpt_model import GPT, GPTConfig, preset
from gpt_model.costs import parameter_breakdown, skeleton
from gpt_model.exercises.gpt2_and_its_size import FLOPS, PARAMETERS, PREDICTIONS, START
from gpt_model.memory import training_memory
from gpt_model.mfu import flops_per_token, multiplied_parameters
from utils.exercises import check, load_answer


def _by_building(vocab_size, block_size, n_layer, n_embd):
    shape = {"vocab_size": vocab_size, "block_size": block_size, "n_embd": n_embd, "n_head": 1}
    one = skeleton(GPTConfig(**shape, n_layer=1)).num_parameters()
    two = skeleton(GPTConfig(**shape, n_layer=2)).num_parameters()
    return one + (n_layer - 1) * (two - one)


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (START, lambda v, s: -math.log(1 / v) + 0.5 * s * s),
        (PARAMETERS, _by_building),
        (FLOPS, lambda n, layers, d, t: 6 * n + 12 * layers * d * t),
        (FLOPS, lambda n, layers, d, t: float(6 * n + 12 * layers * d * t)),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (START, lambda v, s: "much", "nothing can go wrong"),
        (START, lambda v, s: math.log(v) + s, "half of their variance"),
        (PARAMETERS, lambda *sizes: 4, "10 token rows"),
        (PARAMETERS, lambda v, b, n, d: (v + b) * d + n * 25 * d * d + 2 * d, "12 d² + 13 d"),
        (FLOPS, lambda n, layers, d, t: 5 * n, "a multiply-add forward"),
        (FLOPS, lambda n, layers, d, t: 6 * n + 12 * layers * t, "each of 10 keys"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_solutions_are_what_the_modules_count():
    parameters = load_answer(PARAMETERS.solution, PARAMETERS.function)
    flops = load_answer(FLOPS.solution, FLOPS.function)
    for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "tiny", "debug"):
        shape = preset(name)
        found = parameters(shape.vocab_size, shape.block_size, shape.n_layer, shape.n_embd)
        assert found == sum(parameter_breakdown(shape).values())
        n = multiplied_parameters(shape)
        assert flops(n, shape.n_layer, shape.n_embd, 100) == flops_per_token(shape, 100)


def test_the_loss_at_the_start_is_what_random_logits_cost():
    expected = load_answer(START.solution, START.function)
    chance = torch.Generator().manual_seed(0)
    for vocab, spread in ((1000, 0.5), (4000, 1.0)):
        logits = spread * torch.randn(4000, vocab, generator=chance)
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(4000, dtype=torch.long)).item()
        assert loss == pytest.approx(expected(vocab, spread), abs=4 * spread / 4000**0.5)
    torch.manual_seed(0)
    shape = preset("tiny", n_embd=256)
    x, y = torch.randint(shape.vocab_size, (2, 8, 64), generator=chance)
    loss = GPT(shape)(x, targets=y).loss.item()
    assert loss == pytest.approx(expected(shape.vocab_size, 0.02 * 256**0.5), abs=0.06)


def test_the_predictions_are_what_the_modules_count():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    shape = preset("gpt2")
    blocks = skeleton(shape).blocks
    assert answers["parameters_of_a_block_of_gpt2"] == sum(p.numel() for p in blocks[0].parameters())
    assert answers["gpt2_untied"] == sum(parameter_breakdown(preset("gpt2", tie_weights=False)).values())
    even = answers["context_where_tables_cost_as_much_as_weights"]
    assert 12 * 12 * 768 * even == pytest.approx(6 * multiplied_parameters(shape))
    bill = training_memory(shape, 1, 8)
    held = (bill.weights + bill.gradients + bill.optimizer) / skeleton(shape).num_parameters()
    assert held == pytest.approx(answers["bytes_to_train_a_parameter"], rel=1e-4)
