"""`--resume` and `--fork`: what the words mean, what is refused, and the benchmark of saving."""

import json
import warnings

import pytest
import torch
from training_checks import save_step, tiny_model

from pretraining import benchmark_checkpoints
from pretraining.checkpoints import load_checkpoint
from pretraining.starting_points import find_start, open_fork
from pretraining.train import main
from utils.cli import run_main
from utils.errors import UserError
from utils.runs import Run, find_run

TINY = [
    *(
        "preset=debug",
        "tokenizer=byte",
        "max_documents=20",
        "batch_size=2",
        "model.block_size=16",
        "prompts=[]",
    ),
    *("steps=4", "save_every=1", "eval_every=2", "dtype=fp32", "device=cpu", "--quiet"),
]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """One tiny trained run, in a folder of runs of its own."""
    root = tmp_path_factory.mktemp("runs")
    assert run_main(main, [*TINY, f"runs={root}"]) == 0
    return find_run("last", root=root), root


def test_a_reference_names_a_run_and_one_of_its_checkpoints(tmp_path):
    old, new = (Run.create("pretrain", {}, root=tmp_path, run_id=name) for name in ("old", "new"))
    new.meta["start"] = "9999"
    new._save()
    for ref, run, which in (
        *(("last", new, "last"), ("best", new, "best"), ("500", new, "500"), ("old", old, "last")),
        *(("old@best", old, "best"), ("old@500", old, "500"), ("old@step_000500", old, "000500")),
        *((f"{old.path}@7", old, "7"), ("last@best", new, "best")),
    ):
        found = find_start(ref, root=tmp_path)
        assert (found[0].id, found[1]) == (run.id, which), ref
    with pytest.raises(UserError, match="no run 'none'"):
        find_start("none@best", root=tmp_path)
    for step in (5, 7):
        save_step(old.path / "checkpoints", step)
    assert load_checkpoint(*find_start("old@5", root=tmp_path)).step == 5
    with pytest.raises(UserError, match=r"no checkpoint step_000006 in .*there are step_000005, step_000007"):
        load_checkpoint(*find_start("old@6", root=tmp_path))


def test_resuming_from_the_best_or_a_step_goes_on_with_the_same_run(parent, capsys):
    run, root = parent
    assert run_main(main, ["--resume", "2", "steps=5", f"runs={root}", "--quiet"]) == 0
    assert find_run("last", root=root).id == run.id and load_checkpoint(run).step == 5
    assert run_main(main, ["--resume", f"{run.id}@9", f"runs={root}", "--quiet"]) == 2
    assert "no checkpoint step_000009" in capsys.readouterr().err


def test_sampling_finds_one_checkpoint_of_a_run(parent):
    from gpt_model.loading import find_checkpoint

    run, root = parent
    assert find_checkpoint(f"{run.id}@3", root=root).name == "step_000003"
    assert find_checkpoint(f"{run.path}@best", root=root).parent == run.path / "checkpoints"
    with pytest.raises(UserError, match="no checkpoint step_000099"):
        find_checkpoint(f"{run.id}@99", root=root)


def test_a_fork_takes_the_parents_recipe_and_what_is_changed(parent, capsys):
    run, root = parent
    assert run_main(main, ["--fork", f"{run.id}@best", "steps=2", "lr=1e-4", f"runs={root}", "--quiet"]) == 0
    fork = find_run("last", root=root)
    assert fork.id != run.id and fork.meta["config"]["lr"] == 1e-4 and fork.meta["config"]["batch_size"] == 2
    assert fork.meta["config"]["parent"].startswith(f"{run.id}@")
    # a fork of a fork names its own parent, and can be resumed
    assert run_main(main, ["--fork", fork.id, "steps=1", f"runs={root}", "--quiet"]) == 0
    assert find_run("last", root=root).meta["config"]["parent"] == f"{fork.id}@2"
    assert run_main(main, ["--resume", fork.id, "steps=3", f"runs={root}", "--quiet"]) == 0
    assert load_checkpoint(fork).step == 3


def test_what_cannot_be_forked_is_one_line(parent, tmp_path, capsys):
    run, root = parent

    def refused(*words):
        assert run_main(main, [*words, f"runs={root}", "--quiet"]) == 2
        return capsys.readouterr().err

    assert "give one of them" in refused("--fork", "last", "--resume", "last")
    assert "has another shape for" in refused("--fork", run.id, "model.n_embd=32")
    assert "'nothing' is no run" in refused("--fork", "nothing", *TINY[:-1])
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "code.pth")
    assert "cannot be read safely" in refused("--fork", str(tmp_path / "code.pth"), *TINY[:-1])
    tiny_model(vocab_size=700).save_pretrained(tmp_path / "other")
    said = refused("--fork", str(tmp_path / "other"), *TINY[:5])
    assert "has a vocabulary of 700, the tokenizer of 260: name the one" in said


def test_a_fork_of_a_damaged_checkpoint_falls_back_and_says_so(parent):
    run, root = parent
    folder = load_checkpoint(run).path
    path = folder / "model.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    try:
        source = open_fork(run.id, root=root)
        assert folder.name in source.provenance["fallback"] and source.provenance["step"] < int(
            folder.name[5:]
        )
    finally:
        path.write_bytes(good)


def test_a_lock_that_a_killed_process_left_is_taken_over_and_said(tmp_path):
    from pretraining.run_lock import run_lock

    with run_lock(tmp_path) as note:
        assert note is None
    (tmp_path / "lock").write_text("4194000\n")
    with run_lock(tmp_path) as note:
        assert note is not None and "process 4194000 ended" in note
    with run_lock(tmp_path) as note:
        assert note is None


def test_saving_can_be_measured(tmp_path, capsys):
    out = tmp_path / "checkpoints.json"
    small = ["n_layer=1", "n_embd=16", "saves=2", "steps_between=1", "threads=1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run_main(benchmark_checkpoints.main, [*small, f"out={out}"]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert len(figures["kinds"]["in a thread"]["blocked_ms"]) == 2 and figures["checkpoint_bytes"] > 1000
    printed = capsys.readouterr().out
    assert "goal: 50 ms" in printed and ("reached" in printed or "missed" in printed)
    assert benchmark_checkpoints.measured(out).startswith(printed.splitlines()[0])
    assert benchmark_checkpoints.measured(tmp_path / "none.json").startswith("not measured")
    with pytest.raises(UserError, match="saves is 0"):
        benchmark_checkpoints.main(["saves=0"])
