"""The rules that bend a distribution before one draws from it: each a pure function, all of them in one chain.

The idea: a rule takes logits (rows, vocabulary) and returns logits; a forbidden token gets -inf. The order of the
chain is fixed, because it changes the result:

    penalties   repetition_penalty, presence_penalty, frequency_penalty     on the model's own logits
    wishes      logit_bias
    bans        no_repeat_ngram_size, bad_words, min_new_tokens, vocab_limit
    shape       temperature, top_k, top_p, min_p        cuts see what temperature made, and only allowed tokens

What a rule looks at is part of its meaning. Whole history, prompt included: repetition_penalty, no_repeat_ngram_size,
bad_words. Generated ids only: presence_penalty and frequency_penalty (as in OpenAI's API) and min_new_tokens.

Top-k: Fan et al. 2018 (arXiv 1805.04833). Top-p: Holtzman et al. 2019 (arXiv 1904.09751, section 3.1). Min-p: Nguyen
et al. 2024 (arXiv 2407.01082). Repetition penalty: Keskar et al. 2019 (arXiv 1909.05858, section 4.1). No repeated
n-gram: Paulus et al. 2017 (arXiv 1705.04304, section 2.5). Left out: typical, eta, mirostat. Notebook: 04.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from utils.errors import UserError

if TYPE_CHECKING:
    from gpt_model.sampling import Sampling

Rows = Sequence[Sequence[int]]  # ids of each row


# Shape: temperature and cuts ------------------------------------------------------------------------


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """logits / temperature, for temperature > 0."""
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep exactly min(k, V) of the largest logits of each row (..., V); the rest become -inf.

    Exactly k also when values tie: indices are kept, not "everything at least as large as the k-th".
    """
    if k >= logits.size(-1):
        return logits
    values, indices = logits.topk(k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter_(-1, indices, values)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens of each row (..., V) whose probability reaches p.

    The token that crosses the threshold is kept, so at least one always is.
    """
    if p >= 1:
        return logits
    left = int((logits > -torch.inf).sum(dim=-1).max())  # all, or what an earlier rule allows
    if left > 1024 and logits.device.type == "cpu":
        rows = [_top_p_of_a_row(row, p) for row in logits.reshape(-1, logits.size(-1))]
        return torch.stack(rows).view_as(logits)
    ordered, indices = logits.topk(left, dim=-1)  # (..., left), likeliest first
    shares = ordered.softmax(dim=-1)
    before = shares.cumsum(dim=-1) - shares  # probability of everything likelier than this token
    kept = ordered.masked_fill(before >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter_(-1, indices, kept)


def _top_p_of_a_row(logits: Tensor, p: float, bins: int = 4096, span: float = 32.0) -> Tensor:
    """`top_p_filter` of one long row (V,) without sorting it: an eighth of the time at 50,000 tokens.

    Logits fall into bins by their distance from the largest, `span` nats in all (the last bin takes the rest). The
    bin in which the probability reaches p is found from their sums; only its few tokens are put in order.
    """
    shares = logits.softmax(dim=0)
    bin_of = ((logits.max() - logits) * (bins / span)).clamp_(max=bins - 1).long()
    upto = torch.bincount(bin_of, weights=shares, minlength=bins).cumsum(dim=0)
    crossing = min(int((upto < p).sum()), bins - 1)
    inside = (bin_of == crossing).nonzero()[:, 0]
    inside = inside[logits[inside].argsort(descending=True, stable=True)]
    before = shares[inside].cumsum(dim=0) - shares[inside]
    if crossing:
        before += upto[crossing - 1]
    kept = inside[before < p]
    return logits.masked_fill(bin_of >= crossing, -torch.inf).index_copy_(0, kept, logits[kept])


def min_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens of each row (..., V) that are at least p times as likely as the likeliest one.

    Where the model is sure, few are left; where it is not, many: the threshold follows the model's confidence.

    >>> min_p_filter(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), 0.4).isfinite().tolist()
    [True, True, False, False]
    """
    if p <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(p), -torch.inf)


# Penalties ------------------------------------------------------------------------------------------


def penalise_repetition(logits: Tensor, history: Any, penalty: float) -> Tensor:
    """Make the tokens of `history` less likely: positive logits are divided, negative ones multiplied.

    logits (B, V) with one history a row, or (V,) with one; each token counts once however often it occurred.
    Dividing a negative logit would make it likelier, hence the two signs.

    >>> penalise_repetition(torch.tensor([2.0, -2.0, 1.0]), [0, 1, 1], 2.0).tolist()
    [1.0, -4.0, 1.0]
    """
    if logits.dim() == 1:
        return penalise_repetition(logits[None], [history], penalty)[0]
    rows, ids = _flat(history, logits)
    values = logits[rows, ids]  # (all ids,); an id that stands twice is computed twice, from the same logit
    return logits.index_put((rows, ids), torch.where(values > 0, values / penalty, values * penalty))


