"""Who guesses the next tokens for speculative decoding (`speculative`): something cheap that is often right.

    ModelDraft      a smaller model with the same tokenizer (a GPT given as draft becomes one)
    first_layers    the model's own first layers as such a model, without training (Zhang et al. 2023, arXiv 2309.08168,
                    choose layers; here the first)
    NgramDraft      what most often came next in a training text after the last few ids: a table, no multiplication
    PromptLookup    what came next in this very text, the last time it had these ids (Saxena 2023, prompt lookup)

A draft says with which probabilities it drew. It must be the distribution that it really drew from, with the same
cuts; the text stays exact however bad the draft is, but not if it misreports this. The last two do not draw: their
guess is certain, probability 1.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from attention_mechanisms.kv_cache import KVCache
from attention_mechanisms.registry import ATTENTIONS
from gpt_model.gpt import GPT
from gpt_model.sampling import Sampling, draw, process
from gpt_model.trace import evaluating
from utils.errors import UserError


class Proposal(NamedTuple):
    """Guessed tokens, and the distributions (n, V) each was drawn from; None: they were certain."""

    tokens: list[int]
    probabilities: Tensor | None = None

    def shares(self, index: int, like: Tensor) -> Tensor:
        """The distribution (V,) of guess `index`."""
        if self.probabilities is not None:
            return self.probabilities[index]
        certain = torch.zeros_like(like[index])
        certain[self.tokens[index]] = 1.0
        return certain


NOTHING = Proposal([])
UNSURE = -1


class Draft(Protocol):
    """What speculative decoding asks of a draft. `vocab_size` None: it only repeats ids that it was shown."""

    @property
    def vocab_size(self) -> int | None: ...

    def propose(
        self, text: list[int], count: int, rules: Sampling, generator: torch.Generator, prompt_length: int
    ) -> Proposal:
        """At most `count` tokens to follow `text`, fewer or none if it has no guess."""
        ...

    def close(self) -> None:
        """The text has ended: free what belonged to it."""
        ...


def distribution(
    logits: Tensor,
    rules: Sampling,
    history: Sequence[Sequence[int]] | None = None,
    prompt_lengths: Sequence[int] | None = None,
) -> Tensor:
    """The probabilities (n, V) that `sampling.sample` draws from, for temperatures above 0."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return process(logits, rules, history, prompt_lengths=prompt_lengths).softmax(dim=-1)


class ModelDraft:
    """A smaller model, which draws by the same rules as the model it guesses for; it has a cache of its own.

    slack: guesses that a sliding window's ring can take back.
    """

    def __init__(self, model: GPT, *, slack: int = 16) -> None:
        self.model, self.slack = model, slack
        self.cache: KVCache | None = None
        self.known: list[int] = []  # the ids that the cache holds

    @property
    def vocab_size(self) -> int | None:
        return self.model.config.vocab_size

    def close(self) -> None:
        self.cache, self.known = None, []

    @torch.inference_mode()
    def propose(
        self, text: list[int], count: int, rules: Sampling, generator: torch.Generator, prompt_length: int
    ) -> Proposal:
        """Draw token after token. Beyond its own block_size it has no guess."""
        count = min(count, self.model.config.block_size - len(text) + 1)
        if count < 1:
            return NOTHING
        cache = self._rewound(text)
        written, shares = list(text), []
        with dropout_off(self.model):
            for _ in range(count):
                new = torch.tensor([written[cache.length :]], device=self.model.device)
                logits = self.model(new, cache=cache, last_only=True).logits[:, -1]  # (1, V)
                token, share = self._draw(logits, written, rules, generator, prompt_length)
                written.append(token)
                if share is not None:
                    shares.append(share)
        self.known = written[:-1]
        return Proposal(written[len(text) :], torch.cat(shares) if shares else None)

    def _rewound(self, text: list[int]) -> KVCache:
        """The cache, holding some beginning of `text` but not its last id."""
        if self.cache is None:
            self.cache = cache_with_slack(self.model, self.model.config.block_size, self.slack + 1)
            self.known = []
        length = min(len(self.known), len(text) - 1)
        if self.known[:length] != text[:length]:  # refused guesses, or another text
            length = next(i for i, (a, b) in enumerate(zip(self.known, text)) if a != b)
        try:
            self.cache.crop(length)
        except UserError:  # a ring that has overwritten what it would need
            self.cache.reset()
        return self.cache

    def _draw(
        self,
        logits: Tensor,
        written: list[int],
        rules: Sampling,
        generator: torch.Generator,
        prompt_length: int,
    ) -> tuple[int, Tensor | None]:
        """A token, and the probabilities (1, V) it was drawn from; greedy ones are certain."""
        history, lengths = ([written], [prompt_length]) if rules.needs_history else (None, None)
        if rules.greedy:
            return int(process(logits, rules, history, prompt_lengths=lengths).argmax(dim=-1)), None
        share = distribution(logits, rules, history, lengths)
        uniform = torch.rand(1, dtype=torch.float64, generator=generator).to(share.device)
        return int(draw(share, uniform)), share


