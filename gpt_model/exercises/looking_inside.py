"""The exercises of notebook 06, with their checkers: the logit lens, surprise, and who wrote an answer.

Each checker tests properties on small tensors, so any right answer passes, and knows how the step usually goes
wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is
named. Left out: hooks (`trace`), and norms with a mean, whose mean a part takes along as well.
Notebook: `06_looking_inside.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.allclose(a.double(), b.double(), atol=1e-9))
    return bool(a == b)


def _require_shape(found: Any, wanted: tuple[int, ...], words: str) -> None:
    require(isinstance(found, Tensor), f"give a tensor, not {type(found).__name__}")
    require(found.shape == wanted, f"{words}: {wanted}, but yours is {tuple(found.shape)}")


# ---------------------------------------------------------------- 1. the logit lens


def _stream(layers: int, tokens: int, width: int, vocab: int, seed: int = 0) -> tuple[Any, ...]:
    """embed, writes, gain, head: a little model's stream, its parts of different sizes."""
    writes = [(2 + i) * _normal(tokens, width, seed=seed + 10 + i) for i in range(layers)]
    gain = _normal(width, seed=seed + 2).abs() + 0.5
    return _normal(tokens, width, seed=seed + 1), writes, gain, _normal(vocab, width, seed=seed + 3)


