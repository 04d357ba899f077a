"""`scratchbook demo`: from bytes to a chat, in plain words, on this machine.

Seven stages, each a line of explanation, a piece of work and the number it gave. The order is the
book's order, the modules are the book's modules; this file only walks and talks.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuning.demo.config import DemoConfig

if TYPE_CHECKING:
    from rich.console import Console

    from utils.runs import Run

DESCRIPTION = "Walk the whole way: corpus, tokenizer, training, proof, instruction tuning, decoding, report."


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns 0, or raises a ScratchbookError that the front door prints as one line."""
    from utils.config import parse_args

    config, _ = parse_args(
        argv,
        DemoConfig,
        prog="scratchbook demo",
        description=DESCRIPTION,
        aliases={"--text": "text", "--minutes": "minutes", "--preset": "preset", "--seed": "seed"},
    )
    walk(config)
    return 0


def walk(config: DemoConfig) -> Path:
    """Do all seven stages and return the folder `runs/demo/<id>`.

    The pretraining and the tuning are runs of their own (`runs/pretrain/<id>`, `runs/finetune/<id>`),
    so that every other command works on them. An interrupt ends pretraining early: its checkpoint is
    saved and stays usable, and the demo is marked stopped.
    """
    from rich.console import Console

    from utils.config import to_dict
    from utils.runs import Run

    console = Console(highlight=False)
    inputs = {} if config.text is None else {"text": Path(config.text)}
    _check_early(config)
    with Run.create("demo", to_dict(config), inputs=inputs) as run:
        _stages(config, run, console)
    return run.path


def _check_early(config: DemoConfig) -> None:
    """What would fail after minutes of work is said before the first one."""
    from gpt_model import preset
    from utils.device import pick_device

    if config.text is not None:
        from working_with_text_data import load_documents

        load_documents(config.text, max_documents=1)
    pick_device(config.device)
    preset(config.preset, **{"vocab_size": config.vocab_size, **config.model})


@contextlib.contextmanager
def _stage(console: Console, number: int, title: str, words: str) -> Iterator[None]:
    console.print()
    console.rule(f"[bold]{number} of 7 · {title}", align="left", style="cyan")
    console.print(words, style="dim")
    started = time.perf_counter()
    yield
    console.print(f"[dim]{time.perf_counter() - started:.1f} s[/dim]")


