"""LP1: a run that was interrupted and resumed is the run that was not. LP2: kill it at any time."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from training_checks import (
    RESUME,
    check_flipped_byte_is_found,
    check_kill_at_any_time,
    check_resume_is_exact,
    check_same_state,
    check_whole,
    state_of,
    trained,
)

LAWS = Path(__file__).parent


def test_20_steps_equal_10_and_a_new_process_and_10(tmp_path):
    whole = state_of(*trained(tmp_path, RESUME))
    subprocess.run(
        [sys.executable, LAWS / "resume_worker.py", tmp_path],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(LAWS)},
    )
    resumed = json.loads((tmp_path / "resumed.json").read_text())
    resumed["tensors"] = load_file(tmp_path / "resumed.safetensors")
    whole["tree"] = json.loads(json.dumps(whole["tree"]))
    check_same_state(whole, resumed)
    assert len(resumed["rows"]) == 10


def test_resume_is_exact_in_the_same_process(tmp_path):
    check_resume_is_exact(tmp_path)


def test_resume_refuses_another_optimizer_model_or_data(tmp_path):
    from dataclasses import replace

    from training_checks import tiny_model, tiny_trainer

    from pretraining.checkpoints import CheckpointError, load_checkpoint
    from pretraining.optimizers import OPTIMIZERS
    from utils.errors import UserError

    trainer, _ = trained(tmp_path, replace(RESUME, steps=10))
    checkpoint = load_checkpoint(trainer.run)
    with pytest.raises(CheckpointError, match="other parameters"):
        tiny_trainer(RESUME, model=tiny_model(n_layer=1)).resume(checkpoint)
    for name in OPTIMIZERS:
        if name != "adamw":
            with pytest.raises(CheckpointError, match="optimizer 'adamw'"):
                tiny_trainer(replace(RESUME, optimizer=name)).resume(checkpoint)
    with pytest.raises(CheckpointError, match="has another shape for token_embedding"):
        tiny_trainer(RESUME, model=tiny_model(vocab_size=50)).resume(checkpoint)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        tiny_trainer(RESUME, batches=iter([])).resume(checkpoint)
    from training_checks import BLOCK, tiny_tokens

    from working_with_text_data.windows import BatchLoader

    with pytest.raises(UserError):
        tiny_trainer(RESUME, batches=BatchLoader(tiny_tokens(300), 4, BLOCK, seed=3)).resume(checkpoint)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill is aimed in a forked child")
def test_killed_before_each_file_operation_the_last_checkpoint_is_whole(tmp_path):
    points = check_kill_at_any_time(tmp_path / "checkpoints")
    assert points > 15, f"only {points} file operations were seen: the hook no longer sees the save"


def test_killed_at_random_moments_by_another_process(tmp_path):
    program = (
        "import itertools, sys; from pathlib import Path; from training_checks import save_step\n"
        "for step in itertools.count(int(sys.argv[2])):\n"
        "    save_step(Path(sys.argv[1]), step); print(step, flush=True)\n"
    )
    chance = random.Random(11)
    step = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(step + 1)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(LAWS)},
        )
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(3)]  # it is under way
        time.sleep(chance.uniform(0.0, 0.05))
        child.send_signal(signal.SIGKILL)
        rest = [int(line) for line in child.stdout.read().split()]
        child.wait()
        step = max(said + rest)
        assert check_whole(tmp_path, step + 1) >= step, "a checkpoint that was reported saved is lost"
        step += 1


def test_a_flipped_byte_is_found_and_the_fallback_is_named(tmp_path):
    check_flipped_byte_is_found(tmp_path)


def test_no_whole_checkpoint_is_one_clear_line(tmp_path):
    from training_checks import save_step

    from pretraining.checkpoints import CheckpointError, load_checkpoint

    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path)
    save_step(tmp_path, 1)
    path = tmp_path / "step_000001" / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # a checkpoint cut in half
    with pytest.raises(CheckpointError, match="no whole checkpoint") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value) and "model.safetensors has" in str(caught.value)
    (tmp_path / "step_000001" / "manifest.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"manifest\.json is unreadable"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint step_000009"):
        load_checkpoint(tmp_path, 9)
