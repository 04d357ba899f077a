"""`modal deploy deployment/modal_serve.py`: the book's server on a rented machine that sleeps when nobody asks.

The same app as `scratchbook serve`: the OpenAI-compatible API, the REST routes, the pages. One container at most,
because a conversation's cache lives in one process, many requests at a time in it, none at all (and nothing to pay)
after a few idle minutes. It wakes from a snapshot of its memory in which torch and the weights are loaded already.

A password is not optional here: `modal secret create scratchbook-password SCRATCHBOOK_PASSWORD=…` once, before the
first deploy. Clients send it as they send an API key. What Modal itself does was not run: there was no account
(deployment/README.md). Settings: `deployment.spec.ServeSpec`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import modal

from deployment.image import SERVE_EXTRAS, modal_image
from deployment.serving import warm, web_app
from deployment.spec import ServeSpec, from_environment, serve_options

SPEC = from_environment(ServeSpec, "SCRATCHBOOK_SERVE_")
RUNS = Path(SPEC.mount) / "runs"
app = modal.App("scratchbook", image=modal_image(SERVE_EXTRAS))


@app.cls(**serve_options(SPEC))
@modal.concurrent(max_inputs=SPEC.concurrency)
class Server:
    """One container: its models, and the app around them."""

    @modal.enter(snap=True)
    def load(self) -> None:
        """Before the snapshot: everything that is slow and only data."""
        self.models = warm(SPEC.ckpt, RUNS, SPEC.device)

    @modal.asgi_app()
    def web(self) -> Any:
        """After it: threads, engines, routes."""
        return web_app(self.models, runs=RUNS)
