"""Model FLOPs utilisation (MFU): which share of a machine's arithmetic a training run really uses.

The idea: count what the model needs for a token, not what the code happens to do, multiply with tokens a second, divide
by the machine's peak. The convention is that of PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B):

    FLOPs a token = 6 N + 12 · L · H · Q · T

N: parameters that a token is multiplied with; the two tables of embeddings count only where one is the head as well
(so does nanoGPT). L layers, H query heads of width Q, T tokens of context. 6 is two for a multiply-add, times three:
forward, and the gradients of both factors. The table of T × T is counted whole, causal or not, and as wide as H · Q,
whatever keys are shared, compressed or out of a window: figures of all attentions stand on one scale.
`costs.training_flops` is the exact count instead; `analyze` prints both.

The peak must be true to the precision and *dense*: data sheets print the doubled figure for 2:4 sparse matrices in
large type. A GPU of GeForce or Ada is counted with float32 sums, as training uses. A machine that is not in the table
has "peak unknown", and no utilisation: a guess would look like a measurement. Left out on purpose: measuring a peak (a
CPU's is measured by `pretraining.benchmark`), and the FLOPs of recomputed activations, which are the H in HFU.
Notebook: 02 of this chapter.
"""

import re
from dataclasses import dataclass

from gpt_model.config import GPTConfig
from gpt_model.costs import parameter_breakdown
from utils.errors import UserError

UNKNOWN = "peak unknown"


@dataclass(frozen=True)
class Hardware:
    """A GPU as its driver names it (`pattern`), dense peaks in TFLOP/s by precision, and where they stand."""

    name: str
    pattern: str
    peaks: dict[str, float]  # fp32 is without tensor cores; tf32, bf16 and fp16 with them, sums in float32
    source: str


def _hopper(fp32: float, tf32: float, half: float) -> dict[str, float]:
    return {"fp32": fp32, "tf32": tf32, "bf16": half, "fp16": half}


