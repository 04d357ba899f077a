"""The exercises of notebook 01, with their checkers: which weights decay, the learning rate, what a micro-batch weighs.

Three small functions that every training loop contains and that fail silently when they are wrong: the loss still
falls. Each checker tests properties, so any right answer passes, and knows how the step usually goes wrong. The tests
prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake is named.
Left out: the optimizer itself (notebook 03 of this chapter).
Notebook: `01_a_loop_you_can_trust.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. two groups

_SMALL = {
    "embedding.weight": ((50, 8), 1),
    "norm.weight": ((8,), 2),
    "up.weight": ((32, 8), 3),
    "up.bias": ((32,), 4),
    "head.weight": ((50, 8), 1),  # tied: the embedding under another name
}
_CASES: list[dict[str, tuple[tuple[int, ...], int]]] = [
    _SMALL,
    {"w": ((3, 3), 7)},
    {"gain": ((5,), 1), "bias": ((5,), 2)},
    {"a.weight": ((4, 4), 1), "b.weight": ((4, 4), 1), "c.weight": ((4, 4), 1), "c.bias": ((4,), 2)},
    {"patch.weight": ((8, 3, 16, 16), 1), "final_norm.weight": ((8,), 2)},
]


def _two_lists(value: Any) -> tuple[list[str], list[str]]:
    ok = isinstance(value, tuple | list) and len(value) == 2
    require(ok, f"give two lists of names, those that decay and the others; not {type(value).__name__}")
    require(all(isinstance(part, list | tuple) for part in value), "give two lists of names")
    return list(value[0]), list(value[1])


def _check_groups(answer: Answer) -> None:
    for case in _CASES:
        decay, plain = _two_lists(answer(dict(case)))
        names = [*decay, *plain]
        unknown = [name for name in names if name not in case]
        require(not unknown, f"{unknown[:1]} is no parameter of this model: give names")
        ids = [case[name][1] for name in names]
        require(
            len(ids) == len(set(ids)),
            f"a tensor is in the groups twice ({names}): tied under two names it is still one tensor, and an "
            "optimizer that holds it twice steps twice",
        )
        missing = {i for _, i in case.values()} - set(ids)
        require(
            not missing, f"a parameter is in no group, so it never learns; of {list(case)} you gave {names}"
        )
        for name in decay:
            require(len(case[name][0]) >= 2, f"{name} is a vector {case[name][0]}: it must not decay")
        for name in plain:
            require(
                len(case[name][0]) < 2,
                f"{name} has shape {case[name][0]}: tensors of two or more dimensions decay",
            )


GROUPS_STUB = '''
def decay_groups(parameters):
    """{name: (shape, which tensor)} -> (names that decay, names that do not). A tied tensor is one tensor."""
    ...  # your code
'''
GROUPS_SOLUTION = """
def decay_groups(parameters):
    decay, plain, seen = [], [], set()
    for name, (shape, tensor) in parameters.items():
        if tensor in seen:
            continue
        seen.add(tensor)
        (decay if len(shape) >= 2 else plain).append(name)
    return decay, plain
