"""LP10, LP11, LP1 and LP5 for half precision, activation checkpointing, compiling and the figures of a run.

Each check raises AssertionError with a hint; `test_precision_laws.py` calls it on the code as it is,
`tests/mutations/test_precision_mutations.py` on code with a classic bug put back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_checks import BASE, BLOCK, RESUME, Watch, tiny_model, tiny_tokens, tiny_trainer

from pretraining import activation_checkpointing, checkpoints, gradients, precision, throughput
from pretraining.benchmark_memory import peak_bytes
from pretraining.callbacks import POINTS, Callback
from pretraining.config import TrainConfig
from pretraining.run_state import Progress
from pretraining.update_ratio import UpdateRatio
from utils.runs import Run
from working_with_text_data.windows import BatchLoader

# a large eps: AdamW turns a gradient that is rounding noise into a whole step, and noise differs between kernels
FP16 = replace(BASE, dtype="fp16", steps=8, warmup=2, eps=1e-4)


def one_batch(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """The first batch of the tiny text."""
    return next(BatchLoader(tiny_tokens(), rows, BLOCK, seed=1))


def gradients_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Copies of all gradients, in the order of the parameters."""
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


# ---------------------------------------------------------------- fp16: the loss scale


def check_scale_follows_torch(steps: int = 60) -> None:
    """Over a random mixture of finite and infinite gradients the scale is that of `torch.amp.GradScaler`."""
    ours = precision.LossScaler(torch.float16, start=2.0**12, grow_after=4)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=4)
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    rng = np.random.default_rng(0)
    for step in range(steps):
        finite = bool(rng.random() < 0.75)
        value = torch.ones(3) if finite else torch.tensor([1.0, math.inf, 1.0])
        theirs.scale(torch.zeros(1))  # makes its scale
        weight.grad = value * theirs.get_scale()
        theirs.step(optimizer)
        theirs.update()
        weight.grad = value * ours.scale
        ours.unscale([weight])
        assert torch.equal(weight.grad, value), "scaling by a power of two and back must be exact"
        ours.update(finite)
        assert ours.scale == theirs.get_scale(), (
            f"after step {step} our loss scale is {ours.scale}, torch's {theirs.get_scale()}: halve it after an "
            "overflow and begin to count anew, double it after so many good steps in a row"
        )


def check_fp16_equals_torch_amp(steps: int = 8) -> None:
    """The Trainer under fp16 is autocast + GradScaler + clip_grad_norm_ + AdamW, written here with torch alone."""
    watch = Watch()
    trainer = tiny_trainer(FP16, model=tiny_model(vocab_size=257, bias=False), callbacks=(watch,))
    trainer.fit()

    model = tiny_model(vocab_size=257, bias=False)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": FP16.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=FP16.lr,
        betas=(FP16.beta1, FP16.beta2),
        eps=FP16.eps,
    )
    scaler = torch.amp.GradScaler("cpu")
    batches = iter(BatchLoader(tiny_tokens(), 4, BLOCK, seed=3))
    for _, loss_said, lr, norm_said, _ in watch.rows[:steps]:
        x, y = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast("cpu", dtype=torch.float16):
            loss = model(x, targets=y).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), FP16.clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert math.isclose(loss_said, float(loss.detach()), rel_tol=1e-5), (
            f"loss {loss_said}, torch has {float(loss)}"
        )
        assert math.isclose(norm_said, float(norm), rel_tol=1e-3), (
            f"gradient norm {norm_said}, torch has {float(norm)}: the scale must be divided out before the norm"
        )
    for (name, p), q in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        worst = float((p.detach() - q.detach()).abs().max())
        assert worst < 1e-5, (
            f"{name} is off by {worst:.1e} after {steps} steps: clip the gradients, not the scaled ones"
        )


