"""A dataclass as a schema: its keys, their defaults, and a check of plain values against its types.

The idea: YAML and command lines give text, numbers, lists and mappings. `build` walks the type hints of the
dataclass and makes an instance, or says in one line which key holds what and what it must be.
Nested dataclasses, `Literal`, unions, tuples, lists, mappings, enums and paths are understood.
Left out: where the values come from (`utils.config`), and constraints between values, which are the
dataclass's own `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from utils.errors import UserError, closest, did_you_mean, one_line
from utils.files import jsonable

T = TypeVar("T")
REQUIRED = "\0required"  # stands for a value that must be given; no text from a person can equal it


def settable_fields(cls: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init]


def dataclass_in(kind: Any) -> type | None:
    """The dataclass that a field's type is or may be (`Model`, `Model | None`), else None."""
    for candidate in (kind, *typing.get_args(kind)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def default_tree(cls: type) -> dict[str, Any]:
    """The defaults of a config class as plain values, `REQUIRED` where a value must be given."""
    values: dict[str, Any] = {}
    for field, kind in settable_fields(cls):
        if field.default is not dataclasses.MISSING:
            values[field.name] = jsonable(field.default, finite=False)
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = jsonable(field.default_factory(), finite=False)
        else:
            nested = dataclass_in(kind)
            values[field.name] = REQUIRED if nested is None else default_tree(nested)
    return values


def flat_keys(cls: type, prefix: str = "") -> dict[str, Any]:
    """Every settable key of a config class in order, as dot paths, with its type.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Optimizer:
    ...     lr: float = 3e-4
    >>> flat_keys(Optimizer)
    {'lr': <class 'float'>}
    """
    keys: dict[str, Any] = {}
    for field, kind in settable_fields(cls):
        nested = dataclass_in(kind)
        if nested is not None:
            keys.update(flat_keys(nested, f"{prefix}{field.name}."))
        else:
            keys[prefix + field.name] = kind
    return keys


def flat_defaults(cls: type) -> dict[str, Any]:
    """The default of every key of `flat_keys`, "required" where there is none."""

    def look(tree: Any, key: str) -> Any:
        for part in key.split("."):
            tree = tree.get(part) if isinstance(tree, Mapping) else None
        return "required" if tree == REQUIRED else tree

    tree = default_tree(cls)
    return {key: look(tree, key) for key in flat_keys(cls)}


def type_name(kind: Any) -> str:
    """A type as a person writes it: `int`, `float or null`, `'mha' | 'gqa'`, `list of int`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " | ".join(repr(a) for a in arguments)
    if origin in (Union, types.UnionType):
        names = [type_name(a) for a in arguments if a is not type(None)]
        return " or ".join(names + (["null"] if type(None) in arguments else []))
    if origin in (list, Sequence):
        return f"list of {type_name(arguments[0])}"
    if origin is tuple:
        if arguments[-1] is ...:
            return f"list of {type_name(arguments[0])}"
        return f"list of {len(arguments)} values ({', '.join(type_name(a) for a in arguments)})"
    if origin in (dict, Mapping):
        return f"mapping of text to {type_name(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " | ".join(repr(member.value) for member in kind)
    plain: dict[Any, str] = {str: "text", Path: "path", bool: "true or false", Any: "anything"}
    return plain.get(kind) or str(getattr(kind, "__name__", kind))


def is_text(kind: Any) -> bool:
    """Whether a value of this kind is text as it stands (`str`, `Path`, also optional), and not YAML."""
    if typing.get_origin(kind) in (list, dict, tuple):
        return False  # a list of text is written as YAML: prompts=["a", "b"]
    choices = [k for k in (typing.get_args(kind) or (kind,)) if k is not type(None)]
    return bool(choices) and all(k in (str, Path) for k in choices)


def _closest_path(wrong: str, paths: Sequence[str]) -> str | None:
    """The dot path meant by an unknown one: spelled nearly so, or with a last part spelled nearly so."""
    leaves = {path.rpartition(".")[2]: path for path in reversed(paths)}
    leaf = closest(wrong.rpartition(".")[2], leaves)
    return closest(wrong, paths) or (leaves[leaf] if leaf else None)


def build(cls: type[T], tree: Mapping[Any, Any], prefix: str) -> T:
    """An instance of `cls` from plain values, each checked. `prefix` is the dot path down to here."""
    fields = settable_fields(cls)
    valid = [field.name for field, _ in fields]
    for key in tree:
        if key not in valid:
            paths = [prefix + path for path in flat_keys(cls)]
            hint = did_you_mean(_closest_path(prefix + str(key), paths))
            where = f"in {prefix.rstrip('.')} " if prefix else ""
            raise UserError(f"unknown key {prefix}{key}: {hint}valid keys {where}are {', '.join(paths)}")
    values = {f.name: _check(tree[f.name], kind, prefix + f.name) for f, kind in fields if f.name in tree}
    try:
        return cls(**values)
    except UserError:
        raise
    except ValueError as exc:  # the dataclass's own __post_init__
        raise UserError(f"{prefix.rstrip('.') or cls.__name__}: {one_line(exc)}") from exc


def _check(value: Any, kind: Any, key: str) -> Any:
    """`value` as `kind`, or a `UserError` that names key, value and type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    wrong = UserError(f"{key} is {value!r} but must be {type_name(kind)}")
    if value == REQUIRED:
        raise UserError(f"{key} has no default: give {key}=… ({type_name(kind)})")
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _check_union(value, arguments, key, wrong)
    if origin is Literal:
        same = [a for a in arguments if a == value and type(a) is type(value)]
        if not same:
            hint = did_you_mean(closest(str(value), map(str, arguments)))
            raise UserError(f"{key} is {value!r} but must be one of {type_name(kind)}: {hint}".rstrip(": "))
        return same[0]
    if origin in (list, Sequence, tuple):
        if not isinstance(value, list):
            raise wrong
        if origin is tuple and arguments[-1] is not ...:
            if len(value) != len(arguments):
                raise wrong
            return tuple(_check(v, k, f"{key}[{i}]") for i, (v, k) in enumerate(zip(value, arguments)))
        checked = [_check(v, arguments[0], f"{key}[{i}]") for i, v in enumerate(value)]
        return tuple(checked) if origin is tuple else checked
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise wrong
        return {str(k): _check(v, arguments[1], f"{key}.{k}") for k, v in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            example = f"{key}.{settable_fields(kind)[0][0].name}"
            raise UserError(f"{key} is {value!r} but holds keys of its own: write {example}=…")
        return build(kind, value, f"{key}.")
    return _check_plain(value, kind, wrong)


def _check_union(value: Any, arguments: tuple[Any, ...], key: str, wrong: UserError) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [a for a in arguments if a is not type(None)]
    exact = [a for a in choices if type(value) is a]  # `int | float` keeps an int an int
    for choice in exact + choices:
        try:
            return _check(value, choice, key)
        except UserError as exc:
            if len(choices) == 1:
                raise wrong if dataclasses.is_dataclass(choice) is False else exc from None
    raise wrong


def _check_plain(value: Any, kind: Any, wrong: UserError) -> Any:
    """The scalar types. An int is a float, a float without fraction (1e6) is an int, true is no number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind is float and number:
        return float(value)
    if kind is str and (isinstance(value, str) or number):
        return str(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        for member in kind:
            if value in (member.value, member.name):
                return member
    if kind in (list, dict, tuple) and isinstance(value, list if kind is tuple else kind):
        return kind(value)
    raise wrong
