"""Adapters as files: a few hundred kilobytes that turn one base into many models, in peft's own layout.

    save_adapter(model, "poet")            adapter_model.safetensors and adapter_config.json, nothing of the base
    load_adapter(model, "poet", name="poet")

peft (`PeftModel.from_pretrained(our_gpt, "poet")`) reads what is written here, and what peft wrote around one of our
models is read back. A checkpoint of an adapter run holds three things: `model.safetensors`, the base with the adapter
merged in, which every command and the chat can load without knowing of adapters; the adapter's two files, exact; and
`adapter.json`, which names the base by path and sha256. From the last two the run goes on, to the bit: the base is read
again, cut to 4 bits again where it was, and A and B take their places (`open_adapted`).

Left out: a base that is fetched by name; adapters of embeddings; peft's bias, rank_pattern and modules_to_save.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from finetuning.lora import (
    LoRAConfig,
    active_adapter,
    adapters_of,
    apply_lora,
    find_targets,
    linear_maps,
    lora_layers,
    set_adapter,
)
from gpt_model.gpt import GPT
from gpt_model.weights_io import CONFIG_FILE, MODEL_TYPE, write_tensors
from utils.errors import UserError, one_line
from utils.files import atomic_write_json, sha256_file

TENSORS, SETTINGS, REFERENCE = "adapter_model.safetensors", "adapter_config.json", "adapter.json"
PREFIX = "base_model.model."  # how peft calls the model that it wraps
KINDS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "lora_magnitude": "lora_magnitude_vector"}


class AdaptedGPT(GPT):
    """A GPT with adapters: `apply_lora` makes a GPT one, `unload_lora` makes it a GPT again. It saves itself merged."""

    base_reference: Mapping[str, Any] | None = None  # what `remember_base` found out

    def save_pretrained(self, folder: str | Path) -> Path:
        """The merged model as any other, and the active adapter beside it; see the module's text."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / "model.safetensors", merged_state(self))
        atomic_write_json(folder / CONFIG_FILE, {"model_type": MODEL_TYPE, **self.config.to_dict()})
        name = active_adapter(self)
        if name is not None:
            save_adapter(self, folder, name)
            reference = {
                "format": 1,
                "name": name,
                "base": self.base_reference,
                "quantized": _quantized(self),
            }
            atomic_write_json(folder / REFERENCE, reference)
        return folder

    def load_trained(self, folder: str | Path) -> None:
        """Take back what a checkpoint of this run has trained, to the bit: the base must be here already."""
        folder = Path(folder)
        load_adapter(self, folder, active_adapter(self) or "default")
        learning = {name: p for name, p in self.named_parameters() if p.requires_grad and "lora_" not in name}
        if learning:  # trained beside the adapter, a final norm for example
            merged = load_file(folder / "model.safetensors")
            with torch.no_grad():
                for name, parameter in learning.items():
                    parameter.copy_(merged[name])


def adapt_class(model: nn.Module) -> None:
    """Every GPT in `model` becomes an AdaptedGPT."""
    for module in model.modules():
        if type(module) is GPT:
            module.__class__ = AdaptedGPT


def plain_class(model: nn.Module) -> None:
    """Every AdaptedGPT in `model` becomes a GPT."""
    for module in model.modules():
        if type(module) is AdaptedGPT:
            module.__class__ = GPT  # type: ignore[assignment]


