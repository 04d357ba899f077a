"""The exercises of notebook 02, with their checkers: the mask of a warm cache, and heads split and joined.

The checkers use tensors whose every number says where it came from, so that a wrong order shows. The tests prove
(`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: the projections (`multi_head`), padding and windows (`masks`). Notebook: `02_causal_multi_head.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _same_table(a: Any, b: Any) -> bool:
    return bool(torch.equal(torch.as_tensor(a), torch.as_tensor(b)))


def _tensor(value: Any, shape: tuple[int, ...], lesson: str) -> Tensor:
    require(isinstance(value, Tensor | list), f"give a tensor, not {type(value).__name__}")
    tensor = torch.as_tensor(value)
    require(
        tuple(tensor.shape) == shape, f"{lesson}: the shape is {shape}, but yours is {tuple(tensor.shape)}"
    )
    return tensor


# ---------------------------------------------------------------- 1. the mask


def _check_mask(answer: Answer) -> None:
    for q_len, k_len in ((1, 1), (4, 4), (1, 6), (2, 6), (3, 4), (5, 9)):
        mask = _tensor(answer(q_len, k_len), (q_len, k_len), "queries down, keys across")
        where = f"{q_len} queries, {k_len} keys"
        require(mask.dtype == torch.bool, f"give booleans, True where a query may look, not {mask.dtype}")
        require(
            bool(mask[-1].all()),
            f"{where}: the last query is the newest token, so it sees every key, itself included",
        )
        seen = mask.sum(dim=-1).tolist()
        wanted = list(range(k_len - q_len + 1, k_len + 1))
        require(seen == wanted, f"{where}: the queries see {wanted} keys, but in your mask {seen}")
        ordered = bool((mask[:, :-1] | ~mask[:, 1:]).all())
        require(ordered, f"{where}: whoever sees a key sees all the keys before it")


MASK_STUB = '''
def causal_mask(q_len, k_len):
    """Bool (q_len, k_len), True = may look: the queries are the newest q_len of k_len tokens."""
    ...  # your code
'''
MASK_SOLUTION = """
import torch

def causal_mask(q_len, k_len):
    return torch.ones(q_len, k_len, dtype=torch.bool).tril(k_len - q_len)
