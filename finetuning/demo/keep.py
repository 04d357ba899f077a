"""Keep a demo's model as the book's own: `gpt_model/assets/`, so that the chat works before any training.

    python -m finetuning.demo.keep RUN

copies the tuned model's weights, shape and tokenizer, and writes beside them a `run.json` with the
command that made it, what it was measured to do, and on which hardware and versions.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from utils.errors import UserError

ASSETS = Path(__file__).resolve().parents[2] / "gpt_model" / "assets" / "storyteller"
FILES = ("model.safetensors", "config.json", "tokenizer.json")


def main(argv: list[str] | None = None) -> int:
    """Copy the model of the demo run named on the command line. Raises UserError for one without tuning."""
    from pretraining.checkpoints import load_checkpoint
    from utils.files import atomic_write_json, sha256_file
    from utils.runs import find_run

    parser = argparse.ArgumentParser(prog="python -m finetuning.demo.keep", description=__doc__)
    parser.add_argument("run", help="a demo run: an id, a path, or last")
    options = parser.parse_args(argv)
    demo = find_run(options.run, stage="demo")
    facts = json.loads((demo.path / "summary.json").read_text(encoding="utf-8"))
    if "tuning" not in facts:
        raise UserError(f"demo run {demo.id} was not tuned to answer: keep one that was made on Storyland")
    source = load_checkpoint(find_run(str(demo.path.parents[1] / "finetune" / demo.id))).path
    ASSETS.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, ASSETS / name)
    record = {
        "stage": "demo",
        "id": demo.id,
        "status": demo.status,
        "command": " ".join(["scratchbook demo", *demo.meta["command"][2:]]),
        "config": demo.meta["config"],
        "git_sha": demo.meta.get("git_sha"),
        "versions": demo.meta["versions"],
        "hardware": demo.meta["hardware"],
        "start": demo.meta["start"],
        "end": demo.meta["end"],
        "figures": {key: facts[key] for key in ("corpus", "training", "proof", "decoding", "total_seconds")}
        | {
            "stories": {k: v for k, v in facts["stories"].items() if k != "shown"},
            "tuning": {k: v for k, v in facts["tuning"].items() if k != "examples"},
        },
        "sha256": {name: sha256_file(ASSETS / name) for name in FILES},
    }
    atomic_write_json(ASSETS / "run.json", record)
    print(f"kept {demo.id} in {ASSETS}")
    return 0


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