@torch.no_grad()
def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` as if it had never been adapted or quantised: one matrix for each map, on the CPU.

    A matrix whose base is in 4 bits is given in bf16, every other in its own precision.
    """
    from finetuning.qlora import stored_as
    from gpt_model.quantized_layers import QuantizedLinear

    tensors = {}
    for path, module in linear_maps(model):
        base = getattr(module, "base", module)
        weight: Any = module.weight
        if isinstance(base, QuantizedLinear):
            weight = stored_as(weight, "auto", base).to(torch.bfloat16)
        tensors[f"{path}.weight"] = weight
        if module.bias is not None:
            tensors[f"{path}.bias"] = module.bias
    inside = tuple(f"{path}." for path, _ in linear_maps(model))
    tensors |= {name: t for name, t in model.state_dict().items() if not name.startswith(inside)}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


# ---------------------------------------------------------------- the two files of an adapter


def save_adapter(model: nn.Module, folder: str | Path, name: str = "default") -> Path:
    """Write the adapter `name` of `model` into `folder` (made if absent), and nothing of the base."""
    config = _settings(model, name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layers = {path: layer for path, layer in lora_layers(model).items() if name in layer.settings}
    tensors = {
        f"{PREFIX}{path}.{KINDS[own.partition('.')[0]]}": parameter.detach().cpu().contiguous()
        for path, layer in layers.items()
        for own, parameter in layer.adapter_parameters(name).items()
    }
    write_tensors(folder / TENSORS, tensors)
    reference = getattr(model, "base_reference", None) or {}
    atomic_write_json(
        folder / SETTINGS,
        {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": reference.get("path"),
            "r": config.r,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "target_modules": _names(model, set(layers)),
            "use_rslora": config.rslora,
            "use_dora": config.dora,
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "inference_mode": True,
        },
    )
    return folder


def load_adapter(model: nn.Module, folder: str | Path, name: str = "default") -> LoRAConfig:
    """Read an adapter, ours or peft's, into `model` under `name` and make it the active one; returns its settings.

    An adapter of that name that is there already is overwritten. Raises UserError, with the model as it was, for files
    that are missing or damaged, an adapter of another kind, and one that was made for another model.
    """
    folder = Path(folder)
    config, tensors = read_settings(folder), read_tensors(folder)
    paths = _fit(model, tensors, config, folder)
    have = adapters_of(model).get(name)
    if have is None:
        apply_lora(model, replace(config, targets=tuple(paths)), name=name, seed=0)
    elif (have.r, have.scale, have.dora) != (config.r, config.scale, config.dora):
        raise UserError(
            f"the model's adapter {name!r} has {_short(have)}, that of {folder} {_short(config)}: rename it"
        )
    layers = lora_layers(model)
    named = {path for path, layer in layers.items() if name in layer.settings}
    if named != set(paths):
        other = sorted(named ^ set(paths))[0]
        raise UserError(
            f"the model's adapter {name!r} and that of {folder} differ in {other}: give it another name"
        )
    with torch.no_grad():
        for path in paths:
            for own, parameter in layers[path].adapter_parameters(name).items():
                parameter.copy_(tensors[f"{path}.{KINDS[own.partition('.')[0]]}"])
    if active_adapter(model) != name:
        set_adapter(model, name)
    return config


def read_settings(folder: Path) -> LoRAConfig:
    """adapter_config.json as a LoRAConfig. Raises UserError for what is no LoRA adapter or has parts we do not know."""
    path = folder / SETTINGS
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values["peft_type"]
        if kind != "LORA":
            raise UserError(f"{path} describes a {kind} adapter: only LORA is read here")
        for key in ("bias", "modules_to_save", "rank_pattern", "alpha_pattern"):
            if values.get(key) not in (None, "none", {}, []):
                raise UserError(f"{path} has {key}={values[key]!r}, which is not read here: train without it")
        wanted = values.get("target_modules") or ()
        return LoRAConfig(
            r=int(values["r"]),
            alpha=float(values["lora_alpha"]),
            dropout=float(values.get("lora_dropout", 0.0)),
            targets=(wanted,) if isinstance(wanted, str) else tuple(wanted) or ("all",),
            rslora=bool(values.get("use_rslora", False)),
            dora=bool(values.get("use_dora", False)),
        )
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: an adapter is a folder with {SETTINGS} and {TENSORS}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): save the adapter again") from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors without peft's prefix."""
    path = folder / TENSORS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: an adapter is a folder with {SETTINGS} and {TENSORS}"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): save the adapter again") from None
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def _fit(model: nn.Module, tensors: Mapping[str, Tensor], config: LoRAConfig, folder: Path) -> list[str]:
    """The paths that the tensors are for, when all of them are in `model` and have its shapes."""
    linear: dict[str, Any] = dict(linear_maps(model))
    kinds = ["lora_A.weight", "lora_B.weight", *(["lora_magnitude_vector"] if config.dora else [])]
    paths = sorted({name.removesuffix(f".{kinds[0]}") for name in tensors if name.endswith(kinds[0])})
    extra = sorted(set(tensors) - {f"{path}.{kind}" for path in paths for kind in kinds})
    lacking = sorted({f"{path}.{kind}" for path in paths for kind in kinds} - set(tensors))
    if not paths or extra or lacking:
        raise UserError(
            f"{folder / TENSORS} does not fit its {SETTINGS}: missing {', '.join(lacking[:2]) or 'nothing'}, "
            f"unexpected {', '.join(extra[:2]) or 'nothing'}: save the adapter again"
        )
    for path in paths:
        if path not in linear:
            raise UserError(f"the adapter in {folder} is for another model: this one has no {path}")
        out, into = linear[path].out_features, linear[path].in_features
        shapes = {
            "lora_A.weight": (config.r, into),
            "lora_B.weight": (out, config.r),
            "lora_magnitude_vector": (out,),
        }
        for kind in kinds:
            shape = tuple(tensors[f"{path}.{kind}"].shape)
            if shape != shapes[kind]:
                raise UserError(
                    f"the adapter in {folder} is for another model: {path}.{kind} has shape {shape}, "
                    f"this model needs {shapes[kind]}"
                )
    return paths


def _settings(model: nn.Module, name: str) -> LoRAConfig:
    known = adapters_of(model)
    if name not in known:
        raise UserError(f"the model has no adapter {name!r}: there are {', '.join(known) or 'none'}")
    return known[name]


def _names(model: nn.Module, paths: set[str]) -> list[str]:
    """The shortest `target_modules` that mean exactly these maps: last names, else whole paths."""
    names = sorted({path.rpartition(".")[2] for path in paths})
    return names if set(find_targets(model, tuple(names))) == paths else sorted(paths)


def _short(config: LoRAConfig) -> str:
    return f"r={config.r}, scale={config.scale:g}{', DoRA' if config.dora else ''}"


# ---------------------------------------------------------------- the base of a run


def remember_base(model: Any, path: str | Path) -> dict[str, Any]:
    """Note in the model which checkpoint it was before, by path and sha256; its checkpoints then name it."""
    weights = _weights_of(Path(path))
    model.base_reference = {"path": str(Path(path).resolve()), "sha256": sha256_file(weights)}
    return model.base_reference


def _weights_of(path: Path) -> Path:
    from gpt_model.loading import WEIGHT_FILES

    found = [path] if path.is_file() else [path / name for name in WEIGHT_FILES if (path / name).is_file()]
    if not found:
        raise UserError(f"{path} holds no weights: name the folder of the model that the adapter is for")
    return found[0]


def _quantized(model: nn.Module) -> dict[str, Any] | None:
    from finetuning.qlora import how_quantized

    return how_quantized(model)


@dataclass(frozen=True)
class Adapted:
    """A base with its adapter on it, ready to go on training, and what it was made of."""

    model: Any
    tokenizer: Any
    name: str
    config: LoRAConfig
    base: Path


def read_reference(folder: Path) -> dict[str, Any]:
    """adapter.json: the base's path and sha256, the adapter's name, and how the base was quantized; {} without one."""
    path = folder / REFERENCE
    try:
        reference: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**reference, "base": dict(reference["base"] or {}), "name": str(reference["name"])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): use another checkpoint") from None


def check_base(place: Path, folder: Path) -> dict[str, Any]:
    """`read_reference`, when the weights at `place` are those that the adapter was trained on.

    Raises UserError for other weights. An adapter that came alone says nothing of its base, and is taken at its word.
    """
    reference = read_reference(folder)
    known = reference.get("base", {}).get("sha256")
    if known is not None and known != sha256_file(_weights_of(place)):
        raise UserError(f"{place} is not the base of {folder}: its weights have another sha256")
    return reference


def open_adapted(
    checkpoint: str | Path, *, base: str | Path | None = None, device: str | torch.device = "cpu"
) -> Adapted:
    """The model of an adapter run's checkpoint as it was while training: base, 4 bits if it had them, adapter.

    `base` says where the base lies now, if it has moved. Raises UserError when the base is not there or is not the one
    that the adapter was trained on.
    """
    from finetuning.qlora import quantize_base
    from gpt_model.loading import load_model

    folder = Path(checkpoint)
    reference = read_reference(folder)
    if not reference:
        raise UserError(f"{folder} is no checkpoint of an adapter run: it has no {REFERENCE}")
    known, name = reference["base"], reference["name"]
    place = Path(base or known.get("path") or "")
    if not (base or known.get("path")) or not place.exists():
        raise UserError(f"the base of {folder} is not at {known.get('path')}: say where it is with base=PATH")
    check_base(place, folder)
    loaded = load_model(place, device=device)
    if reference.get("quantized"):
        quantize_base(loaded.model, **reference["quantized"])
    config = load_adapter(loaded.model, folder, name)
    remember_base(loaded.model, place)
    return Adapted(loaded.model, loaded.tokenizer, name, config, place)
