"""The speedrun's text: characters as they come, the first nine tenths to learn from, the last tenth to be judged on.

The idea: a score can be compared only where text, vocabulary and split are the same to the character, so nothing here
can be chosen but the corpus. The vocabulary is the sorted set of the corpus's characters, as is usual for this text;
a token is a character, so nats a token are nats a character and no tokenizer can help.

Where tinyshakespeare lies under `data/` (or `SCRATCHBOOK_DATA`), it is the corpus; Storyland (generated) and the
interpreter's own documentation are always there, cut to the same length. Settings are chosen on `part="dev"`: the last
ninth of the training text, which then is not learned from; the validation part stays unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.downloads import data_root
from utils.errors import UserError
from utils.files import sha256_bytes

LENGTH = 1_115_394  # characters of tinyshakespeare; the other corpora are cut to as many
TRAIN_SHARE = 0.9
TINYSHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
FILES = ("tinyshakespeare/input.txt", "text/tinyshakespeare.txt")
BUILT_IN = ("storyland", "pydoc")
PARTS = ("val", "dev")


@dataclass(frozen=True)
class Characters:
    """A corpus as numbers: `train` and `val` are ids, `alphabet[id]` is the character."""

    name: str
    sha256: str  # of the whole text in UTF-8
    alphabet: str
    train: np.ndarray
    val: np.ndarray

    def about(self) -> dict[str, Any]:
        """What a results file says of it."""
        sizes = {"train": len(self.train), "val": len(self.val), "alphabet": len(self.alphabet)}
        return {"name": self.name, "sha256": self.sha256, **sizes}

    def write(self, ids: Iterable[int]) -> str:
        """The text that ids stand for."""
        return "".join(self.alphabet[i] for i in ids)


def find_tinyshakespeare() -> Path | None:
    """Where the file is on this machine, if it is anywhere that a command looks."""
    places = [data_root() / file for file in FILES]
    return next((place for place in places if place.is_file()), None)


def read_text(corpus: str) -> tuple[str, str]:
    """(name, text) of a corpus: "auto", "tinyshakespeare", a built-in one, or the path of a UTF-8 text."""
    if corpus in ("auto", "tinyshakespeare"):
        found = find_tinyshakespeare()
        if found is None and corpus == "tinyshakespeare":
            raise UserError(
                f"tinyshakespeare is not in {data_root()}: put it there as {FILES[0]} (SCRATCHBOOK_DATA names "
                "another folder), give its path as corpus=…, or choose corpus=storyland"
            )
        corpus = "storyland" if found is None else str(found)
    if corpus in BUILT_IN:
        return corpus, built_in(corpus)
    path = Path(corpus)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"corpus {corpus!r} is no file: give a path, or one of auto, tinyshakespeare, {', '.join(BUILT_IN)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corpus {corpus} cannot be read as UTF-8 text: {error}") from None
    known = sha256_bytes(text.encode()) == TINYSHAKESPEARE_SHA256
    return ("tinyshakespeare" if known else path.stem), text


def built_in(name: str) -> str:
    """Documents of a generated corpus, one after the other, cut to `LENGTH` characters."""
    from working_with_text_data.documents import iter_documents

    parts: list[str] = []
    length = 0
    for document in iter_documents(name):
        parts.append(document.text)
        length += len(document.text) + 2
        if length >= LENGTH:
            break
    return "\n\n".join(parts)[:LENGTH]


def characters(corpus: str, part: str = "val") -> Characters:
    """The corpus, split; with part "dev" the training text alone is split again, and `val` is its last ninth."""
    if part not in PARTS:
        raise UserError(f"part is {part!r}: choose val (to report) or dev (to tune on)")
    name, text = read_text(corpus)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    alphabet, ids = np.unique(points, return_inverse=True)
    ids = ids.astype(np.uint16 if len(alphabet) <= 1 << 16 else np.uint32)
    cut = int(TRAIN_SHARE * len(ids))
    train, val = ids[:cut], ids[cut:]
    if part == "dev":
        cut = int(TRAIN_SHARE * len(train))
        train, val = train[:cut], train[cut:]
    if len(val) < 2 or len(train) < 2:
        raise UserError(f"corpus {name} has {len(ids)} characters, too few to be split: give a longer text")
    return Characters(name, sha256_bytes(text.encode()), "".join(map(chr, alphabet)), train, val)
