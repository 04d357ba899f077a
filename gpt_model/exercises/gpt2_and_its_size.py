"""The exercises of notebook 02, with their checkers: the loss before training, parameters, and FLOPs of a token.

Each checker tests properties with small numbers that can be counted by hand, so any right answer passes, and knows how
the count usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and
each classic mistake is named. Left out: other norms, gated layers and shared key heads, which `costs` counts.
Notebook: `02_gpt2_and_its_size.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _close(found: Any, wanted: float) -> bool:
    return isinstance(found, int | float) and math.isclose(found, wanted, rel_tol=1e-9)


def _check_cases(answer: Answer, names: str, cases: list[tuple[tuple[Any, ...], float, str]]) -> None:
    for arguments, wanted, lesson in cases:
        found = answer(*arguments)
        require(
            _close(found, wanted),
            f"{lesson}: {names} = {arguments} gives {wanted:,.10g}, but you give {found}",
        )


# ---------------------------------------------------------------- 1. the loss before training


def _check_start(answer: Answer) -> None:
    cases: list[tuple[tuple[Any, ...], float, str]] = [
        ((1, 0.0), 0.0, "where there is one token only, nothing can go wrong"),
        ((2, 0.0), math.log(2), "two tokens with even chances cost ln 2 nats"),
        ((50257, 0.0), math.log(50257), "even chances for GPT-2's vocabulary"),
        (
            (50257, 0.5),
            math.log(50257) + 0.125,
            "logits that are spread by chance cost half of their variance more",
        ),
        ((8, 2.0), math.log(8) + 2.0, "the spread costs the same for a small vocabulary"),
    ]
    _check_cases(answer, "(vocab_size, logit_std)", cases)


START_STUB = '''
def loss_at_start(vocab_size, logit_std):
    """Expected loss in nats of a model whose logits are independent normal numbers around 0."""
    ...  # your code
'''
START_SOLUTION = """
import math

def loss_at_start(vocab_size, logit_std):
    return math.log(vocab_size) + logit_std**2 / 2
"""
START = Exercise(
    name="loss_at_start",
    task="Even chances, and what a random spread of the logits costs on top.",
    function="loss_at_start",
    check=_check_start,
    stub=START_STUB,
    solution=START_SOLUTION,
    hints=(
        "With equal logits every token has the chance 1 / vocab_size. What is the loss, in nats?",
        "-ln(1/V) = ln V. A spread makes the sum of exp(logit) larger by exp(σ²/2), and the target's own logit is 0 on "
        "average.",
        "math.log(vocab_size) + logit_std**2 / 2",
    ),
    mistakes={
        "bits": Mistake(
            START_SOLUTION.replace("math.log(", "math.log2("),
            "you counted in bits: the loss of PyTorch is in nats, with the natural logarithm",
        ),
        "decimal": Mistake(
            START_SOLUTION.replace("math.log(", "math.log10("),
            "you took the logarithm to base 10: the loss is in nats, with the natural one",
        ),
        "no spread": Mistake(
            START_SOLUTION.replace(" + logit_std**2 / 2", ""),
            "you left out the spread: random logits favour random tokens, and that costs on average",
        ),
        "all of the variance": Mistake(
            START_SOLUTION.replace("logit_std**2 / 2", "logit_std**2"),
            "you added the whole variance: the mean of exp(z) is exp(σ²/2), so it costs half",
        ),
        "gained": Mistake(
            START_SOLUTION.replace("+ logit_std", "- logit_std"),
            "you subtracted: a guess that is spread at random is worse than an even one, never better",
        ),
    },
    probes=lambda: [(100, 0.5), (7, 1.5)],
)


# ---------------------------------------------------------------- 2. parameters


def _check_parameters(answer: Answer) -> None:
    cases: list[tuple[tuple[Any, ...], float, str]] = [
        (
            (1, 1, 0, 1),
            4,
            "no block, width 1: a token row, a position row, and the gain and bias of the final norm",
        ),
        ((10, 1, 0, 2), 26, "no block: 10 token rows, one position row and a final norm, of 2 numbers each"),
        (
            (1, 5, 0, 2),
            16,
            "no block: one token row, 5 position rows and a final norm; a tied head adds nothing",
        ),
        (
            (1, 1, 1, 1),
            29,
            "one block of width 1 has 12 weights, 9 biases of maps, and two norms of gain and bias",
        ),
        ((1, 1, 2, 1), 54, "a second block costs as much as the first"),
        ((10, 4, 1, 2), 32 + 74, "12 d² + 13 d in a block"),
        ((50257, 1024, 12, 768), 124_439_808, "GPT-2 small"),
    ]
    _check_cases(answer, "(vocab_size, block_size, n_layer, n_embd)", cases)


PARAMETERS_STUB = '''
def gpt2_parameters(vocab_size, block_size, n_layer, n_embd):
    """All parameters of a GPT-2: learned positions, biases everywhere, feed-forward 4 × wide, tied head."""
    ...  # your code
'''
PARAMETERS_SOLUTION = """
def gpt2_parameters(vocab_size, block_size, n_layer, n_embd):
    d = n_embd
    tables = vocab_size * d + block_size * d
    attention = (d * 3 * d + 3 * d) + (d * d + d)
    feed_forward = (d * 4 * d + 4 * d) + (4 * d * d + d)
    norms = 2 * 2 * d
    final_norm = 2 * d
    return tables + n_layer * (attention + feed_forward + norms) + final_norm
