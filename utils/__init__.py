"""What every chapter needs and none of them teaches: errors, files, configs, runs, devices, timing.

Names are resolved when they are first used (PEP 562), so importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utils.lazy import resolve

if TYPE_CHECKING:
    from utils.cli import run_main
    from utils.config import load_config, parse_args, to_dict
    from utils.device import hardware, pick_device, pick_dtype
    from utils.errors import RunFailure, ScratchbookError, UserError
    from utils.runs import Run, find_run
    from utils.seeding import capture_rng, preserved_rng, restore_rng, set_seed

_WHERE = {
    "Run": "runs",
    "RunFailure": "errors",
    "ScratchbookError": "errors",
    "UserError": "errors",
    "capture_rng": "seeding",
    "find_run": "runs",
    "hardware": "device",
    "load_config": "config",
    "parse_args": "config",
    "pick_device": "device",
    "pick_dtype": "device",
    "preserved_rng": "seeding",
    "restore_rng": "seeding",
    "run_main": "cli",
    "set_seed": "seeding",
    "to_dict": "config",
}

__all__ = [
    "Run",
    "RunFailure",
    "ScratchbookError",
    "UserError",
    "capture_rng",
    "find_run",
    "hardware",
    "load_config",
    "parse_args",
    "pick_device",
    "pick_dtype",
    "preserved_rng",
    "restore_rng",
    "run_main",
    "set_seed",
    "to_dict",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, _WHERE, name)


def __dir__() -> list[str]:
    return list(__all__)
