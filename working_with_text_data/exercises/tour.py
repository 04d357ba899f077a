"""The exercises of the tour, with their checkers: targets, the loss, temperature.

Each is three lines of plain Python about one thing that goes wrong often: which token is asked for, which
number says how wrong a guess was, and what a temperature divides. A checker tests properties on lists of
numbers, so any right answer passes, with torch or without. The tests prove (`utils.exercises.prove`) that the
solution passes, the stub fails and each classic mistake is named.
Notebook: `00_five_minute_tour.ipynb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


def _flat(value: Any) -> list[float]:
    """Numbers as a list, whether they come in a list, a tuple, an array or a tensor."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    require(isinstance(listed, (list, tuple)), f"give a list of numbers, not {type(value).__name__}")
    return [float(number) for number in listed]


def _close(a: Sequence[float], b: Sequence[float], tolerance: float = 1e-5) -> bool:
    """Equal up to float32's rounding: an answer may use torch."""
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance) for x, y in zip(a, b, strict=True)
    )


# ---------------------------------------------------------------- 1. inputs and targets


def _pair(value: Any) -> tuple[list[float], list[float]]:
    require(
        isinstance(value, (list, tuple)) and len(value) == 2, "return two lists: the input and the targets"
    )
    return _flat(value[0]), _flat(value[1])


def _same_pair(a: Any, b: Any) -> bool:
    return _pair(a) == _pair(b)


def _check_targets(answer: Answer) -> None:
    ids = [50, 7, 31, 7, 99, 2, 64, 18]
    for start, length in ((0, 4), (2, 3), (3, 4), (6, 1), (0, 7)):
        x, y = _pair(answer(list(ids), start, length))
        require(len(x) == length, f"length is {length}, but the input has {len(x)} tokens")
        require(
            x == ids[start : start + length], f"the input must be ids[{start}:{start + length}], but is {x}"
        )
        require(len(y) == length, f"each of the {length} inputs has a target, but there are {len(y)} targets")
        for i, target in enumerate(y):
            place = start + i
            require(
                target == ids[place + 1],
                f"the target of ids[{place}] is the token after it, ids[{place + 1}] = {ids[place + 1]}, "
                f"but you give {target:g}",
            )


TARGETS_STUB = '''
def input_and_target(ids, start, length):
    """Two lists of `length` ids: a window that begins at `start`, and the token after each of its places."""
    ...  # your code
'''
TARGETS_SOLUTION = """
def input_and_target(ids, start, length):
    x = ids[start : start + length]
    y = ids[start + 1 : start + length + 1]
    return x, y
"""

TARGETS = Exercise(
    name="input_and_target",
    task="Cut a window out of the ids, and for each place in it the token that comes next.",
    function="input_and_target",
    check=_check_targets,
    stub=TARGETS_STUB,
    solution=TARGETS_SOLUTION,
    hints=(
        "The window ids[2], ids[3], ids[4] is asked three questions. What is the right answer to each?",
        "Both lists have the same length. The targets are a window as well: where does it begin?",
        "x = ids[start : start + length]; for y, add 1 to both ends.",
    ),
    mistakes={
        "no shift": Mistake(
            TARGETS_SOLUTION.replace("start + 1 : start + length + 1", "start : start + length"),
            "your targets are the inputs themselves: a model would only learn to copy. Shift them by one",
        ),
        "wrong way": Mistake(
            TARGETS_SOLUTION.replace("start + 1 : start + length + 1", "start - 1 : start + length - 1"),
            "your targets are the tokens before the inputs: you shifted the wrong way, and the model would "
            "learn to recall what it has just read",
        ),
        "twice": Mistake(
            TARGETS_SOLUTION.replace("start + 1 : start + length + 1", "start + 2 : start + length + 2"),
            "you shifted twice: the model would learn to guess the token after the next one",
        ),
        "crosses the edge": Mistake(
            TARGETS_SOLUTION.replace("ids[start + 1 : start + length + 1]", "x[1:] + x[:1]"),
            "your last target crosses over to the first token of the same window (a roll): the token after "
            "the window is meant, so a window needs length + 1 ids",
        ),
        "one short": Mistake(
            TARGETS_SOLUTION.replace("ids[start + 1 : start + length + 1]", "x[1:]"),
            "your last input has no target: shifting inside the window loses one, so look at length + 1 ids",
        ),
    },
    probes=lambda: [(list(range(10, 22)), 3, 5), ([4, 8, 15, 16, 23, 42, 1, 0], 2, 4)],
    same=_same_pair,
)


