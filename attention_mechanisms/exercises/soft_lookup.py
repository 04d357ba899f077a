"""The exercises of notebook 01, with their checkers: a soft lookup for one query, and attention for many.

Each checker tests properties of the answer (it is a mean, it follows the closest key, it stays finite, it ignores
what is forbidden), so any right answer passes, and it knows how attention usually goes wrong. The tests prove
(`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: heads, and queries that may look at nobody (notebook 02). Notebook: `01_attention_as_soft_lookup.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def same_numbers(a: Any, b: Any) -> bool:
    """Equal shapes and numbers, up to rounding; NaN equals NaN, so that a mistake may consist in making some."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return a.shape == b.shape and bool(
        torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)
    )


def _numbers(shape: tuple[int, ...], seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _shaped(value: Any, shape: tuple[int, ...]) -> Tensor:
    require(
        isinstance(value, Tensor | list | tuple),
        f"give a tensor of shape {shape}, not {type(value).__name__}",
    )
    tensor = torch.as_tensor(value)
    require(tuple(tensor.shape) == shape, f"the answer has shape {shape}; yours has {tuple(tensor.shape)}")
    return tensor


# ---------------------------------------------------------------- 1. one query


def _check_lookup(answer: Answer) -> None:
    values = torch.tensor([[1.0, 0.0, 4.0], [3.0, 8.0, 0.0]])
    even = _shaped(answer(torch.zeros(2), torch.eye(2), values), (3,))
    require(
        same_numbers(even, values.mean(0)),
        f"a query that fits no key better than another gets the plain mean {values.mean(0).tolist()}, "
        f"not {even.tolist()}",
    )
    pulled = _shaped(answer(torch.tensor([math.log(3.0), 0.0]), torch.eye(2), values), (3,))
    wanted = [1.5, 2.0, 3.0]
    require(
        same_numbers(pulled, torch.tensor(wanted)),
        f"scores ln 3 and 0 are shares 3/4 and 1/4, so the answer is {wanted}, not {pulled.tolist()}",
    )
    keys, many = _numbers((5, 4), 1), _numbers((5, 3), 2)
    below = _shaped(answer(_numbers((4,), 3), keys, many), (3,))
    require(
        bool((below >= many.amin(0) - 1e-5).all() and (below <= many.amax(0) + 1e-5).all()),
        "a mean lies between the smallest and the largest value: do your shares sum to 1?",
    )
    sharp = _shaped(answer(300 * keys[2] / keys[2].norm() ** 2, keys, many), (3,))
    require(
        bool(torch.isfinite(sharp).all()),
        "scores of some hundreds must not give NaN: exp(300) is too large for a float, so subtract the largest first",
    )
    far = _shaped(answer(torch.tensor([500.0, 0.0]), torch.eye(2), values), (3,))
    require(same_numbers(far, values[0]), "with a score far above the others, one value is taken whole")


LOOKUP_STUB = '''
def soft_lookup(query, keys, values):
    """The mean of values (n, m), weighted by how well each of keys (n, d) fits the query (d,)."""
    ...  # your code
'''
LOOKUP_SOLUTION = """
def soft_lookup(query, keys, values):
    scores = keys @ query
    shares = (scores - scores.max()).exp()
    return (shares / shares.sum()) @ values
"""

LOOKUP = Exercise(
    name="soft_lookup",
    task="Score each key by its dot product with the query, turn scores into shares, and average the values.",
    function="soft_lookup",
    check=_check_lookup,
    stub=LOOKUP_STUB,
    solution=LOOKUP_SOLUTION,
    hints=(
        "Three steps: one score for each key, one share for each score, one mean of all the values.",
        "keys @ query gives all the scores. A share is exp(score) divided by the sum of all of them; subtract the "
        "largest score first, so that nothing overflows.",
        "scores = keys @ query; shares = scores.softmax(dim=0); return shares @ values.",
    ),
    mistakes={
        "winner takes all": Mistake(
            """
def soft_lookup(query, keys, values):
    return values[(keys @ query).argmax()]
""",
            "you take the best value whole: that is a hard lookup, and nothing can be learned through an argmax",
        ),
        "no softmax": Mistake(
            """
def soft_lookup(query, keys, values):
    return (keys @ query) @ values
""",
            "you weight by the raw scores: they may be negative and do not sum to 1, so it is no mean. Use softmax",
        ),
        "divided by the sum": Mistake(
            """
def soft_lookup(query, keys, values):
    scores = keys @ query
    return (scores / scores.sum()) @ values
""",
            "you divide the scores by their sum without exp: negative scores give negative shares, or a division by 0",
        ),
        "no sum": Mistake(
            """
def soft_lookup(query, keys, values):
    scores = keys @ query
    return (scores - scores.max()).exp() @ values
""",
            "you forgot to divide by the sum of the exponentials: shares must sum to 1",
        ),
        "overflow": Mistake(
            """
def soft_lookup(query, keys, values):
    shares = (keys @ query).exp()
    return (shares / shares.sum()) @ values
""",
            "your exponentials overflow: exp(300) is inf, and inf / inf is NaN. Subtract the largest score first",
        ),
        "keys for values": Mistake(
            LOOKUP_SOLUTION.replace("@ values", "@ keys"),
            "you average the keys: keys say how well something fits, values are what is handed over",
        ),
        "the least like it": Mistake(
            LOOKUP_SOLUTION.replace("keys @ query", "-(keys @ query)"),
            "your shares grow as the dot product falls: a larger score means more relevant",
        ),
    },
    probes=lambda: [
        (_numbers((4,), 10), _numbers((5, 4), 11), _numbers((5, 3), 12)),
        (_numbers((3,), 13), _numbers((2, 3), 14), _numbers((2, 3), 15)),
        (torch.tensor([400.0, 0.0]), torch.eye(2), _numbers((2, 2), 16)),
    ],
    same=same_numbers,
)


# ---------------------------------------------------------------- 2. many queries, scaled and masked


def _check_attention(answer: Answer) -> None:
    q, k, v = _numbers((3, 4), 20, 2.0), _numbers((6, 4), 21, 2.0), _numbers((6, 5), 22)
    free = torch.ones(3, 6, dtype=torch.bool)
    flat = _shaped(answer(torch.zeros(3, 4), k, v, free), (3, 5))
    require(
        same_numbers(flat, v.mean(0).expand(3, 5)),
        "queries of zeros fit every key alike, so each answer is the plain mean of all values",
    )
    ones = _shaped(answer(q, k, torch.ones(6, 5), free), (3, 5))
    require(
        same_numbers(ones, torch.ones(3, 5)),
        "when all values are 1 every mean is 1: the shares of each query must sum to 1, over its keys",
    )
    for d in (4, 9, 16):
        # Two keys whose dot products with the query are √d · ln 3 and 0: after scaling, shares 3/4 and 1/4.
        query = torch.zeros(1, d)
        query[0, 0] = math.sqrt(d) * math.log(3.0)
        key = torch.zeros(2, d)
        key[0, 0] = 1.0
        share = float(_shaped(answer(query, key, torch.eye(2), free[:1, :2]), (1, 2))[0, 0])
        require(
            abs(share - 0.75) < 1e-4,
            f"width {d}: a dot product of √{d} · ln 3 is a score of ln 3, a share of 0.75 beside a 0; "
            f"yours is {share:.3f}",
        )
    allowed = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]]).bool()
    seen = _shaped(answer(q, k, v, allowed), (3, 5))
    require(same_numbers(seen[2], v[5]), "a query that may look at one key only gets that key's value whole")
    other_k, other_v = k.clone(), v.clone()
    other_k[4], other_v[4] = 7.0, 1000.0
    again = _shaped(answer(q, other_k, other_v, allowed), (3, 5))
    require(
        same_numbers(seen[:2], again[:2]),
        "changing a forbidden key and its value changed an answer: forbid before the softmax",
    )
    whole = _shaped(answer(q, k, torch.ones(6, 5), allowed), (3, 5))
    require(same_numbers(whole, torch.ones(3, 5)), "shares over the permitted keys must still sum to 1")


