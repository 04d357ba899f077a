"""The exercises of notebook 04, with their checkers: the kept set of top-p, the repetition penalty, a step of beams.

Each checker tests properties on small inputs, so any right answer passes, and knows how the step usually goes wrong.
The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Probabilities are multiples of 1/64, which floats add without error: "reaches p exactly" then has one meaning.
Left out: the draw itself, the other rules of the chain.
Notebook: `04_sampling.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _list(found: Any, what: str) -> list[Any]:
    require(isinstance(found, Sequence), f"give a list of {what}, not {type(found).__name__}")
    return list(found)


# ---------------------------------------------------------------- 1. top-p

_SURE = [0.015625, 0.953125, 0.03125]  # one token holds nearly everything
_MIXED = [0.125, 0.5, 0.0625, 0.25, 0.0625]
_LEVEL = [0.25, 0.375, 0.1875, 0.1875]


def _check_top_p(answer: Answer) -> None:
    sure = _list(answer(list(_SURE), 0.5), "ids")
    require(sure, "top-p kept nothing: the likeliest token crosses p by itself, and it must stay")
    for shares in (_SURE, _MIXED, _LEVEL):
        for p in (0.1, 0.5, 0.7, 0.75, 0.8, 1.0):
            kept = _list(answer(list(shares), p), "ids")
            require(
                all(isinstance(i, int) and 0 <= i < len(shares) for i in kept)
                and len(set(kept)) == len(kept),
                f"give ids, the places in the list that you were given, each once: yours are {kept}",
            )
            held = sum(shares[i] for i in kept)
            require(held >= p, f"of {shares} your ids {kept} hold {held}, which does not reach p = {p}")
            least = min(shares[i] for i in kept)
            require(
                held - least < p,
                f"of {shares} your ids {kept} reach p = {p} without the least likely of them: keep the smallest set",
            )
            others = [share for i, share in enumerate(shares) if i not in kept]
            require(
                all(share <= least for share in others),
                f"of {shares} you kept {kept} and cut a token that is likelier: go from the likeliest downwards",
            )
    order = _list(answer(list(_MIXED), 0.8), "ids")
    require(order == [1, 3, 0], f"give the ids likeliest first: [1, 3, 0] of {_MIXED}, not {order}")


TOP_P_STUB = '''
def top_p_kept(shares, p):
    """The ids that top-p keeps of a list of probabilities, likeliest first."""
    ...  # your code
'''
TOP_P_SOLUTION = """
def top_p_kept(shares, p):
    kept, held = [], 0.0
    for token in sorted(range(len(shares)), key=lambda i: -shares[i]):
        if held >= p:
            break
        kept.append(token)
        held += shares[token]
    return kept
