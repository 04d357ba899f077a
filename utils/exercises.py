"""Exercises that check themselves, and predictions that answer with a ratio: the engine behind the notebooks.

The idea: a checker tests properties on inputs of its own choice, so any right answer passes, and it knows the
classic mistakes: when an answer fails and behaves like one of them on every probe, the message names it.
Each exercise carries its stub, its solution and its mistakes as source text, so that `prove` can show in CI
that the solution passes, the stub fails with the right words and each mistake is caught by name.
Left out: the exercises themselves. A chapter keeps them in the module `<chapter>.exercises`, in the lists EXERCISES
and PREDICTIONS, which are imported when a name is first asked for.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import importlib.util
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from utils.errors import UserError, closest, did_you_mean, one_line

CHAPTERS = (
    "working_with_text_data",
    "attention_mechanisms",
    "gpt_model",
    "pretraining",
    "finetuning",
    "chat_ui",
    "deployment",
)
NOT_WRITTEN = "not written yet"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A classic wrong answer: its `source`, and `says`, the words that the learner reads."""

    source: str
    says: str


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One exercise.

    `name` is unique in the book; `task` asks for it in a sentence; `function` is the name that stub, solution
    and mistakes define. `check(answer)` raises `AssertionError` with a lesson when a property does not hold.
    `probes()` gives argument tuples that tell the mistakes apart; `same(a, b)` compares two results on them
    (`==` by default). `hints` are three, from a nudge to nearly the answer.
    """

    name: str
    task: str
    function: str
    check: Callable[[Callable[..., Any]], None]
    stub: str
    solution: str
    hints: Sequence[str]
    mistakes: Mapping[str, Mistake]
    probes: Callable[[], Iterable[tuple[Any, ...]]]
    same: Callable[[Any, Any], bool] = lambda a, b: bool(a == b)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A number that the reader guesses before seeing it. `answer` may be a function, called when asked."""

    name: str
    answer: float | Callable[[], float]
    unit: str = ""
    because: str = ""


