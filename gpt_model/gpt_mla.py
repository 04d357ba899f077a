"""A GPT with multi-head latent attention (MLA): the cache keeps one small vector a token.

The idea: the keys and values of all heads are made from one compressed latent, so only the latent is kept, and beside
it one rotary key for all heads where positions are rotary (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    python -m gpt_model.gpt_mla
    python -m gpt_model.gpt_mla llama-tiny kv_latent_dim=48

The attention itself is in `attention_mechanisms.latent`; the model is `gpt.GPT`, as for every variant.
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

    return GPT(preset(name, **{**settings, "attention": "mla"}))


def main(argv: Sequence[str] | None = None) -> int:
    """Build it, count it, let it write, weigh its cache. Returns 0."""
    return take_tour("mla", argv)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
