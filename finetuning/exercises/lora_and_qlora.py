"""The exercises of notebook 03, with their checkers: an adapted layer, a block in four bits, and the bits of all that.

Each checker tests properties with numbers that can be counted by hand, so any right answer passes, and knows how it
usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic
mistake is named. Left out: training an adapter, which the notebook does with the book's own Trainer.
Notebook: `03_lora_and_qlora.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _matrix(rows: int, columns: int, seed: int) -> Any:
    import torch

    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _same_tensor(a: Any, b: Any) -> bool:
    import torch

    ok = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape
    return ok and bool(torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-12))


# ---------------------------------------------------------------- 1. an adapted layer


def _layer(rows: int, into: int, out: int, r: int, seed: int = 0) -> tuple[Any, ...]:
    """x, W, A, B of these sizes."""
    return (
        _matrix(rows, into, seed),
        _matrix(out, into, seed + 1),
        _matrix(r, into, seed + 2),
        _matrix(out, r, seed + 3),
    )


def _check_adapted(answer: Answer) -> None:
    import torch

    x, w, a, b = _layer(3, 5, 7, 2)
    found = answer(x, w, a, torch.zeros_like(b), 4.0)
    require(isinstance(found, torch.Tensor), f"give a tensor, not {type(found).__name__}")
    require(
        tuple(found.shape) == (3, 7), f"3 rows go in and 7 numbers come out of each, not {tuple(found.shape)}"
    )
    require(_same_tensor(found, x @ w.T), "with B = 0 the layer is x Wᵀ, and nothing else")
    for size, alpha in (((3, 5, 7, 2), 2.0), ((2, 6, 4, 3), 12.0), ((1, 4, 4, 1), 0.5)):
        x, w, a, b = _layer(*size, seed=7)
        change = torch.zeros(size[0], size[2], dtype=torch.float64)
        for k in range(size[3]):  # one direction after the other
            change += alpha / size[3] * torch.outer(x @ a[k], b[:, k])
        require(
            _same_tensor(answer(x, w, a, b, alpha), x @ w.T + change),
            f"with r = {size[3]} and alpha = {alpha:g} the change is alpha / r · x Aᵀ Bᵀ, on top of x Wᵀ",
        )


ADAPTED_STUB = '''
def adapted(x, W, A, B, alpha):
    """x (T, in), W (out, in), A (r, in), B (out, r) -> what the layer with its adapter gives, (T, out)."""
    ...  # your code
'''
ADAPTED_SOLUTION = """
def adapted(x, W, A, B, alpha):
    r = A.shape[0]
    return x @ W.T + alpha / r * (x @ A.T) @ B.T
