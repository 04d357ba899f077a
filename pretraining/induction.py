"""`python -m pretraining.induction`: a model so small that one can watch it learn to copy, and see with which heads.

    python -m pretraining.induction
    python -m pretraining.induction n_layer=1 seed=3

The idea: tokens drawn by dice, said over and over. A token that is new cannot be guessed; one that is said again can,
by whoever finds its last copy and reads on from there. The period differs from row to row, so that no fixed distance
helps. Two layers of attention solve this with a head that looks at the token before and one that looks for what it
has seen (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, arXiv
2209.11895), and they learn it within a few dozen steps: the loss of repeated tokens and the prefix-matching score
of the best head are measured on the way. Each row opens with one and the same token, where a head can rest.

Left out on purpose: text, checkpoints and resuming, which `train` has. Notebook: attention_mechanisms, 03.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gpt_model.gpt import GPT

PROBES = (
    11,
    23,
)  # repeats of the texts that heads are judged on: two, as one distance could be learnt by heart
VALIDATION_ROWS, VALIDATION_SEED = 64, 1_000_003


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class InductionConfig:
    """The task, the model and the training; the defaults take about 15 seconds on one core."""

    kinds: int = _key(64, "kinds of tokens; a loss of ln(kinds) is guessing")
    length: int = _key(48, "tokens after the opening one that are guessed in a row")
    shortest: int = _key(8, "least tokens before a row repeats itself")
    longest: int = _key(24, "most tokens before a row repeats itself")
    n_layer: int = _key(2, "layers; with one there is no induction")
    n_head: int = _key(3, "heads of a layer")
    n_embd: int = _key(96, "width")
    mlp_hidden: int = _key(64, "inner width of the feed-forward layers, small: attention should do the work")
    steps: int = _key(300, "optimizer steps")
    batch_size: int = _key(32, "rows in a step, made anew each time")
    optimizer: str = _key("muon", "a key of pretraining.OPTIMIZERS")
    lr: float = _key(3e-3, "peak learning rate of AdamW's part")
    muon_lr: float = _key(0.04, "peak learning rate of Muon's part")
    measure_every: int = _key(10, "steps between measurements")
    seed: int = _key(0, "of weights and rows")
    out: str | None = _key(None, "write the measurements to this JSON file as well")

    def __post_init__(self) -> None:
        for name in ("kinds", "shortest", "steps", "batch_size", "measure_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but the least is 1: set {name}=1 or more")
        if not self.shortest <= self.longest < min(self.kinds, self.length):
            raise UserError(
                f"shortest={self.shortest} and longest={self.longest} must be in order, and longest below "
                f"kinds={self.kinds} and length={self.length}: a row repeats itself and holds no token twice before"
            )

    @property
    def opening(self) -> int:
        """The id that every row begins with, after the `kinds` others."""
        return self.kinds


@dataclass(frozen=True)
class Measured:
    """The model at one step: nats per token on new and on repeated tokens; the best head's scores, 0 to 1."""

    step: int
    new_loss: float
    repeated_loss: float
    previous: float
    induction: float


