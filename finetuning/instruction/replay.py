"""Replay: pages of the text that a model was pretrained on, among the conversations it is tuned on.

Tuning on answers alone moves a model away from all else it knew, and a small one has little room: after ten minutes of
requests its perplexity on stories can be a million. What is still practised is kept (rehearsal, Robins 1995,
doi 10.1080/09540099550039318; the same mix for instructions: InstructGPT's PPO-ptx, arXiv 2203.02155, §3.5). A page is
as many tokens as the context holds, cut from the documents in a row as in pretraining, every token trained. Pages
come from the training part only, so that forgetting can still be measured on the validation part.

A page has more trained tokens than a row of conversations has: a tenth of the tokens is already a third of the loss.
Lessons go without: pages slow them, and what they overwrite is back in a few hundred steps (`finetuning/LOG.md`).
Left out: replay from other text than the base's own. Notebook: finetuning/02.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetuning.instruction.data import Example
from utils.errors import UserError


def pages_for(examples: Sequence[Example], share: float, page: int) -> int:
    """How many pages of `page` tokens make `share` of all tokens, pages and `examples` together."""
    tokens = sum(len(ids) for ids, _ in examples)
    return math.ceil(tokens * share / (1 - share) / page)


def replay_pages(checkpoint: Path, tokenizer: Any, count: int, page: int) -> list[Example]:
    """`count` pages of `page` tokens of what the model at `checkpoint` was pretrained on; again from the start when
    the text is shorter.

    Raises UserError for a model that does not say what it was pretrained on, or a text shorter than one page.
    """
    from finetuning.evaluation.sources import pretraining_split
    from pretraining.prepared_data import encode_documents

    try:
        name, split = pretraining_split(checkpoint)
    except UserError as error:
        raise UserError(
            f"replay needs the text that the model was pretrained on, and {checkpoint} keeps no way to it: "
            f"set replay=0 ({error})"
        ) from error
    ids = encode_documents(split.train, tokenizer, at_least=count * page)
    starts = range(0, len(ids) - page + 1, page)
    if not starts:
        raise UserError(f"{name} has {len(ids)} tokens, less than one page of {page}: set replay=0")
    pages = [ids[at : at + page].tolist() for at in starts[:count]]
    return [(own, [True] * page) for own in (pages[i % len(pages)] for i in range(count))]