def check_small_gradients_survive_fp16() -> None:
    """A loss whose gradients lie below fp16's range: with the scale they arrive, which plain fp16 cannot do."""
    x, y = one_batch()

    def faint(ids: torch.Tensor, targets: torch.Tensor) -> Any:
        output = model(ids, targets=targets)
        return output._replace(loss=output.loss * 1e-5)

    found = {}
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        model = tiny_model()
        scaler = precision.LossScaler(dtype)
        gradients.accumulate(faint, [(x, y)], dtype=dtype, scale=scaler.scale)
        scaler.unscale(model.parameters())
        found[name] = gradients_of(model)
    lost = sum(int((b == 0).sum()) - int((a == 0).sum()) for a, b in zip(*found.values(), strict=True))
    total = sum(g.numel() for g in found["fp32"])
    assert lost < 0.01 * total, (
        f"{lost} of {total} gradients became 0 in fp16: the loss must be scaled before backward"
    )
    exact = torch.cat([g.flatten() for g in found["fp32"]])
    ours = torch.cat([g.flatten() for g in found["fp16"]])
    off = float((exact - ours).norm() / exact.norm())
    assert off < 0.01, f"fp16 gradients are off by {off:.1%}: is the scale divided out again?"


def check_overflow_lowers_the_scale(folder: Path) -> None:
    """A scale far too large: steps are skipped and logged while it halves, then the run trains as if nothing was."""
    run = Run.create("law", {}, root=folder)
    model = tiny_model(vocab_size=257)
    trainer = tiny_trainer(replace(FP16, steps=24, prompts=[]), run=run, model=model)
    trainer.scaler = precision.LossScaler(torch.float16, start=2.0**36)
    before = [p.detach().clone() for p in model.parameters()]
    result = trainer.fit()
    assert 2 <= result.skipped_nonfinite <= 20, f"{result.skipped_nonfinite} steps skipped of a scale of 2³⁶"
    assert trainer.scaler.scale == 2.0 ** (36 - result.skipped_nonfinite), (
        "each overflow halves the scale once"
    )
    after = list(model.parameters())
    assert all(torch.isfinite(p).all() for p in after), "an overflown gradient reached the weights"
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), (
        "nothing was learned after it"
    )
    logged = [r for r in run.metrics() if r["split"] == "train"]
    assert logged[-1]["loss_scale"] == trainer.scaler.scale and logged[-1]["loss"] < 5.6, logged[-1]
    assert "skipped" in (run.path / "log.txt").read_text()


# ---------------------------------------------------------------- LP1 with the scale and with recomputation


def resumed_and_whole(folder: Path, config: TrainConfig, prepare: Any) -> tuple[Any, Any]:
    """The state after 20 steps, and after 10 + resume + 10, as `training_checks.state_of` gives them."""
    from training_checks import MaskedBatches, state_of

    states = []
    for resume in (False, True):
        run = Run.open(folder / "law" / "a") if resume else Run.create("law", {}, root=folder, run_id="a")
        watch = Watch()
        trainer = tiny_trainer(config, run=run, batches=MaskedBatches(), callbacks=(watch,))
        prepare(trainer)
        if resume:
            torch.manual_seed(999)
            trainer.resume(checkpoints.load_checkpoint(run, 10))
        trainer.fit()
        run.close()
        states.append(state_of(trainer, watch))
    return states[0], states[1]


def check_fp16_resumes_exactly(folder: Path) -> None:
    """20 steps == 10 + resume + 10 while the scale goes down and up, grad_accum 2, dropout on."""
    from training_checks import check_same_state

    def moving_scale(trainer: Any) -> None:
        trainer.scaler = precision.LossScaler(torch.float16, start=2.0**28, grow_after=3)

    config = replace(RESUME, dtype="fp16", save_every=10, eval_every=10, sample_every=0)
    whole, resumed = resumed_and_whole(folder, config, moving_scale)
    scales = whole["tree"]["scaler"]
    assert scales["scale"] != 2.0**28, f"the scale never moved: nothing was tested ({scales})"
    check_same_state(whole, resumed)


def check_checkpointed_run_resumes_exactly(folder: Path) -> None:
    """The same with every block computed twice."""
    from training_checks import check_same_state

    config = replace(RESUME, activation_checkpointing=True, save_every=10, eval_every=10, sample_every=0)
    check_same_state(*resumed_and_whole(folder, config, lambda trainer: None))


# ---------------------------------------------------------------- activation checkpointing


