"""The page for an address that no page has."""

from __future__ import annotations

from chat_ui.inspector import parts


def page() -> None:
    """Says so, and where the pages are."""
    from chat_ui.inspector.frame import PAGES, frame, gone, raw

    with frame("No such page"):
        gone("there is no page at this address")
        raw("<p>There are " + ", ".join(parts.link(to, label) for to, label in PAGES.items()) + ".</p>")
