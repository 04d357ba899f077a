"""What is known of an answer when it is written: its tokens, how likely each was, how long it took, what it holds.

A chat shows words; this keeps what the words were made of, so that a click can show it without asking the model
again. Probabilities are the model's own, before temperature and cuts: what the model believed, not what the
settings made of it. Nats are turned into probabilities, seconds into tokens per second, ids into what can be read.

Left out: how it looks (`public/elements/Answer.jsx`); maps and lens, which are computed when asked for (`looking`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_ui import limits
from chat_ui.pieces import Piece
from chat_ui.settings import Settings
from gpt_model.token_scores import shown

ENDS = {
    "stop": "ended by itself",
    "length": "reached its length",
    "cancelled": "stopped",
    None: "stopped",
}


@dataclass
class Record:
    """One answer by the model `ref` to the ids `prompt`, which were `settings` asked in the agreement `template`."""

    ref: str
    name: str
    settings: Settings
    template: str
    prompt: list[int]
    text: str = ""
    tokens: list[Piece] = field(default_factory=list)  # those that hold a token
    finish_reason: str | None = None
    first_after: float = 0.0  # seconds from the question to the first token
    writing: float = 0.0  # seconds from the first to the last
    cache_bytes: int = 0

    def take(self, pieces: Sequence[Piece]) -> str:
        """Remember some pieces; the text they add."""
        text = "".join(piece.text for piece in pieces)
        self.text += text
        self.tokens += [piece for piece in pieces if piece.token is not None]
        self.finish_reason = pieces[-1].finish_reason if pieces else self.finish_reason
        return text

    def close(self, answer: Any, loaded: Any) -> None:
        """The last numbers: times from the service's `Answer`, and the size of the keys and values that it took."""
        self.first_after = max(0.0, answer.first_at - answer.asked_at)
        self.writing = max(0.0, answer.last_at - answer.first_at)
        # The newest token is never read back, so nothing is kept of it.
        self.cache_bytes = loaded.model.new_cache(1, max(1, len(self.ids) - 1)).nbytes

    @property
    def ids(self) -> list[int]:
        """What was read and what was written, as the model sees it."""
        return self.prompt + [int(piece.token) for piece in self.tokens if piece.token is not None]

    @property
    def tokens_per_second(self) -> float | None:
        """How fast it was written after the first token; None for an answer too short to say."""
        return (len(self.tokens) - 1) / self.writing if len(self.tokens) > 1 and self.writing > 0 else None

    def facts(self) -> list[dict[str, str]]:
        """The line below the answer: short texts, each with what it means."""
        speed = self.tokens_per_second
        facts = [
            (f"{len(self.tokens)} tokens", f"{len(self.prompt)} read before, {ENDS.get(self.finish_reason)}"),
            (f"first after {_time(self.first_after)}", "from the question to the first token"),
            (f"cache {_bytes(self.cache_bytes)}", "keys and values of what was read and written"),
            (f"seed {self.settings.seed}", "the same seed, settings and conversation give the same answer"),
        ]
        if speed is not None:
            facts.insert(1, (f"{speed:,.0f} tokens/s", "after the first token"))
        return [{"text": text, "means": means} for text, means in facts]

    def rows(self, tokenizer: Any) -> list[dict[str, Any]]:
        """Each token with its probability and the likeliest others, for a page; at most `limits.SHOWN_ROWS`."""
        return [
            {
                "text": shown(tokenizer, int(piece.token or 0)),
                "p": _share(piece.logprob),
                "others": [[shown(tokenizer, id), _share(value)] for id, value in piece.alternatives or ()],
            }
            for piece in self.tokens[: limits.SHOWN_ROWS]
        ]


def _share(logprob: float | None) -> float:
    """A probability, four digits of it."""
    return 0.0 if logprob is None else float(f"{math.exp(min(0.0, logprob)):.4g}")


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