@dataclasses.dataclass(frozen=True)
class Result:
    """What `check` found: whether the answer passed, and the words that were printed."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed


@dataclasses.dataclass(frozen=True)
class Guess:
    """What `predict` found. `ratio` is guess / answer; None where it has no meaning (other sign, or zero)."""

    guess: float
    answer: float
    ratio: float | None
    message: str


_hints_given: dict[str, int] = {}


def check(exercise: str | Exercise, answer: Callable[..., Any]) -> Result:
    """Test an answer, print the verdict in one line, and return it.

    `exercise` is a name from a chapter, or an `Exercise`. A wrong answer never raises: the message says which
    property fails, or names the classic mistake. Raises `UserError` for an unknown name.
    """
    result = _judge(_exercise(exercise), answer)
    print(("✓ " if result.passed else "✗ ") + result.message)
    return result


def hint(exercise: str | Exercise, step: int | None = None) -> str:
    """Print and return the next of three hints, or hint number `step` (1, 2 or 3)."""
    found = _exercise(exercise)
    count = len(found.hints)
    if step is None:
        step = min(_hints_given.get(found.name, 0) + 1, count)
        _hints_given[found.name] = step
    if not 1 <= step <= count:
        raise UserError(f"hint {step} of {found.name} was asked but there are {count}, from 1")
    text = f"hint {step} of {count}: {found.hints[step - 1]}"
    print(text)
    return text


def solution(exercise: str | Exercise) -> str:
    """The solution folded away, as Markdown for a notebook cell: a click opens it."""
    found = _exercise(exercise)
    code = f"```python\n{found.solution.strip()}\n```"
    return f"<details><summary>Solution: {found.name}</summary>\n\n{code}\n\n</details>"


def predict(name: str | Prediction, guess: float, answer: float | None = None) -> Guess:
    """Compare a guess with the truth: print the ratio and the reason, and return both numbers.

    `answer` overrides the registered one, for a number that the notebook has just measured.
    Raises `UserError` for an unknown name without an `answer`, and for a guess that is not a number.
    """
    if isinstance(guess, bool) or not isinstance(guess, int | float) or not math.isfinite(guess):
        raise UserError(f"the guess for {name} is {guess!r} but must be a number, such as 1000")
    known = name if isinstance(name, Prediction) else _find(name, "PREDICTIONS", optional=answer is not None)
    if known is None:
        known = Prediction(str(name), float(answer or 0.0))
    truth = float(
        answer if answer is not None else known.answer() if callable(known.answer) else known.answer
    )
    ratio = guess / truth if truth and guess / truth > 0 else None
    unit = f" {known.unit}" if known.unit else ""
    tail = f" {known.because}" if known.because else ""
    message = (
        f"You said {_number(guess)}; it is {_number(truth)}{unit}: {_compare(guess, truth, ratio)}.{tail}"
    )
    print(message)
    return Guess(float(guess), truth, ratio, message)


def require(condition: Any, lesson: str) -> None:
    """For checkers: raise `AssertionError(lesson)` unless `condition` holds (not removed by `python -O`)."""
    if not condition:
        raise AssertionError(lesson)


def load_answer(source: str, function: str) -> Callable[..., Any]:
    """The function called `function` that `source` defines, run in a namespace of its own."""
    namespace: dict[str, Any] = {"__name__": "answer"}
    exec(compile(source, f"<{function}>", "exec"), namespace)
    if not callable(namespace.get(function)):
        raise UserError(f"the source must define a function {function}")
    return namespace[function]


def prove(exercise: Exercise) -> None:
    """Show that an exercise teaches what it claims; raises `AssertionError` that says what is wrong with it.

    The solution passes; the stub fails and is told that it is not written yet; every mistake fails with its
    own words; there are three different hints and at least one mistake.
    """
    name = exercise.name
    require(len(set(exercise.hints)) == 3, f"{name}: three different hints are owed")
    require(exercise.mistakes, f"{name}: at least one classic mistake is owed")
    says = [mistake.says for mistake in exercise.mistakes.values()]
    require(len(set(says)) == len(says), f"{name}: two mistakes have the same words")
    verdict = _judge(exercise, load_answer(exercise.solution, exercise.function))
    require(verdict.passed, f"{name}: the solution fails: {verdict.message}")
    verdict = _judge(exercise, load_answer(exercise.stub, exercise.function))
    require(
        not verdict.passed and NOT_WRITTEN in verdict.message,
        f"{name}: the stub must fail with {NOT_WRITTEN!r}, but the checker says: {verdict.message}",
    )
    for label, mistake in exercise.mistakes.items():
        verdict = _judge(exercise, load_answer(mistake.source, exercise.function))
        require(not verdict.passed, f"{name}: the mistake {label!r} passes")
        require(
            mistake.says in verdict.message,
            f"{name}: the mistake {label!r} is not named: expected {mistake.says!r}, got {verdict.message!r}",
        )


def all_exercises() -> list[Exercise]:
    """Every exercise of every chapter, in the book's order."""
    return [exercise for chapter in CHAPTERS for exercise in _listed(chapter, "EXERCISES")]


def _judge(exercise: Exercise, answer: Callable[..., Any]) -> Result:
    if not callable(answer):
        return Result(
            False, f"{exercise.name}: give the function itself, {exercise.function} without brackets"
        )
    blank = _looks_unwritten(exercise, answer)
    if blank:
        return Result(False, f"{exercise.name}: {exercise.function} is {NOT_WRITTEN}. {exercise.task}")
    try:
        exercise.check(answer)
    except AssertionError as exc:
        lesson = one_line(exc) or "a property does not hold"
    except Exception as exc:
        lesson = f"your function raised {one_line(f'{type(exc).__name__}: {exc}')}{_line_of(exc, answer)}"
    else:
        return Result(True, f"{exercise.name}: all properties hold.")
    named = _diagnose(exercise, answer)
    more = f'. For help: hint("{exercise.name}")'
    return Result(False, f"{exercise.name}: {named or lesson}".rstrip(".") + more)


