"""Checkpoints that survive a power cut: written beside, synced, renamed, checked when read.

A checkpoint is a folder `checkpoints/step_000500/` with the model (`model.safetensors`, `config.json`), the
tokenizer, the state of training (tensors in `trainer.safetensors`, the rest in `trainer.json`) and
`manifest.json`, the sha256 of each file. It comes into being by one rename, so a folder under that name is
whole; the pointer files `last` and `best` are moved only afterwards. Reading checks every byte and falls
back, by name, to the newest older checkpoint that is whole. Nothing is pickled. Writing while training goes on:
`async_checkpoints`. Left out: shards of several ranks (`sharded_checkpoints`). Notebook 06.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gpt_model.weights_io import write_tensors
from pretraining.state_codec import decode, encode, in_memory
from utils.errors import UserError
from utils.files import atomic_dir, atomic_write_text, sha256_file

_STEP = re.compile(r"step_(\d{6,})")
FORMAT = 1


class CheckpointError(UserError):
    """A checkpoint that is absent, damaged or not for this model."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose bytes were all checked. `fallback` says why it is not the one asked for."""

    path: Path
    step: int
    state: dict[str, Any]
    fallback: str | None = None


def step_name(step: int) -> str:
    """`step_000500`: sorts by step."""
    return f"step_{step:06d}"


def step_folders(root: Path) -> list[Path]:
    """The step folders under `root`, oldest first. Temporary and removed ones have other names."""
    if not root.is_dir():
        return []
    found = [(int(m.group(1)), p) for p in root.iterdir() if (m := _STEP.fullmatch(p.name)) and p.is_dir()]
    return [path for _, path in sorted(found)]