def penalise_presence(logits: Tensor, generated: Rows, penalty: float) -> Tensor:
    """Subtract `penalty` from every token that stands in the generated ids of its row, however often."""
    return _subtract_counts(logits, generated, lambda counts: penalty * (counts > 0))


def penalise_frequency(logits: Tensor, generated: Rows, penalty: float) -> Tensor:
    """Subtract `penalty` from a token once for every time it stands in the generated ids of its row."""
    return _subtract_counts(logits, generated, lambda counts: penalty * counts)


def add_bias(logits: Tensor, bias: Iterable[tuple[int, float]]) -> Tensor:
    """Add a number to the logits of some tokens, in every row; -inf forbids one."""
    pairs = tuple(bias)
    ids = [token for token, _ in pairs]
    _check_ids("logit_bias", ids, logits)
    amounts = torch.tensor([amount for _, amount in pairs], dtype=logits.dtype, device=logits.device)
    index = torch.tensor(ids, dtype=torch.long, device=logits.device)
    return logits.index_add(-1, index, amounts.expand(*logits.shape[:-1], -1))


# Bans -----------------------------------------------------------------------------------------------


def ban_repeated_ngrams(logits: Tensor, history: Rows, size: int) -> Tensor:
    """Forbid every token that would complete an n-gram of `size` ids which its row holds already."""
    banned: list[Sequence[int]] = []
    for row in history:
        if len(row) < size:
            banned.append(())
            continue
        ids = torch.as_tensor(row)
        ngrams = ids.unfold(0, size, 1)  # (len(row) - size + 1, size)
        # Its first size - 1 ids are the row's last ones: its last id must not come again.
        again = (ngrams[:, :-1] == ids[len(row) - size + 1 :]).all(dim=1)
        banned.append(ngrams[again, -1].tolist())
    return ban(logits, banned)


def ban_words(logits: Tensor, history: Rows, words: tuple[tuple[int, ...], ...]) -> Tensor:
    """Forbid the last id of a sequence where all ids before it have just been written; single ids always."""
    _check_ids("bad_words", [token for word in words for token in word], logits)
    alone, after = _words_by_second_last(words)
    banned = []
    for row in history:
        ends = (
            [word[-1] for word in after.get(row[-1], ()) if tuple(row[1 - len(word) :]) == word[:-1]]
            if len(row)
            else []
        )
        banned.append([*alone, *ends])
    return ban(logits, banned)


def ban_early_end(logits: Tensor, generated: Rows, minimum: int, end_ids: Sequence[int]) -> Tensor:
    """Forbid the ids that end a text in every row that has generated fewer than `minimum` ids."""
    known = [token for token in end_ids if token < logits.size(-1)]
    return ban(logits, [known if len(row) < minimum else () for row in generated])


def limit_vocabulary(logits: Tensor, limit: int) -> Tensor:
    """Forbid every id from `limit` on: rows of the embedding that stand for no token."""
    if limit >= logits.size(-1):
        return logits
    logits = logits.clone()
    logits[..., limit:] = -torch.inf
    return logits


def ban(logits: Tensor, ids: Rows) -> Tensor:
    """-inf for the given ids of each row of logits (B, V)."""
    if not any(len(row) for row in ids):
        return logits
    return logits.index_put(_flat(ids, logits), logits.new_tensor(-torch.inf))


# The chain ------------------------------------------------------------------------------------------


class Texts(NamedTuple):
    """What the rules may look at: all ids of each row so far, and how many at its start are the prompt."""

    history: Rows
    prompt_lengths: Sequence[int] | None

    @property
    def generated(self) -> Rows:
        """The ids behind each row's prompt."""
        if self.prompt_lengths is None:
            raise UserError(
                "presence_penalty, frequency_penalty and min_new_tokens count generated ids only: pass prompt_lengths"
            )
        return [row[start:] for row, start in zip(self.history, self.prompt_lengths, strict=True)]


class Rule(NamedTuple):
    """One link of the chain. `looks_at` is "nothing", "history" or "generated"."""

    name: str  # the setting that switches it on
    looks_at: str
    active: Callable[[Sampling], bool]
    apply: Callable[[Tensor, Any, Texts], Tensor]  # (logits (B, V), the settings, texts) -> logits
    reorders: bool = True  # may change which token is likeliest, so a greedy choice needs it too


