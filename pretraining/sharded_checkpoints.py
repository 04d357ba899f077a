"""Checkpoints that no process holds whole: each rank writes its shards, any number of ranks reads them.

A full checkpoint of a sharded run is put together on rank 0, which is right while one machine's memory holds weights
and moments: everything else here reads it. Beyond that (`sharded_checkpoints=true`) each rank writes its own part with
torch.distributed.checkpoint, whose `.metadata` says which piece of which tensor lies in which file; to load, each
rank asks for the pieces it needs now, so 8 ranks may go on with what 64 wrote. The step folder, its manifest, its
pointers and `trainer.json` are those of `checkpoints`; only weights and moments lie in `.distcp` files.

    python -m pretraining.sharded_checkpoints run=last out=FOLDER

makes an ordinary model folder of the weights, in one process, for `sample` and export. Left out: writing in a thread.
"""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pretraining.distributed import World

METADATA = ".metadata"  # torch's name for the table of pieces
_SHARD = "__shard__"
_MODEL = "model."


def are_shards(folder: Path) -> bool:
    """Whether the weights of this step folder lie in shards."""
    return (folder / METADATA).is_file()


def take_apart(tree: Any, shards: dict[str, torch.Tensor], path: str = "optimizer") -> Any:
    """`tree` with each sharded tensor replaced by its name, under which it is added to `shards`."""
    from torch.distributed.tensor import DTensor

    if isinstance(tree, DTensor):
        shards[path] = tree.detach()
        return {_SHARD: path}
    if isinstance(tree, dict):
        return {key: take_apart(item, shards, f"{path}.{key}") for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(take_apart(item, shards, f"{path}.{i}") for i, item in enumerate(tree))
    return tree


def write_shards(folder: Path, shards: dict[str, torch.Tensor]) -> None:
    """Write every rank's pieces into `folder`. Collective; returns when all of them are on disk.

    Where the disk of any rank refuses, all of them raise OSError, so that all decide alike what becomes of the run.
    """
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        dcp.save(dict(shards), checkpoint_id=folder)
    # It is no Exception, and would pass by everything that handles a full disk.
    except CheckpointException as failure:
        for rank, (error, _) in failure.failures.items():
            # torch's own writer of files says that it could not write, and not why
            if isinstance(error, OSError) or "StreamWriter failed" in str(error):
                raise OSError(f"rank {rank}: {one_line(error)}") from None
        raise


def read_shards(folder: Path, into: dict[str, torch.Tensor]) -> None:
    """Fill the tensors of `into`, whole or shards of any cut, from the pieces in `folder`.

    Collective where there is a process group. Raises UserError for a name that `folder` does not have.
    """
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    known = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    unknown = [name for name in into if name not in known]
    if unknown:
        raise UserError(f"{folder} does not fit: it lacks {unknown[0]} ({len(unknown)} in all)")
    alone = not (dist.is_available() and dist.is_initialized())
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="torch.distributed is disabled"
        )  # that is what `alone` means
        dcp.load(into, checkpoint_id=folder, no_dist=alone)


def save_sharded(
    root: Path,
    step: int,
    *,
    model: Any,
    state: dict[str, Any],
    world: World,
    tokenizer: Any = None,
    **keep: Any,
) -> Path | None:
    """Write `root/step_NNNNNN` by all ranks; its path on rank 0, None elsewhere. Collective.

    `state` is a trainer's, its optimizer not gathered. OSError passes through: that of any rank's shards on all
    ranks, that of the rest on rank 0, which alone writes it.
    """
    from pretraining.checkpoints import save_checkpoint

    shards: dict[str, torch.Tensor] = {_MODEL + name: t.detach() for name, t in model.state_dict().items()}
    state = {**state, "optimizer": take_apart(state["optimizer"], shards)}
    if not world.is_main:
        folder = world.tell(None)
        if folder is not None:
            write_shards(folder, shards)
        return None
    told = False

    def write(folder: Path) -> None:
        nonlocal told
        told = True
        write_shards(world.tell(folder), shards)
        (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")

    try:
        return save_checkpoint(root, step, save_model=write, state=state, tokenizer=tokenizer, **keep)
    finally:
        if not told:
            world.tell(None)


def load_model_shards(model: nn.Module, folder: Path) -> None:
    """Fill `model`, whole or sharded, with the weights in `folder`. Collective where there is a process group."""
    tensors = {_MODEL + name: t.detach() for name, t in model.state_dict().items()}
    read_shards(folder, tensors)


def put_together(optimizer: Any, saved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The optimizer's state for `load_state_dict`: each name in `saved` as a tensor cut like its parameter is now.

    Collective where there is a process group.
    """
    import torch

    wanted: dict[str, torch.Tensor] = {}

    def filled(own: Any, tree: dict[str, Any]) -> dict[str, Any]:
        if "parts" in tree:
            return {**tree, "parts": [filled(o, t) for o, t in zip(own.parts, tree["parts"], strict=True)]}
        numbers = [number for group in tree["param_groups"] for number in group["params"]]
        owners = [p for group in own.param_groups for p in group["params"]]
        owner = dict(zip(numbers, owners, strict=True))
        state: dict[Any, dict[str, Any]] = {}
        for number, values in tree["state"].items():
            state[number] = dict(values)
            for key, value in values.items():
                if isinstance(value, dict) and _SHARD in value:
                    wanted[value[_SHARD]] = state[number][key] = torch.zeros_like(owner[number].detach())
        return {**tree, "state": state}

    result = filled(optimizer, saved)
    read_shards(folder, wanted)
    return result


@dataclass(frozen=True)
class MergeConfig:
    """Where the shards are and where the model goes."""

    run: str = field(
        default="last", metadata={"help": "a run (last, an id, a path, ID@500) or a step folder"}
    )
    out: str = field(
        default="", metadata={"help": "the folder to make; empty: merged_NNNNNN beside step_NNNNNN"}
    )
    runs: str | None = field(default=None, metadata={"help": "where run folders are"})


def merge(folder: Path, out: Path) -> Path:
    """An ordinary model folder `out` of the weights in `folder`, with its tokenizer. Raises UserError."""
    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from utils.files import atomic_dir

    if not are_shards(folder):
        raise UserError(f"{folder} is not in shards: it can be used as it is")
    model = GPT(GPTConfig.from_dict(json.loads((folder / "config.json").read_text())))
    load_model_shards(model, folder)
    with atomic_dir(out) as partial:
        model.save_pretrained(partial)
        if (folder / "tokenizer.json").is_file():
            shutil.copy(folder / "tokenizer.json", partial / "tokenizer.json")
    return out


def main(argv: list[str] | None = None) -> int:
    """Merge the shards of a checkpoint and say where the model is."""
    config, _ = parse_args(
        argv,
        MergeConfig,
        prog="python -m pretraining.sharded_checkpoints",
        description=(__doc__ or "").split("\n\n")[0],
    )
    from pretraining.checkpoints import find_checkpoint
    from pretraining.starting_points import find_start

    folder = Path(config.run)
    if not are_shards(folder):
        run, which = find_start(config.run, root=config.runs)
        folder, _ = find_checkpoint(run, which)
    out = merge(
        folder, Path(config.out) if config.out else folder.with_name(folder.name.replace("step", "merged"))
    )
    print(f"model: {out}\nnext: scratchbook sample --ckpt {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
