"""A few ways of drawing, by name: what an answer can be compared with, side by side.

The model gives a distribution, and each of these reads it differently; the words change, the model does not. The
numbers are the usual ones: nucleus 0.95 (Holtzman et al. 2020, arXiv 1904.09751), top-k 40 (Radford et al. 2019),
min-p 0.1 (Nguyen et al. 2024, arXiv 2407.01082). Length, seed, model and prompt stay those of the answer beside it.

Left out: beam search, which writes nothing before its end (`gpt_model.beam`). Notebook: 04 of gpt_model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat_ui.settings import Settings

# All cuts and penalties off, then these: a comparison of one idea at a time.
PLAIN: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "the model's own distribution": {},
    "cool: temperature 0.5": {"temperature": 0.5},
    "hot: temperature 1.5": {"temperature": 1.5},
    "nucleus: top-p 0.95": {"top_p": 0.95},
    "top-k 40": {"top_k": 40},
    "min-p 0.1": {"min_p": 0.1},
    "no repetition: penalty 1.3": {"repetition_penalty": 1.3},
}


def with_strategy(settings: Settings, name: str) -> Settings:
    """The same settings with another way of drawing. Raises KeyError for a name that `STRATEGIES` lacks."""
    return replace(settings, **{**PLAIN, **STRATEGIES[name]})


def describe(settings: Settings) -> str:
    """The way of drawing in a few words, what is off left out.

    >>> from chat_ui.settings import Settings
    >>> describe(Settings(temperature=0.7, top_k=0, top_p=0.9))
    'temperature 0.7, top-p 0.9'
    >>> describe(Settings(temperature=0))
    'greedy'
    """
    if settings.temperature < 1e-5:
        said = ["greedy"]
    else:
        said = [f"temperature {settings.temperature:g}"]
        cuts = (("top-k", settings.top_k, 0), ("top-p", settings.top_p, 1), ("min-p", settings.min_p, 0))
        said += [f"{name} {value:g}" for name, value, off in cuts if value != off]
    for name, off in (("repetition", 1), ("presence", 0), ("frequency", 0)):
        value = getattr(settings, f"{name}_penalty")
        if value != off:
            said.append(f"{name} penalty {value:g}")
    return ", ".join(said)
