"""The training laws as plain functions: each raises AssertionError with a hint when its law is broken.

`tests/laws/test_training_laws.py` calls them on the code as it is, `tests/mutations/` on code with a classic
bug put back. Everything here is tiny: two layers of width 16, blocks of 16, a vocabulary of 48.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gpt_model.config import preset
from gpt_model.gpt import GPT
from pretraining import checkpoints, gradients
from pretraining.callbacks import Callback
from pretraining.config import TrainConfig
from pretraining.evaluation import EvalBatches
from pretraining.trainer import Trainer
from utils.runs import Run
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.windows import BatchLoader

VOCAB, BLOCK = 48, 16
BASE = TrainConfig(
    steps=20, batch_size=4, lr=5e-3, dtype="fp32", device="cpu", log_every=1, eval_every=0, save_every=0
)


def tiny_model(seed: int = 0, **changes: Any) -> GPT:
    """Two layers of width 16, the same weights for the same seed."""
    torch.manual_seed(seed)
    return GPT(preset("debug", **{"vocab_size": VOCAB, "block_size": BLOCK, **changes}))


def tiny_tokens(count: int = 700, vocab: int = VOCAB) -> np.ndarray:
    """Ids with something to learn: mostly the last id plus 5."""
    rng = np.random.default_rng(7)
    ids = np.zeros(count, dtype=np.int64)
    for i in range(1, count):
        ids[i] = (ids[i - 1] + 5) % vocab if rng.random() < 0.8 else rng.integers(vocab)
    return ids


class Watch(Callback):
    """Keeps each step's loss, learning rate, gradient norm and tokens, unrounded."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float, float, int]] = []

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        row = (record["step"], record["loss"], record["lr"], record["grad_norm"], record["tokens"])
        self.rows.append(row)


class MaskedBatches:
    """A resumable loader whose labels are partly ignored, differently in each row, as in finetuning."""

    def __init__(self, seed: int = 3) -> None:
        self.inner = BatchLoader(tiny_tokens(), 4, BLOCK, seed=seed)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, y in self.inner:
            y[x % 3 == 0] = -100
            yield x, y

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)


def tiny_trainer(
    config: TrainConfig = BASE,
    *,
    run: Run | None = None,
    batches: Any = None,
    model: GPT | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> Trainer:
    """A trainer with dropout, a byte tokenizer for samples, and 200 validation tokens."""
    tokenizer = ByteTokenizer()
    return Trainer(
        model or tiny_model(vocab_size=tokenizer.vocab_size, dropout=0.2),
        config,
        batches or BatchLoader(tiny_tokens(), 4, BLOCK, seed=3),
        val_batches=EvalBatches(tiny_tokens(200), BLOCK, 4),
        run=run,
        tokenizer=tokenizer,
        callbacks=callbacks,
    )


# ---------------------------------------------------------------- LP3 token-weighted accumulation


def check_accumulation_is_token_weighted() -> None:
    """Any split of 8 rows gives the gradient of (sum of token losses) / (labelled tokens), fp64, to 1e-12."""
    model = tiny_model().double()
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(VOCAB, (8, BLOCK), generator=generator)
    y = torch.randint(VOCAB, (8, BLOCK), generator=generator)
    keep = torch.rand(8, 1, generator=generator)  # a different share of labels in each row
    y[torch.rand(8, BLOCK, generator=generator) > keep] = -100
    y[5] = -100  # a row, and so a whole micro-batch of the splits below, without any label
    labelled = y != -100

    # The reference is one product over the labelled places alone: no ignore_index, no mean, no accumulation.
    losses = F.cross_entropy(model(x).logits[labelled], y[labelled], reduction="none")
    expected_loss = losses.sum() / labelled.sum()
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))

    for split in ([8], [2] * 4, [1] * 8, [3, 5], [5, 1, 2], [1, 6, 1]):
        model.zero_grad()
        micro = list(zip(x.split(split), y.split(split), strict=True))
        loss, tokens = gradients.accumulate(model, micro)
        assert tokens == int(labelled.sum()), (
            f"split {split}: {tokens} tokens counted of {int(labelled.sum())}"
        )
        assert math.isclose(loss, float(expected_loss.detach()), rel_tol=1e-12), (
            f"split {split}: loss {loss} not {float(expected_loss)}: weigh micro-batches by their tokens"
        )
        for (name, p), reference in zip(model.named_parameters(), expected, strict=True):
            assert p.grad is not None and torch.isfinite(p.grad).all(), f"split {split}: {name} is not finite"
            worst = float((p.grad - reference).abs().max())
            assert worst <= 1e-12, (
                f"split {split}: the gradient of {name} is off by {worst:.1e}: a token's weight must not "
                "depend on how empty its micro-batch is"
            )


