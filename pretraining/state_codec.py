"""Any nested training state as JSON plus named tensors, and back, exactly. No pickle.

Optimizer state is a tree of dicts (with integer keys), lists, tuples, numbers and tensors. Tensors go to
safetensors under the path where they were found; everything else is JSON, whose floats round-trip (repr).
What JSON cannot say is tagged: a dict whose keys are not strings, a tuple, a non-finite float, a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_TAG = "__is__"
Take = Callable[[str, torch.Tensor], torch.Tensor]  # (path, tensor) -> what is kept of it, on the CPU


def a_copy(path: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as it is now, whatever becomes of it later."""
    return tensor.detach().cpu().contiguous().clone()


def in_memory(path: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, for one who writes it before anything can change it; a copy only from a GPU."""
    return tensor.detach().cpu()


def encode(value: Any, tensors: dict[str, torch.Tensor], path: str = "", *, take: Take = a_copy) -> Any:
    """The JSON form of `value`; each tensor in it is added to `tensors` under its path, as `take` gives it.

    >>> found = {}
    >>> encode({0: {"step": torch.tensor(3.0)}, "lr": (1e-3, None)}, found)["__is__"], sorted(found)
    ('dict', ['.0.step'])

    Raises TypeError, naming the path, for an object that has no exact form.
    """
    if isinstance(value, torch.Tensor):
        while path in tensors:  # {"a.b": …} and {"a": {"b": …}} have the same path
            path += "'"
        tensors[path] = take(path, value)
        return {_TAG: "tensor", "name": path}

    def part(item: Any, name: Any = None) -> Any:
        return encode(item, tensors, path if name is None else f"{path}.{name}", take=take)

    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: part(item, key) for key, item in value.items()}
        return {_TAG: "dict", "items": [[part(k), part(v, k)] for k, v in value.items()]}
    if isinstance(value, list):
        return [part(item, i) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "items": [part(item, i) for i, item in enumerate(value)]}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: "float", "text": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return {_TAG: "array", "value": part(torch.from_numpy(value.copy()))}
    raise TypeError(f"state{path} is a {type(value).__name__}, which has no exact JSON form")


def decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The state that `encode` was given."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TAG)
    if kind is None:
        return {key: decode(item, tensors) for key, item in value.items()}
    if kind == "tensor":
        return tensors[value["name"]]
    if kind == "dict":
        return {decode(k, tensors): decode(v, tensors) for k, v in value["items"]}
    if kind == "tuple":
        return tuple(decode(item, tensors) for item in value["items"])
    if kind == "float":
        return float(value["text"])
    if kind == "array":
        return decode(value["value"], tensors).numpy()
    raise ValueError(f"unknown tag {kind!r} in a saved state")
