"""/data: the documents a model learns from: in numbers, one by one, and as the sums of their files.

    /data?source=storyland&first=20

Left out: changing anything (`python -m working_with_text_data.clean`, `.preprocess`).
"""

from __future__ import annotations

from typing import Any

from nicegui import ui
from starlette.requests import Request

from chat_ui.inspector import charts, parts
from chat_ui.inspector.data_sources import (
    DOCUMENTS,
    all_sources,
    documents_of,
    find_source,
    manifest_of,
    statistics_of,
)
from chat_ui.inspector.frame import Asked, card, frame, keep, raw, said, said_number

PAGE = 5  # documents at once
LONGEST = 6_000  # characters shown of one
PATH = "/data"


async def page(request: Request) -> None:
    with frame("Data", "/data", "What a model learns from: look at it before training on it.") as here:
        await Page(here, request).show()


class Page:
    """A source, and the place in it."""

    def __init__(self, here: Any, request: Request) -> None:
        self.here, self.request = here, request
        self.first = int(said_number(request, "first", 0, 0, 100_000))

    async def show(self) -> None:
        sources = await self.here.compute(all_sources)
        name = said(self.request, "source", next(iter(sources), ""), 256)
        options = list(dict.fromkeys([*sources, name]))
        with ui.element("div").classes("controls"):
            self.source = (
                ui.select(options, value=name, label="Source", on_change=self._other)
                .props("dense outlined")
                .classes("grow")
            )
            ui.button("Previous", on_click=lambda: self._go(-PAGE)).props("outline no-caps")
            ui.button("Next", on_click=lambda: self._go(PAGE)).props("outline no-caps")
        self.asked = Asked()
        self.about = raw("")
        self.documents = raw("").style("display:flex;flex-direction:column;gap:.8rem")
        with card("Statistics", f"Of the first {DOCUMENTS} documents at most."):
            self.counting = Asked()
            self.numbers = raw("")
            self.plot = ui.element("div").style("width:100%")
            self.tables = raw("").classes("grid")
        with card("Manifest", "Exactly which bytes these are: a SHA-256 of every file, and one of them all."):
            self.summing = Asked()
            self.manifest = raw("")
            ui.button("Compute the checksums", on_click=self._sum).props("outline no-caps")
        await self.refresh()
        ui.timer(0.05, self._count, once=True)

    async def _other(self, _: Any) -> None:
        self.first = 0
        self.manifest.set_content("")
        await self.refresh()
        await self._count()

    async def _go(self, by: int) -> None:
        self.first = max(0, self.first + by)
        await self.refresh()

    async def refresh(self) -> None:
        """Read the documents of this place."""
        name, first = self.source.value, self.first
        keep("/data", source=name, first=first or None)

        def work() -> Any:
            source = find_source(name)
            return source, documents_of(source, first, PAGE)

        found = await self.asked(lambda: self.here.compute(work))
        if found is None:
            self.documents.set_content("")
            return
        source, documents = found
        values = {"what": source.about, "licence": source.licence, "size": source.size}
        self.about.set_content(parts.pairs({key: value for key, value in values.items() if value}))
        self.documents.set_content(
            "".join(map(document_of, documents)) or parts.note("there are no documents from here on")
        )

    async def _count(self) -> None:
        name = self.source.value
        self.numbers.set_content(parts.note("counting …"))
        found = await self.counting(lambda: self.here.compute(lambda: statistics_of(find_source(name))))
        self.numbers.set_content("")
        self.plot.clear()
        self.tables.set_content("")
        if found is None:
            return
        lengths = found.lengths["characters"]
        self.numbers.set_content(parts.figures({
            "documents": f"{found.documents:,}",
            "bytes": parts.size(found.bytes),
            "words": f"{found.words:,}",
            "different words": f"{found.vocabulary:,}",
            "duplicates": f"{found.duplicates:,}",
            "Zipf slope": "–" if found.zipf is None else f"{found.zipf.slope:.2f}",
        }))  # fmt: skip
        with self.plot:
            points = [[round(value), place] for place, value in sorted(lengths.percentiles.items())]
            options = charts.lines(
                {"characters of a document": points},
                "characters",
                "% of documents up to this length",
                legend=False,
            )
            charts.chart(options, "lengths of the documents")
        words = parts.table(("word", "times"), ((word, f"{count:,}") for word, count in found.top_words))
        scripts = parts.table(
            ("script", "share"), ((name, f"{100 * share:.1f} %") for name, share in found.scripts.items())
        )
        self.tables.set_content(f"<div>{words}</div><div>{scripts}</div>")

    async def _sum(self) -> None:
        name = self.source.value
        found = await self.summing(lambda: self.here.compute(lambda: manifest_of(find_source(name))))
        self.manifest.set_content("" if found is None else manifest_shown(*found))


def document_of(document: Any) -> str:
    """One document, whole where it is not very long."""
    text = document.text
    more = (
        f" · the first {LONGEST:,} of {len(text):,} characters"
        if len(text) > LONGEST
        else f" · {len(text):,} characters"
    )
    meta = "".join(
        f" · {parts.text(key)}: {parts.text(str(value)[:80])}" for key, value in (document.meta or {}).items()
    )
    return (f'<section class="card"><p class="quiet">document {document.index}{more}{meta}</p>'
            f'<div class="document" tabindex="0">{parts.text(text[:LONGEST])}</div></section>')  # fmt: skip


def manifest_shown(manifest: Any, found: Any) -> str:
    """The sums, and what is not as it was."""
    if found is None:
        line = parts.note("made now; no manifest.json lies beside the files")
    else:
        line = parts.note("all files are as they were" if found.ok else str(found), bad=not found.ok)
    rows = ((row.path, parts.size(row.bytes), row.sha256[:16] + "…") for row in manifest.files[:200])
    return (
        line + parts.pairs({"sha256 of all": manifest.sha256}) + parts.table(("file", "size", "sha256"), rows)
    )
