"""Typed configs: a frozen dataclass, a YAML file over its defaults, `key=value` over the file.

The idea: the dataclass is the schema (`utils.schema`). OmegaConf reads YAML, merges the layers and resolves
`${...}`; then every value is checked, and an unknown key or a wrong type is one line that names it. A command
has one config dataclass: its flags are other names for keys, and `--help` lists every key with its default.
Left out: config groups, sweeps, a changing working directory, and sub-commands, which the front door
`scratchbook` hands to a chapter's own `main`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from utils.errors import UserError, closest, did_you_mean, one_line
from utils.files import jsonable
from utils.provenance import project_root
from utils.schema import (
    build,
    dataclass_in,
    default_tree,
    flat_defaults,
    flat_keys,
    is_text,
    settable_fields,
    type_name,
)

T = TypeVar("T")
_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")


def load_config(cls: type[T], yaml: Path | str | None = None, overrides: Sequence[str] = ()) -> T:
    """Build the dataclass `cls` from its defaults, then the file `yaml`, then `overrides`; the last one wins.

    An override is `dot.path=value`: text as it stands for a text field, YAML for every other (`3e-4`, `true`,
    `null`, `[0.9, 0.95]`). Values may refer to others, `${model.n_embd}`, and to the project's folder,
    `${root:data}`. Raises `UserError`, in one line, for a missing or malformed file, an unknown key, a wrong
    type, a required key without a value, and whatever the dataclass's own `__post_init__` refuses.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    OmegaConf.register_new_resolver("root", lambda *p: str(project_root().joinpath(*p)), replace=True)
    merged: Any = OmegaConf.create(default_tree(cls))
    try:
        if yaml is not None:
            merged = OmegaConf.merge(merged, _read_yaml(Path(yaml)))
        for override in overrides:
            key, value = _parse_override(override, cls)
            OmegaConf.update(merged, key, value, force_add=True)  # merge would drop the text "???"
        tree = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError) as exc:
        raise UserError(f"config: {one_line(exc)}") from None
    assert isinstance(tree, dict)
    return build(cls, tree, "")


def to_dict(config: Any) -> dict[str, Any]:
    """A config in plain JSON types, for run.json; `load_config` reads it back (but infinity is null)."""
    return jsonable(config)


def command_words(config: Any, leave_out: Collection[str] = ("out",)) -> list[str]:
    """The settings of a config that differ from their defaults, as one would type them: `["rounds=3"]`.

    A results file names its command with them. A list stands without spaces and quotes; every field needs a default.
    """
    default = type(config)()
    return [
        f"{key}={list(value) if isinstance(value, tuple) else value}".replace(" ", "").replace("'", "")
        for key, value in vars(config).items()
        if value != getattr(default, key) and key not in leave_out
    ]


def _read_yaml(path: Path) -> Any:
    import yaml
    from omegaconf import OmegaConf

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:  # only remarks
            return OmegaConf.create({})
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"config file {path} must hold `key: value` lines at its top level")
        return OmegaConf.create(text)
    except FileNotFoundError:
        raise UserError(f"config file {path} not found: check the name after --config") from None
    except OSError as exc:
        raise UserError(f"config file {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"config file {path} is not a YAML text: it is not UTF-8") from None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = one_line(getattr(exc, "problem", None) or exc)
        raise UserError(f"config file {path}{where} is not valid YAML: {problem}") from None


def _parse_override(override: str, cls: type) -> tuple[str, Any]:
    """`a.b=value` as the dot path and the value, which is text as it stands or YAML."""
    from omegaconf import OmegaConf

    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"{override!r} is not an override: write key=value, such as lr=3e-4")
    kind = flat_keys(cls).get(key)
    value: Any = text
    if not is_text(kind) or (text == "null" and type(None) in get_args(kind)):
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
        value = parsed["value"]
    return key, value


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument is a `UserError` of one line instead of a printed usage and an exit."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


