"""`run_ranks` and `run_commands` of `pretraining.local_ranks`, with what tests need around them."""

import os

import pytest

import pretraining.fsdp  # noqa: F401  (imported once here, not again in every child)
from pretraining.local_ranks import run_commands, run_ranks

__all__ = ["needs_fork", "run_commands", "run_ranks"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked children")