def repeating_rows(config: InductionConfig, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows (count, length + 1) of ids, and which of them (same shape, bool) could be known from what came before.

    The opening token, then a period of different random tokens, over and over. The first token said again is still
    a surprise: nobody knew where the period would end.
    """
    import torch

    periods = torch.randint(config.shortest, config.longest + 1, (count, 1), generator=generator)
    once = torch.rand(count, config.kinds, generator=generator).argsort(dim=1)
    places = torch.arange(config.length)[None]
    ids = torch.cat([torch.full((count, 1), config.opening), once.gather(1, places % periods)], dim=1)
    return ids, torch.arange(config.length + 1)[None] > periods + 1


def probe(config: InductionConfig, length: int, seed: int = 0) -> Tensor:
    """One text to judge heads on, ids (1, 2 · length + 1): the opening token and `length` random ones said twice."""
    import torch

    from attention_mechanisms.analysis import repeated_tokens

    return torch.cat([torch.tensor([[config.opening]]), repeated_tokens(config.kinds, length, seed=seed)], 1)


def head_scores(model: GPT, config: InductionConfig) -> tuple[Tensor, Tensor]:
    """(previous-token score, prefix-matching score) of every head, each (n_layer, n_head): mean over the probes."""
    import torch

    from attention_mechanisms.analysis import induction_score, previous_token_score
    from gpt_model.trace import attention_maps

    previous, induction = [], []
    for length in PROBES:
        ids = probe(config, length, seed=length)
        maps = attention_maps(model, ids)
        previous.append(previous_token_score(maps))
        induction.append(induction_score(maps, ids[0].tolist()))
    return torch.stack(previous).mean(0), torch.stack(induction).mean(0)


def validation_rows(config: InductionConfig) -> tuple[Tensor, Tensor]:
    """The rows that models are judged on, as `repeating_rows` gives them; the same for every seed of training."""
    import torch

    return repeating_rows(config, VALIDATION_ROWS, torch.Generator().manual_seed(VALIDATION_SEED))


def losses(model: GPT, rows: Tensor, known: Tensor) -> tuple[float, float]:
    """Nats per token on (new tokens, tokens that could be known); the mode of the model is left as it was."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            guesses = model(rows[:, :-1]).logits.log_softmax(-1)
    finally:
        model.train(was_training)
    nats, known = -guesses.gather(-1, rows[:, 1:, None])[..., 0], known[:, 1:]
    return float(nats[~known].mean()), float(nats[known].mean())


def measure(model: GPT, config: InductionConfig, step: int) -> Measured:
    """Losses on the validation rows and the scores of the best heads."""
    new, repeated = losses(model, *validation_rows(config))
    previous, induction = head_scores(model, config)
    return Measured(step, new, repeated, float(previous.max()), float(induction.max()))


def make_model(config: InductionConfig) -> GPT:
    """The untrained model, from `seed`: rotary positions, a head of its own, next to no feed-forward layer."""
    from gpt_model.config import GPTConfig
    from gpt_model.gpt import GPT
    from utils.seeding import preserved_rng, set_seed

    shape = GPTConfig(
        vocab_size=config.kinds + 1,
        block_size=max(config.length, 2 * max(PROBES) + 1),
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        mlp_hidden=config.mlp_hidden,
        position="rope",
        norm="rmsnorm",
        bias=False,
        tie_weights=False,
        embedding_std=0.2,
    )
    with preserved_rng():
        set_seed(config.seed)
        return GPT(shape)


def train_on_repeats(
    config: InductionConfig | None = None, report: Callable[[Measured], None] | None = None
) -> tuple[GPT, list[Measured]]:
    """Train a model on repeating rows; returns it, in evaluation mode, and what was measured on the way.

    Measured before the first step, every `measure_every` steps and at the end; `report` hears of each at once.
    """
    import torch

    from pretraining.config import TrainConfig
    from pretraining.optimizers import build_optimizer
    from pretraining.schedules import lr_multiplier

    config = config or InductionConfig()
    if max(PROBES) > config.kinds:
        raise UserError(f"kinds is {config.kinds}, but heads are judged on {max(PROBES)} different tokens")
    model = make_model(config)
    recipe = TrainConfig(
        steps=config.steps,
        optimizer=config.optimizer,
        lr=config.lr,
        muon_lr=config.muon_lr,
        weight_decay=0.01,
        beta2=0.98,
        warmup=0.05,
    )
    optimizer = build_optimizer(model, recipe)
    generator = torch.Generator().manual_seed(config.seed)
    history: list[Measured] = []
    for step in range(config.steps + 1):
        if step % config.measure_every == 0 or step == config.steps:
            history.append(measure(model, config, step))
            if report is not None:
                report(history[-1])
        if step == config.steps:
            break
        share = lr_multiplier("cosine", step / config.steps, warmup=recipe.warmup, step_size=1 / config.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
        rows, _ = repeating_rows(config, config.batch_size, generator)
        loss = model(rows[:, :-1], targets=rows[:, 1:]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    return model.eval(), history


def main(argv: list[str] | None = None) -> int:
    """Train, and print a line for each measurement and each head. Returns 0."""
    config, _ = parse_args(
        argv,
        InductionConfig,
        prog="python -m pretraining.induction",
        description="Watch a tiny model learn to copy, and see with which heads.",
    )
    print("  step  loss: new  repeated   best head: previous  induction")

    def show(found: Measured) -> None:
        print(
            f"{found.step:6} {found.new_loss:10.3f} {found.repeated_loss:9.3f} "
            f"{found.previous:21.3f} {found.induction:10.3f}",
            flush=True,
        )

    model, history = train_on_repeats(config, show)
    previous, induction = head_scores(model, config)
    for layer in range(config.n_layer):
        for head in range(config.n_head):
            before, copy = float(previous[layer, head]), float(induction[layer, head])
            print(
                f"head {layer}.{head}: {before:.3f} on the token before, {copy:.3f} on what followed a copy"
            )
    if config.out is not None:
        _write(config, history)
        print(config.out)
    print("what the heads do, drawn: attention_mechanisms/03_reading_attention.ipynb")
    return 0


def _write(config: InductionConfig, history: list[Measured]) -> None:
    import json
    from dataclasses import asdict

    from utils.files import atomic_write_text

    content = {"config": asdict(config), "measured": [asdict(found) for found in history]}
    atomic_write_text(Path(str(config.out)), json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