# ---------------------------------------------------------------- 2. the loss


def _number(value: Any) -> float:
    """One number, also from an array or tensor without dimensions."""
    return float(value.item() if hasattr(value, "item") else value)


def _same_number(a: Any, b: Any) -> bool:
    return _close([_number(a)], [_number(b)])


def _check_loss(answer: Answer) -> None:
    def value(probabilities: list[list[float]], targets: list[int]) -> float:
        result = answer(probabilities, targets)
        require(not isinstance(result, (list, tuple)), "return one number: the mean over all places")
        return _number(result)

    sure = value([[0.0, 1.0]], [1])
    require(_close([sure], [0.0]), f"a model that is sure and right has loss 0, but you give {sure:.4g}")
    half = value([[0.5, 0.5]], [0])
    require(_close([half], [math.log(2)]), f"one fair coin costs ln 2 = 0.6931 nats, but you give {half:.4g}")
    for size in (3, 2048):
        even = value([[1 / size] * size] * 2, [0, size - 1])
        require(
            _close([even], [math.log(size)]),
            f"{size} equal tokens cost ln {size} = {math.log(size):.4f} nats, but you give {even:.4g}",
        )
    mixed = value([[0.5, 0.5], [0.125, 0.875]], [0, 0])
    require(
        _close([mixed], [2 * math.log(2)]),
        f"places of 1 bit and 3 bits have a mean of 2 bits = 1.3863 nats, but you give {mixed:.4g}",
    )


LOSS_STUB = '''
def cross_entropy(probabilities, targets):
    """Mean surprise in nats. `probabilities` has a row per place, `targets` the id that really came there."""
    ...  # your code
'''
LOSS_SOLUTION = """
import math

def cross_entropy(probabilities, targets):
    surprises = [-math.log(row[target]) for row, target in zip(probabilities, targets)]
    return sum(surprises) / len(surprises)
"""

LOSS = Exercise(
    name="cross_entropy",
    task="Turn the probabilities that a model gave, and the tokens that came, into one number: the loss.",
    function="cross_entropy",
    check=_check_loss,
    stub=LOSS_STUB,
    solution=LOSS_SOLUTION,
    hints=(
        "From each row only one number matters. Which?",
        "A probability of 1 is no surprise (0), a small one is a big surprise: what turns 1 into 0?",
        "Take -math.log(row[target]) for each row, then the mean of these.",
    ),
    mistakes={
        "no minus": Mistake(
            LOSS_SOLUTION.replace("-math", "math"),
            "you forgot the minus: the logarithm of a probability is negative, a surprise is not",
        ),
        "base 2": Mistake(
            LOSS_SOLUTION.replace("math.log(", "math.log2("),
            "you used base 2, which gives bits: this book, like torch, counts in nats, so take math.log",
        ),
        "mean of probabilities": Mistake(
            LOSS_SOLUTION.replace("-math.log(row[target])", "row[target]").replace(
                "return sum(surprises) / len(surprises)", "return -math.log(sum(surprises) / len(surprises))"
            ),
            "you took the mean of the probabilities before the logarithm: first the logarithm of each, then "
            "the mean, or one bad guess hides behind a good one",
        ),
        "no logarithm": Mistake(
            LOSS_SOLUTION.replace("-math.log(row[target])", "1 - row[target]"),
            "you averaged 1 - p: the surprise is -log p, which grows without limit as p goes to 0",
        ),
        "a sum": Mistake(
            LOSS_SOLUTION.replace(" / len(surprises)", ""),
            "you gave the sum: divide by the number of places, or a longer text has a larger loss",
        ),
        "every token": Mistake(
            LOSS_SOLUTION.replace("-math.log(row[target])", "-sum(map(math.log, row)) / len(row)"),
            "you averaged over the whole vocabulary: only the probability of the token that came counts",
        ),
    },
    probes=lambda: [
        ([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 1]),
        ([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]], [1, 0, 1]),
    ],
    same=_same_number,
)


# ---------------------------------------------------------------- 3. temperature

_OVERFLOW = (
    "e to the power of a large logit overflows: subtract the largest one from all of them before exp, "
    "which changes no probability"
)


def _same_list(a: Any, b: Any) -> bool:
    return _close(_flat(a), _flat(b))


