"""Questions with what is known about their answers, and the two ways to judge one: by its truth, by its form.

Truth: Storyland's verifiers know it for their kinds of request; elsewhere an answer counts as exact when it says the
expected words (capitals, blanks and a final mark forgiven). Form: what can be seen without knowing the answer. It says
something, it comes to an end by itself, no marker of the template stands in it, it is not the question again, and it
does not go round in a circle. Good form is not a good answer; bad form is a bad one.

Answers are greedy and go through the same `render()` as training and chat (law LF3). Notebook: finetuning/02.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finetuning.evaluation.intervals import Share
from finetuning.instruction.conversation_formats import Dialogue
from finetuning.templates import Message, render, stop_ids, stop_texts, words_of
from utils.errors import UserError
from working_with_text_data.storyland.tasks import KINDS, Instruction, verify
from working_with_text_data.storyland.verifiers import normalise

CHECKS = ("says_something", "ends", "no_marker", "not_the_question", "no_circle")
CIRCLE = (6, 4)  # so many words, said so many times


@dataclass(frozen=True)
class Question:
    """What is asked, and what is known of the answer: the expected words, and a kind that has a verifier."""

    messages: tuple[Message, ...]
    expected: str | None = None
    kind: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The words of the last turn."""
        return words_of(self.messages[-1])


@dataclass(frozen=True)
class Reply:
    """An answer. `ended` says that the model stopped by itself; `problem` why there is none."""

    text: str
    tokens: int = 0
    ended: bool = False
    problem: str | None = None
    marked: bool = False  # a marker that the template spells stood in it, and it was cut there


@dataclass(frozen=True)
class Verdict:
    """`correct` is None where nobody knows the truth."""

    checks: dict[str, bool] = field(default_factory=dict)
    correct: bool | None = None

    @property
    def well_formed(self) -> bool:
        return all(self.checks.values())


def from_request(request: Instruction) -> Question:
    """A request of Storyland."""
    return Question(({"role": "user", "content": request.prompt},), request.answer, request.kind)


def from_dialogue(dialogue: Dialogue) -> Question:
    """Everything before a conversation's last answer, which is what is expected."""
    return Question(tuple(dialogue.prompt), dialogue.answer, dialogue.kind, dialogue.where)


def reply_all(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    template: str = "scratchbook",
    max_new_tokens: int = 90,
    batch_size: int = 64,
    sampling: Any = None,
) -> list[Reply]:
    """An answer to each question, greedy unless `sampling` says otherwise; neighbours in length share a batch.

    A question that leaves no room for an answer gets none, and a `problem`. Raises UserError for a template that the
    tokenizer cannot write.
    """
    from gpt_model import Sampling, generate

    block, ends = model.config.block_size, stop_ids(tokenizer, template)
    spelled = stop_texts(tokenizer, template)
    prompts = [
        render(q.messages, tokenizer, add_generation_prompt=True, template=template).ids for q in questions
    ]
    replies = [
        Reply("", problem=f"the prompt has {len(ids)} tokens, the model reads {block}: shorten it")
        for ids in prompts
    ]
    order = sorted((i for i, ids in enumerate(prompts) if len(ids) < block), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [prompts[i] for i in chosen]
        room = min(max_new_tokens, block - max(map(len, rows)))
        written = generate(
            model, rows, max_new_tokens=room, sampling=sampling or Sampling(temperature=0.0), stop_ids=ends
        )
        for i, ids in zip(chosen, written, strict=True):
            replies[i] = _reply(tokenizer.decode(ids), len(ids), len(ids) < room, spelled)
    return replies


def _reply(text: str, tokens: int, ended: bool, spelled: Sequence[str]) -> Reply:
    """What was said up to the first marker that is spelled in letters: there somebody else's turn begins."""
    cut = min((at for mark in spelled if (at := text.find(mark)) >= 0), default=len(text))
    return Reply(text[:cut].strip(), tokens, ended or cut < len(text), marked=cut < len(text))


def judge(question: Question, reply: Reply) -> Verdict:
    """The form of an answer, and whether it is right where that is known."""
    words = normalise(reply.text)
    checks = {
        "says_something": bool(words),
        "ends": reply.ended,
        "no_marker": not reply.marked,
        "not_the_question": not words or words != normalise(question.text),
        "no_circle": not goes_in_circles(reply.text),
    }
    return Verdict(checks, _correct(question, reply.text))


def _correct(question: Question, answer: str) -> bool | None:
    if question.kind in KINDS and len(question.messages) == 1:
        return verify(question.kind, question.text, answer)
    if question.expected is None:
        return None
    return bool(answer.strip()) and normalise(answer) == normalise(question.expected)


def goes_in_circles(text: str, words: int = CIRCLE[0], times: int = CIRCLE[1]) -> bool:
    """Whether some run of words comes again and again: the same six words four times.

    >>> goes_in_circles("no no no"), goes_in_circles("he went to the red house and " * 4)
    (False, True)
    """
    said = text.split()
    seen: dict[tuple[str, ...], int] = {}
    for i in range(len(said) - words + 1):
        piece = tuple(said[i : i + words])
        seen[piece] = seen.get(piece, 0) + 1
        if seen[piece] >= times:
            return True
    return False


def ask(
    model: Any, tokenizer: Any, questions: Sequence[Question], template: str
) -> dict[str, dict[str, Any]]:
    """Shares of exact answers and of well-formed ones, each with its interval; nothing where nothing is asked."""
    if not questions:
        return {}
    if tokenizer is None:
        raise UserError("the model has no tokenizer of ours: it cannot be asked anything")
    replies = reply_all(model, tokenizer, questions, template=template)
    verdicts = [judge(q, r) for q, r in zip(questions, replies, strict=True)]
    known = [v.correct for v in verdicts if v.correct is not None]
    shares = {"exact": Share(sum(known), len(known))} if known else {}
    shares["well_formed"] = Share(sum(v.well_formed for v in verdicts), len(verdicts))
    return {
        name: {"hits": s.hits, "total": s.total, "interval": list(s.interval)} for name, s in shares.items()
    }
