"""Laws of speculative decoding, as functions that raise: whatever the draft guesses, the text stays the model's own.

References: a loop that runs the whole text again for every token (`greedy_by_hand`), and for draws the transition
probabilities of a toy whose next token depends on the last one alone, by the definition in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from model_checks import build, some_ids
from sampling_checks import expected_probabilities, greedy_by_hand
from scipy.stats import chi2

from gpt_model import GPT, GPTConfig, Sampling
from gpt_model.drafts import ModelDraft, NgramDraft, PromptLookup, first_layers
from gpt_model.speculative import Statistics, generate_speculative
from utils.errors import UserError

GREEDY = Sampling(temperature=0.0)
# Next-token logits of the toy after each of its four tokens, and those of a draft that often is wrong.
TARGET = ((1.5, 0.2, -0.6, 0.4), (-0.4, 1.1, 0.9, -1.2), (0.3, -0.9, 0.1, 1.4), (0.8, 0.7, -0.2, -0.5))
WRONG = ((-0.5, 1.3, 0.4, 0.9), (0.9, 0.8, -0.2, 0.7), (1.0, 1.2, 0.9, -0.8), (-0.6, 0.1, 1.5, 0.3))


@torch.no_grad()
def bigram_model(logits: tuple[tuple[float, ...], ...], block_size: int = 64) -> GPT:
    """A GPT whose next-token logits depend on the last token only, by a table: one-hot in, the table in the head."""
    vocab = len(logits)
    config = GPTConfig(
        vocab_size=vocab, block_size=block_size, n_layer=1, n_head=1, n_embd=vocab, tie_weights=False,
        position="none", norm="rmsnorm", bias=False,
    )  # fmt: skip
    model = GPT(config).eval().double()
    for parameter in model.blocks.parameters():
        parameter.zero_()
    model.token_embedding.weight.copy_(torch.eye(vocab))
    gain = model.final_norm(torch.eye(vocab, dtype=torch.float64)).diagonal()
    assert model.head is not None
    model.head.weight.copy_((torch.tensor(logits, dtype=torch.float64) / gain[:, None]).T)
    shown = model(torch.tensor([[0, 1, 2, 3]])).logits[0]
    assert torch.allclose(shown, torch.tensor(logits, dtype=torch.float64)), (
        "the toy does not follow its table"
    )
    return model


def drafts_for(model: GPT) -> dict[str, Any]:
    """Good, bad and partly right ones."""
    other = build(seed=5, n_layer=1, vocab_size=model.config.vocab_size).double()
    text = greedy_by_hand(model, some_ids(1, 6, vocab=model.config.vocab_size, seed=3), 24)[0]
    return {
        "the model itself": model,
        "another model": other,
        "its first layer": first_layers(model, 1),
        "a table of its own texts": NgramDraft.train([text], order=2),
        "the text so far": PromptLookup(2),
    }


def check_greedy_is_the_models_own(model: GPT, new: int = 24, draft_tokens: int = 3) -> None:
    """Greedy ids equal a loop without cache and draft, for every draft; prompts of one token and of several."""
    prompts = [some_ids(1, n, vocab=model.config.vocab_size, seed=3) for n in (6, 1)]
    expected = [greedy_by_hand(model, prompt, new)[0] for prompt in prompts]
    kept = 0
    for name, draft in drafts_for(model).items():
        statistics = Statistics()
        try:
            got = generate_speculative(
                model, draft, [prompt[0].tolist() for prompt in prompts], max_new_tokens=new,
                draft_tokens=draft_tokens, sampling=GREEDY, statistics=statistics,
            )  # fmt: skip
        except UserError as error:
            raise AssertionError(f"draft {name}: {error}: the cache holds refused guesses") from error
        for row, own in zip(got, expected, strict=True):
            assert row == own, (
                f"draft {name}: {row} instead of the model's own {own}: a refused guess stayed in the text or in the "
                "cache, or a kept one was judged by the logits of another place"
            )
        kept += 0 < statistics.accepted < statistics.proposed
    assert kept >= 2, "no draft was right now and then: this has not tested a crop"


def check_rules_look_at_guesses(model: GPT, **settings: Any) -> None:
    """Penalties and bans count the guesses before a place too: greedy ids equal `generate` with the same rules."""
    from gpt_model import generate

    prompts = [some_ids(1, 5, vocab=model.config.vocab_size, seed=4)[0].tolist()]
    sampling = Sampling(temperature=0.0, **settings)
    expected = generate(model, prompts, max_new_tokens=20, sampling=sampling, stop_ids=(2,))
    for name, draft in drafts_for(model).items():
        got = generate_speculative(
            model, draft, prompts, max_new_tokens=20, draft_tokens=3, sampling=sampling, stop_ids=(2,)
        )
        assert got == expected, (
            f"{settings}, draft {name}: {got} instead of {expected}: a rule that looks at the text must see the "
            "guesses before its place"
        )


def check_distribution(
    draft: Any = None, *, rows: int = 45, new: int = 50, draft_tokens: int = 3, **settings: Any
) -> None:
    """Every transition is as likely as the model says, by χ² over all of them, however wrong the draft is."""
    model = bigram_model(TARGET)
    draft = bigram_model(WRONG) if draft is None else draft
    statistics = Statistics()
    got = generate_speculative(
        model, draft, [[0]] * rows, max_new_tokens=new, draft_tokens=draft_tokens,
        sampling=Sampling(seed=11, **settings), statistics=statistics,
    )  # fmt: skip
    counts = np.zeros((4, 4))
    for row in got:
        assert len(row) == new
        np.add.at(counts, ([0, *row[:-1]], row), 1)
    statistic, freedom = 0.0, 0
    for last in range(4):
        expected = expected_probabilities(TARGET[last], **settings)
        never = np.flatnonzero((expected == 0) & (counts[last] > 0))
        assert never.size == 0, (
            f"{settings}: token {never.tolist()} after {last} is cut off, yet it was written"
        )
        seen, possible = counts[last].sum(), expected > 0
        if seen < 20 or possible.sum() < 2:
            continue
        statistic += float(
            ((counts[last] - seen * expected)[possible] ** 2 / (seen * expected[possible])).sum()
        )
        freedom += int(possible.sum()) - 1
    p_value = chi2.sf(statistic, freedom) if freedom else 1.0
    assert p_value > 1e-4, (
        f"{settings}: the draft has changed the distribution (chi-squared p = {p_value:.1e}). Keep a guess with "
        "min(1, p / q), q being what it was drawn from; replace a refused one from max(p - q, 0); judge each by the "
        "logits of its own place"
    )
    assert 0 < statistics.accepted < statistics.proposed, "the draft was always or never right"


def check_a_perfect_draft_is_never_refused(sampling: Sampling, draft_tokens: int = 3) -> None:
    """With p = q all guesses are kept and each pass gives one more than was guessed: the passes can be counted."""
    model = build().double()
    statistics = Statistics()
    rounds = 5
    new = 1 + rounds * (draft_tokens + 1)  # the prompt's pass gives one
    got = generate_speculative(
        model, model, some_ids(1, 4), max_new_tokens=new, draft_tokens=draft_tokens, sampling=sampling,
        statistics=statistics,
    )  # fmt: skip
    assert len(got[0]) == statistics.tokens == new
    assert statistics.accepted == statistics.proposed == rounds * draft_tokens, (
        f"{statistics}: the model's own draws were refused: p and q are not those of the same place"
    )
    assert statistics.passes == 1 + rounds, (
        f"{statistics.passes} passes for {new} tokens instead of {1 + rounds}: when all guesses are kept, the same "
        "pass has also said what follows them"
    )
    assert statistics.acceptance_rate == 1 and statistics.tokens_per_pass == new / (1 + rounds)


def check_the_draft_reads_the_text(**fields: Any) -> None:
    """Whatever was refused before, a model's guesses are those it would make for this text alone."""
    model = build(seed=2, **fields).double()
    draft, generator = ModelDraft(model, slack=4), torch.Generator().manual_seed(0)
    text = some_ids(1, 6, seed=8)[0].tolist()

    def check() -> list[int]:
        guesses = draft.propose(list(text), 3, GREEDY, generator, 6).tokens
        expected = greedy_by_hand(model, torch.tensor([text]), 3)[0]
        assert guesses == expected, (
            f"after {len(text)} tokens the draft guesses {guesses}, on its own {expected}: its cache still holds what "
            "was refused, or another text"
        )
        return guesses

    for refused in (0, 1, 3, 2, 0, 3):
        guesses = check()
        text += [*guesses[: 3 - refused], (guesses[-refused] + 1) % model.config.vocab_size]
    text = some_ids(1, len(text), seed=9)[0].tolist()
    check()
