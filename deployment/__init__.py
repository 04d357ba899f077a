"""Deployment: from a laptop to one rented GPU, to a cluster, to a small machine without this code.

Names are loaded when they are first used: importing the chapter costs nothing and asks for no account.
"""

from __future__ import annotations

from typing import Any

from utils.lazy import resolve

_EXPORTS = {
    "Job": "jobs",
    "JobResult": "jobs",
    "run_job": "jobs",
    "Place": "places",
    "local_place": "places",
    "Lease": "lease",
    "look": "resume",
    "Gpu": "cost",
    "estimate": "cost",
    "parse_gpu": "cost",
    "TrainSpec": "spec",
    "ServeSpec": "spec",
    "WorkspaceSpec": "spec",
    "pins": "image",
    "export_edge": "export",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    return resolve(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
