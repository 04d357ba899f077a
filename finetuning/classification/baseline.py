"""`python -m finetuning.classification.baseline`: what simple classifiers reach on a data set, before a GPT is trained.

    python -m finetuning.classification.baseline data=storyland
    python -m finetuning.classification.baseline data=spam.csv text_field=message out=baselines.json

The same split, the same scores and the same intervals as for the GPT (`metrics`), so that the rows can stand in one
table. The models are in `bag_of_words`. `tfidf` needs scikit-learn: `pip install -c constraints.txt -e '.[classify]'`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetuning.classification.data import ClassData, DataConfig
from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

NAMES = ("majority", "tfidf", "embeddings")
HEADER = ("", "accuracy", "95 % interval", "macro F1", "ECE", "nats a text")


@dataclass(frozen=True)
class BaselineConfig(DataConfig):
    """The data set, and which baselines."""

    baselines: tuple[str, ...] = field(
        default=NAMES, metadata={"help": "some of majority, tfidf, embeddings"}
    )
    seeds: tuple[int, ...] = field(default=(0, 1, 2), metadata={"help": "of what is trained by chance"})
    rounds: int = field(default=1000, metadata={"help": "draws of the bootstrap"})
    out: str | None = field(default=None, metadata={"help": "write all scores there as JSON"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.baselines:
            if name not in NAMES:
                raise UserError(f"baselines names {name!r}: choose some of {', '.join(NAMES)}")
        if not self.baselines or not self.seeds:
            raise UserError("baselines and seeds need at least one each")


def measure(data: ClassData, name: str, seeds: Sequence[int], rounds: int = 1000) -> dict[str, Any]:
    """One baseline: its scores by seed, and accuracy and macro F1 over seeds with their intervals.

    What does not depend on chance is computed once.
    """
    from finetuning.classification.bag_of_words import BASELINES

    used = list(seeds) if name == "embeddings" else [seeds[0]]
    found = [BASELINES[name](data, seed) for seed in used]
    return summary(found, data, used, rounds)


def summary(
    found: Sequence[Any], data: ClassData, seeds: Sequence[int], rounds: int = 1000
) -> dict[str, Any]:
    """Probabilities by seed -> the row of a results file; `predicted` allows comparisons on the same texts."""
    import numpy as np

    from finetuning.classification.metrics import accuracy_of, bootstrap, macro_f1_of, score

    truth = data.numbers(data.test)
    predicted = np.stack([np.asarray(p).argmax(axis=1) for p in found])
    scores = [score(p, truth, data.labels) for p in found]
    row: dict[str, Any] = {"seeds": list(seeds), "scores": [each.to_dict() for each in scores]}
    for key, of in (("accuracy", accuracy_of), ("macro_f1", macro_f1_of)):
        value, low, high = bootstrap(truth, predicted, len(data.labels), of, rounds=rounds)
        row[key] = {"value": value, "low": low, "high": high}
    for key in ("ece", "nll"):
        row[key] = float(np.mean([getattr(each, key) for each in scores]))
    return {**row, "predicted": predicted.tolist()}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as text, for a terminal."""
    cells = [HEADER]
    for name, row in rows.items():
        a, f = row["accuracy"], row["macro_f1"]
        interval = f"{a['low']:.1%} to {a['high']:.1%}"
        cells.append(
            (
                name,
                f"{a['value']:.1%}",
                interval,
                f"{f['value']:.3f}",
                f"{row['ece']:.3f}",
                f"{row['nll']:.3f}",
            )
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print a table."""
    config, _ = parse_args(
        argv,
        BaselineConfig,
        prog="python -m finetuning.classification.baseline",
        description=(__doc__ or "").split("\n\n")[0],
    )
    from finetuning.classification.data import load_class_data
    from utils.files import atomic_write_json

    data = load_class_data(config)
    counts = ", ".join(
        f"{part} {sum(data.report['counts'][part].values()):,}" for part in ("train", "val", "test")
    )
    print(f"{data.name}: labels {', '.join(data.labels)}; texts: {counts}")
    rows = {name: measure(data, name, config.seeds, config.rounds) for name in config.baselines}
    print(table(rows))
    if config.out is not None:
        atomic_write_json(Path(config.out), {"data": data.name, "labels": data.labels, "rows": rows})
        print(f"written: {config.out}")
    print(f"next: python -m finetuning.classification.train data={config.data}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
