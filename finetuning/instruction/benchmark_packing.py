"""`python -m finetuning.instruction.benchmark_packing`: how many real tokens a second each way of batching learns from.

    python -m finetuning.instruction.benchmark_packing
    python -m finetuning.instruction.benchmark_packing data=my_chats.jsonl template=chatml

A batch of conversations of different lengths is a table with holes. Measured is a whole training step (forward,
backward, clip, update), and counted are real tokens, not places:

    padded      one conversation a row, in the shuffled order, as wide as the longest
    sorted      the same, with neighbours of like length (`bucket`)
    packed      rows full of conversations that do not see each other
    in_one      the same rows without the mask: what keeping them apart costs (not a way to train)

All ways take about the same real tokens in a step, so that a step of one teaches as much as a step of another; `rows`
is what that needs. Steps run in turn, way by way, several rounds; the speed-up is taken within a round. The first
`steps` batches of each way are measured, the same in every round. Writes results/packing.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from finetuning.instruction.data import Example

RESULT = Path(__file__).parent.parent / "results" / "packing.json"
GOAL = 2.0
WAYS: dict[str, dict[str, Any]] = {
    "padded": {},
    "sorted": {"bucket": 16},
    "packed": {"pack": True, "documents": True},
    "in_one": {"pack": True},
}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class PackingConfig:
    """What is measured. The defaults take about two minutes on two cores."""

    data: str = _key("storyland", "storyland, or a file of conversations")
    template: str = _key("scratchbook", "a name from finetuning.templates")
    requests: int = _key(2000, "data=storyland: requests to learn from")
    stories: int = _key(200, "data=storyland: whole stories among them, as in the demo")
    preset: str = _key("storyteller", "the model's shape")
    model: dict[str, Any] = field(default_factory=dict, metadata={"help": "changes, model.n_layer=2"})
    vocab_size: int = _key(2048, "of the tokenizer")
    batch_size: int = _key(8, "packed rows in a step; the other ways take as many as hold those tokens")
    optimizer: str = _key("muon", "a key of pretraining.OPTIMIZERS")
    steps: int = _key(4, "in a round, for each way")
    rounds: int = _key(5, "of the timing")
    dtype: str = _key("auto", "of the forward pass: auto, fp32, bf16")
    device: str = _key("auto", "auto, cpu, cuda")
    seed: int = _key(1, "of requests, batches and weights")
    out: Path = field(default=RESULT, metadata={"help": "results file"})

    def __post_init__(self) -> None:
        for name in ("requests", "batch_size", "steps", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: the least is 1")


def make_data(config: PackingConfig) -> tuple[list[Example], Any, dict[str, Any]]:
    """(examples, tokenizer, their lengths), none longer than the model's context."""
    from finetuning.instruction.data import describe, make_examples, storyland_conversations
    from gpt_model.config import preset
    from pretraining.pretrain_config import SPECIAL_TOKENS
    from working_with_text_data import story_corpus, train_bpe

    stories = story_corpus(n_stories=max(200, config.stories), seed=config.seed)
    if config.data == "storyland":
        talks = list(
            storyland_conversations(config.requests, seed=config.seed, stories=stories[: config.stories])
        )
    else:
        from finetuning.instruction.conversations import read_conversations

        talks = [list(d.messages) for d in read_conversations(config.data, on_bad_line="skip")[0]]
    words = [m["content"] for talk in talks for m in talk]
    tokenizer = train_bpe([*words, *stories[:200]], config.vocab_size, special_tokens=SPECIAL_TOKENS)
    block = preset(config.preset, vocab_size=tokenizer.vocab_size, **config.model).block_size
    examples, report = make_examples(talks, tokenizer, block, template=config.template)
    return examples, tokenizer, {**describe(examples), **report.to_dict(), "block_size": block}


def batches_of(
    way: str, examples: Sequence[Example], config: PackingConfig, block: int
) -> tuple[list[Any], dict[str, Any]]:
    """The first `steps` batches of a way, and what they hold. Rows are chosen so that all ways hold about as much."""
    from working_with_text_data.example_batches import ExampleBatches

    kind, rows = WAYS[way], config.batch_size
    if not kind.get("pack"):
        packed = ExampleBatches(examples, config.batch_size, block, seed=config.seed, pack=True)
        rows = max(1, round(len(packed.rows) / packed.rows_per_epoch * config.batch_size))
    loader = ExampleBatches(examples, rows, block, seed=config.seed, **kind)
    found = [next(loader) for _ in range(config.steps)]
    places = sum(batch[0].numel() for batch in found)
    tokens = _real_tokens(way, examples, rows, block, config)
    return found, {"rows": rows, "places": places, "tokens": tokens, "full": tokens / places}


