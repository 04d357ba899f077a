"""What the routes look at: the server's models, its folder of runs, and tokenizers by name.

The idea: a name from outside is only ever compared with a list that was made here; it is never part of a path. A
model has the id that `/v1/models` gives it. A tokenizer is `byte`, that of a model (by the model's id), or a published
one whose ranks are on this disk. What computes is handed to the server's own thread for such work
(`Service.compute`), whose queue is bounded.

Left out: loading and generating, which are the service's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from chat_ui.api.route import NotHere, NotWhole, shortened
from chat_ui.model_ids import UnknownModel
from chat_ui.service import Service
from utils.errors import UserError, closest, did_you_mean

T = TypeVar("T")
KEPT_TOKENIZERS = 8


class Context:
    """The models, the runs and the tokenizers that the routes may name."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.root: Path | None = service.models.root
        self.streams = 0  # followers of run files
        self._tokenizers: OrderedDict[tuple[str, Any], Any] = OrderedDict()
        self._lock = threading.Lock()

    async def compute(self, work: Callable[[], T]) -> T:
        """`work()` in the thread for everything that computes. Raises `service.Busy` when too much waits."""
        return await self.service.compute(work)

    async def model(self, name: str) -> Any:
        """The loaded model (model, tokenizer, path, config) with this id.

        Raises UnknownModel for an id that is not in the list, NotWhole for one whose files cannot be read now.
        """
        ref = await self.service.ref_of(name)
        try:
            return await self.service.load(ref)
        except (UserError, OSError) as error:
            raise _not_whole(f"model {shortened(name)}", error) from None

    def tokenizers(self) -> dict[str, str]:
        """Names of all tokenizers at hand → where each comes from: byte, published or model."""
        from working_with_text_data.tiktoken_ranks import ENCODINGS, at_hand

        published = {name: "published" for name in ENCODINGS if at_hand(name)}
        return {"byte": "byte"} | {name: "model" for name in self.service.names.all()} | published

    def tokenizer(self, name: str) -> Any:
        """A tokenizer by its name; a model's weights are not loaded for it. Raises NotHere or NotWhole."""
        known = self.tokenizers()
        if name not in known:
            hint = did_you_mean(closest(name[:80], known))
            raise NotHere(f"no tokenizer {shortened(name)}: {hint}there are {', '.join(list(known)[:8])}")
        try:
            return self._kept(name, known[name])
        except UnknownModel:
            raise
        except (UserError, OSError) as error:
            raise _not_whole(f"tokenizer {shortened(name)}", error) from None

    def _kept(self, name: str, kind: str) -> Any:
        from gpt_model.loading import find_checkpoint
        from working_with_text_data.tokenizer import load_tokenizer

        place: str | Path = name
        stamp = None
        if kind == "model":
            place = find_checkpoint(self.service.names.ref_of(name), root=self.root) / "tokenizer.json"
            if not place.is_file():
                raise UserError("it has no tokenizer.json beside its weights")
            status = place.stat()
            stamp = (str(place), status.st_mtime_ns, status.st_size)
        with self._lock:  # two requests at once must not read the same file twice
            if (name, stamp) not in self._tokenizers:
                self._tokenizers[name, stamp] = load_tokenizer(place)
            self._tokenizers.move_to_end((name, stamp))
            while len(self._tokenizers) > KEPT_TOKENIZERS:
                self._tokenizers.popitem(last=False)
            return self._tokenizers[name, stamp]


def _not_whole(what: str, error: UserError | OSError) -> NotWhole:
    """Something that is in the list and cannot be used at this moment."""
    if isinstance(error, UserError):
        return NotWhole(f"{what} cannot be used: {error}")
    why = error.strerror or type(error).__name__
    return NotWhole(f"{what} changed while it was read ({why}): ask again")


def context_of(request: Request) -> Context:
    """The context of the app's service; made at the first request."""
    state = request.app.state
    context: Context | None = getattr(state, "rest", None)
    if context is None or context.service is not state.service:
        context = state.rest = Context(state.service)
    return context


Here = Annotated[Context, Depends(context_of)]
