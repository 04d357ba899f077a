"""The exercises of notebook 03, with their checkers: a step of AdamW, what GaLore keeps, a step without favourites.

Each checker tests properties against torch's own optimizer, a count and an SVD, so any right answer passes, and knows
how the step usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and
each classic mistake is named. Left out: schedules (notebook 01 of this chapter).
Notebook: `03_optimizers.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. one step of AdamW

SETTINGS = {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-2, "decay": 0.5}


def _walk(answer: Answer, steps: int, decay: float = 0.5) -> tuple[list[float], list[float]]:
    """Where `answer` and torch's AdamW take three weights."""
    import torch

    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(steps)]
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    s = {**SETTINGS, "decay": decay}
    theirs = torch.nn.Parameter(start.clone())
    reference = torch.optim.AdamW([theirs], s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["decay"])
    ours, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t, g in enumerate(gradients, start=1):
        theirs.grad = g.clone()
        reference.step()
        found = answer(ours.clone(), g.clone(), m.clone(), v.clone(), t, **s)
        require(isinstance(found, tuple | list) and len(found) == 3, "give three tensors back: weights, m, v")
        ours, m, v = found
        require(
            all(isinstance(x, torch.Tensor) and x.shape == start.shape for x in found),
            "weights, m and v keep their shapes",
        )
    return ours.tolist(), theirs.detach().tolist()


def _near(a: list[float], b: list[float]) -> bool:
    return all(abs(x - y) <= 1e-9 * (1 + abs(y)) for x, y in zip(a, b, strict=True))


def _check_adamw(answer: Answer) -> None:
    for steps, decay, lesson in (
        (
            1,
            0.0,
            "the first step without decay is not AdamW's: both means begin at zero and have to be corrected",
        ),
        (6, 0.0, "six steps without decay end elsewhere than AdamW's: what is handed on from step to step?"),
        (
            6,
            0.5,
            "with decay it ends elsewhere than AdamW's: decay shrinks the weights beside the step, not through it",
        ),
    ):
        require(_near(*_walk(answer, steps, decay)), lesson)


def _same_walk(a: Any, b: Any) -> bool:
    import torch

    return all(torch.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in zip(a, b, strict=True))


def _adamw_probes() -> list[tuple[Any, ...]]:
    import torch

    def vector(*numbers: float) -> Any:
        return torch.tensor(numbers, dtype=torch.float64)

    p, g = vector(1.0, -2.0, 0.5), vector(0.3, -0.2, 0.7)
    m, v = vector(0.1, 0.2, -0.3), vector(0.05, 0.1, 0.2)
    values = tuple(SETTINGS.values())
    return [(p, g, m * 0, v * 0, 1, *values), (p, g, m, v, 2, *values), (p, g, m, v, 7, *values)]


ADAMW_STUB = '''
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    """Weights, gradient, the two means so far, the number t = 1, 2, … of this step -> new weights, m, v."""
    ...  # your code
'''
ADAMW_SOLUTION = """
def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * decay * p
    p = p - lr * m_hat / (v_hat**0.5 + eps)
    return p, m, v
"""

ADAMW = Exercise(
    name="adamw_step",
    task="Write one step of AdamW: two running means, their correction, decay beside the step.",
    function="adamw_step",
    check=_check_adamw,
    stub=ADAMW_STUB,
    solution=ADAMW_SOLUTION,
    hints=(
        "m is a running mean of g, v of g². After one step m is only (1 - beta1) · g: by what must it be divided?",
        "m / (1 - beta1**t) and v / (1 - beta2**t) are used for the step; m and v themselves are handed on.",
        "p shrinks by lr · decay · p, then moves by -lr · m_hat / (sqrt(v_hat) + eps).",
    ),
    mistakes={
        "decay in the gradient": Mistake(
            ADAMW_SOLUTION.replace("    m = beta1", "    g = g + decay * p\n    m = beta1", 1).replace(
                "    p = p - lr * decay * p\n", ""
            ),
            "you added the decay to the gradient (Adam with L2): it is then divided by the root of v, and weights with "
            "large gradients hardly decay. The W in AdamW is to keep it apart",
        ),
        "no correction": Mistake(
            ADAMW_SOLUTION.replace("m / (1 - beta1**t)", "m").replace("v / (1 - beta2**t)", "v"),
            "you left out the correction: the means begin at zero, and the first steps have a wrong size",
        ),
        "corrected means handed on": Mistake(
            ADAMW_SOLUTION.replace("return p, m, v", "return p, m_hat, v_hat"),
            "you handed on the corrected means: they would be corrected again at the next step",
        ),
        "eps under the root": Mistake(
            ADAMW_SOLUTION.replace("(v_hat**0.5 + eps)", "(v_hat + eps)**0.5"),
            "you put eps under the root: there it acts as its own root, 1e-8 like 1e-4",
        ),
        "no root": Mistake(
            ADAMW_SOLUTION.replace("(v_hat**0.5 + eps)", "(v_hat + eps)"),
            "you divided by the mean square and not by its root: the step would grow when gradients shrink",
        ),
    },
    probes=_adamw_probes,
    same=_same_walk,
)