def check_checkpointed_gradients_are_equal(attention: str, dtype: torch.dtype = torch.float32) -> None:
    """Loss and gradients with recomputation are those without, to the bit, with dropout."""
    extra: dict[str, Any] = {"mla": {"kv_latent_dim": 8, "rope_dim": 4}, "swa": {"window": 5}}.get(
        attention, {}
    )
    if attention == "gqa":
        extra = {"n_kv_head": 1}
    found = []
    x, y = one_batch()
    for wanted in (False, True):
        model = tiny_model(dropout=0.3, attention=attention, position="rope", **extra).train()
        torch.manual_seed(11)
        with activation_checkpointing.checkpointed_blocks(model, wanted):
            loss, _ = gradients.accumulate(model, [(x, y)], dtype=dtype)
        found.append((loss, gradients_of(model), torch.rand(1)))
        assert all("forward" not in vars(block) for block in model.blocks), "a block was left changed"
    (plain_loss, plain, plain_next), (loss, again, next_number) = found
    assert loss == plain_loss, f"{attention}: loss {loss} with recomputation, {plain_loss} without"
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True)), (
        f"{attention}: gradients differ: the second pass must draw the dropout masks of the first"
    )
    assert torch.equal(plain_next, next_number), "recomputation took random numbers that others were to get"


def check_checkpointing_saves_memory() -> None:
    """At 8 layers the peak of a step falls by more than half."""
    model = tiny_model(n_layer=8, n_embd=32, n_head=2, block_size=64).train()
    ids = torch.randint(VOCABULARY, (8, 64))
    peaks = {}
    for wanted in (False, True):

        def step(wanted: bool = wanted) -> None:
            with activation_checkpointing.checkpointed_blocks(model, wanted):
                model(ids, targets=ids).loss.backward()

        step()  # gradients are there
        peaks[wanted] = peak_bytes(step, torch.device("cpu"))
    assert peaks[True] < 0.5 * peaks[False], (
        f"{peaks[True]:,} bytes with recomputation and {peaks[False]:,} without: keep each block's input only"
    )


VOCABULARY = 48


# ---------------------------------------------------------------- the figures beside the loop


def check_update_ratio_by_hand(folder: Path) -> None:
    """‖new − old‖ / ‖old‖ of each group, from copies of all weights in double precision, on each logged step."""
    before: list[torch.Tensor] = []
    expected: list[dict[str, float]] = []

    class Copy(Callback):
        def on_before_optimizer_step(self, trainer: Any) -> None:
            before[:] = [p.detach().double().clone() for p in trainer.model.parameters()]

        def on_step_end(self, trainer: Any, record: dict[str, Any]) -> None:
            row = {}
            for kind, chosen in (("matrices", lambda p: p.dim() >= 2), ("vectors", lambda p: p.dim() < 2)):
                pairs = [(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True) if chosen(b)]
                moved = torch.cat([(b.detach().double() - a).flatten() for a, b in pairs]).norm()
                row[f"update_ratio/{kind}"] = float(moved / torch.cat([a.flatten() for a, _ in pairs]).norm())
            expected.append(row)

    run = Run.create("law", {}, root=folder)
    tiny_trainer(replace(BASE, steps=7, log_every=3, prompts=[]), run=run, callbacks=(Copy(),)).fit()
    lines = [r for r in run.metrics() if r["split"] == "train"]
    assert [r["step"] for r in lines] == [3, 6, 7]
    for line in lines:
        for name, value in expected[line["step"] - 1].items():
            assert name in line, f"the log line of step {line['step']} has no {name}"
            assert math.isclose(line[name], value, rel_tol=1e-4), (
                f"step {line['step']}: {name} is {line[name]:.3e}, by hand {value:.3e}"
            )


