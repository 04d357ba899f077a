"""The looks of the pages: the colours of the chat (`public/theme.json`), as style sheet variables.

One file has the colours of both rooms, and the choice between light and dark is kept under the chat's own key, so that
it is made once. Left out: the style sheet itself (`static/inspector.css`).
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256

from chat_ui.inspector import PUBLIC, STATIC


def variables(theme: str) -> str:
    """The style sheet variables of a theme.json, for light, and for dark where the root says so.

    >>> variables('{"variables": {"light": {"--a": "1"}, "dark": {"--a": "2"}}}')
    ':root{--a:1}:root.dark{--a:2}'
    """
    found = json.loads(theme)["variables"]

    def block(selector: str, name: str) -> str:
        return selector + "{" + ";".join(f"{key}:{value}" for key, value in found[name].items()) + "}"

    return block(":root", "light") + block(":root.dark", "dark")


@cache
def head() -> str:
    """What stands in the head of every page. The script comes first: no page may flash in the other colours."""
    colours = variables((PUBLIC / "theme.json").read_text(encoding="utf-8"))
    style, script = (_address(name) for name in ("inspector.css", "inspector.js"))
    return (
        f'<script src="{script}"></script><style>{colours}</style><link rel="stylesheet" href="{style}">'
        '<meta name="description" content="Runs, tokens and the insides of language models, on this machine.">'
    )


def _address(name: str) -> str:
    """The address of a file of ours, which changes with what is in it: it may be kept by the browser."""
    return f"/_inspector/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"