def _real_tokens(way: str, examples: Sequence[Example], rows: int, block: int, config: PackingConfig) -> int:
    """Real tokens in those batches: the same batches again with an id for padding that no text has."""
    from working_with_text_data.example_batches import ExampleBatches

    loader = ExampleBatches(examples, rows, block, seed=config.seed, pad_id=-1, **WAYS[way])
    return int(sum((next(loader)[0] >= 0).sum() for _ in range(config.steps)))


def step_of(config: PackingConfig, vocab_size: int) -> Callable[[Sequence[Any]], None]:
    """A function that trains a fresh model on some batches, a step each, exactly as the Trainer does."""
    from dataclasses import replace

    from gpt_model.config import preset
    from gpt_model.gpt import GPT
    from pretraining.config import TrainConfig
    from pretraining.fast_loss import fast_loss
    from pretraining.gradients import accumulate, clip_gradients
    from pretraining.optimizers import build_optimizer
    from pretraining.precision import training_dtype
    from utils.device import pick_device
    from utils.seeding import set_seed

    set_seed(config.seed)
    device = pick_device(config.device)
    model = GPT(preset(config.preset, vocab_size=vocab_size, **config.model)).to(device).train()
    recipe = replace(TrainConfig(steps=1), optimizer=config.optimizer)
    optimizer, dtype = build_optimizer(model, recipe), training_dtype(config.dtype, device)

    def train(batches: Sequence[Any]) -> None:
        with fast_loss(model, device.type == "cpu"):
            for batch in batches:
                accumulate(model, [batch], device=device, dtype=dtype)
                clip_gradients(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    return train


def measure(config: PackingConfig, say: Callable[[str], None] = print) -> dict[str, Any]:
    """The figures of every way, and the speed of packing over padding with its range over the rounds."""
    from utils.timing import compare

    examples, tokenizer, lengths = make_data(config)
    mean, longest = lengths["mean"], lengths["longest"]
    say(f"{lengths['examples']:,} conversations of {mean:.0f} tokens on average, the longest {longest}")
    sets = {way: batches_of(way, examples, config, lengths["block_size"]) for way in WAYS}
    train = {way: step_of(config, tokenizer.vocab_size) for way in WAYS}
    timed = compare(
        {way: lambda way=way: train[way](sets[way][0]) for way in WAYS},  # type: ignore[misc]
        rounds=config.rounds,
    )
    rows = {}
    for way, (_, facts) in sets.items():
        seconds = timed["candidates"][way]["seconds"]
        rows[way] = {
            **facts,
            "tokens_per_second": facts["tokens"] / timed["candidates"][way]["median_s"],
            "speeds": [facts["tokens"] / s for s in seconds],
        }
    for row in rows.values():
        ratios = sorted(a / b for a, b in zip(row["speeds"], rows["padded"]["speeds"], strict=True))
        row["over_padded"] = {
            "median": ratios[len(ratios) // 2],
            "min": ratios[0],
            "max": ratios[-1],
        }
    reached = rows["packed"]["over_padded"]["median"]
    return {"lengths": lengths, "ways": rows, "goal": GOAL, "reached": reached, "ok": reached >= GOAL}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the results file, print a table."""
    config, _ = parse_args(
        argv,
        PackingConfig,
        prog="python -m finetuning.instruction.benchmark_packing",
        description="Real tokens a second of a training step: padded, sorted by length, packed.",
    )
    from utils.timing import write_result

    figures = measure(config)
    print(f"{'way':<9} {'rows':>5} {'full':>6} {'tokens/s':>9}  over padded")
    for way, row in figures["ways"].items():
        over = row["over_padded"]
        print(
            f"{way:<9} {row['rows']:>5} {row['full']:>6.0%} {row['tokens_per_second']:>9,.0f}  "
            f"{over['median']:.2f} ({over['min']:.2f} to {over['max']:.2f})"
        )
    print(f"goal: packed at least {GOAL:g} × padded; reached: {figures['reached']:.2f}")
    command = " ".join(["python -m finetuning.instruction.benchmark_packing", *command_words(config)])
    path = write_result(config.out, name="packing", figures=figures, command=command, seed=config.seed)
    print(f"wrote {path}")
    return 0


def measured(path: Path = RESULT) -> dict[str, Any] | None:
    """The figures of the results file, or None where nothing has been measured."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return found


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