def check_step_without_labels_is_skipped() -> None:
    """A step whose labels are all ignored changes no weight and no optimizer state, and is counted."""
    blank = [(torch.zeros(4, BLOCK, dtype=torch.int64), torch.full((4, BLOCK), -100)) for _ in range(2)]
    trainer = tiny_trainer(replace(BASE, steps=2), batches=iter(blank))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    result = trainer.fit()
    assert result.skipped_empty == 2 and result.step == 2 and result.tokens == 0, f"not counted: {result}"
    for name, p in trainer.model.named_parameters():
        assert torch.equal(p, before[name]), f"{name} moved in a step without a single label (weight decay?)"
    assert not trainer.optimizer.state, "the optimizer kept state from a step without a single label"


# ---------------------------------------------------------------- LP1 bit-exact resume

RESUME = replace(
    BASE, grad_accum=2, eval_every=5, save_every=5, sample_every=5, log_every=3, sample_tokens=5, keep_last=9
)


def state_of(trainer: Trainer, watch: Watch) -> dict[str, Any]:
    """All that must be equal after 20 steps, in a form that `==` and torch.equal can compare."""
    tensors: dict[str, torch.Tensor] = {}
    state = trainer.state_dict()
    for clock in ("elapsed", "sampled_at", "saved_at", "window_seconds"):
        state["progress"].pop(clock)
    state.pop("config")
    tree = checkpoints.encode(state, tensors)
    weights = {f"model.{name}": t.detach().clone() for name, t in trainer.model.state_dict().items()}
    assert trainer.run is not None
    logged = {f"{r['split']} {r['step']}": r["loss"] for r in trainer.run.metrics()}  # a later line wins
    return {"rows": watch.rows, "logged": logged, "tree": tree, "tensors": {**tensors, **weights}}


def trained(folder: Path, config: TrainConfig, *, resume_at: int | None = None) -> tuple[Trainer, Watch]:
    """A run in `folder`, from the start or from its checkpoint of step `resume_at`."""
    run = Run.create("law", {}, root=folder, run_id="a") if resume_at is None else Run.open(folder / "law/a")
    watch = Watch()
    trainer = tiny_trainer(config, run=run, batches=MaskedBatches(), callbacks=(watch,))
    if resume_at is not None:
        trainer.resume(checkpoints.load_checkpoint(run, resume_at))
    trainer.fit()
    run.close()
    return trainer, watch


def check_same_state(whole: dict[str, Any], resumed: dict[str, Any]) -> None:
    """Losses, rates, norms, tokens, weights, optimizer, generators and loader are equal with ==."""
    tail = [row for row in whole["rows"] if row[0] > 10]
    for one, two in zip(tail, resumed["rows"], strict=True):
        assert tuple(one) == tuple(two), (
            f"(step, loss, lr, norm, tokens) is {tuple(two)} after the resume and {tuple(one)} without: "
            "something that a step depends on is not in the checkpoint"
        )
    assert whole["logged"] == resumed["logged"], "the logged losses differ: is a half-full window saved?"
    assert whole["tree"] == resumed["tree"], "counts, loader or optimizer scalars differ after the resume"
    assert whole["tensors"].keys() == resumed["tensors"].keys()
    for name, tensor in whole["tensors"].items():
        assert torch.equal(tensor, resumed["tensors"][name]), f"{name} differs after the resume"


def check_resume_is_exact(folder: Path, config: TrainConfig = RESUME) -> None:
    """20 steps == 10 + save + a new trainer + 10 (in one process; the law's test also starts a new one)."""
    whole, watch = trained(folder / "whole", config)
    one = state_of(whole, watch)
    torch.manual_seed(999)  # whatever came between must not matter
    again, watch = trained(folder / "whole", config, resume_at=10)
    check_same_state(one, state_of(again, watch))


# ---------------------------------------------------------------- LP2 kill at any time


class Weights:
    """A stand-in for a model of 8 kB: enough bytes for a torn file to show."""

    def __init__(self, step: int) -> None:
        self.value = torch.full((2000,), float(step))

    def save(self, folder: Path) -> None:
        checkpoints.write_tensors(folder / "model.safetensors", {"value": self.value})
        (folder / "config.json").write_text('{"size": 2000}')


def save_step(root: Path, step: int) -> None:
    """A checkpoint whose every part says its step."""
    checkpoints.save_checkpoint(
        root,
        step,
        save_model=Weights(step).save,
        state={"step": step, "tensor": torch.full((500,), float(step))},
        best=step % 2 == 1,
        keep_last=2,
    )


def check_whole(root: Path, newest: int) -> int:
    """`last` and `best` load, are of one piece and at most as new as `newest`; returns the step of `last`."""
    for which in ("last", "best"):
        pointer = (root / which).read_text().strip()
        assert checkpoints.damage(root / pointer) is None, f"{which} points at a half-written {pointer}"
        loaded = checkpoints.load_checkpoint(root, which)
        assert loaded.fallback is None, f"{which} was not whole: {loaded.fallback}"
        model = checkpoints.load_file(loaded.path / "model.safetensors")["value"]
        parts = {loaded.step, loaded.state["step"], float(loaded.state["tensor"][0]), float(model[-1])}
        assert len(parts) == 1, f"{which} mixes steps {parts}"
    last = checkpoints.load_checkpoint(root, "last").step
    assert last <= newest
    return last


