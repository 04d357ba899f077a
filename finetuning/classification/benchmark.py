"""`python -m finetuning.classification.benchmark`: a GPT as a classifier beside what has read only the training texts.

    python -m finetuning.classification.benchmark imdb=aclImdb
    python -m finetuning.classification.benchmark sets=[storyland] tunes=[all,lora] seeds=[0,1,2]
    python -m finetuning.classification.benchmark sets=[imdb] imdb=aclImdb ckpt=gpt2 tokenizer=gpt2 tunes=[all,lora] \\
        rates=[3e-5,3e-4] batch_size=16 device=cuda out=finetuning/results/classification_gpu.json

Sets: `storyland` (generated reviews), `sms` (SMS spam) and `imdb` (film reviews; a file or folder of one's own copy,
with `imdb_test` where it has no test part). Each row is one seed of one way to tune, or one baseline, on the same
split, and is written as soon as it is there: the same command goes on where it stopped. The figures are accuracy and
macro F1 over seeds with bootstrap intervals, and the difference to TF-IDF with logistic regression on the same texts:
whether it was beaten, or by how much not. Left out: a search for the best recipe; all ways to tune share the set's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure, UserError
from utils.kept_rows import kept_rows

RESULT = Path(__file__).parents[1] / "results" / "classification.json"
RIVAL = "tfidf"
BASELINES = ("majority", "tfidf", "embeddings")
# What each set needs besides the defaults of `train`.
RECIPES: dict[str, dict[str, Any]] = {
    "storyland": {"epochs": 6.0, "max_tokens": 128},
    "sms": {"epochs": 4.0, "max_tokens": 128, "keep": "ends"},
    "imdb": {"epochs": 3.0, "keep": "ends"},
}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ClassificationBenchmarkConfig:
    """What is measured, and how."""

    sets: tuple[str, ...] = _key(("storyland", "sms", "imdb"), "some of storyland, sms, imdb")
    sms: str = _key("sms-spam", "the corpus of that name, or your copy of SMSSpamCollection")
    imdb: str = _key("imdb", "the corpus of that name, or a copy: aclImdb, a file")
    imdb_test: str | None = _key(None, "the test file that belongs to it")
    ckpt: str = _key("assets", "the pretrained model")
    tokenizer: str | None = _key(None, "its tokenizer, where its folder has none")
    tunes: tuple[str, ...] = _key(("all", "last-1", "lora", "head"), "ways to tune: all, last-N, lora, head")
    rates: tuple[float, ...] = _key((), "a learning rate for each of them; none: those of train")
    baselines: tuple[str, ...] = _key(BASELINES, "some of majority, tfidf, embeddings")
    seeds: tuple[int, ...] = _key((0, 1, 2), "of head, batches and baselines; the split is one")
    reviews: int = _key(4000, "storyland: different reviews in all")
    take: int | None = _key(None, "training texts at most")
    take_test: int | None = _key(None, "test texts at most")
    epochs: float | None = _key(None, "passes over the texts; null: the set's own")
    batch_size: int = _key(32, "texts in a forward pass")
    rounds: int = _key(1000, "draws of the bootstrap")
    threads: int = _key(2, "threads of torch")
    device: str = _key("cpu", "cpu or cuda")
    at_most: int | None = _key(None, "train so many models in this call and stop; null: all that are missing")
    fresh: bool = _key(False, "forget what the results file holds and begin again")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name, known in (("sets", tuple(RECIPES)), ("baselines", BASELINES)):
            for each in getattr(self, name):
                if each not in known:
                    raise UserError(f"{name} names {each!r}: choose some of {', '.join(known)}")
        if self.rates and len(self.rates) != len(self.tunes):
            raise UserError(
                f"rates has {len(self.rates)} values for {len(self.tunes)} tunes: one for each, or none"
            )
        if not self.sets or not self.seeds:
            raise UserError("sets and seeds need at least one each")

    def same_study(self) -> dict[str, Any]:
        """What must agree for two rows to be in one table."""
        names = (
            "ckpt",
            "tokenizer",
            "reviews",
            "take",
            "take_test",
            "epochs",
            "batch_size",
            "rates",
            "device",
        )
        return {name: getattr(self, name) for name in names}


def recipe(config: ClassificationBenchmarkConfig, name: str, tune: str, seed: int, runs: str) -> Any:
    """The training config of one row."""
    from finetuning.classification.train import ClassifyConfig

    where = {"storyland": "storyland", "sms": config.sms, "imdb": config.imdb}[name]
    values: dict[str, Any] = {**RECIPES[name], "data": where, "reviews": config.reviews}
    values |= {"take": config.take, "take_test": config.take_test, "batch_size": config.batch_size}
    values |= {"tune": tune, "seed": seed, "runs": runs, "device": config.device}
    values |= {"ckpt": config.ckpt, "tokenizer": config.tokenizer}
    if name == "imdb":
        values["test"] = config.imdb_test
    if config.epochs is not None:
        values["epochs"] = config.epochs
    if config.rates and tune in config.tunes:
        values["lr"] = config.rates[config.tunes.index(tune)]
    block = _block_size(config.ckpt)
    values["max_tokens"] = min(values.get("max_tokens", block), block)
    return ClassifyConfig(**values)


def _block_size(ckpt: str) -> int:
    import json

    from gpt_model.huggingface import GPT2_NAMES
    from gpt_model.loading import find_checkpoint

    if ckpt in GPT2_NAMES:
        return 1024
    values = json.loads((find_checkpoint(ckpt) / "config.json").read_text(encoding="utf-8"))
    return int(
        values.get("block_size", values.get("n_positions", values.get("max_position_embeddings", 256)))
    )


def train_row(
    config: ClassificationBenchmarkConfig, name: str, tune: str, seed: int, data: Any
) -> dict[str, Any]:
    """One model: its predictions and scores on the test set, what it cost. Raises RunFailure when it was stopped."""
    from finetuning.classification.train import train_classifier
    from utils.files import read_jsonl

    folder = tempfile.mkdtemp(prefix="classification-")
    try:
        run = train_classifier(recipe(config, name, tune, seed, folder), data=data)
        if run.status != "complete":
            raise RunFailure(
                f"{name}, tune={tune}, seed {seed} was stopped: the same command goes on with the rest"
            )
        rows = read_jsonl(run.path / "predictions.jsonl")
        result = run.meta["result"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    place = {label: i for i, label in enumerate(data.labels)}
    cost = {key: result[key] for key in ("seconds", "step", "trainable", "parameters")}
    predicted = packed([place[row["predicted"]] for row in rows])
    return {**cost, "predicted": predicted, "scores": result["test"]}


def packed(numbers: Sequence[int]) -> str:
    """Label numbers as one string, a character a text: a results file stays small enough to be read.

    >>> packed([0, 1, 11]), unpacked("01b")
    ('01b', [0, 1, 11])
    """
    return "".join(_DIGITS[n] for n in numbers)


def unpacked(text: str) -> list[int]:
    """The numbers that `packed` wrote."""
    return [_DIGITS.index(c) for c in text]


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def run_benchmark(config: ClassificationBenchmarkConfig, *, say: Any = print) -> dict[str, Any]:
    """Make every row that is missing, writing each; returns the figures."""
    import torch

    from finetuning.classification.baseline import measure
    from finetuning.classification.data import load_class_data
    from finetuning.classification.train import fingerprint

    torch.set_num_threads(config.threads)
    settings = config.same_study()
    held = kept_rows(config.out, settings, rows="sets", study="classification benchmark", fresh=config.fresh)
    sets: dict[str, Any] = held or {}
    trained = 0
    for name in config.sets:
        data = load_class_data(recipe(config, name, "all", 0, ""))
        here = {
            "labels": list(data.labels),
            "counts": data.report["counts"],
            "texts": fingerprint(data)["test"],
        }
        kept = sets.setdefault(
            name, {**here, "truth": packed(data.numbers(data.test)), "baselines": {}, "ours": {}}
        )
        if kept["texts"] != here["texts"]:
            raise UserError(
                f"{config.out} has other texts for {name}: give the same copy, another out=, or fresh=true"
            )
        for baseline in config.baselines:
            if baseline not in kept["baselines"]:
                row = measure(data, baseline, config.seeds, config.rounds)
                row["predicted"] = [packed(p) for p in row["predicted"]]
                kept["baselines"][baseline] = row
                say(f"{name}: {baseline} {row['accuracy']['value']:.1%}")
        for seed in config.seeds:
            for tune in config.tunes:
                rows = kept["ours"].setdefault(tune, {})
                if str(seed) in rows:
                    continue
                if config.at_most is not None and trained >= config.at_most:
                    return _write(config, sets, settings)
                rows[str(seed)] = train_row(config, name, tune, seed, data)
                trained += 1
                _write(config, sets, settings)
                got = rows[str(seed)]
                say(
                    f"{name}: tune={tune}, seed {seed}: {got['scores']['accuracy']:.1%} in {got['seconds']:.0f} s"
                )
    return _write(config, sets, settings)


def _write(
    config: ClassificationBenchmarkConfig, sets: dict[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    from utils.timing import write_result

    summary = {name: summarise(kept, config.rounds) for name, kept in sets.items()}
    figures = {"summary": summary, "threads": config.threads, "settings": dict(settings), "sets": sets}
    # where a copy of the data lies is no part of what was measured: `texts` is its fingerprint
    hidden = ("out", "sms", "imdb", "imdb_test", "at_most", "fresh")
    command = " ".join(["python -m finetuning.classification.benchmark", *command_words(config, hidden)])
    write_result(config.out, name="classification", figures=figures, command=command, seed=config.seeds[0])
    return figures


def summarise(kept: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """One set as a table: each row's figures over its seeds, and its difference to TF-IDF on the same texts."""
    import numpy as np

    from finetuning.classification.metrics import accuracy_of, bootstrap, macro_f1_of

    truth, labels = unpacked(kept["truth"]), len(kept["labels"])
    rival = kept["baselines"].get(RIVAL)
    against = None if rival is None else [unpacked(p) for p in rival["predicted"]]
    table: dict[str, Any] = {}
    for name, row in kept["baselines"].items():
        table[name] = {key: row[key] for key in ("accuracy", "macro_f1", "ece", "nll")}
    for tune, rows in kept["ours"].items():
        if not rows:
            continue
        predicted = [unpacked(row["predicted"]) for row in rows.values()]
        own: dict[str, Any] = {"seeds": len(rows)}
        for key, of in (("accuracy", accuracy_of), ("macro_f1", macro_f1_of)):
            value, low, high = bootstrap(truth, predicted, labels, of, rounds=rounds)
            own[key] = {"value": value, "low": low, "high": high}
            if against is not None:
                value, low, high = bootstrap(truth, predicted, labels, of, against=against, rounds=rounds)
                own[f"{key}_over_{RIVAL}"] = {"value": value, "low": low, "high": high}
        for key in ("ece", "nll"):
            own[key] = float(np.mean([row["scores"][key] for row in rows.values()]))
        one = next(iter(rows.values()))
        own["trainable_share"] = one["trainable"] / one["parameters"]
        own["seconds"] = float(np.median([row["seconds"] for row in rows.values()]))
        table[tune] = own
    return table