def check_update_ratio_is_sampled() -> None:
    """Of a large tensor only so many evenly spaced numbers are copied, and the ratio hardly changes."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(400, 500))
    weight.grad = torch.randn(400, 500)
    ratios = {}
    for sample in (1000, 1_000_000):
        optimizer = torch.optim.SGD([{"params": [weight], "name": "big"}], lr=1e-3)
        watch = UpdateRatio(optimizer, sample)
        with watch.watching():
            held = sum(t.numel() for t in watch._numbers(optimizer.param_groups[0]))
            optimizer.step()
        ratios[sample] = watch.take()["update_ratio/big"]
        assert held <= 2 * sample, f"{held} numbers were copied of a sample of {sample}"
    assert math.isclose(ratios[1000], ratios[1_000_000], rel_tol=0.1), ratios


def check_mfu_by_hand() -> None:
    """(6 N + 12 L H Q T) × tokens through the model a second / peak; labels that are ignored cost the same."""
    model = tiny_model()
    meter = throughput.Throughput(
        model, torch.device("cpu"), torch.float32, peak_tflops=2e-6, devices=2
    )  # 2 MFLOP/s each
    now = Progress()
    x, y = one_batch()
    meter.count(now, [(x, torch.full_like(y, -100)), (x, y)], 0.5)
    now.window_tokens = y.numel()
    n = sum(p.numel() for name, p in model.named_parameters() if name != "position_embedding.weight")
    flops = 6 * n + 12 * model.config.n_layer * model.config.n_embd * BLOCK
    tokens_per_second = 2 * 2 * x.numel() / 0.5  # two micro-batches on two ranks
    expected = flops * tokens_per_second / (2 * 2e6)
    said = meter.mfu(now)
    assert said is not None and math.isclose(said, expected, rel_tol=1e-9), (
        f"MFU {said}, by hand {expected}: count the tokens that are computed, and the peak of all devices"
    )
    unknown = throughput.Throughput(model, torch.device("cpu"), torch.float32)
    assert unknown.mfu(now) is None and "peak unknown" in str(unknown.note), "a guessed peak is no peak"


def check_points_come_in_order(folder: Path) -> None:
    """Every named point is visited, in this order around a step, and no other is called."""
    seen: list[str] = []

    class Witness(Callback):
        pass

    for point in POINTS:
        setattr(Witness, point, lambda self, trainer, *rest, point=point: seen.append(point))
    run = Run.create("law", {}, root=folder)
    every = {"log_every": 2, "eval_every": 2, "sample_every": 2, "save_every": 2}
    config = replace(BASE, steps=2, sample_tokens=2, save_async=False, **every)
    tiny_trainer(config, run=run, callbacks=(Witness(),)).fit()
    step = ["on_step_start", "on_before_optimizer_step", "on_step_end"]
    last = ["on_log", "on_evaluate", "on_sample", "on_save", "on_evaluate", "on_fit_end"]
    assert seen == ["on_fit_start", *step, *step, *last], seen

    seen.clear()
    trainer = tiny_trainer(replace(BASE, steps=2), batches=[one_batch()], callbacks=(Witness(),))
    try:
        trainer.fit()
    except Exception as error:
        assert "ended at step 1" in str(error)
    assert seen == ["on_fit_start", *step, "on_log", "on_step_start", "on_exception"], seen


def check_epoch_cadences(folder: Path) -> None:
    """Half-epochs are crossed at the same steps whether or not the run was resumed between them."""

    class Heard(Callback):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def on_evaluate(self, trainer: Any, result: Any) -> None:
            self.steps.append(trainer.now.step)

    def run_it(run: Run, resume_at: int | None) -> list[int]:
        heard = Heard()
        config = replace(
            BASE, steps=26, eval_every=0, eval_epochs=0.5, save_every=13, prompts=[], keep_last=9
        )
        trainer = tiny_trainer(config, run=run, callbacks=(heard,))
        if resume_at is not None:
            trainer.resume(checkpoints.load_checkpoint(run, resume_at))
        trainer.fit()
        return heard.steps[:-1]  # the last one is the whole validation part

    loader = BatchLoader(tiny_tokens(), 4, BLOCK, seed=3)
    per_epoch = loader.tokens_per_epoch / (4 * BLOCK)
    expected = [s for s in range(1, 26) if int(2 * s / per_epoch) > int(2 * (s - 1) / per_epoch)] + [26]
    run = Run.create("law", {}, root=folder)
    assert run_it(run, None) == expected, "evaluations must fall on the steps that complete half an epoch"
    assert run_it(run, 13) == [s for s in expected if s > 13], "a resumed run evaluates elsewhere"
