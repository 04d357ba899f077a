"""Can the model tell a story? Sample some, let Storyland's checker read them, count.

The checker (`working_with_text_data.storyland.checker`) shares no code with the generator whose
stories the model was trained on; it parses any text and names the rule that a bad story breaks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from finetuning.evaluation.intervals import Share
from working_with_text_data.tokenizer import Tokenizer


@dataclass(frozen=True)
class StoryScore:
    """The share of coherent stories, the texts, and how often each rule was broken."""

    coherent: Share
    texts: list[str]
    verdicts: list[bool]
    broken_rules: dict[str, int] = field(default_factory=dict)


def sample_stories(
    model: Any, tokenizer: Tokenizer, count: int, *, temperature: float, seed: int, max_new_tokens: int = 230
) -> list[str]:
    """`count` stories from nothing but the end-of-text token, which every training story follows.

    A story that has not ended after `max_new_tokens` is returned as it stands, unfinished.
    """
    from gpt_model import Sampling, generate

    end = tokenizer.special_tokens["<|endoftext|>"]
    room = min(max_new_tokens, model.config.block_size - 1)
    rows = generate(
        model,
        [[end]] * count,
        max_new_tokens=room,
        sampling=Sampling(temperature=temperature, seed=seed),
        stop_ids=(end,),
    )
    return [tokenizer.decode([i for i in row if i != end]).strip() for row in rows]


def score_stories(texts: list[str]) -> StoryScore:
    """Let the checker read every text and count which rules were broken (once per story and rule)."""
    from working_with_text_data.storyland.checker import check_story

    rules: Counter[str] = Counter()
    verdicts = []
    for text in texts:
        verdict = check_story(text)
        verdicts.append(verdict.coherent)
        rules.update({violation.rule for violation in verdict.violations})
    return StoryScore(Share(sum(verdicts), len(texts)), texts, verdicts, dict(rules.most_common()))
