"""Models of others: where a name's files are, which family they are of, and a GPT out of them.

The idea: three steps, each in its own module. *Find*: a folder as it is; a hub name in the cache on this machine; else
a download. *Understand*: the family's module turns their config.json into ours, or refuses by name what it would
compute differently. *Read*: it lists where every tensor goes, `weights_io` checks the list against the file and
copies piece by piece.

    gpt2                       import_gpt2
    llama, mistral, qwen2      import_llama
    deepseek_v2, deepseek_v3   import_deepseek
    a .bin file of llama2.c    import_llama2c

Left out on purpose: export (`export_huggingface`), tokenizers, and families that compute something else.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gpt_model import import_deepseek, import_gpt2, import_llama
from gpt_model.config import GPTConfig
from gpt_model.export_int8 import INT8_TYPE, read_int8
from gpt_model.gpt import GPT
from gpt_model.import_llama2c import read_llama2c
from gpt_model.weight_files import TensorsInMemory, Weights, open_weights
from gpt_model.weights_io import CONFIG_FILE, MODEL_TYPE, Move, build_model, read_config, read_model
from utils.errors import UserError, one_line

# Names that the hub redirects: both are looked for in the cache.
HUB_OWNERS = ("", "openai-community/")
GPT2_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
HEAD, EMBEDDING = "lm_head.weight", "token_embedding.weight"  # theirs, and our name of the token table
WANTED_FILES = [
    CONFIG_FILE,
    "model*.safetensors",
    "model.safetensors.index.json",
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
]


class Family(Protocol):
    """What a family's module knows: the shape, the way of each tensor, and which tensors to pass over."""

    def config_of(self, values: Mapping[str, Any]) -> GPTConfig: ...
    def moves_of(
        self, config: GPTConfig, names: Collection[str], values: Mapping[str, Any]
    ) -> list[Move]: ...
    def ignored_of(
        self, config: GPTConfig, names: Collection[str], values: Mapping[str, Any]
    ) -> list[str]: ...


FAMILIES: dict[str, Family] = {
    "gpt2": import_gpt2,
    "llama": import_llama,
    "mistral": import_llama,
    "qwen2": import_llama,
    "deepseek_v2": import_deepseek,
    "deepseek_v3": import_deepseek,
}


def family_of(values: Mapping[str, Any]) -> Family:
    """The family that a config.json names, or a UserError that lists those we know."""
    kind = values.get("model_type")
    if kind not in FAMILIES:
        raise UserError(f"model_type is {kind!r}: those that can be read are {', '.join(FAMILIES)}")
    return FAMILIES[str(kind)]


def config_from_huggingface(values: Mapping[str, Any]) -> GPTConfig:
    """Our configuration for a config.json of transformers; what we would compute differently is a UserError."""
    family = family_of(values)
    try:
        return family.config_of(values)
    except KeyError as error:
        raise UserError(
            f"the config.json of this {values['model_type']} has no {error.args[0]}: fetch it again"
        ) from None


def import_weights(
    values: Mapping[str, Any],
    weights: Weights | Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """A GPT in evaluation mode from a config.json of transformers and its weights.

    Whether the head is tied is what the weights say where the two disagree: a head that differs from the token table
    is kept although the config calls it tied. Raises UserError for every tensor that is missing, unknown or misshapen.
    """
    if not isinstance(weights, Weights):
        weights = TensorsInMemory(weights)
    family, config = family_of(values), config_from_huggingface(values)
    names = weights.shapes.keys()
    moves = family.moves_of(config, names, values)
    ignored = family.ignored_of(config, names, values)
    if config.tie_weights and HEAD in names:
        table = next(move for move in moves if move.target == EMBEDDING)
        if table.source not in names:  # one tensor was saved, under the head's name
            moves[moves.index(table)] = replace(table, source=HEAD)
        elif same_numbers(weights, HEAD, table.source):
            ignored.append(HEAD)
        else:
            config = replace(config, tie_weights=False)
    if not config.tie_weights:
        moves.append(Move(HEAD, "head.weight"))
    return build_model(config, weights, moves, ignored=ignored, device=device, dtype=dtype)


def same_numbers(weights: Weights, one: str, other: str) -> bool:
    """Whether two tensors of a file are equal, read piece by piece."""
    if weights.shapes[one] != weights.shapes[other]:
        return False
    for start, stop, piece in weights.pieces(one):
        if not torch.equal(piece.clone(), weights.rows(other, start, stop)):
            return False
    return True


def from_pretrained(
    folder_or_name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """A model from our own folder, a folder of transformers, a `.bin` of llama2.c, or a hub name such as "gpt2".

    A name is looked for in the Hugging Face cache first (HF_HUB_CACHE, HF_HOME); what is not there is
    fetched with huggingface_hub, unless that is not installed or HF_HUB_OFFLINE is set. Then a UserError
    says where to put the files by hand. `dtype` is the precision to hold it in, whatever the file has.
    """
    path = Path(folder_or_name)
    if path.is_file() and path.suffix == ".bin" and not path.name.startswith("pytorch_model"):
        return read_llama2c(path, device=device, dtype=dtype)
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        folder = find_model(str(folder_or_name))
    values = read_config(folder)
    if values.get("model_type") == MODEL_TYPE:
        return read_model(folder, device=device, dtype=dtype)
    if values.get("model_type") == INT8_TYPE:
        return read_int8(folder, device=device, dtype=dtype)
    family_of(values)  # before any file is opened
    return import_weights(values, open_weights(folder), device=device, dtype=dtype)


def find_model(name: str) -> Path:
    """The folder of a hub model on this machine, downloaded if it has to be and can be."""
    return find_in_cache(name) or fetch_from_hub(name)


def cache_folder() -> Path:
    """Where huggingface_hub keeps its files on this machine."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def find_in_cache(name: str) -> Path | None:
    """The newest cached snapshot of a hub model that holds a config.json, or None."""
    for owner in HUB_OWNERS if name in GPT2_NAMES else ("",):
        folder = cache_folder() / f"models--{(owner + name).replace('/', '--')}"
        snapshots = [path.parent for path in folder.glob(f"snapshots/*/{CONFIG_FILE}")]
        if snapshots:
            return max(snapshots, key=lambda path: path.stat().st_mtime)
    return None


def fetch_from_hub(name: str) -> Path:
    """Download config, weights and tokenizer of a hub model, or raise a UserError that says how to do it by hand."""
    by_hand = (
        f"put its {CONFIG_FILE} and model.safetensors into a folder and pass that folder, "
        "or connect once and run the same command"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(
            f"{name!r} is no folder, is not in {cache_folder()}, and HF_HUB_OFFLINE is set: {by_hand}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name!r} is no folder and is not in {cache_folder()}; to download it install the hf extra "
            f"(pip install -c constraints.txt -e '.[hf]'), or {by_hand}"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED_FILES))
    except Exception as error:
        reason = one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise UserError(f"{name!r} is no folder and could not be downloaded ({reason}): {by_hand}") from None
