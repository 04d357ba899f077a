"""What a job will cost, before it starts: GPUs × hours × price, and where each factor comes from.

    hours  =  given by the budget (`minutes=`), or
              tokens · FLOPs a token / (GPUs · peak of one · MFU)        (`gpt_model.mfu`: the peaks of data sheets)
    cost   =  hours · (GPUs · price of one + cores · price of a core)
    at most = timeout · attempts · the same price                        what a job that never ends can cost

Prices change and this file does not know it: `PRICES` says when they were written down and from where. MFU is an
assumption until you have measured your own (a run's `mfu` in metrics.jsonl). Left out: memory above what comes with
the GPU, storage, traffic, regional surcharges, the minutes in which an image is built.
Notebook: `01_from_laptop_to_cloud`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.errors import UserError, closest, did_you_mean

if TYPE_CHECKING:
    from pretraining.pretrain_config import PretrainConfig

# Names that Modal takes (modal.com/docs/guide/gpu, read November 2026), and how many fit into one container. The
# client does not check them: a wrong name is found when the job waits for a machine that does not exist.
GPUS: dict[str, int] = {
    **{"T4": 8, "L4": 8, "A10": 4, "L40S": 8, "A100-40GB": 8, "A100-80GB": 8, "RTX-PRO-6000": 8},
    **{"A100": 8, "H100": 8, "H100!": 8, "H200": 8, "B200": 8, "B200+": 8},
}
PRICES_OF = "2026-06-27"  # written down then; look at modal.com/pricing before you rely on them
PRICES_FROM = "modal.com/pricing as two public comparisons quote it (May and June 2026)"
# US dollars for an hour of one GPU. A name that is missing has a price, but none that was found twice.
PRICES: dict[str, float] = {
    **{"T4": 0.5904, "L4": 0.7992, "L40S": 1.9512, "A100-80GB": 2.4984, "H100": 3.9492, "B200": 6.25},
}
PRICES["H100!"] = PRICES["H100"]  # "exactly that one", at the same price
CORE_HOUR = 0.0000131 * 3600  # a physical core
SHEETS = {"A10": None, "A100-40GB": "A100", "A100-80GB": "A100", "H100!": "H100", "B200+": "B200"}
MFU = 0.35  # assumed, of one GPU: nanoGPT reports about that much on an A100; ours was not measured on one


@dataclass(frozen=True)
class Gpu:
    """So many GPUs of a kind in one machine."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name}:{self.count}"

    @property
    def price(self) -> float | None:
        """Dollars an hour for all of them; None where no price is known."""
        return None if self.name not in PRICES else PRICES[self.name] * self.count

    @property
    def peak(self) -> float | None:
        """FLOP/s of one in bf16 (fp16 where there is no bf16); None where no data sheet is in the table."""
        from gpt_model.mfu import peak_flops

        sheet = SHEETS.get(self.name, self.name)
        return peak_flops(sheet, "bf16") or peak_flops(sheet, "fp16")


def parse_gpu(text: str) -> Gpu:
    """`H100` or `H100:8`.

    >>> parse_gpu("H100:8")
    Gpu(name='H100', count=8)

    Raises:
        UserError: a kind that is not rented out, or more than fit into one machine.
    """
    name, colon, number = text.strip().partition(":")
    known = next((key for key in GPUS if key.lower() == name.lower()), None)
    if known is None:
        raise UserError(
            f"gpu is {text!r}: {did_you_mean(closest(name, GPUS))}choose one of {', '.join(GPUS)}, "
            "with :N for several"
        )
    count = int(number) if number.isdigit() else 1 if not colon else 0
    if not 1 <= count <= GPUS[known]:
        raise UserError(
            f"gpu is {text!r}: {known} comes as 1 to {GPUS[known]} in a machine, such as {known}:2"
        )
    return Gpu(known, count)


