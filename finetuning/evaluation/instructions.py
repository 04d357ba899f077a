"""Does the model do what it was asked? Exact verifiers on requests it was never trained on.

Every answer is decoded greedily and handed to the verifier of its kind, which works from the
prompt's text alone. Nothing is judged by likeness.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.evaluation.intervals import Share
from working_with_text_data.storyland.tasks import Instruction
from working_with_text_data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Answered:
    """One request with what the model said and whether the verifier accepted it."""

    kind: str
    prompt: str
    expected: str
    answer: str
    correct: bool


@dataclass(frozen=True)
class InstructionScore:
    """Exact match over all requests and for each kind, with every answer kept for reading."""

    overall: Share
    by_kind: dict[str, Share]
    answers: list[Answered]


def answer_all(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 90,
    batch_size: int = 64,
    template: str = "scratchbook",
) -> list[str]:
    """Greedy answers to `prompts`, each a conversation of one request (`instruction.questions.reply_all`).

    A prompt that leaves no room in the context is answered with an empty string.
    """
    from finetuning.instruction.questions import Question, reply_all

    asked = [Question(({"role": "user", "content": prompt},)) for prompt in prompts]
    replies = reply_all(
        model, tokenizer, asked, template=template, max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    return [reply.text for reply in replies]


def exact_match(
    model: Any, tokenizer: Tokenizer, requests: Sequence[Instruction], *, template: str = "scratchbook"
) -> InstructionScore:
    """Ask every request once and count the answers that their verifiers accept."""
    return judge(requests, answer_all(model, tokenizer, [r.prompt for r in requests], template=template))


def judge(requests: Sequence[Instruction], answers: Sequence[str]) -> InstructionScore:
    """Count the answers that are accepted, one for each request, in their order."""
    answered = [
        Answered(r.kind, r.prompt, r.answer, a, accepts(r, a)) for r, a in zip(requests, answers, strict=True)
    ]
    groups: dict[str, list[bool]] = defaultdict(list)
    for each in answered:
        groups[each.kind].append(each.correct)
    by_kind = {kind: Share(sum(hits), len(hits)) for kind, hits in sorted(groups.items())}
    return InstructionScore(Share(sum(a.correct for a in answered), len(answered)), by_kind, answered)


def accepts(request: Instruction, answer: str) -> bool:
    """Whether an answer is right: by the verifier of Storyland's kinds, else when it says the expected words.

    Case, spaces and a final mark are forgiven; an empty answer never is.
    """
    from finetuning.instruction.questions import Reply, from_request
    from finetuning.instruction.questions import judge as judged

    return bool(judged(from_request(request), Reply(answer)).correct)
