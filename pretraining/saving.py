"""When the trainer saves: at once or beside the loop, and what becomes of training when the disk refuses.

`checkpoints` knows how a checkpoint comes to be on disk, `async_checkpoints` how it does so in a thread. Here is what
the loop has to decide around them: which step counts as saved, when callbacks hear of it, and whether a failure ends
the run (`on_save_error=stop`) or is said aloud and tried again at the next save (`continue`). One failure always ends
it: that of the last step, because a run may not be called complete when what it learned is nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pretraining import training_state
from pretraining.async_checkpoints import AsyncCheckpoints, Outcome
from pretraining.checkpoints import save_checkpoint
from pretraining.distributed import readable
from utils.errors import RunFailure, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from pretraining.trainer import Trainer

GO_ON = "; free some space, then go on with --resume"


class Saver:
    """Saves for one trainer. `trainer.saved` is the last checkpoint known to be whole on disk, `saved_step` the
    last step that is there or on its way."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        config = trainer.config
        self.background = (
            AsyncCheckpoints(trainer.model)
            if config.save_async and AsyncCheckpoints.can_copy(trainer.model)
            else None
        )
        self.primed = False
        self.failed: Outcome | None = None  # the last save, if it did not reach the disk

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written beside the loop right now."""
        return self.background is not None and self.background.writing

    def save(self, root: Path, score: float | None) -> None:
        """Write a checkpoint of this moment below `root`, or begin to; `score` is this step's validation loss.

        Of several processes all take part, because each knows a part of the state; rank 0 writes.
        """
        trainer, config = self.trainer, self.trainer.config
        step = trainer.now.step
        keep: dict[str, Any] = {"score": score, "keep_last": config.keep_last, "keep_best": config.keep_best}
        if config.sharded_checkpoints:
            self._save_shards(root, keep)
            return
        state, model = trainer.state_dict(), readable(trainer.model, trainer.world)
        if not trainer.world.is_main:
            trainer.saved_step = step
            return
        if self.background is not None:
            self._settle(self.background.wait())
            self.background.save(root, step, state=state, tokenizer=trainer.tokenizer, **keep)
            trainer.saved_step = step
            return
        save_model = model.save_pretrained
        try:
            path = save_checkpoint(
                root, step, save_model=save_model, state=state, tokenizer=trainer.tokenizer, **keep
            )
        except OSError as error:
            self._settle(Outcome(step, None, error))
        else:
            trainer.saved_step = step
            self._settle(Outcome(step, path))

    def _save_shards(self, root: Path, keep: dict[str, Any]) -> None:
        """Every rank writes its own part; rank 0 the rest, and it alone knows how it went."""
        from pretraining.sharded_checkpoints import save_sharded

        trainer, step = self.trainer, self.trainer.now.step
        state = training_state.collect(trainer, whole=False)
        tokenizer, world = trainer.tokenizer, trainer.world
        trainer.saved_step = step
        try:
            path = save_sharded(
                root, step, model=trainer.model, state=state, world=world, tokenizer=tokenizer, **keep
            )
        except OSError as error:
            self._settle(Outcome(step, None, error))
        else:
            self.failed = None  # on ranks that write no folder, too: an earlier refusal has been made good
            self._settle(None if path is None else Outcome(step, path))

    def look(self) -> None:
        """After each step: hear of a write that has ended, and set memory aside for the first one."""
        if self.background is None or self.trainer.checkpoint_dir is None:
            return
        self._settle(self.background.ended())
        if not self.primed:
            self.primed = True
            state = self.trainer.state_dict()
            if self.trainer.world.is_main:
                self.background.prime(state)

    def finish(self) -> None:
        """Wait for the last write. Raises RunFailure when the last step did not reach the disk."""
        if self.background is not None:
            self._settle(self.background.wait())
        if self.failed is not None:
            raise RunFailure(self._complaint(self.failed) + GO_ON) from self.failed.error

    def close(self) -> None:
        """Wait without raising, when something else has ended the run; what it finds is only logged."""
        outcome = None if self.background is None else self.background.wait()
        if outcome is not None and outcome.error is not None:
            self.trainer.journal.log(self._complaint(outcome))
        elif outcome is not None:
            self.trainer.saved = outcome.path

    def _settle(self, outcome: Outcome | None) -> None:
        """Believe an outcome: tell it to callbacks, or stop, or complain and go on."""
        trainer = self.trainer
        if outcome is None:
            return
        self.failed = None if outcome.error is None else outcome
        if outcome.error is None:
            trainer.saved = outcome.path
            trainer.journal.call("on_save", trainer, outcome.path)
            return
        trainer.saved_step = -1
        if not isinstance(outcome.error, OSError):
            raise outcome.error  # a bug, not a disk
        if trainer.config.on_save_error == "stop":
            raise RunFailure(self._complaint(outcome) + GO_ON) from outcome.error
        trainer.journal.say(f"{self._complaint(outcome)}; training goes on, the next save tries again")

    def _complaint(self, outcome: Outcome) -> str:
        trainer = self.trainer
        kept = f"{trainer.saved.name} is intact" if trainer.saved else "there is no earlier checkpoint"
        return (
            f"cannot save step {outcome.step} in {trainer.checkpoint_dir} ({one_line(outcome.error)}): {kept}"
        )
