"""LD2 for gpt_model/06: exercises are proved, other right answers pass, new wrong ones get the property that fails."""

import math

import pytest
import torch
import torch.nn.functional as F

from gpt_model import GPT, GPTConfig, load_model
from gpt_model.exercises.looking_inside import ATTRIBUTION, LENS, PREDICTIONS, SURPRISE
from gpt_model.lens import lens_logits
from gpt_model.lens import surprise as surprise_of_module
from gpt_model.trace import trace
from utils.exercises import check, load_answer

WRITES = [f"blocks.{i}.{half}.out" for i in range(3) for half in ("attn", "mlp")]


def make():
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=30, block_size=16, n_layer=3, n_head=2, n_embd=16, norm="rmsnorm")
    ).eval()
    torch.nn.init.uniform_(model.final_norm.weight, 0.5, 2.0)
    return model.double(), torch.randint(30, (1, 9), generator=torch.Generator().manual_seed(1))


def _lens_by_loop(embed, writes, gain, head, eps=1e-5):
    rows, x = [], embed
    for write in [None, *writes]:
        x = x if write is None else x + write
        rows.append(F.log_softmax(F.rms_norm(x, x.shape[-1:], gain.to(x), eps) @ head.T, dim=-1))
    return torch.stack(rows)


def _surprise_by_loop(logits, ids):
    return torch.stack([F.cross_entropy(logits[t], ids[t + 1]) for t in range(len(ids) - 1)])


def _attribution_by_loop(parts, gain, right, wrong, eps=1e-5):
    size = (sum(parts) ** 2).mean().add(eps).sqrt()
    return torch.stack(
        [(part * gain / size * right).sum() - (part * gain / size * wrong).sum() for part in parts]
    )


def _evenly(parts, *others):
    return _attribution_by_loop(parts, *others).sum() / len(parts) * torch.ones(len(parts)).double()


def _by_length(parts, *others):
    lengths = parts.norm(dim=-1)
    return _attribution_by_loop(parts, *others).sum() * lengths / lengths.sum()


@pytest.mark.parametrize(
    ("exercise", "right"),
    [(LENS, _lens_by_loop), (SURPRISE, _surprise_by_loop), (ATTRIBUTION, _attribution_by_loop)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_any_other_right_answer_passes(exercise, right):
    result = check(exercise, right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (LENS, lambda *a: [1], "a tensor, not list"),
        (LENS, lambda *a: _lens_by_loop(*a)[1:], "a row for the embedding"),
        (LENS, lambda *a: _lens_by_loop(*a).exp(), "give log-probabilities"),
        (LENS, lambda e, w, g, h, eps=1e-5: _lens_by_loop(e, w, 2 * g, h), "the model's own output"),
        (
            LENS,
            lambda e, w, g, h, eps=1e-5: _lens_by_loop(e, w, g, h)[[-1] * (len(w) + 1)],
            "does not depend on layers that come after",
        ),
        (SURPRISE, lambda logits, ids: F.cross_entropy(logits[:-1], ids[1:]), "one number for each token"),
        (SURPRISE, lambda logits, ids: -logits[:-1].gather(-1, ids[1:, None])[:, 0], "added to all logits"),
        (SURPRISE, lambda logits, ids: 0 * _surprise_by_loop(logits, ids), "ln V nats"),
        (
            SURPRISE,
            lambda logits, ids: _surprise_by_loop(logits / 2, ids),
            "the mean surprise must be the loss",
        ),
        (ATTRIBUTION, lambda *a: _attribution_by_loop(*a).sum(), "one number for each part"),
        (ATTRIBUTION, lambda *a: 2 * _attribution_by_loop(*a), "sum to the model's own difference"),
        (ATTRIBUTION, _evenly, "written nothing has no share"),
        (ATTRIBUTION, _by_length, "its own product with the direction"),
    ],
)
def test_an_answer_that_is_wrong_in_a_new_way_gets_the_property_that_fails(exercise, wrong, words):
    result = check(exercise, wrong)
    assert not result.passed and words in result.message, result.message


@torch.no_grad()
def test_the_solutions_are_what_the_modules_do():
    model, ids = make()
    with trace(model, ["embed", *WRITES]) as store:
        logits = model(ids).logits[0]
    lens = load_answer(LENS.solution, LENS.function)
    halves = lens(
        store["embed"][0],
        [store[w][0] for w in WRITES],
        model.final_norm.weight,
        model.token_embedding.weight,
    )
    for row, (_, read) in zip(halves[::2], lens_logits(model, ids), strict=True):
        torch.testing.assert_close(row, read[0].log_softmax(-1))
    surprise = load_answer(SURPRISE.solution, SURPRISE.function)
    theirs = torch.tensor([-score.log_probability for score in surprise_of_module(model, ids[0].tolist())])
    torch.testing.assert_close(surprise(logits, ids[0]).float(), theirs)
    attribution = load_answer(ATTRIBUTION.solution, ATTRIBUTION.function)
    parts = torch.stack([store[name][0, 4] for name in ("embed", *WRITES)])
    rows = model.token_embedding.weight
    shares = attribution(parts, model.final_norm.weight, rows[3], rows[7])
    torch.testing.assert_close(shares.sum(), logits[4, 3] - logits[4, 7])


def test_the_predictions_are_what_the_code_gives():
    answers = {prediction.name: prediction.answer for prediction in PREDICTIONS}
    config = load_model("assets").config
    assert answers["parts_of_the_stream_in_4_layers"] == 1 + 2 * config.n_layer
    assert answers["surprise_of_knowing_nothing"] == pytest.approx(math.log(config.vocab_size))
    uniform = F.cross_entropy(torch.zeros(1, 1000), torch.zeros(1, dtype=torch.long)).item()
    assert answers["surprise_of_one_in_a_thousand"] == pytest.approx(uniform, rel=1e-6)