"""
_CROSSING = TOP_P_SOLUTION.replace("if held >= p:", "if held + shares[token] > p:")
TOP_P = Exercise(
    name="top_p_kept",
    task="Take the likeliest tokens, one after the other, until together they reach p.",
    function="top_p_kept",
    check=_check_top_p,
    stub=TOP_P_STUB,
    solution=TOP_P_SOLUTION,
    hints=(
        "Two things to get right: the order, and on which side of the threshold the last token falls.",
        "Sort the ids by falling probability. Before each one, ask what the ones BEFORE it hold together.",
        "for token in sorted(range(len(shares)), key=lambda i: -shares[i]): stop if held >= p, else append it and add "
        "its share to held.",
    ),
    mistakes={
        "the crossing token dropped": Mistake(
            _CROSSING,
            "you cut the token that crosses p: what is left holds less than p, and nothing at all where the likeliest "
            "token alone is above it. Ask whether the tokens before it reach p",
        ),
        "the crossing token dropped, but one": Mistake(
            _CROSSING.replace(
                "return kept", "return kept or [max(range(len(shares)), key=lambda i: shares[i])]"
            ),
            "you cut the token that crosses p and mended the empty set by hand: every other set is still one too small",
        ),
        "one too many": Mistake(
            TOP_P_SOLUTION.replace("if held >= p:", "if held > p:"),
            "you went on when p was reached exactly: the smallest set that REACHES p stops there",
        ),
        "in order of ids": Mistake(
            TOP_P_SOLUTION.replace(
                "sorted(range(len(shares)), key=lambda i: -shares[i])", "range(len(shares))"
            ),
            "you went through the tokens in the order of their ids: top-p goes from the likeliest downwards",
        ),
        "places in the sorted list": Mistake(
            TOP_P_SOLUTION.replace("return kept", "return list(range(len(kept)))"),
            "you gave places in the sorted list: give the ids, the places in the list before it was sorted",
        ),
        "a threshold for each": Mistake(
            "def top_p_kept(shares, p):\n"
            "    order = sorted(range(len(shares)), key=lambda i: -shares[i])\n"
            "    return [i for i in order if shares[i] >= 1 - p]\n",
            "you compared each token with a threshold of its own: top-p adds them up (a threshold is min-p's way)",
        ),
        "min-p": Mistake(
            "def top_p_kept(shares, p):\n"
            "    order = sorted(range(len(shares)), key=lambda i: -shares[i])\n"
            "    return [i for i in order if shares[i] >= p * max(shares)]\n",
            "you kept what is at least p times the likeliest: that is min-p",
        ),
    },
    probes=lambda: [(list(shares), p) for shares in (_SURE, _MIXED, _LEVEL) for p in (0.5, 0.75, 0.8, 0.125)],
)


# ---------------------------------------------------------------- 2. the repetition penalty


def _check_penalty(answer: Answer) -> None:
    logits = [2.0, -2.0, 1.0, -0.5, 0.0]
    before = list(logits)
    found = _list(answer(logits, [0, 1], 2.0), "logits")
    require(
        logits == before,
        "the list that you were given has changed: make a new one, the caller still needs it",
    )
    require(len(found) == len(logits), f"give all {len(logits)} logits, not {len(found)}")
    require(
        found[0] < before[0],
        f"token 0 stands in the text and its logit is positive: it must fall, not be {found[0]}",
    )
    require(
        found[1] < before[1],
        f"token 1 stands in the text and its logit is negative: it must fall below {before[1]}, not be {found[1]}",
    )
    require(found[2:] == before[2:], "a token that does not stand in the text keeps its logit")
    require(
        found[:2] == [1.0, -4.0], f"with penalty 2, 2.0 becomes 1.0 and -2.0 becomes -4.0, not {found[:2]}"
    )
    once, often = answer(list(before), [0, 1, 4], 2.0), answer(list(before), [1, 0, 1, 0, 4, 1], 2.0)
    require(list(once) == list(often), "this penalty asks whether a token stands in the text, not how often")
    require(list(answer(list(before), [0, 1, 2], 1.0)) == before, "a penalty of 1 changes nothing")


PENALTY_STUB = '''
def penalised(logits, text, penalty):
    """A new list of logits in which the ids that stand in `text` are less likely; penalty > 1."""
    ...  # your code
'''
PENALTY_SOLUTION = """
def penalised(logits, text, penalty):
    lowered = [x / penalty if x > 0 else x * penalty for x in logits]
    return [lowered[i] if i in text else logits[i] for i in range(len(logits))]
"""
_LOWER = "x / penalty if x > 0 else x * penalty"
PENALTY = Exercise(
    name="repetition_penalty",
    task="Divide positive logits by the penalty, multiply negative ones, and only those of tokens in the text.",
    function="penalised",
    check=_check_penalty,
    stub=PENALTY_STUB,
    solution=PENALTY_SOLUTION,
    hints=(
        "Less likely means a smaller logit. What does a division by 2 do to -2?",
        "It makes it -1, which is larger. So the sign of the logit decides between dividing and multiplying.",
        "lowered = x / penalty if x > 0 else x * penalty; take it where i in text, else the logit itself.",
    ),
    mistakes={
        "negative logits divided": Mistake(
            PENALTY_SOLUTION.replace(_LOWER, "x / penalty"),
            "you divided negative logits too: -2 becomes -1, and the penalty rewards what it should forbid",
        ),
        "positive logits multiplied": Mistake(
            PENALTY_SOLUTION.replace(_LOWER, "x * penalty"),
            "you multiplied positive logits too: 2 becomes 4, and the penalty is a reward",
        ),
        "once for each time": Mistake(
            "def penalised(logits, text, penalty):\n"
            "    new = list(logits)\n"
            "    for i in text:\n"
            "        new[i] = new[i] / penalty if new[i] > 0 else new[i] * penalty\n"
            "    return new\n",
            "you applied it once for each time that the token stands in the text: a full stop would be gone after a "
            "page. (The frequency penalty counts; this one does not)",
        ),
        "subtracted": Mistake(
            PENALTY_SOLUTION.replace(_LOWER, "x - penalty"),
            "you subtracted it: that is the presence penalty, with another scale",
        ),
        "everything": Mistake(
            PENALTY_SOLUTION.replace("lowered[i] if i in text else logits[i]", "lowered[i]"),
            "you lowered every token: only those that stand in the text may change",
        ),
        "the new ones": Mistake(
            PENALTY_SOLUTION.replace("if i in text", "if i not in text"),
            "you lowered the tokens that are NOT in the text: the model will repeat itself with all its might",
        ),
    },
    probes=lambda: [
        ([2.0, -2.0, 1.0, -0.5], [0, 1, 1], 2.0),
        ([3.0, 0.5, -1.0], [2, 2, 2], 1.5),
        ([-1.0, 4.0, -3.0], [1, 0], 4.0),
    ],
)


# ---------------------------------------------------------------- 3. a step of beam search

_SUMS = [-1.0, -2.0]
_NEXT = [[-4.0, -0.5, -3.0], [-0.25, -4.0, -0.125]]


def _check_beam_step(answer: Answer) -> None:
    alone = _pairs(answer([0.0], [[-2.0, -0.5, -1.0]], 2))
    require(
        alone == [(0, 1), (0, 2)], f"one beam, width 2: its two best tokens are 1 and 2, you give {alone}"
    )
    found = _pairs(answer(list(_SUMS), [list(row) for row in _NEXT], 3))
    require(
        found == [(0, 1), (1, 2), (1, 0)],
        "a continuation is worth its beam's sum PLUS its own log-probability, and all continuations of all beams "
        f"compete: best first (0, 1), (1, 2), (1, 0), you give {found}",
    )
    one_wins = _pairs(answer([-0.5, -9.0], [[-1.0, -1.5, -2.0], [-0.25, -0.5, -0.75]], 2))
    require(
        one_wins == [(0, 0), (0, 1)], f"a beam may take every place when the others are worse: {one_wins}"
    )
    require(
        len(_pairs(answer([0.0], [[-1.0, -2.0]], 5))) == 2,
        "with fewer continuations than width, give them all",
    )


def _pairs(found: Any) -> list[tuple[int, int]]:
    pairs = _list(found, "pairs (beam, token)")
    require(
        all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs),
        f"give pairs (beam, token), not {pairs[:3]}",
    )
    return [(int(beam), int(token)) for beam, token in pairs]


BEAM_STUB = '''
def beam_step(sums, log_probs, width):
    """The best continuations as (beam, token), best first.

    sums: log-probability of each beam so far; log_probs: for each beam a list over its next tokens.
    """
    ...  # your code
'''
BEAM_SOLUTION = """
def beam_step(sums, log_probs, width):
    pairs = [(b, t) for b in range(len(sums)) for t in range(len(log_probs[b]))]
    return sorted(pairs, key=lambda pair: -(sums[pair[0]] + log_probs[pair[0]][pair[1]]))[:width]
