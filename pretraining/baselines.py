"""What counting alone achieves: unigram and bigram losses of the same tokens the model is judged on.

A language model has learned nothing until it beats these. Unigram: p(b) from counts with add-k smoothing.
Bigram: p(b|a) = (c(a,b) + m·p(b)) / (c(a) + m), counts interpolated with the unigram (a Dirichlet prior,
MacKay & Peto 1995); the strength m is chosen from a fixed grid on the last tenth of the *training* tokens,
so the baseline is given its best shot without seeing the validation part. Left out: longer n-grams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from utils.errors import UserError

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def _flat(tokens: Any, name: str, vocab_size: int) -> np.ndarray:
    ids = np.asarray(tokens[:]).astype(np.int64)
    if ids.size < 2:
        raise UserError(f"{name} has {ids.size} tokens, but a baseline needs 2: give more text")
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise UserError(f"{name} has id {ids.max()}, but vocab_size is {vocab_size}: use the tokenizer's own")
    return ids


def _unigram_probabilities(train: np.ndarray, vocab_size: int, k: float) -> np.ndarray:
    counts = np.bincount(train, minlength=vocab_size).astype(np.float64)
    return (counts + k) / (counts.sum() + k * vocab_size)  # (V,)


def unigram_baseline(train_tokens: Any, val_tokens: Any, vocab_size: int, *, k: float = 1.0) -> float:
    """Nats per token of val_tokens[1:] under add-k unigram counts of train_tokens.

    The first token is left out because the model cannot be asked for it either.
    """
    train = _flat(train_tokens, "the training part", vocab_size)
    val = _flat(val_tokens, "the validation part", vocab_size)
    return float(-np.log(_unigram_probabilities(train, vocab_size, k))[val[1:]].mean())


def _bigram_losses(
    train: np.ndarray, val: np.ndarray, vocab_size: int, k: float, strengths: Any
) -> list[float]:
    """Loss on val[1:] for each strength; pair counts are kept sparse, so V² memory is never needed."""
    p = _unigram_probabilities(train, vocab_size, k)
    pairs, pair_counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
    firsts = np.bincount(train[:-1], minlength=vocab_size).astype(np.float64)
    wanted = val[:-1] * vocab_size + val[1:]
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    joint = np.where(pairs[at] == wanted, pair_counts[at], 0).astype(np.float64)
    return [float(-np.log((joint + m * p[val[1:]]) / (firsts[val[:-1]] + m)).mean()) for m in strengths]


def bigram_baseline(
    train_tokens: Any, val_tokens: Any, vocab_size: int, *, k: float = 1.0, strength: float | None = None
) -> float:
    """Nats per token of val_tokens[1:] under interpolated bigram counts of train_tokens.

    `strength` is m of the module's formula; None chooses it on the last tenth of the training tokens.
    """
    train = _flat(train_tokens, "the training part", vocab_size)
    val = _flat(val_tokens, "the validation part", vocab_size)
    if strength is None:
        cut = len(train) - max(len(train) // 10, 2)
        if cut < 2:
            strength = STRENGTHS[2]
        else:
            losses = _bigram_losses(train[:cut], train[cut:], vocab_size, k, STRENGTHS)
            strength = STRENGTHS[int(np.argmin(losses))]
    return _bigram_losses(train, val, vocab_size, k, [strength])[0]
