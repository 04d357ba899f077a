"""The exercises of notebook 07, with their checkers: the slot of a token in a ring, and the band as a mask.

Each checker tests properties, so any right answer passes, and knows how the step usually goes wrong. The tests prove
(`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: several tokens at once and crops (`rolling_cache`). Notebook: `07_sliding_window.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


# ---------------------------------------------------------------- 1. the slot of a position


def _check_slot(answer: Answer) -> None:
    cases: list[tuple[tuple[int, int, int], int, str]] = [
        ((0, 4, 0), 0, "the first token goes into the first slot"),
        ((3, 4, 0), 3, "until the ring is full, the slot is the position"),
        ((4, 4, 0), 0, "the fifth token of a ring of four takes the place of the first"),
        ((9, 4, 0), 1, "round and round"),
        ((1, 4, 2), 1, "a sink has a slot of its own, at its position"),
        ((2, 4, 2), 2, "the ring begins behind the sinks"),
        ((5, 4, 2), 5, "there are sinks + ring slots in all"),
        ((6, 4, 2), 2, "when the ring turns, it turns to the first slot behind the sinks"),
    ]
    for arguments, wanted, lesson in cases:
        found = answer(*arguments)
        require(
            found == wanted,
            f"{lesson}: (position, ring, sinks) = {arguments} is slot {wanted}, but you give {found}",
        )
    for ring, sinks in ((3, 0), (5, 2), (1, 1)):
        newest = [answer(p, ring, sinks) for p in range(40, 40 + ring)]
        require(
            sorted(newest) == list(range(sinks, sinks + ring)),
            f"any {ring} tokens in a row must have the {ring} slots behind {sinks} sinks to themselves; "
            f"yours lie in {newest}",
        )


SLOT_STUB = '''
def ring_slot(position, ring, sinks):
    """The slot (0 to sinks + ring - 1) of the token at `position`; the first `sinks` tokens are never overwritten."""
    ...  # your code
'''
SLOT_SOLUTION = """
def ring_slot(position, ring, sinks):
    if position < sinks:
        return position
    return sinks + (position - sinks) % ring
"""
SLOT = Exercise(
    name="ring_slot",
    task="Say where a token is kept: the sinks first, and behind them a ring that goes round and round.",
    function="ring_slot",
    check=_check_slot,
    stub=SLOT_STUB,
    solution=SLOT_SOLUTION,
    hints=(
        "Without sinks: position 0, 1, 2, 3, 4, 5 in a ring of four go to 0, 1, 2, 3, 0, 1. Which operator?",
        "With sinks, the ring is a smaller world: it begins at position `sinks` and at slot `sinks`.",
        "position if position < sinks, else sinks + (position - sinks) % ring.",
    ),
    mistakes={
        "sinks overwritten": Mistake(
            "def ring_slot(position, ring, sinks):\n    return position % (ring + sinks)\n",
            "your ring goes round over the sinks as well and overwrites them: they have slots of their own, for ever",
        ),
        "into the sinks": Mistake(
            SLOT_SOLUTION.replace("sinks + (position - sinks) % ring", "position % ring"),
            "your ring does not begin behind the sinks: add `sinks`, or it overwrites them",
        ),
        "not shifted": Mistake(
            SLOT_SOLUTION.replace("(position - sinks) % ring", "position % ring"),
            "you forgot to count the ring's positions from the first token that it takes: subtract `sinks` before %",
        ),
        "stays at the end": Mistake(
            "def ring_slot(position, ring, sinks):\n    return min(position, sinks + ring - 1)\n",
            "your ring does not turn: when it is full, the OLDEST token goes, and you overwrite the newest",
        ),
        "one too many": Mistake(
            SLOT_SOLUTION.replace("% ring", "% (ring + 1)"),
            "your ring has one slot too many: W tokens are seen, the token's own included, so W slots are enough",
        ),
    },
    probes=lambda: [(p, 4, sinks) for p in range(14) for sinks in (0, 3)],
)


# ---------------------------------------------------------------- 2. the band


def _same_mask(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and bool((a == b).all())


def _check_band(answer: Answer) -> None:
    for queries, keys, window in ((4, 4, 4), (5, 5, 2), (3, 7, 4), (1, 6, 3), (6, 6, 1), (2, 9, 20)):
        mask = answer(queries, keys, window)
        require(isinstance(mask, Tensor), f"give a tensor, not {type(mask).__name__}")
        require(mask.dtype == torch.bool, f"give booleans, True where a query may look, not {mask.dtype}")
        require(
            mask.shape == (queries, keys),
            f"{queries} queries and {keys} keys make a table {(queries, keys)}, not {tuple(mask.shape)}",
        )
        for row in range(queries):
            position = keys - queries + row  # the queries are the newest tokens
            wanted = list(range(max(0, position - window + 1), position + 1))
            found = mask[row].nonzero().flatten().tolist()
            require(
                found == wanted,
                f"band_mask({queries}, {keys}, {window}): query {row} stands at position {position} and sees "
                f"{wanted}, but with yours it sees {found}",
            )


BAND_STUB = '''
def band_mask(q_len, k_len, window):
    """Who may look at whom, bool (q_len, k_len). The queries are the NEWEST q_len of the k_len tokens."""
    ...  # your code
'''
BAND_SOLUTION = """
import torch

