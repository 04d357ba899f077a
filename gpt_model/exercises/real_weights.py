"""The exercises of notebook 03, with their checkers: turn Conv1D weights, move rotary pairs, find the first fault.

Each checker tests properties on small tensors, so any right answer passes, and knows how the step usually goes
wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is
named. Left out: reading files (`weights_io`), and the names of layouts (`import_gpt2`, `import_llama`).
Notebook: `03_loading_real_weights.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms.positions import RotaryPositions
from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-9))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    return bool(a == b)


# ---------------------------------------------------------------- 1. Conv1D


def _gpt2_tensors(width: int, vocab: int) -> dict[str, Tensor]:
    """The tensors of a GPT-2 of one block, by the names of its file."""
    shapes = {
        "wte.weight": (vocab, width),
        "wpe.weight": (2 * width, width),
        "h.0.ln_1.weight": (width,),
        "h.0.attn.c_attn.weight": (width, 3 * width),
        "h.0.attn.c_attn.bias": (3 * width,),
        "h.0.attn.c_proj.weight": (width, width),
        "h.0.attn.c_proj.bias": (width,),
        "h.0.mlp.c_fc.weight": (width, 4 * width),
        "h.0.mlp.c_fc.bias": (4 * width,),
        "h.0.mlp.c_proj.weight": (4 * width, width),
        "h.0.mlp.c_proj.bias": (width,),
    }
    return {name: _normal(*shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}


def _check_to_linear(answer: Answer) -> None:
    for width, vocab in ((4, 9), (6, 6)):
        given = _gpt2_tensors(width, vocab)
        found = answer({name: tensor.clone() for name, tensor in given.items()})
        require(isinstance(found, Mapping), f"give a dict of tensors, not {type(found).__name__}")
        require(found.keys() == given.keys(), "every tensor comes back under its own name, and no other")
        for name, theirs in given.items():
            ours = found[name]
            require(isinstance(ours, Tensor), f"{name} must be a tensor, not {type(ours).__name__}")
            if not any(part in name for part in ("c_attn.weight", "c_fc.weight", "c_proj.weight")):
                require(_same(ours, theirs), f"{name} is no Conv1D weight: it stays as it is")
                continue
            require(
                ours.shape == theirs.shape[::-1],
                f"{name} is stored {tuple(theirs.shape)}, (in, out): torch's Linear wants (out, in)",
            )
            x = _normal(3, theirs.size(0), seed=99)
            require(
                torch.allclose(torch.nn.functional.linear(x, ours), x @ theirs, atol=1e-9),
                f"{name}: Linear with your weight must give what x @ weight gives with theirs",
            )


TO_LINEAR_STUB = '''
def to_linear(tensors):
    """GPT-2's tensors by name -> the same, but every Conv1D weight as torch's Linear holds it."""
    ...  # your code
'''
TO_LINEAR_SOLUTION = """
CONV1D = ("c_attn.weight", "c_fc.weight", "c_proj.weight")

def to_linear(tensors):
    return {name: tensor.T if name.endswith(CONV1D) else tensor for name, tensor in tensors.items()}
