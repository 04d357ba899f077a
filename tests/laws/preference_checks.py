"""LF8, preference tuning, as plain functions: each raises AssertionError with a hint when its law is broken.

The references are written apart from the code: an answer's probability is asked for one token at a time, the
gradient is the formula of the paper in numpy, two passes are two calls. Models have two layers of width 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from training_checks import BASE, tiny_model

from finetuning.preference import data, losses, objective, reference
from finetuning.preference.data import EncodedPair, PreferencePair, ask
from finetuning.templates import render
from pretraining import gradients, objectives
from pretraining.trainer import Trainer
from working_with_text_data.bpe import BPETokenizer
from working_with_text_data.fast_bpe import train_bpe

MARKERS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>")
PAIRS = (
    PreferencePair(ask("How many are there: kite, drum?"), "2", "three of them"),
    PreferencePair(ask("What is the opposite of big?"), "small", "big"),
    PreferencePair(ask("Say it."), "it, of course, as you asked me to", "no"),
    PreferencePair(
        (
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "Who are you?"},
        ),
        "a book",
        "go away",
    ),
)
BLOCK = 96


def tiny_tokenizer() -> BPETokenizer:
    """A tokenizer with role markers: 256 bytes, a few merges, four markers."""
    return train_bpe(["How many are there? Say it again, as you asked."], 270, special_tokens=MARKERS)


def tiny_pairs(tokenizer: Any, pairs: Sequence[PreferencePair] = PAIRS) -> list[EncodedPair]:
    """The pairs as rows."""
    return data.encode_pairs(pairs, tokenizer, BLOCK).kept


def tiny_policy(tokenizer: Any, seed: int = 0, **changes: Any) -> Any:
    """A model of the tokenizer's vocabulary in double precision, sharp enough that answers differ in probability."""
    model = tiny_model(seed, vocab_size=tokenizer.vocab_size, block_size=BLOCK, **changes).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def _close(found: torch.Tensor, expected: torch.Tensor, what: str, tolerance: float = 1e-10) -> None:
    worst = float((found.double() - expected.double()).abs().max())
    assert worst <= tolerance, f"{what}: off by {worst:.3g}, at most {tolerance:g} is rounding"


# ---------------------------------------------------------------- log-probabilities


def check_answers_are_asked_for_token_by_token() -> None:
    """The sum over a row's labels is log p(answer, end | request), each token asked for after all before it."""
    tokenizer = tiny_tokenizer()
    model = tiny_policy(tokenizer)
    encoded = tiny_pairs(tokenizer)
    assert len(encoded) == len(PAIRS)
    ids, labels = data.stack(encoded)
    found = losses.answer_log_probs(model(ids).logits, labels).detach()
    means = losses.answer_log_probs(model(ids).logits, labels, per_token=True).detach()
    expected, lengths = [], []
    for answer in ("chosen", "rejected"):
        for pair in PAIRS:
            # the reference reads the conversation from the template alone and asks for one token after another
            start = render(pair.messages, tokenizer, add_generation_prompt=True).ids
            words = tokenizer.encode_ordinary(getattr(pair, answer))
            new = [*words, tokenizer.special_tokens["<|endoftext|>"]]
            total = 0.0
            for place, token in enumerate(new):
                with torch.no_grad():
                    row = model(torch.tensor([start + new[:place]])).logits[0, -1]
                total += float(row[token] - torch.logsumexp(row, 0))
            expected.append(total)
            lengths.append(len(new))
    _close(
        found,
        torch.tensor(expected, dtype=torch.float64),
        "log π(answer): is it summed over the answer and its end, shifted once?",
    )
    _close(
        means,
        torch.tensor(expected, dtype=torch.float64) / torch.tensor(lengths),
        "per_token is the sum over the answer's own length",
    )


def check_a_row_without_an_answer_is_refused() -> None:
    """No label is no answer: a sum over nothing would be 0, the log-probability of a certainty."""
    from utils.errors import UserError

    logits, labels = torch.zeros(2, 3, 5), torch.full((2, 3), -100)
    labels[0, 1] = 2
    try:
        losses.answer_log_probs(logits, labels)
    except UserError as error:
        assert "row 1" in str(error), f"the message does not name the row: {error}"
        return
    raise AssertionError("a row with no label was given log-probability 0, as if its answer were certain")


