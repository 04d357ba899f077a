"""The GPT: configuration, model, weights in and out, sampling and generation.

Importing this package costs nothing: names are resolved on first use (PEP 562).
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "GPT": "gpt",
    "Output": "gpt",
    "GPTConfig": "config",
    "PRESETS": "config",
    "preset": "config",
    "Sampling": "sampling",
    "generate": "generation",
    "stream": "generation",
    "stream_text": "generation",
    "LoadedModel": "loading",
    "load_model": "loading",
    "parameter_breakdown": "costs",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