# ---------------------------------------------------------------- 2. what GaLore keeps


def _check_galore(answer: Answer) -> None:
    for m, n, r, expected, lesson in (
        (
            768,
            3072,
            128,
            884_736,
            "768 × 3072 at rank 128: a projector of 768 × 128 and two moments of 128 × 3072",
        ),
        (
            3072,
            768,
            128,
            884_736,
            "a tall matrix keeps as many numbers as a wide one: the short side is projected",
        ),
        (64, 64, 8, 64 * 8 + 2 * 64 * 8, "a square matrix has a short side too"),
        (
            10,
            20,
            10,
            400,
            "at full rank there is nothing to project: two moments of the whole matrix, no projector",
        ),
        (10, 20, 50, 400, "a rank above the short side is full rank"),
    ):
        found = answer(m, n, r)
        require(isinstance(found, int | float), f"give a number, not {type(found).__name__}")
        require(found == expected, f"{lesson}: {expected:,} numbers, not {found:,}")


GALORE_STUB = '''
def galore_numbers(m, n, r):
    """How many numbers GaLore keeps for an m × n matrix at rank r: projector and both moments."""
    ...  # your code
'''
GALORE_SOLUTION = """
def galore_numbers(m, n, r):
    short, long = min(m, n), max(m, n)
    if r >= short:
        return 2 * m * n
    return short * r + 2 * long * r
"""

GALORE = Exercise(
    name="galore_numbers",
    task="Count what GaLore keeps for a matrix.",
    function="galore_numbers",
    check=_check_galore,
    stub=GALORE_STUB,
    solution=GALORE_SOLUTION,
    hints=(
        "Draw the shapes: PᵀG with P on the short side. Which shape has P, and which has what comes out?",
        "P is short × r; PᵀG is r × long, and Adam keeps two numbers for each of its entries.",
        "short * r + 2 * long * r, and 2 * m * n where r is not below the short side.",
    ),
    mistakes={
        "no projector": Mistake(
            GALORE_SOLUTION.replace("short * r + 2", "2"),
            "you forgot the projector: it has to be kept until the next refresh",
        ),
        "one moment": Mistake(
            GALORE_SOLUTION.replace("+ 2 * long * r", "+ long * r").replace("2 * m * n", "m * n"),
            "you counted one moment: Adam keeps two, the mean of the gradient and of its square",
        ),
        "long side": Mistake(
            GALORE_SOLUTION.replace("short * r + 2 * long * r", "long * r + 2 * short * r"),
            "you projected the long side: fewer numbers still, but the steps live in r directions of the larger space "
            "(galore-torch calls it reverse_std); GaLore projects the short side",
        ),
        "rotated at full rank": Mistake(
            GALORE_SOLUTION.replace("    if r >= short:\n        return 2 * m * n\n", ""),
            "you keep a projector at full rank: it would only rotate, and cost more than AdamW",
        ),
    },
    probes=lambda: [(768, 3072, 128), (30, 20, 4), (10, 20, 10)],
)

# ---------------------------------------------------------------- 3. a step without favourites


