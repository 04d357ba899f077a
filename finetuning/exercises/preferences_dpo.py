"""The exercises of notebook 04, with their checkers: an answer's probability, what a pair costs, how far one has gone.

Each checker tests properties with numbers that can be worked out by hand, so any right answer passes, and knows how
it usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each
classic mistake is named. Left out: the training loop, which is the one of chapter pretraining.
Notebook: `04_preferences_dpo.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _number(found: Any) -> float:
    try:
        return float(found)
    except (TypeError, ValueError):
        return math.nan


def _close(found: Any, wanted: float, tolerance: float = 1e-6) -> bool:
    return math.isclose(_number(found), wanted, rel_tol=tolerance, abs_tol=1e-9)


def _same(a: Any, b: Any) -> bool:
    return _close(a, _number(b)) or (math.isnan(_number(a)) and math.isnan(_number(b)))


# ---------------------------------------------------------------- 1. how likely is an answer


def _rows(*shares: tuple[float, ...]) -> Any:
    """Logits (T, V) whose softmax is these shares; 3 is added to all, which a softmax does not see."""
    import torch

    return torch.tensor(shares, dtype=torch.float64).log() + 3.0


def _answer_probes() -> list[tuple[Any, ...]]:
    import torch

    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [(logits, [0, 3, 1, 4, 2, 2], 2), (logits, [4, 4, 0, 1, 3, 0], 3), (logits[:4], [1, 2, 3, 4], 1)]


def _check_answer(answer: Answer) -> None:
    half = (0.5, 0.25, 0.125, 0.125)
    rows = _rows(half, (0.125, 0.5, 0.25, 0.125), (0.25, 0.25, 0.25, 0.25), half)
    cases: list[tuple[Any, list[int], int, float, str]] = [
        (rows, [3, 2, 1, 0], 3, math.log(0.25), "one token, asked for at the place before it"),
        (
            rows,
            [3, 2, 1, 0],
            2,
            math.log(0.5 * 0.25),
            "two tokens: their probabilities multiply, their logs add",
        ),
        (rows, [0, 1, 2, 3], 1, math.log(0.25 * 0.25 * 0.25), "three tokens after a request of one"),
        (_rows(half, half), [0, 2], 1, math.log(0.125), "the last place asks for nothing that is there"),
    ]
    for logits, ids, prompt, wanted, lesson in cases:
        found = answer(logits, ids, prompt)
        require(
            _close(found, wanted),
            f"{lesson}: ids {ids}, of which {prompt} are the request, have log-probability {wanted:.4f}, "
            f"but you give {_number(found):.4f}",
        )


ANSWER_STUB = '''
import torch

def answer_log_prob(logits, ids, prompt_length):
    """log p(answer | request) in nats. logits (T, V) of ids[0] … ids[T-1], of which prompt_length are the request."""
    ...  # your code
'''
ANSWER_SOLUTION = """
import torch

def answer_log_prob(logits, ids, prompt_length):
    log_probs = torch.log_softmax(logits, dim=-1)
    total = 0.0
    for place in range(prompt_length, len(ids)):
        total += float(log_probs[place - 1, ids[place]])
    return total
