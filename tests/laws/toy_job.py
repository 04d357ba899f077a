"""Run as a program: what a training command is to `deployment.jobs`, without torch, so that it can be killed often.

A state of one number goes from step to step; a checkpoint holds it. Keys: steps, save_every, nap (seconds a step),
`bad=1` (exit 2), `fall=N` (exit 1 after step N), `wait=1` (a save waits until somebody has committed it).
"""

import json
import signal
import sys
import time
from pathlib import Path

from utils.files import atomic_dir
from utils.runs import Run

DEFAULTS = {"steps": 40, "save_every": 5, "nap": 0.005, "bad": 0, "fall": 0, "wait": 0}


def main(words: list[str]) -> int:
    if words[:1] == ["--resume"]:
        run = Run.open(words[1])
        settings = run.meta["config"]
        newest = max((run.path / "checkpoints").glob("step_*"))
        state = json.loads((newest / "manifest.json").read_text())
        run.resume()
    else:
        settings = DEFAULTS | {k: float(v) for k, _, v in (word.partition("=") for word in words)}
        if settings["bad"]:
            print("error: bad is 1 but must be 0", file=sys.stderr)
            return 2
        run, state = Run.create("toy", settings), {"step": 0, "x": 0.5}
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    with run:
        while state["step"] < settings["steps"]:
            x, step = state["x"], state["step"] + 1
            state = {"step": step, "x": 3.9 * x * (1 - x)}
            run.metric(**state)
            time.sleep(settings["nap"])
            if step % settings["save_every"] == 0 or asked or step == settings["steps"]:
                with atomic_dir(run.path / "checkpoints" / f"step_{step:06d}") as folder:
                    (folder / "manifest.json").write_text(json.dumps(state))
                if settings["wait"] and not wait_for_commit(run, step):
                    print(f"error: nobody committed step {step}", file=sys.stderr)
                    return 3
            if asked:
                run.finish("stopped", "asked to")
                return 130
            if step == settings["fall"]:
                print("error: fell", file=sys.stderr)
                run.finish("failed", "fell")
                return 1
    return 0


def wait_for_commit(run: Run, step: int) -> bool:
    seen = run.path.parents[1] / "committed"
    for _ in range(1000):
        if seen.exists() and int(seen.read_text() or 0) >= step:
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    raise SystemExit(main(sys.argv[1:]))
