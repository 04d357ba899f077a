"""Show text while it is being generated, token by token, without ever showing half a character.

The idea: a token may end in the middle of a UTF-8 character (an emoji is often three tokens), so
bytes wait until their character is whole. And a stop string may lie across several tokens, so text
that could be the beginning of one waits too. What is shown, joined, is `tokenizer.decode` of all
ids, up to the stop string.

Left out: generation itself (`gpt_model.generation`).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from utils.errors import UserError
from working_with_text_data.tokenizer import Tokenizer


class StreamingDecoder:
    """Turns ids into text pieces as they come.

    Args:
        tokenizer: knows the bytes of each id.
        stop: strings that end the text; they are not shown. The one that is complete first counts,
            and of those complete at the same character the one that began first.

    Attributes:
        stopped: a stop string was met; everything after it is ignored.

    >>> from working_with_text_data.byte_tokenizer import ByteTokenizer
    >>> decoder = StreamingDecoder(ByteTokenizer(), stop=["END"])
    >>> [decoder.push(byte) for byte in "hé!ENDx".encode()]
    ['h', '', 'é', '!', '', '', '', '']
    >>> decoder.stopped, decoder.flush()
    (True, '')
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        if isinstance(stop, str):
            stop = (stop,)
        if "" in stop:
            raise UserError("a stop string is empty, which would stop before the first character: remove it")
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""  # decoded, but maybe the beginning of a stop string
        self.stopped = False

    @property
    def held(self) -> int:
        """How many whole characters are held back, because a stop string might begin with them."""
        return len(self._held)

    def push(self, token_id: int) -> str:
        """Take one id and return the text that is certain now, often "" and never half a character."""
        if self.stopped:
            return ""
        return self._show(self._utf8.decode(self._tokenizer.token_bytes(token_id)), final=False)

    def flush(self) -> str:
        """The text still held back, at the end of the ids; bytes of an unfinished character become U+FFFD."""
        if self.stopped:
            return ""
        return self._show(self._utf8.decode(b"", final=True), final=True)

    def _show(self, text: str, final: bool) -> str:
        if not self._stop:
            return text
        text = self._held + text
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stop if stop in text]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)[1]]
        keep = 0 if final else self._possible_beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _possible_beginning(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = min(len(text), max(len(stop) for stop in self._stop) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