"""
_TURN = "tensor.T if name.endswith(CONV1D) else tensor"
TO_LINEAR = Exercise(
    name="to_linear",
    task="Turn GPT-2's Conv1D weights, and nothing else.",
    function="to_linear",
    check=_check_to_linear,
    stub=TO_LINEAR_STUB,
    solution=TO_LINEAR_SOLUTION,
    hints=(
        "What says whether a tensor has to be turned: its shape, or its name?",
        "The three names end in c_attn.weight, c_fc.weight and c_proj.weight; the last one occurs twice in a block.",
        "{name: tensor.T if name.endswith((...)) else tensor for name, tensor in tensors.items()}",
    ),
    mistakes={
        "square left": Mistake(
            TO_LINEAR_SOLUTION.replace(
                "name.endswith(CONV1D)", "name.endswith(CONV1D) and tensor.shape[0] != tensor.shape[1]"
            ),
            "you turned only what would not fit otherwise: attn.c_proj is square and fits either way, turned or not. "
            "Ask for the name, not for the shape",
        ),
        "reshaped": Mistake(
            TO_LINEAR_SOLUTION.replace("tensor.T if", "tensor.reshape(tensor.shape[::-1]) if"),
            "you reshaped instead of transposing: the shape is right and every number is in the wrong place",
        ),
        "all matrices": Mistake(
            TO_LINEAR_SOLUTION.replace("name.endswith(CONV1D)", "tensor.dim() == 2"),
            "you turned the tables of tokens and positions as well: they are looked up row by row and are no Conv1D",
        ),
        "attention only": Mistake(
            TO_LINEAR_SOLUTION.replace(
                "name.endswith(CONV1D)", '"attn.c_" in name and name.endswith(CONV1D)'
            ),
            "you turned attention's two and forgot the feed-forward layer: all four linear maps of a block are Conv1D",
        ),
        "nothing": Mistake(
            TO_LINEAR_SOLUTION.replace(_TURN, "tensor"),
            "you turned nothing: a Conv1D holds (in, out), a Linear (out, in)",
        ),
    },
    probes=lambda: [(_gpt2_tensors(4, 9),), (_gpt2_tensors(3, 7),)],
    same=_same,
)


# ---------------------------------------------------------------- 2. rotary pairs


def _scores(layout: str, q: Tensor, k: Tensor) -> Tensor:
    """Rotated queries (T, H · D) against rotated keys, as a model with this layout scores them: (H, T, T)."""
    heads = 2
    rope = RotaryPositions(q.size(-1) // heads, len(q), theta=50.0, layout=layout).double()
    q, k = (x.unflatten(-1, (heads, -1)).transpose(0, 1)[None] for x in (q, k))
    q, k = rope(q, k)
    return (q @ k.transpose(-2, -1))[0]


def _check_interleave(answer: Answer) -> None:
    for dim, seed in ((4, 1), (6, 2), (8, 3)):
        width = 2 * dim
        w_q, w_k, x = (_normal(rows, width, seed=10 * seed + i) for i, rows in enumerate((width, width, 5)))
        moved = [answer(w.clone(), 2) for w in (w_q, w_k)]
        for each in moved:
            require(isinstance(each, Tensor), f"give a tensor, not {type(each).__name__}")
            require(each.shape == w_q.shape, f"rows are moved, not made: {tuple(w_q.shape)} it stays")
        require(
            torch.equal(moved[0].sum(dim=1).sort().values, w_q.sum(dim=1).sort().values),
            "every row must be there once, with its numbers as they were: only its place changes",
        )
        require(
            torch.allclose(
                _scores("interleaved", x @ moved[0].T, x @ moved[1].T),
                _scores("half_split", x @ w_q.T, x @ w_k.T),
                atol=1e-9,
            ),
            "a model that rotates neighbours must find the same scores with your rows as one that rotates halves "
            "with the rows you got: row i of a head goes to 2i, row i + head_dim / 2 to 2i + 1",
        )


INTERLEAVE_STUB = '''
def to_interleaved(weight, n_head):
    """Rows of a query map, (n_head * head_dim, width): pairs half a head apart become neighbours."""
    ...  # your code
'''
INTERLEAVE_SOLUTION = """
def to_interleaved(weight, n_head):
    halves = weight.unflatten(0, (n_head, 2, -1))  # (head, which half, pair, width)
    return halves.transpose(1, 2).flatten(0, 2)
"""
INTERLEAVE = Exercise(
    name="to_interleaved",
    task="Move the rows of a query map so that a model which rotates neighbours finds the same scores.",
    function="to_interleaved",
    check=_check_interleave,
    stub=INTERLEAVE_STUB,
    solution=INTERLEAVE_SOLUTION,
    hints=(
        "One head with four rows 0 1 2 3 has the pairs (0, 2) and (1, 3). In which order are they neighbours?",
        "0 2 1 3. See the rows as a table (two halves, pairs) and read it column by column; for each head.",
        "weight.unflatten(0, (n_head, 2, -1)), transpose(1, 2), flatten(0, 2).",
    ),
    mistakes={
        "across heads": Mistake(
            INTERLEAVE_SOLUTION.replace("(n_head, 2, -1)", "(1, 2, -1)"),
            "you paired the first half of all heads with the second: RoPE turns within a head, so each head is moved "
            "by itself",
        ),
        "way back": Mistake(
            INTERLEAVE_SOLUTION.replace("(n_head, 2, -1)", "(n_head, -1, 2)"),
            "that is the way back, from neighbours to halves: of a head with six rows yours are 0 2 4 1 3 5 of the "
            "old ones, and wanted is 0 3 1 4 2 5",
        ),
        "second first": Mistake(
            INTERLEAVE_SOLUTION.replace("halves.transpose", "halves.flip(1).transpose"),
            "you put the second of a pair first: the pair then turns the other way round",
        ),
        "as it was": Mistake(
            "def to_interleaved(weight, n_head):\n    return weight.unflatten(0, (n_head, 2, -1)).flatten(0, 2)\n",
            "the rows come back in the order in which they were: reshaping alone moves nothing",
        ),
    },
    probes=lambda: [(_normal(12, 3, seed=1), 2), (_normal(24, 2, seed=2), 3)],
    same=_same,
)


# ---------------------------------------------------------------- 3. the first difference

_PLACES = ("embedding", "attention 0", "mlp 0", "attention 1", "mlp 1", "logits")


def _pair(**changes: Callable[[Tensor], Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two runs alike but for `changes` at places, spelt with _ for the space; sizes grow as in a real stream."""
    theirs = {place: 10.0**i * _normal(1, 4, 5, seed=i) for i, place in enumerate(_PLACES)}
    ours = {place: tensor * (1 + 1e-7) for place, tensor in theirs.items()}
    for place, change in changes.items():
        name = place.replace("_", " ")
        ours[name] = change(ours[name].clone())
    return ours, theirs


