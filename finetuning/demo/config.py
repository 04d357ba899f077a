"""What `scratchbook demo` is told. Every field can be given as `key=value`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from utils.errors import UserError


@dataclass(frozen=True)
class DemoConfig:
    """The walk's settings; the defaults finish in under five minutes on two CPU cores.

    `minutes` is the wall time of pretraining. Tuning takes `tune_share` of it on top.
    """

    text: str | None = None  # a file or a folder; None is Storyland
    minutes: float = 2.0
    preset: str = "storyteller"
    model: dict[str, Any] = field(default_factory=dict)  # overrides of the preset: model.n_layer=6
    train: dict[str, Any] = field(default_factory=dict)  # overrides of the training recipe: train.lr=1e-3
    tune: dict[str, Any] = field(default_factory=dict)  # overrides of the tuning recipe
    vocab_size: int = 2048
    val_fraction: float = 0.02
    tune_share: float = 1.0
    tune_requests: int = 30_000
    held_out: int = 280  # requests asked before and after tuning
    stories: int = 100  # sampled for the checker
    temperature: float = 0.7  # of those stories and of the samples shown
    device: str = "auto"
    seed: int = 1337
    open: bool = False  # open the report in a browser at the end

    def __post_init__(self) -> None:
        for name in ("minutes", "tune_share", "temperature"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}, but it must be above 0: try {name}=1")
        for name in ("held_out", "stories", "tune_requests"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but the least is 1: set {name}=20")
        if not 0 < self.val_fraction < 1:
            raise UserError(
                f"val_fraction is {self.val_fraction}, but it is a share between 0 and 1: set 0.02"
            )
