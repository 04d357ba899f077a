"""A model on disk: `model.safetensors` for the numbers and `config.json` for the shape.

The idea: no pickle, which could run code when read. safetensors holds named tensors and nothing else; the
configuration is JSON that a person can read. Files are written beside their place and renamed, so a folder
never holds half a model. A tied head is saved once, because it is one tensor.

Reading is a list of *moves*: this tensor of the file goes to those rows of that weight of ours. In our own layout
every move keeps the name; another layout is another list (`import_gpt2`, `import_llama`, `import_deepseek`). All
moves are checked against the file's header before memory is taken; then they are made a few rows at a time
(`weight_files`), so that reading takes hardly more memory than the model itself.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from gpt_model.weight_files import WEIGHTS_FILE, Weights, open_weights
from utils.errors import UserError
from utils.files import atomic_file, atomic_write_json

CONFIG_FILE = "config.json"
MODEL_TYPE = "scratchbook-gpt"


@dataclass(frozen=True)
class Move:
    """One tensor of a file goes to one weight of ours.

    rows: which rows of ours, (start, stop), where several of theirs make one of ours; None is all.
    transpose: theirs is stored (in, out).  scale: what its numbers are multiplied with.
    """

    source: str
    target: str
    rows: tuple[int, int] | None = None
    transpose: bool = False
    scale: float = 1.0


def save_model(model: GPT, folder: str | Path) -> Path:
    """Write weights and configuration into `folder` (made if absent) and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_tensors(folder / WEIGHTS_FILE, tensors)
    atomic_write_json(folder / CONFIG_FILE, {"model_type": MODEL_TYPE, **model.config.to_dict()})
    return folder


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all; a disk that refuses is an OSError.

    The library writes straight from the tensors' memory and lets other threads run meanwhile; building the bytes
    first (`safetensors.torch.save`) would hold 120 MB twice and Python's lock for 80 ms.
    """
    try:
        with atomic_file(path) as temporary:
            save_file(dict(tensors), temporary, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number.group(1))
        raise OSError(code, os.strerror(code), str(path)) from error


def read_model(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> GPT:
    """The model that `save_model` wrote into `folder`, in evaluation mode."""
    folder = Path(folder)
    values = read_config(folder)
    kind = values.pop("model_type", MODEL_TYPE)
    if kind != MODEL_TYPE:
        raise UserError(
            f"{folder / CONFIG_FILE} says model_type {kind!r}: read it with GPT.from_pretrained, "
            f"which converts foreign layouts"
        )
    config = GPTConfig.from_dict(values)
    return build_model(config, open_weights(folder), own_moves(config), device=device, dtype=dtype)


def own_moves(config: GPTConfig) -> list[Move]:
    """Every weight from the tensor of its own name."""
    return [Move(name, name) for name in weight_shapes(config)]


def read_config(folder: str | Path) -> dict:
    """The raw config.json of a folder; a UserError when it is absent or not JSON."""
    path = Path(folder) / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it or choose another checkpoint") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object: restore it or choose another checkpoint")
    return values


def build_model(
    config: GPTConfig,
    weights: Weights,
    moves: Collection[Move],
    *,
    ignored: Iterable[str] = (),
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """A model whose every weight comes out of `weights`, in evaluation mode.

    `ignored` are tensors of the file that hold nothing to learn. Raises UserError, before any memory is taken,
    when one is missing, unknown or of another shape, by the names that the file has.
    """
    check_moves(weight_shapes(config), weights, moves, ignored)
    model = empty_model(config, device=device, dtype=dtype)
    make_moves(dict(model.state_dict()), weights, moves)
    return model.eval()


def weight_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a model, from the configuration alone."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in GPT(config).state_dict().items()}


def check_moves(
    shapes: dict[str, tuple[int, ...]], weights: Weights, moves: Collection[Move], ignored: Iterable[str] = ()
) -> None:
    """Raise a UserError unless the moves take every tensor of the file, each in the shape that is asked for."""
    wanted = {move.source for move in moves}
    missing = sorted(wanted - weights.shapes.keys())
    extra = sorted(weights.shapes.keys() - wanted - set(ignored))
    if missing or extra:
        raise UserError(
            f"{weights.where} does not fit its config: missing {', '.join(missing[:3]) or 'nothing'}, "
            f"unexpected {', '.join(extra[:3]) or 'nothing'} ({len(missing)} and {len(extra)} keys in all)"
        )
    filled: Counter[str] = Counter()
    for move in moves:
        shape = shapes[move.target]
        start, stop = move.rows or (0, shape[0])
        filled[move.target] += stop - start
        asked = (stop - start, *shape[1:])
        if weights.shapes[move.source] != (asked[::-1] if move.transpose else asked):
            raise UserError(
                f"{weights.where}: {move.source} has shape {weights.shapes[move.source]}, "
                f"the config asks for {asked[::-1] if move.transpose else asked}"
            )
    unfilled = [name for name, shape in shapes.items() if filled[name] != shape[0]]
    assert not unfilled, f"the moves leave rows of {unfilled} undefined: the layout's list is wrong"


@torch.no_grad()
def make_moves(own: dict[str, Tensor], weights: Weights, moves: Iterable[Move]) -> None:
    """Copy piece by piece into our tensors, converting to their precision and device on the way."""
    for move in moves:
        target = own[move.target]
        if move.rows is not None:
            target = target[slice(*move.rows)]
        if move.transpose:
            target = target.t()
        for start, stop, piece in weights.pieces(move.source):
            target[start:stop].copy_(piece if move.scale == 1.0 else piece.float() * move.scale)
    weights.close()


def empty_model(
    config: GPTConfig, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> GPT:
    """A model whose weights are allocated but not drawn: what loading fills."""
    with torch.device("meta"):
        model = GPT(config)
    return model.to(dtype).to_empty(device=device)
