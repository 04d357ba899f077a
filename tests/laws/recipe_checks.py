"""Laws of recipes as plain functions: every shipped config runs, and text comes to training the same on every way.

Shards that are mapped give the batches that the same tokens in memory give. A stream that is interrupted goes on with
exactly the batches that would have come (LT10 where data meets training). A config says what its file says.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import yaml

from gpt_model.config import CHOICES
from gpt_model.presets import PRESETS
from pretraining import recipe, streaming_data
from pretraining.distributed import World
from pretraining.pretrain_config import PretrainConfig
from utils import config as config_module
from utils.errors import UserError
from utils.runs import Run
from working_with_text_data.shards import write_shards
from working_with_text_data.tokenizer import tokenizer_hash

SHRINK = [
    *(
        "steps=2",
        "minutes=null",
        "epochs=null",
        "batch_size=2",
        "grad_accum=1",
        "tokenizer=byte",
        "log_every=1",
    ),
    *("eval_tokens=64", "sample_tokens=4", "device=cpu", "dtype=fp32", "compile=false", "streaming=false"),
    *("max_documents=null", "data_options={}", "track=[]", "model.n_layer=2", "model.n_head=2"),
    *("model.n_embd=16", "model.block_size=32", "model.mlp_hidden=null"),
]
SMALLER = {  # what an attention needs besides, and only it
    "gqa": ["model.n_kv_head=1"],
    "mla": ["model.kv_latent_dim=8", "model.rope_dim=4", "model.q_latent_dim=null"],
    "swa": ["model.n_kv_head=1", "model.window=8"],
    "mha": [],
}


def small_texts(folder: Path, count: int = 40) -> Path:
    """A folder of short texts."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i:02d}.txt").write_text(
            f"Story {i}: the fox number {i * i} met hen {i % 7}. They talked of {i * 3} things and went home.\n"
        )
    return folder


def shrunken(path: Path | None, text: Path, runs: Path, *more: str) -> PretrainConfig:
    """The config of a YAML file at a size that runs in a blink; its kinds of parts stay what they are."""
    whole = config_module.load_config(PretrainConfig, path, [m for m in more if not m.startswith("model.")])
    shape = {**PRESETS[whole.preset], **whole.model}
    small = [*SHRINK, *SMALLER[shape.get("attention", "mha")], f"data={text}", f"runs={runs}"]
    if shape.get("rope_scaling", "none") != "none":
        small += ["model.rope_original_length=16"]
    return config_module.load_config(PretrainConfig, path, [*small, *more])


def check_config_runs(path: Path, text: Path, runs: Path) -> None:
    """The file loads, says how long it runs, is named after itself, keeps every value, and runs two small steps."""
    try:
        whole = config_module.load_config(PretrainConfig, path)
    except UserError as error:
        raise AssertionError(f"{path.name} does not load: {error}") from error
    assert whole.has_budget, f"{path.name} does not say how long it runs: give steps, minutes or epochs"
    assert whole.name == path.stem, (
        f"{path.name} calls itself {whole.name!r}: a run could not be told by its recipe"
    )
    written = yaml.safe_load(path.read_text())
    loaded = asdict(whole)
    for key, value in written.items():
        assert loaded[key] == value, (
            f"{path.name}: {key} is {value!r} in the file, {loaded[key]!r} in the config"
        )
    shape = {**PRESETS[whole.preset], **whole.model}
    config = shrunken(path, text, runs)
    run = recipe.train(config)
    assert run.status == "complete" and run.meta["result"]["step"] == 2, f"{path.name}: {run.meta['result']}"
    made = run.meta["config"]["model"]
    for kind in ("attention", *CHOICES):
        if kind in shape and kind in made:
            assert made[kind] == shape[kind], f"{path.name}: {kind} was shrunk away"


