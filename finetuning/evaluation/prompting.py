"""Ask a model that was never tuned, as fairly as one can: show it solved examples, and let it go on.

A pretrained model continues text. A text of questions and answers that ends in "Answer:" is one whose continuation
is an answer (few-shot prompting, GPT-3, arXiv 2005.14165). Without this row "tuning helped" may mean "it was asked in
a form that it knows". The examples are of the same kind as the request, the most generous choice there is, and come
from the requests that may be trained on, never from the held-out ones.

The words go through `render` (template "plain"): a document that begins with the end token, as in pretraining. An
answer ends with its line. Left out: searching for the wording that suits a model best; chains of thought.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from finetuning.templates import render, stop_ids
from utils.errors import UserError
from working_with_text_data.storyland.tasks import Instruction, held_out, instructions
from working_with_text_data.tokenizer import Tokenizer

MAX_NEW_TOKENS = 90


def few_shot_text(examples: Sequence[Instruction], prompt: str) -> str:
    """The solved examples and the request, as one text that ends where the answer belongs.

    >>> print(few_shot_text([Instruction("past", "Past of go?", "went")], "Past of see?"))
    Question: Past of go?
    Answer: went
    <BLANKLINE>
    Question: Past of see?
    Answer:
    """
    solved = "".join(f"Question: {e.prompt}\nAnswer: {e.answer}\n\n" for e in examples)
    return f"{solved}Question: {prompt}\nAnswer:"


def shown_examples(kinds: Sequence[str], shots: int, *, seed: int) -> dict[str, list[Instruction]]:
    """`shots` solved examples of each of Storyland's `kinds`, none of them held out."""
    wanted = set(kinds)
    found: dict[str, list[Instruction]] = defaultdict(list)
    if not shots:
        return found
    for request in instructions(seed):
        group = found[request.kind]
        if request.kind in wanted and len(group) < shots and not held_out(request.prompt):
            group.append(request)
        if all(len(found[kind]) >= shots for kind in wanted):
            return found
    raise AssertionError("instructions() is endless")


def prompted_answers(
    model: Any,
    tokenizer: Tokenizer,
    requests: Sequence[Instruction],
    *,
    shots: int = 3,
    seed: int = 0,
    examples: Sequence[Instruction] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 64,
) -> list[str]:
    """Greedy answers of an untuned model that is shown `shots` solved examples before each request.

    `examples` are shown in place of Storyland's own of the request's kind. As many are shown as leave the answer its
    room in the context, the last ones first to go; a request that does not fit alone is answered with an empty string.
    Raises UserError for requests of a kind that Storyland cannot show, without `examples`.
    """
    from gpt_model import Sampling, generate
    from working_with_text_data.storyland.tasks import KINDS

    kinds = sorted({r.kind for r in requests})
    if examples is None and (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise UserError(f"no examples to show for requests of kind {unknown[0]!r}: pass examples=")
    shown = shown_examples(kinds, shots, seed=seed) if examples is None else {}
    rows: list[tuple[int, list[int]]] = []
    answers = [""] * len(requests)
    for number, request in enumerate(requests):
        chosen = shown.get(request.kind, []) if examples is None else list(examples[:shots])
        for count in range(len(chosen), -1, -1):
            ids = _asked(few_shot_text(chosen[:count], request.prompt), tokenizer)
            room = model.config.block_size - len(ids)
            if room >= max_new_tokens or (count == 0 and room > 1):
                rows.append((number, ids))
                break
    rows.sort(key=lambda row: len(row[1]))  # neighbours of equal length waste no padding
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        room = min(max_new_tokens, model.config.block_size - max(len(ids) for _, ids in part))
        written = generate(
            model,
            [ids for _, ids in part],
            max_new_tokens=room,
            sampling=Sampling(temperature=0.0),
            stop_ids=stop_ids(tokenizer),
        )
        for (number, _), ids in zip(part, written, strict=True):
            answers[number] = first_line(_decoded(tokenizer, ids))
    return answers


def first_line(text: str) -> str:
    """What stands before the line ends; a leading empty line is the model's way to begin and does not count."""
    return text.lstrip().partition("\n")[0].strip()


def _asked(text: str, tokenizer: Tokenizer) -> list[int]:
    messages: Any = [{"role": "user", "content": text}]
    return render(messages, tokenizer, add_generation_prompt=True, template="plain").ids


def _decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    ends = set(stop_ids(tokenizer))
    return tokenizer.decode([i for i in ids if i not in ends])
