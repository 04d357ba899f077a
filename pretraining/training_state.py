"""What a training run consists of at one moment, and how to go on from it: collect, restore.

Besides the weights, a later step depends on the optimizer's state, the loss scale, every random generator, the
place in the data, and the counts (a budget of minutes needs the time used). All of it is in a checkpoint; leave one
out and the resumed run is another run (law LP1, which puts each omission back and sees it caught). Weights alone:
`starting_points`.
Notebook 06 of this chapter.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from pretraining.checkpoints import Checkpoint, CheckpointError, load_weights
from pretraining.distributed import World, is_sharded
from pretraining.optimizers import trainable
from pretraining.run_state import Progress
from pretraining.sharded_checkpoints import are_shards, load_model_shards, put_together
from utils.seeding import capture_rng, restore_rng, set_seed

if TYPE_CHECKING:
    from pretraining.trainer import Trainer


def collect(trainer: Trainer, *, whole: bool = True) -> dict[str, Any]:
    """All that later steps depend on, besides the weights. Collective; whole on rank 0, which is the one that writes.

    Generators differ from rank to rank, so each gives its own (`ranks`). Shards of an optimizer are put together, so
    that a checkpoint means the same whatever number of processes wrote it, unless `whole` is false.
    """
    trainer.elapsed()
    world, rng = trainer.world, capture_rng()
    optimizer = trainer.optimizer.state_dict()
    if whole and is_sharded(trainer.model):
        from pretraining.fsdp import gathered

        optimizer = gathered(optimizer, keep=world.is_main)
    loader = getattr(trainer.train_batches, "state_dict", None)
    return {
        "progress": asdict(trainer.now),
        "optimizer": optimizer,
        "scaler": trainer.scaler.state_dict(),
        "parameters": list(trainable(trainer.model)),
        "loader": loader() if loader else None,
        "rng": rng,
        **({"ranks": world.gather(rng)} if world.size > 1 else {}),
        "config": asdict(trainer.config),
    }


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Make `trainer` the one that wrote `checkpoint`. The config may differ, the data and the optimizer not.

    Another number of processes may go on: the place in the data counts over all of them. Only their generators
    (dropout) begin anew then, because there are more or fewer of them.

    Raises CheckpointError for a checkpoint of other parameters, of another optimizer, or batches without a state.
    """
    state, config = checkpoint.state, trainer.config
    if state["parameters"] != list(trainable(trainer.model)):
        raise CheckpointError(
            f"{checkpoint.path} was trained with other parameters: use its own model config"
        )
    if state["config"]["optimizer"] != config.optimizer:
        raise CheckpointError(
            f"{checkpoint.path} holds the state of optimizer {state['config']['optimizer']!r}, "
            f"not {config.optimizer!r}: resume with the same one"
        )
    if state["loader"] is None or not hasattr(trainer.train_batches, "load_state_dict"):
        raise CheckpointError(f"{checkpoint.path}: the training batches cannot be resumed (no state_dict)")
    load_into(trainer.model, checkpoint.path)
    groups = trainer.optimizer.param_groups
    peaks: list[dict[str, Any]] = [
        {k: g[k] for k in ("initial_lr", "weight_decay") if k in g} for g in groups
    ]
    saved = state["optimizer"]
    if are_shards(checkpoint.path):
        saved = put_together(trainer.optimizer, saved, checkpoint.path)
    elif is_sharded(trainer.model):
        from pretraining.fsdp import scattered

        saved = scattered(trainer.optimizer, saved)
    trainer.optimizer.load_state_dict(saved)
    for group, peak in zip(trainer.optimizer.param_groups, peaks, strict=True):
        group.update(peak)  # the config's, so that `--resume last lr=…` means what it says
    if "scaler" in state:  # not in checkpoints from before fp16
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.train_batches.load_state_dict(state["loader"])
    trainer.now = Progress(**state["progress"])
    trainer.saved, trainer.saved_step = checkpoint.path, checkpoint.step
    restore_generators(trainer.world, state, trainer.now.step)
    trainer.resume_note = checkpoint.fallback


def load_into(model: Any, folder: Path) -> None:
    """Copy the checkpoint's weights into `model`, whichever of the two is whole or sharded. Raises CheckpointError.

    A model that saves itself in a form of its own (an adapter beside merged weights) also reads it: `load_trained`.
    """
    if (own := getattr(model, "load_trained", None)) is not None:
        own(folder)
    elif are_shards(folder):
        load_model_shards(model, folder)
    elif is_sharded(model):
        from pretraining.fsdp import load_whole

        load_whole(model, load_file(folder / "model.safetensors"))
    else:
        load_weights(model, folder)


def restore_generators(world: World, state: dict[str, Any], step: int) -> None:
    """Put this rank's generators back; where there were more or fewer ranks, seed them from the step anew."""
    saved = state.get("ranks", [state["rng"]])
    if len(saved) == world.size:
        restore_rng(saved[world.rank])
    else:
        set_seed(world.seed(state["config"]["seed"] + 1_000_003 * step))
