"""Names of a package that are imported when they are first used (PEP 562).

A chapter's `__init__` says where its public names live and hands `__getattr__` to `resolve`, so that
`import gpt_model` costs nothing and `scratchbook --help` never waits for torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def resolve(package: str, where: Mapping[str, str], name: str) -> Any:
    """The object `name` of `package`, from the module that `where` names; found once, then kept.

    `where` maps a public name to a module of the package. Raises AttributeError for any other name, as
    Python asks of a module's `__getattr__`.
    """
    if name not in where:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
