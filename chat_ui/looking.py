"""Looking inside an answer: the attention viewer and the logit lens, of exactly what was read and written.

The two pages are those of the chapters (`attention_mechanisms.viewer`, `gpt_model.lens_viewer`): self-contained,
closed to the world. Here they are asked about a conversation, role markers and all, rather than about a text, because
a marker is where a chat model decides whose turn it is. A page's cost grows with the square of the tokens, so of a long
conversation only the newest are looked at, as a text of their own, and the title says so.

Left out: drawing; what the pictures mean (notebooks 03 of attention_mechanisms and 06 of gpt_model).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chat_ui import limits

PAGE_BYTES = 4_000_000
HEADS_TIMES_TOKENS = (
    12 * 12 * 96**2
)  # as many shares of attention as twelve layers of twelve heads on 96 tokens
VIEWS = ("attention", "lens")


def newest(ids: Sequence[int], config: Any, view: str) -> list[int]:
    """The end of a text that can be looked at: as much as the model reads at once and a page can hold."""
    longest = min(limits.LOOK_TOKENS, config.block_size)
    if view == "attention":
        heads = config.n_layer * config.n_head
        longest = min(longest, max(8, int((HEADS_TIMES_TOKENS / heads) ** 0.5)))
    return list(ids[-longest:])


def page(view: str, loaded: Any, ids: Sequence[int], *, dark: bool = False) -> str:
    """One page of HTML about the end of a text; `view` is one of `VIEWS`. Slow: call it in a thread."""
    seen = newest(ids, loaded.config, view)
    part = "" if len(seen) == len(ids) else f" (the newest {len(seen)} of {len(ids)} tokens, read alone)"
    made = _attention(loaded, seen, part) if view == "attention" else _lens(loaded, seen, part)
    return in_theme(made, dark)


def in_theme(page: str, dark: bool) -> str:
    """The page in the chat's colours: the chat's switch decides, where the page alone would ask the system."""
    style, end, rest = page.partition("</style>")
    style = style.replace("(prefers-color-scheme: dark)", "all" if dark else "not all")
    style = style.replace("color-scheme: light dark", f"color-scheme: {'dark' if dark else 'light'}")
    return style + end + rest


def _attention(loaded: Any, ids: list[int], part: str) -> str:
    import torch

    from attention_mechanisms.viewer import attention_viewer
    from gpt_model.token_scores import shown
    from gpt_model.trace import attention_maps

    attentions: list[Any] = [block.attn for block in loaded.model.blocks]
    return attention_viewer(
        attention_maps(loaded.model, torch.tensor([ids], device=loaded.model.device)),
        [shown(loaded.tokenizer, token) for token in ids],
        title=f"Where the model looked{part}",
        window=[attention.window for attention in attentions],
        sinks=max(int(attention.sinks) for attention in attentions),
        kv_groups=attentions[0].n_kv_head,
        max_bytes=PAGE_BYTES,
    )


def _lens(loaded: Any, ids: list[int], part: str) -> str:
    from gpt_model.lens import logit_lens
    from gpt_model.lens_viewer import lens_viewer
    from gpt_model.token_scores import shown

    names = [shown(loaded.tokenizer, token) for token in range(loaded.config.vocab_size)]
    title = f"What each layer would have said{part}"
    return lens_viewer(logit_lens(loaded.model, ids), names, title=title, max_bytes=PAGE_BYTES)
