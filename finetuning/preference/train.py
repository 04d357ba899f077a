"""A model, pairs and the Trainer: what `python -m finetuning.preference.dpo` does, in the order in which it does it.

The model that is loaded is the policy *and*, as it is now, the reference. A run (stage `dpo`) keeps the pairs it
learned from (`pairs.jsonl`), so that going on with it asks no model for new ones, and it names the reference by path
and sha256: with another one, half of a run would pull away from something else. Everything between is the ordinary
Trainer with another objective, so stopping and going on are its own, to the last bit (law LP1).

Dropout is off while preferences are learned: two models are compared, and noise in one of them would be taken for a
difference. Left out: several processes, and a reference that is another model than the one that is tuned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from finetuning.evaluation.instructions import InstructionScore, exact_match
from finetuning.evaluation.resampling import win_rate
from finetuning.instruction.data import held_out_requests
from finetuning.preference.data import (
    EncodedPair,
    EncodedPairs,
    PairBatches,
    PreferencePair,
    by_length,
    encode_pairs,
    stack,
)
from finetuning.preference.monitor import Monitor
from finetuning.preference.objective import PreferenceObjective
from finetuning.preference.reference import CachedReference, OnlineReference
from finetuning.preference.settings import PreferenceConfig
from finetuning.preference.sources import file_pairs, generated_pairs, model_pairs
from finetuning.templates import stop_ids, template_of
from gpt_model.loading import LoadedModel, load_model
from pretraining.checkpoints import Checkpoint, load_checkpoint
from pretraining.precision import training_dtype
from pretraining.starting_points import find_start
from pretraining.trainer import Trainer
from utils.config import to_dict
from utils.device import pick_device
from utils.errors import UserError
from utils.files import atomic_write_text, read_jsonl, sha256_file
from utils.runs import Run
from utils.seeding import set_seed

STAGE = "dpo"
PAIRS = "pairs.jsonl"


@dataclass(frozen=True)
class Pairs:
    """What is learned from and what judges, and how both came to be (for run.json)."""

    train: list[PreferencePair]
    judged: list[PreferencePair]
    origin: dict[str, Any]


def prefer(
    config: PreferenceConfig, *, resume: str | Path | None = None, callbacks: Sequence[Any] = ()
) -> Run:
    """Tune by preferences, or go on with a run; it is complete or stopped afterwards, its `result` in run.json.

    Raises UserError for bad input, before a run folder exists, and RunFailure for what goes wrong later.
    """
    if not config.has_budget:
        config = replace(config, epochs=1.0)
    run, checkpoint = (None, None) if resume is None else _open(resume, config.runs)
    loaded = _load_base(config, run)
    config = replace(config, template=config.template or template_of(loaded.path))
    template = str(config.template)
    pairs = gather_pairs(config, loaded) if run is None else read_pairs(run.path / PAIRS)
    model, tokenizer = loaded.model, loaded.tokenizer
    train, judged = (
        encode_pairs(each, tokenizer, model.config.block_size, template=template)
        for each in (pairs.train, pairs.judged)
    )
    objective = make_objective(config, model, train, judged)
    before = _answers(config, loaded) if run is None else None
    without_dropout(model)
    _choose_weights(config, model, loaded.path)
    ends = stop_ids(tokenizer, template)
    monitor = Monitor(
        objective,
        judged.kept,
        ends,
        drawn=config.drawn,
        seed=config.data_seed,
        reference=lambda: load_model(loaded.path, device=model.device).model,
    )
    trainer = Trainer(
        model,
        config,
        PairBatches(train.kept, config.batch_size, seed=config.seed),
        val_batches=chosen_batches(judged.kept, config.batch_size),
        tokenizer=tokenizer,
        callbacks=[monitor, *callbacks],
        objective=objective,
    )
    if run is None:
        inputs = {"model": loaded.path / "model.safetensors", "data": config.data, **pairs.origin}
        run = Run.create(STAGE, to_dict(config), root=config.runs, inputs=inputs)
        write_pairs(run.path / PAIRS, pairs)
        run.note(
            train=train.summary(), judged=judged.summary(), before=None if before is None else _kept(before)
        )
    else:
        assert checkpoint is not None
        trainer.resume(checkpoint)
        run.resume()
        run.meta["config"] = to_dict(config)
    with run:
        trainer.record_in(run)
        result = trainer.fit()
        run.meta["result"] = {**asdict(result), "checkpoint": str(result.checkpoint)}
        if result.status == "complete":
            _conclude(run, config, trainer, loaded, monitor)
        if result.checkpoint is not None:
            run.add_output("checkpoint", result.checkpoint)
        run.finish(result.status, result.reason)
    return run


# ---------------------------------------------------------------- the parts, in the order of use


def gather_pairs(config: PreferenceConfig, loaded: LoadedModel) -> Pairs:
    """The pairs that the config names. Raises UserError for a file without a pair, or a model that never errs."""
    if config.data != "storyland":
        train, judged, report = file_pairs(config.data, on_bad_line=config.on_bad_line, seed=config.data_seed)
        return Pairs(train, judged[: config.held_out], {"report": report})
    sides: list[list[PreferencePair]] = []
    origin: dict[str, Any] = {}
    for name, count, judging in (("train", config.pairs, False), ("judged", config.held_out, True)):
        own = {"generator": 0, "model": count, "both": count // 2}[config.source]
        found: list[PreferencePair] = []
        if own:
            drawn = model_pairs(
                loaded.model,
                loaded.tokenizer,
                own,
                seed=config.data_seed,
                judging=judging,
                temperature=config.temperature,
                template=str(config.template),
            )
            found = drawn.pairs
            origin[f"{name}_mistakes"] = {"asked": drawn.asked, "wrong": drawn.wrong, "used": len(found)}
        if config.source != "model":  # what the model's mistakes do not fill
            found += generated_pairs(count - len(found), seed=config.data_seed, judging=judging)
        if not found:
            raise UserError(
                f"the model made no mistake in {origin[f'{name}_mistakes']['asked']} requests, so there is nothing to "
                "prefer: raise temperature, or set source=generator"
            )
        sides.append(found)
    return Pairs(sides[0], sides[1], origin)


def make_objective(
    config: PreferenceConfig, model: Any, train: EncodedPairs, judged: EncodedPairs
) -> PreferenceObjective:
    """The loss with its reference: `model` as it is now, kept as a second model or as its answers."""
    settings: dict[str, Any] = {
        "per_token": config.per_token,
        "dtype": training_dtype(config.dtype, model.device),
    }
    reference: Any
    if config.reference == "online":
        reference = OnlineReference(model, **settings)
    else:
        every = [*train.kept, *judged.kept]
        reference = CachedReference(model, every, batch_size=2 * config.batch_size, **settings)
    return PreferenceObjective(
        reference,
        beta=config.beta,
        label_smoothing=config.label_smoothing,
        kind=config.objective,
        per_token=config.per_token,
    )


def without_dropout(model: nn.Module) -> None:
    """Set every dropout inside to 0, whether it is a module or a number on one."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]