def _check_temperature(answer: Answer) -> None:
    def row(logits: list[float], temperature: float) -> list[float]:
        result = _flat(answer(list(logits), temperature))
        require(len(result) == len(logits), f"{len(logits)} logits give {len(result)} probabilities")
        require(_close([sum(result)], [1.0]), f"probabilities sum to 1, but yours to {sum(result):.4g}")
        return result

    logits = [2.0, 0.5, -1.0, 0.0]
    for temperature in (1.0, 0.5, 2.0, 0.1):
        p = row(logits, temperature)
        for i in range(1, len(logits)):
            wanted = math.exp((logits[i] - logits[0]) / temperature)
            require(
                math.isclose(p[i] / p[0], wanted, rel_tol=1e-4, abs_tol=1e-9),
                f"at temperature {temperature:g}, logits {logits[i]:g} and {logits[0]:g} give probabilities "
                f"in the ratio {wanted:.4g}, but yours are {p[i] / p[0]:.4g}",
            )
    cold = row([1.0, 1.3], 0.01)
    require(cold[1] > 0.999, "near temperature 0 the likeliest token takes everything")
    hot = row([5.0, -5.0], 1e4)
    require(abs(hot[0] - 0.5) < 0.01, "at a very high temperature all tokens become equally likely")
    try:
        large = row([1000.0, 999.0], 1.0)
    except OverflowError:
        raise AssertionError(_OVERFLOW) from None
    require(_close(large, row([1.0, 0.0], 1.0)), "adding the same number to all logits changes nothing")


TEMPERATURE_STUB = '''
def with_temperature(logits, temperature):
    """Probabilities of the tokens: below 1 the likely ones gain, above 1 the unlikely ones."""
    ...  # your code
'''
TEMPERATURE_SOLUTION = """
import math

def with_temperature(logits, temperature):
    scaled = [logit / temperature for logit in logits]
    top = max(scaled)
    weights = [math.exp(s - top) for s in scaled]
    return [w / sum(weights) for w in weights]
"""
_SOFTMAX_FIRST = """
import math

def with_temperature(logits, temperature):
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [w / sum(weights) / temperature for w in weights]
"""

TEMPERATURE = Exercise(
    name="with_temperature",
    task="Turn logits into probabilities, bolder or more careful by a temperature.",
    function="with_temperature",
    check=_check_temperature,
    stub=TEMPERATURE_STUB,
    solution=TEMPERATURE_SOLUTION,
    hints=(
        "A low temperature must make the gaps between the logits larger. Which operation does that?",
        "The temperature acts on the logits, before the softmax: divided probabilities would not sum to 1.",
        "Divide each logit by the temperature, subtract the largest, take math.exp, divide by the sum.",
    ),
    mistakes={
        "multiplied": Mistake(
            TEMPERATURE_SOLUTION.replace("logit / temperature", "logit * temperature"),
            "you multiplied by the temperature: divide, or cold becomes wild and hot becomes careful",
        ),
        "divided probabilities": Mistake(
            _SOFTMAX_FIRST,
            "you divided the probabilities: they no longer sum to 1. Divide the logits, before the softmax",
        ),
        "divided and normalised": Mistake(
            _SOFTMAX_FIRST.replace(" / temperature", ""),
            "your temperature changes nothing: divided weights are the same again once they sum to 1. Divide "
            "the logits, before exp",
        ),
        "no softmax": Mistake(
            TEMPERATURE_SOLUTION.replace("math.exp(s - top)", "s"),
            "you divided the logits by their sum: without exp, a negative logit gets a negative probability",
        ),
        "not normalised": Mistake(
            TEMPERATURE_SOLUTION.replace("w / sum(weights)", "w"),
            "you did not divide by the sum: weights become probabilities when they sum to 1",
        ),
        "overflow": Mistake(TEMPERATURE_SOLUTION.replace("max(scaled)", "0.0"), _OVERFLOW),
    },
    probes=lambda: [([1.0, 2.0, 0.5], 0.5), ([0.3, -0.7, 0.1, 1.5], 2.0)],
    same=_same_list,
)

EXERCISES = [TARGETS, LOSS, TEMPERATURE]

PREDICTIONS = [
    Prediction(
        "questions_per_step",
        4 * 128,
        "questions",
        "Each of the 4 windows asks at all of its 128 places at once.",
    ),
    Prediction(
        "loss_at_start",
        math.log(2048),
        "nats",
        "It is ln 2,048: a model that knows nothing gives each of the 2,048 tokens the same 1/2,048.",
    ),
]