def _stages(config: DemoConfig, run: Run, console: Console) -> None:
    import torch

    from finetuning.demo import proof, stages
    from finetuning.demo.report import write_report
    from utils.device import describe_hardware, pick_device
    from utils.files import atomic_write_json
    from utils.seeding import set_seed

    started = time.perf_counter()
    set_seed(config.seed)
    device = pick_device(config.device)
    facts: dict[str, Any] = {"id": run.id, "hardware": describe_hardware()}

    with _stage(console, 1, "The corpus", "Texts to learn from, split by document before anything else."):
        corpus = stages.make_corpus(config)
        facts["corpus"] = corpus.facts
        console.print(
            f"{corpus.name}: {corpus.facts['megabytes']:.1f} MB; {len(corpus.train):,} documents to learn from, "
            f"{len(corpus.val):,} held out."
        )
        console.print(_shorten(corpus.train[0]), style="italic", markup=False)

    with _stage(console, 2, "The tokenizer", "Frequent neighbours are merged into one token, again and again."):
        tokenizer, facts["tokenizer"] = stages.make_tokenizer(config, corpus)
        tokenizer.save(run.path / "tokenizer.json")
        for pieces in facts["tokenizer"]["sentences"]:
            console.print(_coloured(pieces))
        arrays = stages.tokenize(corpus, tokenizer, run.path / "shards")
        console.print(
            f"{tokenizer.vocab_size:,} tokens learned in {facts['tokenizer']['seconds']:.1f} s; "
            f"{len(arrays['train']) / 1e6:.2f} million training tokens, "
            f"{facts['tokenizer']['bytes_per_token']:.2f} bytes each."
        )

    prompt = "\n" if corpus.is_storyland else _opening(corpus.val[0])
    words = f"A GPT reads for {config.minutes:g} minutes. Ctrl-C ends early and keeps what it has."
    with _stage(console, 3, "Training", words):
        model, facts["model"] = stages.build_model(config, tokenizer, arrays)
        model.to(device)
        pretrain_run = _sub_run("pretrain", run, config)
        with pretrain_run:
            result = stages.pretrain(config, model, tokenizer, arrays, pretrain_run, prompt)
        run.add_output("pretrain", pretrain_run.path)
        facts["training"] = {
            "steps": result.steps,
            "tokens": result.tokens,
            "minutes": result.elapsed / 60,
            "tokens_per_second": result.tokens / result.elapsed,
        }
        facts["samples"] = proof.sample_facts(pretrain_run.samples())

    with _stage(console, 4, "Proof", "Texts it has never seen, beside what counting words would reach."):
        facts["proof"] = proof.prove(config, model, tokenizer, arrays)
        _print_proof(console, facts["proof"])
        facts["attention"] = proof.attention_map(model, tokenizer, corpus.val[0])
        if corpus.is_storyland:
            facts["stories"] = proof.judge_stories(config, model, tokenizer)
            console.print(_shorten(facts["stories"]["shown"][0]["text"], 600), style="italic", markup=False)
            low, high = facts["stories"]["interval"]
            console.print(
                f"[bold]{facts['stories']['share']:.0%}[/bold] of {facts['stories']['total']} stories it made up are "
                f"coherent (95 % interval {low:.0%} to {high:.0%}), says a checker that shares no code with the world."
            )

    decoding_model = model
    with _stage(console, 5, "Following requests", "The same training loop, now on questions and answers."):
        if corpus.is_storyland:
            tuned = _sub_run("finetune", run, config)
            with tuned:
                facts["tuning"], _ = proof.instruct(config, model, tokenizer, corpus, tuned)
            run.add_output("finetune", tuned.path)
            tuning = facts["tuning"]
            console.print(
                f"Held-out requests answered exactly: {tuning['before']:.0%} before, "
                f"[bold]{tuning['after']:.0%}[/bold] after tuning."
            )
        else:
            facts["tuning_note"] = (
                "Left out: requests with answers that can be verified exist for Storyland only. "
                "The chat continues your text instead."
            )
            console.print(facts["tuning_note"])

    with _stage(console, 6, "The KV cache", "The same text, written with and without remembering keys and values."):
        facts["decoding"] = proof.compare_decoding(decoding_model, tokenizer, _opening(corpus.val[0]))
        d = facts["decoding"]
        console.print(
            f"{d['cached']:.0f} tokens/s with the cache, {d['uncached']:.0f} without: "
            f"[bold]{d['ratio']:.1f} times[/bold] as fast, {'the same' if d['same_text'] else 'NOT the same'} text."
        )

    with _stage(console, 7, "The report", "Everything above on one page that needs no network."):
        facts["next"] = next_commands(run)
        facts["total_seconds"] = time.perf_counter() - started
        facts["peak_memory_bytes"] = _peak_memory()
        facts["device"] = str(device)
        facts["torch"] = torch.__version__
        metrics = {"pretrain": pretrain_run.metrics(), "tune": tuned.metrics() if corpus.is_storyland else []}
        atomic_write_json(run.path / "summary.json", facts)
        report = write_report(run.path / "report.html", facts, metrics)
        shutil.rmtree(run.path / "shards")  # made again in a second; the tokenizer stays
        run.add_output("report", report)
        run.add_output("summary", run.path / "summary.json")
    console.print(f"\n[bold green]Done in {facts['total_seconds'] / 60:.1f} minutes.[/bold green] {report}")
    console.print("What comes next:")
    for command in facts["next"]:
        console.print(f"  {command}", markup=False)
    if config.open:
        webbrowser.open(report.as_uri())


def next_commands(run: Run) -> list[str]:
    """What a person can do with what was made."""
    return [
        "scratchbook chat                                   # talk to it in the browser",
        'scratchbook sample --prompt "One morning" --stream # let it write',
        "scratchbook demo --minutes 10                      # five times as long: see what it buys",
        "scratchbook demo --text my_book.txt                # the same on your own text",
        "jupyter lab working_with_text_data/00_five_minute_tour.ipynb",
    ]


def _sub_run(stage: str, run: Run, config: DemoConfig) -> Run:
    from utils.config import to_dict
    from utils.runs import Run as RunClass

    return RunClass.create(stage, to_dict(replace(config)), root=run.path.parents[1], run_id=run.id)


def _print_proof(console: Console, proof: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("what predicts the next token")
    table.add_column("nats per token", justify="right")
    rows = [
        ("nothing known: all tokens alike", proof["uniform"]),
        ("how frequent each token is (unigram)", proof["unigram"]),
        ("the token before (bigram)", proof["bigram"]),
        ("this model", proof["loss"]),
    ]
    for name, loss in rows:
        table.add_row(name, f"{loss:.3f}")
    console.print(table)
    console.print(
        f"That is {proof['bits_per_byte']:.2f} bits per byte; as if choosing among "
        f"{math.exp(proof['loss']):.1f} equally likely tokens instead of {math.exp(proof['uniform']):,.0f}."
    )


def _coloured(pieces: list[str]) -> Any:
    from rich.text import Text

    text = Text()
    for index, piece in enumerate(pieces):
        text.append(piece, style=f"black on {('#cfe3f5', '#fde2c8', '#d5efd6', '#f3d6e4')[index % 4]}")
    return text


def _opening(text: str, words: int = 8) -> str:
    return " ".join(text.split()[:words])


def _shorten(text: str, limit: int = 320) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


def _peak_memory() -> int:
    from utils.timing import peak_memory_bytes

    return peak_memory_bytes()


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
