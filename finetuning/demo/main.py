"""`scratchbook demo`: from bytes to a chat, in plain words, on this machine.

Seven stages, each a line of explanation, a piece of work and the number it gave. The order is the
book's order, the modules are the book's modules; this file only walks and talks.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuning.demo.config import DemoConfig
from utils.errors import ScratchbookError

if TYPE_CHECKING:
    from rich.console import Console

    from pretraining.config import PretrainConfig
    from pretraining.recipe import PreparedData
    from utils.runs import Run
    from working_with_text_data.splitting import Split

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

    The pretraining and the tuning are runs of their own with the same id (`runs/pretrain/<id>`,
    `runs/finetune/<id>`), so that every other command works on them. Raises UserError for a text or a
    setting that cannot serve, before any run exists, and `Interrupted` when someone ended it early.
    """
    from rich.console import Console

    from finetuning.demo.stages import pretrain_config
    from gpt_model.config import preset
    from utils.config import to_dict
    from utils.device import keep_freed_memory, pick_device
    from utils.runs import Run, runs_root

    keep_freed_memory()

    recipe = pretrain_config(config, runs_root())
    # What would fail after minutes of work is said before the first one.
    pick_device(config.device)
    preset(config.preset, **{"vocab_size": config.vocab_size, **config.model})
    split = load_corpus(recipe)
    inputs = {} if config.text is None else {"text": Path(config.text)}
    console = Console(highlight=False)
    with Run.create("demo", to_dict(config), inputs=inputs) as run:
        Walk(config, recipe, run, console).all_stages(split)
    return run.path


def load_corpus(recipe: PretrainConfig) -> Timed:
    """Load and split, before a run folder exists: a text that cannot serve leaves nothing behind."""
    from pretraining.recipe import load_split

    started = time.perf_counter()
    split = load_split(recipe)
    return Timed(split, time.perf_counter() - started)


@dataclass(frozen=True)
class Timed:
    """A result and the seconds it took."""

    value: Any
    seconds: float


class Interrupted(ScratchbookError):
    """Somebody pressed Ctrl-C; the message says what is saved and how to go on."""

    exit_code = 130