def _looks_unwritten(exercise: Exercise, answer: Callable[..., Any]) -> bool:
    """Whether the answer does nothing yet: NotImplementedError, or None or ... for every probe."""
    for arguments in exercise.probes():
        try:
            result = answer(*copy.deepcopy(arguments))
            if result is not None and result is not ...:
                return False
        except NotImplementedError:
            return True
        except Exception:
            return False
    return True


def _diagnose(exercise: Exercise, answer: Callable[..., Any]) -> str | None:
    """The words of the mistake that behaves as the answer does on every probe, else None."""
    for mistake in exercise.mistakes.values():
        wrong = load_answer(mistake.source, exercise.function)
        if all(_agree(exercise, wrong, answer, arguments) for arguments in exercise.probes()):
            return mistake.says
    return None


def _agree(
    exercise: Exercise, one: Callable[..., Any], other: Callable[..., Any], arguments: tuple[Any, ...]
) -> bool:
    outcomes: list[tuple[type[Exception] | None, Any]] = []
    for function in (one, other):
        try:
            outcomes.append((None, function(*copy.deepcopy(arguments))))
        except Exception as exc:  # a mistake may consist in raising
            outcomes.append((type(exc), None))
    (kind, result), (other_kind, other_result) = outcomes
    if kind is not None or other_kind is not None:
        return kind is other_kind
    try:
        return bool(exercise.same(result, other_result))
    except Exception:  # results of another shape or type cannot be compared: not the same
        return False


def _line_of(exc: BaseException, answer: Callable[..., Any]) -> str:
    """` (line 3 of your function)` when the error arose in the answer's own code."""
    code = getattr(answer, "__code__", None)
    for frame in reversed(traceback.extract_tb(exc.__traceback__)):
        if code is not None and frame.filename == code.co_filename and frame.lineno is not None:
            return f" (line {frame.lineno - code.co_firstlineno + 1} of your function)"
    return ""


def _exercise(exercise: str | Exercise) -> Exercise:
    return exercise if isinstance(exercise, Exercise) else _find(exercise, "EXERCISES")


def _find(name: str, kind: str, optional: bool = False) -> Any:
    """The exercise or prediction called `name`; chapters are imported in order until one has it."""
    seen: list[str] = []
    for chapter in CHAPTERS:
        for item in _listed(chapter, kind):
            if item.name == name:
                return item
            seen.append(item.name)
    if optional:
        return None
    what = {"EXERCISES": "exercise", "PREDICTIONS": "prediction"}[kind]
    known = ", ".join(seen) or "none yet"
    raise UserError(f"unknown {what} {name!r}: {did_you_mean(closest(name, seen))}there are {known}")


def _listed(chapter: str, kind: str) -> list[Any]:
    try:
        if importlib.util.find_spec(f"{chapter}.exercises") is None:
            return []
    except ModuleNotFoundError:  # the chapter itself is not installed
        return []
    return list(getattr(importlib.import_module(f"{chapter}.exercises"), kind, ()))


def _number(value: float) -> str:
    """A number for reading: `36,864`, `10.82`, `0.00031`."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _compare(guess: float, truth: float, ratio: float | None) -> str:
    if guess == truth:
        return "exactly right"
    if ratio is None:
        return f"off by {_number(abs(guess - truth))}"
    if 0.9 < ratio < 1 / 0.9:
        return f"very close, within {abs(ratio - 1) * 100:.1f} %"
    factor = max(ratio, 1 / ratio)
    shown = f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}"
    return f"your guess is {shown} times too {'large' if ratio > 1 else 'small'}"
