"""Laws of sampling, as functions that raise: LG8.

The distributions are judged from outside, by counting what ``generate`` returns, against probabilities
that NumPy computes in float64 from the definition. The model is a real GPT whose weights are set so that
its logits are one known row whatever the context; so nothing of the generator is mocked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from model_checks import some_ids
from scipy.stats import chisquare

from gpt_model import GPT, GPTConfig, Sampling, generate

LOGITS = (1.2, -0.4, 0.7, -2.0, 0.1, 2.0, -0.9, 0.4)


@torch.no_grad()
def constant_model(logits: Sequence[float] = LOGITS, block_size: int = 128) -> GPT:
    """A GPT whose next-token logits are ``logits`` after any text.

    All gains are 0, so the last norm gives its bias, the first unit vector; the head maps that to logits.
    """
    fields: dict[str, Any] = {
        "n_layer": 1,
        "n_head": 1,
        "n_embd": 4,
        "tie_weights": False,
        "norm": "layernorm",
    }
    model = GPT(GPTConfig(vocab_size=len(logits), block_size=block_size, bias=True, **fields)).eval()
    for parameter in model.parameters():
        parameter.zero_()
    model.final_norm.bias[0] = 1.0
    model.head.weight[:, 0] = torch.tensor(logits)
    shown = model(torch.zeros(1, 3, dtype=torch.long)).logits[0, -1]
    assert torch.allclose(shown, torch.tensor(logits)), f"the constant model gives {shown.tolist()}"
    return model


def expected_probabilities(
    logits: Sequence[float],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float = 0.0,
) -> np.ndarray:
    """Temperature, top-k, top-p with the token that crosses p kept, min-p; float64, by definition."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    order = np.argsort(-scaled, kind="stable")
    kept = order if top_k is None else order[:top_k]
    weights = np.exp(scaled[kept] - scaled[kept].max())
    weights /= weights.sum()
    if top_p is not None:
        n = next(i + 1 for i in range(len(kept)) if weights[: i + 1].sum() >= top_p or i + 1 == len(kept))
        kept, weights = kept[:n], weights[:n] / weights[:n].sum()
    kept, weights = kept[weights >= min_p * weights.max()], weights[weights >= min_p * weights.max()]
    probabilities = np.zeros(len(scaled))
    probabilities[kept] = weights / weights.sum()
    return probabilities


def draw(model: GPT, sampling: Sampling, rows: int, each: int) -> np.ndarray:
    """rows x each ids drawn by ``generate`` from one batch, flattened."""
    prompt = torch.zeros(rows, 1, dtype=torch.long)
    return np.asarray(generate(model, prompt, max_new_tokens=each, sampling=sampling)).reshape(-1)


# LG8 ------------------------------------------------------------------------------------------------


