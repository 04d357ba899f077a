"""A GPT with sliding-window attention (SWA): a token looks at the newest tokens only.

The idea: time grows with T · window instead of T², and the cache stops growing at the window. Farther tokens arrive by
relay through the layers (Beltagy et al. 2020, arXiv 2004.05150; Mistral, arXiv 2310.06825).

    python -m gpt_model.gpt_swa
    python -m gpt_model.gpt_swa llama-tiny window=64

The attention itself is in `attention_mechanisms.sliding_window`; the model is `gpt.GPT`, as for every variant.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpt_model.config import preset
from gpt_model.tour import take_tour
from utils.cli import run_main

if TYPE_CHECKING:
    from gpt_model.gpt import GPT


def build(name: str = "gpt2", **settings: Any) -> "GPT":
    """A model with random weights: the preset `name` with this attention, and some settings replaced."""
    from gpt_model.gpt import GPT

    return GPT(preset(name, **{**settings, "attention": "swa"}))


def main(argv: Sequence[str] | None = None) -> int:
    """Build it, count it, let it write, weigh its cache. Returns 0."""
    return take_tour("swa", argv)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
