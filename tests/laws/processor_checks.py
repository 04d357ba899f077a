"""Laws of the rules that bend a distribution, as functions that raise: the chain of LG8.

References: transformers' processors of the same names, and loops in float64 written from the definitions. All
checks look the functions up in `gpt_model.processors` when they run, so that a mutation can put a bug there.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from scipy.stats import chisquare

from gpt_model import GPT, Sampling, generate, processors
from gpt_model import sampling as module
from utils.errors import RunFailure

VOCAB = 50


def some_logits(rows: int = 20, vocab: int = VOCAB, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))


def some_history(rows: int = 20, vocab: int = VOCAB, seed: int = 1) -> list[list[int]]:
    """Ids of different lengths, from few ids so that they repeat."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(min(vocab, 6), (3 + i % 17,), generator=g).tolist() for i in range(rows)]


def assert_same(name: str, got: torch.Tensor, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal kept sets and equal logits on them."""
    expected = torch.as_tensor(np.asarray(expected), dtype=torch.float64)
    kept, wanted = got.isfinite(), expected.isfinite()
    assert torch.equal(kept, wanted), (
        f"{name} allows {kept.sum(-1).tolist()} tokens a row, not {wanted.sum(-1).tolist()}, or others"
    )
    worst = (got.double()[kept] - expected[kept]).abs().max().item()
    assert worst < tolerance, f"{name} is {worst:.1e} away from the reference on an allowed token"


# Each rule against transformers ---------------------------------------------------------------------


def check_rules_equal_transformers() -> None:
    """min-p, no-repeat-n-gram, bad words, minimum length and bias equal transformers' processors, row by row."""
    from transformers import (
        MinNewTokensLengthLogitsProcessor,
        MinPLogitsWarper,
        NoBadWordsLogitsProcessor,
        NoRepeatNGramLogitsProcessor,
        SequenceBiasLogitsProcessor,
    )

    logits, history = some_logits(), some_history()

    def theirs(processor: Any) -> np.ndarray:
        rows = [processor(torch.tensor([row]), logits[i : i + 1].clone()) for i, row in enumerate(history)]
        return torch.cat(rows).numpy()

    for p in (0.02, 0.3, 1.0):
        assert_same(f"min_p {p}", processors.min_p_filter(logits, p), theirs(MinPLogitsWarper(p)))
    for n in (1, 2, 3, 4):
        reference = theirs(NoRepeatNGramLogitsProcessor(n))
        assert_same(
            f"no_repeat_ngram_size {n}", processors.ban_repeated_ngrams(logits, history, n), reference
        )
    words = ((7,), (1, 2), (1, 3), (2, 2, 0), (0, 1, 2, 3), (4, 5, 4))
    reference = theirs(NoBadWordsLogitsProcessor([list(word) for word in words]))
    assert_same("bad_words", processors.ban_words(logits, history, words), reference)
    for start, minimum in ((2, 4), (3, 1), (0, 9)):
        generated = [row[start:] for row in history]
        got = processors.ban_early_end(logits, generated, minimum, (4, 9))
        reference = theirs(MinNewTokensLengthLogitsProcessor(start, minimum, [4, 9]))
        assert_same(f"min_new_tokens {minimum}", got, reference)
    bias = ((3, 2.5), (8, -100.0), (9, 0.25))
    reference = theirs(SequenceBiasLogitsProcessor({(token,): amount for token, amount in bias}))
    assert_same("logit_bias", processors.add_bias(logits, bias), reference)


def check_openai_penalties() -> None:
    """presence and frequency: logit - count * frequency - (count > 0) * presence, counted on generated ids."""
    logits, history = some_logits(), some_history()
    starts = [i % 4 for i in range(len(history))]
    for presence, frequency in ((0.7, 0.0), (0.0, 0.4), (1.5, -0.3), (-0.5, 0.2)):
        settings = Sampling(presence_penalty=presence, frequency_penalty=frequency)
        got = module.process(logits, settings, history, prompt_lengths=starts)
        expected = logits.double().numpy().copy()
        for row, (ids, start) in enumerate(zip(history, starts)):
            for token in range(VOCAB):
                count = ids[start:].count(token)
                expected[row, token] -= count * frequency + (presence if count else 0.0)
        assert_same(f"presence {presence} and frequency {frequency}, without the prompt,", got, expected)


# What a rule looks at -------------------------------------------------------------------------------


def check_prompt_counts_where_it_should() -> None:
    """The prompt matters to repetition, n-grams and bad words, and to nothing else."""
    logits = some_logits(1)
    prompt = [[4, 5, 4, 5]]
    for settings, matters in (
        (Sampling(repetition_penalty=1.5), True),
        (Sampling(no_repeat_ngram_size=2), True),
        (Sampling(bad_words=[(5, 9)]), True),
        (Sampling(presence_penalty=1.0), False),
        (Sampling(frequency_penalty=1.0), False),
    ):
        got = module.process(logits, settings, prompt, prompt_lengths=[4])
        changed = not torch.equal(got, logits)
        assert changed == matters, (
            f"{settings}: the prompt's tokens {'must count' if matters else 'must not count: only generated ones do'}"
        )
    settings = Sampling(min_new_tokens=2, end_ids=(3,))
    for new in range(4):
        got = module.process(logits, settings, [[1] * 9 + [2] * new], prompt_lengths=[9])
        assert bool(got[0, 3].isinf()) == (new < 2), (
            f"min_new_tokens=2: after {new} generated tokens (and a prompt of 9) the end id is "
            f"{'forbidden' if got[0, 3].isinf() else 'allowed'}: the prompt must not count"
        )


def check_rows_are_their_own() -> None:
    """Rows of a batch with different histories are treated as each alone."""
    logits, history = some_logits(), some_history()
    starts = [i % 4 for i in range(len(history))]
    for settings in (everything(), everything(top_k=None, top_p=None, min_p=None)):
        together = module.process(logits, settings, history, prompt_lengths=starts)
        for i, (row, start) in enumerate(zip(history, starts)):
            alone = module.process(logits[i : i + 1], settings, [row], prompt_lengths=[start])
            assert torch.equal(together[i : i + 1], alone), (
                f"row {i} is changed by the histories of other rows"
            )


def everything(**more: Any) -> Sampling:
    """Settings that switch on every rule of the chain."""
    settings: dict[str, Any] = {
        "temperature": 0.8,
        "top_k": 20,
        "top_p": 0.97,
        "min_p": 0.01,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.2,
        "no_repeat_ngram_size": 3,
        "bad_words": ((7,), (1, 2)),
        "min_new_tokens": 9,
        "end_ids": (11,),
        "logit_bias": {5: 1.5, 6: -2.0, 3: -math.inf},
        "vocab_limit": 45,
        "seed": 3,
    }
    return Sampling(**{**settings, **more})


def by_definition(row: list[float], ids: list[int], start: int, s: Sampling) -> np.ndarray:
    """The whole chain on one row in float64, one plain loop a rule, in the order that is documented."""
    x = np.asarray(row, dtype=np.float64).copy()
    new = ids[start:]
    for token in set(ids):
        x[token] = x[token] / s.repetition_penalty if x[token] > 0 else x[token] * s.repetition_penalty
    for token in set(new):
        x[token] -= s.presence_penalty + s.frequency_penalty * new.count(token)
    for token, amount in s.logit_bias:
        x[token] += amount
    n = s.no_repeat_ngram_size
    if n:
        for i in range(len(ids) - n + 1):
            if ids[i : i + n - 1] == ids[len(ids) - n + 1 :]:
                x[ids[i + n - 1]] = -np.inf
    for word in s.bad_words:
        if list(word[:-1]) == ids[len(ids) - len(word) + 1 :]:
            x[word[-1]] = -np.inf
    if len(new) < s.min_new_tokens:
        x[list(s.end_ids)] = -np.inf
    if s.vocab_limit:
        x[s.vocab_limit :] = -np.inf
    x = x / s.temperature
    if s.top_k:
        x[np.argsort(-x, kind="stable")[s.top_k :]] = -np.inf
    order = np.argsort(-x, kind="stable")
    shares = np.exp(x[order] - x.max())
    shares /= shares.sum()
    reached = np.cumsum(shares) - shares
    if s.top_p:
        x[order[reached >= s.top_p]] = -np.inf
    if s.min_p:
        x[x < x.max() + np.log(s.min_p)] = -np.inf
    return x


def check_chain_by_definition() -> None:
    """All rules together, in the documented order, equal plain loops in float64."""
    logits, history = some_logits(seed=4), some_history(seed=5)
    starts = [i % 4 for i in range(len(history))]
    for settings in (
        everything(),
        everything(top_k=None, min_p=None, top_p=0.6),
        everything(temperature=1.6),
    ):
        try:
            got = module.process(logits, settings, history, prompt_lengths=starts)
        except RunFailure as error:
            raise AssertionError(f"the chain forbids all that its definition allows: {error}") from None
        expected = [
            by_definition(row, ids, start, settings)
            for row, ids, start in zip(logits.tolist(), history, starts)
        ]
        assert_same("the chain", got, np.stack(expected))


def check_chain_frequencies(draws: int = 100_000) -> None:
    """10^5 draws through every rule at once fall as the definition says (chi-squared)."""
    row = some_logits(1, 12, seed=8)
    ids, start = [1, 2, 3, 1, 2, 4, 4, 1], 3
    settings = everything(vocab_limit=10, top_k=8, temperature=2.5, bad_words=((0,), (4, 1, 2)), end_ids=(9,))
    expected = np.exp(by_definition(row[0].tolist(), ids, start, settings))
    expected /= expected.sum()
    rows = 1000
    generator = torch.Generator().manual_seed(7)
    got = [
        module.sample(row.expand(rows, -1), settings, generator, [ids] * rows, prompt_lengths=[start] * rows)
        for _ in range(draws // rows)
    ]
    counts = np.bincount(torch.cat(got).numpy(), minlength=12)
    assert counts[expected == 0].sum() == 0, f"forbidden tokens were drawn: {counts.tolist()}"
    assert (counts[expected > 0] > 0).sum() >= 3, "the test must leave at least three tokens"
    p_value = chisquare(counts[expected > 0], expected[expected > 0] * draws).pvalue
    assert p_value > 1e-4, (
        f"frequencies {(counts / draws).round(4).tolist()} do not fit {expected.round(4).tolist()} "
        f"(chi-squared p = {p_value:.1e}): a rule is missing, doubled or out of order"
    )


def check_inputs_are_not_changed() -> None:
    """Every rule is pure: the logits given stay as they were."""
    logits, history = some_logits(), some_history()
    before = logits.clone()
    for rule in processors.CHAIN:
        rule.apply(logits, everything(), processors.Texts(history, [2] * len(history)))
        assert torch.equal(logits, before), f"{rule.name} wrote into the logits it was given"


def check_steps_end_where_process_ends() -> None:
    """`steps` names the active rules in order, and its last logits are those of `process`."""
    logits, history = some_logits(), some_history()
    starts = [1] * len(history)
    shown = list(processors.steps(logits, everything(), processors.Texts(history, starts)))
    assert [name for name, _ in shown] == [rule.name for rule in processors.CHAIN]
    assert torch.equal(shown[-1][1], module.process(logits, everything(), history, prompt_lengths=starts))


# Large vocabularies ---------------------------------------------------------------------------------


def check_top_p_of_a_large_vocabulary(vocab: int = 9000) -> None:
    """The path without sorting keeps the likeliest tokens, reaching p and not one more; ties and bans included."""
    g = torch.Generator().manual_seed(2)
    wide, sure = torch.randn(vocab, generator=g), 12 * torch.randn(vocab, generator=g)
    tied = torch.randint(3, (vocab,), generator=g).float()
    banned = wide.masked_fill(torch.rand(vocab, generator=g) < 0.5, -torch.inf)
    far = torch.cat([wide - 200, torch.tensor([0.0])])[1:]
    for name, row in {"wide": wide, "sure": sure, "tied": tied, "banned": banned, "far": far}.items():
        for p in (1e-6, 0.3, 0.9, 0.999):
            kept = processors.top_p_filter(torch.stack([row, row.flip(0)]), p).isfinite()
            for values, mask in ((row, kept[0]), (row.flip(0), kept[1])):
                shares = values.double().softmax(0)
                mass, least = shares[mask].sum().item(), shares[mask].min().item()
                assert mask.any(), f"{name}, p={p}: nothing is kept"
                assert not mask.all() and shares[~mask].max() <= least, (
                    f"{name}, p={p}: a likelier token is cut"
                )
                assert mass >= p - 1e-5, f"{name}, p={p}: the kept tokens reach only {mass:.6f}"
                assert mass - least <= p + 1e-5, (
                    f"{name}, p={p}: without its last token {mass - least:.6f} is left"
                )


def check_draw_inverts_the_distribution(vocab: int = 9001) -> None:
    """The id drawn by u is where the cumulative probability passes u, and never one of probability 0."""
    g = torch.Generator().manual_seed(6)
    shares = torch.randn(4, vocab, generator=g).exp()
    shares[1] *= torch.rand(vocab, generator=g) < 0.01  # hardly any token is left
    shares[2, 300:] = 0  # all of it in the first blocks
    shares[3, :-1] = 0  # all of it on the last id
    shares /= shares.sum(-1, keepdim=True)
    exact = shares.double().numpy()
    cumulative = exact.cumsum(-1) / exact.sum(-1, keepdims=True)
    edge = 1 - 2**-53
    for u in (0.0, 1e-12, edge, *torch.rand(200, generator=g, dtype=torch.float64).tolist()):
        ids = module.draw(shares, torch.full((4,), u, dtype=torch.float64)).tolist()
        for row, token in enumerate(ids):
            assert 0 <= token < vocab, f"u={u}: id {token} of {vocab} was drawn"
            assert exact[row, token] > 0, f"u={u}: id {token} was drawn but has probability 0"
            below = cumulative[row, token - 1] if token else 0.0
            assert below - 1e-6 <= u <= cumulative[row, token] + 1e-6, (
                f"u={u} fell on id {token}, which holds {below:.7f} to {cumulative[row, token]:.7f}"
            )


# Broken logits --------------------------------------------------------------------------------------


def check_broken_logits_raise() -> None:
    """NaN and infinity raise whatever the settings; nobody is given a token that means nothing."""
    for bad in (math.nan, math.inf):
        for place in (0, 49):
            logits = some_logits(3)
            logits[1, place] = bad
            for settings in (
                Sampling(),
                Sampling(temperature=0.0),
                Sampling(top_k=3),
                Sampling(vocab_limit=40),
            ):
                assert raises(logits, settings, "row 1"), (
                    f"{settings} drew a token from logits that hold {bad}"
                )
    assert raises(torch.full((1, 4), -torch.inf), Sampling(), "row 0"), "all -inf gave a token"


def check_nothing_left_raises() -> None:
    """Where the rules forbid every token, that is said; greedy's argmax would return a forbidden one."""
    for temperature in (0.0, 1.0):
        settings = Sampling(temperature=temperature, bad_words=[(0,), (1,), (2,)], vocab_limit=3)
        assert raises(torch.zeros(2, 5), settings, "no token is left"), "a forbidden token was drawn"


def raises(logits: torch.Tensor, settings: Sampling, word: str) -> bool:
    """Whether sampling fails with a RunFailure of one line that has the word."""
    try:
        module.sample(logits, settings, torch.Generator().manual_seed(0), [[0]] * len(logits))
    except RunFailure as error:
        return word in str(error) and "\n" not in str(error)
    return False


# In the loop ----------------------------------------------------------------------------------------


def check_generated_texts_keep_the_rules(model: GPT) -> None:
    """What `generate` returns keeps the promises: no n-gram twice, no bad word, no early end; ragged prompts."""
    prompts = [[1, 2, 3, 1, 2], [4], [5, 6, 5]]
    ends = tuple(range(7, 13))
    for seed in range(4):
        settings = Sampling(
            temperature=1.5, seed=seed, no_repeat_ngram_size=2, bad_words=[(3, 4), (20,)], min_new_tokens=6
        )  # fmt: skip
        rows = generate(model, prompts, max_new_tokens=20, sampling=settings, stop_ids=ends)
        for prompt, new in zip(prompts, rows):
            text = prompt + new
            pairs = list(itertools.pairwise(text))
            fresh = pairs[len(prompt) - 1 :]  # the prompt may repeat itself
            for i, pair in enumerate(fresh):
                assert pair not in pairs[: len(prompt) - 1 + i], f"the pair {pair} comes twice in {text}"
            assert 20 not in new and (3, 4) not in fresh, f"a bad word stands in {new} after {prompt}"
            assert len(new) >= 6, f"a text ended after {len(new)} tokens; min_new_tokens is 6"
