"""The names under which the server offers its models: `assets`, `demo/20261120-114530-k3f9`, `gpt2`.

The idea: a name that comes from outside is only ever looked up in the list of what is there, never joined to a path.
So no name, however it is spelled (`../../etc`), can reach a file that is not a model of this server (law LS5).

Left out: loading (`models`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from chat_ui.limits import NAME_CHARACTERS
from utils.errors import UserError, closest, did_you_mean

FRESH = 2.0  # seconds for which a list is good; a name that it lacks is looked for on the disk again


class UnknownModel(UserError):
    """No model has this name."""


class ModelIds:
    """Names of the models of a `models.Models`, read from disk when a list is older than `FRESH`."""

    def __init__(self, models: Any) -> None:
        self.models = models
        self._known: dict[str, str] = {}
        self._read = -FRESH

    def all(self) -> dict[str, str]:
        """Each id with what `Models.get` takes, the default model first. Reads the disk: call it in a thread."""
        found: dict[str, str] = {}
        for choice in self.models.choices():
            found.setdefault(id_of(choice.ref, choice.ref == self.models.first), choice.ref)
        found |= {name: name for name in _gpt2_here() if name not in found}
        self._known, self._read = found, time.monotonic()
        return found

    def ref_of(self, id: str) -> str:
        """What `Models.get` takes for an id; "" is the default model. Raises UnknownModel."""
        if not id:
            return str(self.models.default())
        if time.monotonic() - self._read > FRESH or id not in self._known:
            self.all()
        if id not in self._known:
            shown = id[:NAME_CHARACTERS]
            there = ", ".join(list(self._known)[:5]) or "none yet: make one with `scratchbook demo`"
            guess = did_you_mean(closest(shown, self._known))
            raise UnknownModel(f"there is no model {shown!r}: {guess}/v1/models lists them ({there})")
        return self._known[id]


def _gpt2_here() -> list[str]:
    """The sizes of GPT-2 that are in Hugging Face's cache on this machine."""
    from chat_ui.models import gpt2_here

    return gpt2_here()


def id_of(ref: str, first: bool) -> str:
    """The public name of a reference: stage and id of a run, a folder's last part, else the reference."""
    path = Path(ref)
    if (path / "run.json").is_file():
        path = path.resolve()
        return f"{path.parent.name}/{path.name}"
    return path.name if first else ref