def report(figures: Mapping[str, Any]) -> str:
    """The tables as text, each with what was to be reached and whether it was."""
    from finetuning.classification.baseline import table

    lines = []
    for name, rows in figures["summary"].items():
        counts = {part: sum(c.values()) for part, c in figures["sets"][name]["counts"].items()}
        lines.append(f"{name}: {counts['train']:,} training texts, {counts['test']:,} test texts")
        lines.append(table(rows))
        over = {
            tune: row[f"accuracy_over_{RIVAL}"]
            for tune, row in rows.items()
            if f"accuracy_over_{RIVAL}" in row
        }
        if over:
            best = max(over, key=lambda tune: over[tune]["value"])
            gain = over[best]
            reached = "reached" if gain["low"] > 0 else "not reached" if gain["high"] < 0 else "not decided"
            lines.append(
                f"goal: beat TF-IDF with logistic regression; tune={best} is {100 * gain['value']:+.1f} points "
                f"({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}): {reached}"
            )
        lines.append("")
    return "\n".join(lines).rstrip()


def measured(path: Path | str = RESULT) -> str:
    """The report of the committed results file, or "not measured"."""
    import json

    if not Path(path).exists():
        return "not measured: python -m finetuning.classification.benchmark"
    return report(json.loads(Path(path).read_text(encoding="utf-8"))["figures"])


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure what is missing, print the tables."""
    config, _ = parse_args(
        argv,
        ClassificationBenchmarkConfig,
        prog="python -m finetuning.classification.benchmark",
        description=(__doc__ or "").split("\n\n")[0],
    )
    print(report(run_benchmark(config)))
    print(f"written: {config.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
