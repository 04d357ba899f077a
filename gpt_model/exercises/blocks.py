"""The exercises of notebook 01, with their checkers: a layer norm, a gated layer, and a block that adds.

Each checker tests properties on small tensors, so any right answer passes, and knows how the step usually goes
wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is
named. Left out: RMSNorm and GroupNorm, dropout, and attention itself.
Notebook: `01_blocks.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-9))
    return bool(a == b)


def _require_shape(found: Any, wanted: tuple[int, ...]) -> None:
    require(isinstance(found, Tensor), f"give a tensor, not {type(found).__name__}")
    require(
        found.shape == wanted,
        f"a block's parts keep the shape of what they get, {wanted}, but yours gives {tuple(found.shape)}",
    )


# ---------------------------------------------------------------- 1. LayerNorm


def _check_layer_norm(answer: Answer) -> None:
    for rows, tokens, width in ((1, 1, 6), (2, 5, 6), (3, 3, 3)):
        x = _normal(rows, tokens, width, seed=width) + 2
        plain = answer(x.clone(), torch.ones(width), torch.zeros(width), 1e-5)
        _require_shape(plain, (rows, tokens, width))
        require(
            bool((plain.mean(-1).abs() < 1e-6).all()),
            "with a gain of 1 and a bias of 0, the numbers of each token must have mean 0",
        )
        wanted = x.var(-1, correction=0) / (x.var(-1, correction=0) + 1e-5)
        require(
            torch.allclose(plain.square().mean(-1), wanted, atol=1e-6),
            "with a gain of 1 and a bias of 0, the squares of each token must have mean var / (var + eps), nearly 1",
        )
        weight, bias = _normal(width, seed=1), _normal(width, seed=2)
        require(
            torch.allclose(answer(x.clone(), weight, bias, 1e-5), plain * weight + bias, atol=1e-6),
            "each feature is multiplied by its gain (weight) and then gets its bias, after the division",
        )
    small = 1e-4 * _normal(2, 4, 6, seed=9)
    require(
        torch.allclose(
            answer(small.clone(), torch.ones(6), torch.zeros(6), 1e-2),
            F.layer_norm(small, (6,), None, None, 1e-2),
            atol=1e-9,
        ),
        "eps stands under the root, beside the variance: a token whose numbers are nearly equal stays small",
    )


LAYER_NORM_STUB = '''
def layer_norm(x, weight, bias, eps=1e-5):
    """LayerNorm of x (batch, tokens, width), each token alone; weight and bias have `width` numbers."""
    ...  # your code
'''
LAYER_NORM_SOLUTION = """
def layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias
"""
LAYER_NORM = Exercise(
    name="layer_norm",
    task="Subtract each token's mean, divide by its standard deviation, then gain and bias.",
    function="layer_norm",
    check=_check_layer_norm,
    stub=LAYER_NORM_STUB,
    solution=LAYER_NORM_SOLUTION,
    hints=(
        "Mean and variance are taken over the features of ONE token: over which dimension of (batch, tokens, width)?",
        "Over the last, with keepdim=True so that it can be subtracted. The variance is the mean of squares, over all "
        "width numbers; eps joins it before the root.",
        "centred = x - x.mean(-1, keepdim=True); centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt(); "
        "then * weight + bias.",
    ),
    mistakes={
        "width - 1": Mistake(
            LAYER_NORM_SOLUTION.replace("centred.square().mean(-1, keepdim=True)", "x.var(-1, keepdim=True)"),
            "you divided the squares by width - 1, as torch's var() and std() do by themselves: LayerNorm divides by "
            "width (correction=0)",
        ),
        "over tokens": Mistake(
            LAYER_NORM_SOLUTION.replace("mean(-1,", "mean(1,"),
            "you took mean and variance over the tokens: then the past sees the future. Each token is normalised alone",
        ),
        "over everything": Mistake(
            LAYER_NORM_SOLUTION.replace("mean(-1, keepdim=True)", "mean()"),
            "you took one mean and variance of the whole tensor: rows and tokens then depend on each other",
        ),
        "eps outside": Mistake(
            LAYER_NORM_SOLUTION.replace("(variance + eps).sqrt()", "(variance.sqrt() + eps)"),
            "you added eps after the root: it stands beside the variance, under the root",
        ),
        "no root": Mistake(
            LAYER_NORM_SOLUTION.replace("(variance + eps).sqrt()", "(variance + eps)"),
            "you divided by the variance: its root is the size of the numbers",
        ),
        "mean kept": Mistake(
            LAYER_NORM_SOLUTION.replace("centred = x - x.mean(-1, keepdim=True)", "centred = x"),
            "you did not subtract the mean: that is RMSNorm, a norm of its own",
        ),
        "gain and bias forgotten": Mistake(
            LAYER_NORM_SOLUTION.replace(" * weight + bias", ""),
            "you left out gain and bias: they let the model undo the norm, feature by feature",
        ),
    },
    probes=lambda: [
        (_normal(2, 4, 4, seed=1) + 1, _normal(4, seed=2), _normal(4, seed=3), 1e-5),
        (0.1 * _normal(1, 4, 4, seed=4), _normal(4, seed=5), _normal(4, seed=6), 1e-2),
    ],
    same=_same,
)


# ---------------------------------------------------------------- 2. SwiGLU


def _check_swiglu(answer: Answer) -> None:
    for width, hidden in ((3, 5), (4, 4)):
        x = _normal(2, 3, width, seed=width)
        gate, up = _normal(hidden, width, seed=1), _normal(hidden, width, seed=2)
        down = _normal(width, hidden, seed=3)
        found = answer(x.clone(), gate, up, down)
        _require_shape(found, (2, 3, width))
        require(
            bool((answer(x.clone(), 0 * gate, up, down) == 0).all()),
            "a gate of zeros is shut: SiLU(0) = 0, and nothing passes",
        )
        require(
            torch.allclose(answer(x.clone(), gate, 2 * up, down), 2 * found, atol=1e-9),
            "what passes is a plain product: twice the up map gives twice the result",
        )
        require(
            torch.allclose(found, (F.silu(x @ gate.T) * (x @ up.T)) @ down.T, atol=1e-9),
            "each hidden number is SiLU(gate · x) times (up · x), and the down map mixes them",
        )


SWIGLU_STUB = '''
def swiglu(x, gate, up, down):
    """x (..., width); gate and up (hidden, width); down (width, hidden): matrices as nn.Linear keeps them."""
    ...  # your code
'''
SWIGLU_SOLUTION = """
import torch.nn.functional as F

