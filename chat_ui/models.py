"""Which models can be talked to, and the few that are in memory right now.

Every run directory with a checkpoint is a model, and so is the small checkpoint that comes with the book.
The list is read from disk each time it is shown, so that a run that has just finished is there without a
restart; a loaded model is shared by all chats, because generation keeps its state in a cache of its own and
never on the model.

An adapter is a model too, under the name BASE+FOLDER (`finetuning.adapter_views`).

Left out: downloads; writing checkpoints (`pretraining.checkpoints`).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.runs import Run, list_runs

# How `scratchbook chat --ckpt` reaches the app, which Chainlit may also start by itself.
CKPT_VARIABLE = "SCRATCHBOOK_CHAT_CKPT"
ASSETS = "assets"
ADAPTER = "adapter_config.json"  # beside the merged weights of a run that trained an adapter
GPT2_VOCABULARY = 50257  # whoever has so many rows reads GPT-2's tokens
NO_MODEL = (
    "no model found: make one with `scratchbook demo`, or name one with `scratchbook chat --ckpt REF` "
    "(a run or a checkpoint folder)"
)


@dataclass(frozen=True)
class Choice:
    """One line of the model picker: `ref` is what `load_model` takes, `label` what a person reads."""

    ref: str
    label: str


def has_weights(folder: Path) -> bool:
    """Whether a run directory or checkpoint folder holds, at any depth, weights that could be loaded."""
    return any(folder.rglob("model.safetensors"))


class Models:
    """The models that can be chosen under `root`, and a small shelf of loaded ones.

    `first` is what the person named at the start; it heads the list. `capacity` models stay loaded; the
    one used longest ago goes first. `load` and `assets` can be replaced in tests.
    """

    def __init__(
        self,
        *,
        first: str | None = None,
        root: Path | None = None,
        assets: Path | None = None,
        capacity: int = 2,
        device: str = "cpu",
        load: Callable[..., Any] | None = None,
    ) -> None:
        self.first = first
        self.root = root
        self.assets = assets or Path(__file__).resolve().parents[1] / "gpt_model" / "assets"
        self.capacity = capacity
        self.device = device
        self._load = load
        self._loaded: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self) -> list[Choice]:
        """All models, in the order of the picker: the one asked for, the demo's, the book's, every run, GPT-2."""
        runs = [run for run in list_runs(root=self.root) if has_weights(run.path)]  # newest first
        named = [Choice(self.first, f"{Path(self.first).name} (--ckpt)")] if self.first else []
        book = [Choice(ASSETS, "the book's own small model")] if has_weights(self.assets) else []
        demo = [_choice(run) for run in runs if run.stage == "demo"]
        rest = [_choice(run) for run in runs if run.stage != "demo"]
        gpt2 = [Choice(name, f"{name} (Hugging Face's cache)") for name in gpt2_here()]
        every = [*named, *self._adapters(), *demo[:1], *book, *demo[1:], *rest, *gpt2]
        return list({choice.ref: choice for choice in reversed(every)}.values())[
            ::-1
        ]  # each once, at its first place

    def _adapters(self) -> list[Choice]:
        """Where `--ckpt BASE+FOLDER` named an adapter: the base, and the adapters beside that one."""
        if not self.first or "+" not in self.first:
            return []
        from finetuning.adapter_views import neighbours

        others = [ref for ref in neighbours(self.first) if ref != self.first]
        return [Choice(ref, f"{Path(ref).name} (adapter)") for ref in others]

    def default(self) -> str:
        """The model a new chat starts with. Raises UserError, saying how to make one, if there is none."""
        choices = self.choices()
        if not choices:
            raise UserError(NO_MODEL)
        return choices[0].ref

    def get(self, ref: str) -> Any:
        """The loaded model for `ref` (model, tokenizer, path, config), from the shelf or from disk.

        Slow the first time: call it in a thread. Raises UserError when there is no such model or its files
        are damaged.
        """
        key = (ref, self._stamp(ref))
        with self._lock:  # two chats that open at once must not load the same model twice
            if key not in self._loaded:
                loaded = self._loader()(ref, device=self.device)
                if loaded.tokenizer is None:
                    loaded = replace(loaded, tokenizer=_tokenizer_of(loaded, ref))
                loaded.model.eval()
                self._loaded[key] = loaded
            self._loaded.move_to_end(key)
            while len(self._loaded) > self.capacity:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def ready(self, ref: str) -> Any | None:
        """What `get` would give, if it is on the shelf: at once, also while another model is being read."""
        key = (ref, self._stamp(ref))
        with suppress(KeyError):
            self._loaded.move_to_end(key)
            return self._loaded[key]
        return None

    def _loader(self) -> Callable[..., Any]:
        if self._load is None:
            from finetuning.adapter_views import open_model  # a name, or BASE+ADAPTER

            self._load = open_model
        return self._load

    @staticmethod
    def _stamp(ref: str) -> str:
        """What changes when a run that is still training saves again: its `last` pointer."""
        pointer = Path(ref) / "checkpoints" / "last"
        try:
            return pointer.read_text(encoding="utf-8") if pointer.is_file() else ""
        except OSError:
            return ""


@cache
def shelf() -> Models:
    """The models of this server; made at the first use, with the one named by `--ckpt` in front."""
    return Models(first=os.environ.get(CKPT_VARIABLE) or None)


def _tokenizer_of(loaded: Any, ref: str) -> Any:
    """The tokenizer of a model in Hugging Face's layout: its own file, or GPT-2's published one.

    Raises UserError when there is neither.
    """
    from working_with_text_data.tiktoken_ranks import at_hand
    from working_with_text_data.tokenizer import load_tokenizer

    file = Path(loaded.path) / "tokenizer.json"
    if file.is_file():
        return load_tokenizer(file)
    if loaded.config.vocab_size == GPT2_VOCABULARY and at_hand("gpt2"):
        return load_tokenizer("gpt2")
    raise UserError(f"{ref} has no tokenizer.json beside its weights: the chat needs one")


def gpt2_here() -> list[str]:
    """The sizes of GPT-2 that are in Hugging Face's cache on this machine."""
    from gpt_model.huggingface import GPT2_NAMES, find_in_cache

    return [name for name in GPT2_NAMES if find_in_cache(name)]


def _choice(run: Run) -> Choice:
    adapted = any(run.path.glob(f"checkpoints/*/{ADAPTER}"))
    return Choice(str(run.path), f"{run.stage} {run.id}{' (adapter)' if adapted else ''}")
