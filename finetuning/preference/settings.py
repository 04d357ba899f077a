"""What preference tuning is told: the Trainer's recipe with other defaults, and what is its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finetuning.lora import LoRAConfig
from pretraining.config import TrainConfig
from utils.errors import UserError

SOURCES = ("generator", "model", "both")
KINDS = ("dpo", "ipo")  # as in `losses`, which needs torch


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class PreferenceConfig(TrainConfig):
    """`TrainConfig` with a recipe for short tuning, plus which model, which pairs, and which loss.

    Learning rates are a tenth of instruction tuning's: the policy has to change what it prefers, not what it knows.
    `batch_size` counts pairs; an epoch is every pair once.
    """

    epochs: float | None = _key(None, "budget in passes over the pairs; 1 where no budget is given")
    batch_size: int = _key(16, "pairs in one forward pass, each of them two rows")
    objective: str = _key("dpo", "dpo or ipo")
    lr: float = _key(1e-4, "peak learning rate")
    warmup: float = _key(0.1, "below 1: share of the budget; otherwise steps")
    weight_decay: float = _key(0.0, "on matrices only")
    eval_every: int = _key(50, "steps between evaluations; 0: only at the end")
    save_every: int = _key(0, "steps between checkpoints; 0: only at the end")
    keep_last: int = _key(1, "newest checkpoints kept")
    prompts: list[str] = field(default_factory=list, metadata={"help": "beginnings of the samples"})

    ckpt: str = _key("last", "the model to tune, itself the reference: last, a run, a folder, assets")
    data: str = _key("storyland", "storyland, or a file of {prompt, chosen, rejected} records")
    on_bad_line: str = _key("stop", "a record that is no preference: stop, or skip and count")
    source: str = _key(
        "generator", "data=storyland: whose wrong answers: generator, model (its own), or both"
    )
    pairs: int = _key(2000, "data=storyland: pairs to learn from")
    temperature: float = _key(1.0, "source=model, both: of the answers that are drawn")
    held_out: int = _key(200, "pairs never trained on, to judge by; of a file: a twentieth, at most so many")
    asked: int = _key(136, "data=storyland: held-out requests to answer before and after; 0: none")
    drawn: int = _key(32, "held-out requests to draw answers to, for KL and lengths; 0: none")
    data_seed: int = _key(0, "of pairs, requests and drawn answers")

    beta: float = _key(1.0, "how much a nat of distance from the reference is worth")
    label_smoothing: float = _key(0.0, "the share of pairs that is taken to be the wrong way round")
    per_token: bool = _key(False, "judge an answer by its mean log-probability; wants a larger beta")
    reference: str = _key("cached", "cached: asked once about each pair; online: a second model in memory")
    template: str | None = _key(None, "how requests are written; null: as in the run that is tuned")
    tune: str = _key("all", "which weights learn: all, last-N, head, lora")
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    runs: str | None = _key(None, "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("objective", KINDS),
            ("source", SOURCES),
            ("reference", ("cached", "online")),
            ("on_bad_line", ("stop", "skip")),
        ):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}: choose {', '.join(known)}")
        for name, least in (("pairs", 1), ("held_out", 1), ("asked", 0), ("drawn", 0)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} is {getattr(self, name)}, but the least is {least}: set {name}={least}"
                )
        if not self.temperature > 0:
            raise UserError(
                f"temperature is {self.temperature}, but answers are drawn with one above 0: set 1.0"
            )
        if not self.beta > 0:
            raise UserError(f"beta is {self.beta}, but it weighs a distance: set beta=1")
        if not 0 <= self.label_smoothing < 0.5:
            raise UserError(
                f"label_smoothing is {self.label_smoothing}, but half of the pairs wrong is no preference: "
                "give 0 to below 0.5"
            )
        if self.label_smoothing and self.objective == "ipo":
            raise UserError("label_smoothing belongs to objective=dpo: leave it out, or change the objective")
