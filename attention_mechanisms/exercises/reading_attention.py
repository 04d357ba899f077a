"""The exercises of notebook 03, with their checkers: effective keys, prefix matching, and a head taken away.

The checkers use maps whose right answer can be counted on fingers. The tests prove (`utils.exercises.prove`) that the
solution passes, the stub fails and each classic mistake is named.
Left out: models (`gpt_model.trace` takes heads out of one). Notebook: `03_reading_attention.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _close(a: Any, b: Any) -> bool:
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-4, equal_nan=True))


def _numbers(value: Any, shape: tuple[int, ...], lesson: str) -> Tensor:
    require(isinstance(value, Tensor | list | float | int), f"give numbers, not {type(value).__name__}")
    tensor = torch.as_tensor(value).double()
    require(
        tuple(tensor.shape) == shape, f"{lesson}: the shape is {shape}, but yours is {tuple(tensor.shape)}"
    )
    return tensor


# ---------------------------------------------------------------- 1. how many keys, effectively


def _even_map(time: int) -> Tensor:
    """Every row shares evenly among all it may see."""
    allowed = torch.ones(time, time).tril()
    return allowed / allowed.sum(-1, keepdim=True)


def _mixed_map() -> Tensor:
    return torch.tensor(
        [[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.5, 0.25, 0], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64
    )


def _check_effective(answer: Answer) -> None:
    for time in (1, 4, 9):
        found = _numbers(answer(_even_map(time)), (time,), "one number for each row")
        require(not bool(found.isnan().any()), "a share of 0 gives NaN: 0 · ln 0 counts as 0")
        wanted = torch.arange(1, time + 1).double()
        require(
            bool(torch.allclose(found, wanted, atol=1e-3)),
            f"an even row over n keys counts n: {wanted.tolist()}, but yours {found.tolist()}",
        )
    for time in (2, 5):
        found = _numbers(answer(torch.eye(time)), (time,), "one number for each row")
        require(bool(torch.allclose(found, torch.ones(time).double())), "a row with one key counts 1")
    found = _numbers(answer(_mixed_map()), (4,), "one number for each row")
    require(
        abs(float(found[2]) - 2 * math.sqrt(2)) < 1e-3,
        f"shares of 1/4, 1/2, 1/4 count e^(1.5 ln 2) = 2.83 keys, but yours {float(found[2]):.3f}",
    )


EFFECTIVE_STUB = '''
def effective_keys(shares):
    """A map (T, T), rows summing to 1 -> (T,): e to the entropy of each row, "so many keys, effectively"."""
    ...  # your code
'''
EFFECTIVE_SOLUTION = """
import torch

def effective_keys(shares):
    entropy = -torch.xlogy(shares, shares).sum(dim=-1)
    return entropy.exp()
