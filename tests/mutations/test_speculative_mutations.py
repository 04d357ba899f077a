"""The classic bugs of speculative decoding, put back one at a time: the laws must catch each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import speculative_checks as laws
import torch
from model_checks import build

from gpt_model import drafts, speculative
from gpt_model.drafts import ModelDraft, Proposal
from gpt_model.sampling import Sampling
from gpt_model.speculative import Speculation

Patch = pytest.MonkeyPatch


def ratio_upside_down(patch: Patch) -> None:
    patch.setattr(speculative, "chance", lambda p, q, token: float(q[token] / p[token].clamp(min=1e-12)))


def kept_by_the_models_probability(patch: Patch) -> None:
    """u < p instead of u < p / q: refuses too often, and then what replaces a guess does not add up to p."""
    patch.setattr(speculative, "chance", lambda p, q, token: float(p[token]))


def whatever_is_possible_is_kept(patch: Patch) -> None:
    patch.setattr(speculative, "chance", lambda p, q, token: float(p[token] > 0))


def residual_forgotten(patch: Patch) -> None:
    patch.setattr(speculative, "residual", lambda p, q: p)


def residual_both_ways(patch: Patch) -> None:
    patch.setattr(speculative, "residual", lambda p, q: (p - q).abs())


def cache_not_cropped(patch: Patch) -> None:
    def forget(self: Speculation) -> None:
        self.fed = len(self.text) - 1

    patch.setattr(Speculation, "_forget_refused", forget)


def cache_cropped_one_too_little(patch: Patch) -> None:
    def forget(self: Speculation) -> None:
        self.fed = len(self.text) - 1
        if self.cache.length > self.fed + 1:
            self.cache.crop(self.fed + 1)

    patch.setattr(Speculation, "_forget_refused", forget)


def bonus_dropped(patch: Patch) -> None:
    """When all guesses are kept, the last of them is taken for the new token, and the free one thrown away."""
    real = Speculation._judge

    def judge(self: Speculation, logits: torch.Tensor, proposal: Proposal) -> tuple[int, int]:
        kept, token = real(self, logits, proposal)
        if proposal.tokens and kept == len(proposal.tokens):
            return kept - 1, proposal.tokens[-1]
        return kept, token

    patch.setattr(Speculation, "_judge", judge)


def bonus_of_the_place_before(patch: Patch) -> None:
    real = speculative.accept

    def wrong(proposal: Proposal, p: torch.Tensor, generator: torch.Generator) -> tuple[int, int]:
        late = torch.cat((p[:-1], p[-2:-1])) if len(p) > 1 else p
        return real(proposal, late, generator)

    patch.setattr(speculative, "accept", wrong)


def draft_reports_uncut_probabilities(patch: Patch) -> None:
    """Guesses are drawn after top-k, but said to come from all tokens."""
    real = ModelDraft._draw

    def draw(self, logits, written, rules, generator, prompt_length):
        token, share = real(self, logits, written, rules, generator, prompt_length)
        return token, None if share is None else logits.softmax(dim=-1)

    patch.setattr(ModelDraft, "_draw", draw)


def draft_with_another_temperature(patch: Patch) -> None:
    """The draft draws greedier than it says."""
    real = ModelDraft._draw

    def draw(self, logits, written, rules, generator, prompt_length):
        token, _ = real(self, logits, written, Sampling(temperature=0.2), generator, prompt_length)
        return token, drafts.distribution(logits, rules)

    patch.setattr(ModelDraft, "_draw", draw)


def draft_keeps_the_last_text(patch: Patch) -> None:
    """Cropped to the right length, but nobody looks whether it is the same text."""

    def rewound(self: ModelDraft, text: list[int]):
        if self.cache is None:
            self.cache = drafts.cache_with_slack(self.model, self.model.config.block_size, 5)
        self.cache.crop(min(self.cache.length, len(text) - 1))
        return self.cache

    patch.setattr(ModelDraft, "_rewound", rewound)


def rules_without_the_guesses(patch: Patch) -> None:
    real = speculative.process

    def blind(logits, rules, history=None, *, prompt_lengths=None):
        if history is not None:
            history = [history[0]] * len(history)
        return real(logits, rules, history, prompt_lengths=prompt_lengths)

    patch.setattr(speculative, "process", blind)


def greedy_judged_one_place_early(patch: Patch) -> None:
    real = Speculation._check
    patch.setattr(Speculation, "_check", lambda self, tokens: real(self, tokens).roll(1, 0))


def distribution() -> None:
    laws.check_distribution(temperature=0.6)


def greedy() -> None:
    laws.check_greedy_is_the_models_own(build(position="rope").double())


def perfect() -> None:
    laws.check_a_perfect_draft_is_never_refused(laws.GREEDY)


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (ratio_upside_down, distribution, "changed the distribution"),
    (kept_by_the_models_probability, distribution, "changed the distribution"),
    (whatever_is_possible_is_kept, distribution, "changed the distribution|always or never"),
    (residual_forgotten, distribution, "changed the distribution"),
    (residual_both_ways, distribution, "changed the distribution"),
    (bonus_of_the_place_before, lambda: laws.check_distribution(draft_tokens=1), "changed the distribution"),
    (draft_reports_uncut_probabilities, lambda: laws.check_distribution(top_k=2), "changed the distribution"),
    (draft_with_another_temperature, distribution, "changed the distribution"),
    (cache_not_cropped, greedy, "refused guess"),
    (cache_cropped_one_too_little, greedy, "refused guess"),
    (greedy_judged_one_place_early, greedy, "own"),
    (bonus_dropped, perfect, "also said what follows|refused"),
    (draft_keeps_the_last_text, laws.check_the_draft_reads_the_text, "was refused"),
    (
        rules_without_the_guesses,
        lambda: laws.check_rules_look_at_guesses(build().double(), repetition_penalty=1.6),
        "must see the guesses",
    ),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{i}-{bug.__name__}" for i, (bug, _, _) in enumerate(BUGS)]
)
def test_the_law_catches_the_bug(bug, check, word, monkeypatch):
    check()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()
