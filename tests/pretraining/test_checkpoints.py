"""The state codec, pointers, old checkpoints, the lock on a run folder, a full disk."""

import errno
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_checks import BASE, RESUME, save_step, tiny_model, tiny_trainer

from pretraining import checkpoints
from pretraining.checkpoints import load_checkpoint, load_weights, step_folders
from pretraining.run_lock import run_lock
from pretraining.state_codec import decode, encode
from utils.errors import RunFailure, UserError
from utils.runs import Run

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9) | st.just("__is__"), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_any_tree_survives_json_exactly(tree):
    import json

    tensors: dict[str, torch.Tensor] = {}
    again = decode(json.loads(json.dumps(encode(tree, tensors))), tensors)
    assert again == tree and repr(again) == repr(tree)


def test_tensors_arrays_and_infinities_survive():
    tensors: dict[str, torch.Tensor] = {}
    tree = {0: {"step": torch.tensor(3.0), "m": torch.randn(2, 3)}, "rng": np.arange(3), "best": math.inf}
    again = decode(encode(tree, tensors), tensors)
    assert torch.equal(again[0]["m"], tree[0]["m"]) and again[0]["step"].shape == ()
    assert (again["rng"] == tree["rng"]).all() and again["best"] == math.inf
    with pytest.raises(TypeError, match=r"state\.model is a object"):
        encode({"model": object()}, tensors)


def test_no_pickle_is_in_a_checkpoint(tmp_path):
    save_step(tmp_path, 1)
    names = {p.name for p in (tmp_path / "step_000001").iterdir()}
    assert names == {
        "model.safetensors",
        "config.json",
        "trainer.safetensors",
        "trainer.json",
        "manifest.json",
    }


def test_old_checkpoints_go_but_never_last_or_best(tmp_path):
    for step in range(1, 8):
        checkpoints.save_checkpoint(
            tmp_path, step, save_model=lambda folder: None, state={}, best=step == 2, keep_last=2
        )
    assert [p.name for p in step_folders(tmp_path)] == ["step_000002", "step_000006", "step_000007"]
    assert load_checkpoint(tmp_path, "best").step == 2 and load_checkpoint(tmp_path).step == 7
    assert load_checkpoint(tmp_path, 6).step == load_checkpoint(tmp_path / "step_000006").step == 6


def test_best_is_the_step_with_the_lowest_validation_loss(tmp_path):
    run = Run.create("t", {}, root=tmp_path)
    config = replace(
        BASE, steps=24, eval_every=4, save_every=4, keep_last=9, lr=0.2, clip=0, schedule="constant"
    )
    tiny_trainer(config, run=run).fit()
    losses = {r["step"]: r["loss"] for r in run.metrics() if r["split"] == "val" and not r["whole"]}
    assert len(losses) == 6
    assert load_checkpoint(run, "best").step == min(losses, key=losses.__getitem__)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    tiny_model(n_layer=2).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="unknown blocks"):
        load_weights(tiny_model(n_layer=1), tmp_path)
    with pytest.raises(UserError, match="lacks blocks"):
        load_weights(tiny_model(n_layer=3), tmp_path)


def test_weights_tied_under_two_names_load_from_a_file_that_has_one(tmp_path):
    from safetensors.torch import save_file

    def model():
        tied = torch.nn.ModuleDict(
            {"a": torch.nn.Linear(3, 3, bias=False), "b": torch.nn.Linear(3, 3, bias=False)}
        )
        tied["b"].weight = tied["a"].weight
        return tied

    source, target = model(), model()
    save_file({"a.weight": source["a"].weight.detach()}, tmp_path / "model.safetensors")
    load_weights(target, tmp_path)
    assert torch.equal(target["b"].weight, source["a"].weight)


def test_a_full_disk_while_saving_keeps_the_previous_checkpoint_and_is_one_line(tmp_path, monkeypatch):
    run = Run.create("t", {}, root=tmp_path)
    honest = checkpoints.write_tensors

    def full(path, tensors):
        if "step_000010" in str(path):
            (path.parent / "half").write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return honest(path, tensors)

    monkeypatch.setattr(checkpoints, "write_tensors", full)
    with pytest.raises(RunFailure) as caught:
        tiny_trainer(replace(RESUME, steps=20), run=run).fit()
    message = str(caught.value)
    assert "step 10" in message and "step_000005 is intact" in message and "\n" not in message
    assert load_checkpoint(run).step == 5 and load_checkpoint(run).fallback is None
    assert [p.name for p in (run.path / "checkpoints").iterdir() if p.is_dir()] == ["step_000005"]


def test_left_overs_of_a_killed_save_are_removed_by_the_next_run(tmp_path):
    run = Run.create("t", {}, root=tmp_path)
    left_over = run.path / "checkpoints" / ".step_000003.abcd.tmp"
    left_over.mkdir(parents=True)
    tiny_trainer(replace(BASE, steps=2), run=run).fit()
    assert not left_over.exists()


def test_a_run_in_use_is_refused_with_the_pid_of_its_process(tmp_path):
    run = Run.create("t", {}, root=tmp_path)
    program = (
        "import sys, pathlib\nfrom pretraining.run_lock import run_lock\n"
        "with run_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by process {other.pid}"):
            tiny_trainer(replace(BASE, steps=2), run=run).fit()
        other.kill()
    tiny_trainer(replace(BASE, steps=2), run=run).fit()  # a dead process holds nothing
    with run_lock(run.path), pytest.raises(UserError, match=f"process {os.getpid()}"), run_lock(run.path):
        pass