def check_bad_values_are_named(path: Path) -> None:
    """An unknown key and a wrong type are errors that name the key, through the loader that commands use."""
    for override, named in (("learning_rate=1e-3", "learning_rate"), ("lr=fast", "lr"), ("model=3", "model")):
        try:
            config_module.load_config(PretrainConfig, path, [override])
        except UserError as error:
            assert named in str(error) and "\n" not in str(error), f"{override}: {error}"
        else:
            raise AssertionError(f"{override} was taken without a word: a typing mistake costs a night")


def numbers(run: Run) -> list[tuple[Any, ...]]:
    """Every metric that depends on the data: step, split, loss, gradient norm, tokens; the last line of a step."""
    rows = {}
    for row in run.metrics():
        rows[row["step"], row["split"], bool(row.get("whole"))] = (
            row["loss"],
            row.get("grad_norm"),
            row["tokens"],
        )
    return sorted((*key, *value) for key, value in rows.items())


TINY = ["tokenizer=byte", "preset=debug", "model.block_size=16", "batch_size=3", "device=cpu", "dtype=fp32"]
TINY += [
    "log_every=1",
    "eval_every=4",
    "eval_tokens=100",
    "sample_tokens=3",
    "val_fraction=0.2",
    "save_every=4",
]


def write_small_shards(text: Path, folder: Path, runs: Path) -> PretrainConfig:
    """The small texts as shards of 700 ids each; returns the config that reads them from memory."""
    config = config_module.load_config(
        PretrainConfig, None, [*TINY, "steps=8", f"data={text}", f"runs={runs}"]
    )
    data = recipe.prepare_data(config)
    sha, size = tokenizer_hash(data.tokenizer), data.tokenizer.vocab_size
    for split in ("train", "val"):
        write_shards(
            folder, split, [getattr(data, split)], tokenizer_sha256=sha, vocab_size=size, shard_tokens=700
        )
    data.tokenizer.save(folder / "tokenizer.json")
    return config


def check_shards_train_like_memory(folder: Path) -> None:
    """The same tokens as mapped shards and as arrays: the same batches, losses and baselines, to the last bit."""
    text = small_texts(folder / "text")
    config = write_small_shards(text, folder / "shards", folder / "runs")
    from_memory = recipe.train(config)
    overrides = [*TINY, "steps=8", f"data={folder / 'shards'}", f"runs={folder / 'runs'}", "tokenizer=bpe"]
    from_shards = recipe.train(config_module.load_config(PretrainConfig, None, overrides))
    assert numbers(from_memory) == numbers(from_shards), (
        "shards trained another model than the same tokens in memory"
    )
    assert from_memory.meta["result"]["baselines"] == from_shards.meta["result"]["baselines"]
    assert from_shards.meta["inputs"]["train_tokens"] == from_memory.meta["inputs"]["train_tokens"]


def check_resume_is_exact(folder: Path, *more: str) -> None:
    """8 steps equal 4 + a new trainer + 4 with `==`, for the data that `more` asks for."""
    text = small_texts(folder / "text")
    base = [*TINY, f"data={text}", f"runs={folder / 'runs'}", "schedule=constant", "warmup=0", *more]
    whole = recipe.train(config_module.load_config(PretrainConfig, None, [*base, "steps=8"]))
    half = recipe.train(config_module.load_config(PretrainConfig, None, [*base, "steps=4"]))
    assert numbers(half) != numbers(whole)
    again = recipe.train(
        config_module.load_config(PretrainConfig, None, [*base, "steps=8"]), resume=half.path
    )
    last = [row for row in numbers(again) if row[0] > 4]
    assert last == [row for row in numbers(whole) if row[0] > 4], (
        "after a resume other batches came than would have come: a place in the data was lost"
    )
    assert len(last) >= 5


