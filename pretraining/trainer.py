"""The training loop, to be read from top to bottom in `Trainer.fit`.

A step: set the learning rate, draw micro-batches, add up their gradients weighted by tokens, clip, update.
Around it, each on its own cadence: log, evaluate, sample, save. All that a later step depends on (weights,
optimizer, random numbers, place in the data, time used) is in a checkpoint, so 20 steps and 10 + resume + 10
are the same to the last bit (law LP1). Left out: more than one process, fp16. The recipe's numbers: `config`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretraining.budget import Budget
from pretraining.callbacks import Callback
from pretraining.checkpoints import (
    Checkpoint,
    CheckpointError,
    load_weights,
    remove_left_overs,
    save_checkpoint,
)
from pretraining.config import TrainConfig
from pretraining.evaluation import EvalBatches, EvalResult, evaluate
from pretraining.gradients import Batch, accumulate, clip_gradients
from pretraining.journal import Journal
from pretraining.optimizers import build_optimizer, trainable
from pretraining.run_lock import run_lock
from pretraining.run_state import Progress, TrainResult
from pretraining.samples import sample_texts
from pretraining.stopping import StopRequest
from utils.device import exact_fast_matmul, pick_device, pick_dtype
from utils.errors import RunFailure, UserError, one_line
from utils.runs import Run
from utils.seeding import capture_rng, restore_rng, set_seed

MAX_BAD_STEPS = 50  # so many non-finite steps in a row are a diverged run, not an accident


class Trainer:
    """Trains `model` on `train_batches`, an iterable of (ids, labels) pairs (B, T) that does not end early.

    `val_batches` is re-iterable and gives the same batches each time (`EvalBatches`). With a `run`, metrics,
    samples and checkpoints go to its folder; without one nothing is written. `tokenizer` is needed for
    samples and saved with checkpoints. `tags` are added to every metric and sample. `sinks` get each metric
    too (`utils.tracking`); one that fails warns and is left alone. Moves the model to `config.device`.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        train_batches: Iterable[Batch],
        *,
        val_batches: Iterable[Batch] | None = None,
        run: Run | None = None,
        tokenizer: Any = None,
        callbacks: Sequence[Callback] = (),
        sinks: Sequence[Any] = (),
        bytes_per_token: float | None = None,
        tags: Mapping[str, Any] | None = None,
        checkpoint_dir: Path | None = None,
    ) -> None:
        if val_batches is not None and iter(val_batches) is val_batches:
            raise UserError(
                "val_batches is an iterator, but it is read many times: pass a list or EvalBatches"
            )
        self.config, self.tokenizer = config, tokenizer
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        self.model = model.to(self.device)
        self.train_batches, self.val_batches = train_batches, val_batches
        self.bytes_per_token = bytes_per_token
        self.journal = Journal(None, callbacks, sinks, tags)
        self.run: Run | None = None
        self.checkpoint_dir = checkpoint_dir
        if run is not None:
            self.record_in(run)
        self.optimizer = build_optimizer(self.model, config)
        self.parameters = list(trainable(self.model).values())
        self.budget = Budget(
            config,
            tokens_per_epoch=getattr(train_batches, "tokens_per_epoch", None),
            block_size=getattr(train_batches, "block_size", None),
        )
        self.now = Progress()
        self.stop = StopRequest()
        # compiled beside the model, not in place of it: names in a checkpoint stay the model's own
        self._forward = torch.compile(self.model) if config.compile else self.model
        self.last_eval: tuple[int, EvalResult] | None = None
        self.last_loss = math.nan
        self.saved: Path | None = None
        self.saved_step = -1
        self.resume_note: str | None = None
        self._clock: float | None = None

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
            set_seed(config.seed)
        with self._prepared(), self.stop:
            if self.resume_note:
                self.journal.log(self.resume_note)
            self.journal.call("on_fit_start", self)
            batches = iter(self.train_batches)
            self.model.train()
            done = self.progress() >= 1.0
            while not (done or self.stop.requested):
                started = time.perf_counter()
                lr = self._set_learning_rate()
                micro_batches = [self._next(batches) for _ in range(config.grad_accum)]
                loss, tokens = accumulate(self._forward, micro_batches, device=self.device, dtype=self.dtype)
                norm = clip_gradients(self.parameters, config.clip)
                if self._usable(loss, norm, tokens):
                    self.optimizer.step()
                    now.tokens += tokens
                    now.window_loss += loss * tokens
                    now.window_tokens += tokens
                self.optimizer.zero_grad(set_to_none=True)
                now.step += 1
                now.window_seconds += time.perf_counter() - started

                done = self.progress() >= 1.0
                self.journal.call("on_step_end", self, self._record(loss, norm, lr, tokens))
                if done or self._due(config.log_every):
                    self._log(norm, lr)
                if done or self._due(config.eval_every):
                    self.evaluate()
                if done or self._due(config.sample_every) or self._sample_time():
                    self.sample()
                if done or self._due(config.save_every):
                    self.save()
            if now.step and self.saved_step != now.step:  # asked to stop: nothing learned is lost
                self.save()
            result = self._finish()
            self.journal.call("on_fit_end", self, result)
        return result

    def progress(self) -> float:
        """Share of the budget used, 0 … 1."""
        return self.budget.progress(self.now.step, self.elapsed())

    def elapsed(self) -> float:
        """Seconds of wall time in `fit`, those of earlier processes of this run included."""
        if self._clock is not None:
            time_now = time.perf_counter()
            self.now.elapsed += time_now - self._clock
            self._clock = time_now
        return self.now.elapsed

    # ---------------------------------------------------------------- what stands around a step

    def evaluate(self, *, whole: bool = False) -> EvalResult | None:
        """Validation loss on the first `eval_tokens` tokens (or the whole part), logged."""
        if self.val_batches is None:
            return None
        batches = self.val_batches
        if not whole and isinstance(batches, EvalBatches):
            batches = batches.capped(self.config.eval_tokens)
        result = evaluate(
            self.model, batches, device=self.device, dtype=self.dtype, bytes_per_token=self.bytes_per_token
        )
        if not whole:
            self.last_eval = (self.now.step, result)
        self._metric(split="val", whole=whole, **result.to_dict())
        self.journal.call("on_evaluate", self, result)
        return result

    def sample(self) -> list[dict[str, Any]]:
        """Continue each prompt of the config and write the texts to samples.jsonl."""
        self.now.sampled_at = self.elapsed()
        if self.tokenizer is None or not self.config.prompts:
            return []
        config = self.config
        texts = sample_texts(
            self.model,
            self.tokenizer,
            config.prompts,
            max_new_tokens=config.sample_tokens,
            temperature=config.sample_temperature,
            top_k=config.sample_top_k,
            seed=config.seed,
        )
        rows = [
            {"step": self.now.step, "elapsed": self.now.elapsed, "prompt": prompt, "text": text}
            for prompt, text in zip(config.prompts, texts, strict=True)
        ]
        for row in rows:
            self.journal.sample(**row)
        self.journal.call("on_sample", self, rows)
        return rows

    def save(self) -> Path | None:
        """Write a checkpoint of this moment. Raises RunFailure if the disk refuses; older ones stay good."""
        if self.checkpoint_dir is None:
            return None
        best = self._is_best()
        try:
            self.saved = save_checkpoint(
                self.checkpoint_dir,
                self.now.step,
                save_model=self.model.save_pretrained,  # type: ignore[arg-type]
                state=self.state_dict(),
                tokenizer=self.tokenizer,
                best=best,
                keep_last=self.config.keep_last,
            )
        except OSError as error:
            kept = f"{self.saved.name} is intact" if self.saved else "there is no earlier checkpoint"
            raise RunFailure(
                f"cannot save step {self.now.step} in {self.checkpoint_dir} ({one_line(error)}): {kept}; "
                "free some space, then go on with --resume"
            ) from error
        self.saved_step = self.now.step
        self.journal.call("on_save", self, self.saved)
        return self.saved

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on, besides the weights."""
        self.elapsed()
        loader = getattr(self.train_batches, "state_dict", None)
        return {
            "progress": asdict(self.now),
            "optimizer": self.optimizer.state_dict(),
            "parameters": list(trainable(self.model)),
            "loader": loader() if loader else None,
            "rng": capture_rng(),
            "config": asdict(self.config),
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint` as if the process had never ended. The config may differ, the data not."""
        state = checkpoint.state
        if state["parameters"] != list(trainable(self.model)):
            raise CheckpointError(
                f"{checkpoint.path} was trained with other parameters: use its own model config"
            )
        if state["config"]["optimizer"] != self.config.optimizer:
            raise CheckpointError(
                f"{checkpoint.path} holds the state of optimizer {state['config']['optimizer']!r}, "
                f"not {self.config.optimizer!r}: resume with the same one"
            )
        if state["loader"] is None or not hasattr(self.train_batches, "load_state_dict"):
            raise CheckpointError(
                f"{checkpoint.path}: the training batches cannot be resumed (no state_dict)"
            )
        load_weights(self.model, checkpoint.path)
        peaks = [{k: g[k] for k in ("initial_lr", "weight_decay")} for g in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group.update(peak)  # the config's, so that `--resume last lr=…` means what it says
        self.train_batches.load_state_dict(state["loader"])
        self.now = Progress(**state["progress"])
        self.saved, self.saved_step = checkpoint.path, checkpoint.step
        restore_rng(state["rng"])
        self.resume_note = checkpoint.fallback

    # ---------------------------------------------------------------- small parts, in the order of use

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """Inside: the run folder is ours, fast fp32 is on, the clock runs."""
        with contextlib.ExitStack() as stack:
            if self.run is not None:
                stack.enter_context(run_lock(self.run.path))
            if self.checkpoint_dir is not None:
                remove_left_overs(self.checkpoint_dir)
            on_cpu = self.device.type == "cpu"
            stack.enter_context(exact_fast_matmul(self.config.exact_fast_matmul and on_cpu))
            self._clock = time.perf_counter()
            try:
                yield
            finally:
                self.elapsed()
                self._clock = None

    def _set_learning_rate(self) -> float:
        """Scale each group's peak rate by the schedule; returns the first group's rate."""
        factor = self.budget.lr_factor(self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return self.optimizer.param_groups[0]["lr"]

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

    def _due(self, every: float) -> bool:
        return bool(every) and self.now.step % int(every) == 0

    def _sample_time(self) -> bool:
        seconds = self.config.sample_seconds
        return seconds > 0 and self.elapsed() - self.now.sampled_at >= seconds

    def _record(self, loss: float, norm: float, lr: float, tokens: int) -> dict[str, Any]:
        now = self.now
        counts = {"step": now.step, "progress": self.progress(), "tokens": tokens, "elapsed": now.elapsed}
        speed = now.tokens_per_second
        return {**counts, "loss": loss, "lr": lr, "grad_norm": norm, "tokens_per_second": speed}

    def _log(self, norm: float, lr: float) -> None:
        """One metrics line: the token-weighted mean loss since the last one."""
        now = self.now
        if now.window_tokens:
            self.last_loss = now.window_loss / now.window_tokens
            self._metric(
                split="train",
                loss=self.last_loss,
                lr=lr,
                grad_norm=norm,
                tokens=now.tokens,
                tokens_per_second=now.tokens_per_second,
                progress=self.progress(),
                skipped=now.skipped_nonfinite + now.skipped_empty,
            )
        now.window_loss, now.window_tokens, now.window_seconds = 0.0, 0, 0.0

    def _metric(self, **fields: Any) -> None:
        epoch = getattr(self.train_batches, "epoch", 0)
        self.journal.metric(step=self.now.step, epoch=epoch, elapsed=self.elapsed(), **fields)

    def _is_best(self) -> bool:
        """Whether this step's own evaluation is the best so far; only a saved step can be `best`."""
        if self.last_eval is None or self.last_eval[0] != self.now.step:
            return False
        if self.last_eval[1].loss >= self.now.best_loss:
            return False
        self.now.best_loss = self.last_eval[1].loss
        return True

    def _finish(self) -> TrainResult:
        """The final evaluation (outside the time budget), unless the run was stopped."""
        now, stopped = self.now, self.stop.requested and self.progress() < 1.0
        self.elapsed()
        self._clock = None
        val = None
        if not stopped:
            whole = isinstance(self.val_batches, EvalBatches) and self.config.eval_tokens is not None
            val = self.last_eval[1] if self.last_eval and not whole else self.evaluate(whole=True)
        best = now.best_loss if math.isfinite(now.best_loss) else None
        return TrainResult(
            "stopped" if stopped else "complete",
            now.step,
            now.tokens,
            now.elapsed,
            self.last_loss,
            val,
            best,
            now.skipped_nonfinite,
            now.skipped_empty,
            self.saved,
            self.stop.reason if stopped else None,
        )