"""
BEAM = Exercise(
    name="beam_step",
    task="Of all continuations of all beams, find the `width` likeliest.",
    function="beam_step",
    check=_check_beam_step,
    stub=BEAM_STUB,
    solution=BEAM_SOLUTION,
    hints=(
        "A beam of log-probability -1 goes on with a token of -0.5. What is the log-probability of the two together?",
        "-1.5: they add. List all (beam, token) with their sums, and sort the whole list, not each beam's own.",
        "sorted(all pairs, key=lambda pair: -(sums[beam] + log_probs[beam][token]))[:width]",
    ),
    mistakes={
        "each beam its best": Mistake(
            "def beam_step(sums, log_probs, width):\n"
            "    best = [(b, max(range(len(row)), key=row.__getitem__)) for b, row in enumerate(log_probs)]\n"
            "    return sorted(best, key=lambda pair: -(sums[pair[0]] + log_probs[pair[0]][pair[1]]))[:width]\n",
            "you let every beam go on with its own best token: that is greedy, side by side. All continuations compete",
        ),
        "sums forgotten": Mistake(
            BEAM_SOLUTION.replace("sums[pair[0]] + ", ""),
            "you forgot what each beam has cost so far: an unlikely beginning with a sure next token would win",
        ),
        "sums only": Mistake(
            BEAM_SOLUTION.replace(" + log_probs[pair[0]][pair[1]]", ""),
            "you ranked by the beams' sums alone: the next token's own log-probability is missing",
        ),
        "multiplied": Mistake(
            BEAM_SOLUTION.replace("sums[pair[0]] + log", "sums[pair[0]] * log"),
            "you multiplied log-probabilities: probabilities multiply, their logarithms add",
        ),
        "worst first": Mistake(
            BEAM_SOLUTION.replace("-(sums", "(sums"),
            "you took the least likely: log-probabilities are negative, the best is the largest, the one nearest to 0",
        ),
        "token before beam": Mistake(
            BEAM_SOLUTION.replace("return sorted(", "return [(t, b) for b, t in sorted(").replace(
                "[:width]", "[:width]]"
            ),
            "your pairs are (token, beam): the cache must know which beam to copy, so the beam comes first",
        ),
    },
    probes=lambda: [
        (list(_SUMS), [list(row) for row in _NEXT], 3),
        ([-0.5, -9.0], [[-1.0, -1.5, -2.0], [-0.25, -0.5, -0.75]], 2),
        ([-3.0, -1.0, -2.0], [[-0.5, -1.25], [-2.0, -0.75], [-0.125, -3.0]], 3),
    ],
)


EXERCISES = [TOP_P, PENALTY, BEAM]

PREDICTIONS = [
    Prediction(
        "ratio_at_half_temperature",
        64.0,
        "times as likely",
        "Dividing the logits by 1/2 doubles their difference, which squares the ratio: 8 becomes 64.",
    ),
    Prediction(
        "trap_factor",
        0.4 * 0.97 / (0.5 * 0.3),
        "times as likely",
        "0.4 · 0.97 against 0.5 · 0.3: the better first word is not the beginning of the better text.",
    ),
]