class Walk:
    """The seven stages of one demo, in order. `facts` grows with each and becomes summary.json."""

    def __init__(self, config: DemoConfig, recipe: PretrainConfig, run: Run, console: Console) -> None:
        self.config, self.recipe, self.run, self.console = config, recipe, run, console
        self.facts: dict[str, Any] = {"id": run.id}
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def stage(self, number: int, title: str, words: str) -> Iterator[None]:
        """A headline, a line of plain words, and at the end the seconds it took."""
        self.console.print()
        self.console.rule(f"[bold]{number} of 7 · {title}", align="left", style="cyan")
        self.console.print(words, style="dim")
        started = time.perf_counter()
        yield
        self.facts.setdefault("seconds", {})[title] = time.perf_counter() - started
        self.console.print(f"[dim]{time.perf_counter() - started:.1f} s[/dim]")

    def all_stages(self, corpus: Timed) -> None:
        """Walk. The order is the book's order."""
        self.started -= corpus.seconds
        split = corpus.value
        self.corpus(split, corpus.seconds)
        data = self.tokenizer(split)
        model, pretrained = self.train(data)
        self.proof(data, model, pretrained, split)
        tuned = self.requests(data, model, split)
        self.cache(data, model, split)
        self.report(pretrained, tuned)

    @property
    def is_storyland(self) -> bool:
        """Whether stories and answers can be checked: only the book's own world comes with its truth."""
        return self.config.text is None

    def corpus(self, split: Split, seconds: float) -> None:
        """Stage 1 was done before the run folder was made; here it is shown."""
        from finetuning.demo.stages import corpus_facts

        with self.stage(1, "The corpus", "Texts to learn from, split by document before anything else."):
            facts = self.facts["corpus"] = corpus_facts(self.config, split)
            self.console.print(
                f"{facts['name']}: {facts['megabytes']:.1f} MB read in {seconds:.1f} s; "
                f"{facts['train_documents']:,} texts to learn from, {facts['val_documents']:,} held out."
            )
            self.console.print(shorten(split.train[0].text), style="italic", markup=False)

    def tokenizer(self, split: Split) -> PreparedData:
        """Stage 2: train a BPE, show it, and turn both parts into tokens."""
        from finetuning.demo import stages
        from pretraining.recipe import encode_split, make_tokenizer

        words = "Frequent neighbours are merged into one token, again and again."
        with self.stage(2, "The tokenizer", words):
            texts = [d.text for d in split.train]
            tokenizer, seconds = stages.timed(lambda: make_tokenizer(self.recipe, texts))
            data = encode_split(self.recipe, split, tokenizer)
            facts = stages.tokenizer_facts(data, seconds, stages.three_sentences(split))
            self.facts["tokenizer"] = facts
            for pieces in facts["sentences"]:
                self.console.print(coloured(pieces))
            self.console.print(
                f"{facts['vocab_size']:,} tokens learned in {seconds:.1f} s; {data.train.size / 1e6:.2f} million "
                f"training tokens, {facts['bytes_per_token']:.2f} bytes each."
            )
        return data

    def train(self, data: PreparedData) -> tuple[Any, Run]:
        """Stage 3: a GPT learns for the minutes it was given."""
        from finetuning.demo.proof import sample_facts
        from finetuning.demo.stages import check_length
        from pretraining.progress import ProgressBar
        from pretraining.recipe import fit, make_model

        words = f"A GPT reads for {self.config.minutes:g} minutes. Ctrl-C ends early and keeps what it has."
        with self.stage(3, "Training", words):
            model = make_model(self.recipe, data.tokenizer.vocab_size)
            check_length(data, model.config.block_size)
            self.facts["model"] = {
                "preset": self.config.preset,
                "parameters": model.num_parameters(),
                "config": model.config.to_dict(),
            }
            self.console.print(f"{model.num_parameters() / 1e6:.2f} million parameters, all random so far.")
            bar = ProgressBar(title="train")
            try:
                run = fit(self.recipe, data, model, run_id=self.run.id, callbacks=[bar])
            finally:
                bar.close()
            self.run.add_output("pretrain", run.path)
            if run.status != "complete":
                raise Interrupted(
                    f"stopped early; the model is saved: scratchbook sample --ckpt {run.path}, "
                    f"or go on with scratchbook train --resume {run.path}"
                )
            result = run.meta["result"]
            self.facts["training"] = {
                "steps": result["step"],
                "tokens": result["tokens"],
                "minutes": result["seconds"] / 60,
                "tokens_per_second": result["tokens"] / result["seconds"],
            }
            self.facts["samples"] = sample_facts(run.samples())
        return model, run

    def proof(self, data: PreparedData, model: Any, run: Run, split: Split) -> None:
        """Stage 4: beside what counting reaches, and before the checker's eyes."""
        from finetuning.demo import proof

        with self.stage(4, "Proof", "Texts it has never seen, beside what counting words would reach."):
            facts = self.facts["proof"] = proof.prove(run, data)
            self.console.print(proof_table(facts))
            self.console.print(
                f"That is {facts['bits_per_byte']:.2f} bits per byte; as if choosing among "
                f"{math.exp(facts['loss']):.1f} equally likely tokens instead of {math.exp(facts['uniform']):,.0f}."
            )
            if expected := expected_loss(self.config):
                low, high = expected
                self.console.print(
                    f"Expected {low:.2f} to {high:.2f}, you got [bold]{facts['loss']:.2f}[/bold]."
                )
            self.facts["attention"] = proof.attention_map(model, data.tokenizer, split.val[0].text)
            if self.is_storyland:
                stories = self.facts["stories"] = proof.judge_stories(self.config, model, data.tokenizer)
                self.console.print(shorten(stories["shown"][0]["text"], 700), style="italic", markup=False)
                low, high = stories["interval"]
                self.console.print(
                    f"[bold]{stories['share']:.0%}[/bold] of {stories['total']} stories it made up are coherent "
                    f"(95 % interval {low:.0%} to {high:.0%}), says a checker that shares no code with the teller."
                )

    def requests(self, data: PreparedData, model: Any, split: Split) -> Run | None:
        """Stage 5: instruction tuning, with the same requests asked before and after."""
        from finetuning.demo import proof
        from pretraining.progress import ProgressBar
        from utils.config import to_dict
        from utils.runs import Run

        words = "The same training loop, now on questions and answers; only the answers are learned."
        with self.stage(5, "Following requests", words):
            if not self.is_storyland:
                note = (
                    "Left out: only Storyland's requests have answers that can be verified. "
                    "The chat continues texts."
                )
                self.facts["tuning_note"] = note
                self.console.print(note)
                return None
            bar = ProgressBar(title="tune")
            run = Run.create("finetune", to_dict(self.config), run_id=self.run.id)
            stories = [d.text for d in split.train]
            try:
                with run:
                    facts = proof.instruct(self.config, model, data.tokenizer, stories, run, [bar])
            finally:
                bar.close()
            self.run.add_output("finetune", run.path)
            self.facts["tuning"] = facts
            self.console.print(
                f"Held-out requests answered exactly: {facts['before']:.0%} before, "
                f"[bold]{facts['after']:.0%}[/bold] after."
            )
            for example in facts["examples"][:2]:
                self.console.print(f"  {example['prompt']}", markup=False)
                self.console.print(f"  → {example['answer']}", style="italic", markup=False)
        return run

    def cache(self, data: PreparedData, model: Any, split: Split) -> None:
        """Stage 6: the same text with and without the KV cache, timed in turn."""
        from finetuning.demo.proof import compare_decoding

        words = "The same text, written with and without remembering keys and values."
        with self.stage(6, "The KV cache", words):
            opening = " ".join(split.val[0].text.split()[:8])
            facts = self.facts["decoding"] = compare_decoding(model, data.tokenizer, opening)
            self.console.print(
                f"{facts['cached']:.0f} tokens/s with the cache, {facts['uncached']:.0f} without: "
                f"[bold]{facts['ratio']:.1f} times[/bold] as fast, "
                f"{'the same' if facts['same_text'] else 'NOT the same'} text."
            )

    def report(self, pretrained: Run, tuned: Run | None) -> None:
        """Stage 7: one page with everything, and what to do next."""
        from finetuning.demo.report import write_report
        from utils.device import hardware
        from utils.files import atomic_write_json
        from utils.timing import peak_memory_bytes

        with self.stage(7, "The report", "Everything above on one page that needs no network."):
            machine = hardware()
            self.facts |= {
                "hardware": machine["gpu"] or f"{machine['cores']} cores of {machine['cpu']}",
                "next": NEXT,
                "total_seconds": time.perf_counter() - self.started,
                "peak_memory_bytes": peak_memory_bytes(),
            }
            metrics = {"pretrain": pretrained.metrics(), "tune": tuned.metrics() if tuned else []}
            summary = self.run.path / "summary.json"
            atomic_write_json(summary, self.facts)
            page = write_report(self.run.path / "report.html", self.facts, metrics)
            self.run.add_output("summary", summary)
            self.run.add_output("report", page)
        self.console.print(
            f"\n[bold green]Done in {self.facts['total_seconds'] / 60:.1f} minutes.[/bold green]"
        )
        self.console.print(f"The report: {page}\nWhat comes next:", soft_wrap=True)
        for command in NEXT:
            self.console.print(f"  {command}", markup=False, soft_wrap=True)
        if self.config.open:
            webbrowser.open(page.as_uri())


