"""What the served app is made of, away from Modal: a model that is ready, and the server of `chat_ui` around it.

A container that wakes from a snapshot has its memory as it was: torch is imported and the weights are in place. But
threads, sockets and random generators of that moment would be copied too, so what is prepared before the snapshot is
data only (`warm`), and the app with its threads is made after it (`web_app`).
Left out: everything that the app does (`chat_ui.server`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError

PASSWORD = "SCRATCHBOOK_PASSWORD"


def warm(ckpt: str, runs: Path | None = None, device: str = "cpu") -> Any:
    """The models of a server, the first of them loaded: what a snapshot keeps. Starts no thread."""
    from chat_ui.models import Models

    models = Models(first=ckpt, root=runs, device=device)
    models.get(models.default())
    return models


def web_app(models: Any, *, runs: Path | None = None, environment: Mapping[str, str] = os.environ) -> Any:
    """The ASGI app around models that are ready.

    Raises UserError without a password: what is deployed can be reached by anyone.
    """
    password = environment.get(PASSWORD, "")
    if not password:
        raise UserError(
            f"{PASSWORD} is not set: a server on the open internet has a password (see README.md)"
        )
    from chat_ui.server import Options, create_app
    from chat_ui.service import Service

    options = Options(runs=runs, device=models.device, password=password)
    return create_app(options, service=Service(models))