def check_frequencies(draws: int = 100_000, seed: int = 12, **settings: Any) -> None:
    """10^5 draws fall on the tokens as often as the definition says (chi-squared), and on no other."""
    rows = 1000
    got = draw(constant_model(), Sampling(seed=seed, **settings), rows, draws // rows)
    assert len(got) == draws, f"{draws} tokens were asked for, {len(got)} came"
    expected = expected_probabilities(LOGITS, **settings)
    counts = np.bincount(got, minlength=len(LOGITS))
    never = np.flatnonzero((expected == 0) & (counts > 0))
    assert never.size == 0, f"{settings}: tokens {never.tolist()} were drawn but should be cut off"
    possible = expected > 0
    missing = np.flatnonzero(possible & (counts == 0))
    assert missing.size == 0, (
        f"{settings}: tokens {missing.tolist()} are never drawn but belong to the kept set: top-p keeps the "
        "token that crosses p, top-k keeps exactly k"
    )
    if possible.sum() > 1:
        p_value = chisquare(counts[possible], expected[possible] * draws).pvalue
        assert p_value > 1e-4, (
            f"{settings}: frequencies {np.round(counts / draws, 4).tolist()} do not fit "
            f"{np.round(expected, 4).tolist()} (chi-squared p = {p_value:.1e})"
        )


def check_top_k_of_ties() -> None:
    """Four equal logits and top_k=2: two of them may be drawn, not all that equal the second largest."""
    model = constant_model((1.0, 1.0, 1.0, 1.0, -5.0))
    drawn = set(draw(model, Sampling(top_k=2, seed=0), rows=500, each=2).tolist())
    assert len(drawn) == 2, f"top_k=2 over four equal logits drew {sorted(drawn)}: exactly two may be kept"


def check_rows_and_steps_are_independent(seed: int = 3) -> None:
    """Neighbouring rows and neighbouring steps are uncorrelated: a row must not repeat another's draws."""
    flat = constant_model((0.0,) * 4)
    got = np.asarray(
        generate(flat, torch.zeros(400, 1, dtype=torch.long), max_new_tokens=50, sampling=Sampling(seed=seed))
    )
    for name, a, b in (("rows", got[:-1], got[1:]), ("steps", got[:, :-1], got[:, 1:])):
        pairs = np.bincount(a.reshape(-1) * 4 + b.reshape(-1), minlength=16)
        p_value = chisquare(pairs).pvalue
        assert p_value > 1e-4, f"neighbouring {name} draw dependent tokens (chi-squared p = {p_value:.1e})"


def check_temperature_zero_is_argmax(model: GPT) -> None:
    """Temperature 0 gives, token by token, the argmax of the uncached logits; so does any top_k=1."""
    prompt = some_ids(2, 5, vocab=model.config.vocab_size)
    expected = greedy_by_hand(model, prompt, 20)
    for settings in (Sampling(temperature=0.0), Sampling(temperature=0.0, seed=5), Sampling(top_k=1, seed=1)):
        got = generate(model, prompt, max_new_tokens=20, sampling=settings)
        assert got == expected, f"{settings} gives {got}, the argmax of the logits is {expected}"


@torch.no_grad()
def greedy_by_hand(model: GPT, prompt: torch.Tensor, n: int) -> list[list[int]]:
    """The plainest generator there is: whole context every time, no cache, last block_size tokens."""
    ids = prompt
    for _ in range(n):
        logits = model(ids[:, -model.config.block_size :]).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids[:, prompt.shape[1] :].tolist()


def check_penalty_lowers_both_signs() -> None:
    """A repeated token becomes less likely whether its logit is above or below zero.

    Token 0 is in the prompt. With penalty 2 its logit goes from 2 to 1, or from -1 to -2: in both rows
    token 1 must overtake it. Dividing a negative logit would raise it and token 0 would win again.
    """
    for logits in ((2.0, 1.5, -9.0), (-1.0, -1.5, -9.0)):
        model = constant_model(logits)
        prompt = torch.tensor([[0]])
        plain = generate(model, prompt, max_new_tokens=1, sampling=Sampling(temperature=0.0))
        assert plain == [[0]]
        settings = Sampling(temperature=0.0, repetition_penalty=2.0)
        first, second = generate(model, prompt, max_new_tokens=2, sampling=settings)[0]
        assert first == 1, (
            f"logits {logits}: the repeated token 0 still wins under repetition_penalty=2. Positive logits "
            "are divided by the penalty, negative ones multiplied"
        )
        assert second == 0, f"logits {logits}: with 0 and 1 both seen, order is as before, so 0; got {second}"


def check_same_seed_same_text(model: GPT, disturb: Callable[[], Any]) -> None:
    """A request with a seed gives one text, whatever else draws random numbers, and disturbs nobody."""
    prompt = some_ids(2, 4, vocab=model.config.vocab_size)
    settings = Sampling(temperature=1.0, seed=77)

    def ask(seed_of_others: int) -> tuple[list[list[int]], bool]:
        torch.manual_seed(seed_of_others)
        disturb()
        before = torch.get_rng_state()
        text = generate(model, prompt, max_new_tokens=30, sampling=settings)
        return text, torch.equal(before, torch.get_rng_state())

    (first, calm), (second, calm_again) = ask(1), ask(2)
    assert first == second, "the same seed gave two texts: the request draws from the global random generator"
    assert calm and calm_again, (
        "generating moved the global random generator: training beside it would change"
    )
    other = generate(model, prompt, max_new_tokens=30, sampling=Sampling(temperature=1.0, seed=78))
    assert other != first, "another seed gave the same text: is the seed used at all?"


def check_ragged_batch_is_single_runs(model: GPT, lengths: Sequence[int] = (1, 3, 17), new: int = 12) -> None:
    """Prompts of different lengths in one batch continue exactly as each does alone, stop ids included."""
    prompts = [some_ids(1, n, vocab=model.config.vocab_size, seed=n)[0].tolist() for n in lengths]
    alone = [greedy_by_hand(model, torch.tensor([prompt]), new)[0] for prompt in prompts]
    # A stop id ends each row at another step, so that the batch shrinks while others go on.
    for stop in (None, alone[0][1], alone[1][4], alone[2][-1]):
        wanted = [row[: row.index(stop)] if stop in row else row for row in alone]
        stop_ids = () if stop is None else (stop,)
        for use_cache in (True, False):
            together = generate(
                model, prompts, max_new_tokens=new, sampling=Sampling(temperature=0.0), stop_ids=stop_ids,
                use_cache=use_cache,
            )  # fmt: skip
            for prompt, got, expected in zip(prompts, together, wanted):
                assert got == expected, (
                    f"a prompt of {len(prompt)} tokens continues with {got} in a ragged batch but "
                    f"{expected} alone (stop id {stop}, use_cache={use_cache}): padding is seen, positions "
                    "count the padding, or a row that ended took another's place in the cache"
                )


def check_sampled_batch_is_single_runs(model: GPT, new: int = 12) -> None:
    """Row i of a seeded batch draws what it draws alone with seed + i: neighbours leave no trace."""
    prompts = [some_ids(1, n, vocab=model.config.vocab_size, seed=n)[0].tolist() for n in (2, 9, 5)]
    together = generate(model, prompts, max_new_tokens=new, sampling=Sampling(top_p=0.9, seed=40))
    for i, prompt in enumerate(prompts):
        alone = generate(model, [prompt], max_new_tokens=new, sampling=Sampling(top_p=0.9, seed=40 + i))[0]
        assert together[i] == alone, f"row {i} draws {together[i]} in the batch, {alone} alone"


def check_padded_vocabulary_is_never_drawn() -> None:
    """Rows of the embedding that no token uses are out of reach, even when their logits are the largest."""
    model = constant_model((0.5, 0.1, -0.3, 9.0, 9.0))
    prompt = torch.zeros(300, 1, dtype=torch.long)
    for settings in ({}, {"temperature": 0.0}, {"top_k": 4}, {"top_p": 0.9}, {"repetition_penalty": 1.3}):
        rows = generate(model, prompt, max_new_tokens=4, sampling=Sampling(seed=1, vocab_limit=3, **settings))
        drawn = {token for row in rows for token in row}
        assert drawn <= {0, 1, 2}, (
            f"{settings}: ids {sorted(drawn - {0, 1, 2})} stand for no token but were drawn"
        )


def check_filters_equal_transformers(seed: int = 0) -> None:
    """Each rule's logits equal those of transformers' processor of the same name, on random rows."""
    from transformers import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    from gpt_model import processors as ours

    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(20, 50, generator=g)
    history = torch.randint(50, (20, 12), generator=g)
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for t in (0.3, 1.7):
        pairs[f"temperature {t}"] = (
            ours.apply_temperature(logits, t),
            TemperatureLogitsWarper(t)(history, logits),
        )
    for k in (1, 7, 50, 80):
        pairs[f"top_k {k}"] = (ours.top_k_filter(logits, k), TopKLogitsWarper(k)(history, logits))
    for p in (0.05, 0.5, 0.95):
        pairs[f"top_p {p}"] = (ours.top_p_filter(logits, p), TopPLogitsWarper(p)(history, logits))
    for penalty in (0.8, 1.3, 2.0):
        got = ours.penalise_repetition(logits, history.tolist(), penalty)
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(history, logits.clone())
        pairs[f"repetition_penalty {penalty}"] = (got, theirs)
    for name, (got, expected) in pairs.items():
        kept, wanted = got.isfinite(), expected.isfinite()
        assert torch.equal(kept, wanted), (
            f"{name} keeps {kept.sum(-1).tolist()} tokens, not {wanted.sum(-1).tolist()}"
        )
        worst = (got[kept] - expected[kept]).abs().max().item()
        assert worst < 1e-5, f"{name} moves a kept logit by {worst:.1e} from where transformers has it"