"""
PARAMETERS = Exercise(
    name="gpt2_parameters",
    task="Count tables, blocks and the final norm. 124,439,808 for GPT-2 small, to the last one.",
    function="gpt2_parameters",
    check=_check_parameters,
    stub=PARAMETERS_STUB,
    solution=PARAMETERS_SOLUTION,
    hints=(
        "Three parts: two tables, n_layer equal blocks, one norm at the end. The head is the token table again.",
        "In a block: qkv (d × 3d), out (d × d), up (d × 4d), down (4d × d), each with a bias as wide as its output; "
        "and two norms, each with a gain and a bias.",
        "vocab_size * d + block_size * d + n_layer * (12 * d * d + 13 * d) + 2 * d",
    ),
    mistakes={
        "head counted": Mistake(
            PARAMETERS_SOLUTION.replace("tables = vocab", "tables = vocab_size * d + vocab"),
            "you counted the head: it is the token embedding, used again (untied, GPT-2 would have 163,037,184)",
        ),
        "no positions": Mistake(
            PARAMETERS_SOLUTION.replace(" + block_size * d", ""),
            "you forgot the position table: block_size rows, learned like the others",
        ),
        "no final norm": Mistake(
            PARAMETERS_SOLUTION.replace(" + final_norm", ""),
            "you forgot the final norm, 2 d parameters between the last block and the head",
        ),
        "no biases": Mistake(
            PARAMETERS_SOLUTION.replace(" + 3 * d)", ")")
            .replace("(d * d + d)", "(d * d)")
            .replace(" + 4 * d)", ")")
            .replace("(4 * d * d + d)", "(4 * d * d)"),
            "you left out the biases of the four maps: 3 d + d + 4 d + d = 9 d in a block",
        ),
        "norms without bias": Mistake(
            PARAMETERS_SOLUTION.replace("2 * 2 * d", "2 * d").replace("final_norm = 2 * d", "final_norm = d"),
            "you gave the norms a gain only: GPT-2's LayerNorms have a bias too",
        ),
        "one norm": Mistake(
            PARAMETERS_SOLUTION.replace("2 * 2 * d", "2 * d"),
            "you counted one norm in a block: attention and feed-forward layer have one each",
        ),
        "no way out of attention": Mistake(
            PARAMETERS_SOLUTION.replace(" + (d * d + d)", ""),
            "you forgot the projection after the heads, d × d with its bias",
        ),
        "one block": Mistake(
            PARAMETERS_SOLUTION.replace("n_layer * ", ""),
            "you counted one block: there are n_layer, each with weights of its own",
        ),
    },
    probes=lambda: [(11, 7, 3, 4), (5, 3, 2, 6)],
)


# ---------------------------------------------------------------- 3. FLOPs of a trained token


def _check_flops(answer: Answer) -> None:
    cases: list[tuple[tuple[Any, ...], float, str]] = [
        ((1, 0, 1, 1), 6, "one weight: a multiply-add forward, and two more backward, two FLOPs each"),
        ((1000, 0, 8, 1), 6000, "six FLOPs for each weight"),
        (
            (0, 1, 1, 1),
            12,
            "without weights, one layer, one key: its score and its value, 2 × 2 FLOPs, times three",
        ),
        ((0, 1, 64, 10), 7680, "each of 10 keys has a dot product of 64 numbers, and a value of 64"),
        ((0, 3, 64, 10), 23_040, "each layer has a table of its own"),
        ((123_653_376, 12, 768, 1024), 855_166_464, "GPT-2 small at its full context"),
    ]
    _check_cases(answer, "(n, n_layer, n_embd, context)", cases)


FLOPS_STUB = '''
def training_flops_per_token(n, n_layer, n_embd, context):
    """FLOPs of training on one token: n weights that multiply, and attention to `context` keys in each layer."""
    ...  # your code
'''
FLOPS_SOLUTION = """
def training_flops_per_token(n, n_layer, n_embd, context):
    matrices = 2 * n
    tables = 2 * n_layer * 2 * n_embd * context
    return 3 * (matrices + tables)