def chosen_batches(pairs: Sequence[EncodedPair], batch_size: int) -> list[tuple[Any, Any]]:
    """The better answers alone, as the Trainer's validation: is what was right still likely? Nats per token."""
    batches = []
    for group in by_length(pairs, batch_size):
        ids, labels = stack(group)
        batches.append((ids[: len(group)], labels[: len(group)]))
    return batches


def write_pairs(path: Path, pairs: Pairs) -> None:
    """All pairs as {prompt, chosen, rejected, …} records, readable by this command and by others."""
    rows = []
    for split, side in (("train", pairs.train), ("judged", pairs.judged)):
        for p in side:
            record = {"prompt": list(p.messages), "chosen": p.chosen, "rejected": p.rejected}
            rows.append(json.dumps({**record, "kind": p.kind, "reason": p.reason, "split": split}))
    atomic_write_text(path, "\n".join(rows) + "\n")


def read_pairs(path: Path) -> Pairs:
    """What `write_pairs` wrote. Raises UserError when the file is gone: the run cannot go on without it."""
    if not path.is_file():
        raise UserError(f"{path} is missing: the run learned from these pairs, begin a new one")
    sides: dict[str, list[PreferencePair]] = {"train": [], "judged": []}
    for row in read_jsonl(path):
        answers = (row["chosen"], row["rejected"], row["kind"], row["reason"])
        sides[row["split"]].append(PreferencePair(tuple(row["prompt"]), *answers))
    return Pairs(sides["train"], sides["judged"], {})