def _matrix(m: int, n: int, seed: int = 0, scale: float = 1.0) -> Any:
    import torch

    return scale * torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _check_ortho(answer: Answer) -> None:
    import torch

    for shape, scale in (((6, 10), 1.0), ((10, 6), 1.0), ((8, 8), 1e-3), ((6, 10), 50.0)):
        g = _matrix(*shape, scale=scale)
        found = answer(g.clone())
        require(isinstance(found, torch.Tensor), f"give a tensor, not {type(found).__name__}")
        require(
            tuple(found.shape) == shape,
            f"the shape stays {shape}, yours is {tuple(found.shape)}: turn it back",
        )
        require(
            bool(torch.isfinite(found).all()),
            "it grew without bound: no singular value may be above 1 to begin with",
        )
        u, s, vh = torch.linalg.svd(g, full_matrices=False)
        s = s / s.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        require(
            bool(torch.allclose(found, u @ torch.diag(s) @ vh, atol=1e-8)),
            "the singular vectors stay and each singular value goes through a·s + b·s³ + c·s⁵ five times, after "
            "division by the norm of the whole matrix",
        )


def _same_matrix(a: Any, b: Any) -> bool:
    import torch

    ok = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape
    return ok and bool(torch.allclose(a, b, atol=1e-8, equal_nan=True))


def _ortho_probes() -> list[tuple[Any, ...]]:
    """Small enough that not dividing at all stays finite; the second has no singular value above its largest entry."""
    import torch

    steep = torch.zeros(3, 4, dtype=torch.float64)
    steep[range(3), range(3)] = torch.tensor([0.1, 0.05, 0.02], dtype=torch.float64)
    return [(_matrix(4, 6, scale=0.02),), (steep,), (_matrix(5, 3, 3, 0.03),)]


ORTHO_STUB = '''
def orthogonalize(g):
    """A matrix with the singular vectors of g and singular values near 1: five steps, products only."""
    a, b, c = 3.4445, -4.7750, 2.0315
    ...  # your code
'''
ORTHO_SOLUTION = """
def orthogonalize(g):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / g.norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
"""

ORTHO = Exercise(
    name="orthogonalize",
    task="Make all singular values nearly equal, with matrix products only.",
    function="orthogonalize",
    check=_check_ortho,
    stub=ORTHO_STUB,
    solution=ORTHO_SOLUTION,
    hints=(
        "With X = U S Vᵀ, the product X Xᵀ X is U S³ Vᵀ. So a polynomial in S is a sum of products of X.",
        "Divide by the norm first. Then x = a·x + b·(x xᵀ) x + c·(x xᵀ)(x xᵀ) x, five times.",
        "gram = x @ x.T; x = a * x + (b * gram + c * gram @ gram) @ x.",
    ),
    mistakes={
        "not divided": Mistake(
            ORTHO_SOLUTION.replace("g / g.norm()", "g"),
            "you did not divide by the norm: above 1 the polynomial grows instead of settling, and below it starts "
            "anywhere",
        ),
        "by the largest entry": Mistake(
            ORTHO_SOLUTION.replace("g.norm()", "g.abs().max()"),
            "you divided by the largest entry: that bounds entries, not singular values, which may still be above 1",
        ),
        "b and c exchanged": Mistake(
            ORTHO_SOLUTION.replace("b * gram + c * gram @ gram", "c * gram + b * gram @ gram"),
            "you exchanged b and c: b belongs to s³, one Gram matrix, c to s⁵, two",
        ),
        "one step": Mistake(
            ORTHO_SOLUTION.replace("range(5)", "range(1)"),
            "you took one step: each lifts small singular values about 3.4 times, so a single one is not enough",
        ),
        "signs": Mistake(
            "\ndef orthogonalize(g):\n    return g.sign()\n",
            "you took the sign of each entry: that is Lion's idea. Here the sign is taken of singular values",
        ),
    },
    probes=_ortho_probes,
    same=_same_matrix,
)

EXERCISES = [ADAMW, GALORE, ORTHO]

PREDICTIONS = [
    Prediction(
        "steps_to_halve_flat",
        69,
        "steps",
        "each multiplies it by 1 - 1/100, and 0.99 to the power of 69 is one half",
    ),
    Prediction(
        "adams_first_step",
        0.001,
        "",
        "m/√v is ±1 after the first correction, so each weight moves by exactly lr, whatever its gradient",
    ),
    Prediction(
        "rank_of_eight_tokens",
        8,
        "directions",
        "a weight's gradient is a sum of one outer product for each token",
    ),
    Prediction(
        "galore_times_smaller",
        4_718_592 / 884_736,
        "times",
        "2·768·3072 against 768·128 + 2·128·3072 numbers",
    ),
    Prediction(
        "products_of_muon", 15, "products", "five steps of three: the Gram matrix, its square, and times X"
    ),
]