"""

EFFECTIVE = Exercise(
    name="effective_keys",
    task="Say of each row how many keys it spreads over, as e to its entropy.",
    function="effective_keys",
    check=_check_effective,
    stub=EFFECTIVE_STUB,
    solution=EFFECTIVE_SOLUTION,
    hints=(
        "Entropy is the mean of -ln p, each p counted as often as it occurs, that is p times.",
        "Sum over the keys of a row, and mind that ln 0 is minus infinity though 0 · ln 0 should be 0.",
        "torch.xlogy(p, p) is p ln p with 0 for p = 0; -torch.xlogy(shares, shares).sum(dim=-1), then exp().",
    ),
    mistakes={
        "zero times log zero": Mistake(
            EFFECTIVE_SOLUTION.replace("torch.xlogy(shares, shares)", "(shares * shares.log())"),
            "you multiplied 0 by ln 0, which is NaN: masked keys have a share of 0 and must count as 0",
        ),
        "other base": Mistake(
            EFFECTIVE_SOLUTION.replace(
                "torch.xlogy(shares, shares)", "(torch.xlogy(shares, shares) / 0.6931471805599453)"
            ),
            "you took the logarithm to base 2 and raised e to it: log and power must have the same base",
        ),
        "no power": Mistake(
            EFFECTIVE_SOLUTION.replace("return entropy.exp()", "return entropy"),
            "you gave the entropy itself, in nats: an even row of 8 has 2.08 nats and 8 keys",
        ),
        "sign": Mistake(
            EFFECTIVE_SOLUTION.replace("-torch", "torch"),
            "you lost the minus: ln of a share is negative, so your count is a fraction of one key",
        ),
        "columns": Mistake(
            EFFECTIVE_SOLUTION.replace("dim=-1", "dim=0"),
            "you summed over the queries: a row is who looks, so sum along it, over the keys",
        ),
        "mean": Mistake(
            EFFECTIVE_SOLUTION.replace(".sum(dim=-1)", ".mean(dim=-1)"),
            "you took the mean over all keys, masked ones too: the shares are the weights already, so sum",
        ),
        "above zero": Mistake(
            EFFECTIVE_SOLUTION.replace(
                "entropy = -torch.xlogy(shares, shares).sum(dim=-1)",
                "entropy = (shares > 0).sum(dim=-1).double().log()",
            ),
            "you counted the shares above 0: after softmax that is every key a row may see, however faint",
        ),
    },
    probes=lambda: [(_mixed_map(),), (_even_map(3).double(),), (torch.eye(3, dtype=torch.float64),)],
    same=_close,
)


# ---------------------------------------------------------------- 2. prefix matching


def _ideal(tokens: list[int], offset: int, newest_only: bool = False) -> Tensor:
    """A head that looks `offset` after the earlier copies of its token, evenly; else at place 0."""
    time = len(tokens)
    maps = torch.zeros(time, time, dtype=torch.float64)
    for q in range(time):
        keys = [k + offset for k in range(q) if tokens[k] == tokens[q] and 0 <= k + offset <= q]
        for k in keys[-1:] if newest_only else keys:
            maps[q, k] += 1.0 / len(keys[-1:] if newest_only else keys)
        if not keys:
            maps[q, 0] = 1.0
    return maps


def _uneven_map(time: int) -> Tensor:
    """A map without two equal shares."""
    scores = torch.linspace(0, 3, time * time, dtype=torch.float64).sin().view(time, time)
    return scores.masked_fill(torch.ones(time, time).triu(1).bool(), -math.inf).softmax(-1)


_TWICE = [5, 1, 7, 3, 5, 1, 7, 3]
_WITH_NEW = [9, 4, 9, 4, 2, 6, 9, 4, 8]


def _check_prefix(answer: Answer) -> None:
    for tokens in (_TWICE, _WITH_NEW):
        found = float(_numbers(answer(_ideal(tokens, 1), tokens), (), "one number for the map"))
        require(
            abs(found - 1) < 1e-4,
            f"{tokens}: a head that always looks right after the copies scores 1, but yours {found:.3f}: "
            "only rows with an earlier copy count",
        )
        found = float(torch.as_tensor(answer(_ideal(tokens, 0), tokens)))
        require(
            found < 0.3,
            f"{tokens}: looking at the copy itself is not prefix matching, but scores {found:.2f}",
        )
    newest = _ideal([1, 2, 1, 3, 1, 4], 1, newest_only=True)
    found = float(torch.as_tensor(answer(newest, [1, 2, 1, 3, 1, 4])))
    require(
        abs(found - 1) < 1e-4, f"after any earlier copy is right, the newest as well; yours gives {found:.2f}"
    )
    first = _ideal([1, 2, 1, 3, 1, 4], 1) * 0
    first[:, 1] = 1.0  # after the oldest copy
    first[:2] = 0.0
    first[0, 0] = first[1, 0] = 1.0
    found = float(torch.as_tensor(answer(first, [1, 2, 1, 3, 1, 4])))
    require(
        abs(found - 1) < 1e-4,
        f"after the oldest copy is right too: every copy counts; yours gives {found:.2f}",
    )
    found = float(torch.as_tensor(answer(_even_map(8).double(), _TWICE)))
    wanted = sum(1 / (q + 1) for q in range(4, 8)) / 4
    require(
        abs(found - wanted) < 1e-3,
        f"an even head scores the mean share of one key, {wanted:.3f}, but yours {found:.3f}",
    )


PREFIX_STUB = '''
def prefix_matching(shares, tokens):
    """A map (T, T) and its T tokens -> mean share on keys right after an earlier copy of the query's token.

    The mean goes over the queries that have an earlier copy.
    """
    ...  # your code
'''
PREFIX_SOLUTION = """
def prefix_matching(shares, tokens):
    found = []
    for q in range(len(tokens)):
        keys = [k + 1 for k in range(q) if tokens[k] == tokens[q]]
        if keys:
            found.append(float(shares[q, keys].sum()))
    return sum(found) / len(found)
