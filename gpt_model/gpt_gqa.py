"""A GPT with grouped-query attention (GQA): fewer key heads than query heads.

The idea: a cache holds a key and a value for every key head. Let query heads share them and the cache shrinks by
n_head / n_kv_head, while every query head still asks its own question (Ainslie et al. 2023, arXiv 2305.13245).

    python -m gpt_model.gpt_gqa
    python -m gpt_model.gpt_gqa llama-tiny n_kv_head=1

The attention itself is in `attention_mechanisms.grouped_query`; the model is `gpt.GPT`, as for every variant.
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

    return GPT(preset(name, **{**settings, "attention": "gqa"}))


def main(argv: Sequence[str] | None = None) -> int:
    """Build it, count it, let it write, weigh its cache. Returns 0."""
    return take_tour("gqa", argv)


if __name__ == "__main__":
    raise SystemExit(run_main(main))