"""
FLOPS = Exercise(
    name="training_flops_per_token",
    task="Two FLOPs for each multiply-add, for weights and for attention's two tables; forward and backward.",
    function="training_flops_per_token",
    check=_check_flops,
    stub=FLOPS_STUB,
    solution=FLOPS_SOLUTION,
    hints=(
        "Forward first: how many multiply-adds does one weight take part in for one token? And one key?",
        "A weight: one. A key: n_embd for the score, over all heads, and n_embd for its value. A multiply-add is two "
        "FLOPs.",
        "Backward is twice forward: 3 * (2 * n + 4 * n_layer * n_embd * context), which is 6 N + 12 L d T.",
    ),
    mistakes={
        "forward only": Mistake(
            FLOPS_SOLUTION.replace("3 * (matrices", "(matrices"),
            "you counted the forward pass only: the gradients cost two more of the same size",
        ),
        "backward once": Mistake(
            FLOPS_SOLUTION.replace("3 * (matrices", "2 * (matrices"),
            "you counted backward like forward: each product A B needs two gradients, for A and for B",
        ),
        "multiply-adds": Mistake(
            FLOPS_SOLUTION.replace("3 * (matrices", "3 / 2 * (matrices"),
            "you counted multiply-adds: each is two FLOPs, a product and a sum",
        ),
        "no tables": Mistake(
            FLOPS_SOLUTION.replace("matrices + tables", "matrices"),
            "you left attention's tables out: 6 N alone holds for short contexts, but scores and values grow with T",
        ),
        "scores only": Mistake(
            FLOPS_SOLUTION.replace("2 * n_layer * 2 * n_embd", "n_layer * 2 * n_embd"),
            "you counted the scores and not the values: the shares are multiplied with every value as well",
        ),
        "one layer": Mistake(
            FLOPS_SOLUTION.replace("n_layer * ", ""),
            "you counted one layer's table: each layer has its own",
        ),
    },
    probes=lambda: [(1000, 3, 16, 32), (50, 2, 8, 4)],
)

EXERCISES = [START, PARAMETERS, FLOPS]

PREDICTIONS = [
    Prediction(
        "loss_of_an_untrained_gpt2", math.log(50257), "nats", "ln 50,257: even chances for every token."
    ),
    Prediction(
        "gpt2_untied",
        163_037_184,
        "parameters",
        "A second matrix of 50,257 × 768, 38,597,376, on top of 124,439,808.",
    ),
    Prediction(
        "parameters_of_a_block_of_gpt2",
        7_087_872,
        "parameters",
        "12 · 768² in matrices and 13 · 768 in biases and norms.",
    ),
    Prediction(
        "context_where_tables_cost_as_much_as_weights",
        123_653_376 / (2 * 12 * 768),
        "tokens",
        "12 · 12 · 768 · T = 6 · 123,653,376: far beyond GPT-2's 1,024.",
    ),
    Prediction(
        "bytes_to_train_a_parameter",
        16,
        "bytes",
        "In float32: the weight, its gradient, and AdamW's two averages, four bytes each.",
    ),
]
