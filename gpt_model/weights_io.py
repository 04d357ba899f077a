"""A model on disk: `model.safetensors` for the numbers and `config.json` for the shape.

The idea: no pickle, which could run code when read. safetensors holds named tensors and nothing else; the
configuration is JSON that a person can read. Files are written beside their place and renamed, so a folder
never holds half a model. A tied head is saved once, because it is one tensor.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gpt_model.config import GPTConfig
from gpt_model.gpt import GPT
from utils.errors import UserError
from utils.files import atomic_write_bytes, atomic_write_json

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MODEL_TYPE = "scratchbook-gpt"


def save_model(model: GPT, folder: str | Path) -> Path:
    """Write weights and configuration into `folder` (made if absent) and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    atomic_write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    atomic_write_json(folder / CONFIG_FILE, {"model_type": MODEL_TYPE, **model.config.to_dict()})
    return folder


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; a truncated or foreign file is a UserError of one line."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is damaged or no safetensors file ({reason}): use another checkpoint"
        ) from None


def load_into(model: GPT, tensors: dict[str, Tensor], where: str | Path) -> GPT:
    """Copy tensors into the model, accounting for every key; wrong names or shapes are a UserError."""
    own = model.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise UserError(
            f"{where} does not fit its config: missing {', '.join(missing[:3]) or 'nothing'}, "
            f"unexpected {', '.join(extra[:3]) or 'nothing'} ({len(missing)} and {len(extra)} keys in all)"
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise UserError(
                f"{where}: {name} has shape {tuple(tensors[name].shape)}, "
                f"the config asks for {tuple(tensor.shape)}"
            )
    model.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own})
    return model


def empty_model(config: GPTConfig) -> GPT:
    """A model whose weights are allocated but not drawn: what loading fills."""
    with torch.device("meta"):
        model = GPT(config)
    return model.to_empty(device="cpu")


def read_model(folder: str | Path, *, device: str | torch.device = "cpu") -> GPT:
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
    tensors = read_tensors(folder / WEIGHTS_FILE)
    model = load_into(empty_model(config), tensors, folder / WEIGHTS_FILE)
    return model.to(device).eval()
