"""Read a `.pth` or `.pt` file of others into our GPT: nanoGPT's checkpoints and those of llms-from-scratch.

    python -m pretraining.import_pth file=ckpt.pt out=my-model
    python -m pretraining.train --fork ckpt.pt data=book.txt tokenizer=gpt2

A `.pth` is a pickle, and a pickle can run code when it is read. It is opened with `weights_only=True`, which builds
tensors and plain values and refuses everything else. What layout it is, the names of its tensors say; sizes are read
from their shapes. The number of heads leaves no trace in a shape: it comes from the settings that nanoGPT saves
beside the weights, from a size that is exactly a GPT-2's, or from you.

    nanoGPT            transformer.h.0.attn.c_attn.weight   (3C, C)   exact GELU
    GPT2LMHeadModel    the same names, stored (C, 3C)                 tanh GELU
    llms-from-scratch  trf_blocks.0.att.W_query.weight      (C, C)    tanh GELU, three maps instead of one

Left out: optimizer states (begin a run with `--fork`), other architectures. Notebook 06 of this chapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor

    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from gpt_model.weights_io import Move

SUFFIXES = (".pth", ".pt")
WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and DDP put before every name
INSIDE = ("model", "model_state_dict", "state_dict")  # where a checkpoint of several things keeps its weights

NANO_BLOCK = {
    "ln_1": "norm_1",
    "attn.c_attn": "attn.qkv_proj",
    "attn.c_proj": "attn.out_proj",
    "ln_2": "norm_2",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.out_proj",
}
NANO_TOP = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}
SCRATCH_BLOCK = {
    "norm1": "norm_1",
    "att.out_proj": "attn.out_proj",
    "norm2": "norm_2",
    "ff.layers.0": "mlp.up_proj",
    "ff.layers.2": "mlp.out_proj",
}
SCRATCH_TOP = {"tok_emb": "token_embedding", "pos_emb": "position_embedding", "final_norm": "final_norm"}
SCRATCH_PARTS = ("W_query", "W_key", "W_value")  # in the order of our qkv_proj
MASKS = re.compile(r"(\.attn\.(bias|masked_bias)|\.att\.mask)$")  # triangles of ones, nothing learned


def read_pth(path: str | Path, *, n_head: int | None = None) -> GPT:
    """The model of a `.pth` file, in evaluation mode.

    Raises UserError when the file is absent or damaged, holds code, is of an unknown layout, or when the number of
    heads is neither in it nor given.
    """
    from gpt_model.weight_files import TensorsInMemory
    from gpt_model.weights_io import build_model

    tensors, settings = open_pth(Path(path))
    config, moves = understand(tensors, settings, n_head, str(path))
    ignored = [name for name in tensors if MASKS.search(name)]
    if config.tie_weights:
        ignored += [name for name in ("lm_head.weight", "out_head.weight") if name in tensors]
    return build_model(config, TensorsInMemory(tensors, path), moves, ignored=ignored)


def open_pth(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The named tensors of a file, without the prefixes of wrappers, and the settings saved beside them."""
    import zipfile

    import torch

    if not path.is_file():
        raise UserError(f"{path} does not exist: name a .pth or .pt file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever the unpickler meets in a file of others
        code = re.search(r"GLOBAL (\S+)", str(error))
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = f"it asks for {code[1]}" if code else one_line(lines[0])[:120]
        raise UserError(
            f"{path} cannot be read safely ({reason}): only tensors and plain values are read, never code; save it "
            "again as torch.save(model.state_dict(), path)"
        ) from None
    settings: dict[str, Any] = {}
    if isinstance(found, Mapping):
        for key in ("model_args", "cfg", "model_config"):
            if isinstance(found.get(key), Mapping):
                settings.update(found[key])
        found = next((found[key] for key in INSIDE if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise UserError(f"{path} holds no state dict: save it as torch.save(model.state_dict(), path)")
    return {_plain(str(name)): tensor for name, tensor in found.items()}, settings


def _plain(name: str) -> str:
    for wrapper in WRAPPERS * 2:
        name = name.removeprefix(wrapper)
    return name


def understand(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], n_head: int | None, where: str
) -> tuple[GPTConfig, list[Move]]:
    """The shape of the model and where each tensor goes. See the table at the top for the layouts."""
    from gpt_model.config import GPTConfig
    from gpt_model.weights_io import Move

    scratch = "tok_emb.weight" in tensors
    prefix = "" if scratch or "wte.weight" in tensors else "transformer."
    blocks = "trf_blocks" if scratch else prefix + "h"
    table_name = "tok_emb.weight" if scratch else prefix + "wte.weight"
    places_name = "pos_emb.weight" if scratch else prefix + "wpe.weight"
    if table_name not in tensors or places_name not in tensors:
        some = ", ".join(list(tensors)[:3]) or "none"
        raise UserError(
            f"{where} is neither of nanoGPT (transformer.wte.weight) nor of llms-from-scratch (tok_emb.weight): "
            f"its tensors are called {some}, …"
        )
    vocab_size, n_embd = tensors[table_name].shape
    n_layer = 1 + max(
        (int(m[1]) for name in tensors if (m := re.match(rf"{blocks}\.(\d+)\.", name))), default=-1
    )
    first = f"{blocks}.0.att.W_query" if scratch else f"{blocks}.0.attn.c_attn"
    if n_layer == 0 or f"{first}.weight" not in tensors:
        raise UserError(f"{where} has no {first}.weight: it is no GPT of a layout that is known here")
    stored_in_out = not scratch and tensors[f"{first}.weight"].shape[0] == n_embd  # Conv1D of transformers
    inner = f"{blocks}.0.ff.layers.0.weight" if scratch else f"{blocks}.0.mlp.c_fc.weight"
    width = int(tensors[inner].shape[1 if stored_in_out else 0]) if inner in tensors else 4 * n_embd
    head = "out_head.weight" if scratch else "lm_head.weight"
    qkv_bias = f"{first}.bias" in tensors if scratch else None  # None: as everywhere else
    same = head not in tensors or _equal(tensors[head], tensors[table_name])
    config = GPTConfig(
        vocab_size=vocab_size,
        block_size=tensors[places_name].shape[0],
        n_layer=n_layer,
        n_head=_heads(n_head, settings, n_layer, n_embd, where),
        n_embd=n_embd,
        mlp="gelu_tanh" if scratch or stored_in_out else "gelu",
        mlp_hidden=None if width == 4 * n_embd else width,
        bias=(f"{blocks}.0.{'norm1.shift' if scratch else 'ln_1.bias'}") in tensors,
        qkv_bias=qkv_bias,
        dropout=0.0,
        tie_weights=same,
    )
    moves = [] if same else [Move(head, "head.weight")]
    parts = {
        "weight": ("weight", "scale"),
        "bias": ("bias", "shift"),
    }  # llms-from-scratch has its own LayerNorm

    def move(theirs: str, ours: str, transpose: bool = False) -> None:
        for kind, names in parts.items():
            for name in names:
                if f"{theirs}.{name}" in tensors:
                    turn = transpose and kind == "weight"
                    moves.append(Move(f"{theirs}.{name}", f"{ours}.{kind}", transpose=turn))

    for theirs, ours in (SCRATCH_TOP if scratch else NANO_TOP).items():
        move(prefix + theirs, ours)
    for i in range(n_layer):
        for theirs, ours in (SCRATCH_BLOCK if scratch else NANO_BLOCK).items():
            matrix = stored_in_out and not theirs.startswith("ln_")
            move(f"{blocks}.{i}.{theirs}", f"blocks.{i}.{ours}", transpose=matrix)
        if scratch:
            for k, part in enumerate(SCRATCH_PARTS):
                rows, ours = (k * n_embd, (k + 1) * n_embd), f"blocks.{i}.attn.qkv_proj"
                for kind in ("weight", "bias") if qkv_bias else ("weight",):
                    moves.append(Move(f"{blocks}.{i}.att.{part}.{kind}", f"{ours}.{kind}", rows=rows))
    _all_filled(config, moves, where)
    return config, moves


def _all_filled(config: GPTConfig, moves: list[Move], where: str) -> None:
    """Raise UserError for a weight of ours that no tensor of the file goes to: the file is incomplete."""
    from gpt_model.weights_io import weight_shapes

    empty = sorted(weight_shapes(config).keys() - {move.target for move in moves})
    if empty:
        raise UserError(f"{where} is incomplete: nothing in it fills {empty[0]} ({len(empty)} in all)")


def _equal(one: Tensor, other: Tensor) -> bool:
    import torch

    return one.shape == other.shape and torch.equal(one, other)


def _heads(given: int | None, settings: Mapping[str, Any], n_layer: int, n_embd: int, where: str) -> int:
    """The number of heads: yours, the file's, or that of the GPT-2 with this depth and width."""
    from gpt_model.presets import PRESETS

    saved = settings.get("n_head", settings.get("n_heads", settings.get("num_heads")))
    for value in (given, saved):
        if isinstance(value, int):
            return value
    for name, shape in PRESETS.items():
        if name.startswith("gpt2") and (shape["n_layer"], shape["n_embd"]) == (n_layer, n_embd):
            return int(shape["n_head"])
    raise UserError(
        f"{where} does not say how many heads its {n_embd} channels are divided into: give n_head, as in n_head=6"
    )


@dataclass(frozen=True)
class ImportConfig:
    """One file to read, one folder to write."""

    file: str = ""
    out: str = ""
    n_head: int | None = None


def main(argv: list[str] | None = None) -> int:
    """Convert one file. Returns 0."""
    config, _ = parse_args(
        argv,
        ImportConfig,
        prog="python -m pretraining.import_pth",
        description=(__doc__ or "").split("\n\n")[0],
    )
    if not config.file:
        raise UserError("file is empty: name the .pth to read, as in file=ckpt.pt")
    model = read_pth(config.file, n_head=config.n_head)
    folder = model.save_pretrained(config.out or Path(config.file).with_suffix(""))
    shape = model.config
    print(
        f"read {shape.n_layer} layers of {shape.n_embd} with {shape.n_head} heads, a vocabulary of "
        f"{shape.vocab_size:,} and a context of {shape.block_size}: {model.num_parameters():,} parameters"
    )
    print(f"wrote {folder}")
    print(f"next: python -m pretraining.train --fork {folder} data=YOUR.txt tokenizer=ITS-TOKENIZER")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
