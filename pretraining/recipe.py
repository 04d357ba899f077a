"""From a config to a trained run: text → tokenizer → tokens → model → Trainer, in that order.

Documents are split before anything else looks at them, the tokenizer learns from the training part only, and
a run folder is made only when text, tokenizer, model and batches all fit together. `--resume` rebuilds the
same tokens from the same config and refuses if they are not the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_model.config import GPTConfig, preset
from gpt_model.gpt import GPT
from pretraining.callbacks import Callback
from pretraining.checkpoints import Checkpoint, load_checkpoint
from pretraining.distributed import SINGLE, World
from pretraining.elastic import launch_id
from pretraining.evaluation import EvalBatches, count_bytes_per_token
from pretraining.prepared_data import PreparedData, encode_documents, need_validation
from pretraining.pretrain_config import SPECIAL_TOKENS, PretrainConfig
from pretraining.registries import find_own, own_documents
from pretraining.run_state import TrainResult
from pretraining.shard_data import is_shard_folder, open_shard_data
from pretraining.starting_points import Source, find_start, open_fork
from pretraining.streaming_data import open_stream_data
from pretraining.trainer import Trainer
from utils.config import to_dict
from utils.device import pick_device
from utils.errors import UserError
from utils.runs import Run
from utils.seeding import set_seed
from utils.tracking import MultiSink, SinkOptions, open_sinks
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.documents import load_documents
from working_with_text_data.repeats import WithRepeats
from working_with_text_data.splitting import Split, split_documents
from working_with_text_data.tokenizer import load_tokenizer

STAGE = "pretrain"


def make_tokenizer(config: PretrainConfig, texts: Sequence[str]) -> Any:
    """The tokenizer that the config names; "bpe" is trained on `texts`."""
    if config.tokenizer == "byte":
        return ByteTokenizer()
    if config.tokenizer == "bpe":
        from working_with_text_data.fast_bpe import train_bpe

        return train_bpe(texts, config.vocab_size, special_tokens=SPECIAL_TOKENS)
    if (own := find_own("tokenizer", config.tokenizer)) is not None:
        return own(texts, config)
    return load_tokenizer(config.tokenizer)


def load_split(config: PretrainConfig) -> Split:
    """The config's texts, shared out whole between training and validation."""
    if (own := find_own("data", config.data)) is not None:
        documents = own_documents(own, config)
    else:
        options = config.data_options
        documents = load_documents(
            config.data, max_documents=config.max_documents, seed=config.data_seed, **options
        )
    return split_documents(documents, val_fraction=config.val_fraction, seed=config.data_seed)


def encode_split(config: PretrainConfig, split: Split, tokenizer: Any) -> PreparedData:
    """Both parts as tokens. Raises UserError when the text is too short to be judged on."""
    train, val = encode_documents(split.train, tokenizer), encode_documents(split.val, tokenizer)
    need_validation(val, config.data)
    return PreparedData(tokenizer, train, val, count_bytes_per_token(tokenizer, val), split.report.to_dict())


def prepare_data(config: PretrainConfig, *, tokenizer: Any = None) -> PreparedData:
    """Load, split, train the tokenizer (unless given) on the training part, encode both parts.

    A folder of token shards is mapped instead, and with `streaming` the text stays where it is. Raises UserError
    for text that is missing, unreadable or too short.
    """
    if is_shard_folder(config.data):
        return open_shard_data(config, tokenizer)
    if config.streaming:
        return open_stream_data(config, tokenizer)
    split = load_split(config)
    if tokenizer is None:
        tokenizer = make_tokenizer(config, [document.text for document in split.train])
    return encode_split(config, split, tokenizer)


def make_model(config: PretrainConfig, vocab_size: int) -> GPT:
    """The preset with the config's overrides, freshly initialised from `config.seed`."""
    set_seed(config.seed)
    overrides = {"vocab_size": vocab_size, **config.model}
    shape: GPTConfig = preset(config.preset, **overrides)
    if shape.vocab_size < vocab_size:
        raise UserError(
            f"model.vocab_size is {shape.vocab_size}, but the tokenizer has {vocab_size}: leave it out"
        )
    return GPT(shape)


