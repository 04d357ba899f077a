"""The exercises of notebook 02, with their checkers: a share of the peak, a law about parts, a loss with its gradient.

Each checker tests properties against a count, a sum of times or torch's own cross-entropy, so any right answer passes,
and knows how the thing usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub
fails and each classic mistake is named. Left out: schedules and clipping (notebook 01 of this chapter).
Notebook: `02_faster_measure_then_change.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _near(a: Any, b: float) -> bool:
    return isinstance(a, int | float) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


# ---------------------------------------------------------------- 1. the share of the peak


def _check_mfu(answer: Answer) -> None:
    for n, layers, width, context, speed, peak, lesson in (
        (
            10**6,
            0,
            0,
            0,
            1000.0,
            1e12,
            "without attention a token costs 6 N: 1 M parameters at 1,000 tokens/s are 6 GFLOP/s",
        ),
        (
            0,
            2,
            8,
            16,
            10.0,
            1e6,
            "without matrices the table of attention is left: 12 · layers · width · context",
        ),
        (124_000_000, 12, 768, 1024, 100_000.0, 989.5e12, "GPT-2 on one H200 at 100,000 tokens/s"),
    ):
        expected = speed * (6 * n + 12 * layers * width * context) / peak
        found = answer(n, layers, width, context, speed, peak)
        require(isinstance(found, int | float), f"give a number, not {type(found).__name__}")
        require(_near(found, expected), f"{lesson}: a share of {expected:.4g}, not {found:.4g}")


MFU_STUB = '''
def mfu(n, layers, width, context, tokens_per_second, peak):
    """Parameters in products, layers, heads × their width, tokens of context -> share of the peak (FLOP/s)."""
    ...  # your code
'''
MFU_SOLUTION = """
def mfu(n, layers, width, context, tokens_per_second, peak):
    per_token = 6 * n + 12 * layers * width * context
    return tokens_per_second * per_token / peak
"""

MFU = Exercise(
    name="mfu",
    task="Say which share of a machine's peak a training run uses.",
    function="mfu",
    check=_check_mfu,
    stub=MFU_STUB,
    solution=MFU_SOLUTION,
    hints=(
        "First the FLOPs that the model needs for one token: in how many products does a weight take part?",
        "6 for each weight: a multiplication and an addition, forward and for both gradients. Attention comes on top.",
        "tokens_per_second * (6 * n + 12 * layers * width * context) / peak",
    ),
    mistakes={
        "forward only": Mistake(
            MFU_SOLUTION.replace("6 * n + 12 *", "2 * n + 4 *"),
            "you counted the forward pass alone: training needs the gradients of both factors too, three times as much",
        ),
        "attention left out": Mistake(
            MFU_SOLUTION.replace(" + 12 * layers * width * context", ""),
            "you left out the table of attention: at long contexts it is most of the work",
        ),
        "a multiply-add as one": Mistake(
            MFU_SOLUTION.replace("6 * n + 12 *", "3 * n + 6 *"),
            "you counted a multiplication and its addition as one: data sheets count them as two",
        ),
        "upside down": Mistake(
            MFU_SOLUTION.replace(
                "tokens_per_second * per_token / peak", "peak / (tokens_per_second * per_token)"
            ),
            "you divided the peak by the use: a share is at most 1",
        ),
    },
    probes=lambda: [
        (10**6, 0, 0, 0, 1000.0, 1e12),
        (124_000_000, 12, 768, 1024, 1e5, 1e15),
        (5, 2, 3, 7, 11.0, 1e4),
    ],
    same=_near,
)

# ---------------------------------------------------------------- 2. Amdahl's law


def _check_amdahl(answer: Answer) -> None:
    for share, factor, lesson in (
        (1.0, 4.0, "when all of it gets four times as fast, so does the whole"),
        (0.0, 9.0, "when nothing of it gets faster, the whole does not either"),
        (0.5, 2.0, "half of the time halved is a quarter saved: 1 / 0.75"),
        (0.1, 1e9, "a tenth of the time cannot save more than a tenth, however fast it gets"),
        (0.25, 0.5, "a part that gets slower slows the whole: 1 / 1.25"),
    ):
        expected = 1 / ((1 - share) + share / factor)
        found = answer(share, factor)
        require(isinstance(found, int | float), f"give a number, not {type(found).__name__}")
        require(_near(found, expected), f"{lesson}: {expected:.4g}, not {found:.4g}")


AMDAHL_STUB = '''
def whole_speedup(share, factor):
    """A part takes `share` (0 … 1) of the time and becomes `factor` times as fast: how much faster is the whole?"""
    ...  # your code
'''
AMDAHL_SOLUTION = """
def whole_speedup(share, factor):
    left = (1 - share) + share / factor
    return 1 / left
