"""From the engine's events to pieces of text that can be shown: what a stream is made of.

The idea: an event is a token, and a token is bytes. Text waits until its character is whole, and while it could be
the beginning of a stop string (`working_with_text_data.streaming_decode`); the token waits with it, so that nobody is
told of a token whose text will never be shown. All texts of a sample, joined, are its answer.

Left out: who asked (`service`), OpenAI's form of it (`openai_answers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gpt_model.request import Event
from working_with_text_data.streaming_decode import StreamingDecoder

REASONS = {"stop": "stop", "length": "length", "overflow": "length", "cancelled": "cancelled"}


class Piece(NamedTuple):
    """A token of one sample, or text that became certain, or the sample's end; often all at once.

    index: which of the n samples. text: what can be shown now; all texts of a sample, joined, are its answer. token,
    logprob, alternatives: as in `gpt_model.request.Event`; a token that lies in a stop string is never told. begin:
    how many characters of the answer stand before the token. finish_reason: None while it goes on, then "stop" (an
    end token or a stop string) or "length".
    """

    index: int  # type: ignore[assignment]  # a tuple's method of this name is not used here
    text: str
    token: int | None = None
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] | None = None
    finish_reason: str | None = None
    begin: int = 0


class SampleText:
    """From the events of one sample to pieces of text; it ends at a stop string, which is not shown."""

    def __init__(self, index: int, tokenizer: Any, stop: Sequence[str]) -> None:
        self.index, self.tokens, self.ended = index, 0, False
        self._decoder = StreamingDecoder(tokenizer, stop=stop)
        self._shown = 0  # characters
        self._unsure: list[tuple[int, Event]] = []  # where a token's text begins, and the token

    def take(self, event: Event) -> list[Piece]:
        """What can be told now. A token is told once its first character is certain to be shown."""
        text = ""
        if event.token is not None:
            self.tokens += 1
            self._unsure.append((self._shown + self._decoder.held, event))
            text = self._decoder.push(event.token)
        reason = "stop" if self._decoder.stopped else REASONS.get(event.finish_reason or "")
        self.ended = reason is not None
        if self.ended:
            text += self._decoder.flush()  # nothing after a stop string
        self._shown += len(text)
        all_sure = not self._decoder.held and not self._decoder.stopped
        sure = [(begin, each) for begin, each in self._unsure if all_sure or begin < self._shown]
        self._unsure = self._unsure[len(sure) :]
        pieces = [
            Piece(self.index, "", each.token, each.logprob, each.alternatives, begin=begin)
            for begin, each in sure
        ]
        if not pieces and (text or reason):
            pieces = [Piece(self.index, "", begin=self._shown)]
        return [*pieces[:-1], pieces[-1]._replace(text=text, finish_reason=reason)] if pieces else []
