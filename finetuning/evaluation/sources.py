"""Where the texts of a comparison come from: the questions, what was trained on, what pretraining was judged on.

A run says in its run.json what it learned from; this reads it back, so that nobody has to say it twice, and says so
where a model does not (a checkpoint from elsewhere): then that part of a comparison is "not measured", never guessed.
Left out: judging (`instructions`), comparing (`compare`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from utils.errors import UserError
from working_with_text_data.storyland.tasks import Instruction

FILE_KIND = "file"
MOST_ANCESTORS = 8


def load_questions(source: str, count: int, *, seed: int) -> list[Instruction]:
    """`count` held-out requests: Storyland's, or the first answers' questions of a file of conversations.

    A file is read by `instruction.conversations`; each record is one question with one right answer, and what it calls
    its category is its kind. Raises UserError for a bad record, naming its line.
    """
    if source == "storyland":
        from finetuning.instruction.data import held_out_requests

        return held_out_requests(count, seed=seed)
    from finetuning.instruction.conversations import read_conversations

    dialogues, _ = read_conversations(source)
    questions = []
    for dialogue in dialogues[:count]:
        if len(dialogue.messages) != 2:
            raise UserError(
                f"{dialogue.where}: {len(dialogue.messages)} messages, but a question here is one request and one "
                "answer: leave system lines and earlier turns out"
            )
        kind = dialogue.kind or FILE_KIND
        questions.append(
            Instruction(f"file:{kind}" if kind != FILE_KIND else kind, _words(dialogue), dialogue.answer)
        )
    return questions


def _words(dialogue: Any) -> str:
    """The request as one text; a field of its own for what it is about stands below it."""
    message = dialogue.messages[0]
    about = message.get("input", "")
    return f"{message['content']}\n{about}" if about else message["content"]


def lineage(checkpoint: Path) -> list[tuple[Path, dict[str, Any]]]:
    """(run folder, run.json) of the run that a checkpoint lies in, and of those it came from, the newest first.

    A tuned run keeps the path of the weights that it began with; the way ends where one is missing.
    """
    from utils.runs import Run

    found: list[tuple[Path, dict[str, Any]]] = []
    place: Path | None = checkpoint
    while place is not None and len(found) < MOST_ANCESTORS:
        folder = next((p for p in (place, *place.parents[:2]) if (p / "run.json").is_file()), None)
        if folder is None:
            break
        meta = Run.open(folder).meta
        found.append((folder, meta))
        model = (meta.get("inputs") or {}).get("model")
        place = Path(model["path"]).parent if isinstance(model, dict) and "path" in model else None
    return found


def tuning_prompts(checkpoint: Path) -> Iterator[str]:
    """What the model was asked in instruction and preference tuning, again from the records of its runs.

    Raises UserError for a checkpoint whose runs do not say it.
    """
    known = [_asked_in(folder, meta) for folder, meta in lineage(checkpoint)]
    told = [prompts for prompts in known if prompts is not None]
    if not told:
        raise UserError(f"{checkpoint} does not say which requests it was tuned on")
    return chain.from_iterable(told)


def _asked_in(folder: Path, meta: Mapping[str, Any]) -> Iterator[str] | None:
    """The requests of one run; None for a run that has none (pretraining)."""
    config = meta.get("config") or {}
    pairs = folder / "pairs.jsonl"
    if pairs.is_file():  # preferences keep what they were taught
        from utils.files import read_jsonl

        rows = (row for row in read_jsonl(pairs) if row["split"] == "train")
        return (m["content"] for row in rows for m in row["prompt"] if m["role"] == "user")
    if "tune_requests" in config:  # a demo
        return _storyland_prompts(config["tune_requests"], config["seed"])
    if "requests" not in config:
        return None
    if config.get("data", "storyland") != "storyland":
        return (m["content"] for d in _trained_dialogues(config) for m in d.messages if m["role"] == "user")
    counts = ((meta.get("inputs") or {}).get("conversations") or {}).get("lesson_examples", ())
    asked = _storyland_prompts(config["requests"], config.get("data_seed", 0))
    return chain(asked, _lesson_prompts(config, counts))


def _trained_dialogues(config: Mapping[str, Any]) -> Sequence[Any]:
    """The conversations of a file without those that judged, shared out as when they were taught."""
    from finetuning.instruction.train import share_out_file
    from finetuning.instruction.train_config import InstructionConfig
    from pretraining.train import as_overrides
    from utils.config import load_config

    known = {key: value for key, value in config.items() if key in InstructionConfig.__dataclass_fields__}
    return share_out_file(load_config(InstructionConfig, None, as_overrides(known)))[0]


def _lesson_prompts(config: Mapping[str, Any], counts: Sequence[int]) -> Iterator[str]:
    """The requests of a run's lessons, of which each had so many examples; those of `recall` are no requests."""
    from finetuning.instruction.data import storyland_conversations
    from finetuning.instruction.lessons import RECALL, lesson_seed, parse_lesson

    for number, (text, count) in enumerate(zip(config.get("lessons", ()), counts, strict=False)):
        kinds = parse_lesson(text).kinds
        if kinds != (RECALL,):
            seed = lesson_seed(config.get("data_seed", 0), number)
            yield from (talk[0]["content"] for talk in storyland_conversations(count, seed=seed, kinds=kinds))


def _storyland_prompts(count: int, seed: int) -> Iterator[str]:
    from working_with_text_data.storyland.tasks import held_out, instructions

    return islice((r.prompt for r in instructions(seed) if not held_out(r.prompt)), count)


def pretraining_split(checkpoint: Path) -> tuple[str, Any]:
    """The name and the split of the text that a model was pretrained on, made again from its first run's config.

    Raises UserError for a checkpoint whose runs do not say it, and for shards and streams, which keep no documents.
    """
    from pretraining.evaluate import _own_recipe
    from pretraining.recipe import load_split
    from pretraining.shard_data import is_shard_folder

    runs = lineage(checkpoint)
    if runs and runs[-1][1].get("stage") not in (None, "pretrain"):
        raise UserError(
            f"{runs[-1][0]} is no pretraining, and does not say where its weights came from: set text=FILE"
        )
    recipe = _own_recipe(runs[-1][0] if runs else checkpoint)
    if recipe.streaming or is_shard_folder(recipe.data):
        raise UserError(
            f"{checkpoint} was pretrained on tokens without documents: name a text with text=FILE"
        )
    return recipe.data, load_split(recipe)