def first_layers(model: GPT, layers: int) -> GPT:
    """The model's first layers with its own embedding, final norm and head, all shared: no copy, no training.

    What a layer would answer early is what the logit lens shows (`lens`); near the end it is often right.
    """
    if not 1 <= layers <= model.config.n_layer:
        raise UserError(f"first_layers: {layers} layers of a model with {model.config.n_layer}")
    config = replace(model.config, n_layer=layers)
    with torch.device("meta"):
        short = GPT(config)
    for name, module in model.named_children():
        setattr(short, name, module)
    short.blocks = torch.nn.ModuleList(list(model.blocks)[:layers])
    return short.train(model.training)


class NgramDraft:
    """The likeliest next id after the last `order` ids of a training text, or after fewer where these are unknown.

    Where the table is not sure, it does not guess: a pass over more tokens is not quite free, and on a small model
    far from it.

    >>> draft = NgramDraft.train([[1, 2, 3, 1, 2, 3, 1, 2]], order=2)
    >>> draft.continued([9, 1, 2], 3)
    [3, 1, 2]
    """

    def __init__(self, tables: Sequence[dict[tuple[int, ...], int]]) -> None:
        # tables[n - 1]: the last n ids -> the id that most often followed, or UNSURE
        self.tables = list(tables)

    @classmethod
    def train(cls, texts: Iterable[Sequence[int]], order: int = 4, sure: float = 0.0) -> NgramDraft:
        """Count. A guess is made where an id followed a context `a` times of `n` with a / (n + 1) above `sure`.

        The 1 stands for what was not seen: after a context that occurred once, its follower is no certainty but 0.5.
        """
        if order < 1 or not 0 <= sure < 1:
            raise UserError(
                f"an n-gram draft looks at 1 id or more and is sure from 0 to 1, not {order}, {sure}"
            )
        counts: list[dict[tuple[int, ...], Counter[int]]] = [{} for _ in range(order)]
        for text in texts:
            ids = tuple(text)
            for n, table in enumerate(counts, start=1):
                for i in range(len(ids) - n):
                    table.setdefault(ids[i : i + n], Counter())[ids[i + n]] += 1

        def best(seen: Counter[int]) -> int:
            ((token, times),) = seen.most_common(1)
            return token if times / (seen.total() + 1) > sure else UNSURE

        return cls([{context: best(seen) for context, seen in table.items()} for table in counts])

    @property
    def vocab_size(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing belongs to a text."""

    def continued(self, text: Sequence[int], count: int) -> list[int]:
        """The next `count` ids by the tables; fewer when nothing is known of the last id, or nothing for sure."""
        written = list(text[-len(self.tables) :])
        start = len(written)
        for _ in range(count):
            for n in range(min(len(self.tables), len(written)), 0, -1):
                found = self.tables[n - 1].get(tuple(written[-n:]))
                if found is not None:
                    break
            else:
                break
            if found == UNSURE:
                break
            written.append(found)
        return written[start:]

    def propose(
        self, text: list[int], count: int, rules: Sampling, generator: torch.Generator, prompt_length: int
    ) -> Proposal:
        return Proposal(self.continued(text, count))


class PromptLookup:
    """What followed in this text the last time its newest ids stood there: good where an answer quotes its prompt.

    >>> PromptLookup(2).continued([5, 6, 7, 8, 5, 6], 2)
    [7, 8]
    """

    def __init__(self, order: int = 3) -> None:
        if order < 1:
            raise UserError(f"order is {order}: a look-up needs 1 id or more")
        self.order = order

    @property
    def vocab_size(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing belongs to a text."""

    def continued(self, text: Sequence[int], count: int) -> list[int]:
        """Up to `count` ids behind the newest earlier place with the same last `order` ids, or fewer of them."""
        for n in range(min(self.order, len(text) - 1), 0, -1):
            last = list(text[-n:])
            for at in range(len(text) - n - 1, -1, -1):
                if text[at] == last[0] and list(text[at : at + n]) == last:
                    return list(text[at + n : at + n + count])
        return []

    def propose(
        self, text: list[int], count: int, rules: Sampling, generator: torch.Generator, prompt_length: int
    ) -> Proposal:
        return Proposal(self.continued(text, count))


def cache_with_slack(model: GPT, capacity: int, slack: int) -> KVCache:
    """A cache of one row that can be cropped by `slack` tokens: a ring needs slots for that, others have them."""
    variant: Any = ATTENTIONS[model.config.attention]
    rings = "slack" in inspect.signature(variant.make_cache).parameters
    more = {"slack": slack} if rings else {}
    return variant.make_cache(model.config, 1, capacity, model.dtype, model.device, **more)


def dropout_off(model: GPT) -> AbstractContextManager[None]:
    """Evaluation mode for a pass; walking through all modules is only paid for where one is training."""
    return evaluating(model) if model.training else nullcontext()
