"""What a training run is told: every number of the recipe, typed, validated, saved with the run.

`TrainConfig` is all the `Trainer` needs (pretraining and finetuning share it); `PretrainConfig` adds where
the text, the tokenizer and the model come from. Both are flat, so a YAML file and `key=value` read the same.
The length of a run is a *budget*: steps, epochs, or minutes of wall time; given several, the first to be
used up ends the run. Left out: anything about more than one process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from utils.errors import UserError

DEFAULT_STEPS = 1000  # the budget of a config that names none


def _key(default: Any, help: str) -> Any:
    """A field with the line that `--help` prints for it."""
    return field(default=default, metadata={"help": help})


def _need(ok: bool, name: str, value: Any, limit: str, fix: str) -> None:
    if not ok:
        raise UserError(f"{name} is {value!r}, but {limit}: {fix}")


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of one run. A "step" is an optimizer step; losses are nats per token.

    `minutes` is wall time from the first step, with everything in it (evaluation, sampling, saving) except
    the final evaluation: a person who says two minutes waits two minutes. Elapsed time is in each checkpoint.
    """

    steps: int | None = _key(None, "budget in optimizer steps")
    minutes: float | None = _key(None, "budget in minutes of wall time, all but the final evaluation")
    epochs: float | None = _key(None, "budget in passes over the training tokens")

    batch_size: int = _key(16, "sequences in one forward pass")
    grad_accum: int = _key(1, "forward passes in one step")

    optimizer: str = _key("adamw", "a key of pretraining.OPTIMIZERS")
    lr: float = _key(1e-3, "peak learning rate")
    min_lr: float = _key(0.0, "learning rate where the decay ends")
    schedule: str = _key("cosine", "a key of pretraining.SCHEDULES")
    warmup: float = _key(0.02, "below 1: share of the budget; otherwise steps")
    cooldown: float = _key(0.4, "schedule=wsd: share of the budget that decays")
    weight_decay: float = _key(0.1, "on matrices only")
    beta1: float = _key(0.9, "AdamW: memory of the gradient")
    beta2: float = _key(0.95, "AdamW: memory of its square")
    eps: float = _key(1e-8, "AdamW: floor of the divisor")
    muon_lr: float = _key(0.02, "optimizer=muon: peak for hidden matrices; the rest takes lr")
    muon_momentum: float = _key(0.95, "optimizer=muon: memory of the gradient")
    clip: float = _key(1.0, "largest global gradient norm; 0 measures without clipping")

    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16; weights, loss and norms stay fp32")
    device: str = _key("auto", "auto, cpu, cuda, cuda:1, mps")
    compile: bool = _key(False, "torch.compile the model")
    exact_fast_matmul: bool = _key(True, "fp32 products through oneDNN where a probe finds them exact")
    seed: int = _key(1337, "of initial weights, batches and dropout")

    log_every: int = _key(10, "steps between lines of metrics; 0: only at the end")
    eval_every: int = _key(200, "steps between evaluations; 0: only at the end")
    save_every: int = _key(200, "steps between checkpoints; 0: only at the end")
    sample_every: int = _key(0, "steps between samples; 0: only at the end")
    sample_seconds: float = _key(0.0, "seconds between samples; 0: not by the clock")
    eval_tokens: int | None = _key(32768, "validation tokens of an evaluation on the way; null: all")
    keep_last: int = _key(3, "newest checkpoints kept besides `best`")

    prompts: list[str] = field(
        default_factory=lambda: ["Once upon a time"], metadata={"help": "beginnings of the samples"}
    )
    sample_tokens: int = _key(80, "length of a sample")
    sample_temperature: float = _key(0.8, "of the samples")
    sample_top_k: int | None = _key(50, "of the samples")

    def __post_init__(self) -> None:
        for name in ("steps", "minutes", "epochs"):
            value = getattr(self, name)
            _need(
                value is None or value > 0,
                name,
                value,
                "a budget is positive",
                f"leave {name} out or raise it",
            )
        for name in ("batch_size", "grad_accum", "keep_last", "sample_tokens"):
            _need(
                getattr(self, name) >= 1, name, getattr(self, name), "the least is 1", f"set {name}=1 or more"
            )
        for name in (
            *("log_every", "eval_every", "save_every", "sample_every", "sample_seconds"),
            *("clip", "weight_decay", "warmup"),
        ):
            _need(
                getattr(self, name) >= 0, name, getattr(self, name), "it cannot be negative", f"set {name}=0"
            )
        _need(
            self.eval_tokens is None or self.eval_tokens >= 1,
            *("eval_tokens", self.eval_tokens, "the least is 1", "set eval_tokens=null for all"),
        )
        _need(self.lr > 0, "lr", self.lr, "a learning rate is positive", "try lr=1e-3")
        _need(
            0 <= self.min_lr <= self.lr,
            "min_lr",
            self.min_lr,
            f"it lies between 0 and lr={self.lr}",
            "set min_lr=0",
        )
        _need(0 <= self.cooldown <= 1, "cooldown", self.cooldown, "it is a share between 0 and 1", "set 0.4")
        known = "training knows auto, fp32 and bf16 (fp16 would need a loss scaler)"
        _need(self.dtype in ("auto", "fp32", "bf16"), "dtype", self.dtype, known, "set dtype=auto")
        _need(self.muon_lr > 0, "muon_lr", self.muon_lr, "a learning rate is positive", "try muon_lr=0.02")
        for name in ("beta1", "beta2", "muon_momentum"):
            _need(
                0 <= getattr(self, name) < 1,
                name,
                getattr(self, name),
                "it lies in [0, 1)",
                f"set {name}=0.9",
            )
        if self.steps is None and self.epochs is None and self.minutes is not None:
            unknown = "a budget of minutes does not know its steps"
            _need(self.warmup < 1, "warmup", self.warmup, unknown, "give it as a share, e.g. warmup=0.02")

    @property
    def has_budget(self) -> bool:
        """Whether steps, minutes or epochs was named; without one a run takes DEFAULT_STEPS steps."""
        return not (self.steps is None and self.minutes is None and self.epochs is None)


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """`TrainConfig` plus text, tokenizer and model: all that `python -m pretraining.train` takes."""

    data: str = _key("storyland", "a corpus (storyland, pydoc) or a path to .txt, .md, .jsonl or a folder")
    max_documents: int | None = _key(None, "take at most so many documents")
    val_fraction: float = _key(0.05, "share of the documents kept for validation")
    data_seed: int = _key(0, "of the corpus and of its split")
    tokenizer: str = _key("bpe", "bpe (trained here and now), byte, or the path of a saved tokenizer")
    vocab_size: int = _key(2048, "tokenizer=bpe: size of its vocabulary")
    preset: str = _key("storyteller", "the model's shape, a key of gpt_model.PRESETS")
    model: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "what to change in the preset: model.n_layer=8"}
    )
    copy_first: int = _key(0, "a warm-up in copying: the first so many batches repeat a few tokens")
    copy_every: int = _key(6, "after it, each so-many-th batch repeats")
    copy_until: int = _key(0, "up to this batch; 0 for no warm-up at all")
    runs: str | None = _key(None, "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs")

    def __post_init__(self) -> None:
        super().__post_init__()
        share = "it is a share between 0 and 1"
        _need(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, share, "set val_fraction=0.05")
        for name in ("copy_first", "copy_until"):
            _need(
                getattr(self, name) >= 0, name, getattr(self, name), "it cannot be negative", f"set {name}=0"
            )
        _need(self.copy_every >= 1, "copy_every", self.copy_every, "the least is 1", "set copy_every=6")
        always = "the 256 bytes are always in it"
        _need(self.vocab_size >= 256, "vocab_size", self.vocab_size, always, "set vocab_size=2048")
