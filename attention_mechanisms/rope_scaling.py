"""Reading further than one was trained: four ways of slowing RoPE's wheels.

RoPE turns pair i of a head by p · theta^(-2i/D) at position p (`positions`). Past the trained length the slow
pairs reach angles that were never seen. Each recipe changes the *speeds*, and nothing else:

- `linear`: all speeds divided by the factor (Chen et al. 2023, arXiv 2306.15595).
- `ntk`: a larger theta, so that the slowest pair slows by the factor and the fastest not at all.
- `yarn`: pairs that turn often in the trained length keep their speed, those that turn less than once are
  slowed by the factor, a ramp between them; and the scores are sharpened a little, by multiplying queries and
  keys with 0.1 ln(factor) + 1 (Peng et al. 2023, arXiv 2309.00071).
- `llama3`: the same thought with thresholds in wavelengths, as in Llama 3.1's released configuration.

Left out on purpose: recipes that depend on the length of the prompt, which would turn cached keys wrong.
Notebook: 04 of this chapter.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.errors import UserError

ROPE_SCALINGS = ("none", "linear", "ntk", "yarn", "llama3")


@dataclass(frozen=True)
class RopeScaling:
    """A recipe and its numbers.

    factor: how many times longer the texts get.  original_length: tokens the model was trained on (yarn, llama3).
    low_freq_factor, high_freq_factor: llama3; wavelengths longer than original_length / low are slowed by the
    factor, those shorter than original_length / high are left alone.
    beta_fast, beta_slow: yarn; pairs with more turns than beta_fast keep their speed, with fewer than beta_slow
    are slowed by the factor.
    sharpening: yarn; what queries and keys are multiplied with, None for 0.1 ln(factor) + 1.
    """

    kind: str = "none"
    factor: float = 1.0
    original_length: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    sharpening: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ROPE_SCALINGS:
            raise UserError(f"rope_scaling is {self.kind!r}: choose one of {', '.join(ROPE_SCALINGS)}")
        if self.factor < 1.0:
            raise UserError(
                f"rope_factor is {self.factor}: it says how many times longer, so give at least 1"
            )
        if self.kind in ("yarn", "llama3") and self.original_length < 1:
            raise UserError(
                f"rope_scaling {self.kind} needs rope_original_length, the length the model was trained on"
            )

    @property
    def attention_factor(self) -> float:
        """What queries and keys are multiplied with: 1 but for yarn."""
        if self.kind == "yarn" and self.sharpening is not None:
            return self.sharpening
        if self.kind == "yarn" and self.factor > 1:
            return 0.1 * math.log(self.factor) + 1.0
        return 1.0


def rope_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """Radians that each pair turns per position, float64 (head_dim / 2,), from the fastest to the slowest."""
    if head_dim % 2:
        raise UserError(f"head_dim is {head_dim} but rotary positions turn pairs: make n_embd / n_head even")
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    frequencies = theta**-exponents
    if scaling is None or scaling.kind == "none":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "ntk":
        stretched = theta * scaling.factor ** (head_dim / max(head_dim - 2, 1))
        return stretched**-exponents
    if scaling.kind == "llama3":
        return _llama3(frequencies, scaling)
    return _yarn(frequencies, head_dim, theta, scaling)


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    turns = scaling.original_length * frequencies / (2 * math.pi)  # in the trained length
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)  # 0 for slow pairs, 1 for fast ones
    return frequencies * (kept + (1 - kept) / scaling.factor)


def _yarn(frequencies: Tensor, head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    def pair_with(turns: float) -> float:
        """The (fractional) number of the pair that makes so many turns in the trained length."""
        wavelength = scaling.original_length / turns
        return head_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_with(scaling.beta_fast)), 0)
    last = min(math.ceil(pair_with(scaling.beta_slow)), head_dim - 1)
    places = torch.arange(head_dim // 2, dtype=torch.float64)
    slowed = ((places - first) / max(last - first, 0.001)).clamp(0, 1)
    return frequencies * ((1 - slowed) + slowed / scaling.factor)
