"""The exercises of notebook 01, with their checkers: how often to save, who may work, what to try again.

Each checker tests properties on numbers of its own choice, so any right answer passes, and knows how the step usually
goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes, the stub fails and each classic mistake
is named. Left out: files, processes, other machines (`lease`, `jobs`).
Notebook: `01_from_laptop_to_cloud.ipynb`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from deployment.jobs import verdict
from pretraining.child_process import Ending
from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]


# ---------------------------------------------------------------- 1. how often to save


def overhead(interval: float, save: float, life: float) -> float:
    """The share of time that is lost when a save of `save` seconds comes every `interval` seconds and a machine lives
    `life` seconds on average: the saves, and half an interval's work that each death throws away."""
    return save / interval + interval / (2 * life)


def simulate(interval: float, save: float, life: float, work: float, seed: int = 0) -> tuple[float, int]:
    """(seconds until `work` seconds of work are safe, deaths): saves take time, deaths throw back to the last save."""
    chance = random.Random(seed)
    clock, safe, done, deaths = 0.0, 0.0, 0.0, 0
    dies = chance.expovariate(1 / life)
    while safe < work:
        piece = min(interval, work - safe)
        if clock + piece + save >= dies:
            clock, done, deaths = dies, safe, deaths + 1
            dies = clock + chance.expovariate(1 / life)
            continue
        clock += piece + save
        safe = done = done + piece
    return clock, deaths


def _check_interval(answer: Answer) -> None:
    for save, life in ((2.0, 3600.0), (30.0, 24 * 3600.0), (0.5, 100.0)):
        mine = answer(save, life)
        require(
            isinstance(mine, int | float) and math.isfinite(mine) and mine > 0,
            f"seconds above 0, not {mine!r}",
        )
        lost = overhead(mine, save, life)
        for other in (0.8 * mine, 1.25 * mine):
            require(
                lost <= overhead(other, save, life) + 1e-12,
                f"with a save of {save:g} s and a life of {life:g} s, every {other:.0f} s loses less than your "
                f"{mine:.0f} s: {overhead(other, save, life):.2%} against {lost:.2%}",
            )


INTERVAL_STUB = '''
def best_interval(save, life):
    """Seconds between saves that waste least: save / interval + interval / (2 * life) is the share lost."""
    ...  # your code
'''
INTERVAL_SOLUTION = """
def best_interval(save, life):
    return (2 * save * life) ** 0.5
"""
INTERVAL = Exercise(
    name="best_interval",
    task="The time between two checkpoints that wastes the least.",
    function="best_interval",
    check=_check_interval,
    stub=INTERVAL_STUB,
    solution=INTERVAL_SOLUTION,
    hints=(
        "Two losses: one falls with the interval, one grows with it. Where is the sum smallest?",
        "The derivative of s/t + t/(2m) is -s/t² + 1/(2m). Set it to zero.",
        "t² = 2 · s · m",
    ),
    mistakes={
        "no two": Mistake(
            INTERVAL_SOLUTION.replace("2 * save", "save"),
            "you left out the 2: a death comes in the middle of an interval on average, so half of it is lost",
        ),
        "no root": Mistake(
            INTERVAL_SOLUTION.replace("** 0.5", "** 1.0"),
            "you left out the root: it is the square of the interval that equals 2 · save · life",
        ),
        "upside down": Mistake(
            INTERVAL_SOLUTION.replace("2 * save * life", "2 * life / save"),
            "you divided by the cost of a save: what is dear is done less often, not more",
        ),
        "never": Mistake(
            INTERVAL_SOLUTION.replace("(2 * save * life) ** 0.5", "life"),
            "you save once a life: on average half of all work is thrown away",
        ),
    },
    probes=lambda: [(2.0, 3600.0), (30.0, 86400.0)],
    same=lambda a, b: isinstance(a, int | float) and math.isclose(a, b, rel_tol=1e-9),
)


# ---------------------------------------------------------------- 2. who may work


def _note(host: str, renewed: float, seconds: float = 90.0) -> dict[str, Any]:
    return {"host": host, "renewed": renewed, "seconds": seconds}


def _check_free(answer: Answer) -> None:
    require(answer(None, 1000.0) is True, "nobody has written a note: the place is free")
    for seconds in (30.0, 90.0):
        for age, free in ((0.0, False), (0.5 * seconds, False), (seconds + 1, True), (100 * seconds, True)):
            found = answer(_note("other", 5000.0 - age, seconds), 5000.0)
            words = "it has run out" if free else "whoever wrote it may be at work"
            require(found is free, f"a note of {seconds:g} s that was renewed {age:g} s ago: {words}")
    require(
        answer(_note("other", 5030.0), 5000.0) is False,
        "a note from the future (clocks differ a little) is a fresh one, not an old one",
    )