class _AppendOverride(argparse.Action):
    """A flag that is another name for a key. All of them share one list, so the last one given wins."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if self.nargs == 0:
            values = "false" if (option_string or "").startswith("--no-") else "true"
        namespace.overrides = [*namespace.overrides, f"{self.const}={values}" if self.const else values]


def parse_args(
    argv: Sequence[str] | None,
    cls: type[T],
    *,
    prog: str,
    description: str,
    aliases: Mapping[str, str] | None = None,
    positional: Mapping[str, str] | None = None,
    configure: Callable[[argparse.ArgumentParser], None] | None = None,
) -> tuple[T, argparse.Namespace]:
    """Read a command line into a config of type `cls`. Returns it with the namespace of everything else.

    `aliases` maps flags to keys, `{"--lr": "optim.lr"}`; a yes/no key gets `--flag` and `--no-flag`, and an
    underscore in a flag may be written as a dash. `positional` maps names to help, in order; a name that ends
    in "?" may be left out and is then None (`{"run?": "which run"}` gives `namespace.run`). An argument that
    looks like `key=value` is always an override; write `--` before text that looks like one.
    `configure` may add flags of the command's own, found in the namespace.
    Raises `UserError` for anything that does not fit, `SystemExit(0)` after `--help`.
    """
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=describe_keys(cls),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=_usage(prog, positional or {}),
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML file with keys from the list below")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action=_AppendOverride, dest="overrides", default=[], help="set one key"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    kinds = flat_keys(cls)
    for flag, key in (aliases or {}).items():
        if key not in kinds:
            raise KeyError(f"alias {flag} of {prog} means {key}, which {cls.__name__} does not have")
        _add_alias(parser, flag, key, kinds[key])
    if configure is not None:
        configure(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser.add_argument("_words", nargs="*", help=argparse.SUPPRESS)
    namespace, unknown = parser.parse_known_intermixed_args(arguments[:end])
    if unknown:
        _refuse(unknown[0], parser, kinds)
    bare = [word for word in namespace._words if _OVERRIDE.match(word)]
    words = [word for word in namespace._words if not _OVERRIDE.match(word)]
    del namespace._words
    _place(words + arguments[end + 1 :], positional or {}, namespace, prog)
    namespace.overrides = [*namespace.overrides, *bare]
    return load_config(cls, namespace.config, namespace.overrides), namespace


def describe_keys(cls: type) -> str:
    """The list of keys at the end of `--help`: one line each with its default, type and help."""
    helps = _helps(cls)
    defaults = flat_defaults(cls)
    rows = []
    for key, kind in flat_keys(cls).items():
        value = defaults[key]
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        rows.append(
            (f"{key}={shown}", f"{type_name(kind)}{': ' if helps.get(key) else ''}{helps.get(key, '')}")
        )
    width = min(38, max((len(left) for left, _ in rows), default=0))
    lines = [f"  {left:<{width}}  {right}" for left, right in rows]
    return "keys with their defaults (set them as key=value):\n" + "\n".join(lines)


def _helps(cls: type, prefix: str = "") -> dict[str, str]:
    helps: dict[str, str] = {}
    for field, kind in settable_fields(cls):
        nested = dataclass_in(kind)
        if nested is not None:
            helps.update(_helps(nested, f"{prefix}{field.name}."))
        else:
            helps[prefix + field.name] = field.metadata.get("help", "")
    return helps


def _usage(prog: str, positional: Mapping[str, str]) -> str:
    words = "".join(f" [{n.rstrip('?')}]" if n.endswith("?") else f" {n}" for n in positional)
    lines = [f"  {name.rstrip('?'):<12} {text}" for name, text in positional.items()]
    return f"{prog}{words} [--config FILE] [key=value ...]" + "".join(f"\n{line}" for line in lines)


def _add_alias(parser: argparse.ArgumentParser, flag: str, key: str, kind: Any) -> None:
    spellings = list(dict.fromkeys([flag, flag.replace("_", "-")]))
    boolean = kind is bool
    if boolean:
        spellings += [f"--no-{s.removeprefix('--')}" for s in spellings]
    parser.add_argument(
        *spellings,
        action=_AppendOverride,
        dest="overrides",
        const=key,
        default=[],
        nargs=0 if boolean else None,
        metavar=None if boolean else type_name(kind).split(" ")[0].upper(),
        help=f"the same as {key}={'true (or false)' if boolean else '…'}".replace("%", "%%"),
    )


def _place(words: list[str], positional: Mapping[str, str], namespace: argparse.Namespace, prog: str) -> None:
    """Give the words that are not overrides to the positional names, in order."""
    names = list(positional)
    if len(words) > len(names):
        extra = words[len(names)]
        raise UserError(
            f"unexpected argument {extra!r}: settings are written key=value (see `{prog} --help`)"
        )
    for index, name in enumerate(names):
        if index >= len(words) and not name.endswith("?"):
            raise UserError(f"{name} is missing: {positional[name]} (see `{prog} --help`)")
        setattr(namespace, name.rstrip("?"), words[index] if index < len(words) else None)


def _refuse(word: str, parser: argparse.ArgumentParser, kinds: Mapping[str, Any]) -> NoReturn:
    """A flag that does not exist, with the nearest flag or key."""
    flag = word.partition("=")[0]
    key = flag.lstrip("-").replace("-", "_")
    if key in kinds:
        raise UserError(f"unknown flag {flag}: write {key}=VALUE (see `{parser.prog} --help`)")
    options = [option for action in parser._actions for option in action.option_strings]
    hint = did_you_mean(closest(flag, options))
    raise UserError(f"unknown flag {flag}: {hint}see `{parser.prog} --help`")
