"""From a short name to a model with its tokenizer: the one way in which sample, chat and notebooks load.

The idea: a checkpoint is any folder with model.safetensors and config.json (and tokenizer.json). What a
person types may be `assets` (the tiny model that comes with the book), `last` or `best` (of the newest
run), the id of a run, also with one of its checkpoints (`ID@best`, `ID@500`), or a path: to a checkpoint, or to
anything that contains some.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_model.config import GPTConfig
from utils.errors import UserError
from utils.runs import split_checkpoint

if TYPE_CHECKING:
    from gpt_model.gpt import GPT

ASSETS = Path(__file__).parent / "assets"
POINTERS = ("last", "best")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # owner/model
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to generate: in evaluation mode, with its tokenizer (None where the folder has none)."""

    model: "GPT"
    tokenizer: Any
    path: Path
    config: GPTConfig


def load_model(
    ref: str | Path, *, device: str | torch.device = "cpu", root: Path | None = None
) -> LoadedModel:
    """Load what `ref` names (see the module's text); `root` is the folder of runs.

    Raises UserError when nothing is found, naming where it was looked for, and when a file is damaged.
    """
    from gpt_model.huggingface import from_pretrained

    path = find_checkpoint(ref, root=root)
    model = from_pretrained(path, device=device).eval()
    return LoadedModel(model, _read_tokenizer(path), path, model.config)


def find_checkpoint(ref: str | Path, *, root: Path | None = None) -> Path:
    """The checkpoint folder that `ref` names."""
    name = str(ref)
    run_name, which = split_checkpoint(name)
    if which is not None and not Path(name).exists():
        return _of_run(run_name, which, root)
    if name == "assets":
        return _inside(
            ASSETS, "last", "the committed model is missing: make it with the command in its README"
        )
    if name in POINTERS:
        return _newest(name, root)
    path = Path(ref)
    if path.is_file() and path.name == "model.safetensors":
        path = path.parent
    if path.is_file() and path.suffix == ".bin":
        return path  # of llama2.c
    if path.is_dir():
        return _inside(path, "last")
    from utils.runs import find_run

    try:
        run = find_run(name, root=root)
    except UserError as error:
        if (found := _on_the_hub(name)) is not None:
            return found
        raise UserError(f"{name!r} is neither a folder nor a run: {error}") from None
    return _inside(run.path, "last")


def _of_run(name: str, which: str, root: Path | None) -> Path:
    """One checkpoint of a run: its last, its best, or that of a step."""
    from utils.runs import find_run

    folder = Path(name) if Path(name).is_dir() else find_run(name, root=root).path
    if which in POINTERS:
        return _inside(folder, which)
    place = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    step = place / f"step_{int(which.removeprefix('step_')):06d}"
    if not is_checkpoint(step):
        there = ", ".join(path.name for path in sorted(place.glob("step_*"))[-5:]) or "none"
        raise UserError(f"no checkpoint {step.name} in {place}: there are {there}")
    return step


def _on_the_hub(name: str) -> Path | None:
    """The files of a model that Hugging Face has: cached, or fetched where the name can mean nothing else."""
    from gpt_model.huggingface import GPT2_NAMES, find_in_cache, find_model

    if name in GPT2_NAMES or (HUB_NAME.fullmatch(name) and not Path(name).parent.exists()):
        return find_model(name)
    return find_in_cache(name)


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a model of its own, in our layout or Hugging Face's."""
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHT_FILES)


def _inside(
    folder: Path, pointer: str, hint: str = "name a folder with model.safetensors and config.json"
) -> Path:
    """The checkpoint that a folder is or contains, or a UserError."""
    found = _search(folder, pointer)
    if found is None:
        raise UserError(f"no checkpoint in {folder}: {hint}")
    return found


def _search(folder: Path, pointer: str) -> Path | None:
    """The folder itself; else where its pointer file leads; else the newest checkpoint anywhere below it."""
    if is_checkpoint(folder):
        return folder
    for place in (folder, folder / "checkpoints"):
        for name in (pointer, "last"):
            if (target := _follow(place / name)) is not None:
                return target
    below = [path.parent for path in folder.glob("**/config.json") if is_checkpoint(path.parent)]
    whole = [path for path in below if not path.name.startswith(".")]  # a dot marks a save in progress
    return max(whole, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def _follow(pointer: Path) -> Path | None:
    """The checkpoint whose folder name stands in a pointer file, or None."""
    if pointer.is_dir():
        return pointer if is_checkpoint(pointer) else None
    if not pointer.is_file():
        return None
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    for folder in (pointer.parent / name, pointer.parent / "checkpoints" / name):
        if name and is_checkpoint(folder):
            return folder
    return None


def _newest(pointer: str, root: Path | None) -> Path:
    """The checkpoint of the newest run that has one."""
    from utils.runs import list_runs, runs_root

    runs = list_runs(root=root)
    for run in runs:
        if (found := _search(run.path, pointer)) is not None:
            return found
    raise UserError(
        f"no run with a checkpoint in {runs_root(root)} ({len(runs)} runs looked at): train one with "
        "`scratchbook demo`, or name `assets` or a checkpoint folder"
    )


def _read_tokenizer(folder: Path) -> Any:
    """The tokenizer beside the weights; None where there is none, or one in Hugging Face's own format.

    Raises UserError when the file is damaged.
    """
    path = folder / "tokenizer.json"  # a llama2.c file is no folder, and has none
    if not path.is_file():
        return None
    from working_with_text_data.tokenizer import load_tokenizer

    try:
        return load_tokenizer(path)
    except UserError:
        if _is_huggingface_tokenizer(path):
            return None
        raise


def _is_huggingface_tokenizer(path: Path) -> bool:
    """Whether a JSON file is a `tokenizers` file: it has a `model` with a vocabulary, ours has a `type`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(values, dict) and "type" not in values and "vocab" in (values.get("model") or {})
