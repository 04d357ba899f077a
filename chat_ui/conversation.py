"""What was said so far, and how much of it still fits into the model.

A model has no memory between calls: each answer is computed from one prompt, and the prompt is the whole
conversation again. When it no longer fits, something has to be left out. Here whole exchanges go, oldest
first; the system line stays, because it says who the model is; and the reader is told, because a model that
silently forgot looks like a model that is stupid.

Lengths are counted in tokens of the real template, never guessed from characters.
Left out: summarising what was dropped. The keys of what was said before are found again by their ids
(`gpt_model.prefix_cache`), so a long conversation costs little more than its newest turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finetuning.templates import Message, TextTokenizer, render
from utils.errors import UserError


@dataclass
class Turn:
    """One thing said. `id` is the chat window's own name for it, so that an edit finds it again."""

    id: str
    message: Message


@dataclass
class Conversation:
    """The turns of one chat window, oldest first, without the system line (that one is a setting)."""

    turns: list[Turn] = field(default_factory=list)

    def ask(self, id: str, text: str) -> None:
        """Add what the user said. A known `id` means an edited message: it and all after it are replaced."""
        for index, turn in enumerate(self.turns):
            if turn.id == id:
                del self.turns[index:]
                break
        self.turns.append(Turn(id, {"role": "user", "content": text}))

    def answer(self, id: str, text: str) -> None:
        """Add what the model said, also when it was stopped: it is what the user has read."""
        self.turns.append(Turn(id, {"role": "assistant", "content": text}))

    def take_back(self, id: str) -> None:
        """Forget the message `id` if it is the last one: it could not be answered."""
        if self.turns and self.turns[-1].id == id:
            self.turns.pop()

    def again(self, id: str) -> str | None:
        """Forget the answer `id` and all that came after it: the id of its question, or None if there is none."""
        for index, turn in enumerate(self.turns):
            if turn.id == id and turn.message["role"] == "assistant" and index:
                del self.turns[index:]
                return self.turns[-1].id
        return None

    def replace(self, id: str, text: str) -> bool:
        """Put other words in the place of the answer `id`, if it is the last thing said; whether it was."""
        if not self.turns or self.turns[-1].id != id or self.turns[-1].message["role"] != "assistant":
            return False
        self.turns[-1] = Turn(id, {"role": "assistant", "content": text})
        return True

    def messages(self, system: str = "") -> list[Message]:
        """The conversation as the template wants it, opened by the system line if there is one."""
        opening: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
        return opening + [turn.message for turn in self.turns]


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits: its ids, how many old messages were left out, and the room for the answer."""

    ids: list[int]
    left_out: int
    room: int


def fit(
    messages: Sequence[Message],
    tokenizer: TextTokenizer,
    *,
    block_size: int,
    max_new_tokens: int,
    template: str = "scratchbook",
) -> Fitted:
    """Leave out the oldest messages until prompt and answer fit into `block_size` tokens.

    The answer is promised `max_new_tokens`, or half of the context if that is less; what the prompt does
    not need is given to it as well, up to `max_new_tokens`. Kept messages start with a user's, so that no
    answer stands without its question.

    Raises UserError when the last message alone (with the system line) is too long.
    """
    promised = max(1, min(max_new_tokens, block_size // 2))
    opening = [m for m in messages[:1] if m["role"] == "system"]
    said = list(messages[len(opening) :])
    starts = [index for index, message in enumerate(said) if message["role"] == "user"] or [0]
    length = 0
    for start in starts:
        prompt = render([*opening, *said[start:]], tokenizer, add_generation_prompt=True, template=template)
        length = len(prompt.ids)
        if length + promised <= block_size:
            return Fitted(prompt.ids, start, min(max_new_tokens, block_size - length))
    system = " with the system line" if opening else ""
    raise UserError(
        f"the message{system} has {length} tokens and the answer is promised {promised}, but the model reads "
        f"only {block_size} at once: shorten the message or ask for a shorter answer"
    )
