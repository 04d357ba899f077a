"""What a sweep will train: axes into trials, trials into jobs, and which of them go on to the next rung.

    lr=1e-3,3e-3 model.n_layer=2,4 steps=400     two axes, four trials, everything else the same

Three methods. A *grid* takes every combination. *Random* search draws some, or from ranges, `lr=log(1e-4,1e-2)`: where
few of the axes matter it tries more values of those that do (Bergstra & Bengio 2012, JMLR 13). *Halving* starts
many trials, and at each rung lets the best 1/eta train on, eta times as long (Jamieson & Talwalkar 2016, arXiv
1502.07943). A trial that goes on is the same run: its schedule was that of the whole budget from the first step, so it
ends where it would have ended alone. A plan starts nothing; `jobs` gives command lines, for local processes or rented
machines. Left out: search that learns from earlier trials. Notebook: 05 of this chapter.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from working_with_text_data.content_cache import key_of

METHODS = ("grid", "random", "halving")
_RANGE = re.compile(r"(log|uniform|int)\(\s*([^,()]+)\s*,\s*([^,()]+)\s*\)")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
MAX_TRIALS = 1000  # more is a mistake in the command line


@dataclass(frozen=True)
class Range:
    """Values to draw from: `log(a,b)` evenly in the exponent, `uniform(a,b)`, `int(a,b)` with both ends."""

    kind: str
    low: float
    high: float

    def draw(self, chance: random.Random) -> str:
        """One value as text."""
        if self.kind == "int":
            return str(chance.randint(int(self.low), int(self.high)))
        if self.kind == "log":
            return f"{math.exp(chance.uniform(math.log(self.low), math.log(self.high))):.4g}"
        return f"{chance.uniform(self.low, self.high):.4g}"


Axis = Range | tuple[str, ...]


def split_values(text: str) -> tuple[str, ...]:
    """The values of `a,b,c`; a comma within brackets or quotes does not separate.

    >>> split_values("1e-3,3e-3"), split_values("[1,2],[3]"), split_values('"a,b"')
    (('1e-3', '3e-3'), ('[1,2]', '[3]'), ('"a,b"',))
    """
    values, closing, quote = [""], [], ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _BRACKETS:
            closing.append(_BRACKETS[char])
        elif closing and char == closing[-1]:
            closing.pop()
        elif char == "," and not closing:
            values.append("")
            continue
        values[-1] += char
    return tuple(value.strip() for value in values)


def read_axis(key: str, text: str) -> Axis:
    """An axis from the text behind `key=`. Raises UserError for a range that is none and for a value given twice."""
    found = _RANGE.fullmatch(text.strip())
    if found:
        kind, *ends = found.groups()
        try:
            low, high = (int(end) if kind == "int" else float(end) for end in ends)
        except ValueError:
            raise UserError(f"{key}={text}: both ends of {kind}(…) must be numbers") from None
        if not low < high or (kind == "log" and low <= 0):
            raise UserError(f"{key}={text}: give the lower end first{', above 0' if kind == 'log' else ''}")
        return Range(kind, low, high)
    values = split_values(text)
    if "" in values:
        raise UserError(f"{key}={text} has an empty value: write {key}=a,b,c")
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise UserError(f"{key}={text} has {twice[0]} twice: give each value once")
    return values


def read_words(words: Iterable[str]) -> tuple[dict[str, Axis], dict[str, str]]:
    """`key=value` texts as axes (two values or more, or a range) and what is the same for all."""
    axes: dict[str, Axis] = {}
    fixed: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is not a setting: write key=value, or key=a,b,c for an axis")
        axes.pop(key, None)
        fixed.pop(key, None)  # the last word for a key wins
        axis = read_axis(key, text)
        if isinstance(axis, tuple) and len(axis) == 1:
            fixed[key] = text
        else:
            axes[key] = axis
    return axes, fixed


@dataclass(frozen=True)
class Trial:
    """One configuration: `settings` are its values on the axes, `words` all that its training is told."""

    id: str
    settings: dict[str, str]
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The settings as a person reads them: `lr=3e-3 n_layer=4`."""
        return (
            " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.settings.items())
            or "all fixed"
        )


