"""REST for what the book can look at: tokens, transformers, runs. Three routers under /api/v1.

`tokenization` cuts texts; `transformer` counts what a configuration costs (`shapes`) and looks into a model that is
loaded (`insides`); `runs` reads run directories and follows those that are still going. The numbers are those of the
chapters. What is here is who may ask how much, and in what words.

    app.state.service = Service(models)      # whose models, names, threads and folder of runs are looked at
    for router in routers():
        app.include_router(router)

Importing this costs nothing. Left out: generating text (`openai_api`), starting and stopping work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

MODULES = ("tokenization", "transformer", "runs")


def routers() -> list[APIRouter]:
    """All routers, in the order of the documentation page."""
    return [import_module(f"chat_ui.api.{name}").router for name in MODULES]