"""

PREFIX = Exercise(
    name="prefix_matching",
    task="Score how much a head looks at what came after the last time.",
    function="prefix_matching",
    check=_check_prefix,
    stub=PREFIX_STUB,
    solution=PREFIX_SOLUTION,
    hints=(
        "For the second A in … A B … A the place to look is B: one to the right of the copy.",
        "Go through the queries q. The copies are the k < q with tokens[k] == tokens[q]; the keys are k + 1.",
        "Sum shares[q, k + 1] over all copies; average over the queries that have a copy, and over no others.",
    ),
    mistakes={
        "the copy itself": Mistake(
            PREFIX_SOLUTION.replace("[k + 1 for", "[k for"),
            "you looked at the copy itself: that is a same-token head, which knows where but not what comes next",
        ),
        "before the copy": Mistake(
            PREFIX_SOLUTION.replace("[k + 1 for k in range(q)", "[k - 1 for k in range(1, q)"),
            "you looked at the token before the copy: what followed stands one to the right",
        ),
        "every row": Mistake(
            PREFIX_SOLUTION.replace("len(found)", "len(tokens)"),
            "you divided by all the rows: a token that is new has no copy, so its row says nothing about the head",
        ),
        "newest copy": Mistake(
            PREFIX_SOLUTION.replace("shares[q, keys]", "shares[q, keys[-1:]]"),
            "you counted the newest copy only: a head may look after any of them",
        ),
        "transposed": Mistake(
            PREFIX_SOLUTION.replace("shares[q, keys]", "shares[keys, q]"),
            "you took columns for queries: rows look, columns are looked at",
        ),
        "mean of keys": Mistake(
            PREFIX_SOLUTION.replace("shares[q, keys].sum()", "shares[q, keys].mean()"),
            "you averaged over the copies of a row: shares on different copies add up",
        ),
    },
    probes=lambda: [
        (_uneven_map(9), _WITH_NEW),
        (_ideal(_WITH_NEW, 1), _WITH_NEW),
        (_ideal(_WITH_NEW, 0), _WITH_NEW),
        (_even_map(9).double(), _WITH_NEW),
        (_even_map(8).double(), _TWICE),
    ],
    same=_close,
)


# ---------------------------------------------------------------- 3. take a head away


def _outputs(batch: int, time: int, n_head: int, head_dim: int) -> Tensor:
    """Head outputs side by side (batch, time, n_head · head_dim) whose numbers say where they stand."""
    b, t, c = torch.arange(batch), torch.arange(time), torch.arange(n_head * head_dim)
    return (10_000 * b[:, None, None] + 100 * t[None, :, None] + c[None, None, :]).double()


def _check_without(answer: Answer) -> None:
    for batch, time, n_head, head_dim in ((2, 3, 3, 2), (1, 5, 2, 4), (3, 2, 4, 1)):
        for head in range(n_head):
            y = _outputs(batch, time, n_head, head_dim)
            before = y.clone()
            found = _numbers(answer(y, head, n_head), tuple(y.shape), "the same shape as y")
            require(
                torch.equal(y, before),
                "you changed y itself: the next head would be measured on a broken model",
            )
            mine = slice(head * head_dim, (head + 1) * head_dim)
            rest = [c for c in range(n_head * head_dim) if not mine.start <= c < mine.stop]
            require(
                torch.equal(found[..., rest], y[..., rest]),
                f"taking away head {head} of {n_head} must leave the other heads' channels as they are",
            )
            usual = y[..., mine].mean(dim=(0, 1))
            require(
                bool(torch.allclose(found[..., mine], usual.expand(batch, time, head_dim))),
                f"head {head} should say everywhere what it says on average over texts and tokens, "
                f"{usual.tolist()}, but says {found[0, 0, mine].tolist()}",
            )


WITHOUT_STUB = '''
def without_head(y, head, n_head):
    """y (B, T, n_head · D), the heads' outputs side by side -> the same, but `head` always says its mean.

    The mean over all texts and tokens: what this head says when nobody knows what it looked at.
    """
    ...  # your code
'''
WITHOUT_SOLUTION = """
def without_head(y, head, n_head):
    heads = y.unflatten(-1, (n_head, -1)).clone()
    heads[..., head, :] = heads[..., head, :].mean(dim=(0, 1))
    return heads.flatten(-2)