def swiglu(x, gate, up, down):
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T
"""
SWIGLU = Exercise(
    name="swiglu",
    task="Two maps up, one of them bent by SiLU; their product goes down.",
    function="swiglu",
    check=_check_swiglu,
    stub=SWIGLU_STUB,
    solution=SWIGLU_SOLUTION,
    hints=(
        "Three matrices: two widen x, side by side. One result is bent and decides how much of the other passes.",
        "nn.Linear keeps a matrix as (out, in), so a map is x @ matrix.T. SiLU is F.silu.",
        "(F.silu(x @ gate.T) * (x @ up.T)) @ down.T",
    ),
    mistakes={
        "the other bent": Mistake(
            SWIGLU_SOLUTION.replace("F.silu(x @ gate.T) * (x @ up.T)", "(x @ gate.T) * F.silu(x @ up.T)"),
            "you bent the up map: SiLU belongs to the gate. The shapes agree, so weights of a trained model load and "
            "give nonsense",
        ),
        "both bent": Mistake(
            SWIGLU_SOLUTION.replace("(x @ up.T)", "F.silu(x @ up.T)"),
            "you bent both: the up map stays linear, or nothing could become very negative",
        ),
        "sigmoid": Mistake(
            SWIGLU_SOLUTION.replace("F.silu", "F.sigmoid"),
            "you used a sigmoid: that is the first GLU. SiLU(z) is z · sigmoid(z)",
        ),
        "gelu": Mistake(
            SWIGLU_SOLUTION.replace("F.silu", "F.gelu"),
            "you bent the gate with GELU: that is GEGLU, a choice of its own",
        ),
        "added": Mistake(
            SWIGLU_SOLUTION.replace("x @ gate.T) * (x", "x @ gate.T) + (x"),
            "you added gate and up: a gate multiplies",
        ),
        "gate only": Mistake(
            SWIGLU_SOLUTION.replace(" * (x @ up.T)", ""),
            "you left the up map out: without it this is an ordinary layer with SiLU",
        ),
    },
    probes=lambda: [
        (_normal(2, 4, seed=1), _normal(4, 4, seed=2), _normal(4, 4, seed=3), _normal(4, 4, seed=4))
    ],
    same=_same,
)


# ---------------------------------------------------------------- 3. a pre-norm block


def _check_block(answer: Answer) -> None:
    x = _normal(2, 3, 4, seed=1)
    a, b = _normal(4, 4, seed=2), _normal(4, 4, seed=3)

    def nothing(z: Tensor) -> Tensor:
        return 0 * z

    def unit(z: Tensor) -> Tensor:
        return z / z.norm(dim=-1, keepdim=True)

    def double(z: Tensor) -> Tensor:
        return 2 * z

    idle = answer(x.clone(), nothing, nothing, unit, double)
    _require_shape(idle, (2, 3, 4))
    require(
        torch.allclose(idle, x, atol=1e-12),
        "a block whose attention and feed-forward layer give zeros must leave the stream as it was, to the last bit",
    )
    first = answer(x.clone(), lambda z: z @ a, nothing, unit, double)
    require(
        torch.allclose(first, x + unit(x) @ a, atol=1e-9),
        "attention reads norm_1(x), and what it gives is added to x itself",
    )
    both = answer(x.clone(), lambda z: z @ a, lambda z: z @ b, unit, double)
    require(
        torch.allclose(both, first + double(first) @ b, atol=1e-9),
        "the feed-forward layer reads norm_2 of the stream that attention has written to, and is added to that",
    )


BLOCK_STUB = '''
def pre_norm_block(x, attention, feed_forward, norm_1, norm_2):
    """One block on the stream x; the other four are functions from (batch, tokens, width) to the same shape."""
    ...  # your code
'''
BLOCK_SOLUTION = """
def pre_norm_block(x, attention, feed_forward, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return x + feed_forward(norm_2(x))
"""
BLOCK = Exercise(
    name="pre_norm_block",
    task="Attention, then the feed-forward layer; each reads a normed copy of the stream and adds to the stream.",
    function="pre_norm_block",
    check=_check_block,
    stub=BLOCK_STUB,
    solution=BLOCK_SOLUTION,
    hints=(
        "If both layers gave zeros, what should come out? Exactly x.",
        "So x itself is never normed: only the copies that the layers read are. Two sums, one after the other.",
        "x = x + attention(norm_1(x)); then x + feed_forward(norm_2(x)).",
    ),
    mistakes={
        "the norm replaces the stream": Mistake(
            BLOCK_SOLUTION.replace(
                "x = x + attention(norm_1(x))\n    return x + feed_forward(norm_2(x))",
                "x = norm_1(x)\n    x = x + attention(x)\n    x = norm_2(x)\n    return x + feed_forward(x)",
            ),
            "you overwrote x with its norm before adding: the stream itself must pass untouched, only the copy that a "
            "layer reads is normed",
        ),
        "post-norm": Mistake(
            BLOCK_SOLUTION.replace("x + attention(norm_1(x))", "norm_1(x + attention(x))").replace(
                "x + feed_forward(norm_2(x))", "norm_2(x + feed_forward(x))"
            ),
            "you normed after adding: that is post-norm, the order of the first transformer",
        ),
        "side by side": Mistake(
            BLOCK_SOLUTION.replace(
                "x = x + attention(norm_1(x))\n    return x + feed_forward(norm_2(x))",
                "return x + attention(norm_1(x)) + feed_forward(norm_2(x))",
            ),
            "your feed-forward layer reads the stream from before attention: that is a parallel block, as GPT-J has; "
            "here it reads what attention wrote",
        ),
        "no shortcut": Mistake(
            BLOCK_SOLUTION.replace("x = x + attention", "x = attention").replace(
                "return x + feed_forward", "return feed_forward"
            ),
            "you left out the shortcuts: each layer must add to the stream, not replace it",
        ),
        "one norm twice": Mistake(
            BLOCK_SOLUTION.replace("norm_2(x)", "norm_1(x)"),
            "you used norm_1 for both: each layer has a norm of its own, with gains that it learns",
        ),
        "no norm": Mistake(
            BLOCK_SOLUTION.replace("norm_1(x)", "x").replace("norm_2(x)", "x"),
            "you left the norms out: the layers then read a stream that grows with depth",
        ),
    },
    probes=lambda: [
        (_normal(1, 2, 4, seed=5), _turn(6), _turn(7), lambda z: z / z.norm(dim=-1, keepdim=True), _half)
    ],
    same=_same,
)


def _turn(seed: int) -> Callable[[Tensor], Tensor]:
    matrix = _normal(4, 4, seed=seed)
    return lambda z: z @ matrix


def _half(z: Tensor) -> Tensor:
    return z / 2


EXERCISES = [LAYER_NORM, SWIGLU, BLOCK]

PREDICTIONS = [
    Prediction(
        "orders_of_magnitude_after_50_layers",
        32,
        "orders of magnitude smaller",
        "Each layer multiplies by 0.02 · √128 = 0.226, and 0.226⁵⁰ is about 10⁻³².",
    ),
    Prediction(
        "size_after_norm_of_a_thousandth",
        (1e-6 / (1e-6 + 1e-5)) ** 0.5,
        "",
        "The variance is 10⁻⁶, less than eps = 10⁻⁵: √(1 / 11). A norm is a norm only well above √eps = 0.003.",
    ),
    Prediction(
        "hidden_width_of_swiglu_at_768",
        2048,
        "numbers",
        "Three matrices instead of two: 2/3 of 3,072, for the same number of parameters.",
    ),
    Prediction(
        "growth_over_96_additions",
        96**0.5,
        "times",
        "Variances add, sizes do not: √96 for two additions in each of 48 layers.",
    ),
]