@dataclass(frozen=True)
class SweepPlan:
    """The trials of a sweep, and the steps at which halving looks. `rungs` ends with None: the whole budget."""

    trials: tuple[Trial, ...]
    rungs: tuple[int | None, ...] = (None,)
    eta: int = 2
    recipe: str | None = None

    def jobs(
        self, folder: Path, rung: int = 0, trials: Sequence[Trial] | None = None, keep: int = 1
    ) -> list[list[str]]:
        """The arguments of `python` for each trial (all, or those given) up to a rung, with runs in `folder`.

        Independent of each other, and each may be given again: what is done is found done. Run them anywhere that
        sees `folder`.
        """
        stop = self.rungs[rung]
        stop_words = [] if stop is None else ["--stop-at", str(stop)]
        config = [] if self.recipe is None else ["--config", self.recipe]
        start = ["-m", "pretraining.train_job"]
        end = [f"runs={folder}", f"keep_last={keep}"]
        return [
            [*start, "--run-id", trial.id, *stop_words, *config, *trial.words, *end]
            for trial in (self.trials if trials is None else trials)
        ]

    def survivors(self, losses: Mapping[str, float | None], rung: int) -> list[Trial]:
        """Who goes on after `rung`: the best 1/eta of those that began it, at least one; none without a loss.

        `losses` maps trial ids to the validation loss at the rung, None for one that failed. Among equals the one
        that stands first in the plan.
        """
        began = sum(trial.id in losses for trial in self.trials)
        finite = [
            trial
            for trial in self.trials
            if (loss := losses.get(trial.id)) is not None and math.isfinite(loss)
        ]
        finite.sort(key=lambda trial: float(losses[trial.id] or 0.0))  # stable: the plan's order among equals
        return finite[: max(1, began // self.eta)]

    def step_cost(self, steps: int) -> tuple[int, int]:
        """Optimizer steps of this plan when nothing fails, and of training every trial to the end."""
        count, done, total = len(self.trials), 0, 0
        for rung in self.rungs:
            upto = steps if rung is None else rung
            total += count * (upto - done)
            count, done = max(1, count // self.eta), upto
        return total, len(self.trials) * steps


def make_plan(
    axes: Mapping[str, Axis],
    fixed: Mapping[str, str],
    *,
    method: str = "grid",
    trials: int | None = None,
    draw_seed: int = 0,
    steps: int | None = None,
    rungs: int | None = None,
    eta: int = 2,
    recipe: str | None = None,
) -> SweepPlan:
    """The plan of a sweep. `trials` draws so many; `steps` is the budget, which halving divides into `rungs`.

    Raises UserError for a method or number that makes no plan.
    """
    if method not in METHODS:
        raise UserError(f"method is {method!r}: choose one of {', '.join(METHODS)}")
    if not axes:
        raise UserError("there is nothing to sweep over: give at least one key=a,b or key=log(1e-4,1e-2)")
    ranges = [key for key, axis in axes.items() if isinstance(axis, Range)]
    if method == "random" and trials is None:
        raise UserError("method=random needs trials=N: how many to draw")
    if method == "grid" and trials is not None:
        raise UserError("trials is for method=random or halving: a grid takes every combination")
    if ranges and trials is None:
        raise UserError(f"{ranges[0]} is a range, which is drawn from: give method=random and trials=N")
    settings = _grid(axes) if trials is None else _draws(axes, trials, draw_seed)
    made = tuple(_trial(own, fixed, recipe) for own in settings)
    if method != "halving":
        return SweepPlan(made, recipe=recipe)
    return SweepPlan(made, _rungs(len(made), axes, steps, rungs, eta), eta, recipe)


def _grid(axes: Mapping[str, Axis]) -> list[dict[str, str]]:
    values = [axis for axis in axes.values() if not isinstance(axis, Range)]
    count = math.prod(len(axis) for axis in values)
    if count > MAX_TRIALS:
        raise UserError(f"the grid has {count:,} trials, above {MAX_TRIALS:,}: use method=random trials=N")
    return [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*values)]


def _draws(axes: Mapping[str, Axis], trials: int, seed: int) -> list[dict[str, str]]:
    """Different trials, drawn: from the grid where there are no ranges, without putting back."""
    if not 1 <= trials <= MAX_TRIALS:
        raise UserError(f"trials is {trials}: it lies between 1 and {MAX_TRIALS:,}")
    chance = random.Random(seed)
    if not any(isinstance(axis, Range) for axis in axes.values()):
        grid = _grid(axes)
        if trials > len(grid):
            raise UserError(
                f"trials is {trials}, but the axes have {len(grid)} combinations: use method=grid"
            )
        return chance.sample(grid, trials)
    return [
        {key: axis.draw(chance) if isinstance(axis, Range) else chance.choice(axis) for key, axis in axes.items()}
        for _ in range(trials)
    ]  # fmt: skip


def _trial(settings: dict[str, str], fixed: Mapping[str, str], recipe: str | None) -> Trial:
    words = tuple(f"{key}={value}" for key, value in {**fixed, **settings}.items())
    path = None if recipe is None else Path(recipe)
    below = path.read_text(encoding="utf-8") if path is not None and path.is_file() else recipe
    return Trial(key_of(["trial", below, sorted(words)])[:12], settings, words)


def _rungs(
    count: int, axes: Mapping[str, Any], steps: int | None, rungs: int | None, eta: int
) -> tuple[int | None, ...]:
    """Steps at which halving looks: steps/eta^k, …, steps/eta, and the end."""
    if eta < 2:
        raise UserError(f"eta is {eta}: at each rung one in eta goes on, so the least is 2")
    if steps is None or "steps" in axes:
        raise UserError("method=halving needs one budget in steps for all: give steps=N")
    if "seed" in axes:
        raise UserError(
            "method=halving over seeds keeps the lucky ones: leave seed out, then grid the winner"
        )
    if count < eta:
        raise UserError(
            f"method=halving with {count} trials and eta={eta}: there must be at least {eta} trials"
        )
    most = 1 + int(math.log(count) / math.log(eta) + 1e-9)
    wanted = most if rungs is None else rungs
    if not 2 <= wanted <= most or steps < eta ** (wanted - 1):
        raise UserError(
            f"rungs is {wanted}: with {count} trials, eta={eta} and {steps} steps it lies between 2 and "
            f"{min(most, 1 + int(math.log(steps) / math.log(eta) + 1e-9))}"
        )
    return (*(steps // eta**k for k in range(wanted - 1, 0, -1)), None)
