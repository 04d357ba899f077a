"""Speculative decoding: a cheap draft guesses several tokens, the model checks them all in one pass.

    for token in stream_speculative(model, draft, ids, max_new_tokens=100):
        ...

    python -m gpt_model.speculative ckpt=assets draft=ngram      measure it against plain generation

The idea: a forward pass over five tokens costs hardly more than over one, because reading the weights is what costs.
So let something cheap (`drafts`) propose k tokens, run the model once over all of them, and keep those that it
would have written itself. Token x, drawn from the draft's distribution q, is kept with probability

    min(1, p(x) / q(x))          p: the model's own distribution there, after temperature, cuts and penalties

The first one that is refused is replaced by a draw from what q left short, max(p - q, 0) normalised; where all are
kept, the same pass has given one more token for nothing. Every token is then distributed exactly as p, whatever
the draft; a bad one costs time and changes no text (Leviathan et al. 2023, arXiv 2211.17192, section 2.3; Chen et al.
2023, arXiv 2302.01318). Greedy writing gives the very ids of `generate` (where two logits are no closer than the
rounding of a pass over several tokens); drawn ids differ from those of `generate` with the same seed, because more
random numbers are used, but not in distribution.

What the model had cached of refused tokens is cropped. Left out: several rows in one pass, trees of drafts.
"""

if __name__ == "__main__":  # first of all, so that --help need not wait for torch
    from gpt_model.benchmark_speculative import main
    from utils.cli import run_main

    raise SystemExit(run_main(main))

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from gpt_model.drafts import NOTHING, Draft, ModelDraft, Proposal, cache_with_slack, distribution, dropout_off
from gpt_model.gpt import GPT
from gpt_model.request import DEFAULT, Request, check_request
from gpt_model.sampling import Sampling, draw, make_generators, process
from utils.errors import UserError


@dataclass
class Statistics:
    """What speculation has gained so far; pass one in, read it any time."""

    passes: int = 0  # forward passes of the model, the one over the prompt included
    proposed: int = 0  # tokens that a draft has guessed
    accepted: int = 0  # of these, kept
    tokens: int = 0  # all new tokens

    @property
    def acceptance_rate(self) -> float:
        """Share of guesses that were kept, 0 to 1."""
        return self.accepted / self.proposed if self.proposed else 0.0

    @property
    def tokens_per_pass(self) -> float:
        """New tokens for each pass of the model; 1 without a draft."""
        return self.tokens / self.passes if self.passes else 0.0


def generate_speculative(
    model: GPT,
    draft: GPT | Draft,
    ids: Tensor | Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    draft_tokens: int = 4,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    stop_event: threading.Event | None = None,
    statistics: Statistics | None = None,
) -> list[list[int]]:
    """Continue every prompt as `generate` does, row after row: the new ids of each."""
    prompts = ids.tolist() if isinstance(ids, Tensor) else ids
    if any(isinstance(prompt, int) for prompt in prompts):
        raise UserError(
            "generate_speculative continues a batch but one row of ids came: put it into a list, [ids]"
        )
    rows = []
    for i, prompt in enumerate(prompts):
        seed = None if sampling.seed is None else (sampling.seed + i) % 2**64
        rows.append(
            list(
                stream_speculative(
                    model, draft, prompt, max_new_tokens=max_new_tokens, draft_tokens=draft_tokens,
                    sampling=replace(sampling, seed=seed), stop_ids=stop_ids, on_overflow=on_overflow,
                    stop_event=stop_event, statistics=statistics,
                )
            )
        )  # fmt: skip
    return rows


def stream_speculative(
    model: GPT,
    draft: GPT | Draft,
    ids: Tensor | Sequence[int],
    *,
    max_new_tokens: int,
    draft_tokens: int = 4,
    sampling: Sampling = DEFAULT,
    stop_ids: Collection[int] = (),
    on_overflow: str = "error",
    stop_event: threading.Event | None = None,
    statistics: Statistics | None = None,
) -> Iterator[int]:
    """The new ids of one prompt (T,) or (1, T); several arrive together when guesses were good.

    draft: a smaller model of the same vocabulary, or anything that proposes (`drafts`). draft_tokens: guesses a
    pass. Everything else as for `generation.stream`; bad input raises here, before the first token.
    """
    prompt = torch.as_tensor(ids)
    prompt = prompt[None] if prompt.dim() == 1 else prompt
    if len(prompt) != 1:
        raise UserError(f"stream_speculative continues one prompt but {len(prompt)} came")
    if draft_tokens < 1:
        raise UserError(f"draft_tokens is {draft_tokens}: it must be at least 1")
    text = [int(token) for token in prompt[0].tolist()]
    request = Request(text, max_new_tokens, sampling, stop_ids, on_overflow=on_overflow)
    check_request(request, text, model, 1, "the prompt")
    speculation = Speculation(
        model, draft, request, draft_tokens, Statistics() if statistics is None else statistics
    )
    return speculation.run(stop_event)


