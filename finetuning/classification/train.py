"""`python -m finetuning.classification.train`: a pretrained model learns to label texts.

    python -m finetuning.classification.train data=storyland
    python -m finetuning.classification.train data=spam.csv text_field=message tune=lora class_weights=balanced
    python -m finetuning.classification.train data=aclImdb ckpt=gpt2 tokenizer=gpt2 keep=ends batch_size=16 lr=5e-5
    python -m finetuning.classification.train --resume last

The training is the pretraining `Trainer`'s; a row has one label instead of one a token, so what it calls tokens are
texts. The validation part chooses the checkpoint (`patience` ends early), and only that one is asked about the test
set, once. The result is a run of its own, stage `classify`: scores in run.json, each test text's probabilities in
predictions.jsonl. Baselines to compare with: `baseline`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetuning.classification.data import ClassData, DataConfig
from finetuning.lora import LoRAConfig
from pretraining.config import TrainConfig
from utils.cli import run_main
from utils.config import load_config, parse_args, to_dict
from utils.errors import UserError
from utils.runs import Run

if TYPE_CHECKING:
    from pretraining.callbacks import Callback
    from pretraining.checkpoints import Checkpoint
    from pretraining.trainer import Trainer

STAGE = "classify"
RATES = {"all": 2e-3, "last": 5e-3, "lora": 5e-3, "head": 1e-2}  # the fewer learn, the further each may go


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ClassifyConfig(DataConfig, TrainConfig):
    """`TrainConfig` and `DataConfig`, plus which model, and what of it learns."""

    ckpt: str = _key("assets", "the pretrained model: assets, a run, a folder, gpt2")
    tokenizer: str | None = _key(None, "the model's tokenizer, where its folder has none: gpt2, a file")
    tune: str = _key("all", "what learns besides the new head: all, last-N, head (nothing), lora")
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    pool: str = _key("last", "what the head looks at: the last real token, or the mean of all")
    max_tokens: int | None = _key(None, "longest text in tokens; null: the model's block_size")
    keep: str = _key("start", "of a longer text: its start, its end, or both ends")
    head_dropout: float = _key(0.0, "on what the head looks at, while training")
    class_weights: str = _key("none", "none, balanced, or one number a label: 1,4")
    patience: int = _key(4, "evaluations without a lower loss that end the run; 0: never")
    runs: str | None = _key(None, "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs")

    epochs: float | None = _key(6.0, "budget in passes over the training texts")
    batch_size: int = _key(32, "texts in one forward pass")
    lr: float = _key(0.0, "peak learning rate; 0: by `tune`")
    warmup: float = _key(0.1, "below 1: share of the budget; otherwise steps")
    weight_decay: float = _key(0.01, "on matrices only")
    eval_every: int = _key(0, "steps between evaluations; 0: by eval_epochs")
    save_every: int = _key(0, "steps between checkpoints; 0: by save_epochs")
    eval_epochs: float = _key(0.5, "epochs between evaluations")
    save_epochs: float = _key(0.5, "epochs between checkpoints; as eval_epochs, or the best cannot be kept")
    keep_last: int = _key(1, "newest checkpoints kept")
    prompts: list[str] = field(
        default_factory=list, metadata={"help": "not used: a classifier writes nothing"}
    )

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        if self.lr == 0.0:
            object.__setattr__(self, "lr", RATES.get(self.tune.partition("-")[0], RATES["all"]))
        TrainConfig.__post_init__(self)


def train_classifier(
    config: ClassifyConfig,
    *,
    resume: tuple[Run, Checkpoint] | None = None,
    data: ClassData | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train, choose, judge, record; the run, complete or stopped. `data` is what `config` names, if it is here already.

    Raises UserError, before a run folder exists, for data or a model that cannot be used so.
    """
    from finetuning.classification.data import load_class_data
    from finetuning.classification.early_stopping import EarlyStopping
    from finetuning.classification.tuning import choose_trainable
    from pretraining.trainer import Trainer
    from utils.device import pick_device

    pick_device(config.device)  # a missing GPU is better known before anything is read
    data = load_class_data(config) if data is None else data
    if resume is None:
        model, tokenizer, source = _new_classifier(config, data)
    else:
        model, tokenizer, source = _saved_classifier(*resume, data)
    learning, total = choose_trainable(model, config.tune, config.lora)
    batches, val = _batches(model, tokenizer, config, data)
    stopping = EarlyStopping(config.patience, _earlier_losses(resume))
    trainer = Trainer(
        model, config, batches, val_batches=val, tokenizer=tokenizer, callbacks=[stopping, *callbacks]
    )
    if resume is not None:
        trainer.resume(resume[1])
        run = resume[0]
        run.resume()
        run.meta["config"] = to_dict(config)
    else:
        inputs = {
            "model": source,
            "data": fingerprint(data),
            "labels": list(data.labels),
            "parts": data.report,
        }
        run = Run.create(STAGE, to_dict(config), root=config.runs, inputs=inputs)
    with run:
        trainer.record_in(run)
        _fit_and_judge(run, trainer, data, (learning, total))
    return run