@dataclass(frozen=True)
class Estimate:
    """What a job should cost, and what it can cost at most; None where a factor is not known, and `why`."""

    gpu: Gpu
    nodes: int
    hours: float | None
    dollars: float | None
    at_most: float | None
    why: str

    def __str__(self) -> str:
        machines = f"{self.nodes} × {self.gpu}" if self.nodes > 1 else str(self.gpu)
        hours = "unknown time" if self.hours is None else f"{self.hours:.2g} h"
        dollars = "unknown cost" if self.dollars is None else f"${self.dollars:.2f}"
        most = "" if self.at_most is None else f", at most ${self.at_most:.2f} with every retry"
        return f"estimate: {machines} for {hours}: {dollars}{most} ({self.why})"


def hourly(gpu: Gpu, nodes: int = 1, cores: float = 0.0) -> float | None:
    """Dollars an hour of `nodes` machines with these GPUs and so many physical cores each."""
    return None if gpu.price is None else nodes * (gpu.price + cores * CORE_HOUR)


def training_hours(flops: float, gpu: Gpu, nodes: int = 1, mfu: float = MFU) -> float | None:
    """Hours for so many FLOPs in all; None where the GPU's peak is not known."""
    if not 0 < mfu <= 1:
        raise UserError(f"mfu is {mfu}: it is a share between 0 and 1, such as 0.35")
    return None if gpu.peak is None else flops / (nodes * gpu.count * gpu.peak * mfu) / 3600


def estimate(
    gpu: Gpu,
    *,
    nodes: int = 1,
    hours: float | None = None,
    cores: float = 0.0,
    timeout_hours: float | None = None,
    attempts: int = 1,
    why: str = "",
) -> Estimate:
    """The cost of `hours` on these machines, and of every attempt running into its timeout."""
    rate = hourly(gpu, nodes, cores)
    known = (
        f"prices of {PRICES_OF}, which may have changed" if rate else f"no price of {gpu.name} is known here"
    )
    return Estimate(
        gpu,
        nodes,
        hours,
        None if rate is None or hours is None else rate * hours,
        None if rate is None or timeout_hours is None else rate * timeout_hours * attempts,
        "; ".join(part for part in (why, known) if part),
    )


def config_of(arguments: Sequence[str]) -> PretrainConfig:
    """The config that arguments of `pretraining.train` mean, as far as `--preset`, `--config` and key=value go."""
    import importlib

    from pretraining.pretrain_config import PretrainConfig
    from utils.config import load_config

    preset_file = importlib.import_module("pretraining.train").preset_file
    yaml, overrides, words = None, [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--preset", "--config"):
            value = value if equals else next(words, "")
            yaml = preset_file(value) if flag == "--preset" else value
        elif not word.startswith("-"):
            overrides.append(word)
    return load_config(PretrainConfig, yaml, overrides)


def hours_of(
    arguments: Sequence[str], gpu: Gpu, *, nodes: int = 1, mfu: float = MFU
) -> tuple[float | None, str]:
    """Hours that a pretraining with these arguments takes, and how they were found. Reads no data.

    A budget of minutes is what it says. Steps are counted in tokens and FLOPs. Epochs need the text's length, which
    is not known here.
    """
    from pretraining.config import DEFAULT_STEPS

    config = config_of(arguments)
    known: list[tuple[float, str]] = []
    if config.minutes is not None:
        known.append((config.minutes / 60, f"minutes={config.minutes:g}"))
    steps = config.steps if config.has_budget else DEFAULT_STEPS
    if steps is not None:
        from gpt_model.config import preset
        from gpt_model.mfu import flops_per_token

        shape = preset(config.preset, **{"vocab_size": config.vocab_size, **config.model})
        tokens = steps * config.batch_size * config.grad_accum * shape.block_size
        hours = training_hours(tokens * flops_per_token(shape, shape.block_size), gpu, nodes, mfu)
        if hours is not None:
            known.append((hours, f"{tokens:,} tokens at an MFU of {mfu:g}, which is assumed"))
    if not known:
        return (
            None,
            "the budget is in epochs, or the GPU's peak is unknown: give steps= or minutes= for an estimate",
        )
    return min(known)
