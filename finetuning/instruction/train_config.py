"""What instruction tuning is told: the Trainer's recipe, and which model learns from which conversations.

The defaults of the recipe are those of the demo's instruction tuning. A run folder keeps the whole config, so
that `--resume` needs nothing else, and the chat finds the template there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finetuning.lora import LoRAConfig
from pretraining.config import TrainConfig
from utils.errors import UserError

STORYLAND = "storyland"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class InstructionConfig(TrainConfig):
    """`TrainConfig` plus which model, which conversations, and which of its weights learn."""

    ckpt: str = _key("last", "the pretrained model: last, a run, a folder")
    data: str = _key(STORYLAND, "storyland, a .jsonl, .json, .csv or .parquet file, or hf:owner/name")
    form: str = _key("auto", "of the file: auto, alpaca, chat, prompt, preference (its chosen answers)")
    on_bad_line: str = _key("stop", "a bad record of the file: stop, or skip and count")
    held_out_file: str | None = _key(None, "conversations that judge; null: a share of data")
    val_fraction: float = _key(0.05, "share of data that judges the loss")
    on_overlap: str = _key("stop", "held-out requests found in data: stop, drop them from data, or count")
    max_records: int | None = _key(None, "of the file, take at most so many")
    requests: int = _key(2000, "data=storyland: generated requests to learn from")
    held_out: int = _key(140, "requests never trained on, to ask before and after; 0: none")
    asked_on_the_way: int = _key(34, "of these, asked at each evaluation; 0: none")
    data_seed: int = _key(0, "of generated requests, and of the split")

    lessons: list[str] = field(
        default_factory=list,
        metadata={"help": "taught first, kinds of requests and for how many steps: [recall:350, colour:100]"},
    )

    replay: float = _key(
        0.0, "share of tokens after the lessons that are pages of the base's own text; 0: none"
    )

    template: str = _key("scratchbook", "a name from finetuning.templates")
    loss_on: str = _key("answers", "answers, or everything: the plain next token")
    packing: bool | None = _key(None, "rows full of conversations kept apart; null: where the model can")
    too_long: str = _key("cut", "a conversation longer than the context: cut to part of an answer, or drop")

    tune: str = _key("all", "what learns: all, last-N, head, lora")
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    qlora: bool = _key(False, "tune=lora over a base in 4 bits")
    qlora_engine: str = _key("book", "book, or bitsandbytes' kernels")
    runs: str | None = _key(None, "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs")

    optimizer: str = _key("muon", "a key of pretraining.OPTIMIZERS, or module:function")
    batch_size: int = _key(8, "rows in one forward pass")
    lr: float = _key(3e-3, "peak learning rate")
    muon_lr: float = _key(0.02, "optimizer=muon: peak for hidden matrices; the rest takes lr")
    warmup: float = _key(0.05, "below 1: share of the budget; otherwise steps")
    weight_decay: float = _key(0.0, "on matrices only")
    save_every: int = _key(0, "steps between checkpoints; 0: only at the end")
    keep_last: int = _key(1, "newest checkpoints kept")
    prompts: list[str] = field(default_factory=list, metadata={"help": "beginnings of samples on the way"})

    def __post_init__(self) -> None:
        super().__post_init__()
        from finetuning.instruction.conversation_formats import FORMS
        from finetuning.instruction.data import LOSS_ON, TOO_LONG
        from finetuning.instruction.lessons import parse_lesson
        from finetuning.templates import TEMPLATES

        if self.data == STORYLAND and self.requests < 1:
            raise UserError(f"requests is {self.requests}: give some to learn from, requests=2000")
        for name, known in {
            "form": ("auto", *FORMS),
            "on_bad_line": ("stop", "skip"),
            "on_overlap": ("stop", "drop", "count"),
            "loss_on": LOSS_ON,
            "too_long": TOO_LONG,
            "template": tuple(sorted(TEMPLATES)),
        }.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(known)}")
        for lesson in self.lessons:
            parse_lesson(lesson)
        if not 0 <= self.replay < 1:
            raise UserError(f"replay is {self.replay}: it is a share from 0 to below 1, set 0.1")
        if not 0 < self.val_fraction < 1:
            raise UserError(f"val_fraction is {self.val_fraction}: it is a share between 0 and 1, set 0.05")
        for name in ("held_out", "asked_on_the_way"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: ask 0 requests or more")
        if self.qlora and self.tune != "lora":
            raise UserError(f"qlora trains adapters over 4 bits, but tune is {self.tune!r}: set tune=lora")
