"""How long a command takes to say anything: whole processes, timed in turn.

`python -m utils.startup` times `--help` of the front door and of the tokenizer command beside an empty
Python, and writes `results/startup.json`. A command that imports torch by accident shows here at once.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "startup.json"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "scratchbook --help": ["-m", "scratchbook", "--help"],
    "scratchbook tokenizer --help": ["-m", "scratchbook", "tokenizer", "--help"],
    "scratchbook demo --help": ["-m", "scratchbook", "demo", "--help"],
}


def main(argv: list[str] | None = None) -> int:
    """Time each command and write the result; `argv` may name another file to write."""
    from utils.timing import compare, write_result

    arguments = sys.argv[1:] if argv is None else argv
    out = Path(arguments[0]) if arguments else RESULT
    candidates = {
        name: partial(subprocess.run, [sys.executable, *words], capture_output=True, check=True)
        for name, words in COMMANDS.items()
    }
    figures = compare(candidates, rounds=9, warmup=1)
    for name, row in figures["candidates"].items():
        print(f"{name:30} {1000 * row['median_s']:5.0f} ms")
    print(write_result(out, name="startup", figures=figures, command="python -m utils.startup"))
    return 0


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
