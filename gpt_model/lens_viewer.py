"""The logit lens and the surprises of a text as one HTML page that needs nothing else.

    python -m gpt_model.lens "Once upon a time there was a fox." ckpt=assets out=lens.html

The text stands on top, each token the warmer the less the model expected it. Below, a table: a column for each token
that came, a row for each layer, in each cell what that layer would have said. A token or a cell that is chosen shows
its likeliest guesses, rank, surprise and entropy, and how the token rose from layer to layer. Works by mouse, keyboard
and touch, in light and dark. Numbers were computed before (`lens`): probabilities are kept in thousandths, nats
in hundredths. The page is `lens_viewer.html`, `.css` and `.js`, put together and closed to the world as that of
`attention_mechanisms.viewer`. Left out: running in a browser what the model computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from attention_mechanisms.viewer import AttentionView
    from gpt_model.lens import Lens
    from gpt_model.loading import LoadedModel

MAX_BYTES = 300_000


@dataclass(frozen=True)
class LensConfig:
    """What to read and where to write it."""

    ckpt: str = field(default="last", metadata={"help": "assets, last, best, a run, or a checkpoint folder"})
    out: str = field(default="lens.html", metadata={"help": "the HTML file to write"})
    top: int = field(default=5, metadata={"help": "guesses to keep for each layer and token"})
    max_bytes: int = field(default=MAX_BYTES, metadata={"help": "largest file"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})


def lens_viewer(
    lens: Lens,
    shown: Sequence[str],
    *,
    title: str = "What each layer would have said",
    max_bytes: int = MAX_BYTES,
) -> str:
    """The page about a lens (`lens.logit_lens`); `shown[i]` is how id i of the vocabulary is written.

    Raises:
        UserError: a page of more than `max_bytes`.
    """
    from attention_mechanisms.viewer import page_of

    words: dict[int, int] = {}

    def word(token: int) -> int:
        return words.setdefault(token, len(words))

    rows = []
    for row in lens.rows:
        cells: list[int] = []
        for score in row.scores:
            cells += (round(-100 * score.log_probability), score.rank, round(100 * score.entropy))
            for token, log_probability in score.alternatives:
                cells += (word(token), round(1000 * math.exp(log_probability)))
        rows.append(cells)
    names = [row.layer if row.layer == "embed" else f"block {row.layer}" for row in lens.rows]
    names[-1] = "output"  # behind the last block, which is the model's own answer
    data = {
        "tokens": [shown[token] for token in lens.ids],
        "words": [shown[token] for token in words],
        "layers": names,
        "top": len(lens.rows[0].scores[0].alternatives),
        "vocab": len(shown),
        "rows": rows,
    }
    page = page_of(title, data, Path(__file__).with_suffix(""))
    size = len(page.encode())
    if size > max_bytes:
        raise UserError(
            f"the page would have {size:,} bytes, more than {max_bytes:,} (max_bytes): give a shorter text, fewer "
            "guesses (top), or allow more"
        )
    return page


def show_lens(loaded: LoadedModel, text: str, *, top: int = 5, max_bytes: int = MAX_BYTES) -> AttentionView:
    """The page of a text, for a notebook (it shows itself) or a file (`save`).

    The text is read as one of the training texts: behind <|endoftext|>, where the tokenizer has it.
    """
    from attention_mechanisms.viewer import AttentionView
    from gpt_model.lens import logit_lens
    from gpt_model.token_scores import shown

    class LensView(AttentionView):
        shows = "the logit lens"

    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer.json of ours: copy the one it was trained with beside it"
        )
    end = loaded.tokenizer.special_tokens.get("<|endoftext|>")
    ids = ([] if end is None else [end]) + loaded.tokenizer.encode_ordinary(text)
    if not text or not ids:
        raise UserError("the text is empty: there is nothing to look at")
    names = [shown(loaded.tokenizer, token) for token in range(loaded.config.vocab_size)]
    page = lens_viewer(
        logit_lens(loaded.model, ids, top_k=top), names, title=f"Inside {loaded.path.name}, layer by layer",
        max_bytes=max_bytes,
    )  # fmt: skip
    return LensView(page, height=900)


def main(argv: list[str] | None = None) -> int:
    """Read, draw, write. Returns 0."""
    config, words = parse_args(
        argv,
        LensConfig,
        prog="python -m gpt_model.lens",
        description="What each layer of a model would have said of a text, and how it was surprised: one HTML file.",
        positional={"text": "the text to read"},
    )
    from gpt_model.loading import load_model
    from utils.device import pick_device

    loaded = load_model(config.ckpt, device=pick_device(config.device))
    view = show_lens(loaded, words.text, top=config.top, max_bytes=config.max_bytes)
    path = view.save(Path(config.out))
    print(f"{path}  ({len(view.page.encode()):,} bytes)")
    print(
        f'open it in a browser, or see where it looks: python -m gpt_model.look "{words.text}" ckpt={config.ckpt}'
    )
    return 0