class Speculation:
    """One text on its way. `text` is prompt and new ids, of which the model's cache holds the first `fed`."""

    def __init__(
        self, model: GPT, draft: GPT | Draft, request: Request, draft_tokens: int, statistics: Statistics
    ) -> None:
        self.model, self.request, self.count, self.statistics = model, request, draft_tokens, statistics
        self.draft: Draft = ModelDraft(draft, slack=draft_tokens) if isinstance(draft, GPT) else draft
        if self.draft.vocab_size not in (None, model.config.vocab_size):
            raise UserError(
                f"the draft knows {self.draft.vocab_size} ids but the model {model.config.vocab_size}: "
                "take a draft that was trained with the model's tokenizer"
            )
        self.rules = replace(request.sampling, seed=None).with_end_ids(sorted(set(request.stop_ids)))
        self.generator = make_generators(request.sampling.seed, 1)[0]
        self.text, self.prompt_length = list(request.ids), len(request.ids)
        self.cache: KVCache | None = None
        self.fed = 0

    def run(self, stop_event: threading.Event | None = None) -> Iterator[int]:
        """The new ids, until the request ends."""
        stop_ids, left = frozenset(self.request.stop_ids), self.request.max_new_tokens
        try:
            while left:
                if self.request.on_overflow == "stop" and len(self.text) > self.model.config.block_size:
                    return
                for token in self.round(left):
                    if token in stop_ids or (stop_event is not None and stop_event.is_set()):
                        return
                    left -= 1
                    self.statistics.tokens += 1
                    yield token
        finally:
            self.cache = None  # the memory goes with the request, however it ends
            self.draft.close()

    @torch.inference_mode()
    def round(self, left: int) -> list[int]:
        """Guess, check in one pass, keep: from one to `count` + 1 new tokens, at most `left`."""
        block = self.model.config.block_size
        count = min(self.count, left - 1, block - len(self.text))
        proposal = NOTHING  # the prompt is read without guesses: of its logits only the last are needed
        if self.fed and count > 0:
            proposal = self.draft.propose(self.text, count, self.rules, self.generator, self.prompt_length)
        logits = self._check(proposal.tokens)
        kept, token = self._judge(logits, proposal)
        self.text += [*proposal.tokens[:kept], token]
        self._forget_refused()
        self.statistics.passes += 1
        self.statistics.proposed += len(proposal.tokens)
        self.statistics.accepted += kept
        return self.text[len(self.text) - kept - 1 :]

    def _check(self, tokens: Sequence[int]) -> Tensor:
        """The model's logits (len(tokens) + 1, V) for the place of each guess and the one behind them."""
        if len(self.text) > self.model.config.block_size:  # a slid text is a new one: no key is of use
            window = self.text[-self.model.config.block_size :]
            return self._forward(window, None, last_only=True)
        if self.cache is None:
            reach = min(
                self.model.config.block_size, len(self.text) + self.request.max_new_tokens + self.count
            )
            self.cache = cache_with_slack(self.model, reach, self.count + 1)
        return self._forward([*self.text[self.fed :], *tokens], self.cache, last_only=not tokens)

    def _forward(self, ids: Sequence[int], cache: KVCache | None, *, last_only: bool) -> Tensor:
        batch = torch.tensor([ids], device=self.model.device)
        with dropout_off(self.model):
            return self.model(batch, cache=cache, last_only=last_only).logits[0]

    def _judge(self, logits: Tensor, proposal: Proposal) -> tuple[int, int]:
        """How many guesses are kept, and the token behind them."""
        places = range(len(proposal.tokens) + 1)
        history = lengths = None
        if self.rules.needs_history:
            history = [[*self.text, *proposal.tokens[:i]] for i in places]
            lengths = [self.prompt_length] * len(places)
        if self.rules.greedy:
            logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
            own = process(logits, self.rules, history, prompt_lengths=lengths).argmax(dim=-1).tolist()
            kept = next((i for i, token in enumerate(proposal.tokens) if token != own[i]), len(own) - 1)
            return kept, own[kept]
        p = distribution(logits, self.rules, history, lengths)
        return accept(proposal, p, self.generator)

    def _forget_refused(self) -> None:
        """The cache keeps what is text; its newest token is fed with the next guesses."""
        if self.cache is None or len(self.text) - 1 > self.cache.capacity:
            return
        self.fed = len(self.text) - 1
        if self.cache.length > self.fed:
            self.cache.crop(self.fed)


def accept(proposal: Proposal, p: Tensor, generator: torch.Generator) -> tuple[int, int]:
    """How many tokens are kept, and the one behind them; p (n + 1, V) are the model's own distributions."""
    n = len(proposal.tokens)
    uniforms = torch.rand(
        n + 1, dtype=torch.float64, generator=generator
    )  # one for each decision, one for the draw
    for i, (token, uniform) in enumerate(zip(proposal.tokens, uniforms.tolist())):
        q = proposal.shares(i, p)
        if uniform >= chance(p[i], q, token):
            return i, pick(residual(p[i], q), p[i], uniforms[n:])
    return n, pick(p[n], p[n], uniforms[n:])


def chance(p: Tensor, q: Tensor, token: int) -> float:
    """The probability to keep a token that was drawn from q (V,): p / q; 1 and more is always.

    >>> chance(torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5]), 0)
    0.5
    """
    return float(p[token]) / float(q[token])


def residual(p: Tensor, q: Tensor) -> Tensor:
    """Where the draft has too little, (V,), not normalised: what a refused token is replaced from.

    Kept tokens make up min(p, q); together with this it is p.
    """
    return (p - q).clamp(min=0)


def pick(weights: Tensor, otherwise: Tensor, uniform: Tensor) -> int:
    """One token by weights (V,); by `otherwise` if rounding has left nothing (p and q equal to the last bits)."""
    weights = weights if float(weights.sum()) > 0 else otherwise
    return int(draw(weights[None], uniform.to(weights.device)))
