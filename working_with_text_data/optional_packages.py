"""Packages that only some readers need: imported when used, and named in one line when missing.

The first install of the book stays small (see `[project.optional-dependencies]` in `pyproject.toml`).
"""

from __future__ import annotations

import importlib
from types import ModuleType

from utils.errors import UserError


def need(module: str, what_for: str, extra: str = "data") -> ModuleType:
    """Import `module`, or raise `UserError` with the command that installs the extra it belongs to.

    >>> need("json", "reading JSON").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is there, but one of its own is not
        raise UserError(
            f"{what_for} needs the package {package}, which is not installed: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        ) from None
