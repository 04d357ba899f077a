"""All that `python -m pretraining.train` takes: the recipe of a run, and what it is made of.

`PretrainConfig` adds to `TrainConfig` where the text, the tokenizer and the model come from, and where the
numbers go. `name`, `version`, `parent` and `created` describe a recipe to people and change nothing.
Left out: what is done with these keys (`recipe`, `shard_data`, `streaming_data`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pretraining.config import TrainConfig, _key, _need
from utils.tracking import check_sinks

SPECIAL_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")  # of a tokenizer trained here


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """`TrainConfig` plus text, tokenizer and model: all that `python -m pretraining.train` takes."""

    data: str = _key("storyland", "a corpus (storyland, pydoc), a file or folder of text, or a shard folder")
    data_options: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "of a named corpus: data_options.n_bytes=1000000"}
    )
    max_documents: int | None = _key(None, "take at most so many documents")
    val_fraction: float = _key(0.05, "share of the documents kept for validation (not for shards)")
    data_seed: int = _key(0, "of the corpus and of its split")
    streaming: bool = _key(False, "tokenise while training, in constant memory")
    buffer_windows: int = _key(1024, "streaming: windows that are shuffled together")
    stream_val_tokens: int = _key(100_000, "streaming: validation tokens that are collected first")
    tokenizer: str = _key(
        "bpe", "bpe (trained here and now), byte, gpt2, or a saved tokenizer; shards: their own"
    )
    vocab_size: int = _key(2048, "tokenizer=bpe: size of its vocabulary")
    preset: str = _key("storyteller", "the model's shape, a key of gpt_model.PRESETS")
    model: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "what to change in the preset: model.n_layer=8"}
    )
    copy_first: int = _key(0, "a warm-up in copying: the first so many batches repeat a few tokens")
    copy_every: int = _key(6, "after it, each so-many-th batch repeats")
    copy_until: int = _key(0, "up to this batch; 0 for no warm-up at all")
    runs: str | None = _key(None, "where run folders go; null: $SCRATCHBOOK_RUNS, else ./runs")

    track: list[str] = field(
        default_factory=list,
        metadata={"help": "more places for the metrics: [tensorboard], [wandb], [trackio], [console]"},
    )
    track_project: str = _key("scratchbook", "wandb and trackio: the project's name")
    track_mode: str = _key("auto", "wandb: online, offline, or auto (offline where there is no key)")

    name: str = _key("", "of this recipe")
    version: str = _key("", "of this recipe")
    parent: str = _key("", "the recipe or run that this one comes from")
    created: str = _key("", "when this recipe was written")

    def __post_init__(self) -> None:
        super().__post_init__()
        share = "it is a share between 0 and 1"
        _need(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, share, "set val_fraction=0.05")
        for name in ("copy_first", "copy_until"):
            _need(
                getattr(self, name) >= 0, name, getattr(self, name), "it cannot be negative", f"set {name}=0"
            )
        for name, least in (("copy_every", 1), ("buffer_windows", 1), ("stream_val_tokens", 2)):
            value = getattr(self, name)
            _need(value >= least, name, value, f"the least is {least}", f"set {name}={least} or more")
        always = "the 256 bytes are always in it"
        _need(self.vocab_size >= 256, "vocab_size", self.vocab_size, always, "set vocab_size=2048")
        modes = "wandb knows auto, online and offline"
        _need(
            self.track_mode in ("auto", "online", "offline"), "track_mode", self.track_mode, modes, "set auto"
        )
        check_sinks(self.track)