"""

MASK = Exercise(
    name="causal_mask",
    task="Give the causal mask of the newest q_len tokens over all k_len tokens.",
    function="causal_mask",
    check=_check_mask,
    stub=MASK_STUB,
    solution=MASK_SOLUTION,
    hints=(
        "Query i is not token i. Which token is the last query, and which the first?",
        "Query i stands at place i + k_len - q_len, and sees the keys up to and including its own place.",
        "torch.ones(q_len, k_len, dtype=torch.bool).tril(k_len - q_len): the number moves the diagonal to the right.",
    ),
    mistakes={
        "top left": Mistake(
            MASK_SOLUTION.replace("k_len - q_len", "0"),
            "you aligned the triangle at the top left: with a warm cache the new tokens would see the oldest keys only",
        ),
        "not itself": Mistake(
            MASK_SOLUTION.replace("k_len - q_len", "k_len - q_len - 1"),
            "in your mask a token does not see itself: k <= q, not k < q",
        ),
        "one ahead": Mistake(
            MASK_SOLUTION.replace("k_len - q_len", "k_len - q_len + 1"),
            "in your mask a token sees the one after it: that is the answer it is asked for",
        ),
        "the future": Mistake(
            MASK_SOLUTION.replace(".tril(", ".triu("),
            "you kept the upper triangle, which is the future: keys before the query stand to the left, so tril",
        ),
        "upside down": Mistake(
            MASK_SOLUTION.replace("return ", "return ~"),
            "your True means forbidden, as in nn.MultiheadAttention; here True means may look",
        ),
        "transposed": Mistake(
            MASK_SOLUTION.replace(".tril(k_len - q_len)", ".tril(k_len - q_len).T"),
            "your table has keys down and queries across: turn it round",
        ),
        "everything": Mistake(
            MASK_SOLUTION.replace(".tril(k_len - q_len)", ""),
            "your mask forbids nothing: the first new token must not see the second",
        ),
    },
    probes=lambda: [(3, 5), (2, 2), (4, 7)],
    same=_same_table,
)


# ---------------------------------------------------------------- 2. split the heads


def _places(batch: int, time: int, width: int) -> Tensor:
    """A tensor (batch, time, width) whose numbers say where they stand: 100 · token + channel, + 10,000 a row."""
    b, t, c = torch.arange(batch), torch.arange(time), torch.arange(width)
    return 10_000 * b[:, None, None] + 100 * t[None, :, None] + c[None, None, :]


def _check_split(answer: Answer) -> None:
    for batch, time, n_head, head_dim in ((1, 3, 2, 4), (2, 5, 3, 2), (1, 1, 4, 1)):
        x = _places(batch, time, n_head * head_dim)
        heads = _tensor(answer(x, n_head), (batch, n_head, time, head_dim), "(batch, heads, tokens, numbers)")
        require(
            bool(torch.equal(heads // 10_000, x[:, None, :, :1].expand_as(heads) // 10_000)),
            "numbers of one text ended in another",
        )
        for h in range(n_head):
            for t in range(time):
                found, wanted = heads[:, h, t], x[:, t, h * head_dim : (h + 1) * head_dim]
                tokens = (found[0] % 10_000 // 100).tolist()
                require(
                    all(token == t for token in tokens),
                    f"head {h} of token {t} holds numbers of the tokens {tokens}: tokens got mixed up",
                )
                require(
                    torch.equal(found, wanted),
                    f"head {h} has the channels {(wanted[0] % 100).tolist()} of its token, "
                    f"but yours has {(found[0] % 100).tolist()}",
                )


SPLIT_STUB = '''
def split_heads(x, n_head):
    """x (B, T, C) -> (B, n_head, T, C / n_head): the first head gets the first channels of each token."""
    ...  # your code
'''
SPLIT_SOLUTION = """
def split_heads(x, n_head):
    batch, time, width = x.shape
    return x.view(batch, time, n_head, width // n_head).transpose(1, 2)
"""

SPLIT = Exercise(
    name="split_heads",
    task="Cut the channels of each token into heads, and put the heads before the tokens.",
    function="split_heads",
    check=_check_split,
    stub=SPLIT_STUB,
    solution=SPLIT_SOLUTION,
    hints=(
        "A view does not move numbers in memory: it can cut the last axis in two, but it cannot change the order.",
        "First cut the channels: (B, T, C) to (B, T, H, D). Then exchange tokens and heads.",
        "x.view(batch, time, n_head, width // n_head).transpose(1, 2).",
    ),
    mistakes={
        "view only": Mistake(
            SPLIT_SOLUTION.replace(
                "x.view(batch, time, n_head, width // n_head).transpose(1, 2)",
                "x.reshape(batch, n_head, time, width // n_head)",
            ),
            "you reshaped straight to (B, H, T, D): the shape is right, but a row is now a piece of another "
            "token. Cut first, then transpose",
        ),
        "no transpose": Mistake(
            SPLIT_SOLUTION.replace(".transpose(1, 2)", ""),
            "you did not exchange heads and tokens: attention would run over the heads of one token",
        ),
        "every n-th channel": Mistake(
            SPLIT_SOLUTION.replace(
                "n_head, width // n_head).transpose(1, 2)", "width // n_head, n_head).movedim(-1, 1)"
            ),
            "you gave each head every n-th channel: heads are neighbours in the channels, here and in every "
            "published checkpoint",
        ),
        "numbers before tokens": Mistake(
            SPLIT_SOLUTION.replace(".transpose(1, 2)", ".movedim(-1, 1)"),
            "you put the numbers of a head first, where the heads belong",
        ),
        "transposed first": Mistake(
            SPLIT_SOLUTION.replace(
                "x.view(batch, time, n_head, width // n_head).transpose(1, 2)",
                "x.transpose(1, 2).reshape(batch, n_head, time, width // n_head)",
            ),
            "you transposed before cutting: then the cut runs through the tokens",
        ),
        "whole heads": Mistake(
            SPLIT_SOLUTION.replace(
                "x.view(batch, time, n_head, width // n_head).transpose(1, 2)",
                "x[:, None].expand(batch, n_head, time, width)",
            ),
            "you gave each head all the channels: heads share the width, so each has C / n_head of it",
        ),
    },
    probes=lambda: [(_places(2, 5, 6), 3), (_places(1, 3, 8), 2), (_places(1, 4, 4), 2)],
    same=_same_table,
)


# ---------------------------------------------------------------- 3. join them again


def _check_join(answer: Answer) -> None:
    for batch, time, n_head, head_dim in ((1, 3, 2, 4), (2, 5, 3, 2), (1, 4, 4, 1)):
        x = _places(batch, time, n_head * head_dim)
        heads = x.view(batch, time, n_head, head_dim).transpose(1, 2).contiguous()  # as attention gives them
        joined = _tensor(answer(heads), tuple(x.shape), "one row for each token, all its heads side by side")
        tokens = (joined[0, 0] % 10_000 // 100).tolist()
        require(
            all(token == 0 for token in tokens),
            f"the row of token 0 holds numbers of the tokens {tokens}: transpose before you flatten",
        )
        require(
            torch.equal(joined, x),
            f"token 0 has the channels {(x[0, 0] % 100).tolist()} again, but yours {(joined[0, 0] % 100).tolist()}",
        )


JOIN_STUB = '''
def join_heads(y):
    """y (B, n_head, T, D) -> (B, T, n_head · D): the heads of each token side by side again."""
    ...  # your code
'''
JOIN_SOLUTION = """
def join_heads(y):
    batch, n_head, time, head_dim = y.shape
    return y.transpose(1, 2).reshape(batch, time, n_head * head_dim)
"""

JOIN = Exercise(
    name="join_heads",
    task="Undo split_heads: put the heads of each token side by side again.",
    function="join_heads",
    check=_check_join,
    stub=JOIN_STUB,
    solution=JOIN_SOLUTION,
    hints=(
        "It is split_heads backwards: which of its two steps has to be undone first?",
        "Exchange heads and tokens, then glue the last two axes. After a transpose use reshape, which may copy.",
        "y.transpose(1, 2).reshape(batch, time, n_head * head_dim).",
    ),
    mistakes={
        "no transpose": Mistake(
            JOIN_SOLUTION.replace(".transpose(1, 2)", ""),
            "you reshaped without the transpose: the shape is right, but a row now holds pieces of several tokens",
        ),
        "view": Mistake(
            JOIN_SOLUTION.replace(".reshape(", ".view("),
            "you asked for a view of a transposed tensor: its numbers do not lie side by side, so use reshape",
        ),
        "mean": Mistake(
            JOIN_SOLUTION.replace(
                "y.transpose(1, 2).reshape(batch, time, n_head * head_dim)", "y.float().mean(dim=1)"
            ),
            "you averaged the heads: each has found something else, so keep them side by side",
        ),
        "interleaved": Mistake(
            JOIN_SOLUTION.replace(".transpose(1, 2)", ".permute(0, 2, 3, 1)"),
            "you interleaved the heads: all of head 0 comes first, then all of head 1",
        ),
    },
    probes=lambda: [
        (_places(2, 5, 6).view(2, 5, 3, 2).transpose(1, 2).contiguous(),),
        (_places(1, 3, 8).view(1, 3, 2, 4).transpose(1, 2).contiguous(),),
    ],
    same=_same_table,
)

EXERCISES = [MASK, SPLIT, JOIN]

PREDICTIONS = [
    Prediction(
        "pairs_of_eight",
        36,
        "pairs",
        because="1 + 2 + … + 8: token i sees i + 1 keys. For long texts, about half of the square.",
    ),
    Prediction(
        "keys_of_the_first_new_token",
        5,
        "keys",
        because="Four old ones and itself; the last of the six came after it.",
    ),
    Prediction(
        "attention_parameters_768",
        4 * 768**2 + 4 * 768,
        "parameters",
        because="Four square matrices, for query, key, value and output, and a bias for each: 4d² + 4d.",
    ),
    Prediction(
        "parameters_twelve_heads",
        1.0,
        "times",
        because="Heads cut the width into pieces and add none: the four matrices are the same.",
    ),
]
