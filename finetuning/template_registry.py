"""What a template is made of: messages, pieces of ids, a name in a registry, and the pen it writes with.

A template says who speaks and when a turn is over by *markers*. Where the tokenizer owns a marker as a special
token it is a single id, which no text can spell; `encode_ordinary` cannot produce one. Where it does not, the
marker is written in ordinary letters, and then anybody can write it. So the `Pen` takes the marker out of what
people say: `### Response:` in a user's words becomes `# ## Response:`, which reads the same and is no marker.

One's own template is a function of (messages, tokenizer, add_generation_prompt) under `@register("name")`.
How the parts are put together: `templates`. Notebook: finetuning/02.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, Protocol, TypedDict

from utils.errors import UserError

END = "<|endoftext|>"


class Message(TypedDict):
    """One turn: who speaks (`system`, `user` or `assistant`) and the words, which may be empty.

    `input` is what a request is about (a text to sum up, a line to mend), for templates with a place for it;
    the others put it below the words.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    input: NotRequired[str]


class TextTokenizer(Protocol):
    """The part of a tokenizer that rendering needs."""

    @property
    def special_tokens(self) -> dict[str, int]: ...

    def encode_ordinary(self, text: str) -> list[int]: ...


Piece = tuple[list[int], bool]  # ids, and whether the model is trained to write them
Template = Callable[[Sequence[Message], TextTokenizer, bool], Iterator[Piece]]


@dataclass(frozen=True)
class Marks:
    """What only the template may write: `markers`; `ends`: those that close an answer, the best one first."""

    markers: tuple[str, ...] = ()
    ends: tuple[str, ...] = (END,)


TEMPLATES: dict[str, Template] = {}
MARKS: dict[str, Marks] = {}


def register(
    name: str, *, markers: Sequence[str] = (), ends: Sequence[str] = (END,)
) -> Callable[[Template], Template]:
    """Add a template under `name`. It yields (ids, trained) pieces in the order in which they are read.

    Raises UserError for a mark that a space inside would not undo: other people's words could not be kept apart.
    """
    for mark in (*markers, *ends):
        if mark in f"{mark[:1]} {mark[1:]}":
            raise UserError(
                f"template {name!r}: {mark!r} stays itself with a space inside: give a longer mark"
            )

    def add(template: Template) -> Template:
        TEMPLATES[name], MARKS[name] = template, Marks(tuple(markers), tuple(ends))
        return template

    return add


def words_of(message: Message) -> str:
    """The words of a turn, with what they are about below them.

    >>> words_of({"role": "user", "content": "Sum up.", "input": "A fox ran."})
    'Sum up.\\n\\nA fox ran.'
    """
    material = message.get("input", "")
    return f"{message['content']}\n\n{material}" if material else message["content"]


class Pen:
    """Writes a template's own text and other people's words as ids, and keeps the two apart.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> pen = Pen(ByteTokenizer(), Marks(markers=("[INST]",)))
    >>> bytes(pen.fixed("[INST] ")), bytes(pen.words("I say [INST]"))
    (b'[INST] ', b'I say [ INST]')
    """

    def __init__(self, tokenizer: TextTokenizer, marks: Marks) -> None:
        self.tokenizer, self.marks = tokenizer, marks
        every = sorted({*marks.markers, *marks.ends}, key=lambda mark: (-len(mark), mark))
        self.owned = {m: tokenizer.special_tokens[m] for m in every if m in tokenizer.special_tokens}
        # The end-of-text token is never spelled: a model without it has no word for it.
        self.spelled = [m for m in every if m not in self.owned and m != END]
        self._split = _pattern(self.owned)
        self._foreign = _pattern(self.spelled)

    def fixed(self, text: str) -> list[int]:
        """The template's own text: markers that the tokenizer owns are one id each, the rest is letters."""
        ids: list[int] = []
        for part in self._split.split(text) if self.owned else [text]:
            if part in self.owned:
                ids.append(self.owned[part])
            elif part:
                ids.extend(self.tokenizer.encode_ordinary(part))
        return ids

    def words(self, text: str) -> list[int]:
        """What somebody says: ordinary letters only, and no marker that is spelled in letters."""
        return self.tokenizer.encode_ordinary(self.harmless(text))

    def harmless(self, text: str) -> str:
        """`text` with a space inside everything that would read as a marker."""
        if not self.spelled:
            return text
        while (found := self._foreign.search(text)) is not None:
            text = f"{text[: found.start() + 1]} {text[found.start() + 1 :]}"
        return text

    def end(self) -> list[int]:
        """What closes an answer: the first end that is a single id, the end-of-text token, or letters.

        Raises UserError where there is none of them: a model that cannot say that it is done never stops.
        """
        for name in (*self.marks.ends, END):
            if name in self.tokenizer.special_tokens:
                return [self.tokenizer.special_tokens[name]]
        spelled = [name for name in self.marks.ends if name != END]
        if not spelled:
            raise UserError(
                f"the tokenizer has no {END}, and this template has no other end: train the tokenizer with it, "
                'or use template="chatml", which spells its own'
            )
        return self.tokenizer.encode_ordinary(spelled[0])


def _pattern(names: Sequence[str] | dict[str, int]) -> re.Pattern[str]:
    return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else re.compile(r"(?!)")