def _open(resume: str | Path, root: str | None) -> tuple[Run, Checkpoint]:
    run, which = find_start(resume, stage=STAGE, root=root)
    return run, load_checkpoint(run, which)


def _load_base(config: PreferenceConfig, run: Run | None) -> LoadedModel:
    """The model to tune; for a run that goes on, the one it began with, which is its reference."""
    device = pick_device(config.device)
    root = None if config.runs is None else Path(config.runs)
    set_seed(config.seed)
    if run is None:
        loaded = load_model(config.ckpt, device=device, root=root)
    else:
        began = run.meta["inputs"]["model"]
        file = Path(began["path"])
        if not file.is_file() or sha256_file(file) != began["sha256"]:
            raise UserError(
                f"{file} is missing or has changed, and run {run.id} is compared with it in every step: "
                "put the file back, or begin a new run"
            )
        loaded = load_model(file.parent, device=device)
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer.json of ours: no request can be written for it")
    return loaded


def _choose_weights(config: PreferenceConfig, model: Any, base: Path) -> None:
    """Freeze what does not learn; with `lora` put an adapter on, which begins as nothing."""
    if config.tune == "lora":
        from finetuning.adapters import remember_base
        from finetuning.lora import apply_lora

        apply_lora(model, config.lora, seed=config.seed)
        remember_base(model, base)
    elif config.tune != "all":
        from finetuning.trainable import freeze_for

        freeze_for(model, config.tune)


def _answers(config: PreferenceConfig, loaded: LoadedModel) -> InstructionScore | None:
    if not config.asked or config.data != "storyland":
        return None
    asked = held_out_requests(config.asked, seed=config.data_seed)
    return exact_match(loaded.model, loaded.tokenizer, asked, template=str(config.template))


def _kept(score: InstructionScore) -> dict[str, Any]:
    """Exact match for run.json, with each answer's verdict: a resumed run compares with them."""
    share = score.overall
    counts = {"hits": share.hits, "total": share.total, "interval": list(share.interval)}
    return {**counts, "right": [a.correct for a in score.answers]}


def _conclude(
    run: Run, config: PreferenceConfig, trainer: Trainer, loaded: LoadedModel, monitor: Monitor
) -> None:
    """Judge the tuned model on everything that was held out; all of it goes into the run's `result`."""
    model: Any = trainer.model.eval()
    result = run.meta["result"]
    monitor.measure(model, trainer.now.step)  # the last evaluation was at this step: nothing is made twice
    assert monitor.score is not None
    result["preferences"] = monitor.score.to_dict()
    if monitor.drifted is not None:
        result["drift"] = asdict(monitor.drifted)
    before = run.meta.get("before")
    after = _answers(config, LoadedModel(model, loaded.tokenizer, loaded.path, loaded.config))
    if before is not None and after is not None:
        told = _kept(after)
        result["exact_before"] = {k: v for k, v in before.items() if k != "right"}
        result["exact_after"] = {k: v for k, v in told.items() if k != "right"}
        result["win_rate"] = win_rate(before["right"], told["right"]).to_dict()