"""

WITHOUT = Exercise(
    name="without_head",
    task="Take one head away by replacing what it says by what it says on average.",
    function="without_head",
    check=_check_without,
    stub=WITHOUT_STUB,
    solution=WITHOUT_SOLUTION,
    hints=(
        "Heads stand side by side in the channels: head 0 has the first D of them.",
        "Cut the channels into (n_head, D), copy, and write into the place of this head, for all texts and tokens.",
        "heads = y.unflatten(-1, (n_head, -1)).clone(), then heads[..., head, :] = its mean over dim=(0, 1).",
    ),
    mistakes={
        "in place": Mistake(
            WITHOUT_SOLUTION.replace(".clone()", ""),
            "you wrote into y: unflatten is a view, so take a clone, or the model stays broken for the next head",
        ),
        "zero": Mistake(
            WITHOUT_SOLUTION.replace("heads[..., head, :].mean(dim=(0, 1))", "0.0"),
            "you wrote zeros, which may be far from anything the model has met: the mean was asked for",
        ),
        "mean of a text": Mistake(
            WITHOUT_SOLUTION.replace("mean(dim=(0, 1))", "mean(dim=1, keepdim=True)"),
            "you averaged over the tokens of each text by itself: what the head found in this text is still in it",
        ),
        "mean of the heads": Mistake(
            WITHOUT_SOLUTION.replace("heads[..., head, :].mean(dim=(0, 1))", "heads.mean(dim=-2)"),
            "you put in the mean of all heads: that is what the others say, not what this one says",
        ),
        "every n-th channel": Mistake(
            WITHOUT_SOLUTION.replace("(n_head, -1)", "(-1, n_head)").replace(
                "[..., head, :]", "[..., :, head]"
            ),
            "you took every n-th channel: those belong to all the heads, whose channels are neighbours",
        ),
        "all but one": Mistake(
            WITHOUT_SOLUTION.replace(
                "heads[..., head, :] = heads[..., head, :].mean(dim=(0, 1))",
                "heads[..., [h for h in range(n_head) if h != head], :] = "
                "heads[..., [h for h in range(n_head) if h != head], :].mean(dim=(0, 1))",
            ),
            "you kept this head and took away all the others",
        ),
    },
    probes=lambda: [(_outputs(2, 3, 3, 2), 1, 3), (_outputs(2, 4, 3, 3), 2, 3)],
    same=lambda a, b: _close(a, b),
)

EXERCISES = [EFFECTIVE, PREFIX, WITHOUT]

PREDICTIONS = [
    Prediction(
        "effective_keys_of_a_half_and_two_quarters",
        2 * math.sqrt(2),
        "keys",
        because="Three keys have a share, but not the same: e to the entropy lies between 2 and 3.",
    ),
    Prediction(
        "loss_of_a_new_token",
        math.log(64),
        "nats",
        because="ln 64: with 64 kinds and no clue, each has one chance in 64.",
    ),
]
