"""What a training run is told: every number of the recipe, typed, validated, saved with the run.

`TrainConfig` is all the `Trainer` needs (pretraining and finetuning share it); `pretrain_config.PretrainConfig`
adds where the text, the tokenizer and the model come from. Both are flat, so a YAML file and `key=value` read
the same.
The length of a run is a *budget*: steps, epochs, or minutes of wall time; given several, the first to be
used up ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    from pretraining.pretrain_config import PretrainConfig as PretrainConfig

WHOLE_MATRICES = ("muon", "galore", "galore_torch", "adamw_8bit")  # optimizers that a shard is not enough for
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

    objective: str = _key(
        "next_token", "what is trained: a key of pretraining.OBJECTIVES, or module:function"
    )
    optimizer: str = _key("adamw", "a key of pretraining.OPTIMIZERS, or module:function")
    lr: float = _key(1e-3, "peak learning rate")
    min_lr: float = _key(0.0, "learning rate where the decay ends")
    schedule: str = _key("cosine", "a key of pretraining.SCHEDULES, or module:function")
    warmup: float = _key(0.02, "below 1: share of the budget; otherwise steps")
    cooldown: float = _key(0.4, "schedule=wsd: share of the budget that decays")
    weight_decay: float = _key(0.1, "on matrices only")
    beta1: float = _key(0.9, "AdamW: memory of the gradient")
    beta2: float = _key(0.95, "AdamW: memory of its square")
    eps: float = _key(1e-8, "AdamW: floor of the divisor")
    muon_lr: float = _key(0.02, "optimizer=muon: peak for hidden matrices; the rest takes lr")
    muon_momentum: float = _key(0.95, "optimizer=muon: memory of the gradient")
    momentum: float = _key(0.9, "optimizer=sgd: memory of the gradient")
    galore_rank: int = _key(128, "optimizer=galore: directions kept of each hidden matrix")
    galore_gap: int = _key(200, "optimizer=galore: steps between new projectors")
    galore_scale: float = _key(0.25, "optimizer=galore: share of lr that hidden matrices take")
    galore_proj: str = _key("std", "optimizer=galore: std, reverse_std, left, right or full")
    clip: float = _key(1.0, "largest global gradient norm; 0 measures without clipping")

    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16, fp16; weights, loss, norms stay fp32")
    device: str = _key("auto", "auto, cpu, cuda, cuda:1, mps")
    strategy: str = _key("ddp", "what several processes do: ddp or fsdp; nothing where there is one")
    compile: bool = _key(False, "torch.compile the model")
    activation_checkpointing: bool = _key(False, "compute blocks again in backward: less memory, more time")
    deterministic: bool = _key(False, "refuse kernels whose sums may come in another order")
    peak_tflops: float | None = _key(
        None, "the machine's measured peak, for MFU where no data sheet is known"
    )
    exact_fast_matmul: bool = _key(True, "fp32 products through oneDNN where a probe finds them exact")
    fast_loss: bool = _key(
        True, "on a CPU, uncompiled: the loss without keeping the logits (pretraining.fast_loss)"
    )
    seed: int = _key(1337, "of initial weights, batches and dropout")

    log_every: int = _key(10, "steps between lines of metrics; 0: only at the end")
    log_update_ratio: bool = _key(True, "log how far a step moves the weights")
    eval_every: int = _key(200, "steps between evaluations; 0: only at the end")
    save_every: int = _key(200, "steps between checkpoints; 0: only at the end")
    sample_every: int = _key(0, "steps between samples; 0: only at the end")
    sample_seconds: float = _key(0.0, "seconds between samples; 0: not by the clock")
    save_minutes: float = _key(0.0, "minutes between checkpoints; 0: not by the clock")
    eval_epochs: float = _key(0.0, "epochs between evaluations; 0: not by epochs")
    save_epochs: float = _key(0.0, "epochs between checkpoints; 0: not by epochs")
    sample_epochs: float = _key(0.0, "epochs between samples; 0: not by epochs")
    eval_tokens: int | None = _key(32768, "validation tokens of an evaluation on the way; null: all")
    keep_last: int = _key(3, "newest checkpoints kept")
    keep_best: int = _key(1, "checkpoints of the lowest validation loss kept besides")
    save_async: bool = _key(
        True, "write checkpoints in a thread; costs a copy of model and optimizer in memory"
    )
    sharded_checkpoints: bool = _key(False, "strategy=fsdp: each process writes its own part")
    on_save_error: str = _key("stop", "a full disk: stop, or continue and try again at the next save")

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
        for name in ("batch_size", "grad_accum", "keep_last", "keep_best", "sample_tokens"):
            _need(
                getattr(self, name) >= 1, name, getattr(self, name), "the least is 1", f"set {name}=1 or more"
            )
        for name in (
            *("log_every", "eval_every", "save_every", "sample_every", "sample_seconds", "save_minutes"),
            *("eval_epochs", "save_epochs", "sample_epochs"),
            *("clip", "weight_decay", "warmup"),
        ):
            _need(
                getattr(self, name) >= 0, name, getattr(self, name), "it cannot be negative", f"set {name}=0"
            )
        _need(
            self.eval_tokens is None or self.eval_tokens >= 1,
            *("eval_tokens", self.eval_tokens, "the least is 1", "set eval_tokens=null for all"),
        )
        ways = "a failed save can stop the run or let it continue"
        _need(
            self.on_save_error in ("stop", "continue"),
            *("on_save_error", self.on_save_error, ways, "set on_save_error=continue"),
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
        known = "training knows auto, fp32, bf16 and fp16"
        _need(self.dtype in ("auto", "fp32", "bf16", "fp16"), "dtype", self.dtype, known, "set dtype=auto")
        strategies = "there are none, ddp and fsdp"
        _need(
            self.strategy in ("none", "ddp", "fsdp"),
            "strategy",
            self.strategy,
            strategies,
            "set strategy=ddp",
        )
        matrices = "it needs whole matrices, and fsdp gives each process some rows"
        _need(
            not (self.strategy == "fsdp" and self.optimizer in WHOLE_MATRICES),
            *("optimizer", self.optimizer, matrices, "set strategy=ddp, or optimizer=adamw"),
        )
        _need(
            not self.sharded_checkpoints or self.strategy == "fsdp",
            *(
                "sharded_checkpoints",
                True,
                "only strategy=fsdp has shards",
                "set strategy=fsdp, or leave it out",
            ),
        )
        _need(self.muon_lr > 0, "muon_lr", self.muon_lr, "a learning rate is positive", "try muon_lr=0.02")
        for name in ("galore_rank", "galore_gap"):
            _need(
                getattr(self, name) >= 1, name, getattr(self, name), "the least is 1", f"set {name}=1 or more"
            )
        _need(
            self.galore_scale > 0,
            *("galore_scale", self.galore_scale, "a step has a size", "try galore_scale=0.25"),
        )
        for name in ("beta1", "beta2", "muon_momentum", "momentum"):
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


def __getattr__(name: str) -> Any:
    """`PretrainConfig` is reached from here too; it is written in a file of its own, which imports this one."""
    if name == "PretrainConfig":
        from pretraining.pretrain_config import PretrainConfig

        return PretrainConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
