"""The exercises of notebook 06, with their checkers: absorb a matrix into the query, and count a latent cache.

Each checker tests properties on small tensors, so any right answer passes, and knows how the step usually goes
wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is
named. Left out: masks, the cache itself and the output side of the absorption (`latent`).
Notebook: `06_multi_head_latent.ipynb`.
"""

from __future__ import annotations

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
        return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-9))
    return bool(a == b)


# ---------------------------------------------------------------- 1. absorb the key matrix into the query


def _check_absorb(answer: Answer) -> None:
    for heads, dim, latent in ((1, 2, 3), (3, 4, 4), (2, 5, 3)):
        q, w_uk = _normal(heads, dim, seed=heads), _normal(heads, dim, latent, seed=dim)
        moved = answer(q.clone(), w_uk.clone())
        require(isinstance(moved, Tensor), f"give a tensor, not {type(moved).__name__}")
        require(
            moved.shape == (heads, latent),
            f"{heads} heads and a latent of {latent} numbers: the result must have shape {(heads, latent)}, "
            f"one query in the latent's space for each head, but yours has {tuple(moved.shape)}",
        )
        c = _normal(6, latent, seed=7)  # six tokens
        keys = torch.einsum("hdc,tc->htd", w_uk, c)
        wanted = torch.einsum("hd,htd->ht", q, keys)
        require(
            torch.allclose(moved @ c.T, wanted, atol=1e-9),
            "the moved query times a latent must be the score of the query with the unfolded key: "
            "(absorbed q) · c = q · (W_uk c), for each head",
        )


ABSORB_STUB = '''
def absorb_query(q, w_uk):
    """Queries in the latent's space: q (heads, head_dim), w_uk (heads, head_dim, latent) -> (heads, latent)."""
    ...  # your code
'''
ABSORB_SOLUTION = """
import torch

def absorb_query(q, w_uk):
    return torch.einsum("hd,hdc->hc", q, w_uk)
"""
ABSORB = Exercise(
    name="absorb_query",
    task="Move each head's query through its own key matrix, so that it can be compared with a latent.",
    function="absorb_query",
    check=_check_absorb,
    stub=ABSORB_STUB,
    solution=ABSORB_SOLUTION,
    hints=(
        "q · (W c) is one number. Write it as qᵀ W c and set the brackets the other way.",
        "(Wᵀ q) · c: a query times its own head's matrix, over head_dim. Heads never mix.",
        'torch.einsum("hd,hdc->hc", q, w_uk): h stays, d is summed away, c remains.',
    ),
    mistakes={
        "not transposed": Mistake(
            ABSORB_SOLUTION.replace('"hd,hdc->hc", q, w_uk', '"hc,hdc->hd", q, w_uk'),
            "you multiplied from the wrong side: W_uk takes a latent to a key, so a query goes back through its "
            "transpose, summed over head_dim",
        ),
        "first head": Mistake(
            ABSORB_SOLUTION.replace('"hd,hdc->hc", q, w_uk', '"hd,dc->hc", q, w_uk[0]'),
            "you used the first head's matrix for all: the latent is shared, but each head unfolds it in its own way",
        ),
        "heads summed": Mistake(
            ABSORB_SOLUTION.replace('"hd,hdc->hc", q, w_uk)', '"hd,hdc->c", q, w_uk).expand(len(q), -1)'),
            "you summed over the heads: each head has scores, and a softmax, of its own",
        ),
        "scaled here": Mistake(
            ABSORB_SOLUTION.replace('->hc", q, w_uk)', '->hc", q, w_uk) / q.shape[-1] ** 0.5'),
            "you divided by √head_dim: absorbing must not change the score, and the scale has to count the rotary part "
            "as well. It comes later, once",
        ),
        "inverse": Mistake(
            ABSORB_SOLUTION.replace(
                'torch.einsum("hd,hdc->hc", q, w_uk)',
                'torch.einsum("hcd,hd->hc", torch.linalg.pinv(w_uk), q)',
            ),
            "you took the inverse: nothing is undone here. qᵀ W is a product with the matrix itself",
        ),
    },
    probes=lambda: [
        (_normal(3, 4, seed=1), _normal(3, 4, 4, seed=2)),  # square: a forgotten transpose does not raise
        (_normal(2, 4, seed=3), _normal(2, 4, 4, seed=4)),
    ],
    same=_same,
)