def _fit_and_judge(run: Run, trainer: Trainer, data: ClassData, share: tuple[int, int]) -> None:
    """Train; then ask the best checkpoint about the test set, unless a person stopped the run."""
    from finetuning.classification.early_stopping import REASON
    from finetuning.classification.predict import judge, load_classifier
    from pretraining.checkpoints import find_checkpoint

    result = trainer.fit()
    early = (result.reason or "").startswith(REASON)
    status = "complete" if early else result.status
    report: dict[str, Any] = {
        "step": result.step,
        "seconds": result.seconds,
        "ended": result.reason or "the budget was used up",
        "trainable": share[0],
        "parameters": share[1],
    }
    if status == "complete":
        best, _ = find_checkpoint(run, "best")
        model, tokenizer = load_classifier(best)
        scores, rows = judge(model.to(trainer.device), tokenizer, data.test, data.labels)
        report |= {"checkpoint": str(best), "best_val_loss": result.best_val_loss, "test": scores.to_dict()}
        _write_predictions(run, rows)
        run.add_output("checkpoint", best)
    run.meta["result"] = report
    run.finish(status, None if early else result.reason)


def _write_predictions(run: Run, rows: Sequence[dict[str, Any]]) -> None:
    import json

    from utils.files import atomic_write_text

    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write_text(run.path / "predictions.jsonl", text)


def _new_classifier(config: ClassifyConfig, data: ClassData) -> tuple[Any, Any, Any]:
    """(model, tokenizer, where the weights are): the pretrained body with a new head."""
    from finetuning.classification.model import ClassifierConfig, from_language_model
    from finetuning.classification.tuning import class_weights
    from gpt_model.loading import load_model
    from utils.seeding import set_seed
    from working_with_text_data.tokenizer import load_tokenizer

    loaded = load_model(config.ckpt, root=None)
    tokenizer = loaded.tokenizer if config.tokenizer is None else load_tokenizer(config.tokenizer)
    if tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer.json of ours: name the model's own, as in tokenizer=gpt2"
        )
    if tokenizer.vocab_size > loaded.config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids, the model {loaded.config.vocab_size:,}: name the one "
            "that it was trained with, as in tokenizer=gpt2"
        )
    settings = ClassifierConfig(
        data.labels,
        pool=config.pool,
        max_tokens=loaded.config.block_size if config.max_tokens is None else config.max_tokens,
        keep=config.keep,
        dropout=config.head_dropout,
        class_weights=class_weights(config.class_weights, data.labels, data.numbers(data.train)),
    )
    set_seed(config.seed)
    model = from_language_model(loaded.model, settings)
    weights = loaded.path / "model.safetensors"
    return model, tokenizer, weights if weights.is_file() else str(loaded.path)


def _saved_classifier(run: Run, checkpoint: Checkpoint, data: ClassData) -> tuple[Any, Any, Any]:
    from finetuning.classification.predict import load_classifier

    if run.meta["inputs"].get("data") != fingerprint(data):
        raise UserError(
            f"run {run.id} began with other texts: resume with the same data and settings, or start anew"
        )
    return (*load_classifier(checkpoint.path, merge=False), None)