"""
ANSWER = Exercise(
    name="answer_log_prob",
    task="Add up the log-probabilities of the answer's tokens, each asked for at the place before it.",
    function="answer_log_prob",
    check=_check_answer,
    stub=ANSWER_STUB,
    solution=ANSWER_SOLUTION,
    hints=(
        "Row t of the logits is the guess about token t + 1. Which row guesses the first token of the answer?",
        "log_softmax over the vocabulary, then for each place from prompt_length on: row place − 1, column ids[place].",
        "sum(float(log_probs[p - 1, ids[p]]) for p in range(prompt_length, len(ids)))",
    ),
    mistakes={
        "no shift": Mistake(
            ANSWER_SOLUTION.replace("place - 1", "place"),
            "you asked each place for its own token: row t guesses token t + 1, so shift by one",
        ),
        "double shift": Mistake(
            ANSWER_SOLUTION.replace("place - 1", "place - 2"),
            "you shifted twice: the place before the token asks for it, not the one before that",
        ),
        "the request too": Mistake(
            ANSWER_SOLUTION.replace("range(prompt_length,", "range(1,"),
            "you judged the request too: both answers share it, and nobody is asked to prefer it",
        ),
        "first token lost": Mistake(
            ANSWER_SOLUTION.replace("range(prompt_length,", "range(prompt_length + 1,"),
            "you lost the first token of the answer: the last place of the request asks for it",
        ),
        "the mean": Mistake(
            ANSWER_SOLUTION.replace("return total", "return total / (len(ids) - prompt_length)"),
            "you took the mean: the probability of a whole answer is a product, so its log is a sum",
        ),
        "raw logits": Mistake(
            ANSWER_SOLUTION.replace("torch.log_softmax(logits, dim=-1)", "logits"),
            "you added up logits: they are no log-probabilities before log_softmax has taken off the normaliser",
        ),
        "over places": Mistake(
            ANSWER_SOLUTION.replace("dim=-1", "dim=0"),
            "you normalised over the places: the guess about one token is a row, over the vocabulary",
        ),
        "a probability": Mistake(
            ANSWER_SOLUTION.replace("return total", "return float(torch.tensor(total).exp())"),
            "you gave the probability itself: of a long answer it is a number with a hundred zeros, so keep its log",
        ),
    },
    probes=_answer_probes,
    same=_same,
)


# ---------------------------------------------------------------- 2. what a pair costs


def _check_loss(answer: Answer) -> None:
    ln2 = math.log(2)
    cases = [
        ((-10.0, -10.0, -10.0, -10.0, 0.1), ln2, "a policy that is the reference still"),
        (
            (-3.0, -40.0, -3.0, -40.0, 0.7),
            ln2,
            "also where the better answer is likelier: the reference knew that",
        ),
        ((-8.0, -10.0, -10.0, -10.0, 0.5), math.log1p(math.exp(-1.0)), "the chosen answer gained two nats"),
        ((-10.0, -12.0, -10.0, -10.0, 0.5), math.log1p(math.exp(-1.0)), "the rejected answer lost two nats"),
        ((-12.0, -12.0, -10.0, -10.0, 0.5), ln2, "both lost two nats: the difference is what it was"),
        ((-10.0, -8.0, -10.0, -10.0, 0.5), math.log1p(math.exp(1.0)), "the wrong answer gained"),
        ((-8.0, -10.0, -10.0, -10.0, 2.0), math.log1p(math.exp(-4.0)), "beta multiplies the margin"),
    ]
    for arguments, wanted, lesson in cases:
        found = answer(*arguments)
        require(
            _close(found, wanted),
            f"{lesson}: {arguments} costs {wanted:.4f}, but you give {_number(found):.4f}",
        )


LOSS_STUB = '''
import math

def preference_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    """What one pair costs, in nats, from the log-probabilities of both answers under policy and reference."""
    ...  # your code
'''
LOSS_SOLUTION = """
import math

def preference_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    reward_chosen = beta * (chosen - reference_chosen)
    reward_rejected = beta * (rejected - reference_rejected)
    margin = reward_chosen - reward_rejected
    return math.log1p(math.exp(-margin))
"""
LOSS = Exercise(
    name="preference_loss",
    task="Two rewards, their difference, and minus the log of the probability that the chosen answer wins.",
    function="preference_loss",
    check=_check_loss,
    stub=LOSS_STUB,
    solution=LOSS_SOLUTION,
    hints=(
        "The reward of an answer is beta times how much likelier it has become: log π − log π_ref.",
        "Bradley and Terry: the chosen answer wins with probability σ(margin) = 1 / (1 + e^−margin).",
        "math.log1p(math.exp(-margin)), which is −log σ(margin)",
    ),
    mistakes={
        "no reference": Mistake(
            LOSS_SOLUTION.replace("(chosen - reference_chosen)", "chosen").replace(
                "(rejected - reference_rejected)", "rejected"
            ),
            "you left out the reference: then a fluent answer has a reward for nothing it learned",
        ),
        "the wrong way round": Mistake(
            LOSS_SOLUTION.replace("reward_chosen - reward_rejected", "reward_rejected - reward_chosen"),
            "you took the margin the wrong way round: this makes the worse answer likelier",
        ),
        "no beta": Mistake(
            LOSS_SOLUTION.replace("beta * ", ""),
            "you left out beta: it says what a nat of distance from the reference is worth",
        ),
        "no log": Mistake(
            LOSS_SOLUTION.replace("math.log1p(math.exp(-margin))", "1 / (1 + math.exp(margin))"),
            "you took the probability of losing; the loss is minus the log of the probability of winning",
        ),
        "no minus": Mistake(
            LOSS_SOLUTION.replace("return math", "return -math"),
            "you forgot the minus: log σ is negative, and training makes the loss smaller",
        ),
        "only the chosen": Mistake(
            LOSS_SOLUTION.replace("margin = reward_chosen - reward_rejected", "margin = reward_chosen"),
            "you looked at the chosen answer alone: a preference is about two",
        ),
        "ratios of logs": Mistake(
            LOSS_SOLUTION.replace("chosen - reference_chosen", "chosen / reference_chosen").replace(
                "rejected - reference_rejected", "rejected / reference_rejected"
            ),
            "you divided log-probabilities: the log of a ratio is the difference of the logs",
        ),
        "beta outside": Mistake(
            LOSS_SOLUTION.replace("beta * (", "(").replace("return math.", "return beta * math."),
            "you multiplied the loss by beta: it belongs inside, where it says how soon a margin is enough",
        ),
    },
    probes=lambda: [
        (-8.0, -9.5, -10.0, -11.0, 0.3),
        (-20.0, -9.0, -18.0, -10.5, 0.6),
        (-5.0, -6.0, -4.0, -4.5, 1.5),
    ],
    same=_same,
)


# ---------------------------------------------------------------- 3. how far has it gone


def _check_kl(answer: Answer) -> None:
    log = math.log
    cases: list[tuple[list[float], list[float], list[float], str]] = [
        ([0.5, 0.5], [0.5, 0.5], [0.0], "the same distribution twice"),
        ([0.5, 0.5], [0.75, 0.25], [0.5 * log(2 / 3) + 0.5 * log(2)], "half of the time each"),
        (
            [0.75, 0.25],
            [0.5, 0.5],
            [0.75 * log(1.5) + 0.25 * log(0.5)],
            "not the same as the other way round",
        ),
        ([1.0, 0.0], [0.5, 0.5], [log(2)], "what the policy never says costs nothing, and 0 · log 0 is 0"),
        ([0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.6 * log(7)], "three answers, two of which changed places"),
    ]
    for policy, reference, (wanted,), lesson in cases:
        found = answer(policy, reference)
        require(
            _close(found, wanted),
            f"{lesson}: from {reference} to {policy} it is {wanted:.4f} nats, but you give {_number(found):.4f}",
        )


KL_STUB = '''
import math

def divergence(policy, reference):
    """KL(policy ‖ reference) in nats; two lists of the probabilities of the same answers."""
    ...  # your code
'''
KL_SOLUTION = """
import math

