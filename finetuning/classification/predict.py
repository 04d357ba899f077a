"""`python -m finetuning.classification.predict`: the labels of new texts, with how sure the model is.

    python -m finetuning.classification.predict ckpt=last text="It never failed me."
    python -m finetuning.classification.predict ckpt=RUN file=new.csv out=labelled.jsonl

`ckpt` is a run of `finetuning.classification.train` (its best checkpoint; `RUN@last`, `RUN@500` name others) or a
checkpoint folder. A file is read as in training (`reading`), or is a `.txt` with one text a line; where it has labels,
the scores are printed too. Texts are cut as they were in training: that is a part of the model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from finetuning.classification.metrics import Scores
    from finetuning.classification.model import Classifier
    from finetuning.classification.reading import Labelled

STAGE = "classify"


@dataclass(frozen=True)
class PredictConfig:
    """Which model, which texts."""

    ckpt: str = field(
        default="last", metadata={"help": "last, a run, RUN@best, RUN@500, a checkpoint folder"}
    )
    text: str | None = field(default=None, metadata={"help": "one text"})
    file: str | None = field(default=None, metadata={"help": "many: .txt (one a line), .csv, .tsv, .jsonl"})
    out: str | None = field(default=None, metadata={"help": "write JSON lines there; null: the screen"})
    text_field: str = "text"
    label_field: str = "label"
    errors: str = field(default="strict", metadata={"help": "bytes that are not UTF-8: strict or replace"})
    on_bad_line: str = field(default="stop", metadata={"help": "stop, or skip and count"})
    batch_size: int = 64
    device: str = "auto"
    runs: str | None = field(default=None, metadata={"help": "where run folders are"})

    def __post_init__(self) -> None:
        if (self.text is None) == (self.file is None):
            raise UserError('give text="…" or file=PATH, one of them')
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}: the least is 1")


def load_classifier(
    ref: str | Path, *, root: Path | str | None = None, merge: bool = True
) -> tuple[Classifier, Any]:
    """(model in evaluation mode, tokenizer) of a run of this kind, or of a checkpoint folder. Raises UserError.

    An adapter is merged into the matrices: the same scores for the price of the base alone. To train on, `merge=False`.
    """
    from finetuning.classification.model import Classifier
    from pretraining.checkpoints import find_checkpoint
    from pretraining.starting_points import find_start
    from working_with_text_data.tokenizer import load_tokenizer

    folder = Path(ref)
    if not (folder / "config.json").is_file():
        run, _ = find_start(ref, stage=STAGE, root=root)
        which = str(ref).rpartition("@")[2] if "@" in str(ref) else "best"
        folder, note = find_checkpoint(run, which)
        if note:
            print(f"note: {note}", file=sys.stderr)
    model = Classifier.load(folder)
    if merge and model.settings.lora is not None:
        from finetuning.lora import merge_lora

        merge_lora(model)
    return model, load_tokenizer(folder / "tokenizer.json")


def classify(model: Classifier, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 64) -> Any:
    """Probabilities (n, n_labels), a float32 tensor on the CPU. Raises UserError for an empty text."""
    from finetuning.classification.batches import encode

    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise UserError(f"text {number} is empty: there is nothing to classify")
    rows = encode(texts, tokenizer, model.settings.max_tokens, model.settings.keep)
    return model.probabilities(rows, batch_size=batch_size)


def judge(
    model: Classifier,
    tokenizer: Any,
    part: Sequence[Labelled],
    labels: Sequence[str],
    *,
    batch_size: int = 64,
) -> tuple[Scores, list[dict[str, Any]]]:
    """The scores on labelled texts, and one row for each of them: text, label, predicted, probabilities."""
    from finetuning.classification.metrics import score

    found = classify(model, tokenizer, [each.text for each in part], batch_size=batch_size).tolist()
    place = {label: i for i, label in enumerate(labels)}
    unknown = [each for each in part if each.label not in place]
    if unknown:
        raise UserError(
            f"{unknown[0].where}: the label {unknown[0].label!r} was never seen in training, where there are "
            f"{', '.join(labels)}"
        )
    rows = [_row(each, labels, p) for each, p in zip(part, found, strict=True)]
    return score(found, [place[each.label] for each in part], labels), rows


def _row(each: Labelled, labels: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
    sure = max(range(len(labels)), key=lambda i: probabilities[i])
    row: dict[str, Any] = {"text": each.text, "predicted": labels[sure]}
    if each.label:
        row["label"] = each.label
    rounded = (round(p, 6) for p in probabilities)
    return {**row, "probabilities": dict(zip(labels, rounded, strict=True))}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, print or write."""
    config, _ = parse_args(
        argv,
        PredictConfig,
        prog="python -m finetuning.classification.predict",
        description=(__doc__ or "").split("\n\n")[0],
    )
    from finetuning.classification.reading import Fields, Labelled, read_labelled
    from utils.device import pick_device
    from utils.files import atomic_write_text
    from working_with_text_data.readers import Problems

    problems = Problems()
    if config.file is None:
        part = [Labelled(config.text or "", "", "text")]
    else:
        fields = Fields(
            config.text_field, config.label_field, config.errors, config.on_bad_line, need_label=False
        )
        part = list(read_labelled(Path(config.file).expanduser(), fields, problems))
    if not part:
        raise UserError(f"{config.file}: no text in it")
    model, tokenizer = load_classifier(config.ckpt, root=config.runs)
    model = model.to(pick_device(config.device))
    labels = model.settings.labels
    if all(each.label for each in part):
        scores, rows = judge(model, tokenizer, part, labels, batch_size=config.batch_size)
    else:
        found = classify(model, tokenizer, [each.text for each in part], batch_size=config.batch_size)
        scores, rows = None, [_row(each, labels, p) for each, p in zip(part, found.tolist(), strict=True)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if config.out is None:
        print(lines, end="")
    else:
        atomic_write_text(Path(config.out), lines)
        print(f"{len(rows):,} texts labelled: {config.out}")
    if problems:
        print(f"note: {problems.summary()}", file=sys.stderr)
    if scores is not None:
        print(
            f"accuracy {scores.accuracy:.1%}, macro F1 {scores.macro_f1:.3f}, calibration error {scores.ece:.3f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
