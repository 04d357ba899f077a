"""Any nested training state as JSON plus named tensors, and back, exactly. No pickle.

Optimizer state is a tree of dicts (with integer keys), lists, tuples, numbers and tensors. Tensors go to
safetensors under the path where they were found; everything else is JSON, whose floats round-trip (repr).
What JSON cannot say is tagged: a dict whose keys are not strings, a tuple, a non-finite float, a tensor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

_TAG = "__is__"


def encode(value: Any, tensors: dict[str, torch.Tensor], path: str = "") -> Any:
    """The JSON form of `value`; each tensor in it is added to `tensors` under its path.

    >>> found = {}
    >>> encode({0: {"step": torch.tensor(3.0)}, "lr": (1e-3, None)}, found)["__is__"], sorted(found)
    ('dict', ['.0.step'])

    Raises TypeError, naming the path, for an object that has no exact form.
    """
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TAG: "tensor", "name": path}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: encode(item, tensors, f"{path}.{key}") for key, item in value.items()}
        items = [[encode(k, tensors, path), encode(v, tensors, f"{path}.{k}")] for k, v in value.items()]
        return {_TAG: "dict", "items": items}
    if isinstance(value, list):
        return [encode(item, tensors, f"{path}.{i}") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {
            _TAG: "tuple",
            "items": [encode(item, tensors, f"{path}.{i}") for i, item in enumerate(value)],
        }
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: "float", "text": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return {_TAG: "array", "value": encode(torch.from_numpy(value.copy()), tensors, path)}
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