"""
ADAPTED = Exercise(
    name="adapted",
    task="Write the forward pass of a linear map with an adapter, without ever building ΔW.",
    function="adapted",
    check=_check_adapted,
    stub=ADAPTED_STUB,
    solution=ADAPTED_SOLUTION,
    hints=(
        "Two paths, added: the old one, x Wᵀ, and a detour through r numbers.",
        "The detour: x @ A.T has shape (T, r), and @ B.T brings it to (T, out). How many rows has A?",
        "x @ W.T + alpha / A.shape[0] * (x @ A.T) @ B.T",
    ),
    mistakes={
        "no scale": Mistake(
            ADAPTED_SOLUTION.replace("alpha / r * ", ""),
            "you left out alpha / r: the size of the change would depend on the rank, and every other rank would need "
            "another learning rate",
        ),
        "alpha alone": Mistake(
            ADAPTED_SOLUTION.replace("alpha / r", "alpha"),
            "you scaled by alpha and not by alpha / r: with twice the rank the change would be twice as large",
        ),
        "r of the wrong side": Mistake(
            ADAPTED_SOLUTION.replace("A.shape[0]", "A.shape[1]"),
            "you divided by the number of inputs: r is the thin side, the rows of A and the columns of B",
        ),
        "the base is scaled too": Mistake(
            ADAPTED_SOLUTION.replace(
                "x @ W.T + alpha / r * (x @ A.T) @ B.T", "alpha / r * (x @ W.T + (x @ A.T) @ B.T)"
            ),
            "you scaled the base as well: only the change has the factor alpha / r",
        ),
        "the base is gone": Mistake(
            ADAPTED_SOLUTION.replace("x @ W.T + ", ""),
            "you gave the change alone: the frozen matrix still does its work beside it",
        ),
    },
    probes=lambda: [(*_layer(2, 5, 7, 2, 3), 3.0), (*_layer(4, 6, 3, 3, 5), 9.0)],
    same=_same_tensor,
)

# ---------------------------------------------------------------- 2. a block in four bits

CODES = (-1.0, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6, 1.0)  # eight are enough to practise on


def _codes() -> Any:
    import torch

    return torch.tensor(CODES, dtype=torch.float64)


def _vector(*numbers: float) -> Any:
    import torch

    return torch.tensor(numbers, dtype=torch.float64)


def _check_block(answer: Answer) -> None:
    cases = [
        (_vector(0.5, -0.25, 0.15, 0.0), [7, 1, 5, 3], 0.5, "each number over 0.5 is a code exactly"),
        (
            _vector(-4.0, 2.3, 0.1, -0.9),
            [0, 6, 3, 2],
            4.0,
            "the largest is negative here: 4 in absolute value",
        ),
        (_vector(0.01, 0.0029, -0.0049, 0.0), [7, 5, 1, 3], 0.01, "small numbers use all codes as well"),
    ]
    for block, indexes, absmax, lesson in cases:
        found = answer(block.clone(), _codes())
        require(
            isinstance(found, tuple | list) and len(found) == 2,
            "give two things back: the indexes and the absmax",
        )
        got = [int(i) for i in found[0]]
        require(
            math.isclose(float(found[1]), absmax, rel_tol=1e-12),
            f"{lesson}: absmax of {block.tolist()} is {absmax:g}, not {float(found[1]):g}",
        )
        require(got == indexes, f"{lesson}: the nearest codes of {block.tolist()} are {indexes}, not {got}")


def _same_block(a: Any, b: Any) -> bool:
    return [int(i) for i in a[0]] == [int(i) for i in b[0]] and math.isclose(float(a[1]), float(b[1]))


BLOCK_STUB = '''
def quantize_block(block, codes):
    """Numbers (n,) and sorted codes (k,) in [-1, 1] -> the index of each number's nearest code, and the absmax."""
    ...  # your code
'''
BLOCK_SOLUTION = """
def quantize_block(block, codes):
    absmax = block.abs().max()
    distance = (block[:, None] / absmax - codes).abs()
    return distance.argmin(dim=1), absmax
"""
BLOCK = Exercise(
    name="quantize_block",
    task="Turn a block of weights into code numbers and one constant.",
    function="quantize_block",
    check=_check_block,
    stub=BLOCK_STUB,
    solution=BLOCK_SOLUTION,
    hints=(
        "Codes lie in [-1, 1]. What must the block be divided by, so that its farthest number lands on an end?",
        "block / block.abs().max(), then the distance of each number to each code: block[:, None] - codes.",
        "(block[:, None] / absmax - codes).abs().argmin(dim=1), absmax",
    ),
    mistakes={
        "largest, not farthest": Mistake(
            BLOCK_SOLUTION.replace("block.abs().max()", "block.max()"),
            "you took the largest number and not the largest absolute value: a block whose farthest number is negative "
            "runs out of the codes",
        ),
        "not divided": Mistake(
            BLOCK_SOLUTION.replace(" / absmax", ""),
            "you compared the numbers with the codes before dividing: small blocks would use two or three codes only",
        ),
        "the code below": Mistake(
            BLOCK_SOLUTION.replace(
                "    distance = (block[:, None] / absmax - codes).abs()\n    return distance.argmin(dim=1), absmax",
                "    return (block[:, None] / absmax >= codes).sum(dim=1) - 1, absmax",
            ),
            "you took the code below and not the nearest: every weight would move down a little",
        ),
        "divided by the mean": Mistake(
            BLOCK_SOLUTION.replace("block.abs().max()", "block.abs().mean()"),
            "you divided by the mean absolute value: everything above it would be cut off at the outermost code",
        ),
    },
    probes=lambda: [
        (_vector(-3.0, 0.4, 1.0, 0.05, -0.35), _codes()),
        (_vector(0.02, -0.05, 0.011, 0.0042), _codes()),
    ],
    same=_same_block,
)

# ---------------------------------------------------------------- 3. bits


def _check_bits(answer: Answer) -> None:
    for block, second, wanted, lesson in (
        (64, 256, 4 + 8 / 64 + 64 / 64 / 256, "blocks of 64, and 256 of their constants together"),
        (
            64,
            1_000_000_000,
            4 + 8 / 64 + 64 / 64 / 1e9,
            "so many constants together that their own cost nothing",
        ),
        (32, 1, 4 + 8 / 32 + 64 / 32, "one constant alone would need two floats of its own"),
    ):
        found = answer(block, second)
        require(isinstance(found, int | float), f"give a number, not {type(found).__name__}")
        require(
            math.isclose(found, wanted, rel_tol=1e-9),
            f"{lesson}: {wanted:.6g} bits a weight, not {found:.6g}",
        )


BITS_STUB = '''
def bits_per_weight(block, second):
    """4-bit codes; a byte for each `block` weights; for each `second` such bytes two floats of 32 bits."""
    ...  # your code
