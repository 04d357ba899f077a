"""How fast and in how much memory BPE is trained, beside the libraries, on one text.

The idea: each library runs once in each way it can be fed, which warms it up and finds its fastest two; these
are raced in turn, round by round, and the faster is the peer. Before any figure counts, what was learned is
compared with ours under the library's tie rule: equal, or the benchmark stops.

Memory is measured in a fresh process for each trainer, because a peak cannot be taken back: the same file is
read, then trained on, and the peak of a process that only reads the file is subtracted.
Left out: the libraries themselves (`benchmark_peers`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from utils.errors import RunFailure
from utils.timing import Timer, compare, peak_memory_bytes
from working_with_text_data.benchmark_peers import (
    OURS,
    TRAINERS,
    Corpus,
    Feed,
    Trainer,
    installed,
    trainer_named,
)
from working_with_text_data.bpe import train_bpe_readable
from working_with_text_data.fast_bpe import train_bpe

RACED = 2  # of the ways to feed a library: so many are timed in rounds
NOTHING = "nothing"  # the trainer of the process that only reads the file


def measure_training(
    corpus: Corpus, vocab_size: int, rounds: int, trainers: Iterable[Trainer] = TRAINERS
) -> dict[str, Any]:
    """Seconds to train each installed library on `corpus`, and how many times faster ours is than each.

    Raises:
        RunFailure: a library learned other tokens than ours under its tie rule; nothing is timed then.
    """
    candidates: dict[str, Callable[[], Any]] = {}
    peers: dict[str, dict[str, Any]] = {}
    for trainer in trainers:
        if trainer.name != OURS and not installed(trainer.package):
            continue
        feeds = dict(trainer.feeds(corpus))
        first = {name: _check_and_time(trainer, corpus, feed, vocab_size) for name, feed in feeds.items()}
        fastest = sorted(first, key=lambda name: first[name]["seconds"])[:RACED]
        if trainer.name == OURS:
            candidates[OURS] = partial(feeds[fastest[0]].train, vocab_size)
            continue
        peers[trainer.name] = {"first_run": first, "raced": fastest}
        candidates |= {f"{trainer.name}, {name}": partial(feeds[name].train, vocab_size) for name in fastest}
    result = compare(candidates, rounds=rounds, warmup=0)
    figures = result["candidates"]
    for name, peer in peers.items():
        best = min(peer["raced"], key=lambda feed: figures[f"{name}, {feed}"]["median_s"])
        peer |= {"best": best, **_ratio(figures[f"{name}, {best}"], figures[OURS])}
    result["peers"] = peers
    result["reached"] = train_bpe(corpus.text, vocab_size).vocab_size
    if "tokenizers" in peers:  # short names for the sentence in a README
        result["best_peer"] = f"tokenizers, {peers['tokenizers']['best']}"
        result["times_faster"] = peers["tokenizers"]["times_faster"]
        result["times_faster_by_round"] = peers["tokenizers"]["by_round"]
    return result


def _ratio(theirs: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    by_round = [a / b for a, b in zip(theirs["seconds"], own["seconds"], strict=True)]
    return {"times_faster": theirs["median_s"] / own["median_s"], "by_round": by_round}


def _check_and_time(trainer: Trainer, corpus: Corpus, feed: Feed, vocab_size: int) -> dict[str, Any]:
    """One run of one feed: its seconds, and whether it learned what ours learns."""
    with Timer() as timer:
        trained = feed.train(vocab_size)
    learned = trainer.learned(trained)
    texts: str | list[str] = corpus.text if feed.whole else corpus.lines
    ours = train_bpe(texts, vocab_size, tie_break=trainer.tie_break or "bytes")
    expected = trainer_named(OURS).learned(ours)
    if trainer.tie_break is None:
        shared = len(set(learned) & set(expected)) / max(1, len(expected))
        return {"seconds": timer.seconds, "equal": None, "shared_tokens": shared}
    if learned != expected:
        place = next(
            (i for i, (a, b) in enumerate(zip(learned, expected)) if a != b), min(len(learned), len(expected))
        )
        raise RunFailure(
            f"{trainer.name} learned other tokens than ours with tie_break={trainer.tie_break!r} on {corpus.name} at "
            f"{vocab_size}: the first difference is merge {place} of {len(learned)} and {len(expected)}; "
            "nothing is timed"
        )
    return {"seconds": timer.seconds, "equal": True}


def measure_readable(corpus: Corpus, vocab_size: int, rounds: int) -> dict[str, Any]:
    """Ours beside the readable trainer of this book, which runs once: it takes minutes."""
    with Timer() as timer:
        readable = train_bpe_readable(corpus.text, vocab_size)
    if readable.merges != train_bpe(corpus.text, vocab_size).merges:
        raise RunFailure(f"the readable trainer learned other merges than the fast one on {corpus.name}")
    figures = compare({OURS: lambda: train_bpe(corpus.text, vocab_size)}, rounds=rounds)["candidates"][OURS]
    return {
        "corpus": corpus.name,
        "bytes": corpus.n_bytes,
        "vocab_size": vocab_size,
        "reached": readable.vocab_size,
        "readable_s": timer.seconds,
        "ours": figures,
        "times_faster": timer.seconds / figures["median_s"],
    }


# --- memory ---------------------------------------------------------------------------------------


def measure_memory(corpus: Corpus, vocab_size: int, feeds: dict[str, str]) -> dict[str, Any]:
    """Bytes of peak memory above reading the file, by trainer; `feeds` names the way each is fed.

    Raises:
        RunFailure: a process died.
    """
    baseline = _peak_of(NOTHING, "", corpus.path, vocab_size)
    peaks = {name: _peak_of(name, feed, corpus.path, vocab_size) for name, feed in feeds.items()}
    above = {name: peak - baseline for name, peak in peaks.items()}
    return {"reading_bytes": baseline, "vocab_size": vocab_size, "feeds": feeds, "above_reading_bytes": above}


def _peak_of(trainer: str, feed: str, path: Path, vocab_size: int) -> int:
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", __name__, trainer, feed, str(path), str(vocab_size)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailure(f"measuring the memory of {trainer} ended with {done.returncode}: {last}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def train_and_tell(trainer: str, feed: str, path: str, vocab_size: str) -> int:
    """What the fresh process does: read, train, and print the peak of its memory."""
    with open(path, encoding="utf-8", newline="") as file:
        corpus = Corpus(path, file.read(), Path(path))
    if trainer != NOTHING:
        trainer_named(trainer).feeds(corpus)[feed].train(int(vocab_size))
    print(json.dumps({"peak_bytes": peak_memory_bytes()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(train_and_tell(*sys.argv[1:]))