def train(
    config: PretrainConfig,
    *,
    resume: str | Path | None = None,
    fork: str | Path | None = None,
    run_id: str | None = None,
    callbacks: Sequence[Callback] = (),
    world: World = SINGLE,
) -> Run:
    """Run the whole recipe; the run's status afterwards is complete or stopped, its `result` in run.json.

    `resume` names a run to go on with ("last", an id or a path, also ID@best or ID@500); `config` is then that
    run's, with changes. `fork` names weights to begin a new run with (`starting_points`). A new run may be given its
    name, `run_id`. Of several processes (`world`) each calls this alike; rank 0 writes, all get the run.
    Raises UserError for bad input, before a run folder exists, and RunFailure for what goes wrong later.
    """
    tokenizer, going_on, source = None, None, None
    if resume is not None and fork is not None:
        raise UserError("--resume goes on with a run and --fork begins a new one: give one of them")
    if resume is not None:
        run, which = find_start(resume, stage=STAGE, root=config.runs)
        checkpoint = load_checkpoint(run, which)
        tokenizer = load_tokenizer(checkpoint.path / "tokenizer.json")
        going_on = (run, checkpoint)
    if fork is not None:
        source = open_fork(fork, root=config.runs, n_head=config.model.get("n_head"))
        config, tokenizer = source.recipe(config), source.tokenizer
    pick_device(config.device)  # a missing GPU is better known before the tokenizer is trained
    data = prepare_data(config, tokenizer=tokenizer)
    if source is not None:
        source.check_vocabulary(data.tokenizer)
    model = make_model(config, data.tokenizer.vocab_size)
    if source is not None:
        source.give_weights(model)
    return fit(
        config, data, model, run_id=run_id, going_on=going_on, source=source, callbacks=callbacks, world=world
    )


def fit(
    config: PretrainConfig,
    data: PreparedData,
    model: GPT,
    *,
    run_id: str | None = None,
    going_on: tuple[Run, Checkpoint] | None = None,
    source: Source | None = None,
    callbacks: Sequence[Callback] = (),
    world: World = SINGLE,
) -> Run:
    """Train `model` on prepared data in a run of its own (named `run_id`), or go on with an earlier run.

    `source` is where the model's weights came from, if not from a generator; run.json keeps it.
    """
    block = model.config.block_size
    trainer = Trainer(
        model,
        config,
        make_batches(config, data, block, world),
        val_batches=EvalBatches(data.val, block, world.share_of(config.batch_size)),
        tokenizer=data.tokenizer,
        callbacks=callbacks if world.is_main else (),
        bytes_per_token=data.bytes_per_token,
        world=world,
    )
    if world.size > 1 and len({str(identity) for identity in world.gather(data.identity())}) > 1:
        raise UserError("the processes read different data: give all machines the same files and settings")
    if going_on is not None:
        _same_data(going_on[0], data)
        trainer.resume(going_on[1])
    if not world.is_main:
        trainer.fit()
        return Run(*world.tell(None))
    if going_on is None:
        inputs = {"data": data.origin(config), **data.identity(), "split": data.report}
        if source is not None:
            inputs["fork"] = source.provenance
        run = Run.create(STAGE, to_dict(config), root=config.runs, inputs=inputs, run_id=run_id)
    else:
        run = going_on[0]
        run.resume()
        run.meta["config"] = to_dict(config)
    if (launch := launch_id()) is not None:
        run.note(launch=launch)
    with run, closing(open_tracking(config, run)) as sinks:
        trainer.record_in(run, [sinks])
        result = trainer.fit()
        _conclude(run, result, data)
    world.tell((run.path, run.meta))
    return run


def open_tracking(config: PretrainConfig, run: Run) -> MultiSink:
    """metrics.csv and whatever `track` names. A sink that fails is one line on the terminal and in log.txt."""

    def warn(text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)
        with suppress(OSError):
            run.log(text)

    options = SinkOptions(run.path, config.track_project, run.id, to_dict(config), config.track_mode, warn)
    return open_sinks(["csv", *config.track], options)


def make_batches(config: PretrainConfig, data: PreparedData, block_size: int, world: World = SINGLE) -> Any:
    """Shuffled windows of the training tokens, with the warm-up in copying where the config asks for it."""
    batches = data.batches(config, block_size, world)
    if not (config.copy_first or config.copy_until):
        return batches
    first, every, until = config.copy_first, config.copy_every, config.copy_until
    return WithRepeats(batches, first=first, every=every, until=until, seed=config.seed)


def _same_data(run: Run, data: PreparedData) -> None:
    """Refuse to go on with other tokens than the run began with."""
    for name, value in data.identity().items():
        if run.meta["inputs"].get(name, value) != value:
            raise UserError(
                f"run {run.id} began with other data ({name} differs): resume with the same text and "
                "settings, or start a new run"
            )


def _conclude(run: Run, result: TrainResult, data: PreparedData) -> None:
    """Write result, baselines and outputs into run.json, and how the run ended."""
    report: dict[str, Any] = {**asdict(result), "checkpoint": str(result.checkpoint)}
    if result.val is not None:
        report["baselines"] = data.baselines()
    run.meta["result"] = report
    if result.checkpoint is not None:
        run.add_output("checkpoint", result.checkpoint)
    run.finish(result.status, result.reason)
