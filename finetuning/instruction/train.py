"""`python -m finetuning.instruction.train ckpt=RUN`: teach a pretrained model to answer, and ask it before and after.

    python -m finetuning.instruction.train ckpt=last minutes=2
    python -m finetuning.instruction.train ckpt=last data=my_chats.jsonl template=chatml epochs=3
    python -m finetuning.instruction.train ckpt=last tune=lora lora.r=8 qlora=true
    python -m finetuning.instruction.train --resume last

Without `data` requests are generated from Storyland, a twentieth of them held out by the hash of its text, and exact
verifiers judge the answers to those. A file of one's own (`conversations`) is split by its requests; its held-out
answers are judged by their form and by equality. The result is a run of its own, stage `sft`, whose checkpoint any
command takes, also where only an adapter was trained. Ctrl-C saves; `--resume` goes on to the bit.
Left out: several processes. Notebook: finetuning/02.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetuning.instruction.train_config import STORYLAND, InstructionConfig
from utils.cli import run_main
from utils.config import load_config, parse_args, to_dict
from utils.errors import UserError
from utils.runs import Run

if TYPE_CHECKING:
    from finetuning.instruction.conversations import Dialogue, ReadReport
    from finetuning.instruction.data import Example
    from finetuning.instruction.questions import Question

STAGE = "sft"
JUDGED = 170  # held-out requests of Storyland, ten of each kind, whose loss is watched


def tune_on_requests(
    config: InstructionConfig, *, resume: str | None = None, callbacks: Sequence[Any] = ()
) -> Run:
    """Tune, ask, record; the run, complete or stopped. Raises UserError for a model or data that cannot be used so.

    `resume` names the run to go on with; `config` is then that run's, with changes.
    """
    from finetuning.instruction.asking import Asking
    from finetuning.instruction.data import fingerprint
    from finetuning.instruction.questions import ask
    from finetuning.instruction.tune import tune
    from pretraining.checkpoints import load_checkpoint
    from utils.seeding import set_seed

    run, checkpoint = None, None
    if resume is not None:
        from pretraining.starting_points import find_start

        run, which = find_start(resume, stage=STAGE, root=config.runs)
        checkpoint = load_checkpoint(run, which)
    set_seed(config.seed)
    loaded, trainable = open_model(config, checkpoint)
    train, judged, questions, facts = load_examples(config, loaded)
    lessons = make_lessons(config, loaded)
    facts["lesson_examples"] = [len(own) for own, _ in lessons]
    if config.replay:
        train, facts["replay_pages"] = add_replay(config, loaded, train)
    data = fingerprint([*train, *judged, *(example for own, _ in lessons for example in own)])
    if run is None:
        before = ask(loaded.model, loaded.tokenizer, questions, config.template)
        inputs = {"model": loaded.path / "model.safetensors", "examples": data, "conversations": facts}
        run = Run.create(STAGE, to_dict(config), root=config.runs, inputs=inputs)
        run.note(before=before, trainable={"numbers": trainable[0], "of": trainable[1]})
    else:
        if run.meta["inputs"].get("examples") != data:
            raise UserError(
                f"run {run.id} began with other examples: resume with the same data and settings, or start anew"
            )
        run.resume()
        run.meta["config"] = to_dict(config)
    with run:
        asking = Asking(loaded.tokenizer, questions[: config.asked_on_the_way], config.template)
        set_seed(config.seed)
        result = tune(
            loaded.model,
            loaded.tokenizer,
            train,
            judged,
            config,
            run,
            lessons=lessons,
            callbacks=[asking, *callbacks],
            packing=config.packing,
            checkpoint=checkpoint,
        )
        after = ask(loaded.model.eval(), loaded.tokenizer, questions, config.template)
        run.meta["result"] = {
            "step": result.step,
            "seconds": result.seconds,
            "answer_loss": None if result.val is None else result.val.loss,
            **{f"{name}_before": share for name, share in run.meta["before"].items()},
            **{f"{name}_after": share for name, share in after.items()},
        }
        if result.checkpoint is not None:
            run.add_output("checkpoint", result.checkpoint)
        run.finish(result.status, result.reason)
    return run


def open_model(config: InstructionConfig, checkpoint: Any = None) -> tuple[Any, tuple[int, int]]:
    """The model that is to learn, with what learns of it marked; (trainable, all) numbers.

    With a `checkpoint` it is the model of that moment: its own weights, or the adapter's base.
    """
    from finetuning.trainable import freeze_for
    from gpt_model.loading import LoadedModel, load_model
    from utils.device import pick_device

    device = pick_device(config.device)
    if checkpoint is not None and config.tune == "lora":
        from finetuning.adapters import open_adapted

        found = open_adapted(checkpoint.path, device=device)
        loaded = LoadedModel(found.model, found.tokenizer, checkpoint.path, found.model.config)
    else:
        loaded = load_model(config.ckpt if checkpoint is None else checkpoint.path, device=device)
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer.json of ours: it cannot be asked anything")
    if checkpoint is None and config.tune == "lora":
        from finetuning.adapters import remember_base
        from finetuning.lora import apply_lora

        if config.qlora:
            from finetuning.qlora import quantize_base

            quantize_base(loaded.model, engine=config.qlora_engine)
        apply_lora(loaded.model, config.lora, seed=config.seed)
        remember_base(loaded.model, loaded.path)
    return loaded, freeze_for(loaded.model, config.tune)


def load_examples(
    config: InstructionConfig, loaded: Any
) -> tuple[list[Example], list[Example], list[Question], dict[str, Any]]:
    """(training examples, judging examples, questions to ask, what was read and left out)."""
    from finetuning.instruction.data import (
        conversation,
        held_out_requests,
        make_examples,
        storyland_conversations,
    )
    from finetuning.instruction.questions import from_dialogue, from_request

    block, tokenizer = loaded.model.config.block_size, loaded.tokenizer
    settings: dict[str, Any] = {
        "template": config.template,
        "loss_on": config.loss_on,
        "too_long": config.too_long,
    }
    if config.data == STORYLAND:
        talks = storyland_conversations(config.requests, seed=config.data_seed)
        examples, report = make_examples(talks, tokenizer, block, **settings)
        asked = held_out_requests(max(config.held_out, JUDGED), seed=config.data_seed)
        judging_talks = [conversation(r.prompt, r.answer) for r in asked[:JUDGED]]
        judged, _ = make_examples(judging_talks, tokenizer, block, **settings)
        facts: dict[str, Any] = {"source": STORYLAND, "examples": report.to_dict()}
        return examples, judged, [from_request(r) for r in asked[: config.held_out]], facts
    train, held_out, read, overlapping = share_out_file(config)
    examples, report = make_examples((d.messages for d in train), tokenizer, block, **settings)
    judging, judging_report = make_examples((d.messages for d in held_out), tokenizer, block, **settings)
    for name, found, counted in (("training", examples, report), ("held-out", judging, judging_report)):
        if not found:
            raise UserError(
                f"{config.data}: no {name} example is left of {counted.dropped}: their questions fill the "
                f"model's context of {block} tokens; use a model with a larger block_size"
            )
    facts = {
        **read.to_dict(),
        "overlap": overlapping,
        "examples": report.to_dict(),
        "held_out": judging_report.to_dict(),
    }
    return examples, judging, [from_dialogue(d) for d in held_out[: config.held_out]], facts


def share_out_file(config: InstructionConfig) -> tuple[list[Dialogue], list[Dialogue], ReadReport, int]:
    """The conversations of `config.data`: those that teach, those that judge, what was read, how many were in both."""
    from finetuning.instruction.conversations import read_conversations, split_dialogues, without_overlap

    options: dict[str, Any] = {"form": config.form, "on_bad_line": config.on_bad_line}
    dialogues, read = read_conversations(config.data, max_records=config.max_records, **options)
    if config.held_out_file is None:
        train, held_out = split_dialogues(dialogues, val_fraction=config.val_fraction, seed=config.data_seed)
    else:
        train, held_out = dialogues, read_conversations(config.held_out_file, **options)[0]
    train, overlapping = without_overlap(train, held_out, config.on_overlap)  # type: ignore[arg-type]
    return train, held_out, read, overlapping


def make_lessons(config: InstructionConfig, loaded: Any) -> list[tuple[list[Example], int]]:
    """What `config.lessons` asks for: (examples, steps) each, with enough examples that none comes twice."""
    from finetuning.instruction.lessons import lesson_examples, lesson_seed, parse_lesson

    block = loaded.model.config.block_size
    a_step = config.batch_size * config.grad_accum * block
    settings: dict[str, Any] = {"block_size": block, "template": config.template, "loss_on": config.loss_on}
    made = []
    for number, text in enumerate(config.lessons):
        lesson = parse_lesson(text)
        seed = lesson_seed(config.data_seed, number)
        own = lesson_examples(lesson, loaded.tokenizer, lesson.steps * a_step, seed=seed, **settings)
        made.append((own, lesson.steps))
    return made


def add_replay(config: InstructionConfig, loaded: Any, train: Sequence[Example]) -> tuple[list[Example], int]:
    """The training examples with their pages of the base's text, and how many pages. Lessons get none: see `replay`."""
    from finetuning.instruction.replay import pages_for, replay_pages

    page = loaded.model.config.block_size
    pages = replay_pages(loaded.path, loaded.tokenizer, pages_for(train, config.replay, page), page)
    return [*train, *pages], len(pages)


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", metavar="RUN", help="go on with a run: last, best, an id or a path, ID@500"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the result")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, tune, say what came out. Returns 0, or 130 when it was stopped."""
    config, options = parse_args(
        argv,
        InstructionConfig,
        prog="python -m finetuning.instruction.train",
        description="Teach a pretrained model to answer, and ask it before and after.",
        configure=_own_flags,
    )
    if options.resume is not None:
        from pretraining.starting_points import find_start
        from pretraining.train import as_overrides

        if options.config is not None:
            raise UserError(
                "--resume takes the run's own config: leave --config out, change keys with key=value"
            )
        saved = find_start(options.resume, stage=STAGE, root=config.runs)[0].meta["config"]
        config = load_config(InstructionConfig, None, [*as_overrides(saved), *options.overrides])
    from pretraining.progress import ProgressBar

    bar = None if options.quiet else ProgressBar()
    try:
        run = tune_on_requests(config, resume=options.resume, callbacks=[bar] if bar else [])
    finally:
        if bar is not None:
            bar.close()
    _say(run)
    if run.status == "stopped":
        print(
            f"stopped: go on with python -m finetuning.instruction.train --resume {run.path}", file=sys.stderr
        )
        return 130
    print(f"next: scratchbook chat --ckpt {run.path}")
    return 0


def _say(run: Run) -> None:
    from finetuning.evaluation.intervals import Share
    from finetuning.instruction.lessons import parse_lesson

    facts, trains, result = run.meta["inputs"]["conversations"], run.meta["trainable"], run.meta["result"]
    counted = facts["examples"]
    left_out: dict[str, int] = {
        "cut": counted["cut"],
        "dropped": counted["dropped"],
        "bad": facts.get("bad", 0),
        "duplicates": facts.get("duplicates", 0),
        "also held out": facts.get("overlap", 0),
    }
    said = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
    print(f"{counted['whole'] + counted['cut']:,} conversations{f' ({said})' if said else ''}")
    if pages := facts.get("replay_pages"):
        print(f"{pages:,} pages of the pretraining text among them")
    print(f"{trains['numbers']:,} of {trains['of']:,} numbers learned")
    lessons = sum(parse_lesson(text).steps for text in run.meta["config"]["lessons"])
    if lessons and result["step"] <= lessons:
        print(f"warning: all {result['step']:,} steps were lessons, which take {lessons:,}", file=sys.stderr)
    for name in run.meta["before"]:
        for when in ("before", "after"):
            share = result[f"{name}_{when}"]
            print(f"{name} answers {when}: {Share(share['hits'], share['total'])}")
    print(f"run: {run.path}")


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
