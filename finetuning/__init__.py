"""Finetuning: from a model that continues text to one that answers.

Names are loaded when they are first used, so that importing the chapter costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Message": "finetuning.templates",
    "Rendered": "finetuning.templates",
    "render": "finetuning.templates",
    "stop_ids": "finetuning.templates",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