_ADA = "NVIDIA Ada GPU architecture whitepaper v2, appendix A"
_TOPS = "NVIDIA's product page: AI TOPS (sparse FP8) / 8, the ratio that the Ada whitepaper shows for the RTX 4090"
# Read from top to bottom; a pattern must match whole words of the driver's name.
HARDWARE: tuple[Hardware, ...] = (
    Hardware("B200", r"B200", _hopper(75, 1125, 2250), "NVIDIA HGX B200 data sheet, sparse figures halved"),
    Hardware(
        "H200 NVL", r"H200 NVL", _hopper(60, 417.5, 835.5), "NVIDIA H200 data sheet, sparse figures halved"
    ),
    Hardware("H200", r"H200", _hopper(67, 494.5, 989.5), "NVIDIA H200 data sheet, sparse figures halved"),
    Hardware("GH200", r"GH200", _hopper(67, 494.5, 989.5), "NVIDIA GH200 data sheet, sparse figures halved"),
    Hardware(
        "H100 PCIe", r"H100 PCIe", _hopper(51, 378, 756.5), "NVIDIA H100 data sheet, sparse figures halved"
    ),
    Hardware(
        "H100 NVL", r"H100 NVL", _hopper(60, 417.5, 835.5), "NVIDIA H100 data sheet, sparse figures halved"
    ),
    Hardware(
        "H100 SXM",
        r"H100( SXM\d?)?( \d+GB HBM\w*)?",
        _hopper(67, 494.5, 989.5),
        "NVIDIA H100 data sheet, sparse figures halved",
    ),
    Hardware(
        "A100",
        r"A100([- ](SXM\d?|PCIE))?([- ]\d+GB)?( PCIe)?",
        {"fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312},
        "NVIDIA A100 data sheet",
    ),
    Hardware("L40S", r"L40S", _hopper(91.6, 183, 362.05), "NVIDIA L40S data sheet"),
    Hardware("L4", r"L4", _hopper(30.3, 60, 121), "NVIDIA L4 data sheet, sparse figures halved"),
    Hardware("V100", r"V100-SXM2(-\d+GB)?", {"fp32": 15.7, "fp16": 125}, "NVIDIA V100 data sheet; no bf16"),
    Hardware("T4", r"T4", {"fp32": 8.1, "fp16": 65}, "NVIDIA T4 data sheet; no bf16"),
    Hardware(
        "RTX 3090",
        r"RTX 3090",
        _hopper(35.6, 35.6, 71),
        "NVIDIA Ampere GA102 GPU architecture whitepaper v2, appendix A",
    ),
    Hardware("RTX 4090", r"RTX 4090", _hopper(82.6, 82.6, 165.2), _ADA),
    Hardware("RTX 4080", r"RTX 4080", _hopper(48.7, 48.7, 97.5), _ADA),
    Hardware("RTX 4060 Ti", r"RTX 4060 Ti", _hopper(22.1, 22.1, 44.1), _TOPS),
    Hardware("RTX 4060", r"RTX 4060", _hopper(15.1, 15.1, 30.25), _TOPS),
)
# The vendor's words around a model's number; anything else beside it (Laptop, Ti, SUPER, MIG) is another machine.
_VENDOR = r"(NVIDIA |Tesla |GeForce )*"


def find_hardware(name: str | None) -> Hardware | None:
    """The row for a GPU's name as its driver gives it (or as the table spells it); None when it is not there.

    >>> find_hardware("NVIDIA H100 80GB HBM3").name
    'H100 SXM'
    >>> find_hardware("NVIDIA GeForce RTX 4060 Laptop GPU") is None
    True
    """
    for row in HARDWARE:
        if name and (
            name.lower() == row.name.lower()
            or re.fullmatch(_VENDOR + row.pattern, name.strip(), re.IGNORECASE)
        ):
            return row
    return None


def peak_flops(name: str | None, precision: str) -> float | None:
    """FLOP/s that the hardware of this name can reach in fp32, tf32, bf16 or fp16; None when that is unknown."""
    if precision not in ("fp32", "tf32", "bf16", "fp16"):
        raise UserError(f"precision is {precision!r}: choose one of fp32, tf32, bf16, fp16")
    row = find_hardware(name)
    tera = None if row is None else row.peaks.get(precision)
    return None if tera is None else tera * 1e12


def this_machine() -> str | None:
    """The name of the first GPU as its driver gives it, or None on a machine without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def multiplied_parameters(config: GPTConfig) -> int:
    """N of the convention: all parameters but tables that are only looked up.

    The position table always; the token embedding where the head is a matrix of its own.
    """
    parts = parameter_breakdown(config)
    ngrams = sum(config.ngram_rows) * config.n_embd  # among the token embeddings, and never a head
    looked_up = parts["position embedding"] + (ngrams if config.tie_weights else parts["token embedding"])
    return sum(parts.values()) - looked_up


def flops_per_token(config: GPTConfig, length: int) -> int:
    """FLOPs of training on one token in a context of `length`: 6 N + 12 · L · H · Q · T."""
    return 6 * multiplied_parameters(config) + 12 * config.n_layer * config.n_embd * length


def utilisation(
    config: GPTConfig, length: int, tokens_per_second: float, peak: float | None, devices: int = 1
) -> float | None:
    """The share of `peak` FLOP/s (of each of the devices) that training at this speed uses; None without a peak."""
    if tokens_per_second < 0 or devices < 1:
        raise UserError(
            f"{tokens_per_second} tokens/s on {devices} devices: give a speed of at least 0 and a device"
        )
    if peak is None:
        return None
    if peak <= 0:
        raise UserError(f"peak is {peak} FLOP/s: it must be above 0, or None where it is unknown")
    return tokens_per_second * flops_per_token(config, length) / (peak * devices)


def describe(share: float | None) -> str:
    """The share as a person reads it, or the words for a machine whose peak nobody knows.

    >>> describe(0.4531), describe(None)
    ('45.3 %', 'peak unknown')
    """
    return UNKNOWN if share is None else f"{share:.1%}".replace("%", " %")