def _check_lens(answer: Answer) -> None:
    for layers, tokens, width, vocab in ((1, 2, 4, 5), (3, 4, 6, 3)):
        embed, writes, gain, head = _stream(layers, tokens, width, vocab)
        found = answer(embed.clone(), [w.clone() for w in writes], gain, head)
        _require_shape(found, (layers + 1, tokens, vocab), "a row for the embedding and for each layer")
        require(
            torch.allclose(found.exp().sum(-1), torch.ones(layers + 1, tokens).double(), atol=1e-6),
            "give log-probabilities: over the vocabulary, their exponentials sum to 1",
        )
        stream = embed + sum(writes)
        size = (stream.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        require(
            torch.allclose(found[-1], (stream / size * gain @ head.T).log_softmax(-1), atol=1e-6),
            "the last row must be the model's own output: all writes added, normed, times the gain, through the head",
        )
        early = answer(embed.clone(), [w.clone() for w in writes[:1]], gain, head)
        require(
            torch.allclose(early, found[:2], atol=1e-6),
            "what a layer says does not depend on layers that come after it",
        )


LENS_STUB = '''
def lens(embed, writes, gain, head, eps=1e-5):
    """Log-probabilities (layers + 1, tokens, vocab). embed (tokens, width); writes: what each layer adds to it."""
    ...  # your code
'''
LENS_SOLUTION = """
import torch

def lens(embed, writes, gain, head, eps=1e-5):
    streams = torch.stack([embed, *writes]).cumsum(0)
    size = (streams.square().mean(-1, keepdim=True) + eps).sqrt()
    return (streams / size * gain @ head.T).log_softmax(-1)
"""
LENS = Exercise(
    name="lens",
    task="The stream after the embedding and after each layer, each read by RMSNorm (with its gain) and the head.",
    function="lens",
    check=_check_lens,
    stub=LENS_STUB,
    solution=LENS_SOLUTION,
    hints=(
        "A layer reads and leaves a sum: what stands in the stream after layer 2?",
        "embed + writes[0] + writes[1]: running sums, cumsum over the layers. Then the same for each of them: divide "
        "by the root mean square of the token, times gain, times head, log_softmax over the vocabulary.",
        "streams = torch.stack([embed, *writes]).cumsum(0); size = (streams.square().mean(-1, keepdim=True) + eps)"
        ".sqrt(); (streams / size * gain @ head.T).log_softmax(-1).",
    ),
    mistakes={
        "no norm": Mistake(
            LENS_SOLUTION.replace("streams / size * gain @", "streams @"),
            "you left out the final norm: the head never saw a stream of that size, and the answers are far too sure",
        ),
        "gain forgotten": Mistake(
            LENS_SOLUTION.replace(" * gain", ""),
            "you normed but forgot the gain: it stretches each feature before the head reads it",
        ),
        "writes alone": Mistake(
            LENS_SOLUTION.replace(".cumsum(0)", ""),
            "you read what each layer adds, not the stream: the lens reads the sum of everything so far",
        ),
        "norm carried on": Mistake(
            """
import torch

def lens(embed, writes, gain, head, eps=1e-5):
    def norm(x):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    rows, x = [norm(embed)], norm(embed)
    for write in writes:
        x = norm(x + write)
        rows.append(x)
    return (torch.stack(rows) * gain @ head.T).log_softmax(-1)
""",
            "you normed the stream itself and went on from there: only the copy that the head reads is normed",
        ),
        "softmax over tokens": Mistake(
            LENS_SOLUTION.replace("log_softmax(-1)", "log_softmax(1)"),
            "you normalised over the tokens: each token has a distribution of its own, over the vocabulary",
        ),
        "one size for all": Mistake(
            LENS_SOLUTION.replace("mean(-1, keepdim=True)", "mean((1, 2), keepdim=True)"),
            "you took one size for all tokens: the norm works on each token alone",
        ),
    },
    probes=lambda: [_stream(3, 4, 4, 4, seed=30), _stream(2, 3, 5, 4, seed=60)],
    same=_same,
)


# ---------------------------------------------------------------- 2. surprise


def _check_surprise(answer: Answer) -> None:
    for tokens, vocab in ((2, 3), (5, 7)):
        logits, ids = _normal(tokens, vocab, seed=tokens), torch.arange(tokens) % vocab
        found = answer(logits.clone(), ids)
        _require_shape(found, (tokens - 1,), "one number for each token but the first")
        require(
            torch.allclose(answer(logits + 3, ids), found, atol=1e-9),
            "a number that is added to all logits of a place changes nothing",
        )
        require(
            torch.allclose(answer(0 * logits, ids), torch.full((tokens - 1,), math.log(vocab)).double()),
            "a model that knows nothing is surprised by ln V nats, whatever comes",
        )
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
        require(
            torch.allclose(found.double().mean(), loss, atol=1e-9),
            "the mean surprise must be the loss: what logits[t] said of ids[t + 1]",
        )


SURPRISE_STUB = '''
def surprise(logits, ids):
    """Nats of surprise at ids[1], ids[2], …; logits (T, V) of a model that has read ids (T,). Gives T - 1 numbers."""
    ...  # your code
'''
SURPRISE_SOLUTION = """
def surprise(logits, ids):
    log_probs = logits[:-1].log_softmax(-1)
    return -log_probs.gather(-1, ids[1:, None])[:, 0]
"""
SURPRISE = Exercise(
    name="surprise",
    task="How little the model expected each token, in nats: -ln p of what came.",
    function="surprise",
    check=_check_surprise,
    stub=SURPRISE_STUB,
    solution=SURPRISE_SOLUTION,
    hints=(
        "logits[t] were made from ids[0] to ids[t]. About which token do they speak?",
        "About ids[t + 1]: leave out the last row of logits and the first id. log_softmax, then pick one number a row.",
        "-logits[:-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]",
    ),
    mistakes={
        "no shift": Mistake(
            SURPRISE_SOLUTION.replace("logits[:-1]", "logits[1:]"),
            "you asked each place about the token it has just read: logits[t] speak of ids[t + 1]",
        ),
        "shifted twice": Mistake(
            SURPRISE_SOLUTION.replace("ids[1:, None]", "ids[:-1, None]"),
            "you compared logits[t] with ids[t], the token read there: they speak of the one after it",
        ),
        "bits": Mistake(
            SURPRISE_SOLUTION.replace("[:, 0]", "[:, 0] / 0.6931471805599453"),
            "you gave bits: nats are natural logarithms, smaller by ln 2 = 0.693",
        ),
        "sign": Mistake(
            SURPRISE_SOLUTION.replace("-log_probs", "log_probs"),
            "you gave log-probabilities: surprise is their negative, 0 for what was certain",
        ),
        "probability": Mistake(
            SURPRISE_SOLUTION.replace("-log_probs", "1 - log_probs.exp()").replace("ids[1:", "ids[1:"),
            "you gave a probability, 1 - p: it cannot tell one in a thousand from one in a million; -ln p can",
        ),
        "entropy": Mistake(
            "def surprise(logits, ids):\n    p = logits[:-1].softmax(-1)\n    return -(p * p.log()).sum(-1)\n",
            "you gave the entropy: that is how surprised the model expected to be, before it saw the token",
        ),
        "best guess": Mistake(
            "def surprise(logits, ids):\n    return -logits[:-1].log_softmax(-1).amax(-1)\n",
            "you scored the likeliest token: surprise is about the one that came",
        ),
        "softmax over places": Mistake(
            SURPRISE_SOLUTION.replace("log_softmax(-1)", "log_softmax(0)"),
            "you normalised over the places: each place has a distribution of its own, over the vocabulary",
        ),
    },
    probes=lambda: [
        (_normal(5, 5, seed=7), torch.tensor([2, 0, 4, 1, 3])),
        (2 * _normal(4, 6, seed=8), torch.tensor([5, 3, 0, 2])),
    ],
    same=_same,
)


# ---------------------------------------------------------------- 3. who wrote the answer


def _attribution_case(count: int, width: int, seed: int) -> tuple[Any, ...]:
    """parts, gain, right, wrong: what was written at one place, and the head's rows for two tokens."""
    parts = _normal(count, width, seed=seed) * torch.arange(1, count + 1)[:, None]
    gain = _normal(width, seed=seed + 1).abs() + 0.5
    return parts, gain, _normal(width, seed=seed + 2), _normal(width, seed=seed + 3)


def _check_attribution(answer: Answer) -> None:
    for count, width in ((1, 4), (5, 6)):
        parts, gain, right, wrong = _attribution_case(count, width, seed=count)
        found = answer(parts.clone(), gain, right, wrong)
        _require_shape(found, (count,), "one number for each part")
        stream = parts.sum(0)
        normed = stream / (stream.square().mean() + 1e-5).sqrt() * gain
        require(
            torch.allclose(found.sum(), normed @ right - normed @ wrong, atol=1e-9),
            "the contributions must sum to the model's own difference: logit of right minus logit of wrong",
        )
        require(
            torch.allclose(answer(parts.clone(), gain, wrong, right), -found, atol=1e-9),
            "with right and wrong exchanged, every sign turns",
        )
        double = answer(torch.cat((parts / 2, parts / 2)), gain, right, wrong)
        require(
            torch.allclose(double, torch.cat((found, found)) / 2, atol=1e-9),
            "a part that is written in two halves counts as two halves: all parts share one scale",
        )
        silent = answer(torch.cat((parts, torch.zeros(1, width).double())), gain, right, wrong)
        require(bool(silent[-1].abs() < 1e-9), "a part that has written nothing has no share")
        size = (stream.square().mean() + 1e-5).sqrt()
        require(
            torch.allclose(
                found, torch.stack([p @ (gain * (right - wrong)) for p in parts]) / size, atol=1e-9
            ),
            "a part's share is its own product with the direction from wrong to right, over the size of the whole",
        )


ATTRIBUTION_STUB = '''
def attribution(parts, gain, right, wrong, eps=1e-5):
    """What each part adds to logit(right) - logit(wrong). parts (P, width) sum to the stream at one place;
    gain (width,) is the final RMSNorm's; right and wrong (width,) are the head's rows of two tokens."""
    ...  # your code
'''
ATTRIBUTION_SOLUTION = """
def attribution(parts, gain, right, wrong, eps=1e-5):
    size = (parts.sum(0).square().mean() + eps).sqrt()
    return parts / size * gain @ (right - wrong)
"""
ATTRIBUTION = Exercise(
    name="attribution",
    task="Share the difference of two logits out among the parts that were written into the stream.",
    function="attribution",
    check=_check_attribution,
    stub=ATTRIBUTION_STUB,
    solution=ATTRIBUTION_SOLUTION,
    hints=(
        "A logit is a scalar product with the normed stream, and the stream is a sum. What keeps it from falling apart "
        "into one product for each part?",
        "Only the size that the norm divides by. It is one number for the whole stream: compute it from the sum, then "
        "divide every part by it.",
        "size = (parts.sum(0).square().mean() + eps).sqrt(); parts / size * gain @ (right - wrong).",
    ),
    mistakes={
        "each part normed": Mistake(
            ATTRIBUTION_SOLUTION.replace(
                "parts.sum(0).square().mean() + eps", "parts.square().mean(-1, keepdim=True) + eps"
            ),
            "you normed each part by its own size: then a whisper counts like a shout, and the sum is not the "
            "model's. All parts are divided by the size of their sum",
        ),
        "no norm": Mistake(
            ATTRIBUTION_SOLUTION.replace("parts / size * gain", "parts"),
            "you left out the final norm: the head reads the stream divided by its size, times the gain",
        ),
        "gain forgotten": Mistake(
            ATTRIBUTION_SOLUTION.replace(" * gain", ""),
            "you forgot the gain of the final norm: it stretches each feature before the head reads it",
        ),
        "right alone": Mistake(
            ATTRIBUTION_SOLUTION.replace("(right - wrong)", "right"),
            "you looked at one logit: what raises all logits alike decides nothing. Take the difference",
        ),
        "the wrong way round": Mistake(
            ATTRIBUTION_SOLUTION.replace("right - wrong", "wrong - right"),
            "you have the sign turned: positive should speak for the right token",
        ),
        "mean instead of sum": Mistake(
            ATTRIBUTION_SOLUTION.replace("parts.sum(0)", "parts.mean(0)"),
            "you took the size of the mean of the parts: the stream is their sum",
        ),
    },
    probes=lambda: [_attribution_case(4, 6, seed=21), _attribution_case(3, 5, seed=41)],
    same=_same,
)


EXERCISES = [LENS, SURPRISE, ATTRIBUTION]

PREDICTIONS = [
    Prediction(
        "parts_of_the_stream_in_4_layers",
        9,
        "parts",
        "The embedding, and two from each of four layers: attention writes once, the feed-forward layer once.",
    ),
    Prediction(
        "surprise_of_one_in_a_thousand",
        math.log(1000),
        "nats",
        "ln 1000. Ten times less likely is always 2.3 nats more.",
    ),
    Prediction(
        "surprise_of_knowing_nothing",
        math.log(2048),
        "nats",
        "ln 2048: the vocabulary of the asset model has 2,048 tokens, all equally likely to one who knows nothing.",
    ),
]