def _batches(model: Any, tokenizer: Any, config: ClassifyConfig, data: ClassData) -> tuple[Any, Any]:
    """(training batches, validation batches) of the texts as the model reads them."""
    from finetuning.classification.batches import ClassBatches, encode, fixed_batches
    from finetuning.classification.data import texts

    limit, keep = model.settings.max_tokens, model.settings.keep
    train = encode(texts(data.train), tokenizer, limit, keep)
    val = encode(texts(data.val), tokenizer, limit, keep)
    batches = ClassBatches(train, data.numbers(data.train), config.batch_size, seed=config.seed)
    return batches, fixed_batches(val, data.numbers(data.val), 2 * config.batch_size)


def _earlier_losses(resume: tuple[Run, Checkpoint] | None) -> list[float]:
    """The validation losses up to the checkpoint, so that a resumed run waits no longer than a whole one."""
    if resume is None:
        return []
    run, checkpoint = resume
    seen = {
        row["step"]: row["loss"]
        for row in run.metrics()
        if row["split"] == "val" and not row.get("whole") and row["step"] <= checkpoint.step
    }
    return [seen[step] for step in sorted(seen)]


def fingerprint(data: ClassData) -> dict[str, str]:
    """A hash of each part's texts and labels: what "the same data" means to a resume."""
    found = {}
    for name, part in (("train", data.train), ("val", data.val), ("test", data.test)):
        digest = hashlib.sha256()
        for each in part:
            digest.update(f"{len(each.text)}:{each.text}{each.label}\n".encode())
        found[name] = digest.hexdigest()
    return found


def _own_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", metavar="RUN", help="go on with a run of this kind: last, an id or a path"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the result")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, say what came out. Returns 0, or 130 when it was stopped."""
    config, options = parse_args(
        argv,
        ClassifyConfig,
        prog="python -m finetuning.classification.train",
        description=(__doc__ or "").split("\n\n")[0],
        configure=_own_flags,
    )
    from pretraining.progress import ProgressBar
    from utils.device import keep_freed_memory

    keep_freed_memory()
    resume = None
    if options.resume is not None:
        from pretraining.checkpoints import load_checkpoint
        from pretraining.starting_points import find_start

        run, which = find_start(options.resume, stage=STAGE, root=config.runs)
        config = load_config(ClassifyConfig, None, [*_saved(run), *options.overrides])
        resume = (run, load_checkpoint(run, which))
    bar = None if options.quiet else ProgressBar()
    try:
        run = train_classifier(config, resume=resume, callbacks=[bar] if bar else [])
    finally:
        if bar is not None:
            bar.close()
    if run.status == "stopped":
        print(f"stopped, saved in {run.path}\ngo on with: {options_line(run)}", file=sys.stderr)
        return 130
    print_result(run)
    return 0


def options_line(run: Run) -> str:
    """The command that goes on with a run."""
    return f"python -m finetuning.classification.train --resume {run.path}"


def _saved(run: Run) -> list[str]:
    """A run's config as `key=value` texts."""
    from pretraining.train import as_overrides

    return as_overrides(_flat(run.meta["config"]))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def print_result(run: Run) -> None:
    """What a person wants to know first, and the next command."""
    result = run.meta["result"]
    test = result["test"]
    share = result["trainable"] / result["parameters"]
    print(
        f"{result['step']} steps, {result['seconds']:.0f} s, {result['trainable']:,} of {result['parameters']:,} "
        f"numbers trained ({share:.1%}); ended: {result['ended']}"
    )
    print(
        f"test: {test['n']:,} texts, accuracy {test['accuracy']:.1%}, macro F1 {test['macro_f1']:.3f}, "
        f"calibration error {test['ece']:.3f}"
    )
    for each in test["classes"]:
        print(
            f"  {each['label']:<12} precision {each['precision']:.3f}  recall {each['recall']:.3f}  "
            f"F1 {each['f1']:.3f}  ({each['support']:,} texts)"
        )
    print(f"run: {run.path}")
    print(f'next: python -m finetuning.classification.predict ckpt={run.path} text="…"')


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
