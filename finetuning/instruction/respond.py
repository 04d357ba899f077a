"""`python -m finetuning.instruction.respond`: a file of prompts in, a file of answers out, each looked at.

    python -m finetuning.instruction.respond ckpt=last file=prompts.jsonl out=answers.jsonl
    python -m finetuning.instruction.respond ckpt=last file=storyland count=170 out=answers.jsonl

Prompts are lines of a `.txt`, or records of any form that `conversation_formats` reads, with or without an answer;
`file=storyland` asks held-out requests. One line is written for each prompt, in the order of the file: the answer,
whether it came to an end, its form, and whether it is right where that can be known (`questions`). At the end the
shares, with their intervals, by kind. The template is the one that the run was trained with, unless it is named.
Left out: several answers to one prompt; a judgement of what has no verifier, which is `judge`'s.
Notebook: finetuning/02.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError
from utils.files import atomic_write_text, read_lines

if TYPE_CHECKING:
    from finetuning.instruction.questions import Question, Reply, Verdict

STORYLAND = "storyland"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class RespondConfig:
    """Which model answers what, and how."""

    ckpt: str = _key("last", "the model: last, a run, a folder")
    file: str = _key(STORYLAND, "prompts: .txt, .jsonl, .json, .csv; storyland: held-out requests")
    out: Path = field(default=Path("answers.jsonl"), metadata={"help": "where the answers go"})
    template: str = _key("auto", "a name from finetuning.templates; auto: the run's own")
    system: str = _key("", "a system line before every prompt that has none")
    count: int | None = _key(None, "answer at most so many prompts")
    on_bad_line: str = _key("stop", "a bad record of the file: stop, or skip and count")
    max_new_tokens: int = _key(90, "length of an answer")
    batch_size: int = _key(64, "prompts answered together")
    temperature: float = _key(0.0, "0 takes the likeliest token")
    top_k: int | None = _key(None, "draw among so many")
    seed: int = _key(0, "of generated requests and of draws")
    device: str = _key("auto", "auto, cpu, cuda, cuda:1, mps")
    runs: str | None = _key(None, "where run folders are; null: $SCRATCHBOOK_RUNS, else ./runs")

    def __post_init__(self) -> None:
        for name in ("count", "max_new_tokens", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} is {value}: the least is 1")
        if self.on_bad_line not in ("stop", "skip"):
            raise UserError(f"on_bad_line is {self.on_bad_line!r}: choose stop or skip")
        if not self.out.suffix:
            raise UserError(f"out is {self.out}: give a file name such as answers.jsonl")


def read_questions(config: RespondConfig) -> tuple[list[Question], int]:
    """(the questions, bad records left out). Raises UserError naming file and line."""
    from finetuning.instruction.conversations import ReadReport, file_rows
    from finetuning.instruction.data import held_out_requests
    from finetuning.instruction.questions import from_request

    if config.file == STORYLAND:
        return [from_request(r) for r in held_out_requests(config.count or 170, seed=config.seed)], 0
    path = Path(config.file)
    report = ReadReport(config.file)
    rows: Any
    if path.suffix in (".txt", ".md"):
        rows = ((n, line) for n, line in enumerate(_lines(path), start=1) if line.strip())
    else:
        rows = file_rows(path, report, config.on_bad_line, 2**30)  # type: ignore[arg-type]
    questions: list[Question] = []
    for line, record in rows:
        if config.count is not None and len(questions) >= config.count:
            break
        try:
            questions.extend(_questions(record, f"{path}, line {line}", config.system))
        except ValueError as error:
            if config.on_bad_line == "stop":
                raise UserError(f"{path}: line {line}: {error} (on_bad_line=skip leaves it out)") from None
            report.bad += 1
    if not questions:
        raise UserError(f"{path}: no prompt in it ({report.bad} bad records): give a file with at least one")
    return questions[: config.count], report.bad


def _lines(path: Path) -> list[str]:
    try:
        return read_lines(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text: save it as UTF-8") from None


def _questions(record: Any, where: str, system: str) -> list[Question]:
    """The questions of one record: with the expected answer where it has one."""
    from finetuning.instruction.conversation_formats import guess_form, parse, parse_request
    from finetuning.instruction.questions import Question, from_dialogue

    try:
        found = [from_dialogue(d) for d in parse(record, guess_form(record), where)]
    except ValueError:
        kind = record.get("kind", "") if isinstance(record, dict) else ""
        found = [Question(tuple(parse_request(record)), None, kind if isinstance(kind, str) else "", where)]
    if not system:
        return found
    line: Any = {"role": "system", "content": system}
    return [
        q if q.messages[0]["role"] == "system" else Question((line, *q.messages), q.expected, q.kind, q.where)
        for q in found
    ]


def respond(config: RespondConfig) -> dict[str, Any]:
    """Answer every prompt, write the rows, return the summary. Raises UserError for what does not fit together."""
    from finetuning.instruction.questions import judge, reply_all
    from finetuning.templates import TEMPLATES, template_of
    from gpt_model import Sampling
    from gpt_model.loading import load_model
    from utils.device import pick_device

    if config.template not in ("auto", *TEMPLATES):
        raise UserError(f"template is {config.template!r}: choose auto, {', '.join(sorted(TEMPLATES))}")
    questions, bad = read_questions(config)
    root = None if config.runs is None else Path(config.runs)
    loaded = load_model(config.ckpt, device=pick_device(config.device), root=root)
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer.json of ours: it cannot be asked anything")
    template = template_of(loaded.path) if config.template == "auto" else config.template
    replies = reply_all(
        loaded.model,
        loaded.tokenizer,
        questions,
        template=template,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        sampling=Sampling(temperature=config.temperature, top_k=config.top_k, seed=config.seed),
    )
    verdicts = [judge(q, r) for q, r in zip(questions, replies, strict=True)]
    rows = [_row(*each) for each in zip(questions, replies, verdicts, strict=True)]
    atomic_write_text(config.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {
        "model": str(loaded.path),
        "template": template,
        "answers": len(rows),
        "bad": bad,
        **summary(questions, replies, verdicts),
    }


def _row(question: Question, reply: Reply, verdict: Verdict) -> dict[str, Any]:
    return {
        "where": question.where,
        "kind": question.kind,
        "messages": list(question.messages),
        "expected": question.expected,
        "answer": reply.text,
        "tokens": reply.tokens,
        "ended": reply.ended,
        "problem": reply.problem,
        "checks": verdict.checks,
        "correct": verdict.correct,
    }


def summary(
    questions: Sequence[Question], replies: Sequence[Reply], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Counts, not shares: right by kind (where known), each check of form, prompts that were too long."""
    known = [v.correct for v in verdicts if v.correct is not None]
    kinds: dict[str, list[bool]] = defaultdict(list)
    for question, verdict in zip(questions, verdicts, strict=True):
        if question.kind and verdict.correct is not None:
            kinds[question.kind].append(verdict.correct)
    names = verdicts[0].checks if verdicts else {}
    return {
        "too_long": sum(r.problem is not None for r in replies),
        "correct": [sum(known), len(known)],
        "kinds": {kind: [sum(hits), len(hits)] for kind, hits in sorted(kinds.items())},
        "checks": {name: [sum(v.checks[name] for v in verdicts), len(verdicts)] for name in names},
        "well_formed": [sum(v.well_formed for v in verdicts), len(verdicts)],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Answer, write, say what came out."""
    from finetuning.evaluation.intervals import Share

    config, _ = parse_args(
        argv,
        RespondConfig,
        prog="python -m finetuning.instruction.respond",
        description="Let a model answer a file of prompts, and look at the answers.",
    )
    found = respond(config)
    print(f"{found['answers']:,} answers in the template {found['template']} by {found['model']}")
    for what in ("bad", "too_long"):
        if found[what]:
            print(
                f"{found[what]:,} {'bad records left out' if what == 'bad' else 'prompts too long for the model'}"
            )
    if found["correct"][1]:
        print(f"right: {Share(*found['correct'])}")
        for kind, counts in found["kinds"].items():
            print(f"  {kind:<12} {Share(*counts)}")
    print(f"well formed: {Share(*found['well_formed'])}")
    for name, counts in found["checks"].items():
        print(f"  {name:<18} {counts[0]} of {counts[1]}")
    print(f"answers: {config.out}")
    print(f"next: python -m finetuning.instruction.judge file={config.out} url=http://localhost:8000/v1")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
