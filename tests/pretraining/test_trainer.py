"""Budgets, stopping, callbacks, samples, divergence: what `fit` does around its steps."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from training_checks import BASE, BLOCK, MaskedBatches, Watch, tiny_tokens, tiny_trainer

from pretraining import trainer as trainer_module
from pretraining.budget import Budget
from pretraining.callbacks import Callback
from pretraining.config import TrainConfig
from pretraining.evaluation import EvalBatches
from pretraining.stopping import StopRequest
from utils.errors import RunFailure, UserError
from utils.runs import Run
from working_with_text_data.windows import BatchLoader


def test_training_learns_the_chain():
    watch = Watch()
    result = tiny_trainer(replace(BASE, steps=150, lr=1e-2), callbacks=(watch,)).fit()
    assert result.status == "complete" and result.step == 150 == len(watch.rows)
    assert watch.rows[0][1] > 5.0 and result.val is not None and result.val.loss < 2.5
    assert result.tokens == 150 * 4 * BLOCK


def test_minutes_end_the_run_on_time_with_the_rate_decayed():
    watch = Watch()
    budget = 1.5
    config = replace(BASE, steps=None, minutes=budget / 60, eval_every=1, min_lr=0.0)
    started = time.perf_counter()
    result = tiny_trainer(config, callbacks=(watch,)).fit()
    assert result.status == "complete" and budget <= result.seconds
    assert time.perf_counter() - started < budget * 3 + 5
    rates = [row[2] for row in watch.rows]
    assert max(rates) > 0.9 * BASE.lr and rates[-1] < 0.1 * BASE.lr, "the decay must end when the time does"


def test_elapsed_time_is_part_of_a_checkpoint():
    first = tiny_trainer(replace(BASE, steps=3))
    first.fit()
    assert first.state_dict()["progress"]["elapsed"] == first.now.elapsed > 0
    time_now = first.elapsed()
    time.sleep(0.05)
    assert first.elapsed() == time_now, "time outside of fit was counted"


def test_the_first_budget_to_be_used_up_ends_the_run():
    budget = Budget(TrainConfig(steps=10, minutes=1.0))
    assert (
        budget.progress(5, 0.0) == 0.5
        and budget.progress(5, 45.0) == 0.75
        and budget.progress(1, 99.0) == 1.0
    )
    assert Budget(TrainConfig()).steps == 1000
    epochs = TrainConfig(epochs=2, batch_size=4, grad_accum=2)
    assert Budget(epochs, tokens_per_epoch=1000, block_size=10).steps == 25
    with pytest.raises(UserError, match="tokens_per_epoch"):
        Budget(epochs)


def test_epochs_are_read_from_the_loader():
    loader = BatchLoader(tiny_tokens(), 4, BLOCK, seed=3)
    result = tiny_trainer(replace(BASE, steps=None, epochs=1.0), batches=loader).fit()
    assert result.step == -(-loader.tokens_per_epoch // (4 * BLOCK))


class SignalAt(Callback):
    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_end(self, trainer, record):
        if record["step"] == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_stops(number, tmp_path):
    before = signal.getsignal(number)
    run = Run.create("t", {}, root=tmp_path)
    result = tiny_trainer(replace(BASE, steps=50), run=run, callbacks=(SignalAt(7, number),)).fit()
    assert (result.status, result.step, result.reason) == ("stopped", 7, number.name)
    assert result.checkpoint is not None and result.checkpoint.name == "step_000007"
    assert result.val is None, "the final evaluation keeps a person waiting who wanted to stop"
    assert signal.getsignal(number) is before, "the handler was not given back"


def test_a_second_signal_is_meant(tmp_path):
    class Twice(Callback):
        def on_step_end(self, trainer, record):
            trainer.stop.request("SIGINT")

        def on_save(self, trainer, path):
            os.kill(os.getpid(), signal.SIGINT)

    run = Run.create("t", {}, root=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(replace(BASE, steps=9), run=run, callbacks=(Twice(),)).fit()


def test_another_thread_can_ask_to_stop():
    trainer = tiny_trainer(replace(BASE, steps=None, minutes=5.0))
    threading.Timer(0.3, trainer.stop.request, ["button"]).start()
    result = trainer.fit()
    assert result.status == "stopped" and result.reason == "button"


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    results = []
    thread = threading.Thread(target=lambda: results.append(tiny_trainer(replace(BASE, steps=2)).fit()))
    thread.start()
    thread.join()
    assert results[0].status == "complete" and signal.getsignal(signal.SIGINT) is before
    with StopRequest() as stop:
        assert not stop.requested


def test_a_callback_or_sink_that_raises_never_stops_training(tmp_path):
    class Broken(Callback):
        def on_step_end(self, trainer, record):
            raise ValueError("plot")

        def log(self, record):
            raise OSError("network")

    run = Run.create("t", {}, root=tmp_path)
    trainer = tiny_trainer(replace(BASE, steps=4), run=run, callbacks=(Broken(),))
    trainer.journal.sinks.append(Broken())
    assert trainer.fit().status == "complete"
    log = (run.path / "log.txt").read_text()
    assert (
        log.count("Broken.on_step_end failed (plot)") == 1 and log.count("Broken.log failed (network)") == 1
    )


def test_a_diverged_run_ends_and_says_so(monkeypatch):
    monkeypatch.setattr(trainer_module, "MAX_BAD_STEPS", 3)
    trainer = tiny_trainer(replace(BASE, steps=20, prompts=[]))
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(RunFailure, match="3 steps in a row were not finite"):
        trainer.fit()


def test_metrics_samples_and_tags_are_in_the_run(tmp_path):
    run = Run.create("t", {}, root=tmp_path)
    config = replace(
        BASE, steps=6, log_every=3, eval_every=3, sample_every=3, prompts=["ab", "c"], sample_tokens=4
    )
    trainer = tiny_trainer(config, run=run)
    trainer.journal.tags["phase"] = "one"
    trainer.fit()
    train = [r for r in run.metrics() if r["split"] == "train"]
    assert [r["step"] for r in train] == [3, 6] and all(r["phase"] == "one" for r in run.metrics())
    assert {"loss", "lr", "grad_norm", "tokens_per_second", "elapsed", "epoch"} <= train[0].keys()
    assert [(s["step"], s["prompt"]) for s in run.samples()] == [(3, "ab"), (3, "c"), (6, "ab"), (6, "c")]


def test_the_logged_loss_is_the_token_weighted_mean_of_its_window(tmp_path):
    run, watch = Run.create("t", {}, root=tmp_path), Watch()
    tiny_trainer(
        replace(BASE, steps=6, log_every=3), run=run, batches=MaskedBatches(), callbacks=(watch,)
    ).fit()
    logged = [r["loss"] for r in run.metrics() if r["split"] == "train"]
    for i, loss in enumerate(logged):
        rows = watch.rows[3 * i : 3 * i + 3]
        assert loss == pytest.approx(sum(r[1] * r[4] for r in rows) / sum(r[4] for r in rows))
        assert len({r[4] for r in rows}) > 1, "all steps had as many tokens: nothing was weighted"


def test_batches_that_end_and_validation_that_cannot_be_repeated_are_refused():
    x, y = next(BatchLoader(tiny_tokens(), 4, BLOCK))
    with pytest.raises(UserError, match="ended at step 2"):
        tiny_trainer(replace(BASE, steps=5), batches=[(x, y), (x, y)]).fit()
    trainer = tiny_trainer()
    with pytest.raises(UserError, match="val_batches is an iterator"):
        trainer_module.Trainer(trainer.model, BASE, [(x, y)], val_batches=iter([(x, y)]))


def test_the_final_evaluation_covers_the_whole_validation_part():
    result = tiny_trainer(replace(BASE, steps=2, eval_tokens=32)).fit()
    assert result.val is not None and result.val.tokens == EvalBatches(tiny_tokens(200), BLOCK, 4).predictions