def _one_number(by: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor[0, 1, 2] += by * tensor.abs().max()
        return tensor

    return change


def _not_a_number(tensor: Tensor) -> Tensor:
    tensor[0, 0, 0] = math.nan
    return tensor


def _cases() -> list[tuple[dict[str, Tensor], dict[str, Tensor], str | None, str]]:
    pairs: list[tuple[Any, str | None, str]] = [
        (_pair(), None, "nothing differs by more than float32's rounding, so there is no first place: None"),
        (_pair(mlp_0=_one_number(0.1), mlp_1=_one_number(0.1)), "mlp 0", "the first place, in order"),
        (_pair(attention_0=_one_number(-0.01)), "attention 0", "too small is as wrong as too large"),
        (
            _pair(attention_1=_one_number(3e-5)),
            "attention 1",
            "one number that is off by more than the limit is enough",
        ),
        (_pair(mlp_0=_one_number(0.001), logits=_one_number(0.5)), "mlp 0", "the first, not the worst"),
        (_pair(mlp_1=_not_a_number), "mlp 1", "NaN is no agreement"),
    ]
    return [(ours, theirs, wanted, lesson) for (ours, theirs), wanted, lesson in pairs]


def _check_first(answer: Answer) -> None:
    for ours, theirs, wanted, lesson in _cases():
        found = answer(dict(ours), dict(theirs), 1e-5)
        require(found == wanted, f"{lesson}: wanted {wanted!r}, but you give {found!r}")


FIRST_STUB = '''
def first_difference(ours, theirs, limit):
    """The first place where two runs part: dicts place -> tensor, in the order of computation; or None.

    Parted: some number differs by more than `limit` times the largest number of theirs at that place.
    """
    ...  # your code
'''
FIRST_SOLUTION = """
def first_difference(ours, theirs, limit):
    for place in theirs:
        largest = (ours[place] - theirs[place]).abs().max()
        if not largest <= limit * theirs[place].abs().max():  # so that NaN counts as a difference
            return place
    return None
"""
_LARGEST = "(ours[place] - theirs[place]).abs().max()"
FIRST = Exercise(
    name="first_difference",
    task="Name the first place at which two programs part, or None.",
    function="first_difference",
    check=_check_first,
    stub=FIRST_STUB,
    solution=FIRST_SOLUTION,
    hints=(
        "Go through the places in order and return at once. What do you compare with what?",
        "The largest absolute difference with limit times the largest absolute number. Both are numbers of one place.",
        "`largest > bound` is False when largest is NaN; `not largest <= bound` is True.",
    ),
    mistakes={
        "signed": Mistake(
            FIRST_SOLUTION.replace(_LARGEST, "(ours[place] - theirs[place]).max()"),
            "you took the largest difference with its sign: one that is too small then passes",
        ),
        "mean": Mistake(
            FIRST_SOLUTION.replace(_LARGEST, "(ours[place] - theirs[place]).abs().mean()"),
            "you took the mean: one wrong number among many right ones disappears in it",
        ),
        "worst": Mistake(
            """
def first_difference(ours, theirs, limit):
    off = {p: float((ours[p] - theirs[p]).abs().max() / theirs[p].abs().max()) for p in theirs}
    worst = max(off, key=lambda p: off[p] if off[p] == off[p] else float("inf"))
    return None if off[worst] <= limit else worst
""",
            "you gave the worst place: differences grow on their way through the layers. The fault is where they begin",
        ),
        "absolute": Mistake(
            FIRST_SOLUTION.replace("limit * theirs[place].abs().max()", "limit"),
            "you compared with the bare limit: the residual stream grows from layer to layer, and rounding with it. "
            "Measure against the largest number at the place",
        ),
        "nan passes": Mistake(
            FIRST_SOLUTION.replace("if not largest <= limit", "if largest > limit"),
            "NaN passes: every comparison with it is False, so ask `not largest <= bound`",
        ),
    },
    probes=lambda: [(ours, theirs, 1e-5) for ours, theirs, _, _ in _cases()],
)

EXERCISES = [TO_LINEAR, INTERLEAVE, FIRST]

PREDICTIONS = [
    Prediction(
        "conv1d_that_fit_unturned",
        1,
        "of the four",
        "attn.c_proj is width × width. The other three raise an error at once, so nobody forgets them.",
    ),
    Prediction(
        "largest_gap_of_two_gelus",
        0.000473,
        "",
        "At x = ±2.70, where the activation is 2.69: one part in 5,700. No plot of the two would show it.",
    ),
]
