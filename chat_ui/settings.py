"""The knobs of one chat, checked: what the settings panel sends becomes values that the engine takes.

The panel's sliders send floats, its text fields strings, and a script can send anything. Everything is
checked here once, with the limit in the message, so that the code behind needs no doubt.
Left out: what the knobs do to a distribution; `gpt_model.sampling` explains that. How they look: `panel`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat_ui.decoding import STRATEGIES
from finetuning.templates import TEMPLATES
from gpt_model.sampling import Sampling
from utils.errors import UserError

MODES = {"chat": "chat: answer me", "continue": "continue the text I type"}
AS_TRAINED = "as trained"  # the template that the model's own run names
NOTHING = "nothing"  # beside the answer
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """Settings of one chat window. `model` "" is the server's first choice, `top_k` 0, `top_p` 1 and `min_p` 0
    are off, as are penalties of 0 (repetition: 1). `seed` None draws a new one for each answer. `beside` names a
    strategy of `decoding` that answers every message as well, at the same time.
    """

    model: str = ""
    mode: str = "chat"
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int | None = None
    system: str = ""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    template: str = AS_TRAINED
    beside: str = NOTHING

    def sampling(self, seed: int) -> Sampling:
        """How the engine is to draw, with the seed of this answer."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k or None,
            top_p=self.top_p if self.top_p < 1 else None,
            min_p=self.min_p or None,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=seed,
        )


def from_panel(values: Mapping[str, Any]) -> Settings:
    """Check what the panel sent; a key that is missing has its default.

    Raises UserError with the value, the limit and the fix.
    """
    default = Settings()
    mode = str(values.get("mode") or default.mode)
    # The window shows the sentence and may send either of the two.
    mode = next((key for key, sentence in MODES.items() if mode in (key, sentence)), mode)

    def number(name: str, low: float, high: float) -> float:
        return _number(values, name, getattr(default, name), low, high)

    def whole(name: str, low: int, high: int) -> int:
        return int(_number(values, name, getattr(default, name), low, high, whole=True))

    return Settings(
        model=str(values.get("model") or default.model),
        mode=_one_of("mode", mode, MODES),
        temperature=number("temperature", 0.0, 10.0),
        top_k=whole("top_k", 0, 1_000_000),
        top_p=number("top_p", 0.001, 1.0),
        max_new_tokens=whole("max_new_tokens", 1, 1_000_000),
        seed=_seed(values.get("seed")),
        system=str(values.get("system") or ""),
        min_p=number("min_p", 0.0, 1.0),
        repetition_penalty=number("repetition_penalty", 0.1, 10.0),
        presence_penalty=number("presence_penalty", -10.0, 10.0),
        frequency_penalty=number("frequency_penalty", -10.0, 10.0),
        template=_one_of(
            "template", str(values.get("template") or default.template), (AS_TRAINED, *sorted(TEMPLATES))
        ),
        beside=_one_of("beside", str(values.get("beside") or default.beside), (NOTHING, *STRATEGIES)),
    )


def _one_of(name: str, value: str, allowed: Any) -> str:
    if value not in allowed:
        raise UserError(f"{name} is {value[:80]!r}: choose one of {', '.join(allowed)}")
    return value


def _number(
    values: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = values.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
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
