"""/api/v1/transformer: what a configuration costs (`shapes`), and what a loaded model does (`insides`)."""

from __future__ import annotations

from fastapi import APIRouter

from chat_ui.api import insides, shapes

router = APIRouter()
router.include_router(shapes.router)
router.include_router(insides.router)
