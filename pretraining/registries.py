"""A name in a config becomes a thing: known names by table, your own by `module:function` or one decorator.

    optimizer: my_project.optimizers:sophia      # in YAML, or optimizer=my_project.optimizers:sophia

    @register("optimizer", "sophia")             # or in Python; then optimizer=sophia
    def sophia(model, config): ...

Both ways need one function and no change here. What each kind of function is given and gives back:

| key | is called with | returns |
|---|---|---|
| optimizer | (model, config) | a torch optimizer over the model's parameters |
| schedule | (q, phase), q from 0 to 1 after warm-up, `schedules.Phase` | share of the peak rate |
| objective | (logits (B, T, V), labels (B, T)) | mean loss of the labelled tokens, with a gradient |
| data | (config) | texts or `Document`s, one after another |
| tokenizer | (texts, config) | a tokenizer (the protocol of `working_with_text_data.tokenizer`) |

A function named in a config is imported and run, as any code that you import: take configs, like programs,
from people you trust. Left out: classes with state, entry points.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from utils.errors import UserError, closest, did_you_mean, one_line

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
KINDS = ("optimizer", "schedule", "objective", "data", "tokenizer")
OWN_DATA: dict[str, Callable[..., Any]] = {}
OWN_TOKENIZERS: dict[str, Callable[..., Any]] = {}


def table(kind: str) -> dict[str, Callable[..., Any]]:
    """The table of names of one kind. Raises UserError for a kind that there is not."""
    if kind == "optimizer":
        from pretraining.optimizers import OPTIMIZERS

        return OPTIMIZERS
    if kind == "schedule":
        from pretraining.schedules import SCHEDULES

        return SCHEDULES
    if kind == "objective":
        from pretraining.objectives import OBJECTIVES

        return OBJECTIVES
    if kind not in KINDS:
        raise UserError(f"there is no registry of {kind!r}: choose {', '.join(KINDS)}")
    return OWN_DATA if kind == "data" else OWN_TOKENIZERS


def register(kind: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds a function under `name`. Raises UserError for a name that is taken."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        known = table(kind)
        if known.get(name, function) is not function:
            raise UserError(f"there already is a {kind} named {name!r}: give yours another name")
        known[name] = function
        return function

    return add


def is_path(name: str) -> bool:
    """Whether `name` has the form `module:function`.

    >>> is_path("my.module:build"), is_path("adamw"), is_path("C:/texts/book.txt")
    (True, False, False)
    """
    return _PATH.fullmatch(name) is not None


def imported(kind: str, path: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises UserError saying which half was not found."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UserError(
                f"{kind} is {path!r}, but Python finds no module {error.name!r}: "
                "run from its folder with `python -m`, install it, or set PYTHONPATH"
            ) from None
        raise UserError(f"{kind} is {path!r}, but importing it failed: {one_line(error)}") from error
    except Exception as error:
        raise UserError(f"{kind} is {path!r}, but importing it failed: {one_line(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        offered = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        hint = did_you_mean(closest(name, offered))
        raise UserError(
            f"{kind} is {path!r}, but {module_name} has no function {name!r}{hint and ': ' + hint}"
        )
    return function


def resolve(
    kind: str, name: str, known: Mapping[str, Callable[..., Any]] | None = None
) -> Callable[..., Any]:
    """The function that a config names: a key of the kind's table, or `module:function`.

    Raises UserError listing the known names.
    """
    names = table(kind) if known is None else known
    if name in names:
        return names[name]
    if is_path(name):
        return imported(kind, name)
    hint = did_you_mean(closest(name, names))
    raise UserError(
        f"{kind} is {name!r}, but there is no such {kind}: {hint}choose {', '.join(names)}, or module:function"
    )


def find_own(kind: str, name: str) -> Callable[..., Any] | None:
    """The function behind a `data` or `tokenizer` that is registered or `module:function`; None for all others."""
    own = table(kind)
    if name in own:
        return own[name]
    if not is_path(name) or name.startswith("tiktoken:") or Path(name).exists():
        return None  # "tiktoken:gpt2" is that tokenizer by another engine
    return imported(kind, name)


def own_documents(function: Callable[..., Any], config: Any) -> list[Any]:
    """What a `data` function gives, as documents; a text becomes one. Raises UserError for anything else."""
    from working_with_text_data.documents import Document

    documents: list[Document] = []
    for index, item in enumerate(islice(function(config), config.max_documents)):
        if isinstance(item, str):
            item = Document(item, config.data, index)
        if not isinstance(item, Document):
            raise UserError(
                f"data is {config.data!r}, which gave a {type(item).__name__} at place {index}: "
                "give texts or Documents"
            )
        documents.append(item)
    if not documents:
        raise UserError(f"data is {config.data!r}, which gave no document: give at least one text")
    return documents