FREE_STUB = '''
def is_free(note, now):
    """May another machine take the job? note: None, or a dict with renewed (a time) and seconds (of the lease)."""
    ...  # your code
'''
FREE_SOLUTION = """
def is_free(note, now):
    return note is None or now - note["renewed"] > note["seconds"]
"""
FREE = Exercise(
    name="is_free",
    task="Whether a lease has run out.",
    function="is_free",
    check=_check_free,
    stub=FREE_STUB,
    solution=FREE_SOLUTION,
    hints=(
        "Two cases give True: no note, and a note that is too old.",
        "The age of a note is now - note['renewed']; too old is more than note['seconds'].",
        'note is None or now - note["renewed"] > note["seconds"]',
    ),
    mistakes={
        "the wrong way round": Mistake(
            FREE_SOLUTION.replace("> note", "< note"),
            "you take it while it is fresh and leave it when it is old: compare the other way round",
        ),
        "a lock, not a lease": Mistake(
            FREE_SOLUTION.replace(' or now - note["renewed"] > note["seconds"]', ""),
            "you wait for a note to be removed: a machine that was killed removes nothing, and the job waits for ever",
        ),
        "no note, no work": Mistake(
            FREE_SOLUTION.replace("note is None or", "note is not None and"),
            "you never begin: where nobody has written a note, the place is free",
        ),
        "a moment and a length": Mistake(
            FREE_SOLUTION.replace('now - note["renewed"]', 'note["renewed"]'),
            "you compare a moment with a length of time: it is the note's age that counts, now minus renewed",
        ),
    },
    probes=lambda: [
        (None, 100.0),
        (_note("x", 0.0), 1000.0),
        (_note("x", 990.0), 1000.0),
        (_note("x", 950.0), 1000.0),
        (_note("x", 50.0), 100.0),
    ],
)


# ---------------------------------------------------------------- 3. what to try again


def _check_verdict(answer: Answer) -> None:
    lessons = (
        (0, 0, 500, "complete", "code 0 is the end of the job"),
        (2, 0, 0, "failed", "bad input (code 2) is as bad at the tenth attempt, and each is paid for"),
        (2, 100, 200, "failed", "bad input stays bad, however far it came"),
        (130, 100, 150, "again", "stopped and saved (code 130): the next attempt goes on"),
        (130, 0, 0, "again", "asked to stop before anything was saved: nobody's fault, begin again"),
        (1, 100, 300, "again", "it fell, but it had come further: another attempt may come further still"),
        (1, 100, 100, "failed", "it fell where the attempt before it had fallen: so will the next"),
        (-9, 0, 40, "again", "killed, but further than before"),
        (-9, 40, 40, "failed", "killed, most likely for its memory, without a step forward"),
    )
    for code, began, step, wanted, lesson in lessons:
        found = answer(code, began, step)
        said = f"code {code}, began at step {began}, safe is step {step}: {found!r}, not {wanted!r}: {lesson}"
        require(found == wanted, said)
        status = "complete" if code == 0 else "stopped" if code == 130 else "failed"
        assert verdict(Ending(status, code), began, step, asked_to_stop=False) == wanted, "ours disagrees"


VERDICT_STUB = '''
def after_an_attempt(code, began, step):
    """"complete", "again" or "failed". code: 0 done, 2 bad input, 130 asked to stop and saved, others: it fell.
    began: the step it went on from; step: the newest checkpoint now."""
    ...  # your code
'''
VERDICT_SOLUTION = """
def after_an_attempt(code, began, step):
    if code == 0:
        return "complete"
    if code == 2:
        return "failed"
    if code == 130:
        return "again"
    return "again" if step > began else "failed"
"""
VERDICT = Exercise(
    name="after_an_attempt",
    task="Whether another attempt is worth its money.",
    function="after_an_attempt",
    check=_check_verdict,
    stub=VERDICT_STUB,
    solution=VERDICT_SOLUTION,
    hints=(
        "Which endings cannot change by doing the same again?",
        "Code 2 never gets better; 130 always goes on; anything else is worth another attempt if it came further.",
        'for the rest: "again" if step > began else "failed"',
    ),
    mistakes={
        "bad input again": Mistake(
            VERDICT_SOLUTION.replace(
                'if code == 2:\n        return "failed"', 'if code == 2:\n        return "again"'
            ),
            "you try bad input again: it is as bad the tenth time, and each attempt is paid for",
        ),
        "always again": Mistake(
            VERDICT_SOLUTION.replace(' if step > began else "failed"', ""),
            "you try a fall again although it came no further: it will fall there for ever, at so much an hour",
        ),
        "never again": Mistake(
            VERDICT_SOLUTION.replace('"again" if step > began else "failed"', '"failed"'),
            "you give up at the first fall although it had come further: a preempted machine looks just like that",
        ),
        "any checkpoint": Mistake(
            VERDICT_SOLUTION.replace("step > began", "step > 0"),
            "you ask whether there is a checkpoint; ask whether there is one that the attempt before had not",
        ),
    },
    probes=lambda: [(c, b, s) for c in (0, 1, 2, 130, -9) for b, s in ((0, 0), (0, 50), (50, 50), (50, 90))],
)

EXERCISES = [INTERVAL, FREE, VERDICT]

PREDICTIONS = [
    Prediction(
        "steps_lost_by_a_kill",
        10,
        "steps",
        "a kill comes anywhere between two checkpoints with equal chance, so half of their distance is lost on average",
    ),
    Prediction(
        "price_of_eight_against_one",
        1.0,
        "times",
        "eight machines cost eight times as much an hour and take an eighth of the hours, as long as nothing is lost "
        "between them; the time that you gain has no price of its own",
    ),
    Prediction(
        "seconds_until_a_dead_machine_is_replaced",
        90,
        "seconds at most",
        "the new machine waits until the lease has run out: the one that was killed cannot give it back",
    ),
]