def save_checkpoint(
    root: Path,
    step: int,
    *,
    save_model: Callable[[Path], Any],
    state: Mapping[str, Any],
    tokenizer: Any = None,
    best: bool = False,
    score: float | None = None,
    keep_last: int | None = None,
    keep_best: int = 1,
) -> Path:
    """Write `root/step_NNNNNN`, point `last` (and, if it is, `best`) at it, then remove old ones.

    `save_model(folder)` writes the weights and the model's config (`GPT.save_pretrained`). `state` is any
    tree that `state_codec` can write. `score` is what this step was found worth, a validation loss: `best` is
    the lowest on disk. Without scores `best=True` says it. The `keep_last` newest folders are kept, and the
    `keep_best` of the lowest scores; None keeps all. OSError (a full disk, a read-only folder) passes through,
    with all earlier checkpoints and pointers as they were.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = encode(dict(state), tensors, take=in_memory)
    return write_checkpoint(
        root,
        step,
        save_model=save_model,
        tree=tree,
        tensors=tensors,
        tokenizer=tokenizer,
        best=best,
        score=score,
        keep_last=keep_last,
        keep_best=keep_best,
    )


def write_checkpoint(
    root: Path,
    step: int,
    *,
    save_model: Callable[[Path], Any],
    tree: Any,
    tensors: Mapping[str, torch.Tensor],
    tokenizer: Any = None,
    best: bool = False,
    score: float | None = None,
    keep_last: int | None = None,
    keep_best: int = 1,
) -> Path:
    """`save_checkpoint` of a state that `state_codec.encode` has taken apart already."""
    root.mkdir(parents=True, exist_ok=True)
    target = root / step_name(step)
    with atomic_dir(target) as folder:
        save_model(folder)
        if tokenizer is not None:
            tokenizer.save(folder / "tokenizer.json")
        write_tensors(folder / "trainer.safetensors", _apart(tensors))
        (folder / "trainer.json").write_text(json.dumps({"format": FORMAT, "step": step, "state": tree}))
        files = {
            path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
        }
        worth = score if score is not None and math.isfinite(score) else None
        manifest = {"format": FORMAT, "step": step, "score": worth, "files": files}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    atomic_write_text(root / "last", target.name + "\n")
    ranked = _ranked(root) if score is not None or keep_best > 1 else []  # the pointer keeps one anyway
    chosen = ranked[0] if score is not None and ranked else target.name if best else None
    if chosen is not None and chosen != _pointer(root, "best"):
        atomic_write_text(root / "best", chosen + "\n")
    if keep_last is not None:
        _remove_old(root, step, keep_last, set(ranked[:keep_best]))
    return target


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors with no memory in common, which safetensors asks for; only those that have are copied."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes
        seen.add(storage.data_ptr())
        apart[name] = tensor.contiguous().clone() if shared else tensor.contiguous()
    return apart


def score_of(folder: Path) -> float | None:
    """The validation loss that a checkpoint was saved with, or None."""
    try:
        score = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("score")
    except (OSError, ValueError, AttributeError):
        return None
    return float(score) if isinstance(score, int | float) else None


def _ranked(root: Path) -> list[str]:
    """The names of the checkpoints that have a score, lowest first; of equal ones the older."""
    scored = [(score, path.name) for path in step_folders(root) if (score := score_of(path)) is not None]
    return [name for _, name in sorted(scored)]


def _remove_old(root: Path, step: int, keep_last: int, kept: set[str]) -> None:
    """Remove all but the newest `keep_last` folders, those in `kept`, and those that a pointer names.

    A run that went on from an earlier step has folders of steps that are still to come: they belong to what it
    has left behind, so they count as the oldest.
    """
    named = {_pointer(root, "last"), _pointer(root, "best"), *kept}
    folders = step_folders(root)
    folders.sort(key=lambda path: _step_of(path) <= step)  # stable: within each kind by step
    for path in folders[:-keep_last]:
        if path.name not in named:
            # a half-removed folder must not look like a checkpoint
            gone = path.with_name(f".removed_{path.name}")
            os.replace(path, gone)
            shutil.rmtree(gone, ignore_errors=True)


def _step_of(folder: Path) -> int:
    return int(folder.name[len("step_") :])


def remove_left_overs(root: Path) -> None:
    """Delete what a killed save left under hidden names. Only for the one process that writes here."""
    if root.is_dir():
        for folder in root.glob(".*step_*"):
            shutil.rmtree(folder, ignore_errors=True)


def _pointer(root: Path, name: str) -> str | None:
    """The folder name that a pointer file holds, or None."""
    try:
        text = (root / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _STEP.fullmatch(text) else None


def damage(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, in a few words; None when every byte is as written."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = dict(manifest["files"])
    except FileNotFoundError:
        return "manifest.json is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return "manifest.json is unreadable"
    for name, entry in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry.get("bytes"):
            return f"{name} has {path.stat().st_size} bytes instead of {entry.get('bytes')}"
        if sha256_file(path) != entry.get("sha256"):
            return f"{name} does not have the sha256 it was written with"
    return None


def checkpoint_root(place: Any) -> Path:
    """The folder of step folders for a Run, a run folder, or that folder itself."""
    path = Path(getattr(place, "path", place))
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def find_checkpoint(place: Any, which: str | int = "last") -> tuple[Path, str | None]:
    """The whole step folder that `which` means ("last", "best", a step number or name), and what was wrong
    with the one first meant if it had to be another.

    Raises CheckpointError when there is none, naming each that was tried.
    """
    root = checkpoint_root(place)
    if _STEP.fullmatch(root.name):  # a step folder itself, perhaps one that has lost its manifest
        root, which = root.parent, root.name
    folders = step_folders(root)
    if not folders:
        raise CheckpointError(f"no checkpoint in {root}: train first, or name another run")
    tried: list[str] = []
    wanted = step_name(int(which)) if str(which).isdigit() else str(which)
    if wanted in ("last", "best"):
        pointed = _pointer(root, wanted)
        if pointed is None and wanted == "best":
            tried.append("no checkpoint is marked best")
        elif pointed is not None and root / pointed not in folders:
            tried.append(f"{pointed} is missing")
        wanted = pointed if pointed is not None and root / pointed in folders else folders[-1].name
    elif root / wanted not in folders:
        there = ", ".join(path.name for path in folders[-5:])
        raise CheckpointError(f"no checkpoint {wanted} in {root}: there are {there}")
    older = [path for path in reversed(folders) if path.name != wanted]
    older.sort(key=lambda path: _step_of(path) > _step_of(root / wanted))  # older ones first, then newer ones
    for folder in [root / wanted, *older]:
        wrong = damage(folder)
        if wrong is None:
            note = f"{'; '.join(tried)}: using {folder.name} instead" if tried else None
            return folder, note
        tried.append(f"{folder.name} is damaged ({wrong})")
    raise CheckpointError(f"no whole checkpoint in {root}: {'; '.join(tried)}")


def load_checkpoint(place: Any, which: str | int = "last") -> Checkpoint:
    """Read and check a checkpoint. See `find_checkpoint` for `which` and for the fallback.

    Raises CheckpointError; never returns a state of which one byte differs from what was written.
    """
    folder, fallback = find_checkpoint(place, which)
    try:
        saved = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        state = decode(saved["state"], load_file(folder / "trainer.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} holds no training state ({error}): it can be sampled, not resumed"
        ) from error
    return Checkpoint(folder, int(saved["step"]), state, fallback)


def load_weights(model: Any, folder: Path) -> None:
    """Copy `folder/model.safetensors` into `model`; names must match, a tied tensor may be there once.

    Raises CheckpointError naming the first tensor that is missing, unexpected or of another shape.
    """
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / 'model.safetensors'} cannot be read ({error})") from error
    copy_weights(model, tensors, folder)


def copy_weights(model: Any, tensors: Mapping[str, torch.Tensor], where: Any) -> None:
    """`load_weights` of tensors that are in memory; `where` is what an error calls their place."""
    own = model.state_dict()
    stored_at = {own[name].data_ptr() for name in tensors if name in own}
    missing = [name for name in own if name not in tensors and own[name].data_ptr() not in stored_at]
    unexpected = [name for name in tensors if name not in own]
    wrong = [n for n in tensors if n in own and own[n].shape != tensors[n].shape]
    for what, names in (("lacks", missing), ("has an unknown", unexpected), ("has another shape for", wrong)):
        if names:
            raise CheckpointError(
                f"{where} does not fit this model: it {what} {names[0]} ({len(names)} in all); "
                "use the model config saved beside it"
            )
    model.load_state_dict(dict(tensors), strict=False)