"""

GROUPS = Exercise(
    name="decay_groups",
    task="Sort a model's parameters into those that weight decay pulls towards zero and those that it leaves alone.",
    function="decay_groups",
    check=_check_groups,
    stub=GROUPS_STUB,
    solution=GROUPS_SOLUTION,
    hints=(
        "What have a norm's gain and every bias in common that no matrix has? Look at the shapes, not the names.",
        "len(shape) >= 2 decays. And keep a set of tensors you have seen: two names may mean one.",
        "for name, (shape, tensor) in …: skip it if tensor is in seen, else add it and append the name by len(shape).",
    ),
    mistakes={
        "everything": Mistake(
            GROUPS_SOLUTION.replace("len(shape) >= 2", "True"),
            "you let everything decay: a norm's gain pulled towards 0 turns its layer off, and a bias has nothing to "
            "regularise",
        ),
        "by the word bias": Mistake(
            GROUPS_SOLUTION.replace("len(shape) >= 2", "'bias' not in name"),
            "you went by the word bias: the gains of norms are called weight, and now they decay",
        ),
        "tied twice": Mistake(
            GROUPS_SOLUTION.replace("        if tensor in seen:\n            continue\n", ""),
            "you listed a tied tensor under both its names: the optimizer would step it twice",
        ),
        "no embeddings": Mistake(
            GROUPS_SOLUTION.replace("len(shape) >= 2", "len(shape) >= 2 and 'embedding' not in name"),
            "you left the embedding alone: some recipes do, but the book's, like GPT-2's, lets every matrix decay",
        ),
        "only matrices": Mistake(
            GROUPS_SOLUTION.replace("len(shape) >= 2", "len(shape) == 2"),
            "you asked for exactly two dimensions: a convolution has four, and is a map like any other",
        ),
    },
    probes=lambda: [(case,) for case in _CASES],
    same=lambda a, b: [sorted(x) for x in _two_lists(a)] == [sorted(x) for x in _two_lists(b)],
)


# ---------------------------------------------------------------- 2. the learning rate of a step


def _rates(answer: Answer, steps: int, warmup: int, peak: float, floor: float) -> list[float]:
    found = []
    for step in range(steps):
        rate = answer(step, steps, warmup, peak, floor)
        ok = isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate)
        require(ok, f"give a number for step {step}, not {rate!r}")
        found.append(float(rate))
    return found


def _check_rate(answer: Answer) -> None:
    for steps, warmup, peak, floor in (
        (100, 10, 1.0, 0.1),
        (20, 4, 3e-4, 0.0),
        (8, 0, 2.0, 0.5),
        (50, 49, 1.0, 0.0),
    ):
        rates = _rates(answer, steps, warmup, peak, floor)
        which = f"with {steps} steps, {warmup} of warm-up, peak {peak:g} and floor {floor:g}"
        require(rates[0] > 0, f"{which}, step 0 has rate 0: a step that cannot learn is a wasted step")
        for step in range(warmup):
            wanted = peak * (step + 1) / (warmup + 1)
            require(
                math.isclose(rates[step], wanted, rel_tol=1e-9),
                f"{which}, step {step} of the warm-up has {rates[step]:.4g} and not {wanted:.4g}",
            )
        require(
            math.isclose(rates[warmup], peak, rel_tol=1e-9),
            f"{which}, step {warmup} is the first after the warm-up: its rate is the peak, not {rates[warmup]:.4g}",
        )
        require(
            max(rates) <= peak * (1 + 1e-9), f"{which}, the rate rises to {max(rates):.4g}, above its peak"
        )
        for step in range(warmup, steps):
            q = (step - warmup) / (steps - warmup)
            wanted = floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * q))
            require(
                math.isclose(rates[step], wanted, rel_tol=1e-9, abs_tol=1e-12),
                f"{which}, step {step} has {rates[step]:.4g} and not {wanted:.4g}: half a cosine from the peak to the "
                "floor, over the steps after the warm-up",
            )


RATE_STUB = '''
def learning_rate(step, steps, warmup, peak, floor):
    """Step 0 … steps - 1: a line, (step + 1) / (warmup + 1) of the peak, then half a cosine down to the floor."""
    ...  # your code
'''
RATE_SOLUTION = """
def learning_rate(step, steps, warmup, peak, floor):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
"""
RATE_SOLUTION = "\nimport math\n" + RATE_SOLUTION

RATE = Exercise(
    name="warmup_cosine",
    task="Write the learning rate as a pure function of the step: a straight line up, half a cosine down.",
    function="learning_rate",
    check=_check_rate,
    stub=RATE_STUB,
    solution=RATE_SOLUTION,
    hints=(
        "Two cases: step < warmup and the rest. What is the share of the *second* part that is done at a step?",
        "done = (step - warmup) / (steps - warmup) runs from 0; 0.5 * (1 + cos(π · done)) runs from 1 to nearly 0.",
        "floor + (peak - floor) * that; and during warm-up peak * (step + 1) / (warmup + 1).",
    ),
    mistakes={
        "a rate of nothing": Mistake(
            RATE_SOLUTION.replace("(step + 1) / (warmup + 1)", "step / warmup"),
            "your first step has rate 0: it costs as much as any other and learns nothing. Count from step + 1",
        ),
        "a cosine from step 0": Mistake(
            RATE_SOLUTION.replace("(step - warmup) / (steps - warmup)", "step / steps"),
            "your cosine counts from step 0, not from the end of the warm-up: the rate jumps down where it should be "
            "at its peak",
        ),
        "floor on top": Mistake(
            RATE_SOLUTION.replace("(peak - floor)", "peak"),
            "you added the floor on top of the whole cosine: the rate begins above its peak",
        ),
        "a whole cosine": Mistake(
            RATE_SOLUTION.replace("math.pi * done", "2 * math.pi * done"),
            "you took a whole turn of the cosine: the rate comes back up to its peak at the end",
        ),
        "a straight line": Mistake(
            RATE_SOLUTION.replace("0.5 * (1 + math.cos(math.pi * done))", "(1 - done)"),
            "that is the linear schedule: it falls from the first step on, while a cosine stays high for a while",
        ),
        "the floor forgotten": Mistake(
            RATE_SOLUTION.replace("floor + (peak - floor)", "peak"),
            "you let the rate fall to 0: it should end at the floor",
        ),
    },
    probes=lambda: [(step, 100, 10, 1.0, 0.1) for step in (0, 5, 10, 11, 55, 99)] + [(3, 20, 4, 1.0, 0.0)],
    same=lambda a, b: math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-12),
)


# ---------------------------------------------------------------- 3. what a micro-batch weighs


def _check_weights(answer: Answer) -> None:
    for counts in ([64], [60, 4], [10, 0, 30], [1, 1, 1, 1], [0, 0], [5, 7, 11, 13]):
        found = answer(list(counts))
        found = found.tolist() if hasattr(found, "tolist") else found
        ok = isinstance(found, list | tuple) and len(found) == len(counts)
        require(ok, f"give one weight for each of the {len(counts)} micro-batches")
        weights = [float(w) for w in found]
        require(
            all(math.isfinite(w) for w in weights),
            f"of {counts} labelled tokens you made {weights}: no division by 0",
        )
        total = sum(counts)
        if total == 0:
            require(
                weights == [0.0] * len(counts),
                "without any labelled token the weights are 0: there is no gradient",
            )
            continue
        require(
            math.isclose(sum(weights), 1.0, rel_tol=1e-9),
            f"the weights of {counts} add up to {sum(weights):.4g}, so the gradient grows with the number of pieces",
        )
        each = [w / c for w, c in zip(weights, counts, strict=True) if c]
        require(
            all(w == 0 for w, c in zip(weights, counts, strict=True) if not c),
            f"of {counts}, a micro-batch without a label has nothing to say: its weight is 0",
        )
        require(
            math.isclose(max(each), min(each), rel_tol=1e-9),
            f"with {counts} labelled tokens one token counts {max(each) / min(each):.3g} times as much as another",
        )


WEIGHTS_STUB = '''
def micro_batch_weights(labelled):
    """How many labelled tokens each micro-batch has -> what its mean loss is multiplied with before backward()."""
    ...  # your code
'''
WEIGHTS_SOLUTION = """
def micro_batch_weights(labelled):
    total = sum(labelled)
    return [count / total if total else 0.0 for count in labelled]
