"""The figures of the BPE benchmark as tables to read: what ran, how long, how much faster or slower, the spread.

The idea: one row a candidate; the ratio stands where the eye ends, and its range over the rounds beside it.
Left out: measuring (`benchmark`), plots (`benchmark_plot`).
"""

from __future__ import annotations

from typing import Any

from working_with_text_data.benchmark_encoding import COLD
from working_with_text_data.benchmark_peers import OURS, Corpus


def training_table(corpus: Corpus, vocab_size: int, result: dict[str, Any]) -> str:
    """Seconds of each candidate, and how many times faster ours is than each library at its best."""
    lines = [f"training on {corpus.name}, vocabulary {vocab_size:,}"]
    lines += [_seconds(name, row, corpus.n_bytes) for name, row in result["candidates"].items()]
    for name, peer in result["peers"].items():
        low, high = min(peer["by_round"]), max(peer["by_round"])
        run = peer["first_run"][peer["best"]]
        same = "the same merges" if run["equal"] else f"{run['shared_tokens']:.0%} of the tokens shared"
        lines.append(
            f"  ours is {peer['times_faster']:.2f} × as fast as {name} ({low:.2f}–{high:.2f}), {peer['best']}; {same}"
        )
    return "\n".join(lines) + "\n"


def memory_table(corpus: Corpus, result: dict[str, Any]) -> str:
    """Peak memory above reading the file."""
    lines = [
        f"peak memory of training on {corpus.name}, vocabulary {result['vocab_size']:,}, above reading it"
    ]
    own = result["above_reading_bytes"][OURS]
    for name, peak in result["above_reading_bytes"].items():
        share = "" if name == OURS else f"   ours needs {own / max(peak, 1):.2f} × as much"
        lines.append(f"  {name:<34} {peak / 2**20:8.1f} MiB{share}")
    return "\n".join(lines) + "\n"


def encoding_table(corpus: Corpus, vocabulary: str, result: dict[str, Any]) -> str:
    """Speed of encoding and decoding, with the ratios cold and warm."""
    compared = result["compared_tokens"]
    lines = [f"encoding {corpus.name} with {vocabulary}, one thread; {compared:,} ids compared, all equal"]
    for name, row in result["candidates"].items():
        lines.append(
            _seconds(name, row, result["bytes"]) + f"  {row['tokens_per_second'] / 1e6:6.2f} M tokens/s"
        )
    for name, times in result["times"].items():
        cold, warm = (
            f"{key} {times[key]:.2f} × ({times[f'{key}_min']:.2f}–{times[f'{key}_max']:.2f})"
            for key in ("cold", "warm")
        )
        lines.append(f"  ours beside {name}: {cold}, {warm}")
    lines.append("  decoding")
    for name, row in result["decoding"]["candidates"].items():
        lines.append(
            _seconds(name, row, result["bytes"]) + f"  {row['tokens_per_second'] / 1e6:6.2f} M tokens/s"
        )
    return "\n".join(lines) + "\n"


def readable_line(result: dict[str, Any]) -> str:
    """One sentence about the readable trainer."""
    return (
        f"the readable trainer took {result['readable_s']:.1f} s for {result['corpus']} and a vocabulary of "
        f"{result['reached']:,}, ours {result['ours']['median_s']:.3f} s: {result['times_faster']:,.0f} × as fast, "
        "the same merges\n"
    )


def _seconds(name: str, row: dict[str, Any], n_bytes: int) -> str:
    label = name if name != COLD else "ours, cold (empty caches)"
    spread = f"({row['min_s']:.3f}–{row['max_s']:.3f})"
    return f"  {label:<34} {row['median_s']:8.3f} s  {spread:<15} {n_bytes / row['median_s'] / 1e6:7.2f} MB/s"
