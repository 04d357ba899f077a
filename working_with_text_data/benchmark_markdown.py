"""The figures of the BPE benchmark as the tables of a README: the ratios to each library, and what was asked.

They are worked out from the results file alone and kept in it (`figures.tables`), so that a README prints what was
measured. Left out: measuring (`benchmark`), tables for the terminal (`benchmark_tables`), plots (`benchmark_plot`).
"""

from __future__ import annotations

from typing import Any

TRAINERS = ("tokenizers", "rustbpe", "bpeasy")


def markdown_tables(figures: dict[str, Any]) -> dict[str, str]:
    """`training`, `memory` and `encoding`, each a Markdown table; a part that was not measured is left out."""
    rows: dict[str, list[str]] = {"training": [], "memory": [], "encoding": []}
    for name, own in figures["corpora"].items():
        text = name if "*" not in name else f"several files {name.split(maxsplit=1)[1]}"
        for vocab_size, trained in own.get("training", {}).items():
            reached = trained["reached"]
            ids = f"{int(vocab_size):,}" + ("" if reached == int(vocab_size) else f" (ends at {reached:,})")
            seconds = trained["candidates"]["ours"]["median_s"]
            cells = [text, ids, f"{seconds:.2f} s", *(_times(trained["peers"].get(t)) for t in TRAINERS)]
            rows["training"].append(_row(cells))
        if "memory" in own:
            peaks = own["memory"]["above_reading_bytes"]
            cells = [text, f"{own['memory']['vocab_size']:,}", _mib(peaks["ours"])]
            rows["memory"].append(_row(cells + [_mib(peaks.get(t)) for t in TRAINERS]))
        for vocabulary, encoded in own.get("encoding", {}).items():
            times = encoded["times"]
            cells = [text, vocabulary]
            for peer in ("tiktoken", "tokenizers"):
                for key in ("cold", "warm"):
                    cells.append(_span(times[peer], key) if peer in times else "not measured")
            rows["encoding"].append(_row(cells))
    heads = {
        "training": ["text", "vocabulary", "ours", *(f"as fast as {t}" for t in TRAINERS)],
        "memory": ["text", "vocabulary", "ours", *TRAINERS],
        "encoding": [
            "text",
            "ranks",
            "cold, beside tiktoken",
            "warm, beside tiktoken",
            "cold, beside tokenizers",
            "warm, beside tokenizers",
        ],
    }
    return {
        part: "\n".join([_row(heads[part]), _row(["---"] * len(heads[part])), *lines])
        for part, lines in rows.items()
        if lines
    }


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _times(peer: dict[str, Any] | None) -> str:
    if peer is None:
        return "not measured"
    low, high = min(peer["by_round"]), max(peer["by_round"])
    return f"{peer['times_faster']:.2f} × ({low:.2f}–{high:.2f})"


def _span(times: dict[str, float], key: str) -> str:
    return f"{times[key]:.2f} × ({times[f'{key}_min']:.2f}–{times[f'{key}_max']:.2f})"


def _mib(peak: float | None) -> str:
    return "not measured" if peak is None else f"{peak / 2**20:.1f} MiB"