def check_stream_sides_are_disjoint(folder: Path) -> None:
    """What a stream trains on and what it is judged on share no document; both are deterministic."""
    text = small_texts(folder / "text", 80)
    overrides = [*TINY, "steps=1", f"data={text}", "streaming=true", "stream_val_tokens=600"]
    config = config_module.load_config(PretrainConfig, None, overrides)
    data = streaming_data.open_stream_data(config)
    assert data.identity() == streaming_data.open_stream_data(config).identity()
    held_out = set(data.tokenizer.decode(list(map(int, data.val))).split("<|eos|>"))
    held_out = {piece.strip() for piece in held_out if piece.strip()}
    batches = data.batches(config, 16)
    seen = "".join(data.tokenizer.decode(row.tolist()) for _ in range(200) for row in next(batches)[0])
    batches.close()
    everything = {path.read_text().strip() for path in text.iterdir()}
    whole = {piece for piece in held_out if piece in everything}
    assert len(whole) >= 5, "too few whole validation texts to compare"
    for piece in whole:
        number = piece.split(":")[0] + ":"
        assert number not in seen, f"{number} is trained on and judged on"


def check_other_vocabulary_is_refused(folder: Path) -> None:
    """Shards with another tokenizer, or a model too small for their ids: one line, and no run folder."""
    text = small_texts(folder / "text")
    write_small_shards(text, folder / "shards", folder / "runs")
    from working_with_text_data.fast_bpe import train_bpe

    train_bpe(["the fox met the hen"] * 9, 260).save(folder / "other.json")
    shards = [*TINY, "steps=1", f"data={folder / 'shards'}", f"runs={folder / 'none'}"]
    cases = {
        f"tokenizer={folder / 'other.json'}": "another tokenizer",
        "model.vocab_size=100": "vocab_size",
        "max_documents=3": "max_documents",
        "streaming=true": "streaming",
    }
    for override, named in cases.items():
        config = config_module.load_config(PretrainConfig, None, [*shards, "tokenizer=bpe", override])
        try:
            recipe.train(config)
        except UserError as error:
            assert named in str(error) and "\n" not in str(error), f"{override}: {error}"
        else:
            raise AssertionError(f"{override} was taken: ids would mean other words than they were made from")
    assert not (folder / "none").exists(), "a run folder was made for shards that do not fit"


class Pretended(World):
    """One of two ranks that tell each other their values through a list, in one process."""

    told: ClassVar[list[Any]] = [None, None]

    def gather(self, value: Any) -> list[Any]:
        self.told[self.rank] = copy.deepcopy(value)
        return list(self.told)


def check_ranks_of_a_stream_go_on_exactly(folder: Path) -> None:
    """Each of two ranks has its own place: both go on with their own batches, which share no document."""
    (folder / "text").mkdir()
    for i in range(60):  # one letter a document: a token tells where it came from
        (folder / "text" / f"{i}.txt").write_text(chr(50 + i) * (60 + 3 * i))
    overrides = [
        *TINY,
        "steps=1",
        f"data={folder / 'text'}",
        "streaming=true",
        "stream_val_tokens=200",
        "batch_size=4",
    ]
    config = config_module.load_config(PretrainConfig, None, [*overrides, "buffer_windows=5"])
    data = streaming_data.open_stream_data(config)

    def both() -> list[Any]:
        return [data.batches(config, 16, Pretended(rank=rank, size=2)) for rank in (0, 1)]

    def rows(loader: Any, count: int) -> list[list[int]]:
        return [row for _ in range(count) for row in next(loader)[0].tolist()]

    loaders = both()
    for number, loader in enumerate(loaders):
        rows(loader, 3 + 2 * number)
    for loader in loaders:
        loader.state_dict()
    saved = copy.deepcopy(loaders[0].state_dict())  # what rank 0 writes
    expected = [rows(loader, 6) for loader in loaders]
    again = both()
    try:
        for loader in again:
            loader.load_state_dict(saved)
    except UserError as error:
        raise AssertionError(f"a checkpoint of two ranks does not load on two ranks: {error}") from error
    assert [rows(loader, 6) for loader in again] == expected, "a rank went on with other batches than its own"
    fresh = both()
    letters = [{i for row in rows(loader, 12) for i in row} & set(range(50, 110)) for loader in fresh]
    assert min(map(len, letters)) >= 2 and not letters[0] & letters[1], "two ranks read the same document"
    for loader in [*loaders, *again, *fresh]:
        loader.close()
