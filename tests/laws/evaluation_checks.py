"""Laws of evaluation as plain functions: each raises AssertionError with a hint when its law is broken.

A loss over several parts is a sum over tokens divided by their number. A cap asks for the same predictions whatever
the batch size, and in every call. The references are loops over single tokens in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from training_checks import BLOCK, VOCAB, tiny_model, tiny_tokens

from pretraining import evaluation, source_evaluation
from working_with_text_data.byte_tokenizer import ByteTokenizer


class Recording(torch.nn.Module):
    """A model that remembers which (context, token) it was asked for; the loss of a token grows with its id."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.asked: list[int] = []

    def forward(self, ids: torch.Tensor, *, targets: torch.Tensor) -> Any:
        counted = targets != -100
        self.asked += targets[counted].tolist()
        losses = 0.25 + targets[counted].double() / 7
        return type("Output", (), {"loss": losses.mean() + 0 * self.weight.double()})()


def token_losses(model: Any, tokens: np.ndarray, block_size: int) -> list[float]:
    """−log p of each predicted token in float64, window by window, one token at a time."""
    losses = []
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, block_size):
            piece = torch.from_numpy(np.asarray(tokens[start : start + block_size + 1]).astype(np.int64))
            logits = model.eval()(piece[None, :-1]).logits[0].double()
            for row, target in zip(logits, piece[1:], strict=True):
                losses.append(float(torch.logsumexp(row, 0) - row[target]))
    return losses


def check_loss_is_a_sum_over_tokens() -> None:
    """Three parts of very different size: each is its tokens' mean, all together is the mean of all tokens."""
    model = tiny_model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # so that some tokens are much worse than others
    parts = {
        "short": np.full(3, 1),
        "long": tiny_tokens(9 * BLOCK + 5),
        "middle": np.arange(2 * BLOCK + 1) % VOCAB,
    }
    found = source_evaluation.evaluate_parts(model, parts, block_size=BLOCK, batch_size=4)
    singles = {name: token_losses(model, tokens, BLOCK) for name, tokens in parts.items()}
    for name, losses in singles.items():
        assert found[name].tokens == len(losses) == len(parts[name]) - 1
        assert math.isclose(found[name].loss, sum(losses) / len(losses), rel_tol=1e-6), (
            f"{name}: {found[name].loss} is not the mean over its {len(losses)} tokens, {sum(losses) / len(losses)}: "
            "a last window or batch that is not full must weigh by its tokens"
        )
    every = [loss for losses in singles.values() for loss in losses]
    total = source_evaluation.together(found.values())
    means = sum(part.loss for part in found.values()) / len(found)
    assert abs(means - sum(every) / len(every)) > 1e-3, "the parts are alike: a mean of means would pass"
    assert total.tokens == len(every)
    assert math.isclose(total.loss, sum(every) / len(every), rel_tol=1e-6), (
        f"all together is {total.loss}, the mean over all {len(every)} tokens is {sum(every) / len(every)} "
        f"(the mean of the parts' means would be {means})"
    )


def check_a_cap_asks_for_the_same_tokens() -> None:
    """The first n predictions, exactly n, whatever the batch size, at every call."""
    tokens = np.random.default_rng(3).permutation(400)
    for cap in (1, BLOCK, 3 * BLOCK + 5, 399, 10_000):
        wanted = sorted(tokens[1 : cap + 1].tolist())
        losses = set()
        for batch_size in (1, 3, 8, 1):
            model = Recording()
            part = source_evaluation.evaluate_parts(
                model, {"all": tokens}, block_size=BLOCK, batch_size=batch_size, max_tokens=cap
            )["all"]
            assert sorted(model.asked) == wanted, (
                f"max_tokens={cap}, batch_size={batch_size}: {len(model.asked)} tokens were asked for, "
                f"not the first {len(wanted)}: a capped loss that depends on the batch cannot be compared"
            )
            losses.add(round(part.loss, 9))
        assert len(losses) == 1, f"max_tokens={cap}: the same model got {sorted(losses)}"


def check_bits_per_byte_count_the_predicted_text() -> None:
    """Nats of the predicted tokens over the bytes of exactly those tokens, special tokens standing for none."""
    tokenizer = ByteTokenizer()
    end = tokenizer.special_tokens["<|eos|>"]
    model = tiny_model(vocab_size=tokenizer.vocab_size).eval()
    texts = ["Zwölf Boxkämpfer", "näher", "x"]
    tokens = np.asarray([i for text in texts for i in [*tokenizer.encode_ordinary(text), end]])
    for cap in (5, None):
        found = source_evaluation.evaluate_parts(
            model, {"t": tokens}, block_size=BLOCK, max_tokens=cap, tokenizer=tokenizer
        )["t"]
        losses = token_losses(model, tokens, BLOCK)[:cap]
        text = tokenizer.decode_bytes([i for i in tokens[1 : len(losses) + 1].tolist() if i != end])
        expected = sum(losses) / math.log(2) / len(text)
        assert found.bits_per_byte is not None and math.isclose(
            found.bits_per_byte, expected, rel_tol=1e-6
        ), f"cap {cap}: {found.bits_per_byte} bits per byte, but {len(text)} bytes were predicted: {expected}"


def check_perplexity_does_not_overflow() -> None:
    """A loss whose exponential no float can hold is infinite, and null in JSON; no exception."""
    part = source_evaluation.PartResult(4_000.0, 4)
    try:
        ppl = evaluation.perplexity(part.loss)
        written = part.to_dict()["perplexity"]
    except OverflowError as error:
        raise AssertionError(f"a bad model ends its own evaluation: {error}") from error
    assert ppl == math.inf and written is None
    assert math.isclose(evaluation.perplexity(math.log(50)), 50)


def check_evaluating_changes_nothing() -> None:
    """Mode, gradients and random numbers are afterwards what they were."""
    model = tiny_model(dropout=0.3).train()
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = source_evaluation.evaluate_parts(model, {"t": tiny_tokens(90)}, block_size=BLOCK)["t"].loss
    assert torch.equal(torch.random.get_rng_state(), before), "evaluation drew random numbers"
    assert model.training and all(p.grad is None for p in model.parameters())
    second = source_evaluation.evaluate_parts(model, {"t": tiny_tokens(90)}, block_size=BLOCK)["t"].loss
    assert first == second, "two evaluations of the same weights differ: was dropout on?"