# ---------------------------------------------------------------- 2. bytes of the cache


def _check_bytes(answer: Answer) -> None:
    cases: list[tuple[tuple[int, ...], int, str]] = [
        ((1, 1, 8, 0, 4, 1), 8, "one layer, one token, 8 numbers of one byte"),
        ((1, 10, 8, 0, 4, 1), 80, "ten tokens leave ten latents"),
        ((1, 1, 8, 2, 4, 1), 10, "the rotary key is kept beside the latent"),
        ((3, 1, 8, 2, 4, 1), 30, "each layer keeps its own"),
        ((3, 1, 8, 2, 4, 2), 60, "a number in bf16 has two bytes"),
        ((12, 1024, 256, 32, 12, 2), 7_077_888, "GPT-2 small's shape at 1,024 tokens, in bf16"),
    ]
    for arguments, wanted, lesson in cases:
        found = answer(*arguments)
        require(
            found == wanted,
            f"{lesson}: (n_layer, tokens, latent, rope, n_head, bytes_per_number) = {arguments} makes {wanted:,} "
            f"bytes, but you give {found}",
        )


BYTES_STUB = '''
def latent_cache_bytes(n_layer, tokens, latent, rope, n_head, bytes_per_number):
    """Bytes of the cache of multi-head latent attention, for one row of text."""
    ...  # your code
'''
BYTES_SOLUTION = """
def latent_cache_bytes(n_layer, tokens, latent, rope, n_head, bytes_per_number):
    return n_layer * tokens * (latent + rope) * bytes_per_number
"""
_SUM = "n_layer * tokens * (latent + rope) * bytes_per_number"
BYTES = Exercise(
    name="latent_cache_bytes",
    task="Count what a latent cache holds. One of the arguments is not needed: which one?",
    function="latent_cache_bytes",
    check=_check_bytes,
    stub=BYTES_STUB,
    solution=BYTES_SOLUTION,
    hints=(
        "What does ONE token leave in ONE layer? Look at the figure of the shapes.",
        "A latent and a rotary key, each one vector, from which all heads are made.",
        "n_layer * tokens * (latent + rope) * bytes_per_number; n_head does not matter.",
    ),
    mistakes={
        "a rotary key for each head": Mistake(
            BYTES_SOLUTION.replace(_SUM, "n_layer * tokens * (latent + n_head * rope) * bytes_per_number"),
            "you keep a rotary key for each head: there is one, and all heads share it",
        ),
        "keys and values": Mistake(
            BYTES_SOLUTION.replace(_SUM, "2 * " + _SUM),
            "you count twice, for keys and for values: both are made of the same latent, and that is the point",
        ),
        "no rotary key": Mistake(
            BYTES_SOLUTION.replace("(latent + rope)", "latent"),
            "you forgot the rotary key: it cannot be made from the latent, so it is kept beside it",
        ),
        "for each head": Mistake(
            BYTES_SOLUTION.replace("(latent + rope)", "n_head * (latent + rope)"),
            "you multiplied by the heads: the latent is what all heads are made of, and it is kept once",
        ),
        "one layer": Mistake(
            BYTES_SOLUTION.replace("n_layer * ", ""),
            "you count one layer: each layer keeps latents of its own",
        ),
    },
    probes=lambda: [(3, 5, 16, 4, 6, 2), (2, 7, 8, 2, 3, 4)],
)

EXERCISES = [ABSORB, BYTES]

PREDICTIONS = [
    Prediction(
        "numbers_of_a_token_mla",
        288,
        "numbers",
        "A latent of 256 and one rotary key of 32, instead of 12 keys and 12 values of 64.",
    ),
    Prediction(
        "pair_cost_of_absorbed",
        3.4,
        "times as many multiplications",
        "Absorbed: 2 · 256 + 32 = 544 for a pair and head. Naive: 2 · 64 + 32 = 160.",
    ),
]
