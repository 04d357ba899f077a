"""Attention maps to look at: one HTML file that needs nothing else, and the same inside a notebook.

The idea: all heads as small pictures, one of them large, and the text itself, in which a token shows where it looks
(blue, to its left) and who looks at it (orange, to its right). The page shows numbers that were computed before,
and computes none: a share is kept in one byte, off by 1/510 at most, and the summary of a head comes from `analysis`.

Nothing comes from another place, and nothing can be asked for: the page's own policy forbids every request and
every script but the one whose hash it names. Tokens are data, never HTML. Works by mouse and by keyboard, in light
and dark. The page itself is `viewer.html`, `viewer.css` and `viewer.js` in `page.html`, `page.css` and `page.js`
beside this file; `page_of` puts them together, for other viewers too.
Left out on purpose: running a model, which `python -m gpt_model.look` does. Notebook: 02 of this chapter.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np
import torch
from torch import Tensor

from attention_mechanisms.analysis import check_maps, summarise
from attention_mechanisms.masks import check_window, window_mask
from utils.errors import UserError
from utils.files import atomic_write_text

MAX_BYTES = 300_000  # of a page: small enough for a notebook and for a mail
_PARTS = Path(__file__).parent


class AttentionView:
    """A page about attention maps. The last line of a notebook cell shows it; `save` writes the file."""

    shows = "attention maps"

    def __init__(self, page: str, height: int = 680) -> None:
        self.page, self.height = page, height

    def save(self, path: str | Path) -> Path:
        """Write the page; open it in any browser, the network may be off."""
        return atomic_write_text(Path(path), self.page)

    def _repr_html_(self) -> str:
        """The page in a frame of its own: its style does not leak, its script cannot reach the notebook."""
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" sandbox="allow-scripts" title="{self.shows}" '
            f'style="width:100%;height:{int(self.height)}px;border:1px solid #8884;border-radius:6px"></iframe>'
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.page.encode()):,} bytes; .save('page.html') and open it in a browser)"


def show_attention(
    maps: Tensor,
    tokens: Sequence[str],
    *,
    title: str = "Attention",
    window: int | Sequence[int | None] | None = None,
    sinks: int = 0,
    kv_groups: int | None = None,
    layer_numbers: Sequence[int] | None = None,
    max_bytes: int = MAX_BYTES,
    height: int = 680,
) -> AttentionView:
    """`attention_viewer` for a notebook: the view shows itself, `height` pixels high."""
    page = attention_viewer(
        maps,
        tokens,
        title=title,
        window=window,
        sinks=sinks,
        kv_groups=kv_groups,
        layer_numbers=layer_numbers,
        max_bytes=max_bytes,
    )
    return AttentionView(page, height)


def attention_viewer(
    maps: Tensor,
    tokens: Sequence[str],
    *,
    title: str = "Attention",
    window: int | Sequence[int | None] | None = None,
    sinks: int = 0,
    kv_groups: int | None = None,
    layer_numbers: Sequence[int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """One HTML page about maps (L, H, T, T), row q where token q looks, of the T token texts `tokens`.

    window: tokens a query sees, its own included; one for all layers or one for each (None: all), with the first
    `sinks` tokens visible besides. kv_groups: number of key heads that the H heads share. Both are drawn over the
    maps and change no number. layer_numbers: what the layers are called, when they are not all (0, 1, …).

    Raises:
        UserError: maps that are none (see `analysis.check_maps`), or that look outside the window; a page of more
            than `max_bytes`.
    """
    maps = check_maps(maps)
    if maps.dim() != 4:
        raise UserError(
            f"attention_viewer: maps have shape {tuple(maps.shape)}: give (layers, heads, T, T); "
            "for one map, maps[None, None]"
        )
    layers, heads, length, _ = maps.shape
    windows = _windows(window, layers)
    allowed = torch.stack([window_mask(length, length, w or length, sinks=sinks) for w in windows])[:, None]
    if bool((maps > 0).logical_and(~allowed).any()):
        raise UserError("attention_viewer: the maps look outside the window: give the window of each layer")
    if kv_groups is not None and (kv_groups < 1 or heads % kv_groups):
        raise UserError(f"kv_groups is {kv_groups}: {heads} heads cannot share so many key heads evenly")
    numbers = list(range(layers) if layer_numbers is None else layer_numbers)
    if len(numbers) != layers:
        raise UserError(f"layer_numbers has {len(numbers)} entries for {layers} layers: give one for each")
    data = {
        "layers": layers,
        "numbers": [int(number) for number in numbers],
        "heads": heads,
        "tokens": [str(token) for token in tokens],
        "windows": [w if w is not None and w < length else None for w in windows],
        "sinks": sinks,
        "kv": kv_groups or 0,
        "summaries": [
            {
                "pattern": head.pattern,
                "entropy": round(head.entropy, 4),
                "distance": round(head.distance, 4),
                "previous": round(head.previous, 4),
                "first": round(head.first, 4),
            }
            for head in summarise(maps, tokens, allowed=allowed)
        ],
        "maps": base64.b64encode(zlib.compress(quantise(maps), 9)).decode(),
    }
    page = page_of(title, data, Path(__file__).with_suffix(""))
    size = len(page.encode())
    if size > max_bytes:
        raise UserError(
            f"the page would have {size:,} bytes, more than {max_bytes:,} (max_bytes): show fewer layers, heads or "
            "tokens, for example maps[:4, :, :64, :64] and tokens[:64], or allow more"
        )
    return page


def quantise(maps: Tensor) -> bytes:
    """Shares of the lower triangles as bytes, round(255 · share), row by row: H · L · T (T + 1) / 2 of them.

    Read back as byte / 255, a share is off by 1/510 at most.

    >>> list(quantise(torch.tensor([[[[1.0, 0.0], [0.2, 0.8]]]])))
    [255, 51, 204]
    """
    rows, columns = torch.tril_indices(maps.size(-1), maps.size(-1))
    codes = (maps[..., rows, columns] * 255).round().clamp(0, 255)
    return codes.cpu().numpy().astype(np.uint8).tobytes()


def render_ms(maps: Tensor, tokens: Sequence[str], *, rounds: int = 5) -> float:
    """Milliseconds to make the page, median of `rounds`. The browser's part is measured by the page itself, which
    writes it into `data-draw-ms` of its root element."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        attention_viewer(maps, tokens, max_bytes=10**9)
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times)[len(times) // 2]


def _windows(window: int | Sequence[int | None] | None, layers: int) -> list[int | None]:
    windows = [window] * layers if window is None or isinstance(window, int) else list(window)
    if len(windows) != layers:
        raise UserError(
            f"window has {len(windows)} entries for {layers} layers: give one number, or one a layer"
        )
    for size in windows:
        if size is not None:
            check_window(size)
    return windows


def page_of(title: str, data: object, parts: Path) -> str:
    """One self-contained page: `page.html`, `.css` and `.js` beside this file with those of `parts` in them.

    The policy: no request at all, and this one script. `data` is found by the script as JSON in the element "data".
    """

    def both(kind: str) -> str:
        own = parts.with_name(f"{parts.name}.{kind}").read_text(encoding="utf-8")
        return (_PARTS / f"page.{kind}").read_text(encoding="utf-8") + own

    script = both("js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template((_PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title.encode("utf-8", "replace").decode()),
        policy=policy,
        style=both("css"),
        body=parts.with_name(f"{parts.name}.html").read_text(encoding="utf-8"),
        data=_json_in_html(data),
        script=script,
    )


def _json_in_html(data: object) -> str:
    """JSON that cannot end the element it stands in: no <, > or & is left, whatever the tokens hold."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
