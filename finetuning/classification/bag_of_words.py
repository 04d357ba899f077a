"""What has to be beaten: classifiers that have read nothing but the training texts.

* `majority` always says the most frequent label. Whoever does not beat it has learned nothing.
* `tfidf` counts words and pairs of words, weighs them by how rare they are (Spärck Jones 1972) and fits a logistic
  regression: an hour of work in 1990, seconds today, and hard to beat with few words that decide.
* `embeddings` learns a vector for each word and pair and averages them, fastText's classifier (Joulin et al. 2016,
  arXiv 1607.01759). Order beyond a pair does not exist for it.

How strongly the regression is held back (C) and how long the bag is trained are chosen on the validation part, as our
own checkpoint is. The bag goes through the same loader and the same Trainer as the GPT, so only the model differs.
Left out: n-grams of letters, ensembles, support vector machines.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError

if TYPE_CHECKING:
    from finetuning.classification.data import ClassData

WORD = re.compile(r"[^\W_]+|[£$€!?]")
LENGTHS = (2.0, 5.0, 12.0)  # epochs of the bag of embeddings
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # C of the regression: larger is freer
Probabilities = NDArray[np.float64]


def majority(data: ClassData, seed: int = 0) -> Probabilities:
    """Each test text gets the labels' shares in the training part."""
    counts = np.bincount(data.numbers(data.train), minlength=len(data.labels))
    return np.tile(counts / counts.sum(), (len(data.test), 1))


def tfidf(data: ClassData, seed: int = 0) -> Probabilities:
    """TF-IDF of words and pairs of words, logistic regression, C by validation loss. Needs scikit-learn."""
    from finetuning.classification.data import texts
    from working_with_text_data.optional_packages import need

    need("sklearn", "TF-IDF with logistic regression", "classify")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD.pattern, min_df=2)
    try:
        train = words.fit_transform(texts(data.train))
    except ValueError as error:  # no word twice
        raise UserError(f"{data.name}: too few words for TF-IDF ({error}): give more texts") from None
    val, test = words.transform(texts(data.val)), words.transform(texts(data.test))
    numbers, judged = data.numbers(data.train), data.numbers(data.val)
    everything = list(range(len(data.labels)))
    found = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000).fit(train, numbers)
        found.append((log_loss(judged, model.predict_proba(val), labels=everything), strength, model))
    return np.asarray(min(found, key=lambda each: each[:2])[2].predict_proba(test))


def word_rows(texts: Sequence[str], vocabulary: dict[str, int]) -> list[list[int]]:
    """Each text as the numbers of its words and pairs of words; 0 stands for all unknown ones together."""
    rows = []
    for text in texts:
        rows.append([vocabulary[gram] for gram in grams(text) if gram in vocabulary] or [0])
    return rows


def grams(text: str) -> list[str]:
    """Words and pairs of neighbours, in lower case.

    >>> grams("Not bad!")
    ['not', 'bad', '!', 'not bad', 'bad !']
    """
    words = WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def vocabulary_of(texts: Sequence[str], least: int = 2, most: int = 50_000) -> dict[str, int]:
    """What occurs in `least` texts or more, the most frequent first, numbered from 1."""
    counts = Counter(gram for text in texts for gram in set(grams(text)))
    kept = [gram for gram, count in counts.most_common(most) if count >= least]
    return {gram: i for i, gram in enumerate(kept, start=1)}


def embeddings(data: ClassData, seed: int = 0, *, width: int = 32) -> Probabilities:
    """A mean of learned vectors and a linear map, trained by the book's Trainer; its length by validation loss."""
    from finetuning.classification.data import texts

    vocabulary = vocabulary_of(texts(data.train))
    train, val, test = (word_rows(texts(part), vocabulary) for part in (data.train, data.val, data.test))
    judged, best, found = np.asarray(data.numbers(data.val)), math.inf, np.empty(0)
    for epochs in LENGTHS:
        model = _trained_bag(train, data, len(vocabulary) + 1, width, epochs, seed)
        loss = -np.log(np.maximum(_asked(model, val)[np.arange(len(judged)), judged], 1e-12)).mean()
        if loss < best:
            best, found = float(loss), _asked(model, test)
    return found


def _trained_bag(
    rows: list[list[int]], data: ClassData, words: int, width: int, epochs: float, seed: int
) -> Any:
    from finetuning.classification.batches import ClassBatches
    from pretraining.config import TrainConfig
    from pretraining.trainer import Trainer
    from utils.seeding import set_seed

    set_seed(seed)
    model = _bag_model(words, width, len(data.labels))
    recipe = TrainConfig(
        epochs=epochs,
        batch_size=32,
        lr=0.01,
        warmup=0.05,
        weight_decay=0.01,
        eval_every=0,
        save_every=0,
        log_every=0,
        dtype="fp32",
        device="cpu",
        seed=seed,
    )
    Trainer(model, recipe, ClassBatches(rows, data.numbers(data.train), 32, seed=seed)).fit()
    return model.eval()


def _asked(model: Any, rows: list[list[int]]) -> Probabilities:
    """Probabilities (n, labels) for rows of word numbers."""
    import torch

    from finetuning.classification.batches import padded

    with torch.no_grad():
        parts = [model(padded(rows[i : i + 256])).logits.softmax(dim=-1) for i in range(0, len(rows), 256)]
    return np.asarray(torch.cat(parts).double().numpy())


def _bag_model(words: int, width: int, labels: int) -> Any:
    """The model of `embeddings`: rows of word numbers (B, T), −1 where there is none -> logits (B, labels)."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    from finetuning.classification.model import PADDING, pooled
    from gpt_model.gpt import Output

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(words, width), nn.Linear(width, labels)
            nn.init.normal_(self.table.weight, std=0.1)

        def forward(self, ids: Tensor, *, targets: Tensor | None = None) -> Output:
            means = pooled(self.table(ids.clamp(min=0)), ids != PADDING, "mean")
            logits = self.head(means)
            return Output(logits, None if targets is None else F.cross_entropy(logits, targets))

    return Bag()


BASELINES: dict[str, Callable[..., Probabilities]] = {
    "majority": majority,
    "tfidf": tfidf,
    "embeddings": embeddings,
}
