"""The exercises of notebook 06, with their checkers: what to save, how to write it, which of it to keep.

Each checker tests properties on toys (a run that is a list of numbers, a disk that is a dict), so any right answer
passes, and knows how the step usually goes wrong. The tests prove (`utils.exercises.prove`) that the solution passes,
the stub fails and each classic mistake is named. Left out: folders, checksums, threads (`checkpoints`).
Notebook: `06_checkpoints_and_resume.ipynb`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]
Step = tuple[str, ...]


# ---------------------------------------------------------------- 1. what a run is made of


class ToyRun:
    """Training in four lines: noisy gradients from an endless list of numbers, with momentum; changed in place."""

    DATA = (3.0, -1.0, 4.0, 1.0, -5.0, 9.0, -2.0)

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.weights: list[float] = state.get("weights", [0.0, 1.0])
        self.velocity: list[float] = state.get("velocity", [0.0, 0.0])
        self.position: int = state.get("position", 0)
        self.rng = random.Random(0)
        if "rng" in state:
            self.rng.setstate(state["rng"])

    def step(self) -> float:
        """One step; returns its loss."""
        x = self.DATA[self.position % len(self.DATA)] + self.rng.gauss(0, 0.1)
        self.position += 1
        error = self.weights[0] + self.weights[1] - x
        for i in range(len(self.weights)):
            self.velocity[i] = 0.9 * self.velocity[i] + error
            self.weights[i] -= 0.01 * self.velocity[i]
        return error * error


def _run(steps: int) -> ToyRun:
    run = ToyRun()
    for _ in range(steps):
        run.step()
    return run


def _check_snapshot(answer: Answer) -> None:
    for before in (1, 5):
        run = _run(before)
        state = answer(run)
        require(isinstance(state, dict), f"give a dict, not {type(state).__name__}")
        parts = {"weights", "velocity", "position", "rng"}
        require(
            parts <= state.keys(), f"a part is missing: {', '.join(sorted(parts - state.keys())) or 'none'}"
        )
        require(run.position == before, "to save is to look: the run must be as it was")
        losses = [run.step() for _ in range(6)]
        again = ToyRun(state)
        require(
            [again.step() for _ in range(6)] == losses,
            "a run that goes on from your state must have the same losses, to the last bit, whatever the first run "
            "did in the meantime",
        )


SNAPSHOT_STUB = '''
def snapshot(run):
    """A dict with weights, velocity, position and rng (run.rng.getstate()): all that later steps depend on."""
    ...  # your code
'''
SNAPSHOT_SOLUTION = """
def snapshot(run):
    return {
        "weights": list(run.weights),
        "velocity": list(run.velocity),
        "position": run.position,
        "rng": run.rng.getstate(),
    }
