"""How fast is the whole pipeline, and does its memory stay where it is? On generated text of any size.

    python -m working_with_text_data.benchmark_pipeline                 50,000 documents, and what 1 GB would take
    python -m working_with_text_data.benchmark_pipeline gigabytes=1     1 GB for real, in some ten minutes

The text is Storyland with its sentences dealt anew: stories are generated once and cut into some 65,000
different sentences, and each document is sixteen of them drawn at random. That is a hundred times as fast as
telling new stories, no two documents are alike (nor near-duplicates), and it is not a story any more; lengths,
words and spelling are. It is written to a file before the clock starts.

The pipeline runs as a reader runs it, in a process of its own. Memory is sampled from outside, twenty times a
second: of the process, and of the tree of it and its workers. Pre-tokenising alone is then measured with one
process and with `workers`, in turn, on the file's first part. Near-duplicates are off unless asked for:
MinHash is a cost of its own, with its own benchmark.

Left out: a cold disk. The file has just been written, so it is read from the page cache.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure, UserError
from utils.timing import compare, write_result

from .tree_memory import TreeMemorySampler

SENTENCES = 16  # a document of some 740 bytes
GOALS = {"peak_mb": 500, "pretokenise_mb_per_s": 8}


@dataclass(frozen=True)
class PipelineBenchmarkConfig:
    """How much text, which stages, and where the figures go."""

    documents: int = field(default=50_000, metadata={"help": "how many, unless gigabytes is given"})
    gigabytes: float | None = field(
        default=None, metadata={"help": "of text (10^9 bytes), in place of documents"}
    )
    workers: int = field(default=2, metadata={"help": "processes that clean and tokenise"})
    vocab_size: int = 5_000
    near_duplicates: bool = False
    pretokenise_mb: float = field(default=32.0, metadata={"help": "text of the pre-tokenising measurement"})
    rounds: int = 5
    seed: int = 0
    folder: str | None = field(
        default=None, metadata={"help": "for some 5 × the text; a temporary one if null"}
    )
    out: str = str(Path(__file__).parent / "results" / "pipeline.json")

    def __post_init__(self) -> None:
        if self.documents < 100 or (self.gigabytes is not None and self.gigabytes <= 0):
            raise UserError("give documents of at least 100, or gigabytes above 0")


def made_texts(seed: int = 0) -> Iterator[str]:
    """Endless documents of sixteen Storyland sentences each, drawn at random; the same for the same seed."""
    from .storyland import story_corpus

    told = story_corpus(n_bytes=3_000_000, seed=seed)
    sentences = [s for text in told for s in re.findall(r"[^.!?]+[.!?][\"']?\s*", text)]
    rng = random.Random(seed)
    while True:
        yield "".join(rng.choices(sentences, k=SENTENCES))


def write_texts(path: Path, seed: int, documents: int | None, n_bytes: float | None) -> dict[str, Any]:
    """So many documents, or as many as make `n_bytes`, as JSON lines. Returns what was written, and how fast."""
    count = size = 0
    started = time.perf_counter()
    with open(path, "w", encoding="utf-8") as file:
        for text in made_texts(seed):
            if count == documents or (n_bytes is not None and size >= n_bytes):
                break
            file.write(json.dumps({"text": text}) + "\n")
            count += 1
            size += len(text.encode("utf-8"))
    seconds = time.perf_counter() - started
    return {"documents": count, "text_bytes": size, "generator_mb_per_s": size / 1e6 / seconds}


def run_in_a_process(arguments: list[str], log: Path) -> dict[str, Any]:
    """Run `python -m …pipeline`; its seconds and the memory that it and its workers held at most."""
    command = [sys.executable, "-m", "working_with_text_data.pipeline", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    started = time.perf_counter()
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)
        with TreeMemorySampler(pid=process.pid) as memory:
            code = process.wait()
    seconds = time.perf_counter() - started
    if code:
        lines = log.read_text().strip().splitlines() or ["no message"]
        raise RunFailure(f"the pipeline ended with exit code {code}: {lines[-1]}")
    return {
        "seconds": seconds,
        "peak_mb": memory.peak_bytes / 1e6,
        "tree_peak_mb": memory.tree_peak_bytes / 1e6,
    }


def measure(config: PipelineBenchmarkConfig, folder: Path) -> dict[str, Any]:
    """All figures; `folder` is for the text and what is made of it."""
    source = folder / "texts.jsonl"
    n_bytes = None if config.gigabytes is None else config.gigabytes * 1e9
    text = write_texts(source, config.seed, None if n_bytes else config.documents, n_bytes)
    out = folder / "out"
    arguments = [
        f"input={source}",
        f"out={out}",
        f"vocab_size={config.vocab_size}",
        f"workers={config.workers}",
        f"cleaning.near_duplicates={str(config.near_duplicates).lower()}",
    ]
    whole = run_in_a_process(arguments, folder / "log.txt")
    stages = json.loads((out / "pipeline.json").read_text())["stages"]
    again = run_in_a_process(arguments, folder / "log.txt")
    status = {
        name: made["status"]
        for name, made in json.loads((out / "pipeline.json").read_text())["stages"].items()
    }
    if set(status.values()) != {"unchanged"}:
        raise RunFailure(f"the second run made something again: {status}")
    keys = ("documents_in", "text_bytes_in", "documents", "seconds", "documents_per_s", "mb_per_s")
    figures = {
        "text": text,
        "whole": {
            **whole,
            # Two samplers look at different moments, from outside and in each stage: the higher peak was there.
            "peak_mb": max(whole["peak_mb"], *(made["peak_bytes"] / 1e6 for made in stages.values())),
            "tree_peak_mb": max(
                whole["tree_peak_mb"], *(made["tree_peak_bytes"] / 1e6 for made in stages.values())
            ),
            "documents_per_s": text["documents"] / whole["seconds"],
            "mb_per_s": text["text_bytes"] / 1e6 / whole["seconds"],
            "second_run_seconds": again["seconds"],
        },
        "stages": {
            name: {
                **{key: made[key] for key in keys},
                "peak_mb": made["peak_bytes"] / 1e6,
                "tree_peak_mb": made["tree_peak_bytes"] / 1e6,
            }
            for name, made in stages.items()
        },
        "workers": config.workers,
        "near_duplicates": config.near_duplicates,
        "goals": GOALS,
        "pretokenise": pretokenise(config, source, out / "tokenizer" / "tokenizer.json", folder),
    }
    if config.gigabytes is None:
        # By rate, stage by stage; the tokenizer is trained on 100 MB at most, however long the text.
        scale = 1e9 / text["text_bytes"]
        parts = {
            name: made["seconds"]
            * (min(scale, 100e6 / made["text_bytes_in"]) if name == "tokenizer" else scale)
            for name, made in stages.items()
        }
        figures["projection_1_gb"] = {"seconds": sum(parts.values()), "stages": parts}
    return figures


def pretokenise(
    config: PipelineBenchmarkConfig, source: Path, tokenizer: Path, folder: Path
) -> dict[str, Any]:
    """MB/s of `preprocess` alone, text in and shards out, in one process and in several, in turn."""
    from .preprocess import PreprocessConfig, preprocess
    from .shards import open_shards

    part = folder / "part.jsonl"
    size = 0
    with open(source, encoding="utf-8") as lines, open(part, "w", encoding="utf-8") as copy:
        for line in lines:
            copy.write(line)
            size += len(json.loads(line)["text"].encode("utf-8"))
            if size >= config.pretokenise_mb * 1e6:
                break
    runs = {"one_process": 0, "workers": config.workers}
    rounds = iter(range(10**6))

    def run(workers: int) -> Path:
        out = folder / f"shards_{next(rounds)}"
        preprocess(
            PreprocessConfig(
                input=str(part),
                tokenizer=str(tokenizer),
                out=str(out),
                workers=workers,
                split_method="threshold",
            )
        )
        return out

    results = [open_shards(run(workers), "train")[:].tobytes() for workers in runs.values()]
    if len(set(results)) != 1:
        raise AssertionError("the shards depend on the number of workers")
    table = compare({name: partial(run, w) for name, w in runs.items()}, rounds=config.rounds)
    return {
        "text_bytes": size,
        **{
            name: {
                "workers": runs[name],
                "mb_per_s": size / 1e6 / row["median_s"],
                "mb_per_s_min": size / 1e6 / row["max_s"],
                "mb_per_s_max": size / 1e6 / row["min_s"],
                "speedup": row["speedup"],
            }
            for name, row in table["candidates"].items()
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the JSON."""
    config, _ = parse_args(
        argv,
        PipelineBenchmarkConfig,
        prog="python -m working_with_text_data.benchmark_pipeline",
        description="Measure the whole pipeline: documents and MB a second, and the peak of memory.",
    )
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        figures = measure(config, Path(folder))
    for name, row in figures["stages"].items():
        print(
            f"{name:<11}{row['documents_in']:>10,} documents{row['documents_per_s']:>9,.0f} /s"
            f"{row['mb_per_s']:>8.1f} MB/s{row['seconds']:>9.1f} s   peak {row['tree_peak_mb']:>4.0f} MB with workers"
        )
    whole = figures["whole"]
    print(
        f"{'whole':<11}{figures['text']['documents']:>10,} documents{whole['documents_per_s']:>9,.0f} /s"
        f"{whole['mb_per_s']:>8.1f} MB/s{whole['seconds']:>9.1f} s   peak {whole['tree_peak_mb']:>4.0f} MB with "
        f"workers, {whole['peak_mb']:.0f} MB without; again, unchanged: {whole['second_run_seconds']:.1f} s"
    )
    if "projection_1_gb" in figures:
        print(f"1 GB would take {figures['projection_1_gb']['seconds'] / 60:.1f} minutes at these rates")
    alone, shared = figures["pretokenise"]["one_process"], figures["pretokenise"]["workers"]
    print(
        f"pre-tokenising alone: {alone['mb_per_s']:.1f} MB/s in one process, {shared['mb_per_s']:.1f} MB/s with "
        f"{shared['workers']} workers (goal {GOALS['pretokenise_mb_per_s']})"
    )
    path = write_result(
        config.out,
        name="pipeline",
        figures=figures,
        command=" ".join(["python -m working_with_text_data.benchmark_pipeline", *command_words(config)]),
        seed=config.seed,
        notes="text in the page cache; peak memory is the sum of resident sets, shared pages counted in each",
    )
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
