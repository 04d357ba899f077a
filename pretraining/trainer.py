"""The training loop, to be read from top to bottom in `Trainer.fit`.

A step: set the learning rate, draw micro-batches, add up their gradients weighted by tokens, clip, update.
Around it, each on its own cadence: log, evaluate, sample, save. All that a later step depends on (weights,
optimizer, random numbers, place in the data, time used) is in a checkpoint, so 20 steps and 10 + resume + 10
are the same to the last bit (law LP1). With several processes (`distributed.World`) every rank runs this same
loop over rows of its own. The recipe's numbers: `config`. Where other code may look on: `callbacks`.
Notebook 01 of this chapter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pretraining import training_state
from pretraining.budget import Budget
from pretraining.callbacks import Callback
from pretraining.checkpoints import Checkpoint
from pretraining.compiling import compile_model
from pretraining.config import TrainConfig
from pretraining.distributed import SINGLE, World, readable
from pretraining.evaluation import EvalBatches, EvalResult, evaluate
from pretraining.gradients import Batch, Pair, accumulate, clip_gradients
from pretraining.journal import Journal
from pretraining.objectives import with_objective
from pretraining.optimizers import build_optimizer, trainable
from pretraining.precision import LossScaler, training_dtype
from pretraining.run_state import Progress, TrainResult
from pretraining.samples import sample_for
from pretraining.saving import Saver
from pretraining.stopping import StopRequest
from pretraining.surroundings import surroundings
from pretraining.throughput import Throughput
from pretraining.update_ratio import UpdateRatio
from utils.errors import RunFailure, UserError
from utils.runs import Run
from utils.seeding import set_seed

MAX_BAD_STEPS = 50  # so many non-finite steps in a row are a diverged run, not an accident


class Trainer:
    """Trains `model` on `train_batches`, an iterable of (ids, labels) pairs (B, T) that does not end early.

    `val_batches` is re-iterable and gives the same batches each time (`EvalBatches`). With a `run`, metrics,
    samples and checkpoints go to its folder; without one nothing is written. `tokenizer` is needed for
    samples and saved with checkpoints. `tags` are added to every metric and sample. `sinks` get each metric
    too (`utils.tracking`); one that fails warns and is left alone. Moves the model to `config.device`.
    `objective` takes the place of the one that the config names, where a name is not enough (`objectives`).

    With several processes each gives its `world` (`distributed.open_world`), the same model and config, and its own
    rows of the global batch; only rank 0 is given a run.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        train_batches: Iterable[Batch],
        *,
        val_batches: Iterable[Pair] | None = None,
        run: Run | None = None,
        tokenizer: Any = None,
        callbacks: Sequence[Callback] = (),
        sinks: Sequence[Any] = (),
        bytes_per_token: float | None = None,
        tags: Mapping[str, Any] | None = None,
        checkpoint_dir: Path | None = None,
        world: World = SINGLE,
        objective: Callable[..., Any] | None = None,
    ) -> None:
        if val_batches is not None and iter(val_batches) is val_batches:
            raise UserError(
                "val_batches is an iterator, but it is read many times: pass a list or EvalBatches"
            )
        self.config, self.tokenizer, self.world = config, tokenizer, world
        self.device = world.pick_device(config.device)
        self.dtype = training_dtype(config.dtype, self.device)
        self.scaler = LossScaler(self.dtype)
        self.model = model.to(self.device)
        self.train_batches, self.val_batches = train_batches, val_batches
        self.bytes_per_token = bytes_per_token
        self.journal = Journal(None, callbacks, sinks, tags, patient=config.on_save_error == "continue")
        self.run: Run | None = None
        self.checkpoint_dir = checkpoint_dir
        if run is not None:
            self.record_in(run)
        self.budget = Budget(
            config,
            tokens_per_epoch=getattr(train_batches, "tokens_per_epoch", None),
            block_size=getattr(train_batches, "block_size", None),
        )
        # wrapped and compiled beside the model, not in place of it: names in a checkpoint stay the model's own
        self.forward: Any = world.wrap(
            self.model, config.strategy, self.dtype
        )  # before the optimizer is built
        if config.compile:
            self.forward = compile_model(self.forward, self.device, self.journal.say)
        self.forward = with_objective(self.forward, objective or config.objective)
        self.optimizer = build_optimizer(self.model, config)
        self.parameters = list(trainable(self.model).values())
        self.throughput = Throughput(
            model, self.device, self.dtype, peak_tflops=config.peak_tflops, devices=world.size
        )
        self.update_ratio = UpdateRatio(self.optimizer)
        self.now = Progress()
        self.stop = StopRequest()
        self.last_eval: tuple[int, EvalResult] | None = None
        self.last_loss = math.nan
        self.saver = Saver(self)
        self.saved: Path | None = None  # the last checkpoint that is whole on disk
        self.saved_step = -1  # the last step that is there or on its way
        self.resume_note: str | None = None
        self._clock: float | None = None
        self._time = (0.0, 0.0)  # elapsed and progress, as all ranks see them

    def record_in(self, run: Run, sinks: Sequence[Any] = ()) -> None:
        """Write to `run` from now on: a folder is best made when everything else has been found good."""
        self.run = self.journal.run = run
        self.journal.sinks.extend(sinks)
        self.checkpoint_dir = self.checkpoint_dir or run.path / "checkpoints"

    # ---------------------------------------------------------------- the loop

    def fit(self) -> TrainResult:
        """Train until the budget is used up or someone asks to stop; returns how it ended.

        A fresh run first seeds all generators with `config.seed`. Raises RunFailure, with what is safe and
        how to go on, when a checkpoint cannot be written or the loss has diverged.
        """
        config, now = self.config, self.now
        if now.step == 0:
            set_seed(self.world.seed(config.seed))
        with surroundings(self), self.stop:
            self.journal.call("on_fit_start", self)
            batches = iter(self.train_batches)
            self.model.train()
            done = self.progress() >= 1.0
            while not (done or self._asked_to_stop()):
                self.journal.call("on_step_start", self)
                started = time.perf_counter()
                lr = self._set_learning_rate()
                micro_batches = [self._next(batches) for _ in range(config.grad_accum)]
                loss, tokens = accumulate(
                    self.forward,
                    micro_batches,
                    device=self.device,
                    dtype=self.dtype,
                    scale=self.scaler.scale,
                    world=self.world,
                )
                self.scaler.unscale(self.parameters)
                norm = clip_gradients(self.parameters, config.clip)
                if self._usable(loss, norm, tokens):
                    self.journal.call("on_before_optimizer_step", self)
                    with self.update_ratio.watching(self._measures_this_step()):
                        self.optimizer.step()
                    now.learned(loss, tokens)
                self.scaler.update(finite=math.isfinite(norm))
                self.optimizer.zero_grad(set_to_none=True)
                now.step += 1
                self.throughput.count(now, micro_batches, time.perf_counter() - started)

                done = self.look_at_the_clock() >= 1.0
                self.journal.call("on_step_end", self, self._record(loss, norm, lr, tokens))
                if done or self._due(config.log_every):
                    self._log(norm, lr)
                if done or self._due(config.eval_every, config.eval_epochs):
                    self.evaluate()
                if done or self._due(config.sample_every, config.sample_epochs) or self._sample_time():
                    self.sample()
                if done or self._due(config.save_every, config.save_epochs) or self._save_time():
                    self.save()
                self.saver.look()
                self.look_at_the_clock()
            if now.step and self.world.any(
                self.saved_step != now.step
            ):  # asked to stop: nothing learned is lost
                self.save()
            result = self._finish()
            self.journal.call("on_fit_end", self, result)
        return result

    def progress(self) -> float:
        """Share of the budget used, 0 … 1, as it was after the last step or what followed it."""
        return self._time[1]

    def elapsed(self) -> float:
        """Seconds of wall time in `fit`, those of earlier processes of this run included."""
        if self._clock is not None:
            time_now = time.perf_counter()
            self.now.elapsed += time_now - self._clock
            self._clock = time_now
        return self.now.elapsed

    def start_clock(self) -> None:
        """Count wall time from now on."""
        self._clock = time.perf_counter()

    def stop_clock(self) -> None:
        """Count what went by, and nothing after it."""
        self.elapsed()
        self._clock = None

    # ---------------------------------------------------------------- what stands around a step

    def evaluate(self, *, whole: bool = False) -> EvalResult | None:
        """Validation loss on the first `eval_tokens` tokens (or the whole part), logged."""
        if self.val_batches is None:
            return None
        batches = self.val_batches
        if not whole and isinstance(batches, EvalBatches):
            batches = batches.capped(self.config.eval_tokens)
        result = evaluate(
            self.model,
            batches,
            device=self.device,
            dtype=self.dtype,
            bytes_per_token=self.bytes_per_token,
            world=self.world,
        )
        if not whole:
            self.last_eval = (self.now.step, result)
        self._metric(split="val", whole=whole, **result.to_dict())
        self.journal.call("on_evaluate", self, result)
        return result

    def sample(self) -> list[dict[str, Any]]:
        """Continue each prompt of the config; the texts go to samples.jsonl."""
        self.now.sampled_at = self._time[0]
        if self.tokenizer is None or not self.config.prompts:
            return []
        model = readable(self.model, self.world)
        if model is None:  # rank 0 writes them
            return []
        texts = sample_for(model, self.tokenizer, self.config)
        now = {"step": self.now.step, "elapsed": self.now.elapsed}
        rows = [{**now, "prompt": p, "text": t} for p, t in zip(self.config.prompts, texts, strict=True)]
        for row in rows:
            self.journal.sample(**row)
        self.journal.call("on_sample", self, rows)
        return rows

    def save(self) -> None:
        """Write a checkpoint of this moment, or begin to (`save_async`). What a failure does: `saving`."""
        self.now.saved_at = self._time[0]
        score = self._score()
        if self.checkpoint_dir is not None:
            self.saver.save(self.checkpoint_dir, score)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on, besides the weights: see `training_state`."""
        return training_state.collect(self)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint` as if the process had never ended. The config may differ, the data not."""
        training_state.restore(self, checkpoint)

    # ---------------------------------------------------------------- small parts, in the order of use

    def _set_learning_rate(self) -> float:
        """Scale each group's peak rate by the schedule; returns the first group's rate."""
        factor = self.budget.lr_factor(self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return self.optimizer.param_groups[0]["lr"]

    def look_at_the_clock(self) -> float:
        """Take the time, the same for all ranks (rank 0's); returns the progress made of it."""
        elapsed = self.world.from_main(self.elapsed())
        self._time = (elapsed, self.budget.progress(self.now.step, elapsed))
        return self._time[1]

    def _asked_to_stop(self) -> bool:
        """Whether any rank was: then all of them know it and stop after the same step."""
        if self.world.any(self.stop.requested):
            self.stop.request("another process")
        return self.stop.requested

    def _next(self, batches: Iterator[Batch]) -> Batch:
        try:
            return next(batches)
        except StopIteration:
            raise UserError(
                f"the training batches ended at step {self.now.step}: pass an endless loader (BatchLoader)"
            ) from None

    def _usable(self, loss: float, norm: float, tokens: int) -> bool:
        """Whether the step may update the weights; a step that may not is counted and logged."""
        now = self.now
        if tokens == 0:
            now.skipped_empty += 1
            self.journal.log(f"step {now.step} skipped: every label of its batches is ignored")
            return False
        if math.isfinite(loss) and math.isfinite(norm):
            now.bad_in_a_row = 0
            return True
        now.skipped_nonfinite += 1
        now.bad_in_a_row += 1
        self.journal.log(f"step {now.step} skipped: loss {loss}, gradient norm {norm}")
        if now.bad_in_a_row >= MAX_BAD_STEPS:
            kept = f"resume from {self.saved.name} with" if self.saved else "start again with"
            raise RunFailure(
                f"{MAX_BAD_STEPS} steps in a row were not finite, the run has diverged: {kept} a lower lr"
            )
        return False

    def _due(self, steps: int, epochs: float = 0.0) -> bool:
        step = self.now.step
        return (steps > 0 and step % steps == 0) or self.budget.crosses(step, epochs)

    def _measures_this_step(self) -> bool:
        """Whether the step under way will be logged (but for the last of a budget of minutes, which nobody knows)."""
        every, step = self.config.log_every, self.now.step + 1
        return self.config.log_update_ratio and (
            step == self.budget.steps or (every > 0 and step % every == 0)
        )

    def _sample_time(self) -> bool:
        seconds = self.config.sample_seconds
        return seconds > 0 and self._time[0] - self.now.sampled_at >= seconds

    def _save_time(self) -> bool:
        seconds = 60.0 * self.config.save_minutes
        return seconds > 0 and self._time[0] - self.now.saved_at >= seconds

    def _record(self, loss: float, norm: float, lr: float, tokens: int) -> dict[str, Any]:
        step = {"step": self.now.step, "loss": loss, "lr": lr, "grad_norm": norm, "tokens": tokens}
        return {**step, **self.throughput.pace(self.now, *self._time)}

    def _log(self, norm: float, lr: float) -> None:
        """One metrics line: the token-weighted mean loss since the last one, and how the run is doing."""
        figures = self.throughput.figures(self.now, *self._time)
        loss = self.now.close_window()
        if loss is None:
            return
        self.last_loss = loss
        if self.scaler.enabled:
            figures["loss_scale"] = self.scaler.scale
        figures["skipped"] = self.now.skipped_nonfinite + self.now.skipped_empty
        line = {"loss": loss, "lr": lr, "grad_norm": norm, "tokens": self.now.tokens, **figures}
        line |= self.update_ratio.take()
        self._metric(split="train", **line)
        self.journal.call("on_log", self, {"step": self.now.step, **line})

    def _metric(self, **fields: Any) -> None:
        epoch = getattr(self.train_batches, "epoch", 0)
        self.journal.metric(**{"step": self.now.step, "epoch": epoch, "elapsed": self.elapsed(), **fields})

    def _score(self) -> float | None:
        """This step's own validation loss, if it has one: only a saved step can be `best`."""
        if self.last_eval is None or self.last_eval[0] != self.now.step:
            return None
        self.now.best_loss = min(self.now.best_loss, self.last_eval[1].loss)
        return self.last_eval[1].loss

    def _finish(self) -> TrainResult:
        """The final evaluation (outside the time budget), unless the run was stopped."""
        now, stopped = self.now, self.stop.requested and self.progress() < 1.0
        self.stop_clock()
        val = None
        if not stopped:
            whole = isinstance(self.val_batches, EvalBatches) and self.config.eval_tokens is not None
            val = self.last_eval[1] if self.last_eval and not whole else self.evaluate(whole=True)
        self.saver.finish()  # the disk had the time of that evaluation
        return TrainResult.of(
            now, val, loss=self.last_loss, saved=self.saved, stopped=self.stop.reason if stopped else None
        )