"""
SNAPSHOT = Exercise(
    name="snapshot",
    task="Everything that the next steps of a run depend on, as it is now.",
    function="snapshot",
    check=_check_snapshot,
    stub=SNAPSHOT_STUB,
    solution=SNAPSHOT_SOLUTION,
    hints=(
        "Read ToyRun.step: which of the run's attributes does it read, and which does it change in place?",
        "Four: weights and velocity (lists that step() changes in place, so copy them), position, and the generator.",
        '{"weights": list(run.weights), "velocity": list(run.velocity), "position": run.position, '
        '"rng": run.rng.getstate()}',
    ),
    mistakes={
        "no copy": Mistake(
            SNAPSHOT_SOLUTION.replace("list(run.weights)", "run.weights").replace(
                "list(run.velocity)", "run.velocity"
            ),
            "you kept the lists themselves: the run changes them in place, and your snapshot with them; copy them",
        ),
        "fresh optimizer": Mistake(
            SNAPSHOT_SOLUTION.replace("list(run.velocity)", "[0.0 for _ in run.velocity]"),
            "you saved a fresh velocity: the optimizer's memory is a part of the run",
        ),
        "data from the start": Mistake(
            SNAPSHOT_SOLUTION.replace("run.position", "0"),
            "you sent the data back to its start: the first examples would be learned twice, the others never",
        ),
        "seeded again": Mistake(
            SNAPSHOT_SOLUTION.replace("run.rng.getstate()", "__import__('random').Random(0).getstate()"),
            "you seeded the generator again: the noise of the first steps would come a second time",
        ),
        "one step too far": Mistake(
            SNAPSHOT_SOLUTION.replace("    return", "    run.step()\n    return"),
            "you made a step while saving: to save is to look",
        ),
    },
    probes=lambda: [(_run(3),), (_run(9),)],
)


# ---------------------------------------------------------------- 2. whole or not at all


class ToyDisk:
    """Names and their content, with the manners of a real disk when the power goes.

    A write puts the first half there before the rest; content that was not synced may be lost in a power cut,
    even if the name was renamed meanwhile; a rename is all or nothing.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)
        self.synced = set(files)

    def play(self, plan: Sequence[Step], until: int) -> dict[str, str]:
        """The files after a power cut before operation `until`; each write counts as two operations."""
        for count, (what, name, *rest) in enumerate(self.operations(plan)):
            if count == until:
                break
            if what == "write":
                self.files[name] = rest[0]
                self.synced.discard(name)
            elif what == "sync":
                self.synced |= {name} & self.files.keys()
            elif what == "rename" and name in self.files:
                self.files[rest[0]] = self.files.pop(name)
                was = name in self.synced
                self.synced -= {name, rest[0]}
                self.synced |= {rest[0]} if was else set()
            elif what == "remove":
                self.files.pop(name, None)
        return {
            n: content if n in self.synced else content[: len(content) // 2]
            for n, content in self.files.items()
        }

    @staticmethod
    def operations(plan: Sequence[Step]) -> list[Step]:
        """The plan with each write in two halves."""
        halves: list[Step] = []
        for step in plan:
            if step[0] == "write":
                halves.append(("write", step[1], step[2][: len(step[2]) // 2]))
            halves.append(tuple(step))
        return halves


def outcomes(plan: Sequence[Step], name: str, old: str, new: str) -> list[str]:
    """What a reader finds under `name` after a power cut before each operation of `plan`, and after the last:
    "old", "new", "torn" or "nothing"."""
    found = []
    for until in range(len(ToyDisk.operations(plan)) + 1):
        content = ToyDisk({name: old}).play(plan, until).get(name)
        found.append("nothing" if content is None else {old: "old", new: "new"}.get(content, "torn"))
    return found


def _check_plan(answer: Answer) -> None:
    for name, old, new in (("last", "step 10", "step 20, whole"), ("m", "ab", "abcdefgh")):
        plan = answer(name, new)
        require(isinstance(plan, list) and all(isinstance(s, tuple) for s in plan), "give a list of tuples")
        kinds = {"write": 3, "sync": 2, "rename": 3, "remove": 2}
        for step in plan:
            require(bool(step) and kinds.get(step[0]) == len(step), f"{step!r} is no operation of this disk")
        found = outcomes(plan, name, old, new)
        require(
            found[-1] == "new",
            "after the last operation the new content must be there, also after a power cut",
        )
        bad = [i for i, what in enumerate(found) if what not in ("old", "new")]
        require(
            not bad,
            f"power cut before operation {bad[0] + 1 if bad else 0}: the reader finds "
            f"{found[bad[0]] if bad else ''}; at every moment it must be the old or the new, whole",
        )
        left = ToyDisk({name: old}).play(plan, 99).keys() - {name}
        require(not left, f"{', '.join(sorted(left))} is left behind")


PLAN_STUB = '''
def plan(name, data):
    """A list of ("write", name, data), ("sync", name), ("rename", old, new), ("remove", name)."""
    ...  # your code
'''
PLAN_SOLUTION = """
def plan(name, data):
    beside = name + ".tmp"
    return [("write", beside, data), ("sync", beside), ("rename", beside, name)]
"""
PLAN = Exercise(
    name="plan_a_write",
    task="The operations that put data under a name, so that a power cut at any moment leaves the old or the new.",
    function="plan",
    check=_check_plan,
    stub=PLAN_STUB,
    solution=PLAN_SOLUTION,
    hints=(
        "Which of the four operations is all or nothing?",
        "The rename. So write somewhere else first, and rename when all of it is there. When is it surely there?",
        'beside = name + ".tmp": write it, sync it, then rename it to the name.',
    ),
    mistakes={
        "in place": Mistake(
            "def plan(name, data):\n    return [('write', name, data), ('sync', name)]\n",
            "you wrote over the old content: after half of it neither the old nor the new is there",
        ),
        "no sync": Mistake(
            PLAN_SOLUTION.replace('("sync", beside), ', ""),
            "you renamed before the content was on the disk: in a power cut the name can survive and the content not",
        ),
        "sync too late": Mistake(
            PLAN_SOLUTION.replace(
                '("sync", beside), ("rename", beside, name)', '("rename", beside, name), ("sync", name)'
            ),
            "you synced after the rename: between the two a power cut leaves the new name with half of the content",
        ),
        "remove first": Mistake(
            PLAN_SOLUTION.replace('("rename", beside, name)', '("remove", name), ("rename", beside, name)'),
            "you removed the old one first: between the two operations there is nothing at all",
        ),
    },
    probes=lambda: [("last", "step 20, whole"), ("m", "abcdefgh")],
)


# ---------------------------------------------------------------- 3. which of them stay

SCORES = {100: 4.0, 200: 3.1, 300: 2.9, 400: 3.3, 500: 3.0, 600: 3.6, 700: 3.5}


def _check_kept(answer: Answer) -> None:
    for last, best in ((1, 1), (2, 2), (3, 1)):
        found = answer(dict(SCORES), last, best)
        require(isinstance(found, set), f"give a set of steps, not {type(found).__name__}")
        require(found <= SCORES.keys(), "only steps that were saved can be kept")
        require(set(sorted(SCORES)[-last:]) <= found, "the newest are needed to go on")
        require(
            set(sorted(SCORES, key=SCORES.__getitem__)[:best]) <= found, "the lowest losses of all must stay"
        )
        require(len(found) <= last + best, f"with last={last} and best={best} at most {last + best} stay")
    unscored = {**SCORES, 800: None}
    require(800 in answer(dict(unscored), 1, 1), "a step without a loss can be the newest")
    require(answer(dict(unscored), 1, 2) == {800, 300, 500}, "a step without a loss is never among the best")


KEPT_STUB = '''
def kept(losses, last, best):
    """The steps to keep: the newest `last` and the `best` of the lowest loss. losses: step -> loss, or None."""
    ...  # your code
'''
KEPT_SOLUTION = """
def kept(losses, last, best):
    newest = sorted(losses)[-last:]
    scored = [step for step in losses if losses[step] is not None]
    return {*newest, *sorted(scored, key=losses.get)[:best]}
"""
KEPT = Exercise(
    name="kept",
    task="Which checkpoints stay when the newest and the best of them are to be kept.",
    function="kept",
    check=_check_kept,
    stub=KEPT_STUB,
    solution=KEPT_SOLUTION,
    hints=(
        "Two small sets, each by its own order; what stays is in one or the other.",
        "sorted(losses)[-last:] are the newest. The best: sort the steps that have a loss by it, and take the first.",
        "scored = [s for s in losses if losses[s] is not None]; {*sorted(losses)[-last:], "
        "*sorted(scored, key=losses.get)[:best]}",
    ),
    mistakes={
        "highest": Mistake(
            KEPT_SOLUTION.replace("key=losses.get)[:best]", "key=losses.get, reverse=True)[:best]"),
            "you kept the highest losses: lower is better",
        ),
        "only the newest": Mistake(
            KEPT_SOLUTION.replace(", *sorted(scored, key=losses.get)[:best]", ""),
            "you kept only the newest: the best model of the run would be deleted while the run gets worse",
        ),
        "only the best": Mistake(
            KEPT_SOLUTION.replace("*newest, ", ""),
            "you kept only the best: a run that is killed would go on from long ago",
        ),
        "no loss is zero": Mistake(
            KEPT_SOLUTION.replace(
                "sorted(scored, key=losses.get)", "sorted(losses, key=lambda s: losses[s] or 0.0)"
            ),
            "you counted a missing loss as zero: a step that nobody judged became the best",
        ),
        "oldest": Mistake(
            KEPT_SOLUTION.replace("[-last:]", "[:last]"),
            "you kept the oldest: the newest are at the end of the sorted steps",
        ),
    },
    probes=lambda: [(dict(SCORES), 2, 2), (dict(SCORES), 1, 1), ({1: 2.0, 2: 1.0, 3: None}, 1, 1)],
)

EXERCISES = [SNAPSHOT, PLAN, KEPT]
PREDICTIONS = [
    Prediction(
        "bytes_per_parameter_in_a_checkpoint",
        12,
        "bytes",
        "The weight and AdamW's two memories of its gradient, 4 bytes each: two thirds of a checkpoint are optimizer.",
    ),
    Prediction(
        "losses_that_differ_after_a_resume",
        0,
        "losses",
        "Not small: none. A resume that is nearly right is a resume that has forgotten something.",
    ),
    Prediction(
        "operations_at_which_a_kill_may_hurt",
        0,
        "operations",
        "Written beside, synced, renamed: there is no moment at which the name holds half a checkpoint.",
    ),
]