def divergence(policy, reference):
    total = 0.0
    for p, q in zip(policy, reference):
        if p > 0:
            total += p * math.log(p / q)
    return total
"""
KL = Exercise(
    name="divergence",
    task="How surprised would someone be who believes the reference and hears the policy?",
    function="divergence",
    check=_check_kl,
    stub=KL_STUB,
    solution=KL_SOLUTION,
    hints=(
        "It is a mean of log(policy / reference). Whose answers are the mean over?",
        "The policy's: each answer counts as often as the policy gives it.",
        "sum(p * math.log(p / q) for p, q in zip(policy, reference) if p > 0)",
    ),
    mistakes={
        "the other direction": Mistake(
            KL_SOLUTION.replace("if p > 0", "if p > 0 and q > 0").replace(
                "p * math.log(p / q)", "q * math.log(q / p)"
            ),
            "you took KL(reference ‖ policy): the mean is over what the policy says, and the two are not the same",
        ),
        "the wrong weight": Mistake(
            KL_SOLUTION.replace("p * math.log(p / q)", "q * math.log(p / q)"),
            "you weighed by the reference: each answer counts as often as the policy gives it",
        ),
        "no weight": Mistake(
            KL_SOLUTION.replace("p * math.log(p / q)", "math.log(p / q)"),
            "you added up the ratios unweighed: an answer that is never given would count like any other",
        ),
        "entropy": Mistake(
            KL_SOLUTION.replace("p * math.log(p / q)", "-p * math.log(p)"),
            "that is the policy's entropy: the reference is not in it",
        ),
        "cross-entropy": Mistake(
            KL_SOLUTION.replace("p * math.log(p / q)", "-p * math.log(q)"),
            "that is the cross-entropy: take off the policy's own entropy, or equal ones differ from themselves",
        ),
        "bits": Mistake(
            KL_SOLUTION.replace("math.log(p / q)", "math.log2(p / q)"),
            "that is in bits: nats take the natural logarithm",
        ),
        "absolute": Mistake(
            KL_SOLUTION.replace("p * math.log(p / q)", "p * abs(math.log(p / q))"),
            "you took absolute values: what has become rarer counts as negative, and only the whole sum is never so",
        ),
    },
    probes=lambda: [([0.2, 0.8], [0.4, 0.6]), ([0.3, 0.3, 0.4], [0.1, 0.5, 0.4]), ([0.05, 0.95], [0.6, 0.4])],
    same=_same,
)


EXERCISES = (ANSWER, LOSS, KL)

PREDICTIONS = (
    Prediction(
        "dpo_first_loss",
        math.log(2),
        "nats",
        "policy and reference are one model, so every margin is 0 and every pair a fair coin: −log ½ = ln 2, whatever "
        "the answers are",
    ),
    Prediction(
        "bradley_terry_two",
        1 / (1 + math.exp(-2.0)),
        "",
        "σ(2): a reward of two more does not win always, but in seven of eight comparisons",
    ),
    Prediction(
        "dpo_pull_in_order",
        (1 / (1 + math.exp(3.0))) / 0.5,
        "",
        "the pull is σ(−margin): ½ at the start, 0.047 at a margin of 3; what is in order is left alone",
    ),
    Prediction(
        "ipo_margin",
        1 / (2 * 0.1),
        "nats",
        "IPO pulls every pair to 1 / 2β and back again from beyond it; DPO never says that it is enough",
    ),
)
