"""The knobs of one chat, checked: what the settings panel sends becomes values that the engine takes.

The panel's sliders send floats, its text fields strings, and a script can send anything. Everything is
checked here once, with the limit in the message, so that the code behind needs no doubt.
Left out: what the knobs do to a distribution; `gpt_model.sampling` explains that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError

MODES = {"chat": "chat: answer me", "continue": "continue the text I type"}
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """Settings of one chat window. `model` "" is the server's first choice, `top_k` 0 and
    `top_p` 1 are off, `seed` None draws a new one for each answer.
    """

    model: str = ""
    mode: str = "chat"
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int | None = None
    system: str = ""


def from_panel(values: Mapping[str, Any]) -> Settings:
    """Check what the panel sent; a key that is missing has its default.

    Raises UserError with the value, the limit and the fix.
    """
    default = Settings()
    mode = str(values.get("mode") or default.mode)
    # The window shows the sentence and may send either of the two.
    mode = next((key for key, sentence in MODES.items() if mode in (key, sentence)), mode)
    if mode not in MODES:
        raise UserError(f"mode is {mode!r}: choose one of {', '.join(MODES)}")
    return Settings(
        model=str(values.get("model") or default.model),
        mode=mode,
        temperature=_number(values, "temperature", default.temperature, 0.0, 10.0),
        top_k=int(_number(values, "top_k", default.top_k, 0, 1_000_000, whole=True)),
        top_p=_number(values, "top_p", default.top_p, 0.001, 1.0),
        max_new_tokens=int(
            _number(values, "max_new_tokens", default.max_new_tokens, 1, 1_000_000, whole=True)
        ),
        seed=_seed(values.get("seed")),
        system=str(values.get("system") or ""),
    )


def _number(
    values: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = values.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:  # also false for NaN
        raise UserError(f"{name} is {value!r}: give a number from {low:g} to {high:g}")
    if whole and number != int(number):
        raise UserError(f"{name} is {value!r}: give a whole number from {low:g} to {high:g}")
    return number


def _seed(value: Any) -> int | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if not 0 <= number <= MAX_SEED:
        raise UserError(f"seed is {value!r}: give a whole number from 0 to {MAX_SEED}, or leave it empty")
    return number
