"""What a Hugging Face configuration says about rotary positions, in our words.

The idea: older files have `rope_theta` and `rope_scaling`, newer ones one dict `rope_parameters`; the recipes are
the same (`attention_mechanisms.rope_scaling`). A key that is unknown here might change what is computed, so it is
refused, by name.

Left out on purpose: recipes that depend on the length of the prompt ("dynamic"), LongRoPE, rotating a part of a
head, and different speeds for different layers.
"""

import math
from collections.abc import Mapping
from typing import Any

from utils.errors import UserError

KINDS = {"default": "none", "linear": "linear", "yarn": "yarn", "llama3": "llama3"}
# Keys that a recipe reads, beside those that all may have.
COMMON = ("rope_theta", "rope_type", "type", "partial_rotary_factor", "original_max_position_embeddings")
READ = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        *("factor", "attention_factor", "beta_fast", "beta_slow"),
        *("mscale", "mscale_all_dim", "truncate"),
    ),
}


def rope_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a config.json as one dict, with at least `rope_type` and `rope_theta`; checked."""
    found = values.get("rope_parameters")
    if found is None:
        found = {"rope_theta": values.get("rope_theta"), **(values.get("rope_scaling") or {})}
    if any(isinstance(value, Mapping) for value in found.values()):
        raise UserError(
            f"rope_parameters differ from layer to layer ({', '.join(found)}): only one for all is supported"
        )
    kind = found.get("rope_type", found.get("type", "default")) or "default"
    if kind not in KINDS:
        raise UserError(f"rope_type is {kind!r}: supported are {', '.join(KINDS)}")
    part = found.get("partial_rotary_factor", values.get("partial_rotary_factor"))
    if part not in (None, 1, 1.0):
        raise UserError(f"partial_rotary_factor is {part}: only whole heads are rotated here")
    unknown = sorted(key for key in found.keys() - {*COMMON, *READ[kind]} if found[key] is not None)
    if unknown:
        raise UserError(f"rope_parameters has {', '.join(unknown)}, which {kind} has no use for here")
    if found.get("truncate") is False:
        raise UserError("truncate is false in rope_parameters: only rounded bounds of the ramp are supported")
    theta = found.get("rope_theta") or values.get("rope_theta") or 10000.0
    given = {key: value for key, value in found.items() if value is not None}
    return {**given, "rope_type": kind, "rope_theta": float(theta)}


def rope_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of GPTConfig that say how a config.json rotates."""
    recipe = rope_parameters(values)
    kind = recipe["rope_type"]
    fields = {"position": "rope", "rope_theta": recipe["rope_theta"], "rope_scaling": KINDS[kind]}
    if kind == "default":
        return fields
    longest = values["max_position_embeddings"]
    original = values.get("original_max_position_embeddings") or recipe.get(
        "original_max_position_embeddings", longest
    )
    factor = recipe.get("factor")
    if factor is None and kind == "yarn":
        factor = longest / original
    if factor is None:
        raise UserError(f"rope_parameters of type {kind} have no factor: add it")
    fields |= {"rope_factor": float(factor)}
    if kind == "linear":
        return fields
    low, high = ("beta_slow", "beta_fast") if kind == "yarn" else ("low_freq_factor", "high_freq_factor")
    fields |= {
        "rope_original_length": original,
        "rope_low_turns": recipe.get(low),
        "rope_high_turns": recipe.get(high),
    }
    if kind == "yarn":
        fields["rope_attention_factor"] = attention_factor(recipe, float(factor))
    return fields


def attention_factor(recipe: Mapping[str, Any], factor: float) -> float | None:
    """What yarn multiplies queries and keys with, where the file says something else than the paper."""
    if "attention_factor" in recipe:
        return float(recipe["attention_factor"])
    part, whole = recipe.get("mscale"), recipe.get("mscale_all_dim")
    return sharpening(factor, part) / sharpening(factor, whole) if part and whole else None


def sharpening(factor: float, mscale: float = 1.0) -> float:
    """yarn's 0.1 ln(factor) + 1, with DeepSeek's number before the logarithm."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0
