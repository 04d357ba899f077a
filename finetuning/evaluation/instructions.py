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
from finetuning.templates import render, stop_ids
from working_with_text_data.storyland.tasks import KINDS, Instruction, verify
from working_with_text_data.storyland.verifiers import normalise
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
    """Greedy answers to `prompts`, through the same `render()` that training and the chat use.

    A prompt that leaves no room in the context is answered with an empty string.
    """
    from gpt_model import Sampling, generate

    ends = stop_ids(tokenizer, template)
    rendered = [
        render([{"role": "user", "content": p}], tokenizer, add_generation_prompt=True, template=template).ids
        for p in prompts
    ]
    answers = [""] * len(prompts)
    fits = [i for i, ids in enumerate(rendered) if len(ids) + 1 < model.config.block_size]
    # Neighbours of equal length waste no padding.
    fits.sort(key=lambda i: len(rendered[i]))
    for start in range(0, len(fits), batch_size):
        chosen = fits[start : start + batch_size]
        rows = [rendered[i] for i in chosen]
        room = min(max_new_tokens, model.config.block_size - max(map(len, rows)))
        greedy = Sampling(temperature=0.0)
        written = generate(model, rows, max_new_tokens=room, sampling=greedy, stop_ids=ends)
        for i, ids in zip(chosen, written, strict=True):
            answers[i] = tokenizer.decode([t for t in ids if t not in ends]).strip()
    return answers


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
    if request.kind in KINDS:
        return verify(request.kind, request.prompt, answer)
    return bool(answer.strip()) and normalise(answer) == normalise(request.answer)