NEXT = [
    "scratchbook chat                                     # talk to it in the browser",
    "scratchbook sample --ckpt last --prompt 'In a quiet village' --stream",
    "scratchbook demo --minutes 10                        # five times as long: see what it buys",
    "scratchbook demo --text my_book.txt                  # the same on your own text",
    "jupyter lab working_with_text_data/00_five_minute_tour.ipynb",
]


def expected_loss(config: DemoConfig) -> tuple[float, float] | None:
    """The band that the plain demo's validation loss was measured to lie in; None for any other setting."""
    file = Path(__file__).resolve().parents[1] / "results" / "demo.json"
    if config != DemoConfig(seed=config.seed, open=config.open) or not file.exists():
        return None
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    return figures["loss_low"], figures["loss_high"]


def proof_table(facts: dict[str, Any]) -> Any:
    """The model beside what is known without one."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("what predicts the next token")
    table.add_column("nats per token", justify="right")
    for name, key in (
        ("nothing known: all tokens alike", "uniform"),
        ("how frequent each token is (unigram)", "unigram"),
        ("the token before (bigram)", "bigram"),
        ("this model", "loss"),
    ):
        table.add_row(name, f"{facts[key]:.3f}")
    return table


def coloured(pieces: list[str]) -> Any:
    """Token texts side by side, each on its own colour."""
    from rich.text import Text

    text = Text()
    for index, piece in enumerate(pieces):
        text.append(piece, style=f"black on {('#cfe3f5', '#fde2c8', '#d5efd6', '#f3d6e4')[index % 4]}")
    return text


def shorten(text: str, limit: int = 320) -> str:
    """The beginning of a text, cut at a word."""
    text = text.strip()
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    from utils.cli import run_main

    raise SystemExit(run_main(main))
