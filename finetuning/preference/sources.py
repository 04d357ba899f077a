"""Where preference pairs come from: a file of one's own, Storyland's generator, or the model's own mistakes.

- `file_pairs`: {prompt, chosen, rejected} records, read and checked by `instruction.conversations`.
- `generated_pairs`: a right answer and one with a stated defect (`storyland.preferences`): a wrong fact, another
  request's answer, a contradiction, rudeness, or the right answer broken off.
- `model_pairs`: the model is asked, an answer is drawn as in a chat, and Storyland's verifier judges it. A wrong one
  is rejected in favour of the right one. Such pairs show the policy the mistakes that it makes itself, at the
  probability that it gives them; a generator's mistakes may be ones that it would never make (on-policy data, as in
  Guo et al. 2024, arXiv 2402.04792).

Held-out requests are those that instruction tuning holds out as well (`held_out`, by the hash of the text), so that
a model tuned first on answers and then on preferences is judged by requests that neither has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finetuning.preference.data import PreferencePair, ask
from finetuning.templates import render, stop_ids
from utils.errors import UserError
from working_with_text_data.storyland.preferences import preferences
from working_with_text_data.storyland.tasks import Instruction, held_out, instructions, verify
from working_with_text_data.tokenizer import Tokenizer

MAX_ASKED = 20  # requests that the model may be asked for each pair that is wanted: a good one errs rarely


def generated_pairs(count: int, *, seed: int, judging: bool = False) -> list[PreferencePair]:
    """`count` different pairs of Storyland's generator; of requests that are held out where `judging`."""
    found: list[PreferencePair] = []
    seen: set[tuple[str, str]] = set()
    # 60 draws for each wanted pair: one in twenty is held out, and short requests come again
    for each in islice(preferences(seed), 60 * count + 1000):
        if len(found) == count:
            break
        if held_out(each.prompt) is judging and (each.prompt, each.rejected) not in seen:
            seen.add((each.prompt, each.rejected))
            found.append(PreferencePair(ask(each.prompt), each.chosen, each.rejected, each.kind, each.reason))
    return found


@dataclass(frozen=True)
class Drawn:
    """What `model_pairs` found: the pairs, how many requests it took, and how many were answered wrongly."""

    pairs: list[PreferencePair]
    asked: int
    wrong: int


def model_pairs(
    model: Any,
    tokenizer: Tokenizer,
    count: int,
    *,
    seed: int,
    judging: bool = False,
    temperature: float = 1.0,
    batch_size: int = 64,
    template: str = "scratchbook",
) -> Drawn:
    """Up to `count` pairs of a right answer and a wrong one of the model's own; fewer where it hardly errs.

    One answer is drawn to each request at `temperature`; one that breaks off at the limit of length is wrong too.
    """
    asked = wrong = 0
    pairs: list[PreferencePair] = []
    requests = _requests(seed, judging)
    while len(pairs) < count and asked < MAX_ASKED * count:
        group = list(islice(requests, batch_size))
        if not group:
            break
        answers = sampled_answers(
            model,
            tokenizer,
            [r.prompt for r in group],
            temperature=temperature,
            seed=seed + asked,
            template=template,
        )
        asked += len(group)
        for request, answer in zip(group, answers, strict=True):
            if answer is None or verify(request.kind, request.prompt, answer):
                continue
            wrong += 1
            pairs.append(
                PreferencePair(ask(request.prompt), request.answer, answer, request.kind, "own_mistake")
            )
    return Drawn(pairs[:count], asked, wrong)


def sampled_answers(
    model: Any,
    tokenizer: Tokenizer,
    prompts: list[str],
    *,
    temperature: float,
    seed: int,
    max_new_tokens: int = 90,
    template: str = "scratchbook",
) -> list[str | None]:
    """One answer drawn to each request, in its own words; None where the request leaves no room in the context."""
    rows = [render(ask(p), tokenizer, add_generation_prompt=True, template=template).ids for p in prompts]
    drawn = sampled_ids(model, rows, stop_ids(tokenizer, template), temperature, seed, max_new_tokens)
    return [None if ids is None else tokenizer.decode(ids).strip() for ids in drawn]


def sampled_ids(
    model: Any,
    rows: list[list[int]],
    ends: tuple[int, ...],
    temperature: float,
    seed: int,
    max_new_tokens: int = 90,
) -> list[list[int] | None]:
    """The ids of an answer drawn after each row, without the one that ended it."""
    from gpt_model import Sampling, generate

    block = model.config.block_size
    fits = [i for i, row in enumerate(rows) if len(row) < block]
    found: list[list[int] | None] = [None] * len(rows)
    if fits:
        room = min(max_new_tokens, block - max(len(rows[i]) for i in fits))
        drawn = generate(
            model,
            [rows[i] for i in fits],
            max_new_tokens=room,
            sampling=Sampling(temperature=temperature, seed=seed),
            stop_ids=ends,
        )
        for i, ids in zip(fits, drawn, strict=True):
            found[i] = [t for t in ids if t not in ends]
    return found


def file_pairs(
    path: str | Path, *, on_bad_line: str = "stop", seed: int = 0
) -> tuple[list[PreferencePair], list[PreferencePair], dict[str, Any]]:
    """(to learn from, held out, what reading found) of a file of preferences.

    A twentieth of the requests judges; the request's text decides, so that two pairs of one request stay together.
    Raises UserError naming file and line for a record that is no preference (`on_bad_line="stop"`).
    """
    from finetuning.instruction.conversations import read_conversations, split_dialogues

    if on_bad_line not in ("stop", "skip"):
        raise UserError(f"on_bad_line is {on_bad_line!r}: choose stop or skip")
    dialogues, report = read_conversations(path, form="preference", on_bad_line=on_bad_line)  # type: ignore[arg-type]
    train, judged = split_dialogues(dialogues, seed=seed)
    return [_pair_of(d) for d in train], [_pair_of(d) for d in judged], report.to_dict()


def _pair_of(dialogue: Any) -> PreferencePair:
    return PreferencePair(tuple(dialogue.prompt), dialogue.answer, dialogue.rejected, dialogue.kind)


def _requests(seed: int, judging: bool) -> Iterator[Instruction]:
    """Different requests, held out or not, as far as there are any."""
    seen: set[str] = set()
    for request in islice(instructions(seed), 2_000_000):
        if held_out(request.prompt) is judging and request.prompt not in seen:
            seen.add(request.prompt)
            yield request
