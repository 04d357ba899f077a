"""One restrained look for every figure of the book, and figures as text for self-contained pages.

The idea: 80 dpi keeps notebook outputs small, the Okabe–Ito colours stay apart for colour-blind readers
(Okabe and Ito 2008, "Color Universal Design"), and the upper and right frame lines carry no information.
Left out: the plots themselves; each stands beside the idea that it shows. matplotlib is imported on use.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe–Ito without its yellow, which vanishes on white paper; black comes last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

# For maps: one hue getting darker, readable in grey; and two hues around zero.
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"


def rc_params() -> Any:
    """The settings of the style as a dict, for `matplotlib.rc_context`."""
    from cycler import cycler

    return {
        "figure.dpi": 80,
        "figure.figsize": (6.4, 3.6),
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=PALETTE),
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.8,
        "legend.frameon": False,
        "image.cmap": SEQUENTIAL,
        "savefig.dpi": 80,
        "svg.fonttype": "none",  # text stays text: smaller, and it can be searched and read aloud
        "svg.hashsalt": "scratchbook",  # the same figure gives the same bytes
    }


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The style for a block; whatever was set before comes back."""
    import matplotlib

    with matplotlib.rc_context(rc_params()):
        yield


def use_style() -> None:
    """The style from here on, for a notebook."""
    import matplotlib

    matplotlib.rcParams.update(rc_params())


def figure_to_svg(fig: Figure) -> str:
    """A figure as an `<svg>` element, to stand within an HTML page. The same figure gives the same text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "scratchbook", "svg.fonttype": "none"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].strip() + "\n"  # without the XML and DOCTYPE lines of a file


def figure_to_data_uri(fig: Figure, kind: Literal["png", "svg"] = "png") -> str:
    """A figure as a `data:` address for `<img src=…>`, so that a page needs no second file."""
    if kind == "svg":
        data, mime = figure_to_svg(fig).encode("utf-8"), "image/svg+xml"
    elif kind == "png":
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", metadata={"Software": None})
        data, mime = buffer.getvalue(), "image/png"
    else:
        raise UserError(f"kind is {kind!r} but must be 'png' or 'svg'")
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
