"""Where a run begins: at a checkpoint of its own (resume), or with the weights of another (fork).

*Resume* goes on with the same run: everything is as it was, and the result is that of a run without the pause.
*Fork* begins a new run: it takes the weights and the tokenizer and nothing else; step, optimizer, schedule, random
numbers and data are its own, and run.json says where the weights came from, with their sha256.

    last              the newest run, its last checkpoint      RUN        a run's id or path
    best              the newest run, its best one             RUN@best   its best checkpoint
    500               the newest run, step 500                 RUN@500    that of step 500

A fork may also start from a checkpoint folder, from `assets`, from a model of Hugging Face (a folder or a name such as
`gpt2`), and from a `.pth` of others (`import_pth`). Notebook 06 of this chapter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError
from utils.runs import Run, find_run, split_checkpoint

if TYPE_CHECKING:
    from gpt_model.gpt import GPT
    from pretraining.pretrain_config import PretrainConfig

STAGE = "pretrain"
PADDING = 128  # rows that a model's table may have beyond its tokenizer: some round the vocabulary up


def find_start(
    ref: str | Path, *, stage: str | None = STAGE, root: Path | str | None = None
) -> tuple[Run, str]:
    """The run and the checkpoint of it ("last", "best" or a step) that `ref` means; see the table at the top.

    Raises UserError when there is no such run.
    """
    name, which = split_checkpoint(ref)
    if which is None and (name == "best" or name.isdigit()):
        try:
            return find_run(name, stage=stage, root=root), "last"  # someone has given a run that name
        except UserError:
            name, which = "last", name
    run = find_run(name, stage=stage or (STAGE if name == "last" else None), root=root)
    return run, (which or "last").removeprefix("step_")


@dataclass(frozen=True)
class Source:
    """What a fork takes: a model with its weights, its tokenizer where it has one, and where both came from."""

    ref: str
    model: GPT
    tokenizer: Any
    provenance: dict[str, Any]

    def recipe(self, config: PretrainConfig) -> PretrainConfig:
        """`config` for a model of this one's shape: what it says about the model changes the shape."""
        shape = {**self.model.config.to_dict(), **config.model}
        return replace(config, model=shape, parent=config.parent or self.provenance.get("parent", self.ref))

    def check_vocabulary(self, tokenizer: Any) -> None:
        """Refuse a tokenizer that the weights were not trained with, as far as its size tells."""
        rows, tokens = self.model.config.vocab_size, tokenizer.vocab_size
        if not 0 <= rows - tokens < PADDING:
            raise UserError(
                f"the model of {self.ref} has a vocabulary of {rows:,}, the tokenizer of {tokens:,}: name the one that "
                "it was trained with, as in tokenizer=gpt2 or tokenizer=PATH"
            )

    def give_weights(self, model: Any) -> None:
        """Copy the weights into `model`. Raises CheckpointError naming the first that does not fit."""
        from pretraining.checkpoints import copy_weights

        copy_weights(model, self.model.state_dict(), self.ref)


def open_fork(ref: str | Path, *, root: Path | str | None = None, n_head: int | None = None) -> Source:
    """The weights that `ref` names. Raises UserError when there are none, or when they are damaged.

    `n_head` is for a `.pth` that does not say how many heads it has.
    """
    from pretraining.import_pth import SUFFIXES, read_pth
    from utils.files import sha256_file

    path = Path(ref)
    if path.suffix in SUFFIXES:
        model = read_pth(path, n_head=n_head)
        provenance = {"path": str(path.resolve()), "sha256": sha256_file(path), "parent": path.name}
        return Source(str(ref), model, None, provenance)
    try:
        run, which = find_start(ref, stage=None, root=root)
    except UserError as no_run:
        return _open_model(ref, root, no_run)
    return _open_checkpoint(str(ref), run.path, which, run)


def _open_checkpoint(ref: str, place: Path, which: str, run: Run | None) -> Source:
    """A checkpoint of ours, every byte of it checked."""
    from gpt_model.gpt import GPT
    from pretraining.checkpoints import find_checkpoint
    from utils.files import sha256_file
    from working_with_text_data.tokenizer import load_tokenizer

    folder, fallback = find_checkpoint(place, which)
    tokenizer = folder / "tokenizer.json"
    provenance: dict[str, Any] = {
        "path": str(folder),
        "sha256": sha256_file(folder / "model.safetensors"),
        "parent": folder.name if run is None else f"{run.id}@{int(folder.name[5:])}",
        "fallback": fallback,
    }
    if run is not None:
        provenance |= {"stage": run.stage, "run": run.id, "step": int(folder.name[5:])}
    return Source(
        ref, GPT.load(folder), load_tokenizer(tokenizer) if tokenizer.is_file() else None, provenance
    )


def _open_model(ref: str | Path, root: Path | str | None, no_run: UserError) -> Source:
    """A folder of step folders, a checkpoint folder, or whatever `gpt_model.loading` finds under the name."""
    from gpt_model.loading import load_model
    from pretraining.checkpoints import CheckpointError

    path = Path(ref)
    if path.is_dir():
        try:
            return _open_checkpoint(str(ref), path, "last", None)
        except CheckpointError:
            if (path / "manifest.json").is_file():  # it is one of ours, and damaged
                raise
    try:
        loaded = load_model(ref, root=None if root is None else Path(root))
    except UserError as error:
        raise UserError(f"{ref!r} is no run ({no_run}) and no model ({error})") from None
    provenance = {"path": str(loaded.path), "parent": str(ref)}
    return Source(str(ref), loaded.model, loaded.tokenizer, provenance)