TOUCHES = {"open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "ftruncate", "__exit__"}


def kill_after(touches: int) -> Callable[[Any, str, Any], None]:
    """A profiler that kills this process, with no chance to tidy up, before its n-th touch of a file."""
    count = 0

    def hook(frame: Any, event: str, function: Any) -> None:
        nonlocal count
        if event == "c_call" and function.__name__ in TOUCHES:
            count += 1
            if count > touches:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def check_kill_at_any_time(root: Path) -> int:
    """SIGKILL before each file operation of a save: the last good checkpoint is `last` and whole.

    Returns how many points were tried; the save that is not killed any more ends the search.
    """
    import sys

    for step in (1, 2):
        save_step(root, step)
    expected, point = 2, 0
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                sys.setprofile(kill_after(point))
                save_step(root, expected + 1)
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        assert survived or os.WIFSIGNALED(status), f"the save raised before point {point}"
        last = check_whole(root, expected + 1)
        assert last >= expected, f"killed before file operation {point}: `last` went back to step {last}"
        if survived:
            assert last == expected + 1
            return point
        expected, point = last, point + 1


def check_flipped_byte_is_found(root: Path) -> None:
    """One changed byte anywhere in a checkpoint: it is not loaded, and the fallback says both names."""
    for step in (1, 2, 3):
        save_step(root, step)
    rng = np.random.default_rng(0)
    folder = root / "step_000003"
    for path in sorted(folder.iterdir()):
        good = path.read_bytes()
        at = int(rng.integers(len(good)))
        path.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        loaded = checkpoints.load_checkpoint(root, "last")
        assert loaded.step == 2, f"a checkpoint with a changed byte in {path.name} was taken for good"
        assert loaded.fallback and "step_000003" in loaded.fallback and "step_000002" in loaded.fallback, (
            f"the fallback must name what was damaged and what is used: {loaded.fallback!r}"
        )
        path.write_bytes(good)
    assert checkpoints.load_checkpoint(root, "last").step == 3


# ---------------------------------------------------------------- LP5 evaluation does not disturb


def check_evaluation_does_not_disturb() -> None:
    """Losses are identical with evaluation and samples at every step and with none."""
    runs = []
    for every in (0, 1):
        config = replace(BASE, steps=8, eval_every=every, sample_every=every, sample_tokens=3)
        watch = Watch()
        trainer = tiny_trainer(config, callbacks=(watch,))
        trainer.fit()
        runs.append((watch.rows, [p.detach().clone() for p in trainer.model.parameters()]))
    for quiet, watched in zip(runs[0][0], runs[1][0], strict=True):
        assert quiet == watched, (
            f"step {quiet[0]}: loss {watched[1]} with evaluation, {quiet[1]} without: it took random "
            "numbers, left dropout off, or touched the gradients"
        )
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


def check_evaluating_twice_is_the_same() -> None:
    """The same number twice, dropout in the model or not, and the modes of all modules as before."""
    trainer = tiny_trainer(replace(BASE, steps=1))
    trainer.fit()
    trainer.model.train()
    trainer.model.blocks[0].eval()  # a frozen part that someone keeps in evaluation mode
    modes = [module.training for module in trainer.model.modules()]
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first is not None and first == second, f"{first} and then {second}: is dropout on?"
    assert [m.training for m in trainer.model.modules()] == modes, "evaluation changed a module's mode"


# ---------------------------------------------------------------- LP10 non-finite gradients


def check_infinite_gradient_is_skipped(folder: Path) -> None:
    """An inf in one gradient at step 3: no weight moves, the step is counted and logged, training goes on."""
    run = Run.create("law", {}, root=folder)
    snapshots: list[list[torch.Tensor]] = []

    class Keep(Callback):
        def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
            snapshots.append([p.detach().clone() for p in trainer.model.parameters()])

    trainer = tiny_trainer(replace(BASE, steps=6, prompts=[]), run=run, callbacks=(Keep(),))
    calls = 0

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * math.inf if calls == 3 else gradient

    next(iter(trainer.model.blocks[1].parameters())).register_hook(poison)
    result = trainer.fit()
    same = [all(torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in pairwise(snapshots)]
    assert all(torch.isfinite(p).all() for p in snapshots[-1]), "an infinite gradient reached the weights"
    assert same == [False, True, False, False, False], f"only step 3 may leave the weights alone: {same}"
    assert result.skipped_nonfinite == 1, f"{result.skipped_nonfinite} steps counted as skipped"
    assert "skipped" in (run.path / "log.txt").read_text(), "the skipped step is not in log.txt"