def band_mask(q_len, k_len, window):
    queries = torch.arange(k_len - q_len, k_len)
    distance = queries[:, None] - torch.arange(k_len)[None, :]
    return (distance >= 0) & (distance < window)
"""
BAND = Exercise(
    name="band_mask",
    task="Build the band of a sliding window, also for fewer queries than keys.",
    function="band_mask",
    check=_check_band,
    stub=BAND_STUB,
    solution=BAND_SOLUTION,
    hints=(
        "At which position does the first query stand, when the cache holds k_len - q_len older tokens?",
        "Make a table of distances, query position minus key position. Which distances are allowed?",
        "queries = torch.arange(k_len - q_len, k_len); distance from 0 to window - 1, both ends included.",
    ),
    mistakes={
        "top left": Mistake(
            BAND_SOLUTION.replace("torch.arange(k_len - q_len, k_len)", "torch.arange(q_len)"),
            "your band is aligned top left: the first query is not token 0 when there is a cache. The LAST query "
            "stands at the last key",
        ),
        "window plus one": Mistake(
            BAND_SOLUTION.replace("distance < window", "distance <= window"),
            "your window is one too wide: W counts the token itself, so the farthest key is W - 1 back",
        ),
        "not itself": Mistake(
            BAND_SOLUTION.replace("distance >= 0", "distance > 0"),
            "your tokens do not see themselves: a distance of 0 is allowed, and the first token has nobody else",
        ),
        "the future": Mistake(
            BAND_SOLUTION.replace("(distance >= 0) & (distance < window)", "distance.abs() < window"),
            "your window looks ahead as well: a causal band has distances from 0 up, never below",
        ),
        "no far end": Mistake(
            BAND_SOLUTION.replace(" & (distance < window)", ""),
            "your mask is causal but has no far end: the window is missing",
        ),
    },
    probes=lambda: [(3, 7, 2), (5, 5, 3), (1, 4, 2)],
    same=_same_mask,
)

EXERCISES = [SLOT, BAND]

PREDICTIONS = [
    Prediction(
        "pairs_in_a_band",
        229_504,
        "pairs",
        "1,024 rows of 256, less the corner: the first 255 tokens have fewer behind them. 44 % of the triangle.",
    ),
    Prediction(
        "reach_of_four_layers",
        28,
        "tokens back",
        "Each layer carries W - 1 = 7 tokens farther, and 4 · 7 = 28.",
    ),
    Prediction(
        "share_of_a_window_cache",
        1 / 64,
        "of the full cache",
        "W / T = 256 / 16,384.",
    ),
]