'''
BITS_SOLUTION = """
def bits_per_weight(block, second):
    return 4 + 8 / block + 2 * 32 / (block * second)
"""
BITS = Exercise(
    name="bits_per_weight",
    task="Count the bits of a weight under double quantization, constants included.",
    function="bits_per_weight",
    check=_check_bits,
    stub=BITS_STUB,
    solution=BITS_SOLUTION,
    hints=(
        "Three layers: codes, constants, constants of constants. Share each out over the weights that it serves.",
        "A byte serves `block` weights. Two floats serve `second` bytes; how many weights is that?",
        "4 + 8 / block + 2 * 32 / (block * second)",
    ),
    mistakes={
        "constants in floats": Mistake(
            BITS_SOLUTION.replace("8 / block + 2 * 32 / (block * second)", "32 / block"),
            "you counted the constants as floats, 4.5 bits: that is NF4 without double quantization",
        ),
        "weights, not blocks": Mistake(
            BITS_SOLUTION.replace("(block * second)", "second"),
            "you shared the two floats over `second` weights: they serve `second` blocks of weights",
        ),
        "one float": Mistake(
            BITS_SOLUTION.replace("2 * 32", "32"),
            "you counted one float on top: there is a step and a mean",
        ),
        "codes forgotten": Mistake(
            BITS_SOLUTION.replace("4 + 8", "8"),
            "you counted the constants alone: each weight has its four bits besides",
        ),
    },
    probes=lambda: [(64, 256), (32, 16), (128, 3)],
    same=lambda a, b: isinstance(a, int | float) and math.isclose(a, b),
)

EXERCISES = [ADAPTED, BLOCK, BITS]


def adapter_numbers(r: int, width: int = 768, layers: int = 12) -> int:
    """Numbers of an adapter on every linear map of GPT-2's blocks: r · (in + out) for each.

    >>> adapter_numbers(8)
    1179648
    """
    maps = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    return layers * sum(r * (into + out) for into, out in maps)


PREDICTIONS = [
    Prediction(
        "lora_square_share",
        2 * 8 / 768,
        "",
        "r · (in + out) of in · out numbers: 2 · 8 · 768 of 768², one in 48",
    ),
    Prediction(
        "lora_gpt2_numbers",
        adapter_numbers(8),
        "numbers",
        "8 · (in + out) for four maps in each of 12 layers, 0.95 % of 124 million",
    ),
    Prediction(
        "nf4_block_codes",
        16,
        "values",
        "four bits name sixteen values, whatever the sixteen are",
    ),
    Prediction(
        "nf4_double_bits",
        4 + 8 / 64 + 64 / (64 * 256),
        "bits",
        "four for the code, a byte for 64 weights, two floats for 256 such bytes",
    ),
]