"""

AMDAHL = Exercise(
    name="whole_speedup",
    task="Say how much faster the whole gets when a part of it does.",
    function="whole_speedup",
    check=_check_amdahl,
    stub=AMDAHL_STUB,
    solution=AMDAHL_SOLUTION,
    hints=(
        "Let the whole take 1 second. How long do the untouched rest and the faster part take together?",
        "The rest takes 1 - share, the part share / factor.",
        "1 / ((1 - share) + share / factor)",
    ),
    mistakes={
        "shares of speed": Mistake(
            AMDAHL_SOLUTION.replace("(1 - share) + share / factor", "1 / ((1 - share) + share * factor)"),
            "you averaged speeds: it is the times that add up",
        ),
        "the rest forgotten": Mistake(
            AMDAHL_SOLUTION.replace("(1 - share) + share / factor", "share / factor if share else 1"),
            "you forgot the rest: it takes as long as before",
        ),
        "the time that is left": Mistake(
            AMDAHL_SOLUTION.replace("return 1 / left", "return left"),
            "you gave the time that is left, not how many times faster it is: 1 divided by it",
        ),
    },
    probes=lambda: [(0.5, 2.0), (0.2, 10.0), (0.9, 3.0)],
    same=_near,
)

# ---------------------------------------------------------------- 3. the loss with its gradient


def _case(name: str) -> tuple[Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([1, 3, 0, 0, 2])
    if name == "ignored":
        targets = torch.tensor([1, -100, 0, -100, 2])
    return (1000.0 * logits if name == "far" else logits), targets


def _check_loss(answer: Answer) -> None:
    import torch
    import torch.nn.functional as F

    for name, lesson in (
        ("all", "with a label in each row"),
        ("ignored", "with labels of -100, which do not count, in the loss or in its mean"),
        ("far", "with logits a thousand apart: a share becomes 0 there, and its logarithm -inf"),
    ):
        logits, targets = _case(name)
        leaf = logits.clone().requires_grad_()
        expected = F.cross_entropy(leaf, targets)
        expected.backward()
        found = answer(logits.clone(), targets.clone())
        require(
            isinstance(found, tuple | list) and len(found) == 2,
            "give two things back: the mean loss and the gradient",
        )
        loss, gradient = found
        require(
            isinstance(gradient, torch.Tensor) and gradient.shape == logits.shape,
            "the gradient has a number for each logit",
        )
        value = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
        require(
            math.isclose(value, expected.item(), rel_tol=1e-9),
            f"{lesson} the loss is {expected.item():.4f}, not {value:.4f}",
        )
        worst = float((gradient - leaf.grad).abs().max())
        require(worst < 1e-9, f"{lesson} the gradient is off by {worst:.2g}")


def _same_loss(a: Any, b: Any) -> bool:
    import torch

    return all(
        torch.allclose(
            torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64), equal_nan=True
        )
        for x, y in zip(a, b, strict=True)
    )


LOSS_STUB = '''
def loss_and_gradient(logits, targets):
    """logits (N, V), targets (N,), -100 where there is none -> mean loss of those that count, gradient (N, V)."""
    ...  # your code
'''
LOSS_SOLUTION = """
def loss_and_gradient(logits, targets):
    counted = targets != -100
    n = counted.sum()
    right = targets.clamp(min=0)
    rows = range(len(logits))
    losses = logits.logsumexp(1) - logits[rows, right]
    gradient = logits.softmax(1)
    gradient[rows, right] -= 1
    gradient[~counted] = 0
    return losses[counted].sum() / n, gradient / n
"""

LOSS = Exercise(
    name="loss_and_gradient",
    task="Give the cross-entropy and its gradient to the logits, without autograd.",
    function="loss_and_gradient",
    check=_check_loss,
    stub=LOSS_STUB,
    solution=LOSS_SOLUTION,
    hints=(
        "A row's loss is log Σ exp(z) - z[target]. What is the derivative of each of the two terms to z?",
        "softmax(z) for the first, a one at the target for the second. Rows with -100 have loss 0 and gradient 0.",
        "gradient = (softmax - one-hot) / counted rows; the loss with torch.logsumexp, never with log(softmax).",
    ),
    mistakes={
        "no one-hot": Mistake(
            LOSS_SOLUTION.replace("    gradient[rows, right] -= 1\n", ""),
            "you left out the one at the target: the gradient would push every logit down, the right one too",
        ),
        "mean over all rows": Mistake(
            LOSS_SOLUTION.replace("n = counted.sum()", "n = len(targets)"),
            "you divided by all rows: the mean is over those that have a label",
        ),
        "sum for a mean": Mistake(
            LOSS_SOLUTION.replace("gradient / n", "gradient"),
            "your gradient is that of the sum, your loss a mean",
        ),
        "log of softmax": Mistake(
            LOSS_SOLUTION.replace(
                "logits.logsumexp(1) - logits[rows, right]", "-logits.softmax(1)[rows, right].log()"
            ),
            "you took the logarithm of a softmax: a share that has become 0 gives infinity. Use logsumexp",
        ),
        "gradient where no label is": Mistake(
            LOSS_SOLUTION.replace("    gradient[~counted] = 0\n", ""),
            "you gave a gradient to rows without a label: padding would learn to be token 0",
        ),
    },
    probes=lambda: [_case("all"), _case("ignored"), _case("far")],
    same=_same_loss,
)

EXERCISES = [MFU, AMDAHL, LOSS]

PREDICTIONS = [
    Prediction("flops_a_token", 6.0, "FLOPs a parameter", "Forward two, and two for each factor's gradient."),
    Prediction(
        "bytes_of_logits",
        4 * 16 * 256 * 5000 / 1e6,
        "MB",
        "And every pass over them is a walk through memory.",
    ),
    Prediction(
        "bf16_count", 256.0, "", "Eight significant bits: 257 lies halfway and goes to the even neighbour."
    ),
    Prediction(
        "scores_needed", 0.625, "of the table", "Block i of 4 needs i of 4 columns: (1 + 2 + 3 + 4) / 16."
    ),
    Prediction(
        "adamw_bytes",
        28.0,
        "bytes a parameter",
        "Read weight, gradient, m, v; write weight, m, v: seven times four.",
    ),
    Prediction("amdahl_tenth", 1 / 0.9, "times", "The other nine tenths take as long as before."),
]