# fmt: off
CHAIN: tuple[Rule, ...] = (
    Rule("repetition_penalty", "history", lambda s: s.repetition_penalty != 1,
         lambda x, s, t: penalise_repetition(x, t.history, s.repetition_penalty)),
    Rule("presence_penalty", "generated", lambda s: s.presence_penalty != 0,
         lambda x, s, t: penalise_presence(x, t.generated, s.presence_penalty)),
    Rule("frequency_penalty", "generated", lambda s: s.frequency_penalty != 0,
         lambda x, s, t: penalise_frequency(x, t.generated, s.frequency_penalty)),
    Rule("logit_bias", "nothing", lambda s: bool(s.logit_bias),
         lambda x, s, t: add_bias(x, s.logit_bias)),
    Rule("no_repeat_ngram_size", "history", lambda s: s.no_repeat_ngram_size is not None,
         lambda x, s, t: ban_repeated_ngrams(x, t.history, s.no_repeat_ngram_size)),
    Rule("bad_words", "history", lambda s: bool(s.bad_words),
         lambda x, s, t: ban_words(x, t.history, s.bad_words)),
    Rule("min_new_tokens", "generated", lambda s: s.min_new_tokens > 0 and bool(s.end_ids),
         lambda x, s, t: ban_early_end(x, t.generated, s.min_new_tokens, s.end_ids)),
    Rule("vocab_limit", "nothing", lambda s: s.vocab_limit is not None,
         lambda x, s, t: limit_vocabulary(x, s.vocab_limit)),
    Rule("temperature", "nothing", lambda s: s.temperature != 1,
         lambda x, s, t: apply_temperature(x, s.temperature), reorders=False),
    Rule("top_k", "nothing", lambda s: s.top_k is not None,
         lambda x, s, t: top_k_filter(x, s.top_k), reorders=False),
    Rule("top_p", "nothing", lambda s: s.top_p is not None,
         lambda x, s, t: top_p_filter(x, s.top_p), reorders=False),
    Rule("min_p", "nothing", lambda s: s.min_p is not None,
         lambda x, s, t: min_p_filter(x, s.min_p), reorders=False),
)
# fmt: on


def active_rules(sampling: Sampling) -> list[Rule]:
    """The links of the chain that these settings switch on, in order; a greedy choice needs no shape."""
    return [rule for rule in CHAIN if rule.active(sampling) and (rule.reorders or not sampling.greedy)]


def steps(logits: Tensor, sampling: Sampling, texts: Texts) -> Iterator[tuple[str, Tensor]]:
    """The name of each active rule with the logits (B, V) behind it: what a figure of the chain shows."""
    for rule in active_rules(sampling):
        logits = rule.apply(logits, sampling, texts)
        yield rule.name, logits


# Helpers --------------------------------------------------------------------------------------------


def bad_word_ids(tokenizer: Any, words: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Words as `Sampling.bad_words` wants them: the ids of each, with and without a space before it.

    A tokenizer may spell a text in several ways; a model that picks a rarer one can still write the word.
    """
    spellings = [spelling for word in words for spelling in (word, " " + word) if word]
    return tuple(dict.fromkeys(tuple(tokenizer.encode_ordinary(spelling)) for spelling in spellings))


def _flat(ids: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of each row -> the row number and the id of every one of them, both (all ids,)."""
    if len(ids) != logits.size(0):
        raise UserError(
            f"{logits.size(0)} rows of logits came with the ids of {len(ids)} rows: give one list a row"
        )
    rows = torch.arange(len(ids)).repeat_interleave(torch.tensor([len(row) for row in ids]))
    flat = torch.cat([torch.as_tensor(row, dtype=torch.long) for row in ids])
    return rows.to(logits.device), flat.to(logits.device)


def _subtract_counts(logits: Tensor, ids: Rows, penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """Subtract penalty(how often) from each id of each row, once an id."""
    rows, flat = _flat(ids, logits)
    places, counts = (rows * logits.size(-1) + flat).unique(return_counts=True)
    changed = logits.clone()
    changed.view(-1)[places] -= penalty(counts)
    return changed


def _check_ids(name: str, ids: Sequence[int], logits: Tensor) -> None:
    if ids and max(ids) >= logits.size(-1):
        raise UserError(f"{name} names id {max(ids)} but the model knows 0 to {logits.size(-1) - 1}")


@lru_cache(maxsize=64)
def _words_by_second_last(
    words: tuple[tuple[int, ...], ...],
) -> tuple[list[int], dict[int, list[tuple[int, ...]]]]:
    """Single ids, and longer sequences by the id that stands before their last: most steps then look at none."""
    after: dict[int, list[tuple[int, ...]]] = {}
    for word in words:
        if len(word) > 1:
            after.setdefault(word[-2], []).append(word)
    return [word[0] for word in words if len(word) == 1], after
