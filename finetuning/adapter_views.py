"""One base in memory, many adapters on it at the same time: each view is a model of its own that shares the matrices.

    owl = with_adapter(load_model("assets"), "adapters/owl")
    open_model("assets+adapters/owl")          the same from a name, as the chat takes it

`set_adapter` switches a model for everyone who uses it. A server that answers two people at once needs the two adapters
side by side: a view copies the tree of modules, not the tensors of the base, so it costs what the adapter costs. The
base must be left alone meanwhile: what trains or merges it changes every view (a view itself may be merged: that puts
matrices of its own in place). Left out: requests of different adapters in one batch (S-LoRA, arXiv 2311.03285).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from finetuning.adapters import SETTINGS, check_base, load_adapter
from utils.errors import UserError

M = TypeVar("M", bound=nn.Module)


def adapter_view(model: M, folder: str | Path) -> M:
    """A model with the adapter in `folder` on it, in evaluation mode, whose other tensors are `model`'s own.

    `model` stays as it is. Raises UserError for an adapter that is missing, damaged or for another model.
    """
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, shared)  # type: ignore[arg-type]
    try:
        load_adapter(view, folder)
    finally:
        for name, parameter in model.named_parameters():  # putting an adapter on freezes the base
            parameter.requires_grad_(learns[name])
    return view.eval()


def with_adapter(loaded: Any, folder: str | Path) -> Any:
    """What `load_model` gave, with a view in place of its model.

    Its path is that of an adapter that a run of ours left, where the run's template is found. Raises UserError for an
    adapter of another base, and for one that was trained over four bits: a view's base is as it was loaded.
    """
    folder = Path(folder)
    if check_base(loaded.path, folder).get("quantized"):
        raise UserError(
            f"the adapter in {folder} was trained over a base in four bits: use its own checkpoint, {folder}, "
            "in which both are merged"
        )
    own = replace(loaded, model=adapter_view(loaded.model, folder))
    return replace(own, path=folder) if (folder / "tokenizer.json").is_file() else own


def split_name(ref: str) -> tuple[str, Path] | None:
    """("BASE", folder) for `BASE+FOLDER` where FOLDER holds an adapter; None for every other name.

    >>> split_name("last") is None
    True
    """
    base, plus, folder = ref.rpartition("+")
    return (base, Path(folder)) if plus and base and (Path(folder) / SETTINGS).is_file() else None


def open_model(ref: str | Path, **how: Any) -> Any:
    """`load_model`, which also takes `BASE+FOLDER`. Raises UserError for an adapter that is not there."""
    from gpt_model.loading import load_model

    pair = split_name(str(ref))
    if pair is None:
        try:
            return load_model(ref, **how)
        except UserError as error:
            if "+" in str(ref) and not Path(ref).exists():
                folder = str(ref).rpartition("+")[2]
                raise UserError(f"{folder} holds no adapter ({SETTINGS} is missing), and {error}") from None
            raise
    return with_adapter(load_model(pair[0], **how), pair[1])


def neighbours(ref: str) -> list[str]:
    """For `BASE+FOLDER`: BASE itself, and BASE with each adapter that lies beside FOLDER; else nothing."""
    pair = split_name(ref)
    if pair is None:
        return []
    base, folder = pair
    beside = sorted(path.parent for path in folder.parent.glob(f"*/{SETTINGS}"))
    return [base, *(f"{base}+{path}" for path in beside)]