ATTENTION_STUB = '''
def attention(q, k, v, mask):
    """Scaled attention of queries (Q, d) over keys (K, d), values (K, m); mask (Q, K), True = may look."""
    ...  # your code
'''
ATTENTION_SOLUTION = """
import math

def attention(q, k, v, mask):
    scores = q @ k.T / math.sqrt(q.size(-1))
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights @ v
"""

ATTENTION = Exercise(
    name="attention",
    task="Scale the scores by √d, forbid what the mask forbids, take the softmax over the keys, average the values.",
    function="attention",
    check=_check_attention,
    stub=ATTENTION_STUB,
    solution=ATTENTION_SOLUTION,
    hints=(
        "A table of scores, queries down and keys across. Which of its two axes must sum to 1? What score has "
        "somebody who may not be looked at?",
        "q @ k.T / math.sqrt(d), where d is the width of a query; then masked_fill(~mask, -math.inf); then softmax.",
        "weights = (q @ k.T / math.sqrt(q.size(-1))).masked_fill(~mask, -math.inf).softmax(dim=-1); weights @ v.",
    ),
    mistakes={
        "not scaled": Mistake(
            ATTENTION_SOLUTION.replace(" / math.sqrt(q.size(-1))", ""),
            "you forgot to divide by √d: wide vectors have large dot products, and the softmax saturates",
        ),
        "divided by d": Mistake(
            ATTENTION_SOLUTION.replace("math.sqrt(q.size(-1))", "q.size(-1)"),
            "you divide by d: the spread of a sum of d products grows like √d, so divide by its root",
        ),
        "root of the keys": Mistake(
            ATTENTION_SOLUTION.replace("q.size(-1)", "k.size(-2)"),
            "you divide by the root of the number of keys: what makes scores large is the width of the vectors",
        ),
        "wrong axis": Mistake(
            ATTENTION_SOLUTION.replace("dim=-1", "dim=-2"),
            "your softmax runs over the queries: each query shares its attention among the keys, so use the last axis",
        ),
        "masked after": Mistake(
            """
import math

def attention(q, k, v, mask):
    weights = (q @ k.T / math.sqrt(q.size(-1))).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0) @ v
""",
            "you masked after the softmax: what is forbidden still counts in the sum, so rows no longer sum to 1",
        ),
        "upside down": Mistake(
            ATTENTION_SOLUTION.replace("~mask", "mask"),
            "you read the mask upside down: True means that the query may look",
        ),
        "no mask": Mistake(
            ATTENTION_SOLUTION.replace(".masked_fill(~mask, -math.inf)", ""),
            "you do not use the mask: a forbidden key must get a share of exactly 0",
        ),
        "masked with zero": Mistake(
            ATTENTION_SOLUTION.replace("-math.inf", "0.0"),
            "you give forbidden keys a score of 0: exp(0) is 1, a share like any other. Give -inf",
        ),
    },
    probes=lambda: [
        (
            _numbers((3, 4), 30),
            _numbers((5, 4), 31),
            _numbers((5, 2), 32),
            torch.tensor([[1, 0, 0, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1]]).bool(),
        ),
        (
            _numbers((2, 9), 33),
            _numbers((3, 9), 34),
            _numbers((3, 9), 35),
            torch.tensor([[1, 1, 0], [0, 1, 1]]).bool(),
        ),
    ],
    same=same_numbers,
)

EXERCISES = [LOOKUP, ATTENTION]

PREDICTIONS = [
    Prediction(
        "score_of_yellow",
        math.cos(math.radians(27)),
        because="Both arrows have length 1, so the dot product is the cosine of the 27 degrees between them.",
    ),
    Prediction(
        "one_point_more",
        math.e,
        "times",
        because="The share goes as exp(score): one point more is a factor e, wherever the two scores lie.",
    ),
    Prediction(
        "row_sum_on_the_wrong_axis",
        0.5,
        because="The 6 columns sum to 1 each, so all shares together are 6, spread over 12 rows.",
    ),
    Prediction(
        "spread_at_64",
        8,
        because="64 products of variance 1 sum to variance 64, and its root is 8.",
    ),
    Prediction(
        "sum_after_masking",
        0.375,
        because="Eight equal shares of 1/8, of which three are left.",
    ),
    Prediction(
        "bytes_of_the_table",
        12 * 8192**2 * 4,
        "bytes",
        because="Twelve tables of 8,192 × 8,192 numbers of 4 bytes, for one text and one layer.",
    ),
]