"""

WEIGHTS = Exercise(
    name="micro_batch_weights",
    task="Weigh the mean losses of micro-batches so that their gradients add up to that of the one large batch.",
    function="micro_batch_weights",
    check=_check_weights,
    stub=WEIGHTS_STUB,
    solution=WEIGHTS_SOLUTION,
    hints=(
        "The large batch's loss is (sum of all token losses) / (number of all labelled tokens). What is one "
        "micro-batch's share of that sum, when you know its mean?",
        "mean · count is its sum, so its share is mean · count / total.",
        "[count / total for count in labelled], and zeros when total is 0.",
    ),
    mistakes={
        "the mean of means": Mistake(
            WEIGHTS_SOLUTION.replace("count / total if total else 0.0", "1 / len(labelled)"),
            "you took the mean of the means: a token in a half-empty micro-batch counts more than its neighbour in a "
            "full one",
        ),
        "the mean of the full ones": Mistake(
            WEIGHTS_SOLUTION.replace(
                "count / total if total else 0.0", "bool(count) / max(1, sum(map(bool, labelled)))"
            ),
            "you left the empty ones out and averaged the rest: tokens still count by how empty their micro-batch is",
        ),
        "a sum": Mistake(
            WEIGHTS_SOLUTION.replace("count / total if total else 0.0", "float(count)"),
            "you weighed by the count and never divided by the total: the gradient grows with the batch, and so would "
            "the learning rate have to",
        ),
        "a division by zero": Mistake(
            WEIGHTS_SOLUTION.replace(
                "count / total if total else 0.0", "count / total if total else float('nan')"
            ),
            "a step without a single label divides 0 by 0: one NaN in the gradient, and every weight is NaN after it",
        ),
    },
    probes=lambda: [([60, 4],), ([10, 0, 30],), ([0, 0],)],
    same=lambda a, b: (
        len(a) == len(b)
        and all(x == y or abs(x - y) < 1e-12 or (x != x and y != y) for x, y in zip(a, b, strict=True))
    ),
)


EXERCISES = [GROUPS, RATE, WEIGHTS]

PREDICTIONS = [
    Prediction(
        "loss_before_training_512",
        math.log(512),
        "nats per token",
        "Nothing known means 512 equal choices: ln 512.",
    ),
    Prediction(
        "weight_of_a_lonely_token",
        (1 / 4) / (1 / 60),
        "times the weight of a token in the full one",
        "In the mean of means a token has 1/60 or 1/4 of its micro-batch, and both micro-batches count the same.",
    ),
    Prediction(
        "steps_of_a_gain_that_decays",
        math.log(2) / (0.1 * 1e-2),
        "steps",
        "Decay multiplies by 1 - lr · decay = 0.999 a step; ln 2 / 0.001.",
    ),
]
