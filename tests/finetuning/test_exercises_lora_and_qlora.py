"""LD2 for finetuning/03: other right answers pass, new kinds of wrong ones get the property that fails."""

import pytest

from finetuning import nf4
from finetuning.exercises.lora_and_qlora import ADAPTED, BITS, BLOCK, PREDICTIONS, adapter_numbers
from utils.exercises import check


def _through_the_whole_matrix(x, w, a, b, alpha):
    return x @ (w + alpha / len(a) * b @ a).T


def _one_by_one(block, codes):
    largest = max(abs(float(v)) for v in block)
    nearest = [min(range(len(codes)), key=lambda i: abs(float(codes[i]) - float(v) / largest)) for v in block]
    return nearest, largest


@pytest.mark.parametrize(
    ("exercise", "right"),
    [
        (ADAPTED, _through_the_whole_matrix),
        (ADAPTED, lambda x, w, a, b, alpha: x @ w.T + (alpha * x @ a.T / b.shape[1]) @ b.T),
        (BLOCK, _one_by_one),
        (BITS, lambda block, second: (4 * block * second + 8 * second + 64) / (block * second)),
    ],
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (ADAPTED, lambda x, w, a, b, alpha: 3, "give a tensor"),
        (ADAPTED, lambda x, w, a, b, alpha: (x @ w.T).T, "7 numbers come out"),
        (ADAPTED, lambda x, w, a, b, alpha: x @ w.T, "the change is alpha / r"),
        (ADAPTED, lambda x, w, a, b, alpha: x @ w.T + alpha / len(a) ** 0.5 * x @ a.T @ b.T, "alpha / r"),
        (BLOCK, lambda block, codes: block, "give two things back"),
        (BLOCK, lambda block, codes: ([0] * len(block), block.abs().max()), "the nearest codes of"),
        (BITS, lambda block, second: 4.0, "bits a weight, not 4"),
        (BITS, lambda block, second: "four", "give a number"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


def test_the_predictions_are_what_the_modules_count():
    from finetuning.lora import LoRAConfig, apply_lora
    from finetuning.trainable import freeze_for
    from gpt_model.config import preset
    from gpt_model.gpt import GPT

    answers = {p.name: p.answer for p in PREDICTIONS}
    assert answers["nf4_double_bits"] == nf4.bits_per_weight()
    assert answers["nf4_block_codes"] == len(nf4.nf4_codes())
    small = GPT(preset("gpt2", n_layer=1, n_embd=48, n_head=4, vocab_size=32, block_size=8))
    apply_lora(small, LoRAConfig(r=8))
    assert freeze_for(small, "lora")[0] == adapter_numbers(8, width=48, layers=1)
    assert answers["lora_gpt2_numbers"] == adapter_numbers(8)