# ---------------------------------------------------------------- the loss


def check_the_gradient_is_the_papers(beta: float, label_smoothing: float, kind: str) -> None:
    """fp64: d loss / d logits equals −β · w · (∇log π(chosen) − ∇log π(rejected)) with the w of each variant."""
    rng = np.random.default_rng(3)
    shape, vocab = (6, 7), 11  # three pairs
    logits = torch.tensor(rng.normal(size=(*shape, vocab)) * 2, requires_grad=True)
    labels = rng.integers(vocab, size=shape)
    labels[rng.random(shape) < 0.4] = -100
    labels[:, 2] = rng.integers(vocab, size=shape[0])  # at least one answer token a row
    theirs = torch.tensor(rng.normal(size=shape[0]) * 3 - 12)
    mine = losses.answer_log_probs(logits, torch.tensor(labels))
    found = losses.dpo_loss(
        *mine.chunk(2), *theirs.chunk(2), beta=beta, label_smoothing=label_smoothing, kind=kind
    )
    (gradient,) = torch.autograd.grad(found.loss.sum(), logits)

    z = logits.detach().numpy()
    shares = np.exp(z - z.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    one_hot = np.eye(vocab)[np.where(labels < 0, 0, labels)]
    slope = (one_hot - shares) * (labels >= 0)[
        ..., None
    ]  # ∇ log π(answer): one-hot − softmax where it is asked
    sums = (np.log((shares * one_hot).sum(-1)) * (labels >= 0)).sum(-1)
    h = (sums[:3] - theirs.numpy()[:3]) - (sums[3:] - theirs.numpy()[3:])
    if kind == "dpo":
        p = 1 / (1 + np.exp(-beta * h))  # Bradley-Terry's probability that chosen beats rejected
        pull = -beta * ((1 - label_smoothing) * (1 - p) - label_smoothing * p)
        expected_loss = -(1 - label_smoothing) * np.log(p) - label_smoothing * np.log(1 - p)
    else:
        pull = 2 * (h - 1 / (2 * beta))
        expected_loss = (h - 1 / (2 * beta)) ** 2
    expected = np.concatenate([pull[:, None, None] * slope[:3], -pull[:, None, None] * slope[3:]])
    _close(found.loss.detach(), torch.tensor(expected_loss), f"loss ({kind}, beta {beta})")
    _close(gradient, torch.tensor(expected), f"gradient ({kind}, beta {beta}): compare with the closed form")
    _close(
        found.chosen_reward,
        torch.tensor(beta * (sums[:3] - theirs.numpy()[:3])),
        "reward of the chosen answer",
    )
    _close(
        found.rejected_reward,
        torch.tensor(beta * (sums[3:] - theirs.numpy()[3:])),
        "reward of the rejected one",
    )
    assert not found.chosen_reward.requires_grad, "rewards are for looking at: they must not carry a gradient"


def check_the_loss_stays_finite() -> None:
    """A pair that is thousands of nats out of order still has a finite loss, and a gradient that pulls."""
    far = torch.tensor([-5000.0], requires_grad=True)
    zero = torch.zeros(1)
    found = losses.dpo_loss(far, zero, zero, zero, beta=1.0).loss
    (pull,) = torch.autograd.grad(found.sum(), far)
    assert torch.isfinite(found).all(), "log(sigmoid(−5000)) is log(0): take logsigmoid"
    _close(found.detach(), torch.tensor([5000.0]), "the loss far out of order is the margin itself", 1e-3)
    _close(pull, torch.tensor([-1.0]), "the pull far out of order is the whole of beta", 1e-6)


# ---------------------------------------------------------------- policy and reference


def _objective(model: Any, pairs: Sequence[EncodedPair], how: str, **settings: Any) -> Any:
    per_token = settings.get("per_token", False)
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    if how == "online":
        theirs: Any = reference.OnlineReference(model, per_token=per_token, dtype=dtype)
    else:
        theirs = reference.CachedReference(model, pairs, batch_size=3, per_token=per_token, dtype=dtype)
    return objective.PreferenceObjective(theirs, **settings)


def check_it_starts_at_ln_2(how: str, **settings: Any) -> None:
    """Policy and reference are one model at the start: every pair costs ln 2 (IPO: 1/4β²), every reward is 0."""
    tokenizer = tiny_tokenizer()
    model = tiny_policy(tokenizer).float()
    pairs = tiny_pairs(tokenizer)
    aim = _objective(model, pairs, how, **settings)
    ids, labels = data.stack(pairs[:3])  # another batch, padded otherwise, than a cache was made from
    loss = float(aim(model(ids).logits, labels, ids).detach())
    beta = settings.get("beta", 0.1)
    expected = math.log(2) if settings.get("kind", "dpo") == "dpo" else (1 / (2 * beta)) ** 2
    assert abs(loss - expected) <= 2e-6 * max(1.0, expected / beta), (
        f"the first loss is {loss:.7f} and should be {expected:.7f}: does the reference see the same rows?"
    )
    assert abs(aim.take()["margin"]) <= 1e-5, "the untouched policy prefers nothing"


def check_the_reference_never_learns() -> None:
    """Steps that change the policy leave the reference's weights bit for bit, without gradients."""
    tokenizer = tiny_tokenizer()
    model = tiny_policy(tokenizer).float()
    pairs = tiny_pairs(tokenizer)
    aim = _objective(model, pairs, "online")
    asked = data.stack(pairs)
    before = {name: t.clone() for name, t in aim.reference.model.state_dict().items()}
    said = aim.reference(*asked)
    started = {name: t.clone() for name, t in model.state_dict().items()}
    _fit(model, pairs, aim, steps=3)
    moved = [name for name, t in model.state_dict().items() if not torch.equal(t, started[name])]
    assert moved, "the policy did not move: this law would hold of nothing"
    for name, tensor in aim.reference.model.state_dict().items():
        assert torch.equal(tensor, before[name]), (
            f"{name} of the reference has moved with the policy: copy it"
        )
    assert torch.equal(aim.reference(*asked), said), "the reference says something else than before"
    frozen = [not p.requires_grad and p.grad is None for p in aim.reference.model.parameters()]
    assert all(frozen), "the reference keeps gradients: freeze it"


def check_cached_equals_online(**settings: Any) -> None:
    """Two numbers a pair, kept before training, are what the second model would say in every step after it."""
    tokenizer = tiny_tokenizer()
    model = tiny_policy(tokenizer)
    pairs = tiny_pairs(tokenizer)
    online, cached = (_objective(model, pairs, how, **settings) for how in ("online", "cached"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)  # the policy has learned something since
    for group in ([2, 0], [3], [1, 2, 3, 0]):
        ids, labels = data.stack([pairs[i] for i in group])
        one, two = (aim.reference(ids, labels) for aim in (online, cached))
        _close(
            two,
            one,
            f"pairs {group}: cached log-probabilities of the reference",
            2e-6 * float(one.abs().max()),
        )
        logits = model(ids).logits
        one, two = (aim(logits, labels, ids).detach() for aim in (online, cached))
        _close(two, one, f"pairs {group}: loss with a cached reference", 1e-5)


# ---------------------------------------------------------------- batches


def check_one_pass_equals_two() -> None:
    """Chosen and rejected rows in one padded batch give the loss and gradient of two lone, unpadded passes."""
    tokenizer = tiny_tokenizer()
    model, other = tiny_policy(tokenizer), tiny_policy(tokenizer, seed=1)
    pairs = tiny_pairs(tokenizer)

    def alone(net: Any, row: Any) -> torch.Tensor:
        ids, labels = (torch.from_numpy(part)[None] for part in row)
        where = labels[0] != -100
        return net(ids).logits[0, where].log_softmax(-1).gather(1, labels[0, where][:, None]).sum()

    expected = torch.zeros((), dtype=torch.float64)
    for pair in pairs:
        with torch.no_grad():
            theirs = alone(other, pair.chosen) - alone(other, pair.rejected)
        mine = alone(model, pair.chosen) - alone(model, pair.rejected)
        expected = expected - torch.nn.functional.logsigmoid(0.3 * (mine - theirs)) / len(pairs)
    wanted = torch.autograd.grad(expected, list(model.parameters()))

    aim = _objective(other, pairs, "online", beta=0.3)
    ids, labels = data.stack(pairs)
    found = aim(model(ids).logits, labels, ids)
    got = torch.autograd.grad(found, list(model.parameters()))
    _close(found.detach(), expected.detach(), "the loss of one pass: which rows are a pair?", 1e-6)
    for name, one, two in zip(dict(model.named_parameters()), got, wanted, strict=True):
        _close(one, two, f"gradient of {name} in one pass", 1e-6 * (1 + float(two.abs().max())))


def check_every_pair_weighs_the_same() -> None:
    """Four pairs at once, and in micro-batches of one or two, give one gradient: an answer's length is no vote."""
    tokenizer = tiny_tokenizer()
    model, other = tiny_policy(tokenizer), tiny_policy(tokenizer, seed=1)
    pairs = tiny_pairs(tokenizer)
    aim = _objective(other, pairs, "online", beta=0.3)
    forward = objectives.with_objective(model, aim)
    found = []
    for size in (4, 2, 1):
        model.zero_grad()
        batches = [data.stack(pairs[i : i + size]) for i in range(0, 4, size)]
        loss, _ = gradients.accumulate(forward, batches, dtype=torch.float64)
        grads = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((size, loss, grads))
    _, whole_loss, whole = found[0]
    for size, loss, grads in found[1:]:
        assert abs(loss - whole_loss) <= 1e-6, f"micro-batches of {size}: loss {loss}, at once {whole_loss}"
        _close(grads, whole, f"micro-batches of {size}: weigh them by pairs, not by tokens", 1e-5)


def check_nothing_is_left_out_unsaid() -> None:
    """Pairs that cannot be learned from are counted by their reason; kept + counted is what came in."""
    tokenizer = tiny_tokenizer()
    odd = [
        PreferencePair(ask("Say it."), "yes", "yes"),
        PreferencePair(ask("Say it."), "  ", "no"),
        PreferencePair(ask("Say it."), "ab" * BLOCK, "no"),
        PreferencePair(ask("Say it."), "yes", "ab" * BLOCK),
    ]
    found = data.encode_pairs([*PAIRS, *odd], tokenizer, BLOCK)
    counts = (len(found.kept), found.equal, found.empty, found.too_long)
    assert counts == (len(PAIRS), 1, 1, 2), f"kept, equal, empty, too long: {counts}"
    longest = max(len(row[0]) for pair in found.kept for row in (pair.chosen, pair.rejected))
    assert longest <= BLOCK, "a pair longer than the context came through"
    end = tokenizer.special_tokens["<|endoftext|>"]
    for pair in found.kept:
        for ids, labels in (pair.chosen, pair.rejected):
            assert ids[-1] == end and labels[len(ids) - 2] == end, (
                "the end of an answer must be judged: never cut it"
            )


# ---------------------------------------------------------------- in the Trainer


def _fit(model: Any, pairs: Sequence[EncodedPair], aim: Any, steps: int, **changes: Any) -> Any:
    from dataclasses import replace

    config = replace(BASE, steps=steps, batch_size=2, lr=3e-3, prompts=[], **changes)
    trainer = Trainer(model, config, data.PairBatches(pairs, 2, seed=5), objective=aim)
    trainer.fit()
    return trainer


def check_training_puts_the_pairs_in_order() -> None:
    """Thirty steps of the ordinary Trainer: the margin of every pair becomes positive, the loss falls below ln 2."""
    tokenizer = tiny_tokenizer()
    model = tiny_policy(tokenizer).float()
    pairs = tiny_pairs(tokenizer)
    aim = _objective(model, pairs, "cached", beta=0.3)
    ids, labels = data.stack(pairs)
    before = losses.answer_log_probs(model(ids).logits, labels).detach()
    _fit(model, pairs, aim, steps=30)
    loss = float(aim(model(ids).logits, labels, ids).detach())
    chosen, rejected = (losses.answer_log_probs(model(ids).logits, labels).detach() - before).chunk(2)
    assert loss < math.log(2) / 2, f"the loss is {loss:.3f} after thirty steps, ln 2 = 0.693 before"
    gained = int((chosen > rejected).sum())
    assert gained == len(pairs), f"only {gained} of {len(pairs)} pairs are in order: is the sign right?"
